"""
Sign in with Apple: the connector against the simulator on a real loopback port, then a whole broker with it, and once a
real Chromium in between. Time is what the test says.
"""

import json
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from playwright.async_api import Browser as Chromium
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from broker.config.load import load
from broker.config.render import example_text
from broker.core.assurance import Assurance
from broker.core.identity import Contact, ContactKind, Evidence
from broker.core.naming import name_of
from broker.core.session import Profile, with_known_name
from broker.demo.providers.apple import LONGEST_SECRET_S, AppleClient, AppleSimulator, Fault, create_app, new_key
from broker.errors import ConfigError, Stopped, UpstreamDown, UpstreamRefused
from broker.stores.memory import MemoryState
from broker.stores.ports import Get
from broker.upstream.apple import AppleConnect, AppleConnector
from broker.upstream.port import Connector, Done, FormConnector, Listener, Redirect, Reply, ReplyKind
from broker.wire.http import Fetcher
from broker.wire.signed_secret import SignedSecret, parse_es256_key
from tests.changing import replace
from tests.demo.sites import browsing, press
from tests.downstream.test_round_trips import CountingState
from tests.stage import ISSUER, SHOP_CALLBACK, Answer, Browser, Stage, open_stage
from tests.upstream.cases import TOKEN_LIES, Case, Play, Said, Sent, patience
from tests.upstream.test_oidc import ASK, PLAIN, START, Clock, code_of, fetching, on_loopback

CALLBACK = "http://localhost:8700/up/apple/callback"
CLIENT, TEAM, KEY_ID = "com.stafett.web", "TEAM123456", "KEY1234567"
TEAM_KEY = ECKey.generate_key("P-256")
PEM = TEAM_KEY.as_pem(private=True).decode()
SIGNING = [new_key() for _ in range(3)]
NOBODY = {"account": "", "cancel": "1"}


def simulated(origin: str, clock: Any, callback: str = CALLBACK) -> Starlette:
    client = AppleClient("Stafett", TEAM, {KEY_ID: TEAM_KEY}, frozenset({callback}))
    return create_app(issuer=origin, clients={CLIENT: client}, clock=clock, keys=SIGNING)


async def visited(url: str, **form: str) -> tuple[str, dict[str, str]]:
    """Choose on the provider's page as *form* says; the address its answer is posted to, and the members."""
    origin = "{0.scheme}://{0.netloc}".format(urlsplit(url))
    async with httpx2.AsyncClient(verify=PLAIN, trust_env=False) as browser:
        page = await browser.get(url)
        request = re.search(r'name="request" value="([^"]+)"', page.text)
        assert request, page.text
        page = await browser.post(f"{origin}/auth/choose", data={"request": request[1], **form})
    return _form_of(page.text)


def _form_of(html: str) -> tuple[str, dict[str, str]]:
    action = re.search(r'id="answer" method="post" action="([^"]+)"', html)
    assert action, html
    members = re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', html)
    return unescape(action[1]), {name: unescape(value) for name, value in members}


class Apple:
    """A connector for the simulated Apple, and a browser that goes there."""

    def __init__(self, origin: str, simulator: AppleSimulator, fetcher: Fetcher, clock: Clock) -> None:
        self.origin, self.simulator, self.fetcher, self.clock = origin, simulator, fetcher, clock
        self.connector = self.connect()

    def connect(self, key: str = PEM, **changes: Any) -> AppleConnector:
        return AppleConnector("apple", config(self.origin, **changes), key=key, fetcher=self.fetcher)

    async def begin(self, **changes: Any) -> tuple[bytes, str]:
        ask = replace(ASK, callback_url=CALLBACK, now=self.clock.now, **changes)
        begun = await self.connector.begin(ask)
        assert isinstance(begun.prompt, Redirect)
        return begun.state, begun.prompt.url

    async def resume(self, state: bytes, members: Mapping[str, str], kind: ReplyKind = ReplyKind.POSTED) -> Evidence:
        done = await self.connector.resume(state, Reply(kind, members, self.clock.now))
        assert isinstance(done, Done)
        return done.evidence

    async def login(self, account: str = "maja", **form: str) -> Evidence:
        state, url = await self.begin()
        _, members = await visited(url, account=account, **form)
        return await self.resume(state, members)


def config(origin: str = "https://appleid.apple.com", **changes: Any) -> AppleConnect:
    settings = {
        "issuer": origin,
        "client_id": CLIENT,
        "team_id": TEAM,
        "key_id": KEY_ID,
        "key": "file:secrets/apple.p8",
        "trusted_email": "always",
    }
    return AppleConnect.model_validate(settings | changes)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def apple(clock: Clock) -> AsyncIterator[Apple]:
    apps: list[Starlette] = []

    def app_for(origin: str) -> Starlette:
        apps.append(simulated(origin, clock))
        return apps[0]

    async with on_loopback(app_for) as origin, fetching() as fetcher:
        yield Apple(origin, apps[0].state.simulator, fetcher, clock)
        apps[0].state.simulator.switch()


# What every connector must do


class ApplePlay(Play):
    """The simulated Apple in a whole broker."""

    simulator: AppleSimulator

    async def answered(self, browser: Browser, gone: Answer, said: Said = Said.YES) -> Sent | None:
        if said is Said.REFUSED:
            self.simulator.switch({Fault.AUTHORIZE_REFUSED})
        action, members = await visited(gone.location, **(NOBODY if said is Said.NO else {"account": "maja"}))
        return Sent("POST", action, members, is_foreign=True)

    def lie(self, lie: str) -> None:
        self.simulator.switch({Fault(lie)})

    def fail(self) -> None:
        self.simulator.switch({Fault.DISCOVERY_ERROR, Fault.KEYS_ERROR, Fault.TOKEN_ERROR})

    def stall(self) -> None:
        self.simulator.switch({Fault.TOKEN_SLOW})

    def heal(self) -> None:
        self.simulator.switch()

    def asked(self) -> int:
        return self.simulator.calls["token"]


@asynccontextmanager
async def play_apple(folder: Path) -> AsyncIterator[Play]:
    async with fetching(**patience()) as fetcher, open_world(folder, fetcher=fetcher) as world:
        play = ApplePlay(world.stage, "apple", world.stage.connectors["apple"])
        play.simulator = world.simulator
        yield play
        world.simulator.switch()


def cases() -> list[Case]:
    """For the contract suite."""
    return [Case("apple", play_apple, TOKEN_LIES)]


# The connector


async def test_a_first_login_tells_the_name(apple: Apple) -> None:
    """Subject under the issuer, name from the form, address from the token; after discovery and keys one call."""
    evidence = await apple.login()
    assert evidence == Evidence(
        upstream="apple",
        issuer=apple.origin,
        subject=evidence.subject,
        assurance=Assurance.CONTACT,
        amr=(),
        authenticated_at=START,
        given_name="Maja",
        family_name="Lindqvist",
        contacts=(Contact(ContactKind.EMAIL, "maja.lindqvist@posten.example", True),),
    )
    assert re.fullmatch(r"\d{6}\.[0-9a-f]{32}\.\d{4}", evidence.subject)
    apple.simulator.calls.clear()
    again = await apple.login()
    assert apple.simulator.calls == {"authorize": 1, "choose": 1, "token": 1}
    assert (again.subject, again.given_name, again.family_name) == (evidence.subject, None, None)


async def test_after_she_took_consent_back_the_name_comes_again(apple: Apple) -> None:
    """The simulator forgets as Apple does; the person stays the same."""
    first = await apple.login()
    apple.simulator.revoke(CLIENT, next(reversed(apple.simulator._tokens)))
    again = await apple.login()
    assert (again.subject, again.given_name) == (first.subject, "Maja")


async def test_the_connector_follows_the_port(apple: Apple) -> None:
    """It takes forms, and hears no logout tokens: Apple sends none."""
    connector: Connector = apple.connector
    assert isinstance(connector, FormConnector)
    assert not isinstance(connector, Listener)
    assert connector.reaches is Assurance.CONTACT
    assert apple.connect(trusted_email="never").reaches is Assurance.SELF_ASSERTED


async def test_the_request_carries_all_the_protections(apple: Apple) -> None:
    """By form, with state, nonce and PKCE; neither verifier nor secret; nobody's login hint."""
    state, url = await apple.begin(login_hint="maja@example.com")
    query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    remembered = json.loads(state)
    assert (query["response_mode"], query["scope"], query["state"]) == ("form_post", "name email", ASK.state)
    assert (query["nonce"], query["code_challenge_method"]) == (remembered["nonce"], "S256")
    assert remembered["verifier"] not in url
    assert not {"login_hint", "client_secret"} & set(query)


@pytest.mark.parametrize("asked", [{"fresh": True}, {"max_age_s": 300}])
async def test_a_fresh_login_is_refused_rather_than_claimed(apple: Apple, asked: dict[str, Any]) -> None:
    """There is no prompt=login at Apple (docs/security.md A13)."""
    with pytest.raises(UpstreamRefused) as error:
        await apple.begin(**asked)
    assert code_of(error) == "upstream.cannot_reauthenticate"


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize(
    ("relay_email", "expected", "level"),
    [("as_other", [True], Assurance.CONTACT), ("unproven", [False], Assurance.SELF_ASSERTED),
     ("withheld", [], Assurance.SELF_ASSERTED)],
)  # fmt: skip
async def test_relay_addresses(
    apple: Apple, as_text: bool, relay_email: str, expected: list[bool], level: Assurance
) -> None:
    """A relay is told by its claim, text or boolean, and counts for what the operator says; it is noticed by name only."""
    apple.simulator.switch(flags_as_text=as_text)
    apple.connector = apple.connect(relay_email=relay_email)
    evidence = await apple.login(email="hide")
    assert [contact.verified for contact in evidence.contacts] == expected
    assert all(contact.value.endswith("@privaterelay.appleid.com") for contact in evidence.contacts)
    assert (evidence.assurance, evidence.signals) == (level, ("apple.relay_email",))


@pytest.mark.parametrize("as_text", [False, True])
async def test_flags_as_text_or_boolean(apple: Apple, as_text: bool) -> None:
    """Apple sends either; an address that is no relay keeps its proof."""
    apple.simulator.switch(flags_as_text=as_text)
    evidence = await apple.login()
    assert [contact.verified for contact in evidence.contacts] == [True]
    assert evidence.signals == ()


async def test_an_untrusted_or_missing_address_proves_nothing(apple: Apple) -> None:
    """A login without address still identifies."""
    apple.connector = apple.connect(trusted_email="never")
    assert [contact.verified for contact in (await apple.login()).contacts] == [False]
    evidence = await apple.login("noor")
    assert (evidence.contacts, evidence.assurance) == ((), Assurance.SELF_ASSERTED)


@pytest.mark.parametrize(
    ("user", "name", "signals"),
    [
        ('{"name":', (None, None), ("apple.user_unreadable",)),
        ("[]", (None, None), ("apple.user_unreadable",)),
        ('{"x":' + "[" * 1900 + "]" * 1900 + "}", (None, None), ("apple.user_unreadable",)),
        ('{"name": {"firstName": 7}}', (None, None), ("apple.user_unreadable",)),
        (json.dumps({"name": {"firstName": "x" * 5000}}), (None, None), ("apple.user_unreadable",)),
        (json.dumps({"name": {"firstName": "x" * 501}}), (None, None), ("malformed_claim:given_name",)),
        (json.dumps({"name": {"firstName": "Å\u0007"}}), (None, None), ("malformed_claim:given_name",)),
        ('{"name": {"firstName": "Åsa"}}', ("Åsa", None), ()),
        ('{"name": null}', (None, None), ()),
        ("{}", (None, None), ()),
    ],
)
async def test_a_strange_user_member_costs_the_name_not_the_login(
    apple: Apple, user: str, name: tuple[str | None, str | None], signals: tuple[str, ...]
) -> None:
    """Broken, too long, of other types: the token decides who came."""
    state, url = await apple.begin()
    _, members = await visited(url, account="maja")
    evidence = await apple.resume(state, {**members, "user": user})
    assert ((evidence.given_name, evidence.family_name), evidence.signals) == (name, signals)


async def test_the_user_member_proves_nothing(apple: Apple) -> None:
    """Unsigned and editable: an address, a subject or a flag in it changes nothing."""
    state, url = await apple.begin()
    _, members = await visited(url, account="noor")
    forged = {"name": {"firstName": "Noor"}, "email": "boss@firm.example", "email_verified": True, "sub": "other"}
    evidence = await apple.resume(state, {**members, "user": json.dumps(forged)})
    assert (evidence.contacts, evidence.assurance) == ((), Assurance.SELF_ASSERTED)
    assert evidence.subject.startswith("000417.")


async def test_cancelled(apple: Apple) -> None:
    """Apple's own word for it; the token endpoint hears nothing."""
    state, url = await apple.begin()
    _, members = await visited(url, **NOBODY)
    assert members["error"] == "user_cancelled_authorize"
    with pytest.raises(Stopped):
        await apple.resume(state, members)
    assert apple.simulator.calls["token"] == 0


async def test_cancelled_for_another_login_is_refused(apple: Apple) -> None:
    """The state is compared before anything else is read."""
    state, _ = await apple.begin()
    with pytest.raises(UpstreamRefused) as error:
        await apple.resume(state, {"state": "another", "error": "user_cancelled_authorize"})
    assert code_of(error) == "callback.state"


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        (Fault.WRONG_NONCE, UpstreamRefused, "id_token.nonce"),
        (Fault.MISSING_NONCE, UpstreamRefused, "id_token.nonce"),
        (Fault.WRONG_AUDIENCE, UpstreamRefused, "id_token.aud"),
        (Fault.WRONG_ISSUER, UpstreamRefused, "id_token.iss"),
        (Fault.WRONG_AT_HASH, UpstreamRefused, "id_token.at_hash"),
        (Fault.EXPIRED, UpstreamRefused, "id_token.exp"),
        (Fault.FROM_THE_FUTURE, UpstreamRefused, "id_token.iat"),
        (Fault.ALG_NONE, UpstreamRefused, "id_token.alg"),
        (Fault.UNKNOWN_KEY, UpstreamRefused, "id_token.key"),
        (Fault.BROKEN_SIGNATURE, UpstreamRefused, "id_token.signature"),
        (Fault.NO_ID_TOKEN, UpstreamRefused, "token.id_token"),
        (Fault.WRONG_STATE, UpstreamRefused, "callback.state"),
        (Fault.AUTHORIZE_ERROR, UpstreamDown, "callback.server_error"),
        (Fault.SECRET_REFUSED, UpstreamDown, "token.invalid_client"),
        (Fault.TOKEN_ERROR, UpstreamDown, "upstream_down"),
        (Fault.KEYS_ERROR, UpstreamDown, "upstream_down"),
        (Fault.DISCOVERY_ERROR, UpstreamDown, "upstream_down"),
    ],
)
async def test_every_lie_and_failure_is_refused(apple: Apple, fault: Fault, kind: type[Exception], code: str) -> None:
    """One switch at a time; each alone is enough."""
    apple.simulator.switch({fault})
    with pytest.raises(kind) as error:
        await apple.login()
    assert code_of(error) == code


async def test_a_rotated_key_is_found(apple: Apple) -> None:
    """Three keys are published; a new one is fetched when needed."""
    await apple.login()
    apple.simulator.rotate()
    assert (await apple.login()).upstream == "apple"


async def test_a_code_works_once_and_for_its_own_login(apple: Apple) -> None:
    """Replayed, slipped into another login, too late: the code, the nonce and the verifier are bound to one attempt."""
    state, url = await apple.begin()
    _, members = await visited(url, account="maja")
    await apple.resume(state, members)
    with pytest.raises(UpstreamRefused) as error:
        await apple.resume(state, members)
    assert code_of(error) == "token.invalid_grant"
    state, url = await apple.begin()
    _, members = await visited(url, account="maja")
    other, _ = await apple.begin()
    with pytest.raises(UpstreamRefused) as error:
        await apple.resume(other, members)
    assert code_of(error) == "token.invalid_grant"
    state, url = await apple.begin()
    _, members = await visited(url, account="maja")
    apple.clock.now += timedelta(minutes=30)
    with pytest.raises(UpstreamRefused) as error:
        await apple.resume(state, members)
    assert code_of(error) == "callback.late"


@pytest.mark.parametrize("kind", [kind for kind in ReplyKind if kind is not ReplyKind.POSTED])
async def test_an_answer_that_came_another_way_is_refused(apple: Apple, kind: ReplyKind) -> None:
    """A code in an address may have been logged on its way: Apple posts."""
    state, url = await apple.begin()
    _, members = await visited(url, account="maja")
    with pytest.raises(UpstreamRefused) as error:
        await apple.resume(state, members, kind)
    assert (code_of(error), apple.simulator.calls["token"]) == ("callback.kind", 0)


@pytest.mark.parametrize("state", [b"", b"{}", b"[]", b"\xff"])
async def test_a_state_of_another_kind_is_refused(apple: Apple, state: bytes) -> None:
    """What the journey remembers must be this connector's."""
    with pytest.raises(UpstreamRefused) as error:
        await apple.resume(state, {"state": ASK.state, "code": "c"})
    assert code_of(error) == "callback.state"


# The client secret


def secret(**changes: Any) -> SignedSecret:
    given = {"kid": KEY_ID, "issuer": TEAM, "client_id": CLIENT, "audience": "https://appleid.apple.com"}
    return SignedSecret(parse_es256_key(PEM), **(given | changes))


def test_the_secret_is_apples_and_lives_minutes() -> None:
    """ES256, the key's name, team, client, audience; far below six months; in the form, never in Basic."""
    proof = secret().authenticate(START)
    token = jwt.decode(proof.form["client_secret"], TEAM_KEY, algorithms=["ES256"])
    assert (token.header["alg"], token.header["kid"]) == ("ES256", KEY_ID)
    issued = int(START.timestamp())
    assert token.claims == {
        "iss": TEAM, "sub": CLIENT, "aud": "https://appleid.apple.com", "iat": issued, "exp": issued + 600,
    }  # fmt: skip
    assert (proof.form["client_id"], proof.basic) == (CLIENT, None)


@pytest.mark.parametrize(
    ("later", "is_same"), [(0, True), (419, True), (420, False), (600, False), (86400, False), (-1, False)]
)
def test_a_secret_is_kept_until_shortly_before_its_end(later: int, is_same: bool) -> None:
    """One signature for many logins; never one that ends on its way, nor one from a clock that was set back."""
    keeper = secret()
    first = keeper.authenticate(START)
    again = keeper.authenticate(START + timedelta(seconds=later))
    assert (again is first) is is_same


async def test_a_secret_that_is_refused_is_made_anew(apple: Apple) -> None:
    """The operator reads why; the next login is not held up by what was kept."""
    await apple.login()
    apple.simulator.switch({Fault.SECRET_REFUSED})
    with pytest.raises(UpstreamDown):
        await apple.login()
    kept = apple.connector._secret._made
    apple.simulator.switch()
    await apple.login()
    assert kept is None


@pytest.mark.parametrize(
    ("claims", "header"),
    [
        ({"exp": int(START.timestamp())}, {}),
        ({"exp": int(START.timestamp()) + LONGEST_SECRET_S + 1}, {}),
        ({"exp": None}, {}),
        ({"iat": int(START.timestamp()) + 61}, {}),
        ({"iss": "OTHER12345"}, {}),
        ({"sub": "com.other.web"}, {}),
        ({"aud": "https://other.example"}, {}),
        ({}, {"kid": "OTHER12345"}),
    ],
)
async def test_the_simulator_is_as_strict_about_secrets_as_apple(
    apple: Apple, claims: dict[str, Any], header: dict[str, str]
) -> None:
    """Expired, endless, another's: `invalid_client` and nothing more."""
    issued = int(START.timestamp())
    good = {"iss": TEAM, "sub": CLIENT, "aud": apple.origin, "iat": issued, "exp": issued + 600}
    said = {name: value for name, value in (good | claims).items() if value is not None}
    form = {"client_id": CLIENT, "client_secret": jwt.encode({"alg": "ES256", "kid": KEY_ID} | header, said, TEAM_KEY)}
    async with httpx2.AsyncClient(verify=PLAIN, trust_env=False) as client:
        answer = await client.post(f"{apple.origin}/auth/token", data=form)
    assert (answer.status_code, answer.json()) == (400, {"error": "invalid_client"})


@pytest.mark.parametrize(
    "change",
    [{"client_id": "com.other"}, {"redirect_uri": CALLBACK + "/"}, {"response_mode": "query"}, {"response_mode": ""},
     {"scope": "name email phone"}, {"response_type": "id_token"}],
)  # fmt: skip
async def test_the_simulator_keeps_wrong_requests_to_itself(apple: Apple, change: dict[str, str]) -> None:
    """Configuration faults show on Apple's page and never come back."""
    _, url = await apple.begin()
    query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()} | change
    async with httpx2.AsyncClient(verify=PLAIN, trust_env=False) as client:
        answer = await client.get(f"{apple.origin}/auth/authorize?{urlencode(query)}")
    assert answer.status_code == 400
    assert 'id="problem"' in answer.text


@pytest.mark.parametrize(
    "pem",
    ["", "secret", ECKey.generate_key("P-384").as_pem(private=True).decode(), TEAM_KEY.as_pem(private=False).decode(),
     RSAKey.generate_key(2048).as_pem(private=True).decode()],
    ids=["empty", "text", "P-384", "public", "RSA"],
)  # fmt: skip
def test_an_unusable_key_is_found_at_start(pem: str) -> None:
    """And its text is not quoted."""
    with pytest.raises(ValueError, match="not a PEM private key") as error:
        AppleConnector("apple", config(), key=pem, fetcher=Fetcher())
    assert not pem or pem not in str(error.value)


@pytest.mark.parametrize(
    "changes",
    [{"team_id": "team123456"}, {"team_id": "SHORT"}, {"key_id": None}, {"key": PEM}, {"scopes": ["openid"]},
     {"issuer": "appleid.apple.com"}, {"issuer": "https://appleid.apple.com/?x=1"}, {"trusted_email": "yes"},
     {"relay_email": "maybe"}, {"client_secret": "file:x"}],
)  # fmt: skip
def test_config_mistakes_are_refused(changes: dict[str, Any]) -> None:
    """At start, not at a customer's login."""
    with pytest.raises(ValidationError):
        config(**changes)


# The whole broker


def write_key(folder: Path, pem: str = PEM) -> None:
    path = folder / "secrets" / "apple.p8"
    path.write_text(pem)
    path.chmod(0o600)


@pytest.mark.parametrize("pem", ["nonsense", RSAKey.generate_key(2048).as_pem(private=True).decode()])
def test_check_config_names_an_unusable_key(stage_folder: Path, pem: str) -> None:
    """File, key and what to do; never the key itself."""
    write_key(stage_folder, pem)
    (stage_folder / "stafett.yaml").write_text(example_text(), "utf-8")
    with pytest.raises(ConfigError) as error:
        load(stage_folder / "stafett.yaml", environment={})
    (problem,) = error.value.problems
    assert "upstreams.apple.connect.key: must be the private key that Apple gave out for key_id" in problem
    assert pem not in problem


@dataclass
class World:
    """A broker whose customers come by the simulated Apple."""

    stage: Stage
    simulator: AppleSimulator

    async def gone(self, browser: Browser) -> str:
        """*browser* asks the shop for a login and chooses Apple: where it is sent."""
        await browser.follow(await browser.get(self.stage.shop.request()))
        return (await browser.press("method-apple")).location

    async def answered(self, browser: Browser, account: str = "maja", **form: str) -> dict[str, str]:
        """The form that Apple's page makes *browser* post."""
        action, members = await visited(await self.gone(browser), account=account, **form)
        assert action == CALLBACK
        return members

    async def post(self, members: Mapping[str, str], upstream: str = "apple") -> Answer:
        """What a browser does with Apple's form: a POST from another site, without our cookies."""
        return Answer(await self.stage.client.post(f"/up/{upstream}/callback", data=dict(members)))

    async def log_in(self, browser: Browser, account: str = "maja", **form: str) -> Answer:
        return await browser.follow(await self.post(await self.answered(browser, account, **form)))

    async def claims(self, answer: Answer) -> dict[str, Any]:
        tokens = await self.stage.shop.exchange(answer)
        return {**tokens["claims"], **(await self.stage.shop.userinfo(tokens["access_token"])).json}


@asynccontextmanager
async def open_world(
    folder: Path,
    *,
    issuer: str = ISSUER,
    shop_callback: str = SHOP_CALLBACK,
    state: MemoryState | None = None,
    fetcher: Fetcher | None = None,
) -> AsyncIterator[World]:
    """A whole broker, and the provider on a port of its own; they share the time."""
    write_key(folder)
    apps: list[Starlette] = []
    clock = Clock()

    def app_for(origin: str) -> Starlette:
        apps.append(simulated(origin, clock, f"{issuer}/up/apple/callback"))
        return apps[0]

    async with on_loopback(app_for) as origin, fetching() as usual:
        simulator: AppleSimulator = apps[0].state.simulator

        def cast(clock: Any) -> dict[str, Any]:
            simulator.clock = clock
            return {"apple": AppleConnector("apple", config(origin), key=PEM, fetcher=fetcher or usual)}

        edit = {f"issuer: {ISSUER}": f"issuer: {issuer}", SHOP_CALLBACK: shop_callback}
        async with open_stage(folder, edit=edit, cast=cast, state=state) as stage:
            yield World(stage, simulator)


@pytest.fixture
async def world(stage_folder: Path) -> AsyncIterator[World]:
    async with open_world(stage_folder) as opened:
        yield opened


async def test_a_login_and_the_next_one_know_her_name(world: World) -> None:
    """Apple tells it once; what it told is kept with the customer, and partners get it every time."""
    browser = world.stage.browser()
    first = await world.claims(await world.log_in(browser))
    later = await world.claims(await world.log_in(world.stage.browser()))
    assert (first["name"], first["email"], first["email_verified"]) == (
        "Maja Lindqvist", "maja.lindqvist@posten.example", True,
    )  # fmt: skip
    assert (later["name"], later["sub"]) == (first["name"], first["sub"])
    third = await world.claims(await world.log_in(world.stage.browser()))
    assert third["name"] == "Maja Lindqvist"


async def test_a_new_name_takes_the_old_ones_place(world: World) -> None:
    """Told anew after she removed and added us again: what she says then counts."""
    await world.log_in(world.stage.browser())
    world.simulator.revoke(CLIENT, next(reversed(world.simulator._tokens)))
    later = await world.claims(await world.log_in(world.stage.browser(), first_name="Maj", last_name="Berg"))
    assert later["name"] == "Maj Berg"


def test_only_a_login_without_name_is_given_the_known_one() -> None:
    """No mixture of two names, and nothing but the name."""
    known = Profile(name="A B", given_name="A", family_name="B", email="a@b.example", personal_number="1")
    assert with_known_name(Profile(locale="sv"), known) == replace(
        Profile(locale="sv"), name="A B", given_name="A", family_name="B"
    )
    told = Profile(family_name="C")
    assert with_known_name(told, known) == told


async def test_the_post_sets_no_cookie_and_tells_no_address_anything(world: World) -> None:
    """The page that goes on names the one-time token; neither code nor name nor e-mail is in any address of ours."""
    browser = world.stage.browser()
    members = await world.answered(browser)
    answer = await world.post(members)
    assert (answer.status, answer.headers.get("set-cookie")) == (200, None)
    assert answer.location == f"{CALLBACK}?{urlencode({'posted': members['state']})}"
    assert answer.headers["cache-control"] == "no-store"
    for spoken in (members["code"], "Maja", "Lindqvist", "posten"):
        assert spoken not in answer.text
    assert (await browser.get(answer.location)).query["code"]


async def test_reload_after_the_post(world: World) -> None:
    """The form posted again, before and after the login was finished: it is taken once, and her journey goes on."""
    browser = world.stage.browser()
    members = await world.answered(browser)
    first, second = await world.post(members), await world.post(members)
    assert first.location == second.location
    done = await browser.get(first.location)
    assert done.query["code"]
    calls = world.simulator.calls["token"]
    again = await browser.follow(await browser.get((await world.post(members)).location))
    assert "code" not in again.query
    assert world.simulator.calls["token"] == calls


async def test_another_browser_cannot_use_it(world: World) -> None:
    """An answer posted by a victim's browser, or its address opened there, logs nobody in there (login CSRF), and is not lost."""
    attacker, victim = world.stage.browser(), world.stage.browser()
    members = await world.answered(attacker)
    await victim.get(world.stage.shop.request())
    address = (await world.post(members)).location
    refused = await victim.get(address)
    assert refused.status >= 400
    assert "__Host-stafett-session" not in victim.cookies
    assert world.simulator.calls["token"] == 0
    stranger = await world.stage.browser().get(address)
    assert stranger.status >= 400
    assert (await attacker.get(address)).query["code"]


async def test_two_tabs(world: World) -> None:
    """Each tab's answer belongs to its own journey, in whichever order they come."""
    one = world.stage.browser()
    await one.get(world.stage.shop.request())
    two = one.copy()
    first, second = await world.answered(one), await world.answered(two)
    later, sooner = await world.post(second), await world.post(first)
    assert (await one.get(sooner.location)).query["code"]
    assert (await two.get(later.location)).query["code"]


@pytest.mark.parametrize("change", [{"state": "a/b"}, {"state": ""}, {"state": "x" * 300}, {"user": "u" * 9000}])
async def test_strange_forms_are_refused(world: World, change: dict[str, str]) -> None:
    """No state of ours, too large: nothing is kept, the provider is not asked."""
    members = await world.answered(world.stage.browser())
    answer = await world.post({**members, **change})
    assert 400 <= answer.status < 500
    assert world.simulator.calls["token"] == 0


async def test_a_form_that_is_too_large_in_all(world: World) -> None:
    """Many members below the bound for one."""
    members = await world.answered(world.stage.browser())
    assert (await world.post({**members, **{f"m{number}": "x" * 8000 for number in range(3)}})).status == 400


async def test_a_wrong_state_of_the_right_form_leads_nowhere(world: World) -> None:
    """Of her own journey, but not the one that was sent: what was posted is not kept."""
    browser = world.stage.browser()
    members = await world.answered(browser)
    journey, random, proof = members["state"].split(".")
    for wrong in (f"{journey}.{random[::-1]}.{proof}", f"{journey}.{random}.{proof[::-1]}"):
        address = (await world.post({**members, "state": wrong})).location
        assert "code" not in (await browser.get(address)).query
    assert world.simulator.calls["token"] == 0
    assert (await browser.get((await world.post(members)).location)).query["code"]


async def test_at_another_providers_address_it_is_a_mix_up(world: World) -> None:
    """Google sends no forms; and what was posted for Apple is not fetched at Google's address."""
    browser = world.stage.browser()
    members = await world.answered(browser)
    assert (await world.post(members, "google")).status == 400
    assert (await world.post(members, "unknown")).status == 400
    address = (await world.post(members)).location.replace("/apple/", "/google/")
    assert (await browser.get(address)).status >= 400
    assert world.simulator.calls["token"] == 0


async def test_an_answer_in_the_address_is_not_taken(world: World) -> None:
    """By GET the code would be in logs and histories: refused, she may choose again."""
    browser = world.stage.browser()
    members = await world.answered(browser)
    page = await browser.follow(await browser.get(f"/up/apple/callback?{urlencode(members)}"))
    assert "method-apple" in page.ids
    assert world.simulator.calls["token"] == 0


async def test_what_nobody_fetches_is_gone_after_a_minute(world: World) -> None:
    """Then she may choose again."""
    browser = world.stage.browser()
    address = (await world.post(await world.answered(browser))).location
    world.stage.clock.forward(seconds=61)
    page = await browser.follow(await browser.get(address))
    assert "method-apple" in page.ids
    assert world.simulator.calls["token"] == 0


async def test_a_form_costs_one_round_trip_more(stage_folder: Path) -> None:
    """The POST asks the state store once; fetching what was posted costs no more than a callback by redirect."""
    state = CountingState()
    async with open_world(stage_folder, state=state) as world:
        trips = []
        browser = world.stage.browser()
        members = await world.answered(browser)
        posted = await counted(state, world.post(members), trips)
        await counted(state, browser.get(posted.location), trips)
        other = world.stage.browser()
        await other.follow(await other.get(world.stage.shop.request()))
        token = (await other.press("method-google")).query["state"]
        await counted(state, other.get(f"/up/google/callback?{urlencode({'state': token, 'who': 'maja'})}"), trips)
    assert (trips[0], trips[1]) == (1, trips[2])


async def counted(state: CountingState, doing: Awaitable[Answer], trips: list[int]) -> Answer:
    before = state.trips
    answer = await doing
    trips.append(state.trips - before)
    return answer


async def test_an_answer_without_login_is_not_kept(world: World) -> None:
    """Nobody fills the store with inventions, nor asks it endlessly."""
    members = await world.answered(world.stage.browser())
    invented = [f"{members['state'][:-1]}{letter}" for letter in "xyz"] + ["unknown.random.proof"]
    for token in invented:
        await world.post({**members, "state": token})
        assert await world.stage.state.run(Get(f"posted:{name_of(token)}")) == [None]
    statuses = {(await world.post({**members, "state": invented[0]})).status for _ in range(300)}
    assert statuses == {200, 429}


async def test_no_personal_data_or_secret_in_logs_or_store(
    world: World, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither name, address, code, secret nor key: not in the log of a good login, nor in that of a bad one."""
    caplog.set_level(logging.DEBUG)
    browser = world.stage.browser()
    members = await world.answered(browser)
    await browser.get((await world.post(members)).location)
    world.simulator.switch({Fault.SECRET_REFUSED})
    await world.log_in(world.stage.browser(), "aino")
    ours = [each for each in caplog.records if each.name.split(".")[0] not in {"httpx2", "httpcore2", "uvicorn"}]
    text = "".join(capfd.readouterr()) + " ".join(each.getMessage() for each in ours)
    assert "upstream.failed" in text
    for spoken in ("Maja", "Lindqvist", "posten", "Aino", "Korhonen", members["code"], members["state"], PEM[40:80]):
        assert spoken not in text
    assert "eyJ" not in text


# A real browser


@pytest.mark.browser
@pytest.mark.asyncio(loop_scope="session")
async def test_a_real_browser_comes_back_logged_in(stage_folder: Path, chromium: Chromium) -> None:
    """
    Apple's page on another site posts without our cookies, under a policy that lets its form go to us only; the login ends at
    the shop all the same.
    """
    seen: list[tuple[str, str, bool]] = []
    served: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        has_cookie = any(name == b"cookie" for name, _ in scope["headers"])
        seen.append((scope["method"], scope["path"], has_cookie))
        await served[0](scope, receive, send)

    async def arrived(request: Request) -> PlainTextResponse:
        return PlainTextResponse("at the shop")

    shop_app = Starlette(routes=[Route("/login/callback", arrived)])
    async with on_loopback(lambda _: app) as origin, on_loopback(lambda _: shop_app) as shop:
        issuer, callback = origin.replace("127.0.0.1", "localhost"), f"{shop}/login/callback"
        async with (
            open_world(stage_folder, issuer=issuer, shop_callback=callback) as world,
            browsing(chromium) as context,
        ):
            served.append(world.stage.broker.app)
            world.stage.shop.redirect_uri = callback
            page = await context.new_page()
            await page.goto(issuer + world.stage.shop.request())
            await press(page, "#method-apple")
            await page.wait_for_url(re.compile(r"/auth/authorize"))
            await page.click("#account-maja")
            await page.wait_for_url(f"{callback}?*")
            assert "code=" in page.url
    posts = [has_cookie for method, path, has_cookie in seen if (method, path) == ("POST", "/up/apple/callback")]
    fetched = [has_cookie for method, path, has_cookie in seen if (method, path) == ("GET", "/up/apple/callback")]
    assert (posts, fetched) == ([False], [True])
