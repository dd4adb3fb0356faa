"""
A broker with one SAML provider, for the tests of the kinds `saml`, `eidas` and `sweden-connect`, and all that a provider may be
lied with: the simulator signs by signxml and encrypts by its own code.
"""

import json
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_der_x509_certificate

from broker.app import MetadataFetchers, build_peers
from broker.config.load import load
from broker.core.identity import Evidence
from broker.core.saml import SamlProvider
from broker.demo.providers.saml_documents import Pair
from broker.demo.providers.saml_idp import PEOPLE, Fault, Mode, Person, SamlIdp, create_app
from broker.demo.providers.saml_logout import Logouts, with_logout
from broker.errors import StoreDown, UpstreamDown
from broker.flows.assertions import Assertions
from broker.stores.memory import MemoryState
from broker.stores.ports import Records, StateStore
from broker.upstream.port import Begun, Done, PostForm, Redirect, Reply, ReplyKind
from broker.upstream.registry import KINDS
from broker.upstream.saml import OwnKeys, SamlConnector
from broker.upstream.supplies import Supplies
from broker.wire.saml.aggregate import Demands, read
from broker.wire.saml.keys import decrypting_key, signing_key
from tests.changing import replace
from tests.stage import ISSUER, SHOP_CALLBACK, Answer, Browser, Stage, open_stage
from tests.upstream.cases import Play, Said, Sent, offering
from tests.upstream.test_oidc import ASK, PLAIN, Clock, on_loopback

ADDRESS = f"{ISSUER}/up/eid"
CALLBACK = f"{ADDRESS}/callback"
NAMES = dict.fromkeys(("sv", "fi", "pl", "en"), "Stafett")


@cache
def rsa_pair(which: int = 0, bits: int = 2048) -> Pair:
    """A key pair of that number."""
    return Pair.made(rsa.generate_private_key(65537, bits))


@cache
def ec_pair(which: int = 0) -> Pair:
    """A key pair on P-256."""
    return Pair.made(ec.generate_private_key(ec.SECP256R1()))


def pem_of(pair: Pair) -> bytes:
    """Its certificate."""
    return load_der_x509_certificate(pair.certificate).public_bytes(Encoding.PEM)


def own_keys(*pairs: Pair) -> OwnKeys:
    """The broker's."""
    return OwnKeys(
        tuple(signing_key(each.pem, each.certificate) for each in pairs),
        tuple(decrypting_key(each.pem) for each in pairs),
    )


_SAID = ("takes", "expects", "logs_out", "sealed_to")


class PlayedPeers:
    """Metadata that is what the simulator publishes, unless it is played to be away."""

    def __init__(self, simulator: SamlIdp) -> None:
        self.simulator = simulator
        self.is_down = False
        self.is_gone = False
        self.instead: SamlProvider | None = None
        self._read: tuple[Any, SamlProvider | None] | None = None

    async def provider(self, source: str, entity_id: str) -> SamlProvider | None:
        """As the broker reads it."""
        if self.is_down:
            raise UpstreamDown("played to be away", code="saml.metadata_missing")
        if self.instead is not None:
            return self.instead
        if self.is_gone or entity_id != self.simulator.entity_id:
            return None
        says = (list(self.simulator.keys), *(getattr(self.simulator, each) for each in _SAID))
        if self._read is None or self._read[0] != says:
            document = read(self.simulator.metadata(), demands=Demands(), now=self.simulator.clock())
            found = document.find(entity_id)
            self._read = (says, found.provider if found else None)
        return self._read[1]


async def visited(
    url: str, account: str | None = "maja", *, form: Mapping[str, str] | None = None
) -> tuple[str, dict[str, str]]:
    """
    Choose *account* (None: cancel) on the provider's page, where the browser came with a *form* or without; the address its
    answer is posted to, and the members.
    """
    origin = "{0.scheme}://{0.netloc}".format(urlsplit(url))
    async with httpx2.AsyncClient(verify=PLAIN, trust_env=False, follow_redirects=True) as browser:
        page = await (browser.get(url) if form is None else browser.post(url, data=form))
        request = re.search(r'name="request" value="([^"]+)"', page.text)
        assert request, page.text
        choice = {"account": account} if account else {"cancel": "1"}
        page = await browser.post(f"{origin}/choose", data={"request": request[1], **choice})
    action = re.search(r'id="answer" method="post" action="([^"]+)"', page.text)
    assert action, page.text
    members = re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', page.text)
    return unescape(action[1]), {name: unescape(value) for name, value in members}


async def visited_from(gone: Answer, account: str | None = "maja") -> tuple[str, dict[str, str]]:
    """As `visited`, from where choosing this way in led."""
    posted = gone.form_post
    return await visited(gone.location, account, form=dict(posted["fields"]) if posted else None)


class Forgetful(MemoryState):
    """A store that can be played to be away."""

    fail = False

    async def run(self, *ops: Any) -> list[Any]:
        """See `StateStore.run`."""
        if self.fail:
            raise StoreDown("played to be away")
        return list(await super().run(*ops))


class Provider:
    """A connector and the simulator it goes to, without a broker around; its form is filled in by hand."""

    def __init__(self, kind: str, mode: Mode, *pairs: Pair, signer: Pair | None = None, **settings: Any) -> None:
        self.kind, self.settings, self.pairs = kind, settings, pairs or (rsa_pair(),)
        self.clock, self.state = Clock(), Forgetful()

        async def published() -> bytes:
            document = self.connector.published("metadata", address=ADDRESS, now=self.clock.now)
            assert document is not None
            return document.content

        self.simulator = SamlIdp("https://idp.example", mode, published, self.clock, [signer or rsa_pair(9)])
        self.peers = PlayedPeers(self.simulator)
        self.connector = self.connect()

    def connect(self, **changes: Any) -> SamlConnector:
        """A connector with other settings."""
        kind, settings = KINDS[self.kind], self.settings | changes
        given = connect_block(self.simulator.entity_id, **settings)
        connect = kind.config.model_validate_json(json.dumps(given))
        return SamlConnector(
            "eid",
            connect,  # type: ignore[arg-type]
            keys=own_keys(*self.pairs),
            peers=self.peers,
            assertions=Assertions(self.state),
            names=NAMES,
        )

    async def sent(self, **changes: Any) -> tuple[bytes, Redirect | PostForm]:
        """The state, and where the customer goes and how."""
        begun = await self.connector.begin(replace(ASK, callback_url=CALLBACK, now=self.clock.now, **changes))
        assert isinstance(begun, Begun)
        assert isinstance(begun.prompt, Redirect | PostForm)
        return begun.state, begun.prompt

    async def begin(self, **changes: Any) -> tuple[bytes, str]:
        """The state, and the address where the customer goes with all that is said."""
        state, prompt = await self.sent(**changes)
        assert isinstance(prompt, Redirect)
        return state, prompt.url

    async def begin_by_form(self, **changes: Any) -> tuple[bytes, PostForm]:
        """The state, and the form with which the customer goes."""
        state, prompt = await self.sent(**changes)
        assert isinstance(prompt, PostForm)
        return state, prompt

    async def answered(self, request: str | PostForm, account: str | None = "maja") -> dict[str, str]:
        """The members of the form that answers the *request*: in an address, or in a form."""
        if isinstance(request, str):
            asked = await self.simulator.asked(urlsplit(request).query)
        else:
            asked = await self.simulator.asked_by_form(list(request.members.items()))
        people = {each.key: each for each in PEOPLE}
        return self.simulator.answer(asked, people[account] if account else None)

    async def resume(self, state: bytes, members: Mapping[str, str], kind: ReplyKind = ReplyKind.POSTED) -> Evidence:
        """What it proves."""
        done = await self.connector.resume(state, Reply(kind, members, self.clock.now))
        assert isinstance(done, Done)
        return done.evidence

    async def login(self, account: str | None = "maja", **asked: Any) -> Evidence:
        """The whole way."""
        state, prompt = await self.sent(**asked)
        request = prompt.url if isinstance(prompt, Redirect) else prompt
        return await self.resume(state, await self.answered(request, account))


def connect_block(entity_id: str, **changes: Any) -> dict[str, Any]:
    """A ``connect`` block."""
    keys = [{"key": "file:secrets/saml-up.pem", "certificate": "secrets/saml-up.crt"}]
    return {"entity_id": entity_id, "metadata": "metadata/idp.xml", "keys": keys} | changes


# A whole broker


@dataclass
class World:
    """A broker with one SAML provider, from its config file."""

    stage: Stage
    simulator: SamlIdp
    peers: PlayedPeers
    logouts: Logouts

    async def attempt(self, account: str | None = "maja", browser: Browser | None = None) -> Answer:
        """A customer of the shop goes there and back; where that ends."""
        customer = browser or self.stage.browser()
        await customer.follow(await customer.get(self.stage.shop.request()))
        gone = await customer.follow(await customer.press("method-eid"))
        action, members = await visited_from(gone, account)
        return await customer.follow(Answer(await self.stage.client.post(action, data=members)))


@asynccontextmanager
async def open_world(
    folder: Path,
    kind: str,
    mode: Mode,
    *,
    ceiling: str = "high",
    issuer: str = ISSUER,
    shop_callback: str = SHOP_CALLBACK,
    own: Pair | None = None,
    signer: Pair | None = None,
    edit: Mapping[str, str] | None = None,
    from_file: bool = False,
    state: StateStore | None = None,
    wrap: Callable[[Records], Records] = lambda records: records,
    takes: tuple[str, ...] = ("HTTP-Redirect", "HTTP-POST"),
    people: Sequence[Person] = PEOPLE,
    sealed_to: Pair | None = None,
    **changes: Any,
) -> AsyncIterator[World]:
    """
    The connector is built from the (edited) config file as the broker builds it; only the metadata is played, unless it comes
    *from_file* as well.
    """
    pair = own or rsa_pair()
    write(folder / "secrets" / "saml-up.pem", pair.pem)
    write(folder / "secrets" / "saml-up.crt", pem_of(pair))
    made: list[SamlIdp] = []
    logouts: list[Logouts] = []
    stages: list[Stage] = []

    async def published() -> bytes:
        answer = await stages[0].client.get(f"{issuer}/up/eid/metadata")
        assert answer.status_code == 200
        return answer.content

    def app_for(origin: str) -> Any:
        made.append(SamlIdp(origin, mode, published, Clock(), [signer or rsa_pair(9)], takes=takes))
        made[0].sealed_to = sealed_to
        app = create_app(made[0], people)
        logouts.append(with_logout(app) if changes.get("logout") else Logouts(made[0]))
        return app

    async with on_loopback(app_for):
        simulator = made[0]
        peers = PlayedPeers(simulator)
        write(folder / "metadata" / "idp.xml", simulator.metadata(timedelta(days=3650)))

        def cast(clock: Any) -> dict[str, Any]:
            simulator.clock = clock
            loaded = load(folder / "stafett.yaml", environment={})
            known = build_peers(loaded, MetadataFetchers.of(loaded), clock) if from_file else peers
            supplies = Supplies(
                loaded.references, None, context=Stored(state or MemoryState()), peers=known, names=NAMES
            )  # type: ignore[arg-type]
            return {"eid": KINDS[kind].build("eid", loaded.connectors["eid"], supplies)}

        block = (
            f"    kind: {kind}\n    titles: {{sv: eID, fi: eID, pl: eID, en: eID}}\n"
            f"    ceiling: {ceiling}\n    may_bootstrap_other_methods: true\n"
            f"    connect: {json.dumps(connect_block(simulator.entity_id, **changes))}\n"
        )
        edits = {
            **offering("eid", block),
            f"issuer: {ISSUER}": f"issuer: {issuer}",
            SHOP_CALLBACK: shop_callback,
            **(edit or {}),
        }
        async with open_stage(folder, edit=edits, cast=cast, state=state, wrap=wrap) as stage:
            stages.append(stage)
            yield World(stage, simulator, peers, logouts[0])


@dataclass(frozen=True)
class Stored:
    """As much of a context as a connector takes."""

    state: StateStore


def write(path: Path, content: bytes) -> None:
    """A file nobody else may read."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o600)


class SamlPlay(Play):
    """A simulated provider in a whole broker."""

    proof = "SAMLResponse"
    bound = "RelayState"
    world: World

    async def answered(self, browser: Browser, gone: Answer, said: Said = Said.YES) -> Sent | None:
        if said is Said.REFUSED:
            self.world.simulator.switch(Fault.REFUSED)
        action, members = await visited_from(gone, None if said is Said.NO else "maja")
        return Sent("POST", action, members, is_foreign=True)

    def lie(self, lie: str) -> None:
        self.world.simulator.switch(Fault(lie))

    def fail(self) -> None:
        self.world.peers.is_down = True

    def stall(self) -> None:
        self.world.peers.is_down = True

    def heal(self) -> None:
        self.world.peers.is_down = False
        self.world.simulator.switch()

    def asked(self) -> int:
        return self.world.simulator.calls["answer"]


@asynccontextmanager
async def play(folder: Path, kind: str, mode: Mode, **changes: Any) -> AsyncIterator[Play]:
    """For the contract suite."""
    async with open_world(folder, kind, mode, **changes) as world:
        opened = SamlPlay(world.stage, "eid", world.stage.connectors["eid"])
        opened.world = world
        yield opened


LIES = (
    Fault.UNSIGNED, Fault.UNKNOWN_KEY, Fault.BROKEN_SIGNATURE, Fault.NOT_ENCRYPTED, Fault.DOCTYPE, Fault.NO_ASSERTION,
    Fault.TWO_ASSERTIONS, Fault.WRONG_ISSUER, Fault.WRONG_ASSERTION_ISSUER, Fault.WRONG_DESTINATION, Fault.WRONG_RECIPIENT,
    Fault.WRONG_AUDIENCE, Fault.NO_AUDIENCE, Fault.WRONG_REQUEST, Fault.WRONG_CONFIRMED_REQUEST, Fault.UNSOLICITED,
    Fault.HOLDER_OF_KEY, Fault.EXPIRED, Fault.NOT_YET_VALID, Fault.STALE, Fault.FROM_THE_FUTURE, Fault.LOGIN_IN_THE_FUTURE,
    Fault.UNKNOWN_LEVEL, Fault.NO_LEVEL, Fault.NOBODY,
)  # fmt: skip
"""What no provider may say, whatever its scheme."""
