"""
National electronic identities: the connector against simulated providers of each kind on a real loopback port, and whole logins
from a config file. Time is what the test says.
"""

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2
import pytest
from joserfc.jwk import ECKey, RSAKey
from starlette.applications import Starlette

from broker.config.load import load
from broker.core.assurance import Assurance
from broker.core.identity import Evidence
from broker.demo.providers.national import PROFILES, Fault, NationalClient, NationalSimulator, create_app, new_key
from broker.errors import UpstreamDown, UpstreamRefused
from broker.upstream.national_oidc import NationalOidcConnect, NationalOidcConnector, OwnKeys
from broker.upstream.port import Done, Redirect, Reply, ReplyKind
from broker.upstream.registry import KINDS
from broker.upstream.supplies import Supplies
from broker.wire.encrypted import parse_decryption_key
from broker.wire.http import Fetcher
from broker.wire.oauth import parse_client_key
from tests.stage import ISSUER, Answer, Browser, Stage, open_stage
from tests.upstream.cases import Case, Play, Said, Sent, offering, patience
from tests.upstream.test_oidc import ASK, PLAIN, Clock, code_of, fetching, on_loopback

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
    folder: Path, preset: str, *, ceiling: str = "high", fetcher: Fetcher | None = None, **changes: Any
) -> AsyncIterator[World]:
    """The connector is built from the config file as the broker builds it, on a *fetcher* that can be closed."""
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
        client = NationalClient(CLIENT, "Stafett", frozenset({CALLBACK}), published, SECRET)
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
        async with fetching() as own_fetcher, open_stage(folder, edit=offering("eid", block), cast=cast) as stage:
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
    Fault.WRONG_NONCE, Fault.MISSING_NONCE, Fault.WRONG_AUDIENCE, Fault.WRONG_ISSUER, Fault.WRONG_AT_HASH, Fault.EXPIRED,
    Fault.FROM_THE_FUTURE, Fault.ALG_NONE, Fault.ALG_HS256, Fault.UNKNOWN_KEY, Fault.BROKEN_SIGNATURE, Fault.NO_ID_TOKEN,
    Fault.NOT_ENCRYPTED, Fault.FOREIGN_KEY, Fault.UNKNOWN_LEVEL, Fault.NO_LEVEL, Fault.NO_SUBJECT_CLAIM,
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
