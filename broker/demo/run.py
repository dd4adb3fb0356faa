"""
Everything of the story but the broker: the simulated providers, the tyre shop, the garage and the tyre hotel, each on a
port of its own.

They share one event loop with whoever starts them; to each other they are strangers and speak HTTP only.
"""

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from broker.config.render import Ports
from broker.demo.garage import create_app as create_garage
from broker.demo.hotel import create_app as create_hotel
from broker.demo.providers.bankid import BankIdSimulator, make_certificates, tls_options
from broker.demo.providers.google import GoogleClient, GoogleSimulator
from broker.demo.providers.google import create_app as create_google
from broker.demo.shop import create_app as create_shop

QR_MAX_AGE_S = 25
"""Older codes are refused by the simulated app: long enough to carry a screenshot over by hand."""

_STOPPING_S = 5


@dataclass(frozen=True, slots=True)
class Addresses:
    """The origins of the story, none with a slash at the end."""

    broker: str
    shop: str
    garage: str
    google: str
    phone: str
    hotel: str

    @classmethod
    def of(cls, ports: Ports) -> "Addresses":
        """The broker on localhost, everybody else on 127.0.0.1: to a browser these are different sites."""
        return cls(
            broker=f"http://localhost:{ports.broker}",
            shop=f"http://127.0.0.1:{ports.shop}",
            garage=f"http://127.0.0.1:{ports.garage}",
            google=f"http://127.0.0.1:{ports.google}",
            phone=f"http://127.0.0.1:{ports.bankid_app}",
            hotel=f"http://127.0.0.1:{ports.hotel}",
        )


@dataclass(frozen=True, slots=True)
class Secrets:
    """The client secrets that the rendered config refers to."""

    tyre_shop: str = field(repr=False)
    garage: str = field(repr=False)
    google: str = field(repr=False)
    tyre_hotel: str = field(repr=False)

    @classmethod
    def kept_in(cls, folder: Path) -> "Secrets":
        """Read them from *folder*, making what is missing, so that a restart keeps its sessions."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return cls(*(_kept(folder / name) for name in ("tyre-shop", "garage", "google", "tyre-hotel")))


@dataclass(frozen=True, slots=True)
class Party:
    """Somebody who listens. ``port``: a field of `Ports`. ``tls``: more keyword arguments for ``uvicorn.Config``."""

    port: str
    name: str
    app: ASGIApp
    tls: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cast:
    """The parties beside the broker, and the simulators' own controls."""

    parties: tuple[Party, ...]
    bankid: BankIdSimulator
    google: GoogleSimulator


def make_cast(ports: Ports, folder: Path) -> Cast:
    """
    Build the providers and the sites, with the secrets and certificates that the config rendered into *folder* refers to.

    What was made by an earlier run is kept.
    """
    at, known = Addresses.of(ports), Secrets.kept_in(folder / "secrets")
    certificates = make_certificates(folder / "bankid", now=datetime.now(UTC))
    bankid = BankIdSimulator(certificates, qr_max_age_s=QR_MAX_AGE_S)
    stafett = GoogleClient("Stafett", known.google, frozenset({f"{at.broker}/up/google/callback"}))
    google = create_google(issuer=at.google, clients={"stafett": stafett}, clock=lambda: datetime.now(UTC))
    shop = create_shop(issuer=at.broker, base_url=at.shop, client_id="nordhjul-web", client_secret=known.tyre_shop)
    garage = create_garage(
        issuer=at.broker,
        base_url=at.garage,
        client_id="verkstan-web",
        client_secret=known.garage,
        sharing_url=f"{at.broker}/shared",
    )
    hotel = create_hotel(issuer=at.broker, base_url=at.hotel, client_id="hjulvila", client_secret=known.tyre_hotel)
    parties = (
        Party("google", "the simulated Google", google),
        Party("bankid_api", "the simulated BankID API", bankid.rp_api, tls_options(certificates)),
        Party("bankid_app", "the simulated BankID app", bankid.app_page),
        Party("shop", "the tyre shop", shop),
        Party("garage", "the garage", garage),
        Party("hotel", "the tyre hotel", hotel),
    )
    return Cast(parties, bankid, google.state.simulator)


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


def server_of(party: Party) -> Server:
    """A quiet server for *party*."""
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
async def running(servers: Sequence[tuple[Server, socket.socket]]) -> AsyncIterator[asyncio.Event]:
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


async def _stop(servers: Sequence[Server], tasks: Sequence["asyncio.Task[None]"]) -> None:
    for server in servers:
        server.should_exit = True
    _, late = await asyncio.wait(tasks, timeout=_STOPPING_S)
    for task in late:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _kept(file: Path) -> str:
    with contextlib.suppress(FileExistsError):
        made = secrets.token_urlsafe(32)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(made)
    return file.read_text("utf-8").strip()
