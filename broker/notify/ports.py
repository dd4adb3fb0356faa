"""
What the broker asks of whoever carries its messages. Drivers: `smtp.py`, `sms_46elks.py`, `sms_twilio.py`, `sms_http.py`,
`outbox.py`; several gateways behind one another: `failover.py`.

A sender never raises for a message that does not go out: it answers with one of the three values of `Sent`.
"""

from decimal import Decimal
from enum import StrEnum
from typing import Protocol, TypeAlias

from msgspec import Struct

from broker.core.discreet import Discreet


class Mail(Discreet, frozen=True):
    """
    A mail to one person. Its repr says nothing of it.

    ``to``: one address as she typed it (`broker.notify.smtp` refuses what is none). ``subject``: one line. ``text``: always
    there, for programs without HTML; lines end in ``\\n``. ``html``: the same once more, a whole document.
    """

    UNSPOKEN = frozenset({"to", "subject", "text", "html"})

    to: str
    subject: str
    text: str
    html: str | None = None


class Sms(Discreet, frozen=True):
    """A text message. Its repr says nothing of it. ``to``: E.164, such as ``+46701740605``; see `Numbers`."""

    UNSPOKEN = frozenset({"to", "text"})

    to: str
    text: str


class Reason(StrEnum):
    """Why a message certainly did not go out."""

    RECIPIENT = "recipient"
    """This address or number cannot be written to, wherever one tries."""
    OPTED_OUT = "opted_out"
    """She told the gateway that she wants no messages from us."""
    CONTENT = "content"
    """Too big, or not to the gateway's liking."""
    ACCOUNT = "account"
    """Our credentials, sender or credit: the operator's matter."""
    BUSY = "busy"
    """Not now: too many, or a passing trouble of theirs."""
    UNREACHABLE = "unreachable"
    """Nobody answered, so nobody has the message."""


class Accepted(Struct, frozen=True):
    """
    Somebody took the message on; whether it arrives is another matter.

    ``id``: theirs, for their support. ``by``: the driver or gateway (a name of the config). ``cost``: what they say it costs,
    in the currency of the account; None when they do not say.
    """

    id: str
    by: str = ""
    cost: Decimal | None = None


class Rejected(Struct, frozen=True):
    """The message did not go out. ``code``: theirs, for the operator's log: never an address, number or text."""

    reason: Reason
    by: str = ""
    code: str = ""


class Unknown(Struct, frozen=True):
    """No answer in time, or none that can be read: she may get the message or not. Wait for her, do not send a second one."""

    by: str = ""
    code: str = ""


Sent: TypeAlias = Accepted | Rejected | Unknown
"""What became of a message."""


class MailSender(Protocol):
    """Sends mail."""

    async def send(self, mail: Mail, ref: str) -> Sent:
        """
        Send *mail*; takes 10 seconds at most.

        Args:
            ref: opaque name of this message, new for each, 1 to 64 letters, digits, ``-`` and ``_``: it becomes part of the
                Message-ID. Nothing personal.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class SmsSender(Protocol):
    """Sends text messages."""

    async def send(self, sms: Sms, ref: str) -> Sent:
        """Send *sms*; takes 5 seconds per gateway at most. *ref*: as `MailSender.send`."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class BadNumber(StrEnum):
    """Why no text message goes to what was typed."""

    NOT_A_NUMBER = "not_a_number"
    """No number of any country, or digits are missing or too many."""
    COUNTRY = "country"
    """A number of a country that the operator does not send to."""
    KIND = "kind"
    """A number that gets no text messages, or costs somebody money: fixed, premium, shared-cost, VoIP, unknown."""


class PhoneNumber(Discreet, frozen=True):
    """
    A number that may be written to. Its repr says the country only.

    ``e164``: such as ``+46701740605``. ``country``: ISO 3166. ``masked``: to be shown, such as ``+46 •• ••• •• 05``.
    ``block``: the number without its last four digits, to count by (docs/notifications.md).
    """

    UNSPOKEN = frozenset({"e164", "masked", "block"})

    e164: str
    country: str
    masked: str
    block: str


class Numbers(Protocol):
    """Reads the numbers that people type."""

    def read(self, typed: str) -> PhoneNumber | BadNumber:
        """*typed* without a country code is a number of the operator's default country."""
        ...


class Messages(Struct, frozen=True):
    """How customers are written to; None: not at all by that way. ``numbers`` is there whenever ``sms`` is."""

    mail: MailSender | None = None
    sms: SmsSender | None = None
    numbers: Numbers | None = None

    async def close(self) -> None:
        """Let go of connections."""
        for sender in (self.mail, self.sms):
            if sender is not None:
                await sender.close()
