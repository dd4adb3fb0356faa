"""
A mail server that takes everybody's mail and shows it on a page, for tests and the demo.

What it copies: SMTP with its limits on lines and sizes, STARTTLS, AUTH that is required when there are accounts, SMTPUTF8 as an
offer, and the checks a careful receiver makes (one of each header, the addressee in it, lines that end in CRLF, plain text beside
HTML). What it adds: switches that make it refuse, fall silent or hang up.
"""

import asyncio
import hmac
import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from email import message_from_string, policy
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Final

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from jinja2 import Environment, StrictUndefined
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from broker.demo.providers.shown_text import PAGE_HEADERS, STYLE, code_in, linked, links_in

MAX_BYTES: Final = 300_000
_KEPT: Final = 500
_MAX_LINE: Final = 998
"""Without CRLF (RFC 5322 section 2.1.1)."""
_ONCE: Final = ("From", "To", "Date", "Message-ID", "Subject", "MIME-Version", "Content-Type")

_PAGES: Final = Environment(autoescape=True, undefined=StrictUndefined)
_PAGES.globals["style"] = STYLE
_LIST: Final = _PAGES.from_string(
    """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Mailbox of the demo</title>
<meta name="viewport" content="width=device-width"><meta http-equiv="refresh" content="4">{{ style }}</head><body>
<h1>Mailbox of the demo</h1><p><small>Whatever is mailed in the demo ends here, whoever it is for.</small></p>
{% for mail in mails %}<article id="message-{{ mail.id }}" data-to="{{ mail.to }}">
<a id="open-{{ mail.id }}" href="/messages/{{ mail.id }}">{{ mail.subject }}</a><br>
<small>to {{ mail.to }} from {{ mail.sender }}, {{ mail.at.strftime("%H:%M:%S") }} UTC</small></article>
{% else %}<p id="empty">No mail yet.</p>{% endfor %}</body></html>
"""
)
_MAIL: Final = _PAGES.from_string(
    """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{{ mail.subject }}</title>
<meta name="viewport" content="width=device-width">{{ style }}</head><body>
<p><a id="back" href="/">Mailbox</a></p><h1 id="subject">{{ mail.subject }}</h1>
<dl><dt>From</dt><dd id="from">{{ mail.headers["From"] }}</dd><dt>To</dt><dd id="to">{{ mail.to }}</dd></dl>
<article><pre id="text">{{ text }}</pre></article>
{% if mail.html %}<p><a id="html" href="/messages/{{ mail.id }}/html">As HTML</a></p>{% endif %}</body></html>
"""
)
_SANDBOX: Final = {
    **PAGE_HEADERS,
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none';"
    " sandbox allow-popups allow-top-navigation-by-user-activation",
}


class Fault(StrEnum):
    """A refusal or a failure that can be switched on."""

    SLOW = "slow"
    GREYLIST = "greylist"
    UNKNOWN_RECIPIENT = "unknown_recipient"
    SENDER_REFUSED = "sender_refused"
    CONTENT_REFUSED = "content_refused"
    OVERLOADED = "overloaded"
    HANGS_UP_EARLY = "hangs_up_early"
    HANGS_UP_LATE = "hangs_up_late"
    FORGETS = "forgets"
    """A connection that is used again gets no answer, as behind a firewall that forgot it."""


@dataclass(frozen=True, slots=True)
class Received:
    """A mail that was taken. ``to``: of the envelope. ``text``, ``html``: decoded, lines end in ``\\n``."""

    id: int
    at: datetime
    sender: str
    to: str
    subject: str
    text: str
    html: str | None
    headers: Mapping[str, str]

    def told(self) -> dict[str, Any]:
        """As JSON tells it."""
        return {
            "id": self.id,
            "at": self.at.isoformat(),
            "from": self.sender,
            "to": self.to,
            "subject": self.subject,
            "text": self.text,
            "html": self.html,
            "links": links_in(self.text),
            "code": code_in(self.text),
        }


@dataclass
class Mailbox:
    """
    State and rules of the server; `listen` opens it, `create_app` shows it.

    ``accounts``: user name -> password; with any, mail is taken only from those who logged in. ``tls``: for STARTTLS; AUTH then
    needs it. ``accepts_utf8``: whether SMTPUTF8 is offered. ``slow_s``: how long `Fault.SLOW` holds the last answer back, unless
    it is switched off sooner. ``mails``: newest last. ``connections``: how many there were.
    """

    clock: Callable[[], datetime]
    accounts: Mapping[str, str] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    accepts_utf8: bool = True
    max_bytes: int = MAX_BYTES
    slow_s: float = 20.0
    faults: frozenset[Fault] = frozenset()
    mails: list[Received] = field(default_factory=list)
    connections: int = 0
    _taken: int = 0
    _hurry: asyncio.Event = field(default_factory=asyncio.Event)

    def switch(self, *faults: Fault) -> None:
        """Fail as *faults* say from now on; answers held back by an earlier fault are let go."""
        self.faults = frozenset(faults)
        self._hurry.set()
        self._hurry = asyncio.Event()

    async def listen(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        implicit_tls: ssl.SSLContext | None = None,
        sock: socket.socket | None = None,
    ) -> "Listening":
        """
        Open the server.

        Args:
            port: 0 takes a free one; `Listening.port` says which.
            implicit_tls: for TLS from the first byte on.
            sock: one that listens already, in place of host and port.
        """
        loop = asyncio.get_running_loop()
        protocols: set[SMTP] = set()

        def protocol() -> SMTP:
            self.connections += 1
            made = self._protocol(loop, is_encrypted=implicit_tls is not None)
            protocols.add(made)
            return made

        where: dict[str, Any] = {"host": host, "port": port} if sock is None else {"sock": sock}
        server = await loop.create_server(protocol, **where, ssl=implicit_tls)
        return Listening(server, server.sockets[0].getsockname()[1], protocols)

    def _protocol(self, loop: asyncio.AbstractEventLoop, *, is_encrypted: bool) -> SMTP:
        return SMTP(
            _Rules(self),
            loop=loop,
            hostname="mailbox.example",
            ident="Simulated mailbox",
            data_size_limit=self.max_bytes,
            enable_SMTPUTF8=self.accepts_utf8,
            tls_context=None if is_encrypted else self.tls,
            auth_require_tls=self.tls is not None and not is_encrypted,
            authenticator=self._login,
            auth_exclude_mechanism=() if self.accounts else ("PLAIN", "LOGIN"),
        )

    def _login(self, _server: SMTP, _session: Session, _envelope: Envelope, _way: str, data: Any) -> AuthResult:
        if not isinstance(data, LoginPassword):
            return AuthResult(success=False, handled=False)
        expected = self.accounts.get(data.login.decode(errors="replace"), "")
        is_right = bool(expected) and hmac.compare_digest(expected.encode(), data.password)
        return AuthResult(success=is_right, handled=False)

    async def maybe_wait(self) -> None:
        """Hold the answer back while `Fault.SLOW` is on."""
        if Fault.SLOW in self.faults:
            await self.held()

    async def held(self) -> None:
        """Return when the faults are switched, or it took too long."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), self.slow_s)

    def take(self, sender: str, to: str, content: bytes) -> None:
        """
        Look at a mail and keep it.

        Raises: ValueError: what is wrong with it.
        """
        message = _parsed(content, to)
        text, html = message.get_body(("plain",)), message.get_body(("html",))
        if not isinstance(text, EmailMessage):
            raise ValueError("there is no plain text part")
        self._taken += 1
        received = Received(
            id=self._taken,
            at=self.clock(),
            sender=sender,
            to=to,
            subject=str(message["Subject"]),
            text=_text(text),
            html=_text(html) if isinstance(html, EmailMessage) else None,
            headers={name: str(value) for name, value in message.items()},
        )
        self.mails = [*self.mails, received][-_KEPT:]


@dataclass(frozen=True, slots=True)
class Listening:
    """An open server. ``port``: where."""

    server: asyncio.Server
    port: int
    _protocols: set[SMTP]

    async def close(self) -> None:
        """Close it, and whatever connections there still are."""
        self.server.close()
        for protocol in self._protocols:
            if protocol.transport is not None:
                protocol.transport.close()
        await self.server.wait_closed()
        await asyncio.sleep(0)


class _Rules:
    """What aiosmtpd asks at each command; it sends what is returned."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    async def handle_RSET(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Whoever takes a connection up again asks this first."""
        if Fault.FORGETS in self._mailbox.faults:
            await self._mailbox.held()
        return "250 2.0.0 Ok"

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """The sender."""
        faults = self._mailbox.faults
        if self._mailbox.accounts and not session.authenticated:
            return "530 5.7.0 Authentication required"
        if Fault.HANGS_UP_EARLY in faults:
            _hang_up(server)
        if Fault.OVERLOADED in faults:
            return "421 4.3.2 System not accepting network messages"
        if Fault.SENDER_REFUSED in faults:
            return "553 5.7.1 Sender address rejected: not owned by user"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 Ok"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """The one addressee."""
        faults = self._mailbox.faults
        if Fault.GREYLIST in faults:
            return "451 4.7.1 Greylisted, please try again later"
        if Fault.UNKNOWN_RECIPIENT in faults:
            return "550 5.1.1 User unknown"
        if not address.isascii() and not envelope.smtp_utf8:
            return "553 5.6.7 Address needs SMTPUTF8"
        if envelope.rcpt_tos:
            return "452 4.5.3 One addressee per mail here"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """The mail itself."""
        mailbox, content = self._mailbox, envelope.content
        if Fault.HANGS_UP_LATE in mailbox.faults:
            _hang_up(server)
        if Fault.CONTENT_REFUSED in mailbox.faults:
            return "554 5.7.1 Message rejected as spam"
        await mailbox.maybe_wait()
        if not isinstance(content, bytes) or not (content.isascii() or envelope.smtp_utf8):
            return "554 5.6.1 Octets above 127 were not announced"
        try:
            mailbox.take(envelope.mail_from or "", envelope.rcpt_tos[0], content)
        except ValueError as wrong:
            return f"554 5.6.0 {wrong}"
        return "250 2.0.0 Ok: queued"


def _hang_up(server: SMTP) -> None:
    if server.transport is not None:
        server.transport.abort()  # type: ignore[attr-defined]


def _parsed(content: bytes, to: str) -> EmailMessage:
    if b"\r" in content.replace(b"\r\n", b"") or b"\n" in content.replace(b"\r\n", b""):
        raise ValueError("a line does not end in CRLF")
    if any(len(line) > _MAX_LINE for line in content.split(b"\r\n")):
        raise ValueError("a line is too long")
    try:
        # Header lines may be UTF-8 (RFC 6532), which the parser of bytes does not take for text.
        message = message_from_string(content.decode(), policy=policy.default)
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    if not isinstance(message, EmailMessage) or message.defects:
        raise ValueError("not a well-formed message")
    for name in _ONCE:
        if len(message.get_all(name, [])) != 1:
            raise ValueError(f"there is not one {name}")
    if [each.addr_spec for each in message["To"].addresses] != [to]:
        raise ValueError("the addressee is not the one of the envelope")
    if len(message["From"].addresses) != 1:
        raise ValueError("there is not one sender")
    if parsedate_to_datetime(str(message["Date"])).tzinfo is None:
        raise ValueError("the date has no offset")
    return message


def _text(part: EmailMessage) -> str:
    return str(part.get_content()).replace("\r\n", "\n")


def create_app(mailbox: Mailbox) -> Starlette:
    """
    The page of *mailbox*: ``/``, ``/messages/{id}``, ``/messages/{id}/html``, and for scripts ``/messages.json``.

    ``GET /messages.json?to=ADDRESS`` tells ``{"messages": [...]}``, newest first, each as `Received.told`; ``DELETE`` forgets
    them. ``app.state.mailbox`` is the `Mailbox`.
    """
    app = Starlette(
        routes=[
            Route("/", _list),
            Route("/messages.json", _json, methods=["GET", "DELETE"]),
            Route("/messages/{id:int}", _one),
            Route("/messages/{id:int}/html", _html),
        ]
    )
    app.state.mailbox = mailbox
    return app


async def _list(request: Request) -> Response:
    return HTMLResponse(_LIST.render(mails=_asked(request)), headers=PAGE_HEADERS)


async def _json(request: Request) -> Response:
    if request.method == "DELETE":
        _mailbox(request).mails.clear()
    return JSONResponse({"messages": [mail.told() for mail in _asked(request)]}, headers={"Cache-Control": "no-store"})


async def _one(request: Request) -> Response:
    mail = _found(request)
    if mail is None:
        return Response("no such mail", 404)
    return HTMLResponse(_MAIL.render(mail=mail, text=linked(mail.text, id_prefix="link-")), headers=PAGE_HEADERS)


async def _html(request: Request) -> Response:
    mail = _found(request)
    if mail is None or mail.html is None:
        return Response("no such mail", 404)
    # security: a stranger's HTML on the origin of this page; the sandbox takes origin, scripts and forms from it.
    return HTMLResponse(mail.html, headers=_SANDBOX)


def _mailbox(request: Request) -> Mailbox:
    mailbox: Mailbox = request.app.state.mailbox
    return mailbox


def _asked(request: Request) -> list[Received]:
    to = request.query_params.get("to", "").casefold()
    return [mail for mail in reversed(_mailbox(request).mails) if to in {"", mail.to.casefold()}]


def _found(request: Request) -> Received | None:
    return next((mail for mail in _mailbox(request).mails if mail.id == request.path_params["id"]), None)
