"""
National electronic identities: the connector against simulated providers of each kind on a real loopback port, and whole logins
from a config file. Time is what the test says.
"""

import json
import logging
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx2
import pytest
from joserfc import jws, jwt
from joserfc.jwk import ECKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from broker.config.load import load
from broker.core.assurance import Assurance
from broker.core.identity import Contact, ContactKind, Evidence
from broker.demo.providers.national import (
    PROFILES,
    Fault,
    NationalClient,
    NationalSimulator,
    create_app,
    keys_at,
    new_key,
)
from broker.errors import Stopped, UpstreamDown, UpstreamRefused
from broker.upstream.national_oidc import NationalOidcConnect, NationalOidcConnector, OwnKeys
from broker.upstream.national_presets import PRESETS
from broker.upstream.port import Connector, Done, KeyPublisher, Listener, Redirect, Reply, ReplyKind
from broker.upstream.registry import KINDS
from broker.upstream.supplies import Supplies
from broker.wire.encrypted import parse_decryption_key
from broker.wire.http import Fetcher
from broker.wire.id_token import parse_key_set
from broker.wire.oauth import parse_client_key
from tests.changing import replace
from tests.stage import ISSUER, Answer, Browser, Stage, open_stage
from tests.upstream.cases import TOKEN_LIES, Case, Play, Said, Sent, offering, patience
from tests.upstream.test_oidc import ASK, PLAIN, START, Clock, code_of, fetching, on_loopback

CLIENT, SECRET = "stafett", "0123456789abcdef0123456789abcdef"
CALLBACK = f"{ISSUER}/up/eid/callback"
SIGNING = [new_key() for _ in range(2)]
ENTITY = ECKey.generate_key("P-256", {"kid": "entity"})
SIG_PEM, ENC_PEM, OLD_ENC_PEM = (RSAKey.generate_key(2048).as_pem(private=True).decode() for _ in range(3))
EC_PEM = ECKey.generate_key("P-256").as_pem(private=True).decode()
BY_KEY = {name for name, profile in PROFILES.items() if profile.assertion_audiences}
ENCRYPTED = {name for name, profile in PROFILES.items() if profile.encrypts}
#: This kind takes nothing of the broker's own.
NOTHING: Any = None
OWN = OwnKeys((parse_client_key(SIG_PEM),), (parse_decryption_key(ENC_PEM),))


def settings(preset: str, origin: str, **changes: Any) -> dict[str, Any]:
    """A connect block with what the operator must say."""
    needed: dict[str, Any] = {"preset": preset, "issuer": origin, "client_id": CLIENT}
    if preset in BY_KEY:
        needed["signing_keys"] = ["file:secrets/sig.pem"]
    else:
        needed["client_secret"] = "file:secrets/eid"
    if preset in ENCRYPTED:
        needed["decryption_keys"] = ["file:secrets/enc.pem"]
    if preset == "itsme":
        needed["scopes"] = ["openid", "service:STAFETT"]
    return needed | changes


async def visited(url: str, account: str | None = "aino", **form: str) -> tuple[str, dict[str, str]]:
    """Choose on the provider's page, or cancel there; the address it sends the browser to, and its parameters."""
    origin = "{0.scheme}://{0.netloc}".format(urlsplit(url))
    async with httpx2.AsyncClient(verify=PLAIN, trust_env=False) as browser:
        page = await browser.get(url)
        if "location" not in page.headers:
            request = re.search(r'name="request" value="([^"]+)"', page.text)
            assert request, page.text
            answer = {"account": account} if account else {"cancel": "1"}
            page = await browser.post(f"{origin}/choose", data={"request": request[1], **answer, **form})
    assert "location" in page.headers, page.text
    address, _, query = page.headers["location"].partition("?")
    return address, dict(parse_qsl(query))


class Eid:
    """A connector for a simulated provider, and a browser that goes there."""

    def __init__(self, preset: str, origin: str, simulator: NationalSimulator, fetcher: Fetcher, clock: Clock) -> None:
        self.preset, self.origin, self.simulator, self.fetcher, self.clock = preset, origin, simulator, fetcher, clock
        self.connector = self.connect()

    def connect(self, keys: OwnKeys = OWN, trusted: Any = None, **changes: Any) -> NationalOidcConnector:
        connect = NationalOidcConnect.model_validate(settings(self.preset, self.origin, **changes))
        secret = SECRET if connect.client_secret else None
        self.connector = NationalOidcConnector(
            "eid", connect, keys=keys, secret=secret, fetcher=self.fetcher, trusted=trusted
        )
        return self.connector

    async def begin(self, **changes: Any) -> tuple[bytes, str]:
        ask = replace(ASK, callback_url=CALLBACK, now=self.clock.now, **changes)
        begun = await self.connector.begin(ask)
        assert isinstance(begun.prompt, Redirect)
        return begun.state, begun.prompt.url

    async def resume(self, state: bytes, members: Mapping[str, str], kind: ReplyKind = ReplyKind.CALLBACK) -> Evidence:
        done = await self.connector.resume(state, Reply(kind, members, self.clock.now))
        assert isinstance(done, Done)
        return done.evidence

    async def login(self, account: str = "aino", minimum: Assurance = Assurance.SELF_ASSERTED, **form: str) -> Evidence:
        state, url = await self.begin(minimum=minimum)
        _, members = await visited(url, account, **form)
        return await self.resume(state, members)

    async def refused(self, *faults: Fault, **login: Any) -> str:
        """The code with which a login is refused while the provider has *faults*."""
        self.simulator.switch(faults)
        with pytest.raises((UpstreamRefused, UpstreamDown)) as error:
            await self.login(**login)
        assert "Korhonen" not in str(error.value)
        return code_of(error)


@asynccontextmanager
async def open_eid(preset: str, clock: Clock, profile: str | None = None) -> AsyncIterator[Eid]:
    apps: list[Starlette] = []
    opened: list[Eid] = []

    async def published() -> Mapping[str, Any]:
        document = opened[0].connector.published("jwks.json", address=f"{ISSUER}/up/eid", now=clock.now)
        assert document is not None
        return dict(json.loads(document.content))

    def app_for(origin: str) -> Starlette:
        client = NationalClient(CLIENT, "Stafett", frozenset({CALLBACK}), published, SECRET)
        apps.append(
            create_app(
                profile=profile or preset, issuer=origin, client=client, clock=clock, keys=SIGNING, entity_key=ENTITY
            )
        )
        return apps[0]

    async with on_loopback(app_for) as origin, fetching() as fetcher:
        opened.append(Eid(preset, origin, apps[0].state.simulator, fetcher, clock))
        yield opened[0]
        apps[0].state.simulator.switch()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def ftn(clock: Clock) -> AsyncIterator[Eid]:
    async with open_eid("ftn", clock) as eid:
        yield eid


@pytest.fixture
async def itsme(clock: Clock) -> AsyncIterator[Eid]:
    async with open_eid("itsme", clock) as eid:
        yield eid


@pytest.fixture
async def mitid(clock: Clock) -> AsyncIterator[Eid]:
    async with open_eid("mitid", clock) as eid:
        yield eid


@pytest.fixture
async def vipps(clock: Clock) -> AsyncIterator[Eid]:
    async with open_eid("vipps", clock) as eid:
        yield eid


@pytest.fixture
async def freja(clock: Clock) -> AsyncIterator[Eid]:
    async with open_eid("freja", clock) as eid:
        yield eid


@pytest.fixture
async def idporten(clock: Clock) -> AsyncIterator[Eid]:
    async with open_eid("id-porten", clock) as eid:
        yield eid


# A whole broker


@dataclass
class World:
    """A broker with one national provider, from its config file."""

    stage: Stage
    simulator: NationalSimulator


@asynccontextmanager
async def open_world(
    folder: Path,
    preset: str,
    *,
    ceiling: str = "high",
    fetcher: Fetcher | None = None,
    edit: Mapping[str, str] | None = None,
    **changes: Any,
) -> AsyncIterator[World]:
    """The connector is built from the (edited) config file as the broker builds it, on a *fetcher* that can be closed."""
    issuer = (edit or {}).get(f"issuer: {ISSUER}", ISSUER).removeprefix("issuer: ")
    for name, pem in (("sig.pem", SIG_PEM), ("enc.pem", ENC_PEM), ("eid", SECRET)):
        path = folder / "secrets" / name
        path.write_text(pem)
        path.chmod(0o600)
    apps: list[Starlette] = []
    stages: list[Stage] = []

    async def published() -> Mapping[str, Any]:
        answer = await stages[0].client.get("/up/eid/jwks.json")
        assert answer.status_code == 200
        return dict(answer.json())

    def app_for(origin: str) -> Starlette:
        client = NationalClient(CLIENT, "Stafett", frozenset({f"{issuer}/up/eid/callback"}), published, SECRET)
        apps.append(create_app(profile=preset, issuer=origin, client=client, clock=Clock(), keys=SIGNING))
        return apps[0]

    async with on_loopback(app_for) as origin:
        simulator: NationalSimulator = apps[0].state.simulator
        connect = settings(preset, origin, **changes)

        def cast(clock: Any) -> dict[str, Any]:
            simulator.clock = clock
            loaded = load(folder / "stafett.yaml", environment={})
            supplies = Supplies(loaded.references, fetcher or own_fetcher, context=NOTHING)
            return {"eid": KINDS["national-oidc"].build("eid", loaded.connectors["eid"], supplies)}

        block = (
            "    kind: national-oidc\n    titles: {sv: eID, fi: eID, pl: eID, en: eID}\n"
            f"    ceiling: {ceiling}\n    may_bootstrap_other_methods: true\n    connect: {json.dumps(connect)}\n"
        )
        edits = {**offering("eid", block), **(edit or {})}
        async with fetching() as own_fetcher, open_stage(folder, edit=edits, cast=cast) as stage:
            stages.append(stage)
            yield World(stage, simulator)
            simulator.switch()


async def attempt(world: World, account: str | None = "aino", *, browser: Browser | None = None, **form: str) -> Answer:
    """A customer of the shop goes there and back; where that ends."""
    customer = browser or world.stage.browser()
    await customer.follow(await customer.get(world.stage.shop.request()))
    gone = await customer.follow(await customer.press("method-eid"))
    address, members = await visited(gone.location, account, **form)
    return await customer.follow(await customer.get(f"{address}?{urlencode(members)}"))


class NationalPlay(Play):
    """A simulated provider in a whole broker."""

    simulator: NationalSimulator

    async def answered(self, browser: Browser, gone: Answer, said: Said = Said.YES) -> Sent | None:
        if said is Said.REFUSED:
            self.simulator.switch({Fault.AUTHORIZE_REFUSED})
        address, members = await visited(gone.location, None if said is Said.NO else "aino")
        return Sent("GET", address, members)

    def lie(self, lie: str) -> None:
        self.simulator.switch({Fault(lie)})

    def fail(self) -> None:
        self.simulator.switch({Fault.DISCOVERY_ERROR, Fault.KEYS_ERROR, Fault.PUSH_ERROR, Fault.TOKEN_ERROR})

    def stall(self) -> None:
        self.simulator.switch({Fault.TOKEN_SLOW})

    def heal(self) -> None:
        self.simulator.switch()

    def asked(self) -> int:
        return self.simulator.calls["token"]


@asynccontextmanager
async def play(folder: Path, preset: str) -> AsyncIterator[Play]:
    async with fetching(**patience()) as fetcher, open_world(folder, preset, fetcher=fetcher) as world:
        opened = NationalPlay(world.stage, "eid", world.stage.connectors["eid"])
        opened.simulator = world.simulator
        yield opened


LIES = (
    *TOKEN_LIES, Fault.ALG_HS256, Fault.NOT_ENCRYPTED, Fault.FOREIGN_KEY, Fault.UNKNOWN_LEVEL, Fault.NO_LEVEL,
    Fault.NO_SUBJECT_CLAIM,
)  # fmt: skip


def cases() -> list[Case]:
    """For the contract suite: the way with most to go wrong."""
    return [Case("national-oidc", lambda folder: play(folder, "ftn"), LIES)]


@pytest.mark.parametrize(
    ("preset", "acr"),
    [
        ("ftn", "http://eidas.europa.eu/LoA/substantial"),
        ("itsme", "http://eidas.europa.eu/LoA/substantial"),
        ("mitid", "http://eidas.europa.eu/LoA/low"),
        ("vipps", "contact"),
        ("freja", "http://eidas.europa.eu/LoA/low"),
        ("id-porten", "http://eidas.europa.eu/LoA/substantial"),
    ],
)
async def test_a_whole_login_by_every_preset(stage_folder: Path, preset: str, acr: str) -> None:
    """From the config file to the shop's ID token, twice, and it is the same person both times."""
    ceiling = {"vipps": "contact", "freja": "substantial"}.get(preset, "high")
    async with open_world(stage_folder, preset, ceiling=ceiling) as world:
        told = [(await world.stage.shop.exchange(await attempt(world)))["claims"] for _ in range(2)]
        other = (await world.stage.shop.exchange(await attempt(world, "emil")))["claims"]
    assert told[0]["acr"] == acr
    assert told[0]["sub"] == told[1]["sub"] != other["sub"]


async def test_never_more_than_the_operator_allows(stage_folder: Path) -> None:
    """The provider says high, the ceiling says low: low it is (docs/security.md A13)."""
    async with open_world(stage_folder, "ftn", ceiling="low") as world:
        answer = await attempt(world, level="http://ftn.ficora.fi/2017/loa3")
        told = (await world.stage.shop.exchange(answer))["claims"]
    assert told["acr"] == "http://eidas.europa.eu/LoA/low"


async def test_cancelled_there_she_may_choose_again(stage_folder: Path) -> None:
    """Nothing was shared; the other ways in are still there."""
    async with open_world(stage_folder, "itsme") as world:
        browser = world.stage.browser()
        page = await attempt(world, None, browser=browser)
        assert {"method-eid", "method-google"} <= page.ids
        assert (await attempt(world, browser=browser)).query["code"]


async def test_her_answer_in_another_browser_logs_nobody_in(stage_folder: Path) -> None:
    """Login CSRF: the code is not even redeemed."""
    async with open_world(stage_folder, "id-porten") as world:
        attacker, victim = world.stage.browser(), world.stage.browser()
        await attacker.follow(await attacker.get(world.stage.shop.request()))
        gone = await attacker.follow(await attacker.press("method-eid"))
        address, members = await visited(gone.location)
        await victim.get(world.stage.shop.request())
        refused = await victim.get(f"{address}?{urlencode(members)}")
        assert refused.status >= 400
        assert world.simulator.calls["token"] == 0


async def test_nothing_personal_and_no_secret_in_the_log(
    stage_folder: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither of a good login nor of a bad one: number, name, code, keys."""
    caplog.set_level(logging.DEBUG)
    async with open_world(stage_folder, "ftn") as world:
        await attempt(world)
        world.simulator.switch({Fault.UNKNOWN_LEVEL})
        await attempt(world)
    ours = [each for each in caplog.records if each.name.split(".")[0] not in {"httpx2", "httpcore2", "uvicorn"}]
    text = "".join(capfd.readouterr()) + " ".join(each.getMessage() for each in ours)
    assert "upstream.failed" in text
    for spoken in ("140285", "Aino", "Korhonen", "1985-02-14", SIG_PEM[60:90], "eyJ"):
        assert spoken not in text


async def test_what_is_published_for_providers(stage_folder: Path) -> None:
    """Our public keys at their address, nothing private among them; nothing for those that need none, nor for strangers."""
    async with open_world(stage_folder, "ftn") as world:
        answer = await world.stage.client.get("/up/eid/jwks.json")
        keys = answer.json()["keys"]
        assert answer.headers["content-type"] == "application/jwk-set+json"
        assert answer.headers["cache-control"] == "public, max-age=3600"
        assert [key["use"] for key in keys] == ["sig", "enc"]
        assert not {"d", "p", "q", "dp", "dq", "qi"} & {member for key in keys for member in key}
        for path in (
            "/up/eid/jwks.jwt",
            "/up/google/jwks.json",
            "/up/nobody/jwks.json",
            "/up/eid/.well-known/openid-federation",
        ):
            assert (await world.stage.client.get(path)).status_code == 404
        assert (await world.stage.client.post("/up/eid/jwks.json")).status_code == 405


async def test_a_provider_with_a_secret_is_told_no_keys(stage_folder: Path) -> None:
    """There are none."""
    async with open_world(stage_folder, "vipps", ceiling="contact") as world:
        assert (await world.stage.client.get("/up/eid/jwks.json")).status_code == 404


# What a login proves


async def test_what_ftn_proves(ftn: Eid) -> None:
    """Keyed by the personal identity code, since `sub` is another one each time."""
    evidence, again = await ftn.login(), await ftn.login()
    assert evidence == Evidence(
        upstream="eid", issuer=ftn.origin, subject="140285-9120", assurance=Assurance.SUBSTANTIAL, amr=(),
        authenticated_at=START, name="Aino Korhonen", given_name="Aino", family_name="Korhonen",
        birthdate=date(1985, 2, 14), personal_number="140285-9120",
    )  # fmt: skip
    assert again.subject == evidence.subject


async def test_what_mitid_proves(mitid: Eid) -> None:
    """The level in a claim of its own, more of the person in userinfo."""
    evidence = await mitid.login(minimum=Assurance.SUBSTANTIAL)
    assert (evidence.assurance, evidence.name, evidence.birthdate) == (
        Assurance.SUBSTANTIAL, "Aino Korhonen", date(1985, 2, 14),
    )  # fmt: skip
    assert (evidence.personal_number, len(evidence.subject)) == ("1402851234", 36)


async def test_what_vipps_proves(vipps: Eid) -> None:
    """A phone number it vouches for, in the form of everybody else; no level."""
    evidence = await vipps.login()
    assert evidence.contacts == (
        Contact(ContactKind.EMAIL, "aino.korhonen@posti.example", False),
        Contact(ContactKind.PHONE, "+358401234567", True),
    )
    assert (evidence.assurance, evidence.personal_number) == (Assurance.CONTACT, "14828510046")


async def test_what_freja_proves(freja: Eid) -> None:
    """Claims named by addresses; registration level PLUS is substantial."""
    evidence = await freja.login(level="PLUS")
    assert (evidence.assurance, evidence.personal_number) == (Assurance.SUBSTANTIAL, "198502142386")
    assert (evidence.name, evidence.signals) == ("Aino Korhonen", ())


async def test_what_itsme_proves(itsme: Eid) -> None:
    """Everything in the ID token, so that userinfo is not asked."""
    evidence = await itsme.login()
    assert (evidence.assurance, evidence.contacts) == (
        Assurance.SUBSTANTIAL, (Contact(ContactKind.PHONE, "+358401234567", True),),
    )  # fmt: skip
    assert itsme.simulator.calls["userinfo"] == 0


async def test_what_idporten_proves(idporten: Eid) -> None:
    """The person's number, and who says so in the answer."""
    evidence = await idporten.login(level="idporten-loa-high")
    assert (evidence.assurance, evidence.personal_number, evidence.language) == (Assurance.HIGH, "14828510046", "nb")


async def test_a_number_of_another_country_is_left_out(freja: Eid) -> None:
    """And noticed by the claim's name; the person is still known."""
    freja.connect(personal_number_country="NO")
    evidence = await freja.login()
    assert evidence.personal_number is None
    assert evidence.signals == ("malformed_claim:https://frejaeid.com/oidc/claims/personalIdentityNumber",)


async def test_what_a_provider_calls_unverified_stays_so(itsme: Eid) -> None:
    """Vouching for a kind of contact never overrules the provider's own flag."""
    itsme.connect(vouches_for=["email", "phone_number"], userinfo=True, trusted_contacts={"email": "always"})
    evidence = await itsme.login()
    assert Contact(ContactKind.EMAIL, "aino.korhonen@posti.example", False) in evidence.contacts


async def test_the_connector_follows_the_port(ftn: Eid) -> None:
    """It publishes keys and hears logout tokens."""
    connector: Connector = ftn.connector
    assert isinstance(connector, KeyPublisher)
    assert isinstance(connector, Listener)
    assert connector.reaches is Assurance.HIGH
    await connector.close()


# What is asked


def sent(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


async def test_ftn_everything_is_inside_the_signed_object(ftn: Eid) -> None:
    """Beside it the client id only; state, nonce, PKCE, level, language and the partner's name are inside; no prompt."""
    _, url = await ftn.begin(fresh=True, login_hint="maja@example.com", minimum=Assurance.HIGH)
    outside = sent(url)
    assert set(outside) == {"client_id", "request"}
    token = jwt.decode(outside["request"], OWN.signing[0].key, algorithms=["RS256"])
    assert token.header == {"alg": "RS256", "kid": OWN.signing[0].kid, "typ": "JWT"}
    claims = token.claims
    assert (claims["iss"], claims["aud"], claims["client_id"], claims["state"]) == (
        CLIENT,
        ftn.origin,
        CLIENT,
        ASK.state,
    )
    assert (claims["ui_locales"], claims["ftn_spname"], claims["code_challenge_method"]) == ("sv", "Däckshopen", "S256")
    assert claims["acr_values"] == "http://ftn.ficora.fi/2017/loa3"
    assert claims["exp"] - claims["iat"] == 300
    assert not {"prompt", "max_age", "login_hint"} & set(claims)


async def test_numbers_and_objects_are_themselves_in_an_object(ftn: Eid) -> None:
    """RFC 9101 section 4: `max_age` is a number there, `claims` an object."""
    ftn.connect(
        omitted_params=[], userinfo_claims=["name"], request_typ="oauth-authz-req+jwt", request_outside=["scope"]
    )
    _, url = await ftn.begin(max_age_s=300)
    token = jwt.decode(sent(url)["request"], OWN.signing[0].key, algorithms=["RS256"])
    assert (token.claims["max_age"], token.claims["claims"]) == (300, {"userinfo": {"name": None}})
    assert token.header["typ"] == "oauth-authz-req+jwt"
    assert sent(url)["scope"] == token.claims["scope"]


async def test_a_pushed_request_leaves_a_reference_in_the_address(idporten: Eid) -> None:
    """Nothing of it travels through the browser (RFC 9126)."""
    _, url = await idporten.begin(fresh=True)
    assert set(sent(url)) == {"client_id", "request_uri"}
    (asked,) = idporten.simulator.asked
    assert (asked["prompt"], asked["max_age"], asked["state"]) == ("login", "0", ASK.state)


async def test_pushed_and_signed(idporten: Eid) -> None:
    """Both at once: what is pushed is the object, and the client proves itself beside it; by the wrong key it does not."""
    idporten.connect(request="pushed_object")
    assert (await idporten.login()).personal_number == "14828510046"
    assert idporten.simulator.asked[0]["iss"] == CLIENT
    published = json.loads(idporten.connector.published("jwks.json", address="a", now=START).content)

    async def remembered() -> Mapping[str, Any]:
        return dict(published)

    idporten.simulator.client = replace(idporten.simulator.client, keys=remembered)
    idporten.connect(own(signing=(EC_PEM,)), request="pushed_object")
    with pytest.raises(UpstreamDown) as error:
        await idporten.begin()
    assert code_of(error) == "pushed.invalid_client"


@pytest.mark.parametrize(
    ("minimum", "expected"),
    [(Assurance.SELF_ASSERTED, "low"), (Assurance.SUBSTANTIAL, "substantial"), (Assurance.HIGH, "high")],
)
async def test_mitid_is_asked_for_no_more_than_is_needed(mitid: Eid, minimum: Assurance, expected: str) -> None:
    """By its own parameter; `acr_values` means nothing there."""
    await mitid.begin(minimum=minimum)
    (asked,) = mitid.simulator.asked
    assert json.loads(asked["idp_params"]) == {"mitid": {"loa_value": expected}}
    assert "acr_values" not in asked


async def test_itsme_takes_the_strongest_so_only_one_is_sent(itsme: Eid) -> None:
    """Basic when that is enough, advanced when it is not."""
    for minimum, expected in ((Assurance.LOW, "acr_basic"), (Assurance.HIGH, "acr_advanced")):
        _, url = await itsme.begin(minimum=minimum)
        assert sent(url)["acr_values"] == f"http://itsme.services/v2/claim/{expected}"
    assert json.loads(sent(url)["claims"])["id_token"]["phone_number"] is None


async def test_vipps_is_told_which_system_calls(vipps: Eid) -> None:
    """The header goes along with token and userinfo calls, and no hint of who might come with the request."""
    _, url = await vipps.begin(login_hint="4712345678")
    assert not {"login_hint", "acr_values", "prompt"} & set(sent(url))


@pytest.mark.parametrize("preset", ["vipps", "freja", "itsme"])
@pytest.mark.parametrize("asked", [{"fresh": True}, {"max_age_s": 300}])
async def test_a_fresh_login_is_refused_rather_than_claimed(preset: str, asked: dict[str, Any], clock: Clock) -> None:
    """Where the provider proves none (docs/security.md A13)."""
    async with open_eid(preset, clock) as eid:
        with pytest.raises(UpstreamRefused) as error:
            await eid.begin(**asked)
        assert code_of(error) == "upstream.cannot_reauthenticate"


# Lies


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault.WRONG_NONCE, "id_token.nonce"),
        (Fault.MISSING_NONCE, "id_token.nonce"),
        (Fault.WRONG_AUDIENCE, "id_token.aud"),
        (Fault.WRONG_ISSUER, "id_token.iss"),
        (Fault.WRONG_AT_HASH, "id_token.at_hash"),
        (Fault.EXPIRED, "id_token.exp"),
        (Fault.FROM_THE_FUTURE, "id_token.iat"),
        (Fault.ALG_NONE, "id_token.alg"),
        (Fault.ALG_HS256, "id_token.alg"),
        (Fault.UNKNOWN_KEY, "id_token.key"),
        (Fault.BROKEN_SIGNATURE, "id_token.signature"),
        (Fault.NO_ID_TOKEN, "token.id_token"),
        (Fault.NOT_ENCRYPTED, "jwe.not_encrypted"),
        (Fault.FOREIGN_KEY, "jwe.decryption"),
        (Fault.KID_OF_NOBODY, "jwe.key"),
        (Fault.COMPRESSED, "jwe.crit"),
        (Fault.WEAK_ENCRYPTION, "jwe.alg"),
        (Fault.ENCRYPTED_TWICE, "jwe.content"),
        (Fault.UNKNOWN_LEVEL, "upstream.acr"),
        (Fault.NO_LEVEL, "upstream.acr"),
        (Fault.NO_AUTH_TIME, "claims.missing"),
        (Fault.NO_SUBJECT_CLAIM, "claims.subject"),
        (Fault.WRONG_STATE, "callback.state"),
        (Fault.WRONG_RESPONSE_ISSUER, "callback.iss"),
        (Fault.AUTHORIZE_ERROR, "callback.server_error"),
        (Fault.AUTHORIZE_REFUSED, "callback.interaction_required"),
    ],
)
async def test_a_lie_is_refused(ftn: Eid, fault: Fault, code: str) -> None:
    """Each by the check it meets first, around the encryption as well as inside it."""
    assert await ftn.refused(fault) == code


@pytest.mark.parametrize(
    "fault", [Fault.TOKEN_ERROR, Fault.KEYS_ERROR, Fault.DISCOVERY_ERROR, Fault.PUSH_ERROR, Fault.USERINFO_ERROR]
)
async def test_a_provider_that_is_ill(mitid: Eid, fault: Fault) -> None:
    """Down, not refused: the breaker and the customer's page know the difference."""
    mitid.simulator.switch({fault})
    with pytest.raises(UpstreamDown):
        await mitid.login()


@pytest.mark.parametrize("preset", ["ftn", "itsme", "mitid", "id-porten"])
async def test_a_weaker_level_than_needed_is_refused(preset: str, clock: Clock) -> None:
    """She proved herself as asked, and the token says less."""
    async with open_eid(preset, clock) as eid:
        assert await eid.refused(Fault.WEAKER_LEVEL, minimum=Assurance.HIGH) == "upstream.acr"


async def test_a_level_that_cannot_be_asked_for_is_insisted_on(freja: Eid) -> None:
    """Freja tells the level and takes no wish."""
    assert await freja.refused(minimum=Assurance.SUBSTANTIAL, level="EXTENDED") == "upstream.acr"
    assert (await freja.login(minimum=Assurance.SUBSTANTIAL, level="PLUS")).assurance is Assurance.SUBSTANTIAL


async def test_userinfo_says_nothing_of_the_level(mitid: Eid) -> None:
    """It is not signed: a level there counts for nothing."""
    told = mitid.simulator.profile.userinfo_claims
    high = "https://data.gov.dk/concept/core/nsis/High"
    mitid.simulator.profile = replace(
        mitid.simulator.profile, userinfo_claims=lambda person: {**told(person), "loa": high, "acr": high}
    )
    assert (await mitid.login()).assurance is Assurance.LOW


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault.USERINFO_OTHER_SUBJECT, "userinfo.sub"),
        (Fault.USERINFO_OTHER_AUDIENCE, "id_token.aud"),
        (Fault.USERINFO_ID_TOKEN, "id_token.typ"),
    ],
)
async def test_encrypted_userinfo_is_checked_inside(itsme: Eid, fault: Fault, code: str) -> None:
    """Of somebody else, for somebody else, or another token in its place."""
    itsme.connect(userinfo=True)
    await itsme.login()
    assert await itsme.refused(fault) == code


async def test_userinfo_must_come_as_agreed(itsme: Eid) -> None:
    """Signed where encryption is agreed; JSON where a token is."""
    itsme.connect(userinfo=True, encrypted=["id_token"], userinfo_signed=True)
    assert await itsme.refused() == "id_token.shape"
    itsme.connect(userinfo=True, encrypted=["id_token"])
    with pytest.raises(UpstreamDown):
        await itsme.login()


async def test_userinfo_as_json_where_a_token_is_agreed(mitid: Eid) -> None:
    """Nobody signed it, so it is not read."""
    mitid.connect(userinfo_signed=True)
    with pytest.raises(UpstreamDown):
        await mitid.login()


async def test_userinfo_of_another_person_as_json(vipps: Eid) -> None:
    """Token substitution."""
    assert await vipps.refused(Fault.USERINFO_OTHER_SUBJECT) == "userinfo.sub"


async def test_encryption_that_was_not_agreed_is_not_opened(ftn: Eid) -> None:
    """Nobody makes us try our keys."""
    ftn.connect(encrypted=[])
    assert await ftn.refused() == "id_token.shape"


async def test_only_the_algorithms_agreed_on(ftn: Eid) -> None:
    """Of key and of content."""
    ftn.connect(encryption_algs=["RSA-OAEP-256"])
    assert await ftn.refused() == "jwe.alg"
    ftn.connect(encryption_encs=["A256GCM"])
    assert await ftn.refused() == "jwe.alg"


# The way there and back


async def test_an_announced_iss_must_come(idporten: Eid) -> None:
    """RFC 9207: without it the answer is somebody else's; the token endpoint hears nothing."""
    assert await idporten.refused(Fault.NO_RESPONSE_ISSUER) == "callback.iss"
    assert await idporten.refused(Fault.WRONG_RESPONSE_ISSUER) == "callback.iss"
    assert idporten.simulator.calls["token"] == 0


async def test_iss_without_discovery(ftn: Eid) -> None:
    """The config may say that it comes."""
    given = {name: f"{ftn.origin}/{path}" for name, path in
             (("authorization", "authorize"), ("token", "token"), ("jwks", "jwks"))}  # fmt: skip
    ftn.connect(endpoints={**given, "sends_issuer": True})
    assert await ftn.refused() == "callback.iss"
    ftn.connect(endpoints=given)
    assert (await ftn.login()).subject == "140285-9120"
    assert ftn.simulator.calls["discovery"] == 0


async def test_an_answer_is_good_once(idporten: Eid) -> None:
    """The provider forgets a code when it is redeemed."""
    state, url = await idporten.begin()
    _, members = await visited(url)
    await idporten.resume(state, members)
    with pytest.raises(UpstreamRefused) as error:
        await idporten.resume(state, members)
    assert code_of(error) == "token.invalid_grant"


async def test_another_logins_answer(ftn: Eid) -> None:
    """State, then nonce: two logins cannot be mixed."""
    (one, _), (_, url) = await ftn.begin(), await ftn.begin(state="t" * 43)
    _, members = await visited(url)
    with pytest.raises(UpstreamRefused) as error:
        await ftn.resume(one, members)
    assert code_of(error) == "callback.state"
    with pytest.raises(UpstreamRefused) as error:
        await ftn.resume(one, {**members, "state": ASK.state})
    assert code_of(error) in {"token.invalid_grant", "id_token.nonce"}


@pytest.mark.parametrize("kind", [ReplyKind.POSTED, ReplyKind.RETURN, ReplyKind.POLL, ReplyKind.ACT])
async def test_only_the_callback_counts(ftn: Eid, kind: ReplyKind) -> None:
    """An answer that came another way is not one."""
    state, url = await ftn.begin()
    _, members = await visited(url)
    with pytest.raises(UpstreamRefused) as error:
        await ftn.resume(state, members, kind)
    assert code_of(error) == "callback.kind"


async def test_too_late(ftn: Eid) -> None:
    """A login that was opened half an hour ago is over."""
    state, url = await ftn.begin()
    _, members = await visited(url)
    ftn.clock.now += timedelta(minutes=30)
    with pytest.raises(UpstreamRefused) as error:
        await ftn.resume(state, members)
    assert code_of(error) == "callback.late"


async def test_cancelled(ftn: Eid) -> None:
    """She is told that she cancelled, not that something failed."""
    state, url = await ftn.begin()
    _, members = await visited(url, None)
    with pytest.raises(Stopped):
        await ftn.resume(state, members)


async def test_other_words_for_cancelled(mitid: Eid) -> None:
    """Some have their own; unless the config says so they are refusals."""
    state, _ = await mitid.begin()
    answer = {"state": ASK.state, "error": "user_aborted"}
    with pytest.raises(UpstreamRefused):
        await mitid.resume(state, answer)
    mitid.connect(cancel_errors=["user_aborted"])
    with pytest.raises(Stopped):
        await mitid.resume(state, answer)


async def test_ftn_answers_prompt_login_with_an_error(ftn: Eid) -> None:
    """Why the preset leaves it out: every login there is new, and proven by its time."""
    evidence_of_fresh = await _fresh(ftn)
    assert evidence_of_fresh.is_time_proven
    ftn.simulator.switch({Fault.STALE_AUTH_TIME})
    with pytest.raises(UpstreamRefused) as error:
        await _fresh(ftn)
    assert code_of(error) == "id_token.auth_time"
    ftn.simulator.switch()
    ftn.connect(omitted_params=[])
    with pytest.raises(UpstreamRefused) as error:
        await _fresh(ftn)
    assert code_of(error) == "callback.login_required"


async def _fresh(eid: Eid) -> Evidence:
    state, url = await eid.begin(fresh=True)
    _, members = await visited(url)
    return await eid.resume(state, members)


@pytest.mark.parametrize("fault", [Fault.STALE_AUTH_TIME, Fault.NO_AUTH_TIME])
async def test_idporten_must_prove_a_fresh_login(idporten: Eid, fault: Fault) -> None:
    """`prompt=login` was sent; the time in the token decides."""
    assert (await _fresh(idporten)).is_time_proven
    idporten.simulator.switch({fault})
    with pytest.raises(UpstreamRefused) as error:
        await _fresh(idporten)
    assert code_of(error) == "id_token.auth_time"


@pytest.mark.parametrize(
    ("fault", "code"),
    [(Fault.PUSH_REFUSED, "pushed.invalid_request"), (Fault.PUSH_UNREADABLE, "pushed.request_uri")],
)
async def test_a_request_that_is_not_taken(mitid: Eid, fault: Fault, code: str) -> None:
    """Nobody is sent to the provider with half a request."""
    mitid.simulator.switch({fault})
    with pytest.raises((UpstreamDown, UpstreamRefused)) as error:
        await mitid.begin()
    assert code_of(error) == code


async def test_a_provider_that_takes_no_pushed_requests(ftn: Eid) -> None:
    """Told as what it is, before anybody is sent anywhere."""
    ftn.connect(request="pushed")
    with pytest.raises(UpstreamDown) as error:
        await ftn.begin()
    assert code_of(error) == "pushed.missing"


@pytest.mark.parametrize("preset", ["ftn", "itsme"])
async def test_an_assertion_for_another_audience_is_our_fault(preset: str, clock: Clock) -> None:
    """The provider refuses our client; the operator reads that, and the breaker counts it."""
    async with open_eid(preset, clock) as eid:
        eid.connect(assertion_audience="issuer")
        assert await eid.refused() == "token.invalid_client"


# Keys


def own(*encryption: str, signing: tuple[str, ...] = (SIG_PEM,), entity: str | None = None) -> OwnKeys:
    return OwnKeys(
        tuple(parse_client_key(pem) for pem in signing),
        tuple(parse_decryption_key(pem) for pem in encryption),
        parse_client_key(entity) if entity else None,
    )


async def test_our_decryption_key_rolls_over(ftn: Eid) -> None:
    """Whoever still encrypts to the old one is understood, until it is taken away."""
    ftn.connect(own(OLD_ENC_PEM))
    published = json.loads(ftn.connector.published("jwks.json", address="a", now=START).content)
    state, url = await ftn.begin()
    _, members = await visited(url)

    async def remembered() -> Mapping[str, Any]:
        return dict(published)

    ftn.simulator.client = replace(ftn.simulator.client, keys=remembered)
    ftn.connect(own(ENC_PEM, OLD_ENC_PEM))
    assert (await ftn.resume(state, members)).subject == "140285-9120"
    ftn.connect(own(ENC_PEM))
    assert await ftn.refused() == "jwe.key"


async def test_our_signing_key_rolls_over(ftn: Eid) -> None:
    """The next one is published before it signs; the first signs."""
    ftn.connect(own(ENC_PEM, signing=(EC_PEM, SIG_PEM)))
    _, url = await ftn.begin()
    assert jws.extract_compact(sent(url)["request"].encode()).headers()["alg"] == "ES256"
    assert (await ftn.login()).subject == "140285-9120"
    keys = json.loads(ftn.connector.published("jwks.json", address="a", now=START).content)["keys"]
    assert [(key["use"], key.get("alg")) for key in keys] == [("sig", "ES256"), ("sig", "RS256"), ("enc", None)]


async def test_the_providers_key_rolls_over(ftn: Eid) -> None:
    """An unknown key inside the encryption leads to one more look, and userinfo knows it, too."""
    await ftn.login()
    ftn.simulator.rotate()
    assert (await ftn.login()).subject == "140285-9120"


async def test_signed_key_sets(ftn: Eid) -> None:
    """Trusted by the key that was handed over; by a stranger's signature under the same name it is down."""
    trusted = parse_key_set({"keys": [ENTITY.as_dict(private=False)]})
    signed = {"url": f"{ftn.origin}/jwks.jwt", "trusted_file": "trusted.json"}
    ftn.connect(signed_jwks=signed, trusted=trusted)
    await ftn.login()
    assert (ftn.simulator.calls["signed_keys"], ftn.simulator.calls["keys"]) == (1, 0)
    ftn.connect(signed_jwks=signed, trusted=trusted)
    assert await ftn.refused(Fault.KEYS_BY_STRANGER) == "id_token.signature"
    ftn.connect(signed_jwks={**signed, "issuers": ["https://other.example"]}, trusted=trusted)
    assert await ftn.refused() == "key_set.iss"
    ftn.connect(signed_jwks={**signed, "url": f"{ftn.origin}/jwks"}, trusted=trusted)
    with pytest.raises(UpstreamDown):
        await ftn.login()
    with pytest.raises(ValueError, match="trusted"):
        ftn.connect(signed_jwks=signed)


async def test_signed_key_sets_end(ftn: Eid) -> None:
    """One that has expired is not taken."""
    trusted = parse_key_set({"keys": [ENTITY.as_dict(private=False)]})
    ftn.connect(signed_jwks={"url": f"{ftn.origin}/jwks.jwt", "trusted_file": "t"}, trusted=trusted)
    real = ftn.simulator.signed_key_set()
    ftn.simulator.signed_key_set = lambda: real  # type: ignore[method-assign]
    ftn.clock.now += timedelta(days=2)
    assert await ftn.refused() == "key_set.exp"


async def test_what_we_publish_under_a_signature(ftn: Eid) -> None:
    """Key set and entity statement for providers that trust no plain one; signed once an hour, however often fetched."""
    connector = ftn.connect(own(ENC_PEM, entity=EC_PEM))
    address, entity = f"{ISSUER}/up/eid", parse_client_key(EC_PEM)
    found = connector.published("jwks.jwt", address=address, now=START)
    assert found is not None
    assert found.media_type == "application/jwk-set+jwt"
    token = jwt.decode(found.content.decode(), entity.key, algorithms=["ES256"])
    assert (token.header["typ"], token.claims["iss"], len(token.claims["keys"])) == ("jwk-set+jwt", address, 2)
    assert connector.published("jwks.jwt", address=address, now=START + timedelta(minutes=59)) == found
    later = connector.published("jwks.jwt", address=address, now=START + timedelta(hours=1))
    assert later is not None
    assert later.content != found.content
    statement = connector.published(".well-known/openid-federation", address=address, now=START)
    assert statement is not None
    told = jwt.decode(statement.content.decode(), entity.key, algorithms=["ES256"])
    client = told.claims["metadata"]["openid_relying_party"]
    assert told.header["typ"] == "entity-statement+jwt"
    assert (client["redirect_uris"], client["signed_jwks_uri"]) == ([CALLBACK], f"{address}/jwks.jwt")
    assert (client["id_token_encrypted_response_alg"], client["request_object_signing_alg"]) == ("RSA-OAEP", "RS256")
    assert not {"d", "p", "q"} & set(told.claims["jwks"]["keys"][0])
    assert connector.published("anything", address=address, now=START) is None


# The simulator is as strict as the real ones


async def told(url: str) -> str:
    """What the provider's page says, or the error it sends back with."""
    async with httpx2.AsyncClient(verify=PLAIN, trust_env=False) as browser:
        page = await browser.get(url)
    if "location" in page.headers:
        return parse_qs(urlsplit(page.headers["location"]).query)["error"][0]
    found = re.search(r'id="problem"><code>([^<]+)', page.text)
    return found[1] if found else "chosen"


def asking(eid: Eid, **changes: Any) -> dict[str, Any]:
    """The members of a good request to the simulated FTN broker; None takes one away."""
    members = {
        "client_id": CLIENT, "redirect_uri": CALLBACK, "response_type": "code", "state": "s" * 30, "nonce": "n" * 30,
        "scope": "openid personal_identity_code", "iss": CLIENT, "aud": eid.origin, "jti": "j" * 20,
        "exp": int(START.timestamp()) + 300, **changes,
    }  # fmt: skip
    return {name: value for name, value in members.items() if value is not None}


def signed(members: Mapping[str, Any], key: Any = None, alg: str = "RS256") -> str:
    return jwt.encode({"alg": alg}, dict(members), key or OWN.signing[0].key, algorithms=[alg])


async def ask_ftn(eid: Eid, token: str, **beside: str) -> str:
    return await told(f"{eid.origin}/authorize?{urlencode({'client_id': CLIENT, 'request': token, **beside})}")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "chosen"),
        ({"iss": "another"}, "invalid_request_object"),
        ({"aud": "https://other.example"}, "invalid_request_object"),
        ({"aud": None}, "invalid_request_object"),
        ({"exp": None}, "invalid_request_object"),
        ({"exp": int(START.timestamp()) - 1}, "invalid_request_object"),
        ({"exp": int(START.timestamp()) + 86400}, "invalid_request_object"),
        ({"nbf": int(START.timestamp()) + 600}, "invalid_request_object"),
        ({"jti": None}, "invalid_request_object"),
        ({"client_id": "another"}, "invalid_request_object"),
        ({"redirect_uri": f"{CALLBACK}/"}, "invalid_request"),
        ({"response_type": "token"}, "invalid_request"),
        ({"nonce": "short"}, "invalid_request"),
        ({"state": "short"}, "invalid_request"),
        ({"scope": "openid"}, "invalid_scope"),
        ({"scope": "openid personal_identity_code email"}, "invalid_scope"),
        ({"prompt": "login"}, "login_required"),
        ({"acr_values": "urn:anything"}, "invalid_request"),
        ({"code_challenge": "x" * 43, "code_challenge_method": "plain"}, "invalid_request"),
    ],
)
async def test_the_simulated_broker_reads_the_object(ftn: Eid, changes: dict[str, Any], expected: str) -> None:
    """What a real one refuses, it refuses."""
    assert await ask_ftn(ftn, signed(asking(ftn, **changes))) == expected


async def test_the_simulated_broker_takes_no_plain_request(ftn: Eid) -> None:
    """Nothing unsigned, nothing beside the object, nothing signed by a stranger or by nobody, nothing twice."""
    members = asking(ftn)
    good = signed(members)
    assert await told(f"{ftn.origin}/authorize?{urlencode(members)}") == "invalid_request"
    assert await ask_ftn(ftn, good, scope="openid") == "invalid_request"
    assert await ask_ftn(ftn, signed(members, new_key())) == "invalid_request_object"
    assert await ask_ftn(ftn, good.rpartition(".")[0] + ".") == "invalid_request_object"
    assert await ask_ftn(ftn, good) == "chosen"
    assert await ask_ftn(ftn, good) == "invalid_request_object"


async def test_the_simulated_broker_takes_pushed_requests_once(idporten: Eid) -> None:
    """A request URI opens one page; without pushing there is none, and it ends."""
    _, url = await idporten.begin()
    assert (await told(url), await told(url)) == ("chosen", "invalid_request_uri")
    assert (
        await told(f"{idporten.origin}/authorize?{urlencode({**asking(idporten), 'scope': 'openid'})}")
        == "invalid_request"
    )
    _, url = await idporten.begin()
    idporten.clock.now += timedelta(minutes=10)
    assert await told(url) == "invalid_request_uri"


@pytest.mark.parametrize("preset", ["mitid", "id-porten", "ftn", "vipps"])
async def test_the_simulated_broker_wants_the_client_proven(preset: str, clock: Clock) -> None:
    """At the token endpoint and where requests are pushed: no proof, a wrong one, or one used before."""
    async with open_eid(preset, clock) as eid, httpx2.AsyncClient(verify=PLAIN, trust_env=False) as client:
        now = int(START.timestamp())
        claims = {"iss": CLIENT, "sub": CLIENT, "aud": f"{eid.origin}/token", "jti": "once", "exp": now + 60}
        kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        proof = {"client_id": CLIENT, "client_assertion_type": kind, "client_assertion": signed(claims)}
        stranger = {**proof, "client_assertion": signed({**claims, "jti": "new"}, new_key())}
        for form in ({}, {"client_id": CLIENT}, {"client_id": CLIENT, "client_secret": "wrong"}, stranger):
            for path in ("token", "par"):
                answer = await client.post(f"{eid.origin}/{path}", data=form)
                assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
        if preset in BY_KEY:
            errors = [(await client.post(f"{eid.origin}/token", data=proof)).json()["error"] for _ in range(2)]
            assert errors == ["unsupported_grant_type", "invalid_client"]


async def test_a_level_that_was_not_offered(ftn: Eid) -> None:
    """The page honours what was asked: whoever needs loa3 gets a page with loa3 alone."""
    _, url = await ftn.begin(minimum=Assurance.HIGH)
    async with httpx2.AsyncClient(verify=PLAIN, trust_env=False) as browser:
        page = await browser.get(url)
    assert re.findall(r'name="level" value="([^"]+)"', page.text) == ["http://ftn.ficora.fi/2017/loa3"]


async def test_the_simulated_broker_fetches_keys_where_they_are_published() -> None:
    """For the demo: by HTTP, from the client's own address; one that answers with an error gives none."""

    async def key_set(request: Request) -> JSONResponse:
        return JSONResponse({"keys": [ENTITY.as_dict(private=False)]})

    async with on_loopback(lambda _: Starlette(routes=[Route("/up/eid/jwks.json", key_set)])) as origin:
        assert len((await keys_at(f"{origin}/up/eid/jwks.json")())["keys"]) == 1
        with pytest.raises(httpx2.HTTPStatusError):
            await keys_at(f"{origin}/up/other/jwks.json")()


@pytest.mark.parametrize("preset", sorted(PROFILES))
def test_operators_read_about_every_preset(preset: str) -> None:
    """docs/national-eid.md has a row for each, and each has a simulated provider."""
    page = (Path(__file__).parents[2] / "docs" / "national-eid.md").read_text("utf-8")
    assert f"\n| `{preset}` | " in page
    assert set(PROFILES) == set(PRESETS)
