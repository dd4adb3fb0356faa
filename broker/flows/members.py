"""
Asking a merchant's own register of customers whether it knows who just logged in there.

It is asked once in a while per session, within a time the operator sets; a register that is slow or ill delays nobody for
long and never keeps anybody from logging in: she is then like somebody it does not know, until it answers again.

Somebody who gives a member number instead is asked about beside her login, and proves the contact that the register has.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

from broker.core.consent import Consent
from broker.core.journey import Ask, login_release
from broker.core.membership import OnFile, askable
from broker.core.policy import MemberRegister
from broker.core.session import Recognition, Session, with_recognition
from broker.errors import UpstreamDown
from broker.flows.context import Context
from broker.observe.logging import log

_REST = timedelta(seconds=10)
"""How long a register that did not answer is left alone, and everybody's login goes on without it."""


_BY_CONTACT, _BY_NUMBER = "contact", "number"


class Registers(Protocol):
    """How registers are asked; made by the edge towards partners."""

    async def on_file(self, partner: str, register: MemberRegister, *, number: str, now: datetime) -> OnFile | None:
        """
        What the register has on file for the member number somebody gave, who proved nothing yet; None for nobody.

        Raises: UpstreamDown: as `find`.
        """
        ...

    async def find(
        self, partner: str, register: MemberRegister, *, subject: str, contacts: Mapping[str, Any], now: datetime
    ) -> str | None:
        """
        The number of the customer who proved all of *contacts*; None when the register knows nobody such.

        Args:
            subject: her number at the partner, as in its ID tokens.
        Raises: UpstreamDown: no answer in time, or none that can be understood.
        """
        ...


class Members:
    """One per process."""

    def __init__(self, context: Context, registers: Registers) -> None:
        self._c = context
        self._registers = registers
        self._rests: dict[tuple[str, str], datetime] = {}

    async def recognise(
        self, ask: Ask, session: Session, agreed: frozenset[str] | None, consent: Consent | None
    ) -> Session:
        """
        *session*, which knows then what the register of the asking partner says; as it is where there is none to ask.

        Args:
            agreed: what she agreed to share, by *consent*; None where nothing needs agreeing to.
        """
        policy, now = self._c.policy(), self._c.now()
        partner = policy.partner(ask.partner)
        register = partner.members if partner is not None else None
        if register is None or ask.partner in session.profile.member_numbers:
            return session
        if not self._is_due(session.recognitions.get(ask.partner), ask.partner, now):
            return session
        release = login_release(ask, session, policy, handoff=None, agreed=agreed, now=now)
        contacts = askable(release, register.contacts)
        # security: what a register is told is out at once; no later round trip refuses it, as it does the partner's answer.
        if not contacts or (consent is not None and await self._c.is_withdrawn(consent.id)):
            return session
        subject = session.subjects[policy.sector(ask.partner)]
        try:
            number = await self._registers.find(ask.partner, register, subject=subject, contacts=contacts, now=now)
        except UpstreamDown as error:
            self._failed(ask.partner, _BY_CONTACT, error, now)
            return session
        self._c.audit.note(
            "member.looked_up",
            customer=session.customer,
            partner=ask.partner,
            by=sorted(contacts),
            known=number is not None,
        )
        return with_recognition(session, ask.partner, Recognition(number, now + register.remember))

    async def on_file(self, partner: str, number: str) -> OnFile | None:
        """
        What the register of *partner* has on file for a member *number* that somebody gave; None for nobody, and when it does
        not answer. It takes its time: nobody who gave a number may be kept waiting for it, or see that it was longer.
        """
        known, now = self._c.policy().partner(partner), self._c.now()
        register = known.members if known is not None else None
        if register is None or register.by_number is None or self._is_resting(partner, _BY_NUMBER, now):
            return None
        try:
            found = await self._registers.on_file(partner, register, number=number, now=now)
        except UpstreamDown as error:
            self._failed(partner, _BY_NUMBER, error, now)
            return None
        log("member.number_asked", partner=partner, known=found is not None)
        return found

    def _failed(self, partner: str, by: str, error: UpstreamDown, now: datetime) -> None:
        # security: each question rests by itself, so that numbers anybody may give keep nobody's login from being recognised
        self._rests[partner, by] = now + _REST
        log("member.lookup_failed", "warning", partner=partner, code=error.code, detail=error.detail)

    def _is_resting(self, partner: str, by: str, now: datetime) -> bool:
        rests_until = self._rests.get((partner, by))
        return rests_until is not None and now < rests_until

    def _is_due(self, known: Recognition | None, partner: str, now: datetime) -> bool:
        if known is not None and now < known.until:
            return False
        return not self._is_resting(partner, _BY_CONTACT, now)
