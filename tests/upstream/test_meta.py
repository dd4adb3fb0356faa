"""
The Facebook Login connector: against the simulated Meta on a real loopback port, and against one that lies. Nothing
sleeps; time is what the test says.
"""

import asyncio
import base64
import hmac
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from broker.core.assurance import Assurance
from broker.core.identity import Contact, ContactKind, Evidence, accept
from broker.demo.providers.meta import (
    PEOPLE,
    Fault,
    MetaApp,
    MetaSimulator,
    create_app,
    proof,
    signed_request,
)
from broker.errors import StafettError, Stopped, UpstreamDown, UpstreamRefused
from broker.upstream.meta import MetaConfig, MetaConnector, appsecret_proof, verified_request
from broker.upstream.port import Channel, Connector, Done, Listener, Redirect, Reply, ReplyKind, UpstreamAsk
from broker.wire.http import Blocked, Fetcher
from tests.changing import replace
from tests.downstream.receiver import Receiver, Village, open_village
from tests.stage import Answer, Browser, open_stage
from tests.upstream.cases import Case, Play, Said, Sent, patience
from tests.upstream.test_oidc import PLAIN, Clock, code_of, fetching, on_loopback

APP, OTHER_APP = "1234567890123456", "6543210987654321"
SECRET = "0123456789abcdef0123456789abcdef"
CALLBACK = "http://localhost:8700/up/meta/callback"
START = datetime(2026, 11, 1, 12, tzinfo=UTC)
MAJA, ERIK, NOOR = PEOPLE
ASK = UpstreamAsk(
    callback_url=CALLBACK,
    return_url="http://localhost:8700/j/1/return",
    state="state-" + "s" * 40,
    language="sv",
    partner_name="Däckshopen",
    broker_name="Stafett",
    minimum=Assurance.SELF_ASSERTED,
    end_user_ip="192.0.2.1",
    user_agent="test",
    mobile=False,
    now=START,
)


def apps(callback: str = CALLBACK, deauthorize_url: str | None = None) -> dict[str, MetaApp]:
    """Ours, and one of somebody else's that the same people use."""
    return {
        APP: MetaApp("Stafett", SECRET, frozenset({callback}), deauthorize_url),
        OTHER_APP: MetaApp("Quiz", "f" * 32, frozenset({"https://quiz.example/cb"})),
    }


def config(origin: str, **changes: Any) -> MetaConfig:
    settings = {"app_id": APP, "app_secret": "env:META", "dialog_origin": origin, "graph_origin": origin}
    return MetaConfig.model_validate(settings | changes)


async def visit(url: str, person: str = "maja", **pressed: str) -> str:
    """Answer the dialog at *url* as *person*; gives the address the browser is sent back to."""
    async with httpx2.AsyncClient(verify=PLAIN, trust_env=False) as browser:
        page = await browser.get(url)
        assert page.status_code == 200, page.text
        form = {"request": re.search(r'name="request" value="([^"]+)"', page.text)[1], "person": person}
        answer = f"{urlsplit(url)._replace(path='', query='').geturl()}/dialog/answer"
        return (await browser.post(answer, data={"do": "continue", **form, **pressed})).headers["location"]


class Meta:
    """A connector for the simulated Meta, and a browser that goes there."""

    def __init__(self, origin: str, simulator: MetaSimulator, fetcher: Fetcher, clock: Clock) -> None:
        self.origin, self.simulator, self.fetcher, self.clock = origin, simulator, fetcher, clock
        self.connector = self.connect()

    def connect(self, secret: str = SECRET, **changes: Any) -> MetaConnector:
        return MetaConnector("meta", config(self.origin, **changes), secret=secret, fetcher=self.fetcher)

    async def begin(self, **changes: Any) -> tuple[bytes, str]:
        begun = await self.connector.begin(replace(ASK, now=self.clock.now, **changes))
        assert isinstance(begun.prompt, Redirect)
        return begun.state, begun.prompt.url

    async def answer(self, url: str, person: str = "maja", **pressed: str) -> dict[str, str]:
        """The parameters of the callback."""
        target = urlsplit(await visit(url, person, **pressed))
        assert target._replace(query="", fragment="").geturl() == CALLBACK
        return {name: values[0] for name, values in parse_qs(target.query).items()}

    async def resume(self, state: bytes, callback: dict[str, str]) -> Evidence:
        done = await self.connector.resume(state, Reply(ReplyKind.CALLBACK, callback, self.clock.now))
        assert isinstance(done, Done)
        return done.evidence

    async def login(self, person: str = "maja", **pressed: str) -> Evidence:
        state, url = await self.begin()
        return await self.resume(state, await self.answer(url, person, **pressed))


@pytest.fixture
def clock() -> Clock:
    clock = Clock()
    clock.now = START
    return clock


@pytest.fixture
async def meta(clock: Clock) -> AsyncIterator[Meta]:
    app = create_app(apps=apps(), clock=clock)
    async with on_loopback(lambda origin: app) as origin, fetching() as fetcher:
        yield Meta(origin, app.state.simulator, fetcher, clock)
        app.state.simulator.switch()


# What every connector must do


class MetaPlay(Play):
    """The simulated Meta in a whole broker."""

    simulator: MetaSimulator

    async def answered(self, browser: Browser, gone: Answer, said: Said = Said.YES) -> Sent | None:
        if said is Said.REFUSED:
            self.simulator.switch(Fault.REFUSED)
        target = urlsplit(await visit(gone.location, **({"do": "cancel"} if said is Said.NO else {})))
        members = {name: values[0] for name, values in parse_qs(target.query).items()}
        return Sent("GET", target._replace(query="", fragment="").geturl(), members)

    def lie(self, lie: str) -> None:
        self.simulator.switch(Fault(lie))

    def fail(self) -> None:
        self.simulator.switch(Fault.TOKEN_ERROR)

    def stall(self) -> None:
        self.simulator.switch(Fault.TOKEN_SLOW)

    def heal(self) -> None:
        self.simulator.switch()

    def asked(self) -> int:
        return self.simulator.calls["token"]


@asynccontextmanager
async def play_meta(folder: Path) -> AsyncIterator[Play]:
    app = create_app(apps=apps(), clock=Clock())
    simulator: MetaSimulator = app.state.simulator

    async with on_loopback(lambda origin: app) as origin, fetching(**patience()) as fetcher:
        connector = MetaConnector("meta", config(origin), secret=SECRET, fetcher=fetcher)

        def cast(clock: Any) -> dict[str, Any]:
            simulator.clock = clock
            return {"meta": connector}

        async with open_stage(folder, cast=cast) as stage:
            play = MetaPlay(stage, "meta", connector)
            play.simulator = simulator
            yield play
        simulator.switch()


LIES = (
    Fault.TOKEN_OF_ANOTHER_APP, Fault.DEBUG_OTHER_APP, Fault.DEBUG_PAGE, Fault.DEBUG_INVALID, Fault.DEBUG_EXPIRED,
    Fault.DEBUG_EMPTY, Fault.PROFILE_FALSE, Fault.PROFILE_OF_ANOTHER, Fault.EXPIRED,
)  # fmt: skip


def cases() -> list[Case]:
    """For the contract suite."""
    return [Case("meta", play_meta, LIES)]


# Good


async def test_a_login_gives_evidence_by_three_calls(meta: Meta) -> None:
    """Number under our app, names, an address that is not proven; self-asserted, at an unproven time."""
    evidence = await meta.login()
    assert evidence == Evidence(
        upstream="meta",
        issuer=f"https://www.facebook.com/{APP}",
        subject=meta.simulator.scoped_id(APP, MAJA),
        assurance=Assurance.SELF_ASSERTED,
        amr=(),
        authenticated_at=START,
        name="Maja Lindqvist",
        given_name="Maja",
        family_name="Lindqvist",
        contacts=(Contact(ContactKind.EMAIL, "maja.lindqvist.demo@posti.example", False),),
        is_time_proven=False,
    )
    assert meta.simulator.calls == {"dialog": 1, "answer": 1, "token": 1, "debug_token": 1, "me": 1}


def test_the_connector_follows_the_ports() -> None:
    """The hub knows it only as a Connector; it claims no more than people's word, and hears of removals."""
    connector: Connector = MetaConnector("x", config("https://m.example"), secret="s", fetcher=Fetcher())
    assert (connector.id, connector.reaches) == ("x", Assurance.SELF_ASSERTED)
    assert isinstance(connector, Listener)


async def test_the_request_is_the_documented_one(meta: Meta) -> None:
    """Current version, exact callback, the flow's state, no more permissions than name and address; no secret."""
    state, url = await meta.begin(login_hint="maja@posti.example")
    parts = urlsplit(url)
    assert parts.path == "/v25.0/dialog/oauth"
    assert {name: values[0] for name, values in parse_qs(parts.query).items()} == {
        "client_id": APP,
        "redirect_uri": CALLBACK,
        "state": ASK.state,
        "response_type": "code",
        "scope": "public_profile,email",
    }
    assert SECRET not in url + state.decode()


@pytest.mark.parametrize(
    ("person", "pressed"), [("noor", {}), ("maja", {"decline": "email"})], ids=["none", "declined"]
)
async def test_without_an_address_the_login_goes_on(meta: Meta, person: str, pressed: dict[str, str]) -> None:
    """A phone-only account, or an address she keeps to herself: no contact, everything else as ever."""
    evidence = await meta.login(person, **pressed)
    assert (evidence.contacts, evidence.assurance) == ((), Assurance.SELF_ASSERTED)
    assert evidence.name


async def test_only_the_name_when_only_that_is_configured(meta: Meta) -> None:
    """The operator may ask for less."""
    meta.connector = meta.connect(scopes=["public_profile"])
    assert (await meta.login()).contacts == ()


async def test_an_address_is_never_a_proven_contact(meta: Meta) -> None:
    """Whatever Meta adds: no `email_verified`, level, time or other subject of its own gets in; the names are noted."""
    meta.simulator.switch(Fault.PROFILE_CLAIMS_MORE)
    evidence = await meta.login()
    identity = accept(evidence, ceiling=Assurance.HIGH, may_bootstrap=True)
    assert (identity.assurance, identity.email_verified, identity.is_time_proven) == (
        Assurance.SELF_ASSERTED,
        False,
        False,
    )
    assert evidence.subject == meta.simulator.scoped_id(APP, MAJA)
    assert evidence.birthdate is None
    assert evidence.signals == ("unlisted_claim:birthday",)


async def test_a_person_has_another_number_in_another_app(meta: Meta) -> None:
    """So the app is part of the key: the same number under another app is another person."""
    other = MetaConfig.model_validate({"app_id": OTHER_APP, "app_secret": "env:META"})
    assert other.issuer != config(meta.origin).issuer
    assert meta.simulator.scoped_id(APP, MAJA) != meta.simulator.scoped_id(OTHER_APP, MAJA)


@pytest.mark.parametrize(("days", "says"), [(91, ()), (89, ("meta.graph_version_ends",))])
async def test_a_version_near_its_end_is_told(meta: Meta, clock: Clock, days: int, says: tuple[str, ...]) -> None:
    """Logins pass; from ninety days before, the log says that the version should be changed."""
    clock.now = datetime(2028, 7, 29, tzinfo=UTC) - timedelta(days=days)
    assert (await meta.login()).signals == says


# Refused, spoiled, replayed, mixed up, late


@pytest.mark.parametrize("faults", [(), (Fault.BARE_ERROR_CODE,)], ids=["error", "error_code"])
async def test_cancelling_is_no_failure(meta: Meta, faults: tuple[Fault, ...]) -> None:
    """Both of Meta's ways to say so; no call is made."""
    meta.simulator.switch(*faults)
    state, url = await meta.begin()
    callback = await meta.answer(url, do="cancel")
    with pytest.raises(Stopped):
        await meta.resume(state, callback)
    assert meta.simulator.calls["token"] == 0


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"state": "another"}, "callback.state"),
        ({"state": None}, "callback.state"),
        ({"code": None}, "callback.code"),
        ({"code": "x" * 5000}, "callback.code"),
        ({"code": None, "error_code": "1349168", "error_message": "maja@posti.example"}, "callback.error_code"),
        ({"code": None, "error": "maja@posti.example"}, "callback.unreadable"),
        ({"iss": "https://accounts.google.com"}, "callback.iss"),
    ],
    ids=["state", "no-state", "no-code", "long-code", "bare-error", "odd-error", "iss"],
)
async def test_a_spoiled_callback_reaches_no_endpoint(meta: Meta, changed: dict[str, Any], code: str) -> None:
    """State first, then the rest; Meta is asked nothing, and nothing of the answer is quoted."""
    state, url = await meta.begin()
    callback = {**await meta.answer(url), **changed}
    with pytest.raises(UpstreamRefused) as error:
        await meta.resume(state, {name: value for name, value in callback.items() if value is not None})
    assert code_of(error) == code
    assert "posti" not in told(error.value)
    assert meta.simulator.calls["token"] == 0


async def test_an_error_with_another_state_is_not_believed(meta: Meta) -> None:
    """Nobody cancels somebody else's login."""
    state, _ = await meta.begin()
    with pytest.raises(UpstreamRefused) as error:
        await meta.resume(state, {"error": "access_denied", "error_code": "200", "state": "another"})
    assert code_of(error) == "callback.state"


async def test_a_state_that_meta_changed(meta: Meta) -> None:
    """As it comes back it must be the one of this login."""
    meta.simulator.switch(Fault.WRONG_STATE)
    with pytest.raises(UpstreamRefused) as error:
        await meta.login()
    assert code_of(error) == "callback.state"


async def test_a_code_works_once(meta: Meta) -> None:
    """A stolen callback that was redeemed is worth nothing; the log gets Meta's code and trace."""
    state, url = await meta.begin()
    callback = await meta.answer(url)
    await meta.resume(state, callback)
    with pytest.raises(UpstreamRefused) as error:
        await meta.resume(state, callback)
    assert code_of(error) == "token.refused"
    assert (error.value.facts["meta_code"], error.value.facts["meta_subcode"]) == (100, 36009)
    assert error.value.facts["fbtrace_id"]
    assert meta.simulator.calls["debug_token"] == 1


async def test_a_code_that_is_too_old(meta: Meta, clock: Clock) -> None:
    """Ten minutes at Meta."""
    state, url = await meta.begin()
    callback = await meta.answer(url)
    clock.now += timedelta(minutes=11)
    with pytest.raises(UpstreamRefused) as error:
        await meta.resume(state, callback)
    assert error.value.facts["meta_subcode"] == 36007


async def test_a_late_answer_asks_nobody(meta: Meta, clock: Clock) -> None:
    """After half an hour the login starts again."""
    state, url = await meta.begin()
    callback = await meta.answer(url)
    clock.now += timedelta(minutes=30)
    with pytest.raises(UpstreamRefused) as error:
        await meta.resume(state, callback)
    assert code_of(error) == "callback.late"
    assert meta.simulator.calls["token"] == 0


@pytest.mark.parametrize("kind", [ReplyKind.RETURN, ReplyKind.POLL, ReplyKind.ACT])
async def test_only_the_callback_answers(meta: Meta, kind: ReplyKind) -> None:
    """Another way in with a good code is none."""
    state, url = await meta.begin()
    callback = await meta.answer(url)
    with pytest.raises(UpstreamRefused) as error:
        await meta.connector.resume(state, Reply(kind, callback, meta.clock.now))
    assert code_of(error) == "callback.kind"


async def test_a_journey_that_remembers_another_kind_of_login(meta: Meta) -> None:
    """The state of another connector is not taken for ours."""
    with pytest.raises(UpstreamRefused) as error:
        await meta.resume(b'{"order": "1"}', {"code": "x", "state": ASK.state})
    assert code_of(error) == "callback.state"


@pytest.mark.parametrize("asked", [{"fresh": True}, {"max_age_s": 300}, {"max_age_s": 0}])
async def test_meta_cannot_be_made_to_authenticate_anew(meta: Meta, asked: dict[str, Any]) -> None:
    """It proves no time of login: refused at once rather than claimed."""
    with pytest.raises(UpstreamRefused) as error:
        await meta.begin(**asked)
    assert code_of(error) == "upstream.cannot_reauthenticate"


# Tokens that are not ours, profiles that are not theirs


@pytest.mark.parametrize(
    ("faults", "code"),
    [
        ((Fault.TOKEN_OF_ANOTHER_APP,), "debug_token.refused"),
        ((Fault.DEBUG_OTHER_APP,), "debug_token.app_id"),
        ((Fault.TOKEN_OF_ANOTHER_APP, Fault.DEBUG_OTHER_APP), "debug_token.app_id"),
        ((Fault.DEBUG_PAGE,), "debug_token.type"),
        ((Fault.DEBUG_INVALID,), "debug_token.is_valid"),
        ((Fault.DEBUG_EXPIRED,), "debug_token.expires_at"),
        ((Fault.DEBUG_EMPTY,), "debug_token.user_id"),
    ],
    ids=lambda value: value if isinstance(value, str) else "+".join(value),
)
async def test_a_token_that_is_not_for_us_reads_no_profile(meta: Meta, faults: tuple[Fault, ...], code: str) -> None:
    """Token substitution: what another app got about her proves nothing here."""
    meta.simulator.switch(*faults)
    with pytest.raises(UpstreamRefused) as error:
        await meta.login()
    assert code_of(error) == code
    assert meta.simulator.calls["me"] == 0


async def test_the_profile_must_be_of_whom_the_token_is(meta: Meta) -> None:
    """Two answers about two people make no login."""
    meta.simulator.switch(Fault.PROFILE_OF_ANOTHER)
    with pytest.raises(UpstreamRefused) as error:
        await meta.login()
    assert code_of(error) == "me.id"


async def test_a_session_that_ran_out_meanwhile(meta: Meta) -> None:
    """Error 190: the login starts again."""
    meta.simulator.switch(Fault.EXPIRED)
    with pytest.raises(UpstreamRefused) as error:
        await meta.login()
    assert (code_of(error), error.value.facts["meta_subcode"]) == ("me.refused", 463)


# The app's secret


def test_the_proof_is_the_documented_one() -> None:
    """HMAC-SHA256 of the token under the secret, lower-case hex."""
    expected = "b09b139ea75476570a6cc3a1938d71b385dc82efff10d967c0d69052d98bf626"
    assert appsecret_proof("EAAB-demo-token-1", secret="stafett-demo-secret") == expected
    assert proof("EAAB-demo-token-1", "stafett-demo-secret") == expected


@pytest.mark.parametrize("given", [None, "", "0" * 64], ids=["missing", "empty", "wrong"])
async def test_the_simulator_wants_a_right_proof(meta: Meta, given: str | None) -> None:
    """As an app does that requires it: the passing logins above have sent one with every call."""
    _, url = await meta.begin()
    callback = await meta.answer(url)
    form = {"client_id": APP, "client_secret": SECRET, "redirect_uri": CALLBACK, "code": callback["code"]}
    token = (await meta.fetcher.post_form(f"{meta.origin}/v25.0/oauth/access_token", form)).json["access_token"]
    query = "" if given is None else f"?appsecret_proof={given}"
    fetched = await meta.fetcher.get_json(
        f"{meta.origin}/v25.0/me{query}", headers={"Authorization": f"Bearer {token}"}
    )
    assert (fetched.status, fetched.json["error"]["code"]) == (400, 100)


async def test_a_wrong_secret_is_the_operators_matter(meta: Meta) -> None:
    """The customer reads that the way in does not work now, not that she was refused."""
    meta.connector = meta.connect(secret="e" * 32)
    with pytest.raises(UpstreamDown) as error:
        await meta.login()
    assert code_of(error) == "token.unavailable"


async def test_an_unknown_app_is_the_operators_matter(meta: Meta) -> None:
    """The same for an app that was deleted between dialog and token."""
    state, url = await meta.begin()
    callback = await meta.answer(url)
    meta.connector = meta.connect(app_id="9999999999")
    with pytest.raises(UpstreamDown) as error:
        await meta.resume(state, callback)
    assert (code_of(error), error.value.facts["meta_code"]) == ("token.app", 101)


async def test_a_version_that_is_not_served_is_the_operators_matter(meta: Meta) -> None:
    """Error 2500."""
    state, url = await meta.begin()
    callback = await meta.answer(url)
    meta.connector = meta.connect(graph_version="v99.0")
    with pytest.raises(UpstreamDown) as error:
        await meta.resume(state, callback)
    assert (code_of(error), error.value.facts["meta_code"]) == ("token.app", 2500)


@pytest.mark.parametrize("uri", [CALLBACK + "/", CALLBACK + "?x=1", CALLBACK.replace("8700", "8701")])
async def test_the_callback_is_compared_exactly(meta: Meta, uri: str) -> None:
    """Meta's strict mode: another address is not redirected to."""
    _, url = await meta.begin(callback_url=uri)
    async with httpx2.AsyncClient(verify=PLAIN, trust_env=False) as browser:
        page = await browser.get(url)
    assert (page.status_code, "location" in page.headers) == (400, False)


async def test_another_callback_at_the_token_endpoint(meta: Meta) -> None:
    """A code is bound to the address it was sent to."""
    state, url = await meta.begin()
    callback = await meta.answer(url)
    changed = json.dumps(json.loads(state) | {"callback_url": CALLBACK + "/"}).encode()
    with pytest.raises(UpstreamDown) as error:
        await meta.resume(changed, callback)
    assert (code_of(error), error.value.facts["meta_code"]) == ("token.app", 191)


# Down, slow, lying


@pytest.mark.parametrize("fault", [Fault.TOKEN_ERROR, Fault.DEBUG_ERROR, Fault.PROFILE_ERROR, Fault.THROTTLED])
async def test_an_ill_provider_is_down(meta: Meta, fault: Fault) -> None:
    """503 and throttling are not her fault."""
    meta.simulator.switch(fault)
    with pytest.raises(UpstreamDown):
        await meta.login()


async def test_a_profile_that_is_false(meta: Meta) -> None:
    """Graph answers `false` now and then: no person, no login."""
    meta.simulator.switch(Fault.PROFILE_FALSE)
    with pytest.raises(UpstreamDown):
        await meta.login()


async def test_a_provider_that_is_away() -> None:
    """Nothing listens there."""
    async with fetching(timeout_s=1.0) as fetcher:
        connector = MetaConnector("meta", config("http://127.0.0.1:9"), secret=SECRET, fetcher=fetcher)
        begun = await connector.begin(ASK)
        with pytest.raises(UpstreamDown):
            await connector.resume(begun.state, Reply(ReplyKind.CALLBACK, {"code": "x", "state": ASK.state}, START))


GOOD_TOKEN = {"access_token": "EAAtoken", "token_type": "bearer"}
GOOD_DEBUG = {"data": {"app_id": APP, "type": "USER", "is_valid": True, "expires_at": 0, "user_id": "77"}}


@pytest.mark.parametrize(
    ("token", "debug", "me", "outcome"),
    [
        ({}, None, None, "token.access_token"),
        ({"access_token": ""}, None, None, "token.access_token"),
        ({"access_token": ["EAA"]}, None, None, "token.access_token"),
        ({"access_token": "E" * 5000}, None, None, "token.access_token"),
        ({"access_token": "a\r\nX-Evil: 1"}, None, None, "token.access_token"),
        ({"access_token": "tåken"}, None, None, "token.access_token"),
        ({**GOOD_TOKEN, "error": {"code": 190}}, None, None, "token.refused"),
        ({"error": "text"}, None, None, "token.refused"),
        ({"error": {"code": [1], "fbtrace_id": "maja@posti.example"}}, None, None, "token.refused"),
        (GOOD_TOKEN, {}, None, "debug_token.is_valid"),
        (GOOD_TOKEN, {"data": []}, None, "debug_token.is_valid"),
        (GOOD_TOKEN, {"data": {**GOOD_DEBUG["data"], "is_valid": "true"}}, None, "debug_token.is_valid"),
        (GOOD_TOKEN, {"data": {**GOOD_DEBUG["data"], "app_id": int(APP)}}, None, "debug_token.app_id"),
        (GOOD_TOKEN, {"data": {**GOOD_DEBUG["data"], "expires_at": True}}, None, "debug_token.expires_at"),
        (GOOD_TOKEN, {"data": {**GOOD_DEBUG["data"], "expires_at": None}}, None, "debug_token.expires_at"),
        (GOOD_TOKEN, {"data": {**GOOD_DEBUG["data"], "user_id": "../me"}}, None, "debug_token.user_id"),
        (GOOD_TOKEN, GOOD_DEBUG, {}, "me.id"),
        (GOOD_TOKEN, GOOD_DEBUG, {"id": 77}, "me.id"),
        (GOOD_TOKEN, GOOD_DEBUG, {"id": "77"}, None),
        (GOOD_TOKEN, GOOD_DEBUG, {"id": "77", "name": "a\x00b", "email": "no address"}, None),
    ],
    ids=str,
)
async def test_answers_no_honest_provider_gives(token: Any, debug: Any, me: Any, outcome: str | None) -> None:
    """Whatever comes is checked for kind and shape before it is used; what is only misshapen is left out."""
    seen: list[str] = []

    def play(name: str, body: Any) -> Route:
        async def answer(request: Request) -> Response:
            seen.append(name)
            return JSONResponse(body)

        return Route(f"/v25.0/{name}", answer, methods=["GET", "POST"])

    app = Starlette(routes=[play("oauth/access_token", token), play("debug_token", debug), play("me", me)])
    async with on_loopback(lambda origin: app) as origin, fetching() as fetcher:
        connector = MetaConnector("meta", config(origin), secret=SECRET, fetcher=fetcher)
        begun = await connector.begin(ASK)
        reply = Reply(ReplyKind.CALLBACK, {"code": "x", "state": ASK.state}, START)
        if outcome is None:
            done = await connector.resume(begun.state, reply)
            assert isinstance(done, Done)
            assert (done.evidence.subject, done.evidence.name, done.evidence.contacts) == ("77", None, ())
            return
        with pytest.raises(UpstreamRefused) as error:
            await connector.resume(begun.state, reply)
    assert code_of(error) == outcome
    assert "posti" not in told(error.value)
    assert len(seen) == 1 + (debug is not None) + (me is not None)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (RedirectResponse("https://evil.example/", 302), Blocked),
        (PlainTextResponse("access_token=EAA&expires=1"), UpstreamDown),
        (JSONResponse(["EAA"]), UpstreamDown),
        (JSONResponse({"access_token": "x" * 2_000_000}), UpstreamDown),
    ],
    ids=["redirect", "form", "array", "endless"],
)
async def test_answers_of_the_wrong_kind(answer: Response, kind: type[UpstreamDown]) -> None:
    """No redirects followed with the secret, JSON objects only, of reasonable size."""

    async def token(request: Request) -> Response:
        return answer

    app = Starlette(routes=[Route("/v25.0/oauth/access_token", token, methods=["POST"])])
    async with on_loopback(lambda origin: app) as origin, fetching() as fetcher:
        connector = MetaConnector("meta", config(origin), secret=SECRET, fetcher=fetcher)
        begun = await connector.begin(ASK)
        with pytest.raises(kind):
            await connector.resume(begun.state, Reply(ReplyKind.CALLBACK, {"code": "x", "state": ASK.state}, START))


# What leaks


def told(error: StafettError) -> str:
    """All that a log line gets of *error*, and what its traceback would show."""
    return f"{error!r} {error.detail} {error.code} {dict(error.facts)} {error.__cause__!r}"


@pytest.mark.parametrize(
    "fault", [Fault.TOKEN_ERROR, Fault.DEBUG_ERROR, Fault.PROFILE_ERROR, Fault.EXPIRED, Fault.TOKEN_OF_ANOTHER_APP]
)
async def test_errors_tell_no_secret_and_nobody(meta: Meta, fault: Fault) -> None:
    """Neither app secret, code, token, proof nor anything about her is in what is logged."""
    meta.simulator.switch(fault)
    state, url = await meta.begin()
    callback = await meta.answer(url)
    with pytest.raises(StafettError) as error:
        await meta.resume(state, callback)
    text = told(error.value)
    kept = [SECRET, callback["code"], "EAA", "appsecret_proof", "Maja", "posti", meta.simulator.scoped_id(APP, MAJA)]
    assert [each for each in kept if each in text] == []


async def test_secrets_stay_out_of_addresses(clock: Clock) -> None:
    """App secret and code travel in the body, the tokens of calls in a header; only the asked-about token is in a query."""
    seen: list[Request] = []
    app = create_app(apps=apps(), clock=clock)

    async def recorded(scope: Any, receive: Any, send: Any) -> None:
        seen.append(Request(scope))
        await app(scope, receive, send)

    async with on_loopback(lambda origin: recorded) as origin, fetching() as fetcher:
        meta = Meta(origin, app.state.simulator, fetcher, clock)
        state, url = await meta.begin()
        callback = await meta.answer(url)
        await meta.resume(state, callback)
    token, debug, me = (each.url for each in seen[-3:])
    assert token.query == ""
    assert sorted(parse_qs(debug.query)) == ["appsecret_proof", "input_token"]
    assert sorted(parse_qs(me.query)) == ["appsecret_proof", "fields"]
    assert SECRET not in debug.query + me.query


# The config


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"app_id": "my-app"}, "must be the number Meta gave the app"),
        ({"app_id": None}, "valid string"),
        ({"app_secret": SECRET}, "secrets are never written here"),
        ({"graph_version": "25"}, "must be a version of the Graph API, such as v25.0"),
        ({"graph_version": "v20.0"}, "v20.0 has ended; choose v25.0"),
        ({"scopes": ["public_profile", "user_birthday"]}, "Input should be 'public_profile' or 'email'"),
        ({"scopes": ["email"]}, "must hold public_profile"),
        ({"scopes": []}, "must hold public_profile"),
        ({"graph_origin": "https://graph.facebook.com/"}, "must be scheme and host only"),
        ({"graph_origin": "https://graph.facebook.com?x"}, "must be scheme and host only"),
        ({"dialog_origin": "facebook.com"}, "must be a complete http or https address"),
        ({"client_secret": "env:X"}, "Extra inputs are not permitted"),
    ],
    ids=str,
)
def test_a_config_that_cannot_work(changed: dict[str, Any], says: str) -> None:
    """Found when the file is read, in words that say what to do."""
    with pytest.raises(ValidationError, match=re.escape(says)):
        config("https://m.example", **changed)


def test_app_and_secret_are_all_it_takes() -> None:
    """The rest is Meta's own."""
    made = MetaConfig.model_validate({"app_id": APP, "app_secret": "file:secrets/meta"})
    assert (made.graph_version, made.dialog_origin, made.graph_origin) == (
        "v25.0",
        "https://www.facebook.com",
        "https://graph.facebook.com",
    )


# Signed requests


VECTOR = (
    "bgvZEogPEekGVpf9hcxe9BnaTtJZhFYaDRMjbxxxI3Y"
    ".eyJhbGdvcml0aG0iOiJITUFDLVNIQTI1NiIsImlzc3VlZF9hdCI6MTc2NzIyNTYwMCwidXNlcl9pZCI6IjEyMzQ1Njc4OTAifQ"
)


def test_a_signed_request_is_read() -> None:
    """Signature over the encoded payload, as it came."""
    payload = {"algorithm": "HMAC-SHA256", "issued_at": 1767225600, "user_id": "1234567890"}
    assert verified_request(VECTOR, secret="stafett-demo-secret") == payload
    assert signed_request(payload, "stafett-demo-secret") == VECTOR


def removal(secret: str = SECRET, **changed: Any) -> str:
    """A good signed request with changes; a member set to None is left out."""
    payload = {"algorithm": "HMAC-SHA256", "issued_at": int(START.timestamp()), "user_id": "77", **changed}
    return signed_request({name: value for name, value in payload.items() if value is not None}, secret)


SIGNATURE, _, PAYLOAD = removal().partition(".")


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ("", "signed_request.signature"),
        (".", "signed_request.signature"),
        (f".{PAYLOAD}", "signed_request.signature"),
        (SIGNATURE, "signed_request.signature"),
        (f"{SIGNATURE[:-2]}.{PAYLOAD}", "signed_request.signature"),
        (f"{SIGNATURE}.{PAYLOAD}=", "signed_request.signature"),
        (f"{SIGNATURE}.{removal(user_id='78').partition('.')[2]}", "signed_request.signature"),
        (f"ÿ{SIGNATURE}.{PAYLOAD}", "signed_request.signature"),
        (removal("f" * 32), "signed_request.signature"),
        (removal(""), "signed_request.signature"),
        (removal(algorithm=None), "signed_request.algorithm"),
        (removal(algorithm="none"), "signed_request.algorithm"),
        (removal(algorithm=["HMAC-SHA256"]), "signed_request.algorithm"),
        (removal(app_id=OTHER_APP), "signed_request.app_id"),
        (removal(app_id=[APP]), "signed_request.app_id"),
        (removal(user_id=None), "signed_request.user_id"),
        (removal(user_id=77), "signed_request.user_id"),
        (removal(user_id="maja"), "signed_request.user_id"),
        (removal(issued_at=None), "signed_request.issued_at"),
        (removal(issued_at=True), "signed_request.issued_at"),
        (removal(issued_at="1767225600"), "signed_request.issued_at"),
        (removal(issued_at=10**15), "signed_request.issued_at"),
        (removal(issued_at=int(START.timestamp()) - 86400), "signed_request.issued_at"),
        (removal(issued_at=int(START.timestamp()) + 61), "signed_request.issued_at"),
    ],
    ids=range(24),
)
async def test_each_check_of_a_removal_by_itself(request_: str, code: str) -> None:
    """Nothing short of a fresh request of Meta's for our app is believed."""
    connector = MetaConnector("meta", config("https://m.example"), secret=SECRET, fetcher=Fetcher())
    with pytest.raises(UpstreamRefused) as error:
        await connector.heard(Channel.REMOVAL, request_, START)
    assert code_of(error) == code
    assert "77" not in told(error.value)


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff", b"[" * 100_000], ids=["array", "broken", "bytes", "deep"])
def test_a_signed_payload_that_is_no_object(body: bytes) -> None:
    """Signed, and still not what was announced."""
    encoded = base64.urlsafe_b64encode(body).rstrip(b"=").decode()
    mac = base64.urlsafe_b64encode(hmac.digest(SECRET.encode(), encoded.encode(), "sha256")).rstrip(b"=").decode()
    with pytest.raises(UpstreamRefused) as error:
        verified_request(f"{mac}.{encoded}", secret=SECRET)
    assert code_of(error) == "signed_request.json"


@pytest.mark.parametrize("changed", [{}, {"algorithm": "hmac-sha256"}, {"app_id": APP}, {"expires": 0}], ids=str)
async def test_a_good_removal_says_who(changed: dict[str, Any]) -> None:
    """All of that person's under our app; said twice in the same second it has the same name."""
    connector = MetaConnector("meta", config("https://m.example"), secret=SECRET, fetcher=Fetcher())
    (over,) = await connector.heard(Channel.REMOVAL, removal(**changed), START)
    assert (over.issuer, over.subject, over.sid) == (f"https://www.facebook.com/{APP}", "77", None)
    assert (over.issued_at, over.expires_at) == (START, START + timedelta(days=1))
    (again,) = await connector.heard(Channel.REMOVAL, removal(), START + timedelta(hours=1))
    assert over.jti == again.jti


async def test_removing_the_app_tells_our_server(clock: Clock) -> None:
    """The simulator's button: her token dies, and a signed request goes out that we believe."""
    async with Receiver().listening() as server:
        app = create_app(apps=apps(deauthorize_url=f"{server.url}/up/meta/deauthorize"), clock=clock)
        async with on_loopback(lambda origin: app) as origin, fetching() as fetcher:
            meta = Meta(origin, app.state.simulator, fetcher, clock)
            evidence = await meta.login()
            async with httpx2.AsyncClient(verify=PLAIN, trust_env=False) as browser:
                pressed = await browser.post(f"{origin}/settings/remove", data={"app": APP, "person": "maja"})
            assert pressed.json() == {"told": 200}
            (call,) = server.calls
            (over,) = await meta.connector.heard(Channel.REMOVAL, call.form["signed_request"], clock.now)
    assert (call.path, over.issuer, over.subject) == ("/up/meta/deauthorize", evidence.issuer, evidence.subject)


# In the broker


@pytest.fixture
async def village(stage_folder: Path) -> AsyncIterator[tuple[Village, MetaSimulator]]:
    """A broker whose second way in is this connector instead of a played one."""
    simulators: list[MetaSimulator] = []
    times: list[Any] = []
    app = create_app(apps=apps("http://localhost:8700/up/google/callback"), clock=lambda: times[0]())

    async with on_loopback(lambda origin: app) as origin, fetching() as fetcher:

        def cast(clock: Any) -> dict[str, Any]:
            times.append(clock)
            simulators.append(app.state.simulator)
            return {"google": MetaConnector("google", config(origin), secret=SECRET, fetcher=fetcher)}

        async with open_village(stage_folder, patience_s=0.2, cast=cast) as opened:
            yield opened, simulators[0]


async def log_in(village: Village, person: str = "maja", **pressed: str) -> tuple[Any, Any]:
    """A browser that went through the real dialog, and where the broker sent it afterwards."""
    browser = village.stage.browser()
    await browser.follow(await browser.get(village.bakery.request()))
    gone = await browser.press("method-google")
    target = urlsplit(await visit(gone.location, person, **pressed))
    return browser, await browser.follow(await browser.get(f"{target.path}?{target.query}"))


async def remove(village: Village, text: str, upstream: str = "google") -> int:
    answer = await village.stage.client.post(f"/up/{upstream}/deauthorize", data={"signed_request": text})
    assert answer.headers["cache-control"] == "no-store"
    return answer.status_code


async def test_a_whole_login_and_what_the_log_says(
    village: tuple[Village, MetaSimulator], capsys: pytest.CaptureFixture[str]
) -> None:
    """From partner to partner; neither name, address, number, code nor secret is logged."""
    opened, simulator = village
    _, answer = await log_in(opened)
    tokens = await opened.bakery.exchange(answer)
    assert (await opened.bakery.userinfo(tokens["access_token"])).json["name"] == "Maja Lindqvist"
    _, answer = await log_in(opened, do="cancel")
    assert "code" not in answer.query
    logged = "".join(capsys.readouterr())
    assert [x for x in ("Maja", "posti", simulator.scoped_id(APP, MAJA), SECRET, "EAA", "AQ") if x in logged] == []


async def test_removing_the_app_ends_her_sessions(village: tuple[Village, MetaSimulator]) -> None:
    """Hers, not another's; partners hear of it; a repetition ends nothing newer."""
    opened, simulator = village
    (maja, first), (erik, _) = await log_in(opened), await log_in(opened, "erik")
    await opened.bakery.exchange(first)
    text = simulator.removal(APP, MAJA)
    assert await remove(opened, text) == 200
    assert [await opened.is_logged_in(each) for each in (maja, erik)] == [False, True]
    async with asyncio.timeout(10):
        await opened.bakery_server.called.wait()
    again, _ = await log_in(opened)
    assert await remove(opened, text) == 200
    assert await opened.is_logged_in(again)


async def test_a_removal_that_is_not_believed_ends_nothing(village: tuple[Village, MetaSimulator]) -> None:
    """400 for a forged, an old, an empty one, and one for a provider that tells of none."""
    opened, simulator = village
    browser, _ = await log_in(opened)
    user = simulator.scoped_id(APP, MAJA)
    now = int(opened.stage.clock.now.timestamp())
    forged = removal("f" * 32, user_id=user, issued_at=now)
    old = removal(user_id=user, issued_at=now - 90_000)
    good = simulator.removal(APP, MAJA)
    assert [await remove(opened, text) for text in (forged, old, "")] == [400, 400, 400]
    assert [await remove(opened, good, other) for other in ("bankid", "nobody")] == [400, 400]
    twice = await opened.stage.client.post(
        f"/up/google/deauthorize?signed_request={good}", data={"signed_request": good}
    )
    assert twice.status_code == 400
    assert (await opened.stage.client.get(f"/up/google/deauthorize?signed_request={good}")).status_code == 405
    assert await opened.is_logged_in(browser)


async def test_a_removal_of_nobody_we_know_is_no_error(village: tuple[Village, MetaSimulator]) -> None:
    """She had never logged in here."""
    opened, simulator = village
    assert await remove(opened, simulator.removal(APP, NOOR)) == 200
