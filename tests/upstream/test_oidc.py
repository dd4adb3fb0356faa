"""
The generic OpenID Connect connector: against the simulated Google on a real loopback port, and against a provider
that lies. Nothing sleeps; time is what the test says.
"""

import asyncio
import base64
import json
import re
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
import uvicorn
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from uvicorn.server import ServerState

from broker.core.assurance import Assurance
from broker.core.identity import Contact, ContactKind, Evidence
from broker.demo.providers.google import Fault, GoogleClient, GoogleSimulator, IssuerMode, create_app
from broker.errors import Stopped, UpstreamDown, UpstreamRefused
from broker.upstream.claims import claim, evidence_from, merged, reaches
from broker.upstream.oidc import OidcConfig, OidcConnector
from broker.upstream.port import Connector, Done, Redirect, Reply, ReplyKind, UpstreamAsk
from broker.wire.http import Blocked, Fetcher
from tests.changing import replace
from tests.stage import Answer, Browser, open_stage
from tests.upstream.cases import TOKEN_LIES, Case, Play, Said, Sent, patience

CALLBACK = "http://localhost:8700/up/google/callback"
SECRET = "a secret/with +odd% characters"
START = datetime(2026, 11, 1, 12, tzinfo=UTC)
#: The browser speaks plain http only; building a trust store for it would cost more than a login.
PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
KEYS = [RSAKey.generate_key(2048, {"kid": f"key-{number}"}) for number in (1, 2)]
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


class Clock:
    """The time of provider and broker alike; the test turns it."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@asynccontextmanager
async def on_loopback(app_for: Any) -> AsyncIterator[str]:
    """Serve the app that *app_for* makes of its own origin, on a free port; gives the origin."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        origin = f"http://127.0.0.1:{listening.getsockname()[1]}"
        config = uvicorn.Config(app_for(origin), log_config=None, lifespan="off", ws="none", http="h11")
        config.load()
        state = ServerState()
        # uvicorn's own loop looks only ten times a second whether it should end.
        server = await asyncio.get_running_loop().create_server(
            lambda: config.http_protocol_class(config=config, server_state=state, app_state={}), sock=listening
        )
        try:
            yield origin
        finally:
            server.close()
            for connection in list(state.connections):
                connection.transport.abort()
            await asyncio.gather(*state.tasks)


@asynccontextmanager
async def fetching(**options: Any) -> AsyncIterator[Fetcher]:
    fetcher = Fetcher(**{"allow_private_networks": ("127.0.0.0/8",)} | options)
    try:
        yield fetcher
    finally:
        await fetcher.close()


def code_of(error: pytest.ExceptionInfo[Any]) -> str:
    return error.value.code


# The simulated Google


async def chosen(url: str, account: str = "maja") -> str:
    """Choose *account* (or `deny`) on Google's page at *url*; gives the address the browser is sent back to."""
    async with httpx2.AsyncClient(verify=PLAIN, trust_env=False) as browser:
        page = await browser.get(url)
        if page.status_code == 200:
            form = {"request": re.search(r'name="request" value="([^"]+)"', page.text)[1]}
            form |= {"deny": "1"} if account == "deny" else {"account": account}
            page = await browser.post(urlsplit(url)._replace(path="/signin/choose", query="").geturl(), data=form)
    return str(page.headers["location"])


class Google:
    """A connector for the simulated Google, and a browser that goes there."""

    def __init__(self, origin: str, simulator: GoogleSimulator, fetcher: Fetcher, clock: Clock) -> None:
        self.origin, self.simulator, self.fetcher, self.clock = origin, simulator, fetcher, clock
        self.connector = self.connect()

    def config(self, **changes: Any) -> OidcConfig:
        settings = {
            "issuer": self.origin,
            "accepted_issuers": [urlsplit(self.origin).netloc],
            "client_id": "stafett-demo",
            "client_secret": "env:GOOGLE_SECRET",
            "scopes": ["openid", "email", "profile"],
            "trusted_contacts": {"email": "authoritative"},
            "ignored_claims": ["picture"],
            "reauthenticates": False,
        }
        return OidcConfig.model_validate(settings | changes)

    def connect(self, **changes: Any) -> OidcConnector:
        return OidcConnector.of("google", self.config(**changes), credential=SECRET, fetcher=self.fetcher)

    async def visit(self, url: str, account: str = "maja") -> dict[str, str]:
        """Choose *account* (or `deny`) on the provider's page; gives the parameters of the callback."""
        target = urlsplit(await chosen(url, account))
        assert target._replace(query="").geturl() == CALLBACK
        return {name: values[0] for name, values in parse_qs(target.query).items()}

    async def begin(self, **changes: Any) -> tuple[bytes, str]:
        begun = await self.connector.begin(replace(ASK, now=self.clock.now, **changes))
        assert isinstance(begun.prompt, Redirect)
        return begun.state, begun.prompt.url

    async def resume(self, state: bytes, callback: dict[str, str]) -> Evidence:
        done = await self.connector.resume(state, Reply(ReplyKind.CALLBACK, callback, self.clock.now))
        assert isinstance(done, Done)
        return done.evidence

    async def login(self, account: str = "maja", **changes: Any) -> Evidence:
        state, url = await self.begin(**changes)
        return await self.resume(state, await self.visit(url, account))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def google(clock: Clock) -> AsyncIterator[Google]:
    client = GoogleClient("Stafett", SECRET, frozenset({CALLBACK}))
    apps: list[Starlette] = []

    def app_for(origin: str) -> Starlette:
        apps.append(create_app(issuer=origin, clients={"stafett-demo": client}, clock=clock, keys=KEYS))
        return apps[0]

    async with on_loopback(app_for) as origin, fetching() as fetcher:
        google = Google(origin, apps[0].state.simulator, fetcher, clock)
        yield google
        google.simulator.switch(())


# What every connector must do


class OidcPlay(Play):
    """The simulated Google in a whole broker."""

    simulator: GoogleSimulator

    async def answered(self, browser: Browser, gone: Answer, said: Said = Said.YES) -> Sent | None:
        if said is Said.REFUSED:
            self.simulator.switch({Fault.AUTHORIZE_REFUSED})
        target = urlsplit(await chosen(gone.location, "deny" if said is Said.NO else "maja"))
        members = {name: values[0] for name, values in parse_qs(target.query).items()}
        return Sent("GET", target._replace(query="").geturl(), members)

    def lie(self, lie: str) -> None:
        self.simulator.switch({Fault(lie)})

    def fail(self) -> None:
        self.simulator.switch({Fault.DISCOVERY_ERROR, Fault.KEYS_ERROR, Fault.TOKEN_ERROR})

    def stall(self) -> None:
        self.simulator.switch({Fault.TOKEN_SLOW})

    def heal(self) -> None:
        self.simulator.switch(())

    def asked(self) -> int:
        return self.simulator.calls["token"]


@asynccontextmanager
async def play_oidc(folder: Path) -> AsyncIterator[Play]:
    apps: list[Starlette] = []
    client = GoogleClient("Stafett", SECRET, frozenset({CALLBACK}))

    def app_for(origin: str) -> Starlette:
        apps.append(create_app(issuer=origin, clients={"stafett-demo": client}, clock=Clock(), keys=KEYS))
        return apps[0]

    async with on_loopback(app_for) as origin, fetching(**patience()) as fetcher:
        simulator: GoogleSimulator = apps[0].state.simulator
        risc = f"{origin}/.well-known/risc-configuration"
        connector = Google(origin, simulator, fetcher, Clock()).connect(risc_configuration=risc)

        def cast(clock: Any) -> dict[str, Any]:
            simulator.clock = clock
            return {"google": connector}

        async with open_stage(folder, cast=cast) as stage:
            play = OidcPlay(stage, "google", connector)
            play.simulator = simulator
            yield play
        simulator.switch(())


LIES = (*TOKEN_LIES, Fault.WRONG_AZP, Fault.ALG_HS256, Fault.WRONG_RESPONSE_ISSUER)


def cases() -> list[Case]:
    """For the contract suite."""
    return [Case("oidc", play_oidc, LIES, name="google")]


async def test_a_login_gives_evidence_and_makes_one_call(google):
    """Subject under the issuer, names, language, contact; after discovery and keys only the token endpoint is asked."""
    evidence = await google.login()
    assert evidence == Evidence(
        upstream="google",
        issuer=google.origin,
        subject="108204268033311374519",
        assurance=Assurance.CONTACT,
        amr=(),
        authenticated_at=START,
        name="Maja Lindqvist",
        given_name="Maja",
        family_name="Lindqvist",
        contacts=(Contact(ContactKind.EMAIL, "maja.lindqvist.demo@gmail.com", True),),
        language="sv",
        is_time_proven=False,
    )
    google.simulator.calls.clear()
    await google.login()
    assert google.simulator.calls == {"authorize": 1, "choose": 1, "token": 1}


def test_the_connector_follows_the_port():
    """The hub knows it only as a Connector."""
    connector: Connector = OidcConnector.of("x", config_for("https://id.example"), credential="s", fetcher=Fetcher())
    assert (connector.id, connector.reaches) == ("x", Assurance.SELF_ASSERTED)


async def test_the_request_carries_all_the_protections(google):
    """PKCE S256, nonce, the flow's state, this upstream's own callback; no verifier and no secret in the URL."""
    state, url = await google.begin(language="fi", login_hint="aino.korhonen@posti.example")
    query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    remembered = json.loads(state)
    assert query["response_type"] == "code"
    assert query["redirect_uri"] == CALLBACK
    assert query["state"] == ASK.state
    assert query["nonce"] == remembered["nonce"]
    assert query["code_challenge_method"] == "S256"
    assert query["ui_locales"] == "fi"
    assert query["login_hint"] == "aino.korhonen@posti.example"
    assert not {"prompt", "max_age"} & set(query)
    assert remembered["verifier"] not in url
    assert SECRET not in url


async def test_nonce_and_verifier_are_new_each_time(google):
    """No two logins share a secret."""
    first, second = [json.loads((await google.begin())[0]) for _ in range(2)]
    assert first["nonce"] != second["nonce"]
    assert first["verifier"] != second["verifier"]
    assert len(first["verifier"]) >= 43


async def test_configured_prompt_and_extra_parameters_are_sent(google):
    """What a provider wants beyond the standard is config."""
    google.connector = google.connect(prompt="select_account", extra_authorize_params={"hd": "shop.example"})
    _, url = await google.begin()
    query = parse_qs(urlsplit(url).query)
    assert (query["prompt"], query["hd"]) == (["select_account"], ["shop.example"])


@pytest.mark.parametrize("asked", [{"fresh": True}, {"max_age_s": 300}, {"max_age_s": 0}])
async def test_google_cannot_be_made_to_authenticate_anew(google, asked):
    """There is no prompt=login there: refused at once rather than claimed (docs/security.md A13)."""
    with pytest.raises(UpstreamRefused) as error:
        await google.begin(**asked)
    assert code_of(error) == "upstream.cannot_reauthenticate"


@pytest.mark.parametrize(
    ("account", "trust", "expected"),
    [
        ("maja", "authoritative", True),
        ("erik", "authoritative", True),
        ("aino", "authoritative", False),
        ("piotr", "authoritative", False),
        ("aino", "always", True),
        ("piotr", "always", False),
        ("maja", "never", False),
    ],
)
async def test_which_mail_addresses_are_proven(google, account, trust, expected):
    """Google runs gmail.com and hosted domains; other addresses it checked once, long ago."""
    google.connector = google.connect(trusted_contacts={"email": trust})
    evidence = await google.login(account)
    assert [contact.verified for contact in evidence.contacts] == [expected]
    assert evidence.assurance is (Assurance.CONTACT if expected else Assurance.SELF_ASSERTED)


async def test_without_address_there_is_no_contact(google):
    """A login without e-mail still identifies."""
    evidence = await google.login("noor")
    assert (evidence.contacts, evidence.assurance) == ((), Assurance.SELF_ASSERTED)


async def test_both_spellings_of_the_issuer_give_the_same_person(google):
    """Google's two forms of iss: one key, or the customer would become two."""
    first = await google.login()
    google.simulator.switch((), IssuerMode.BARE_HOST)
    second = await google.login()
    assert (first.issuer, first.subject) == (second.issuer, second.subject)


async def test_the_other_spelling_must_be_configured(google):
    """Without accepted_issuers iss is compared exactly."""
    google.simulator.switch((), IssuerMode.BARE_HOST)
    google.connector = google.connect(accepted_issuers=[])
    with pytest.raises(UpstreamRefused) as error:
        await google.login()
    assert code_of(error) == "id_token.iss"


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        (Fault.WRONG_NONCE, UpstreamRefused, "id_token.nonce"),
        (Fault.MISSING_NONCE, UpstreamRefused, "id_token.nonce"),
        (Fault.WRONG_AUDIENCE, UpstreamRefused, "id_token.aud"),
        (Fault.WRONG_AZP, UpstreamRefused, "id_token.azp"),
        (Fault.WRONG_ISSUER, UpstreamRefused, "id_token.iss"),
        (Fault.WRONG_AT_HASH, UpstreamRefused, "id_token.at_hash"),
        (Fault.EXPIRED, UpstreamRefused, "id_token.exp"),
        (Fault.FROM_THE_FUTURE, UpstreamRefused, "id_token.iat"),
        (Fault.ALG_NONE, UpstreamRefused, "id_token.alg"),
        (Fault.ALG_HS256, UpstreamRefused, "id_token.alg"),
        (Fault.UNKNOWN_KEY, UpstreamRefused, "id_token.key"),
        (Fault.BROKEN_SIGNATURE, UpstreamRefused, "id_token.signature"),
        (Fault.NO_ID_TOKEN, UpstreamRefused, "token.id_token"),
        (Fault.WRONG_RESPONSE_ISSUER, UpstreamRefused, "callback.iss"),
        (Fault.WRONG_STATE, UpstreamRefused, "callback.state"),
        (Fault.AUTHORIZE_ERROR, UpstreamDown, "callback.server_error"),
        (Fault.TOKEN_ERROR, UpstreamDown, "upstream_down"),
        (Fault.KEYS_ERROR, UpstreamDown, "upstream_down"),
        (Fault.DISCOVERY_ERROR, UpstreamDown, "upstream_down"),
    ],
)
async def test_every_lie_and_failure_of_the_provider_is_refused(google, fault, kind, code):
    """One switch at a time; each alone is enough."""
    google.simulator.switch({fault})
    with pytest.raises(kind) as error:
        await google.login()
    assert (type(error.value).__mro__.count(kind), code_of(error)) == (1, code)


async def test_wrong_secret_is_the_operators_trouble(google):
    """invalid_client: the provider refuses us, not the customer."""
    state, url = await google.begin()
    callback = await google.visit(url)
    google.connector = OidcConnector.of("google", google.config(), credential="wrong", fetcher=google.fetcher)
    with pytest.raises(UpstreamDown) as error:
        await google.resume(state, callback)
    assert code_of(error) == "token.invalid_client"
    assert SECRET not in error.value.detail


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
async def test_both_ways_of_sending_the_secret(google, method):
    """Odd characters survive (RFC 6749 section 2.3.1: form-encoded inside Basic)."""
    google.connector = google.connect(client_auth=method)
    assert (await google.login()).subject


async def test_cancelling_at_the_provider_stops(google):
    """access_denied is the customer's no, not a failure."""
    with pytest.raises(Stopped):
        await google.login("deny")


# Callbacks


async def refused_callback(google: Google, kind: type[Exception] = UpstreamRefused, **changes: str | None) -> str:
    state, url = await google.begin()
    callback = await google.visit(url)
    google.simulator.calls.clear()
    callback = {name: value for name, value in (callback | changes).items() if value is not None}
    with pytest.raises(kind) as error:
        await google.resume(state, callback)
    assert google.simulator.calls["token"] == 0
    return code_of(error)


@pytest.mark.parametrize("state", [None, "", "state-other", ASK.state + "x", ASK.state[:-1]])
async def test_a_foreign_state_never_reaches_the_token_endpoint(google, state):
    """RFC 6749 section 10.12."""
    assert await refused_callback(google, state=state) == "callback.state"


@pytest.mark.parametrize("issuer", ["https://accounts.google.com", "", "{origin}/", "127.0.0.1"])
async def test_a_foreign_iss_never_reaches_the_token_endpoint(google, issuer):
    """Mix-up (RFC 9207 section 2.4): compared exactly even when the provider did not announce it."""
    assert await refused_callback(google, iss=issuer.format(origin=google.origin)) == "callback.iss"


async def test_an_unannounced_iss_may_be_absent(google):
    """Google sends it without announcing it; a response without it is still its own."""
    state, url = await google.begin()
    callback = await google.visit(url)
    del callback["iss"]
    assert (await google.resume(state, callback)).subject


@pytest.mark.parametrize("code", [None, "", "x" * 4097])
async def test_a_callback_without_usable_code(google, code):
    """Neither code nor error is no answer."""
    assert await refused_callback(google, code=code) == "callback.code"


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        ("access_denied", Stopped, "upstream.cancelled"),
        ("login_required", UpstreamRefused, "callback.login_required"),
        ("interaction_required", UpstreamRefused, "callback.interaction_required"),
        ("consent_required", UpstreamRefused, "callback.consent_required"),
        ("unmet_authentication_requirements", UpstreamRefused, "callback.unmet_authentication_requirements"),
        ("server_error", UpstreamDown, "callback.server_error"),
        ("temporarily_unavailable", UpstreamDown, "callback.temporarily_unavailable"),
        ("invalid_scope", UpstreamDown, "callback.invalid_scope"),
        ("unauthorized_client", UpstreamDown, "callback.unauthorized_client"),
        ("maja@gmail.com<script>", UpstreamRefused, "callback.unreadable"),
        ("", UpstreamRefused, "callback.unreadable"),
    ],
)
async def test_error_callbacks(google, error, kind, code):
    """Cancelled, refused, ill, or our own registration; a word that is no code is never repeated."""
    assert await refused_callback(google, kind, error=error) == code


async def test_an_error_with_foreign_state_is_not_believed(google):
    """Somebody else's access_denied does not stop this login."""
    assert await refused_callback(google, error="access_denied", state="other") == "callback.state"


async def test_a_code_is_redeemed_once(google):
    """Replaying the callback fails at the provider (invalid_grant); the flow refuses the state before that."""
    state, url = await google.begin()
    callback = await google.visit(url)
    await google.resume(state, callback)
    with pytest.raises(UpstreamRefused) as error:
        await google.resume(state, callback)
    assert code_of(error) == "token.invalid_grant"


async def test_a_code_of_another_login_is_refused(google):
    """Code injection (RFC 9700 section 4.5): PKCE binds the code to the login that asked for it."""
    state, _ = await google.begin()
    _, other_url = await google.begin()
    callback = await google.visit(other_url, "erik")
    with pytest.raises(UpstreamRefused) as error:
        await google.resume(state, callback)
    assert code_of(error) == "token.invalid_grant"


async def test_a_late_callback_is_refused(google, clock):
    """A tab left open for half an hour starts again."""
    state, url = await google.begin()
    callback = await google.visit(url)
    clock.now += timedelta(minutes=30)
    with pytest.raises(UpstreamRefused) as error:
        await google.resume(state, callback)
    assert code_of(error) == "callback.late"


@pytest.mark.parametrize("state", [b"", b"{}", b"null", b"\xff", b'{"state":1}'])
async def test_spoiled_state_is_refused(google, state):
    """A journey of another connector, or none."""
    with pytest.raises(UpstreamRefused) as error:
        await google.resume(state, {"state": ASK.state, "code": "x"})
    assert code_of(error) == "callback.state"


@pytest.mark.parametrize("kind", [ReplyKind.POLL, ReplyKind.RETURN, ReplyKind.ACT])
async def test_only_the_callback_answers(google, kind):
    """No other way in."""
    state, url = await google.begin()
    callback = await google.visit(url)
    with pytest.raises(UpstreamRefused) as error:
        await google.connector.resume(state, Reply(kind, callback, START))
    assert code_of(error) == "callback.kind"


# Keys and metadata over time


async def test_a_rotated_key_is_fetched_once_and_then_known(google, clock):
    """Unknown kid: one refetch; the new key then serves without another."""
    await google.login()
    google.simulator.rotate()
    google.simulator.calls.clear()
    await google.login()
    await google.login()
    assert google.simulator.calls["keys"] == 1


async def test_unknown_keys_lead_to_one_fetch_a_minute(google, clock):
    """B9: a hundred tokens signed with unknown keys, at once and one after another."""
    await google.login()
    google.simulator.switch({Fault.UNKNOWN_KEY})
    google.simulator.calls.clear()
    opened = [await google.begin() for _ in range(4)]
    callbacks = [await google.visit(url) for _, url in opened]
    results = await asyncio.gather(
        *(google.resume(state, callback) for (state, _), callback in zip(opened, callbacks, strict=True)),
        return_exceptions=True,
    )
    assert {getattr(result, "code", "") for result in results} == {"id_token.key"}
    assert google.simulator.calls["keys"] == 1
    clock.now += timedelta(seconds=59)
    with pytest.raises(UpstreamRefused):
        await google.login()
    assert google.simulator.calls["keys"] == 1
    clock.now += timedelta(seconds=1)
    with pytest.raises(UpstreamRefused):
        await google.login()
    assert google.simulator.calls["keys"] == 2


async def test_many_at_once_share_one_fetch(google):
    """A cold start under load asks discovery and keys once."""
    await asyncio.gather(*(google.begin() for _ in range(20)))
    assert google.simulator.calls["discovery"] == 1


async def test_caches_are_renewed_when_they_end(google, clock):
    """Discovery says an hour, the keys five and a half."""
    await google.login()
    clock.now += timedelta(minutes=59)
    await google.login()
    assert (google.simulator.calls["discovery"], google.simulator.calls["keys"]) == (1, 1)
    clock.now += timedelta(minutes=2)
    await google.login()
    assert (google.simulator.calls["discovery"], google.simulator.calls["keys"]) == (2, 1)
    clock.now += timedelta(hours=5)
    await google.login()
    assert (google.simulator.calls["discovery"], google.simulator.calls["keys"]) == (3, 2)


async def test_an_outage_of_discovery_is_bridged_for_a_day(google, clock):
    """What cannot be renewed goes on serving, asked again every ten seconds at most, and not for ever."""
    await google.login()
    google.simulator.switch({Fault.DISCOVERY_ERROR, Fault.KEYS_ERROR})
    google.simulator.calls.clear()
    clock.now += timedelta(hours=6)
    await google.login()
    await google.login()
    assert google.simulator.calls["discovery"] == 1
    clock.now += timedelta(seconds=10)
    await google.login()
    assert google.simulator.calls["discovery"] == 2
    clock.now += timedelta(hours=24)
    with pytest.raises(UpstreamDown):
        await google.begin()


async def test_a_dead_provider_is_not_hammered(google):
    """Without anything to serve the failure itself is remembered for ten seconds."""
    google.simulator.switch({Fault.DISCOVERY_ERROR})
    for _ in range(5):
        with pytest.raises(UpstreamDown):
            await google.begin()
    assert google.simulator.calls["discovery"] == 1


# Userinfo


async def test_userinfo_is_asked_only_when_configured_and_adds_claims(google):
    """One more call; the same person."""
    google.connector = google.connect(userinfo=True)
    assert (await google.login()).name == "Maja Lindqvist"
    assert google.simulator.calls["userinfo"] == 1


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        (Fault.USERINFO_OTHER_SUBJECT, UpstreamRefused, "userinfo.sub"),
        (Fault.USERINFO_ERROR, UpstreamDown, "upstream_down"),
    ],
)
async def test_userinfo_of_another_person_or_none(google, fault, kind, code):
    """Core 5.3.2: sub must be the ID token's, exactly."""
    google.connector = google.connect(userinfo=True)
    google.simulator.switch({fault})
    with pytest.raises(kind) as error:
        await google.login()
    assert code_of(error) == code


# A provider that lies


def config_for(issuer: str, /, **changes: Any) -> OidcConfig:
    settings = {"issuer": issuer, "client_id": "stafett", "client_secret": "env:SECRET"}
    return OidcConfig.model_validate(settings | changes)


class Liar:
    """An OpenID provider that answers what the test puts into its hands."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.key: RSAKey | ECKey = KEYS[0]
        self.alg = "RS256"
        self.discovery: dict[str, Any] = {
            "issuer": origin,
            "authorization_endpoint": f"{origin}/authorize?tenant=a",
            "token_endpoint": f"{origin}/token",
            "userinfo_endpoint": f"{origin}/userinfo",
            "jwks_uri": f"{origin}/keys",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256"],
        }
        self.keys: Any = None
        self.claims: dict[str, Any] = {}
        self.token: dict[str, Any] = {}
        self.userinfo: Any = {}
        self.answers: dict[str, Response] = {}
        self.forms: list[dict[str, str]] = []
        self.calls: Counter[str] = Counter()
        self.nonce = ""
        self.now = START

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self.answer, methods=["GET", "POST"])])

    async def answer(self, request: Request) -> Response:
        path = request.url.path
        self.calls[path] += 1
        if path in self.answers:
            return self.answers[path]
        match path:
            case "/.well-known/openid-configuration":
                return JSONResponse(self.discovery)
            case "/keys":
                return JSONResponse(self.keys or {"keys": [self.key.as_dict(private=False)]})
            case "/token":
                async with request.form() as form:
                    self.forms.append({**form, "authorization": request.headers.get("authorization", "")})
                return JSONResponse(
                    {"access_token": "at-1", "token_type": "Bearer", "id_token": self.id_token()} | self.token
                )
            case "/userinfo":
                return JSONResponse(self.userinfo)
            case _:
                return Response(status_code=404)

    def id_token(self) -> str:
        at = int(self.now.timestamp())
        claims = {
            "iss": self.origin,
            "sub": "person-1",
            "aud": "stafett",
            "iat": at,
            "exp": at + 300,
            "nonce": self.nonce,
        }
        claims = {name: value for name, value in (claims | self.claims).items() if value is not None}
        return jwt.encode({"alg": self.alg, "kid": self.key.kid}, claims, self.key, algorithms=[self.alg])


class Lied:
    """A connector for the liar."""

    def __init__(self, liar: Liar, fetcher: Fetcher) -> None:
        self.liar, self.fetcher = liar, fetcher

    def connect(self, credential: str = "secret", **changes: Any) -> OidcConnector:
        config = config_for(self.liar.origin, **changes)
        return OidcConnector.of("liar", config, credential=credential, fetcher=self.fetcher)

    async def login(
        self, connector: OidcConnector | None = None, callback: dict[str, str] | None = None, **ask: Any
    ) -> Evidence:
        connector = connector or self.connect()
        begun = await connector.begin(replace(ASK, **ask))
        self.liar.nonce = json.loads(begun.state)["nonce"]
        data = {"state": ASK.state, "code": "code-1"} | (callback or {})
        done = await connector.resume(begun.state, Reply(ReplyKind.CALLBACK, data, self.liar.now))
        assert isinstance(done, Done)
        return done.evidence

    async def refused(
        self, connector: OidcConnector | None = None, kind: type[Exception] = UpstreamRefused, **options: Any
    ) -> str:
        with pytest.raises(kind) as error:
            await self.login(connector, **options)
        return code_of(error)


@pytest.fixture
async def lied() -> AsyncIterator[Lied]:
    liars: list[Liar] = []

    def app_for(origin: str) -> Starlette:
        liars.append(Liar(origin))
        return liars[0].app()

    async with on_loopback(app_for) as _, fetching() as fetcher:
        yield Lied(liars[0], fetcher)


async def test_an_honest_liar_logs_in(lied):
    """The fixture itself is sound; a query in the authorization endpoint is kept."""
    assert (await lied.login()).subject == "person-1"
    begun = await lied.connect().begin(ASK)
    assert parse_qs(urlsplit(begun.prompt.url).query)["tenant"] == ["a"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"issuer": "https://evil.example"}, "provider.issuer"),
        ({"issuer": "{origin}/"}, "provider.issuer"),
        ({"issuer": None}, "provider.issuer"),
        ({"token_endpoint": None}, "provider.metadata"),
        ({"token_endpoint": "ftp://id.example/token"}, "provider.metadata"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "provider.metadata"),
        ({"authorization_endpoint": "https://id.example/a#b"}, "provider.metadata"),
        ({"authorization_endpoint": "https://me@id.example/a"}, "provider.metadata"),
        ({"authorization_endpoint": "https://id.example/a\r\nX: y"}, "provider.metadata"),
        ({"jwks_uri": 7}, "provider.metadata"),
        ({"response_types_supported": None}, "provider.metadata"),
        ({"response_types_supported": ["id_token"]}, "provider.metadata"),
        ({"response_types_supported": "code"}, "provider.metadata"),
        ({"code_challenge_methods_supported": ["plain"]}, "provider.metadata"),
        ({"id_token_signing_alg_values_supported": None}, "provider.metadata"),
        ({"id_token_signing_alg_values_supported": "RS256"}, "provider.metadata"),
        ({"id_token_signing_alg_values_supported": ["HS256"]}, "provider.algs"),
        ({"authorization_response_iss_parameter_supported": "yes"}, "provider.metadata"),
    ],
)
async def test_metadata_that_cannot_be_used(lied, changes, code):
    """Discovery 4.3 and section 3: the login does not even begin."""
    for name, value in changes.items():
        lied.liar.discovery[name] = value.format(origin=lied.liar.origin) if isinstance(value, str) else value
    lied.liar.discovery = {name: value for name, value in lied.liar.discovery.items() if value is not None}
    assert await lied.refused(kind=UpstreamDown) == code


async def test_an_https_issuer_may_not_lead_browsers_to_http():
    """Only a listed plain-http issuer may name plain-http addresses."""
    from broker.wire.oauth import parse_metadata

    document = Liar("https://id.example").discovery | {"authorization_endpoint": "http://id.example/authorize"}
    with pytest.raises(UpstreamDown):
        parse_metadata(document, expected_issuer="https://id.example")


@pytest.mark.parametrize("name", ["token_endpoint", "jwks_uri"])
@pytest.mark.parametrize("target", ["http://169.254.169.254/x", "http://[::ffff:127.0.0.1]/x", "https://10.0.0.1/x"])
async def test_metadata_cannot_send_us_into_private_networks(lied, name, target):
    """E1: endpoints from discovery pass the same guard as everything else."""
    lied.liar.discovery[name] = target
    assert await lied.refused(kind=Blocked) == "outbound_blocked"


async def test_redirecting_endpoints_are_not_followed(lied):
    """A code and a secret must not travel on."""
    lied.liar.answers["/token"] = RedirectResponse("http://169.254.169.254/", 307)
    assert await lied.refused(kind=Blocked) == "outbound_blocked"


async def test_an_announced_iss_is_required_also_with_errors(lied):
    """RFC 9207 section 2.4: absent means it is not the provider's answer."""
    lied.liar.discovery["authorization_response_iss_parameter_supported"] = True
    assert await lied.refused() == "callback.iss"
    assert await lied.refused(callback={"error": "access_denied"}) == "callback.iss"
    assert (await lied.login(callback={"iss": lied.liar.origin})).subject


async def test_mix_up_between_two_upstreams(lied, google):
    """A1: an answer made for one upstream, presented at the other, never reaches the other's token endpoint."""
    google_state, url = await google.begin()
    callback = await google.visit(url)
    liar = lied.connect()
    begun = await liar.begin(ASK)
    with pytest.raises(UpstreamRefused) as error:
        await liar.resume(begun.state, Reply(ReplyKind.CALLBACK, callback, START))
    assert code_of(error) == "callback.iss"
    assert lied.liar.calls["/token"] == 0
    with pytest.raises(UpstreamRefused) as error:
        await google.resume(google_state, callback | {"iss": lied.liar.origin})
    assert code_of(error) == "callback.iss"
    assert google.simulator.calls["token"] == 0


async def test_an_id_token_of_another_provider_is_refused(lied):
    """A1, A8: right signature of somebody else's key, right shape, wrong issuer."""
    lied.liar.claims = {"iss": "https://accounts.google.com"}
    assert await lied.refused() == "id_token.iss"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"token_type": "mac"}, "token.type"),
        ({"token_type": 7}, "token.type"),
        ({"access_token": ""}, "token.access_token"),
        ({"access_token": ["x"]}, "token.access_token"),
        ({"access_token": "a\r\nX-Injected: 1"}, "token.access_token"),
        ({"access_token": "x" * 20_000}, "token.access_token"),
        ({"id_token": None}, "token.id_token"),
        ({"id_token": {"sub": "person-1"}}, "token.id_token"),
        ({"id_token": "x" * 20_000}, "id_token.shape"),
    ],
)
async def test_token_answers_that_cannot_be_used(lied, changes, code):
    """RFC 6749 section 5.1 and Core 3.1.3.3."""
    lied.liar.token = changes
    assert await lied.refused() == code


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (JSONResponse({"error": "invalid_grant"}, 400), UpstreamRefused, "token.invalid_grant"),
        (JSONResponse({"error": "invalid_client"}, 401), UpstreamDown, "token.invalid_client"),
        (JSONResponse({"error": "access_denied"}, 400), UpstreamRefused, "token.access_denied"),
        (JSONResponse({"error": {"a": 1}}, 400), UpstreamRefused, "token.unreadable"),
        (JSONResponse({"error": "Maja Lindqvist"}, 400), UpstreamRefused, "token.unreadable"),
        (PlainTextResponse("no", 403), UpstreamRefused, "token.unreadable"),
        (PlainTextResponse("{}", 200), UpstreamDown, "upstream_down"),
        (JSONResponse({}, 201), UpstreamRefused, "token.unreadable"),
        (JSONResponse({}, 429), UpstreamDown, "upstream_down"),
    ],
)
async def test_token_errors(lied, answer, kind, code):
    """RFC 6749 section 5.2; what the provider wrote is never repeated."""
    lied.liar.answers["/token"] = answer
    assert await lied.refused(kind=kind) == code


@pytest.mark.parametrize("keys", [{"keys": []}, {"keys": "x"}, {}, {"keys": [{"kty": "oct", "k": "AAAA"}]}])
async def test_a_key_set_without_keys_is_an_outage(lied, keys):
    """Symmetric keys in a published set are nobody's keys."""
    lied.liar.answers["/keys"] = JSONResponse(keys)
    assert await lied.refused(kind=UpstreamDown) == "provider.keys"


async def test_an_algorithm_that_is_not_configured_is_refused(lied):
    """The provider's ES256 key is good, our config says RS256."""
    lied.liar.key, lied.liar.alg = ECKey.generate_key("P-256", {"kid": "ec"}), "ES256"
    assert await lied.refused() == "id_token.alg"
    assert (await lied.login(lied.connect(id_token_algs=["ES256"]))).subject


async def test_a_fresh_login_is_forwarded_and_must_be_proven(lied):
    """prompt=login and max_age=0 go out; auth_time must come back, and be of this login."""
    begun = await lied.connect().begin(replace(ASK, fresh=True))
    query = parse_qs(urlsplit(begun.prompt.url).query)
    assert (query["prompt"], query["max_age"]) == (["login"], ["0"])
    assert await lied.refused(fresh=True) == "id_token.auth_time"
    lied.liar.claims = {"auth_time": int(START.timestamp()) - 3600}
    assert await lied.refused(fresh=True) == "id_token.auth_time"
    lied.liar.now = START + timedelta(seconds=40)
    lied.liar.claims = {"auth_time": int(START.timestamp()) + 30}
    assert (await lied.login(fresh=True)).authenticated_at == START + timedelta(seconds=30)


async def test_max_age_is_forwarded_and_must_be_proven(lied):
    """An old session at the provider is not passed off as a recent login."""
    begun = await lied.connect().begin(replace(ASK, max_age_s=600))
    query = parse_qs(urlsplit(begun.prompt.url).query)
    assert query["max_age"] == ["600"]
    assert "prompt" not in query
    lied.liar.claims = {"auth_time": int(START.timestamp()) - 700}
    assert await lied.refused(max_age_s=600) == "id_token.auth_time"
    lied.liar.claims = {"auth_time": int(START.timestamp()) - 500}
    assert (await lied.login(max_age_s=600)).authenticated_at == START - timedelta(seconds=500)


LEVELS = {"urn:low": "low", "urn:sub": "substantial", "urn:high": "high"}


async def test_acr_is_asked_weakest_sufficient_first(lied):
    """No stronger than the matter deserves; weaker ones are not even asked."""
    begun = await lied.connect(acr_levels=LEVELS).begin(replace(ASK, minimum=Assurance.SUBSTANTIAL))
    assert parse_qs(urlsplit(begun.prompt.url).query)["acr_values"] == ["urn:sub urn:high"]


@pytest.mark.parametrize("acr", [None, "urn:low", "urn:none", "", 3, ["urn:high"]])
async def test_a_weaker_missing_or_unknown_acr_fails_closed(lied, acr):
    """Never mapped down silently."""
    lied.liar.claims = {"acr": acr}
    connector = lied.connect(acr_levels=LEVELS)
    assert await lied.refused(connector, minimum=Assurance.SUBSTANTIAL) == "upstream.acr"


@pytest.mark.parametrize(("acr", "level"), [("urn:sub", Assurance.SUBSTANTIAL), ("urn:high", Assurance.HIGH)])
async def test_a_sufficient_acr_is_the_assurance(lied, acr, level):
    """Stronger than asked is fine."""
    lied.liar.claims = {"acr": acr}
    evidence = await lied.login(lied.connect(acr_levels=LEVELS), minimum=Assurance.SUBSTANTIAL)
    assert evidence.assurance is level


async def test_userinfo_cannot_change_how_the_login_was(lied):
    """acr, amr and auth_time come from the signed token alone."""
    lied.liar.claims = {"acr": "urn:low"}
    lied.liar.userinfo = {"sub": "person-1", "acr": "urn:high", "amr": ["hwk"], "name": "Ada", "auth_time": 1}
    evidence = await lied.login(lied.connect(acr_levels=LEVELS, userinfo=True))
    assert (evidence.assurance, evidence.amr, evidence.name) == (Assurance.LOW, (), "Ada")
    lied.liar.claims = {}
    assert await lied.refused(lied.connect(acr_levels=LEVELS, userinfo=True)) == "upstream.acr"


@pytest.mark.parametrize("body", [{}, {"sub": "other"}, {"sub": None}, {"sub": ["person-1"]}, {"sub": "Person-1"}])
async def test_userinfo_needs_the_same_sub(lied, body):
    """Core 5.3.2."""
    lied.liar.userinfo = body
    assert await lied.refused(lied.connect(userinfo=True)) == "userinfo.sub"


async def test_userinfo_refusing_or_missing(lied):
    """401 there, or no such endpoint."""
    lied.liar.answers["/userinfo"] = JSONResponse({"error": "invalid_token"}, 401)
    assert await lied.refused(lied.connect(userinfo=True)) == "userinfo.status"
    del lied.liar.discovery["userinfo_endpoint"]
    assert await lied.refused(lied.connect(userinfo=True), kind=UpstreamDown) == "userinfo.missing"


async def test_private_key_jwt(lied):
    """A signed assertion: ours, for this issuer, new each time, for a minute; no secret is sent."""
    key = ECKey.generate_key("P-256")
    connector = lied.connect(
        key.as_pem(private=True).decode(), client_auth="private_key_jwt", client_key="file:k", client_secret=None
    )
    await lied.login(connector)
    await lied.login(connector)
    first, second = lied.liar.forms
    decoded = [jwt.decode(form["client_assertion"], key, algorithms=["ES256"]) for form in (first, second)]
    claims = decoded[0].claims
    assert decoded[0].header["kid"] == key.thumbprint()
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("stafett", "stafett", lied.liar.origin)
    assert claims["exp"] - claims["iat"] == 60
    assert claims["jti"] != decoded[1].claims["jti"]
    assert first["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    assert "client_secret" not in first
    assert first["authorization"] == ""


@pytest.mark.parametrize("pem", ["", "secret", RSAKey.generate_key(2048).as_pem(private=False).decode(),
                                 ECKey.generate_key("P-384").as_pem(private=True).decode()])  # fmt: skip
def test_an_unusable_private_key_is_found_at_start(pem):
    """No text, public half, other curve."""
    config = config_for("https://id.example", client_auth="private_key_jwt", client_key="file:k", client_secret=None)
    with pytest.raises(ValueError, match="PEM private key"):
        OidcConnector.of("x", config, credential=pem, fetcher=Fetcher())


async def test_basic_sends_the_secret_form_encoded_and_nowhere_else(lied):
    """RFC 6749 section 2.3.1."""
    await lied.login(lied.connect("a:b c"))
    form = lied.liar.forms[0]
    assert base64.b64decode(form["authorization"].removeprefix("Basic ")).decode() == "stafett:a%3Ab+c"
    assert not {"client_secret", "client_id"} & set(form)


# What claims prove


def evidence(claims: dict[str, Any], /, **rules: Any) -> Evidence:
    config = config_for("https://id.example", **rules)
    base = {"sub": "person-1", "iat": int(START.timestamp())}
    return evidence_from(base | claims, config, upstream="x", issuer=config.issuer, minimum=Assurance.SOFT, now=START)


@pytest.mark.parametrize("flag", [True, "true", "True"])
def test_email_verified_may_be_text(flag):
    """Some providers send booleans as strings."""
    found = evidence({"email": "a@b.example", "email_verified": flag}, trusted_contacts={"email": "always"})
    assert found.contacts == (Contact(ContactKind.EMAIL, "a@b.example", True),)


@pytest.mark.parametrize("flag", [False, "false", "yes", 1, None, ["true"], ""])
def test_anything_else_is_not_verified(flag):
    """Truthiness is no proof."""
    found = evidence({"email": "a@b.example", "email_verified": flag}, trusted_contacts={"email": "always"})
    assert found.contacts == (Contact(ContactKind.EMAIL, "a@b.example", False),)


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"email": "a@gmail.com", "email_verified": True}, True),
        ({"email": "a@GMAIL.com", "email_verified": True}, True),
        ({"email": "a@gmail.com.evil.example", "email_verified": True}, False),
        ({"email": "a@notgmail.com", "email_verified": True}, False),
        ({"email": "a@firm.example", "email_verified": True, "hd": "firm.example"}, True),
        ({"email": "a@firm.example", "email_verified": False, "hd": "firm.example"}, False),
        ({"email": "a@firm.example", "email_verified": True, "hd": ""}, False),
        ({"email": "a@firm.example", "email_verified": True, "hd": True}, False),
        ({"email": "a@gmail.com"}, False),
    ],
)
def test_googles_rule_for_addresses_it_is_authoritative_for(claims, expected):
    """gmail.com, or a hosted domain with a verified address."""
    found = evidence(claims, trusted_contacts={"email": "authoritative"})
    assert [contact.verified for contact in found.contacts] == [expected]


def test_a_flag_speaks_of_its_own_claim_only():
    """`email_verified` does not vouch for another claim that the operator mapped to email."""
    found = evidence(
        {"upn": "boss@firm.example", "email": "me@mail.example", "email_verified": True},
        claims={"upn": "email"},
        trusted_contacts={"email": "always"},
    )
    assert found.contacts == (Contact(ContactKind.EMAIL, "boss@firm.example", False),)


@pytest.mark.parametrize(
    ("signed", "userinfo", "email", "flag"),
    [
        ({}, {"email": "a@x.example", "email_verified": True}, "a@x.example", True),
        ({"email": "b@x.example"}, {"email": "a@x.example", "email_verified": True}, "b@x.example", None),
        ({"email": "a@x.example"}, {"email": "a@x.example", "email_verified": True}, "a@x.example", True),
        ({"email": "a@x.example", "email_verified": False}, {"email": "a@x.example", "email_verified": True},
         "a@x.example", False),
        ({"email_verified": True}, {"email": "a@x.example"}, "a@x.example", None),
        ({"email": "b@x.example"}, {"email_verified": True}, "b@x.example", None),
    ],
)  # fmt: skip
def test_flags_and_values_of_two_sources_are_not_mixed(signed, userinfo, email, flag):
    """An address from the token is not verified by what userinfo says of another."""
    both = merged(signed, userinfo)
    assert (both.get("email"), both.get("email_verified")) == (email, flag)


@pytest.mark.parametrize("email", ["", "a", "a@", "@b.example", "a@b@c.example", "a b@c.example", "a@b.example\n", 7,
                                   ["a@b"], "x" * 600 + "@b.example", "a\u0000@b.example"])  # fmt: skip
def test_odd_addresses_are_left_out_and_named(email):
    """The value is never in the signal."""
    found = evidence({"email": email, "email_verified": True}, trusted_contacts={"email": "always"})
    assert (found.contacts, found.signals) == ((), ("malformed_claim:email",))
    assert found.assurance is Assurance.SELF_ASSERTED


@pytest.mark.parametrize(
    ("phone", "trust", "expected"),
    [
        ("+46701234567", "always", [True]),
        ("+46701234567", "never", [False]),
        ("0701234567", "always", []),
        ("+46 70 123", "always", []),
    ],
)
def test_phone_numbers(phone, trust, expected):
    """E.164 or nothing; proven only where the operator trusts the provider for it."""
    found = evidence(
        {"phone_number": phone, "phone_number_verified": True},
        claims={"phone_number": "phone_number"},
        trusted_contacts={"phone": trust},
    )
    assert [contact.verified for contact in found.contacts] == expected


def test_nested_and_uri_named_claims_are_mapped():
    """Dotted paths descend; a claim of that very name goes first; earlier mappings win."""
    claims = {"person": {"first": "Ada"}, "https://id.example/last.name": "Byron", "alt": "Lovelace"}
    found = evidence(
        claims,
        claims={"person.first": "given_name", "https://id.example/last.name": "family_name", "alt": "family_name"},
    )
    assert (found.given_name, found.family_name, found.signals) == ("Ada", "Byron", ())
    assert claim({"a": {"b": 1}, "a.b": 2}, "a.b") == 2
    assert claim({"a": "text"}, "a.b") is None


@pytest.mark.parametrize(
    ("attribute", "value", "expected"),
    [
        ("birthdate", "1980-04-30", "1980-04-30"),
        ("birthdate", "1980", "None"),
        ("birthdate", "0000-04-30", "None"),
        ("birthdate", "1980-02-30", "None"),
        ("birthdate", "19800430", "None"),
        ("language", "sv", "sv"),
        ("language", "en_GB", "en-GB"),
        ("language", "SV-se", "sv-se"),
        ("language", "x" * 40, "None"),
        ("personal_number", "198112189876", "198112189876"),
        ("personal_number", "198112189875", "None"),
        ("personal_number", "8112189876", "None"),
        ("name", "Ada\u0007", "None"),
        ("name", "\ud800", "None"),
        ("name", {"first": "Ada"}, "None"),
    ],
)
def test_values_of_the_wrong_form_are_left_out(attribute, value, expected):
    """A login does not fail for a broken decoration."""
    found = evidence({"it": value}, claims={"it": attribute})
    assert str(getattr(found, attribute)) == expected


def test_amr_words_of_the_registry_pass_and_private_ones_do_not():
    """RFC 8176."""
    assert evidence({"amr": ["otp", "acme-magic", 7, "mfa"]}).amr == ("otp", "mfa")
    assert evidence({"amr": "otp"}).amr == ()


@pytest.mark.parametrize("value", [None, "", {}])
def test_required_claims(value):
    """No login without what the operator needs; an empty object is a value, text and null are not."""
    rules = {"required_claims": ["employee"]}
    if value == {}:
        assert evidence({"employee": value}, **rules).subject
        return
    with pytest.raises(UpstreamRefused) as error:
        evidence({"employee": value}, **rules)
    assert code_of(error) == "claims.missing"


@pytest.mark.parametrize("hd", [None, "other.example", "FIRM.example", ["firm.example"], ""])
def test_required_values(hd):
    """An allow-list of hosted domains is checked on the claim, not on the request's hint."""
    with pytest.raises(UpstreamRefused) as error:
        evidence({"hd": hd}, required_values={"hd": ["firm.example"]})
    assert code_of(error) == "claims.value"
    assert evidence({"hd": "firm.example"}, required_values={"hd": ["firm.example"]}).subject


def test_unlisted_claims_are_named_but_never_quoted():
    """Claims accounted for: required, used, ignored, or reported by name; a name may itself be an attack."""
    claims = {"shoe_size": "secret-45", "picture": "x", "name": "Ada", "evil\nname": 1, "z" * 200: 1, "sid": "s"}
    found = evidence(claims, ignored_claims=["picture"])
    assert sorted(found.signals) == ["unlisted_claim", "unlisted_claim", "unlisted_claim:shoe_size"]
    assert len(evidence({f"claim_{number}": 1 for number in range(100)}).signals) == 20


# Config


@pytest.mark.parametrize(
    "changes",
    [
        {"client_secret": None},
        {"client_secret": "plain-secret"},
        {"client_key": "file:k"},
        {"client_auth": "private_key_jwt"},
        {"client_auth": "none"},
        {"issuer": "id.example"},
        {"issuer": "https://id.example/#x"},
        {"issuer": "https://id.example/?a=b"},
        {"issuer": "https://user@id.example"},
        {"scopes": ["email"]},
        {"scopes": ["openid", "two words"]},
        {"id_token_algs": []},
        {"id_token_algs": ["none"]},
        {"id_token_algs": ["HS256"]},
        {"claims": {"x": "shoe_size"}},
        {"trusted_contacts": {"email": "yes"}},
        {"acr_levels": {"urn:x": "very-high"}},
        {"extra_authorize_params": {"state": "fixed"}},
        {"extra_authorize_params": {"redirect_uri": "https://evil.example"}},
        {"prompt": "login"},
        {"required_values": {"hd": []}},
        {"unknown": 1},
        {"kind": "oidc"},
    ],
)
def test_config_mistakes_are_refused(changes):
    """At start, not at a customer's login."""
    with pytest.raises(ValidationError):
        config_for("https://id.example", **changes)


@pytest.mark.parametrize(
    ("changes", "level"),
    [
        ({}, Assurance.SELF_ASSERTED),
        ({"trusted_contacts": {"email": "authoritative"}}, Assurance.CONTACT),
        ({"trusted_contacts": {"phone": "always"}}, Assurance.CONTACT),
        ({"acr_levels": LEVELS}, Assurance.HIGH),
        ({"acr_levels": {"urn:low": "low"}}, Assurance.LOW),
    ],
)
def test_what_a_provider_can_reach(changes, level):
    """What check-config compares agreements with."""
    assert reaches(config_for("https://id.example", **changes)) is level
