"""
A code, and a link beside it, by e-mail: whoever gets it controls the mailbox now.

That is a verified contact and no more: mail is no second factor (NIST SP 800-63B, out-of-band authenticators). The link
finishes the login only in the browser that began it, and only by a button, since mail is read by machines first.
"""

import re
from datetime import timedelta
from typing import Annotated, Final

from pydantic import Field

from broker.core.identity import ContactKind, normal_email
from broker.core.policy import Duration, Strict
from broker.flows.context import Context
from broker.flows.limits import CodeLimits, Limits
from broker.notify.ports import MailSender, Sent
from broker.upstream.call_code import CallCodeConnector
from broker.upstream.call_texts import call_mail_of
from broker.upstream.code_texts import mail_of
from broker.upstream.one_time_code import Address, Letter
from broker.upstream.supplies import MembersOnFile

_LONGEST: Final = 254
_LONGEST_LOCAL: Final = 64
"""RFC 5321 section 4.5.3.1, in octets."""

_LOCAL: Final = re.compile(r"[^\s\x00-\x1f\x7f-\x9f\"(),:;<>@\[\\\].]+(\.[^\s\x00-\x1f\x7f-\x9f\"(),:;<>@\[\\\].]+)*")
"""A dot-string (RFC 5321 section 4.1.2), of any script (RFC 6531); quoted local parts are not written to."""

_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class EmailCodeConnect(Strict):
    """
    The ``connect`` block of an upstream of kind ``email``.

    ``validity``: how long code and link count. ``link``: whether the mail holds a link beside the code. ``limits``: how often.
    """

    validity: Annotated[Duration, Field(ge=timedelta(minutes=2), le=timedelta(minutes=10))] = timedelta(minutes=10)
    link: bool = True
    limits: CodeLimits = CodeLimits()


class EmailCodeConnector(CallCodeConnector):
    """Codes by e-mail; see `CodeConnector` and `CallCodeConnector`."""

    takes = ContactKind.EMAIL
    kind = "email"
    amr_code = ("otp", "email")
    amr_link = ("email",)

    def __init__(
        self,
        id: str,
        connect: EmailCodeConnect,
        *,
        mail: MailSender,
        context: Context,
        members: MembersOnFile | None = None,
    ) -> None:
        limits = Limits(self.kind, connect.limits, context.state, context.lookup, context.clock)
        super().__init__(
            id, validity=connect.validity, has_link=connect.link, limits=limits, context=context, members=members
        )
        self._mail = mail

    def read(self, typed: str) -> Address | str:
        """
        The mailbox *typed* means. Upper and lower case of the local part is one mailbox; dots and plus signs are not.

        The message goes to the very address that is proven by it, not to what was typed.
        """
        address = normal_email(typed)
        return Address(address.lower(), address) if _is_address(address) else "identify.bad_email"

    async def send(self, to: Address, letter: Letter, ref: str) -> Sent:
        """By the mail sender."""
        write = call_mail_of if letter.is_read_out else mail_of
        return await self._mail.send(write(letter, to.deliver), ref)


def _is_address(address: str) -> bool:
    local, at, domain = address.rpartition("@")
    if not at or len(address.encode()) > _LONGEST or len(local.encode()) > _LONGEST_LOCAL:
        return False
    labels = domain.split(".")
    if len(labels) < 2 or labels[-1].isdigit() or not all(_LABEL.fullmatch(label) for label in labels):
        return False
    return local.isprintable() and _LOCAL.fullmatch(local) is not None
