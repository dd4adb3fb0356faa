"""
Asking a merchant's own register of customers whether it knows who just logged in there.

It is asked once in a while per session, within a time the operator sets; a register that is slow or ill delays nobody for
long and never keeps anybody from logging in: she is then like somebody it does not know, until it answers again.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

from broker.core.journey import Ask, login_release
from broker.core.membership import askable
from broker.core.policy import MemberRegister
from broker.core.session import Recognition, Session, with_recognition
from broker.errors import UpstreamDown
from broker.flows.context import Context
from broker.observe.logging import log

_REST = timedelta(seconds=10)
"""How long a register that did not answer is left alone, and everybody's login goes on without it."""


class Registers(Protocol):
    """How registers are asked; made by the edge towards partners."""

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
        self._rests: dict[str, datetime] = {}

    async def recognise(self, ask: Ask, session: Session, agreed: frozenset[str] | None) -> Session:
        """
        *session*, which knows then what the register of the asking partner says; as it is where there is none to ask.

        Args:
            agreed: what she agreed to share; None where nothing needs agreeing to.
        """
        policy, now = self._c.policy(), self._c.now()
        partner = policy.partner(ask.partner)
        register = partner.members if partner is not None else None
        if register is None or not self._is_due(session.recognitions.get(ask.partner), ask.partner, now):
            return session
        release = login_release(ask, session, policy, handoff=None, agreed=agreed, now=now)
        contacts = askable(release, register.contacts)
        if not contacts:
            return session
        subject = session.subjects[policy.sector(ask.partner)]
        try:
            number = await self._registers.find(ask.partner, register, subject=subject, contacts=contacts, now=now)
        except UpstreamDown as error:
            self._rests[ask.partner] = now + _REST
            log("member.lookup_failed", "warning", partner=ask.partner, code=error.code, detail=error.detail)
            return session
        self._c.audit.note(
            "member.looked_up",
            customer=session.customer,
            partner=ask.partner,
            by=sorted(contacts),
            known=number is not None,
        )
        return with_recognition(session, ask.partner, Recognition(number, now + register.remember))

    def _is_due(self, known: Recognition | None, partner: str, now: datetime) -> bool:
        if known is not None and now < known.until:
            return False
        rests_until = self._rests.get(partner)
        return rests_until is None or now >= rests_until
