"""
A code by text message: whoever reads it has the number now.

A verified contact and no more: numbers are ported, recycled and intercepted (NIST SP 800-63B calls this way restricted), and
what is typed by hand can be relayed. Each message costs, which invites fraud: `broker.flows.limits` says what is done
about it, and numbers are read by the operator's list of countries (`broker.notify.phone`).
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Final

from pydantic import Field

from broker.core.identity import ContactKind
from broker.core.policy import Duration, Strict
from broker.flows.context import Context
from broker.flows.limits import Limits, SmsLimits, prefix_of
from broker.notify.ports import BadNumber, Numbers, Sent, Sms, SmsSender
from broker.observe.logging import log
from broker.upstream.call_code import CallCodeConnector
from broker.upstream.call_texts import call_sms_of
from broker.upstream.code_texts import sms_of
from broker.upstream.one_time_code import Address, Letter
from broker.upstream.supplies import MembersOnFile

_COMPLAINTS: Final[Mapping[BadNumber, str]] = {
    BadNumber.NOT_A_NUMBER: "identify.bad_phone",
    BadNumber.COUNTRY: "identify.phone_country",
    BadNumber.KIND: "identify.phone_kind",
}


class SmsCodeConnect(Strict):
    """
    The ``connect`` block of an upstream of kind ``sms``.

    ``validity``: how long a code counts. ``limits``: how often.
    """

    validity: Annotated[Duration, Field(ge=timedelta(minutes=2), le=timedelta(minutes=10))] = timedelta(minutes=5)
    limits: SmsLimits = SmsLimits()


class SmsCodeConnector(CallCodeConnector):
    """Codes by text message; see `CodeConnector` and `CallCodeConnector`."""

    takes = ContactKind.PHONE
    kind = "sms"
    amr_code = ("otp", "sms")
    amr_link: tuple[str, ...] = ()

    def __init__(
        self,
        id: str,
        connect: SmsCodeConnect,
        *,
        sms: SmsSender,
        numbers: Numbers,
        context: Context,
        members: MembersOnFile | None = None,
    ) -> None:
        limits = Limits(self.kind, connect.limits, context.state, context.lookup, context.clock)
        super().__init__(id, validity=connect.validity, has_link=False, limits=limits, context=context, members=members)
        self._sms = sms
        self._numbers = numbers

    def read(self, typed: str) -> Address | str:
        """The number *typed* means, in E.164."""
        number = self._numbers.read(typed)
        if isinstance(number, BadNumber):
            return _COMPLAINTS[number]
        return Address(number.e164, number.e164, number.block, number.country)

    async def send(self, to: Address, letter: Letter, ref: str) -> Sent:
        """By the gateways."""
        write = call_sms_of if letter.is_read_out else sms_of
        return await self._sms.send(Sms(to.deliver, write(letter)), ref)

    async def refused(self, to: Address, *, on_file: bool = False) -> str | None:
        """``prefix``: hardly anybody in this range of numbers uses the codes; see `Limits.is_stopped`."""
        if not await self._limits.is_stopped(to.canonical, self._validity, on_file=on_file):
            return None
        prefix = prefix_of(to.canonical)
        if await self._limits.is_alarming(to.canonical):
            log("sms.prefix_stopped", "error", upstream=self.id, prefix=prefix, country=to.country, code="sms.pumping")
        return "prefix"

    async def was_sent(self, to: Address, code: str, at: datetime, *, on_file: bool = False) -> None:
        """One more to be used."""
        await self._limits.sent(to.canonical, code, at, on_file=on_file)

    async def was_used(self, to: Address, code: str, at: datetime, *, on_file: bool = False) -> None:
        """And used."""
        await self._limits.used(to.canonical, code, at, on_file=on_file)
