"""Places that messages go to, each with its sender and the trouble it can make: real sockets, simulated servers."""

import asyncio
import functools
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import uvicorn
from pydantic import TypeAdapter
from starlette.applications import Starlette
from uvicorn.server import ServerState

from broker.core.policy import GatewaySettings, SmtpMail
from broker.demo.providers import mailbox, sms_gateways
from broker.demo.providers.bankid.certificates import make_certificates
from broker.demo.providers.mailbox import Mailbox
from broker.demo.providers.sms_gateways import SmsGateways
from broker.notify.failover import Failover
from broker.notify.outbox import MailOutbox, SmsOutbox
from broker.notify.ports import Mail, Sent, Sms, SmsSender
from broker.notify.sms_46elks import ElksGateway
from broker.notify.sms_http import HttpGateway
from broker.notify.sms_twilio import TwilioGateway
from broker.notify.smtp import SmtpSender
from broker.wire.http import Fetcher
from tests import servers

START = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
SID = "AC" + "0" * 31 + "1"
TIMEOUT_S = 0.25


class Clock:
    """Time that moves when told to."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **by: float) -> None:
        self.now += timedelta(**by)


class Trouble(StrEnum):
    """What can go wrong with any of them."""

    RECIPIENT = "recipient"
    ACCOUNT = "account"
    BUSY = "busy"
    SILENT = "silent"
    BROKEN = "broken"
    GONE = "gone"


@dataclass
class Place:
    """
    One way to write to somebody. ``send``: to, text -> what became of it. ``arrived``: to and text of what got there.

    ``trouble``: makes it; ``can``: which ones.
    """

    send: Callable[..., Any]
    arrived: Callable[[], list[tuple[str, str]]]
    trouble: Callable[[Trouble], Any]
    to: str
    can: frozenset[Trouble] = frozenset(Trouble)
    simulator: Any = None
    sender: Any = None
    extra: dict[str, Any] = field(default_factory=dict)


@asynccontextmanager
async def on_loopback(app: Starlette) -> AsyncIterator[str]:
    """Serve *app* on a free port; gives the origin."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_config=None, lifespan="off", ws="none", http="h11")
        config.load()
        state = ServerState()
        # uvicorn's own loop looks only ten times a second whether it should end.
        server = await asyncio.get_running_loop().create_server(
            lambda: config.http_protocol_class(config=config, server_state=state, app_state={}), sock=listening
        )
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.close()
            for connection in list(state.connections):
                connection.transport.abort()
            await asyncio.gather(*state.tasks)


@functools.cache
def free_port() -> int:
    """A port where nobody listens, nor ever does."""
    return servers.free_port()


# Mail

_SMTP_TROUBLE: Mapping[Trouble, mailbox.Fault] = {
    Trouble.RECIPIENT: mailbox.Fault.UNKNOWN_RECIPIENT,
    Trouble.ACCOUNT: mailbox.Fault.SENDER_REFUSED,
    Trouble.BUSY: mailbox.Fault.GREYLIST,
    Trouble.SILENT: mailbox.Fault.SLOW,
    Trouble.BROKEN: mailbox.Fault.HANGS_UP_LATE,
}


@functools.cache
def certificates(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext, str]:
    """A server's identity as 127.0.0.1, a client that trusts its authority, and that authority's file."""
    made = make_certificates(folder, now=datetime.now(UTC))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(made.server_cert, made.server_key)
    return server, ssl.create_default_context(cafile=str(made.ca_cert)), str(made.ca_cert)


def smtp_settings(port: int, **changed: Any) -> SmtpMail:
    given = {"driver": "smtp", "host": "127.0.0.1", "port": port, "tls": "none", "from": "login@login.example"}
    return SmtpMail.model_validate(given | changed)


def smtp_sender(
    settings: SmtpMail,
    *,
    tls: ssl.SSLContext | None = None,
    password: str | None = None,
    clock: Callable[[], datetime] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> SmtpSender:
    return SmtpSender(
        settings,
        password=password,
        tls=tls or ssl.create_default_context(),
        host="login.example",
        name="Nordic login",
        clock=clock or Clock(),
        timeout_s=timeout_s,
    )


@asynccontextmanager
async def smtp_place(folder: Path, how: str) -> AsyncIterator[Place]:
    """A mailbox that wants a password, or, without TLS, does not."""
    server_tls, client_tls, _ = certificates(folder)
    clock = Clock()
    accounts = {} if how == "none" else {"login": "s3cret åäö"}
    box = Mailbox(clock, accounts=accounts, tls=server_tls if how == "starttls" else None)
    listening = await box.listen(implicit_tls=server_tls if how == "implicit" else None)
    changed = {"tls": how} | ({"username": "login", "password": "env:P"} if accounts else {})
    # A handshake takes its time where four tests run on two cores.
    sender = smtp_sender(
        smtp_settings(listening.port, **changed),
        tls=client_tls,
        password=accounts.get("login"),
        clock=clock,
        timeout_s=TIMEOUT_S if how == "none" else 2.0,
    )

    async def send(to: str, text: str, ref: str = "r1", **more: Any) -> Sent:
        return await sender.send(Mail(to, more.get("subject", "Your code"), text, more.get("html")), ref)

    async def trouble(kind: Trouble) -> None:
        if kind is Trouble.GONE:
            await listening.close()
        else:
            box.switch(_SMTP_TROUBLE[kind])

    def arrived() -> list[tuple[str, str]]:
        return [(mail.to, mail.text.removesuffix("\n")) for mail in box.mails]

    try:
        # Waiting for silence is the same with TLS, and longer.
        can = frozenset(Trouble) - ({Trouble.SILENT} if accounts else set())
        extra = {"clock": clock, "listening": listening}
        yield Place(send, arrived, trouble, "maja@example.com", can=can, simulator=box, sender=sender, extra=extra)
    finally:
        box.switch()
        await sender.close()
        await listening.close()


# Text messages

_SMS_TROUBLE: Mapping[Trouble, sms_gateways.Fault] = {
    Trouble.RECIPIENT: sms_gateways.Fault.BAD_NUMBER,
    Trouble.ACCOUNT: sms_gateways.Fault.NO_CREDIT,
    Trouble.BUSY: sms_gateways.Fault.THROTTLED,
    Trouble.SILENT: sms_gateways.Fault.SLOW,
    Trouble.BROKEN: sms_gateways.Fault.BROKEN,
}
_ADAPTER: TypeAdapter[Any] = TypeAdapter(GatewaySettings)
REPORTS = "https://login.example/notify/sms/any/report"


def settings_of(driver: str, origin: str, **changed: Any) -> Any:
    """A block of the config for the simulated gateway at *origin*."""
    fields = {"to": "{to}", "text": "{text}", "from": "Nordhjul", "ref": "{ref}"}
    given: Mapping[str, dict[str, Any]] = {
        "46elks": {"api_url": f"{origin}/a1/sms", "username": "env:U", "password": "env:P", "from": "Nordhjul"},
        "twilio": {"api_url": origin, "account_sid": SID, "auth_token": "env:T", "from": "Nordhjul"},
        "http-form": {
            "url": f"{origin}/send",
            "form": fields,
            "headers": {"Authorization": "env:H"},
            "id": "/messages/0/id",
        },
        "http-json": {
            "url": f"{origin}/send",
            "json": fields | {"to": "{digits}"},
            "headers": {"Authorization": "env:H"},
            "id": "/messages/0/id",
        },
    }
    return _ADAPTER.validate_python({"driver": driver.partition("-")[0], **given[driver], **changed})


def gateway_of(
    driver: str, settings: Any, fetcher: Fetcher, report_uri: str | None = None, secret: str = "right"
) -> Any:
    match driver:
        case "46elks":
            return ElksGateway(settings, username="u1", password=secret, report_uri=report_uri, fetcher=fetcher)
        case "twilio":
            return TwilioGateway(settings, auth_token=secret, report_uri=report_uri, fetcher=fetcher)
        case _:
            headers = {"Authorization": f"Bearer {secret}"}
            return HttpGateway(settings, headers=headers, report_uri=report_uri, fetcher=fetcher)


@asynccontextmanager
async def sms_place(driver: str, *, report_uri: str | None = None, **changed: Any) -> AsyncIterator[Place]:
    """A simulated gateway, and its driver."""
    clock = Clock()
    reports: list[tuple[str, Mapping[str, str], Mapping[str, str]]] = []

    async def post(address: str, form: Mapping[str, str], headers: Mapping[str, str]) -> int:
        reports.append((address, form, headers))
        return 204

    played = SmsGateways(clock, elks={"u1": "right"}, twilio={SID: "right"}, bearer="right", post=post)
    async with AsyncExitStack() as stack:
        origin = await stack.enter_async_context(on_loopback(sms_gateways.create_app(played)))
        fetcher = Fetcher(allow_private_networks=["127.0.0.0/8"], timeout_s=TIMEOUT_S)
        stack.push_async_callback(fetcher.close)
        stack.callback(played.switch)
        place = Place(_nothing, _nothing, _nothing, "+46701740605", simulator=played)
        place.sender = gateway_of(driver, settings_of(driver, origin, **changed), fetcher, report_uri)

        async def trouble(kind: Trouble) -> None:
            if kind is Trouble.GONE:
                gone = settings_of(driver, f"http://127.0.0.1:{free_port()}", **changed)
                place.sender = gateway_of(driver, gone, fetcher, report_uri)
            else:
                played.switch(_SMS_TROUBLE[kind])

        place.trouble = trouble
        place.send = _by(place)
        place.arrived = lambda: [(each.to, each.text) for each in played.texts]
        place.extra = {"reports": reports, "origin": origin, "fetcher": fetcher, "clock": clock}
        yield place


def _by(place: Place) -> Callable[..., Any]:
    async def send(to: str, text: str, ref: str = "r1") -> Sent:
        return await place.sender.send(Sms(to, text), ref)

    return send


def _nothing(*_: object) -> Any:
    raise AssertionError("not made yet")


@asynccontextmanager
async def failover_place() -> AsyncIterator[Place]:
    """One gateway behind a failover; what it does alone it does there."""
    async with sms_place("46elks") as place:
        gateway = Changing(place.sender)
        failover = Failover({"only": gateway}, place.extra["clock"])
        alone = place.trouble

        async def trouble(kind: Trouble) -> None:
            place.sender = gateway.now
            await alone(kind)
            gateway.now, place.sender = place.sender, failover

        place.trouble, place.sender = trouble, failover
        yield place


@dataclass
class Changing:
    """A gateway that is another one from time to time."""

    now: SmsSender

    async def send(self, sms: Sms, ref: str) -> Sent:
        return await self.now.send(sms, ref)

    async def close(self) -> None:
        await self.now.close()


@asynccontextmanager
async def outbox_place(way: str) -> AsyncIterator[Place]:
    """Keeps everything, refuses nothing."""
    mails, texts = MailOutbox(), SmsOutbox()

    async def send(to: str, text: str, ref: str = "r1", **more: Any) -> Sent:
        if way == "mail":
            return await mails.send(Mail(to, "Your code", text), ref)
        return await texts.send(Sms(to, text), ref)

    def arrived() -> list[tuple[str, str]]:
        return [(each.to, each.text) for each in (mails.sent if way == "mail" else texts.sent)]

    to = "maja@example.com" if way == "mail" else "+46701740605"
    yield Place(send, arrived, _nothing, to, can=frozenset(), sender=mails if way == "mail" else texts)


PLACES: Mapping[str, Callable[[Path], Any]] = {
    "smtp": lambda folder: smtp_place(folder, "none"),
    "smtp-starttls": lambda folder: smtp_place(folder, "starttls"),
    "smtp-implicit": lambda folder: smtp_place(folder, "implicit"),
    "46elks": lambda _: sms_place("46elks"),
    "twilio": lambda _: sms_place("twilio"),
    "http-form": lambda _: sms_place("http-form"),
    "http-json": lambda _: sms_place("http-json"),
    "failover": lambda _: failover_place(),
    "outbox-mail": lambda _: outbox_place("mail"),
    "outbox-sms": lambda _: outbox_place("sms"),
}
