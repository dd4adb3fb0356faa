"""
Mail by SMTP (RFC 5321), given to one server that the config names.

What went wrong before the text was handed over is a refusal, for then nobody has the mail; from the DATA command on silence is
`Unknown`. Headers are built by the standard library from values that were looked at first, so that nothing she typed begins a
line of its own.
"""

import asyncio
import re
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as WIRE
from email.policy import SMTPUTF8 as WIRE_UTF8
from email.utils import format_datetime
from typing import Final

import aiosmtplib
import idna
from aiosmtplib import SMTPResponseException

from broker.core.discreet import Discreet
from broker.core.policy import MailTls, SmtpMail
from broker.notify.ports import Accepted, Mail, Reason, Rejected, Sent, Unknown
from broker.observe.telemetry import Watch, unwatched

TIMEOUT_S: Final = 10.0
MAX_BYTES: Final = 256 * 1024
KEPT: Final = timedelta(seconds=30)
"""Servers hang up on idle clients after minutes (RFC 5321 section 4.5.3.2.7)."""

_ALIVE: Final = 0.15
"""The part of the time after which a kept connection that says nothing is given up, so that there is time for a new one."""

_REF: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ATEXT: Final = r"[^\x00-\x20\x7f()<>\[\]:;@\\,.\"]+"
_LOCAL: Final = re.compile(rf"{_ATEXT}(\.{_ATEXT})*")
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_TEXT_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class NoAddress(ValueError):
    """Not one plain address; the text does not repeat it."""


class Mailbox(Discreet, frozen=True):
    """``local``, as typed; ``domain`` in ASCII (IDNA 2008, RFC 5891)."""

    UNSPOKEN = frozenset({"local", "domain"})

    local: str
    domain: str

    @classmethod
    def of(cls, address: str) -> "Mailbox":
        """
        The parts of *address*: dot-atom, ``@``, domain (RFC 5321 section 4.1.2, without quoted strings and literals).

        Raises: NoAddress.
        """
        local, _, domain = address.rpartition("@")
        # security: no quotes, brackets, commas, blanks or controls: one address cannot become two, or a header.
        if not _LOCAL.fullmatch(local) or len(local.encode()) > 64 or _CONTROLS.search(address):
            raise NoAddress
        try:
            ascii_domain = idna.encode(domain, uts46=True, std3_rules=True).decode()
        except (idna.IDNAError, UnicodeError):
            raise NoAddress from None
        if "." not in ascii_domain or ascii_domain.endswith(".") or len(ascii_domain) + len(local.encode()) > 253:
            raise NoAddress
        return cls(local, ascii_domain)

    @property
    def needs_utf8(self) -> bool:
        """Whether only servers with SMTPUTF8 (RFC 6531) can take it."""
        return not self.local.isascii()

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}"


class SmtpSender:
    """
    A `broker.notify.ports.MailSender`.

    Args:
        settings: the config's block. password: resolved. tls: how servers' certificates are checked.
        host: of the issuer, for Message-IDs and for saying who we are. name: beside the sender's address.
        clock: aware UTC now. watch: goes around every mail.
    """

    def __init__(
        self,
        settings: SmtpMail,
        *,
        password: str | None,
        tls: ssl.SSLContext,
        host: str,
        name: str,
        clock: Callable[[], datetime],
        watch: Watch = unwatched,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._settings = settings
        self._password = password
        self._tls = tls
        self._host = host
        self._name = " ".join((settings.from_name or name).split())
        self._clock = clock
        self._watch = watch
        self._timeout_s = timeout_s
        self._free = asyncio.Semaphore(settings.connections)
        self._idle: list[tuple[aiosmtplib.SMTP, datetime]] = []

    async def send(self, mail: Mail, ref: str) -> Sent:
        """As `MailSender.send`. Raises: ValueError: *ref* is none, which is a mistake of the caller."""
        if _REF.fullmatch(ref) is None:
            raise ValueError("a ref is 1 to 64 letters, digits, hyphens and underscores")
        try:
            to = Mailbox.of(mail.to)
        except NoAddress:
            return Rejected(Reason.RECIPIENT, code="syntax")
        if (fault := _content_fault(mail)) is not None:
            return Rejected(Reason.CONTENT, code=fault)
        data = self._message(mail, to, ref).as_bytes(policy=WIRE_UTF8 if to.needs_utf8 else WIRE)
        if len(data) > MAX_BYTES:
            return Rejected(Reason.CONTENT, code="size")
        return await self._in_time(to, data, ref)

    async def close(self) -> None:
        """Take leave of the server."""
        idle, self._idle = self._idle, []
        for client, _ in idle:
            await _leave(client)

    def _message(self, mail: Mail, to: Mailbox, ref: str) -> EmailMessage:
        message = EmailMessage(policy=WIRE)
        message["From"] = Address(self._name, addr_spec=self._settings.sender)
        message["To"] = Address(username=to.local, domain=to.domain)
        if self._settings.reply_to is not None:
            message["Reply-To"] = Address(addr_spec=self._settings.reply_to)
        message["Subject"] = mail.subject
        message["Date"] = format_datetime(self._clock())
        message["Message-ID"] = f"<{ref}@{self._host}>"
        # Absence notes stay away: RFC 3834 section 5 for all, the other one for Exchange.
        message["Auto-Submitted"] = "auto-generated"
        message["X-Auto-Response-Suppress"] = "All"
        message.set_content(mail.text, cte="quoted-printable")
        if mail.html is not None:
            message.add_alternative(mail.html, subtype="html", cte="quoted-printable")
        return message

    async def _in_time(self, to: Mailbox, data: bytes, ref: str) -> Sent:
        delivery = _Delivery(self._settings.sender, to, data, ref)
        try:
            async with asyncio.timeout(self._timeout_s):
                async with self._free:
                    with self._watch("send"):
                        return await self._deliver(delivery)
        except TimeoutError:
            return delivery.silence("timeout")
        except SMTPResponseException as refused:
            return delivery.refusal(refused)
        except aiosmtplib.SMTPNotSupported:
            return Rejected(Reason.RECIPIENT, code="smtputf8")
        except ssl.SSLError:
            return delivery.silence("tls")
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            return delivery.silence(type(error).__name__)

    async def _deliver(self, delivery: "_Delivery") -> Sent:
        client = await self._connected()
        try:
            accepted = await delivery.by(client)
        except BaseException:
            # After a refusal or silence nobody knows what this server waits for.
            client.close()
            raise
        self._idle.append((client, self._clock()))
        return accepted

    async def _connected(self) -> aiosmtplib.SMTP:
        while self._idle:
            client, since = self._idle.pop()
            if self._clock() - since < KEPT and client.is_connected:
                with suppress(aiosmtplib.SMTPException, OSError):
                    await client.rset(timeout=self._timeout_s * _ALIVE)
                    return client
            client.close()
        settings = self._settings
        client = aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.port or settings.tls.port,
            username=settings.username,
            password=self._password,
            local_hostname=self._host,
            timeout=self._timeout_s,
            use_tls=settings.tls is MailTls.IMPLICIT,
            # security: True is "or not at all"; None would send in the clear where somebody took the offer away.
            start_tls=settings.tls is MailTls.STARTTLS,
            tls_context=self._tls,
        )
        try:
            await client.connect()
            if client.is_ehlo_or_helo_needed:
                await client.ehlo()
        except BaseException:
            client.close()
            raise
        return client


@dataclass(slots=True)
class _Delivery:
    """One mail on its way. ``is_handed_over``: from the DATA command on, when silence may mean that they have it."""

    sender: str
    to: Mailbox
    data: bytes = field(repr=False)
    ref: str
    is_handed_over: bool = False

    async def by(self, client: aiosmtplib.SMTP) -> Accepted:
        options = []
        if self.to.needs_utf8:
            if not client.supports_extension("smtputf8"):
                raise aiosmtplib.SMTPNotSupported("SMTPUTF8")
            options.append("SMTPUTF8")
        if client.supports_extension("size"):
            options.append(f"SIZE={len(self.data)}")
        await client.mail(self.sender, options=options, encoding="utf-8")
        await client.rcpt(str(self.to), encoding="utf-8")
        self.is_handed_over = True
        await client.data(self.data)
        return Accepted(self.ref)

    def silence(self, code: str) -> Sent:
        """They went away or never came."""
        return Unknown(code=code) if self.is_handed_over else Rejected(Reason.UNREACHABLE, code=code)

    def refusal(self, error: SMTPResponseException) -> Sent:
        """What a status means at the command it answers (RFC 5321 section 4.2.1)."""
        code = str(error.code)
        if 400 <= error.code < 500:
            return Rejected(Reason.BUSY, code=code)
        if isinstance(error, aiosmtplib.SMTPRecipientRefused):
            return Rejected(Reason.RECIPIENT, code=code)
        if self.is_handed_over or error.code == 552:
            return Rejected(Reason.CONTENT, code=code)
        return Rejected(Reason.ACCOUNT, code=code)


def _content_fault(mail: Mail) -> str | None:
    if _CONTROLS.search(mail.subject) or len(mail.subject) > 250:
        return "subject"
    if _TEXT_CONTROLS.search(mail.text) or (mail.html is not None and _TEXT_CONTROLS.search(mail.html)):
        return "text"
    return None


async def _leave(client: aiosmtplib.SMTP) -> None:
    with suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
        async with asyncio.timeout(1):
            await client.quit()
    client.close()
