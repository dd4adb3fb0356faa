"""
Everything of the story but the broker: the simulated providers, the tyre shop, the garage, the tyre workshop and the tyre
hotel, each on a port of its own.

They share one event loop with whoever starts them; to each other they are strangers and speak HTTP only.
"""

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate
from joserfc.jwk import ECKey, RSAKey
from starlette.types import ASGIApp

from broker.config.render import Ports
from broker.demo.garage import create_app as create_garage
from broker.demo.hotel import create_app as create_hotel
from broker.demo.providers import apple, google, mailbox, meta, national, saml_idp, sms_gateways, staff
from broker.demo.providers.bankid import PEOPLE, BankIdSimulator, make_certificates, tls_options
from broker.demo.providers.saml_documents import Pair
from broker.demo.shop import create_app as create_shop
from broker.demo.shop.letters import by_smtp
from broker.demo.workshop import create_app as create_workshop
from broker.demo.workshop import keys_from
from broker.demo.workshop import metadata as metadata_of_workshop

QR_MAX_AGE_S = 25
"""Older codes are refused by the simulated app: long enough to carry a screenshot over by hand."""

WORKSHOP = "urn:x-demo:ringvagens-dackverkstad"
"""The workshop's name as a service provider: that of the example, whatever its port."""

_PINNED_FOR = timedelta(days=3650)
_STOPPING_S = 5


class Addresses:
    """The origins of the story by the names of `Ports`, none with a slash at the end: ``at.shop``, ``at.google``."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    def of(self, party: str) -> str:
        """The broker on localhost, everybody else on 127.0.0.1: to a browser these are different sites."""
        host = "localhost" if party == "broker" else "127.0.0.1"
        return f"http://{host}:{getattr(self._ports, party)}"

    def __getattr__(self, party: str) -> str:
        return self.of(party)


@dataclass(frozen=True, slots=True)
class Secrets:
    """What the rendered config refers to as ``file:secrets/NAME``, made when first asked for and kept in ``folder``."""

    folder: Path

    def text(self, name: str) -> str:
        """A random secret."""
        return self.kept(name, lambda: secrets.token_urlsafe(32))

    def key(self, name: str) -> str:
        """A private key for ES256, as PEM."""
        return self.kept(name, lambda: ECKey.generate_key("P-256").as_pem(private=True).decode())

    def rsa_key(self, name: str) -> str:
        """A private RSA key, as PEM."""
        return self.kept(name, lambda: RSAKey.generate_key(2048).as_pem(private=True).decode())

    def kept(self, name: str, make: Callable[[], str]) -> str:
        """What *make* made when *name* was first asked for."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self.folder / name
        with contextlib.suppress(FileExistsError):
            made = make()
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
                out.write(made)
        return file.read_text("utf-8").strip()


@dataclass(frozen=True, slots=True)
class Party:
    """
    Somebody who listens. ``port``: a field of `Ports`. ``app``: speaks HTTP, or takes mail. ``tls``: more keyword arguments
    for ``uvicorn.Config``.

    ``about``: what a person finds at ``path`` there; empty for those that are for machines only.
    """

    port: str
    name: str
    app: ASGIApp | mailbox.Mailbox
    about: str = ""
    path: str = "/"
    tls: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cast:
    """The parties beside the broker. ``people``: who one can be there, by provider."""

    parties: tuple[Party, ...]
    people: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Scene:
    """What a party is built with. ``folder``: where the config is, with secrets and certificates beside it."""

    ports: Ports
    known: Secrets
    folder: Path

    @property
    def at(self) -> Addresses:
        """Where everybody is."""
        return Addresses(self.ports)

    def callback(self, upstream: str) -> frozenset[str]:
        """Where the provider of that id in the config may send browsers back to."""
        return frozenset({f"{self.at.broker}/up/{upstream}/callback"})


@dataclass(frozen=True, slots=True)
class Provider:
    """A simulated provider. ``title``: how people call it; ``people``: who one can be there."""

    title: str
    people: Sequence[str]
    parties: Callable[[Scene], tuple[Party, ...]]


def _bankid(scene: Scene) -> tuple[Party, ...]:
    certificates = make_certificates(scene.folder / "bankid", now=now())
    simulator = BankIdSimulator(certificates, qr_max_age_s=QR_MAX_AGE_S)
    return (
        Party("bankid_api", "the simulated BankID API", simulator.rp_api, tls=tls_options(certificates)),
        Party("bankid_app", "the simulated BankID app", simulator.app_page, "the simulated BankID app"),
    )


def _eid(scene: Scene) -> tuple[Party, ...]:
    for name in ("ftn-sig.pem", "ftn-enc.pem"):
        scene.known.rsa_key(name)
    published = national.keys_at(f"{scene.at.broker}/up/ftn/jwks.json")
    client = national.NationalClient("stafett", "Stafett", scene.callback("ftn"), published)
    app = national.create_app(profile="ftn", issuer=scene.at.eid, client=client, clock=now)
    return (Party("eid", "the simulated Finnish eID", app),)


def _eidas(scene: Scene) -> tuple[Party, ...]:
    """The node and its metadata, and the broker's own key with the certificate that the node knows it by."""
    at = scene.at
    _pair(scene, "eidas", "Stafett")
    published = saml_idp.published_at(f"{at.broker}/up/eidas/metadata")
    own = _pair(scene, "eidas-node", "Simulated eIDAS node")
    node = saml_idp.SamlIdp(at.eidas, saml_idp.EIDAS_ON_CURVES, published, now, [own])
    pinned = scene.folder / "metadata" / "eidas.xml"
    # With other ports it is another node.
    if not pinned.exists() or node.entity_id.encode() not in pinned.read_bytes():
        pinned.write_bytes(node.metadata(_PINNED_FOR))
    return (Party("eidas", "the simulated eIDAS node", saml_idp.create_app(node, saml_idp.EUROPEANS)),)


def _pair(scene: Scene, name: str, owner: str) -> Pair:
    """The key in ``secrets/NAME.pem`` and its certificate in ``metadata/NAME.crt``."""
    key = load_pem_private_key(scene.known.key(f"{name}.pem").encode(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not a key on a curve")
    certificates = Secrets(scene.folder / "metadata")
    made = certificates.kept(f"{name}.crt", lambda: Pair.made(key, owner).certificate_pem.decode())
    return Pair(key, load_pem_x509_certificate(made.encode()).public_bytes(Encoding.DER))


def _google(scene: Scene) -> tuple[Party, ...]:
    told = f"{scene.at.broker}/up/google/events"
    client = google.GoogleClient("Stafett", scene.known.text("google"), scene.callback("google"), told)
    app = google.create_app(issuer=scene.at.google, clients={"stafett": client}, clock=now)
    return (Party("google", "the simulated Google", app, "switches of the simulated Google", "/simulator"),)


def _meta(scene: Scene) -> tuple[Party, ...]:
    told = f"{scene.at.broker}/up/meta/deauthorize"
    app = meta.MetaApp("Stafett", scene.known.text("meta"), scene.callback("meta"), told)
    simulated = meta.create_app(apps={"1234567890123456": app}, clock=now)
    return (Party("meta", "the simulated Facebook", simulated, "where people remove the app at Facebook", "/settings"),)


def _apple(scene: Scene) -> tuple[Party, ...]:
    key = ECKey.import_key(scene.known.key("apple.p8"))
    client = apple.AppleClient("Stafett", "STAFETT001", {"DEMOKEY001": key}, scene.callback("apple"))
    app = apple.create_app(issuer=scene.at.apple, clients={"com.example.stafett": client}, clock=now)
    return (Party("apple", "the simulated Apple", app),)


def _staff(scene: Scene) -> tuple[Party, ...]:
    client = staff.StaffClient("stafett", scene.known.text("staff"), scene.callback("staff"))
    app = staff.create_app(company="Nordhjul", issuer=scene.at.staff, client=client, clock=now)
    return (Party("staff", "the login of the shop's staff", app),)


def _mail(scene: Scene) -> tuple[Party, ...]:
    box = mailbox.Mailbox(now)
    return (
        Party("smtp", "the simulated mail server", box),
        Party("mail", "the simulated mailbox", mailbox.create_app(box), "the mailbox: everybody's mail"),
    )


def _sms(scene: Scene) -> tuple[Party, ...]:
    account = {scene.known.text("46elks-user"): scene.known.text("46elks-password")}
    app = sms_gateways.create_app(sms_gateways.SmsGateways(now, elks=account))
    return (Party("sms", "the simulated gateway for text messages", app, "the phone: everybody's text messages"),)


PROVIDERS = (
    Provider("BankID", [person.name for person in PEOPLE.values()], _bankid),
    Provider("Finnish eID", [person.name for person in national.PEOPLE], _eid),
    Provider("eID from another EU country", [person.name for person in saml_idp.EUROPEANS], _eidas),
    Provider("Google", [account.name for account in google.ACCOUNTS], _google),
    Provider("Facebook", [person.name for person in meta.PEOPLE], _meta),
    Provider("Apple", [f"{account.first_name} {account.last_name}" for account in apple.ACCOUNTS], _apple),
    Provider("Staff of the shop", [f"{each.name} ({each.work})" for each in staff.COLLEAGUES], _staff),
    Provider("E-mail", ["any address"], _mail),
    Provider("Text message", ["any Swedish, Finnish or Polish mobile number"], _sms),
)
"""All of them. One more is an entry here, a port in `Ports`, its block in the example, and a way in for `broker.demo.ways`."""


def now() -> datetime:
    """The time, aware UTC."""
    return datetime.now(UTC)


def _sites(scene: Scene) -> tuple[Party, ...]:
    at, known = scene.at, scene.known
    shop = create_shop(
        issuer=at.broker,
        base_url=at.shop,
        client_id="nordhjul-web",
        client_secret=known.text("tyre-shop"),
        send=by_smtp("127.0.0.1", scene.ports.smtp),
    )
    garage = create_garage(
        issuer=at.broker,
        base_url=at.garage,
        client_id="verkstan-web",
        client_secret=known.text("garage"),
        sharing_url=f"{at.broker}/shared",
    )
    hotel = create_hotel(
        issuer=at.broker, base_url=at.hotel, client_id="hjulvila", client_secret=known.text("tyre-hotel")
    )
    return (
        Party("shop", "the tyre shop", shop, "Nordhjul, the tyre shop"),
        Party("garage", "the garage", garage, "Verkstan i Hammarby, the garage"),
        _workshop(scene),
        Party("hotel", "the tyre hotel", hotel, "Hjulvila, the tyre hotel, which has no login of its own"),
    )


def _workshop(scene: Scene) -> Party:
    """The workshop, and its metadata where the config looks for it."""
    at, known = scene.at, scene.known
    keys = keys_from(known.rsa_key("tyre-workshop-sig.pem"), known.rsa_key("tyre-workshop-enc.pem"))
    pinned = scene.folder / "metadata" / "tyre-workshop.xml"
    pinned.parent.mkdir(exist_ok=True)
    pinned.write_bytes(metadata_of_workshop(WORKSHOP, at.workshop, keys))
    app = create_workshop(
        issuer=at.broker,
        base_url=at.workshop,
        entity_id=WORKSHOP,
        keys=keys,
        client_id="ringvagen-server",
        client_secret=known.text("tyre-workshop"),
        sharing_url=f"{at.broker}/shared",
    )
    return Party("workshop", "the tyre workshop", app, "Ringvägens Däckverkstad, a garage that speaks SAML")


def make_cast(ports: Ports, folder: Path) -> Cast:
    """
    Build the providers and the sites, with the secrets and certificates that the config rendered into *folder* refers to.

    What was made by an earlier run is kept.
    """
    scene = Scene(ports, Secrets(folder / "secrets"), folder)
    parties = [*_sites(scene), *(party for provider in PROVIDERS for party in provider.parties(scene))]
    return Cast(tuple(parties), {provider.title: provider.people for provider in PROVIDERS})


class Server(uvicorn.Server):
    """
    uvicorn beside others in one loop: signals are the business of whoever started them all.

    ``up``: set once it serves, or never will.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's."""
        await super().startup(sockets=sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None are captured."""
        yield


class MailServer:
    """The simulated mail server beside the others."""

    def __init__(self, box: mailbox.Mailbox) -> None:
        self.up = asyncio.Event()
        self._box = box
        self._ending = asyncio.Event()

    @property
    def should_exit(self) -> bool:
        """Whether it is to end."""
        return self._ending.is_set()

    @should_exit.setter
    def should_exit(self, value: bool) -> None:
        (self._ending.set if value else self._ending.clear)()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Take mail on the first of *sockets* until it is to end."""
        listening = await self._box.listen(sock=sockets[0] if sockets else None)
        self.up.set()
        try:
            await self._ending.wait()
        finally:
            await listening.close()


class Serving(Protocol):
    """What `running` runs. ``up``: set once it serves, or never will. ``should_exit``: set it, and it ends soon."""

    up: asyncio.Event
    should_exit: bool

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve on *sockets* until it ends."""
        ...


def server_of(party: Party) -> Serving:
    """A quiet server for *party*."""
    if isinstance(party.app, mailbox.Mailbox):
        return MailServer(party.app)
    config = uvicorn.Config(
        party.app,
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=1,
        **party.tls,
    )
    return Server(config)


@contextlib.asynccontextmanager
async def running(servers: Sequence[tuple[Serving, socket.socket]]) -> AsyncIterator[asyncio.Event]:
    """
    Serve on the sockets, which are closed afterwards, until the block ends.

    Gives: an event that is set when one of the servers ends before its time.
    """
    ended = asyncio.Event()
    tasks = [asyncio.create_task(server.serve(sockets=[listening])) for server, listening in servers]
    for task, (server, _) in zip(tasks, servers, strict=True):
        for event in (server.up, ended):
            task.add_done_callback(_setting(event))
    try:
        await asyncio.gather(*(server.up.wait() for server, _ in servers))
        yield ended
    finally:
        await _stop([server for server, _ in servers], tasks)


def _setting(event: asyncio.Event) -> Callable[[object], None]:
    return lambda _: event.set()


async def _stop(servers: Sequence[Serving], tasks: Sequence["asyncio.Task[None]"]) -> None:
    for server in servers:
        server.should_exit = True
    _, late = await asyncio.wait(tasks, timeout=_STOPPING_S)
    for task in late:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
