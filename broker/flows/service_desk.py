"""
Customer service: staff ask callers who they are, and see only the outcome.

A caller is asked by what proves her in her own hands (BankID's app on her phone, or a code that went to a contact she has proven
before), never by what she knows of herself. What she proves is the agent's case: no session, no login and no customer comes of
it. Everything is on record with the agent's name.
"""

import re
from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from broker.core.case import BUSY, Case, Standing, confirmed, ended, is_late, may_look
from broker.core.changing import replace
from broker.core.identity import Evidence, accept
from broker.core.naming import is_id
from broker.core.policy import ServiceDesk
from broker.core.session import Session
from broker.errors import BadAsk, Denied, Spent, Stopped, TooMany, UpstreamDown, UpstreamRefused
from broker.flows.contacts import ContactsOnFile
from broker.flows.context import Context
from broker.observe.logging import log
from broker.stores.ports import Count, Enlist, Listed, ProofRecord
from broker.stores.shelf import Held

KEPT: Final = timedelta(hours=12)
"""How long an agent finds a case in the list: a working day."""

_MOST_LISTED: Final = 200
_REFERENCE: Final = re.compile(r"[^\x00-\x1f\x7f]{0,80}")
_ASKED_PER_PERSON: Final = 5
"""Calls for one identifier in ten minutes, by all agents: nobody's phone is made to ring until she says yes."""

#: What the caller's own refusal is called by connectors: she says that she talks to nobody.
_DECLINED: Final = frozenset({"bankid.user_declined_call"})


class Callers(Protocol):
    """
    Asks callers by one method; the edge towards providers makes these.

    ``takes_code``: they read a code out to the agent. ``life``: how long they are waited for.
    """

    @property
    def takes_code(self) -> bool: ...

    @property
    def life(self) -> timedelta: ...

    async def begin(
        self, identifier: str, *, language: str, incoming: bool, binding: str, network: str, now: datetime
    ) -> bytes:
        """Ask. Returns: the connector's state. Raises: BadAsk, UpstreamRefused, UpstreamDown."""
        ...

    async def look(self, state: bytes, now: datetime) -> Evidence | tuple[bytes, str]:
        """What she proved, else the new state and how it goes. Raises: Stopped, UpstreamRefused, UpstreamDown."""
        ...

    async def enter(self, state: bytes, typed: str, *, network: str, now: datetime) -> Evidence | tuple[bytes, str]:
        """She read a code out, and the agent *typed* it; as `look`. Raises: BadAsk: they read none out."""
        ...

    async def hang_up(self, state: bytes) -> None:
        """Withdraw it."""
        ...


class ServiceDesks:
    """
    One per process.

    Args:
        callers: by upstream.
    """

    def __init__(self, context: Context, callers: Mapping[str, Callers]) -> None:
        self._c = context
        self._callers = callers
        self._contacts = ContactsOnFile(context)

    def staff(self, session: Session | None) -> Session:
        """
        *session*, of a member of staff.

        Raises: Denied: nobody is logged in, not by staff's way in, or without the role.
        """
        desk = self._desk()
        if session is None or session.upstream not in desk.upstreams:
            raise Denied("not logged in as staff", code="desk.not_staff")
        if desk.role not in session.roles:
            raise Denied("the role for customer service is missing", code="desk.no_role")
        return session

    def methods(self) -> tuple[str, ...]:
        """How callers can be asked right now."""
        ready = self._c.available().ready
        return tuple(name for name in self._desk().methods if name in self._callers and name in ready)

    async def open(
        self,
        agent: str,
        *,
        method: str,
        identifier: str,
        reference: str,
        language: str,
        incoming: bool = True,
        network: str = "",
    ) -> Case:
        """
        Ask a caller.

        Args:
            agent: internal id of the member of staff. identifier: what the caller said who she is.
            network: the agent's network address.
        Raises:
            BadAsk: no such method, or nothing that can be an identifier. TooMany. UpstreamDown, UpstreamRefused.
        """
        callers = self._callers.get(method)
        if callers is None or method not in self._desk().methods:
            raise BadAsk("callers are not asked that way here", code="desk.method")
        if _REFERENCE.fullmatch(reference) is None:
            raise BadAsk("reference must be a text of at most 80 characters", code="desk.reference")
        await self._may_ask(agent, method, identifier)
        now = self._c.now()
        case = Case(self._c.tokens.id(), agent, reference, method, now)
        binding = self._c.lookup.digest("case", case.id)[:32]
        state = await callers.begin(
            identifier, language=language, incoming=incoming, binding=binding, network=network, now=now
        )
        case = replace(case, state=state, life=callers.life)
        if callers.takes_code:
            case = replace(case, takes_code=True, message_key="call.code.sent")
        await self._c.state.run(
            self._c.shelves.cases.put_new(case.id, case, KEPT.total_seconds()),
            Enlist(_list_of(agent), case.id, KEPT.total_seconds(), _MOST_LISTED),
        )
        self._note("desk.asked", case)
        return case

    async def look(self, agent: str, case_id: str) -> Case:
        """
        How the case stands, after asking the provider if it is time to.

        Raises: Spent: no case of this agent (any more).
        """
        held = await self._held(agent, case_id)
        now, case = self._c.now(), held.value
        if is_late(case, now):
            await self._hang_up(case)
            return await self._settle(held, ended(case, Standing.NOT_CONFIRMED, "call.late", now))
        if case.takes_code or not may_look(case, now):
            return case
        leased = await self._swap(held, replace(case, busy_until=now + BUSY))
        return case if leased is None else await self._ask(leased, self._callers[case.method].look(case.state, now))

    async def enter(self, agent: str, case_id: str, typed: str, network: str) -> Case:
        """
        The caller read a code out, and the agent *typed* it: how the case stands then.

        Args:
            network: the agent's network address.
        Raises: as `look`; BadAsk: nobody reads a code out there.
        """
        held = await self._held(agent, case_id)
        now, case = self._c.now(), held.value
        if case.is_over:
            return case
        if not case.takes_code or case.method not in self._callers:
            raise BadAsk("callers asked that way read no code out", code="desk.code")
        if is_late(case, now):
            return await self._settle(held, ended(case, Standing.NOT_CONFIRMED, "call.code.expired", now))
        leased = await self._swap(held, replace(case, busy_until=now + BUSY)) if may_look(case, now) else None
        if leased is None:
            return case
        callers = self._callers[case.method]
        return await self._ask(leased, callers.enter(case.state, typed, network=network, now=now))

    async def cancel(self, agent: str, case_id: str) -> Case:
        """The agent gives up. Raises: as `look`."""
        held = await self._held(agent, case_id)
        if held.value.is_over:
            return held.value
        await self._hang_up(held.value)
        return await self._settle(held, ended(held.value, Standing.CANCELLED, "call.cancelled", self._c.now()))

    async def cases_of(self, agent: str) -> Sequence[Case]:
        """The agent's cases of today, newest first."""
        (ids,) = await self._c.state.run(Listed(_list_of(agent)))
        shelf = self._c.shelves.cases
        raws = await self._c.state.run(*(shelf.get(each) for each in ids)) if ids else ()
        found = [held.value for each, raw in zip(ids, raws, strict=True) if (held := shelf.read(each, raw)) is not None]
        return sorted(found, key=lambda case: case.opened_at, reverse=True)

    async def subject_of(self, case: Case, partner: str) -> str | None:
        """The confirmed caller as *partner* knows its customers; None for somebody who is nobody's customer yet."""
        if case.customer is None:
            return None
        sector, now = self._c.policy().sector(partner), self._c.now()
        return await self._c.records.subject_for(case.customer, sector, self._c.tokens.id(), now)

    async def _ask(self, held: Held[Case], asking: Awaitable[Evidence | tuple[bytes, str]]) -> Case:
        case, now = held.value, self._c.now()
        try:
            seen = await asking
        except Stopped:
            return await self._settle(held, ended(case, Standing.NOT_CONFIRMED, "call.stopped", now))
        except UpstreamRefused as error:
            is_fraud = error.code in _DECLINED
            standing = Standing.DECLINED if is_fraud else Standing.NOT_CONFIRMED
            if is_fraud:
                log("desk.declined", "warning", case=case.id, upstream=case.method)
            return await self._settle(held, ended(case, standing, error.message_key or "call.refused", now))
        except UpstreamDown as error:
            log("upstream.failed", "warning", upstream=case.method, code=error.code, detail=error.detail)
            return await self._settle(held, ended(case, Standing.UNAVAILABLE, "call.unavailable", now))
        if isinstance(seen, Evidence):
            return await self._confirmed(held, seen)
        state, message_key = seen
        on = replace(case, state=state, message_key=message_key, busy_until=None)
        swapped = await self._swap(held, on)
        return swapped.value if swapped is not None else case

    async def _confirmed(self, held: Held[Case], evidence: Evidence) -> Case:
        """The proof is on record before the agent hears of it; nobody becomes a customer by a call."""
        now, upstream = self._c.now(), self._c.policy().config.upstreams[evidence.upstream]
        identity = accept(evidence, ceiling=upstream.ceiling, may_bootstrap=upstream.may_bootstrap_other_methods)
        customer = await self._c.records.customer_of(self._c.lookup.digest(identity.issuer, identity.subject))
        customer = customer or await self._contacts.owner_of(identity)
        if customer is not None and evidence.proof is not None:
            proof = self._c.tokens.id()
            sealed = self._c.sealer.seal(evidence.proof, f"proof:{proof}")
            until = now + self._c.policy().broker.retention.proof
            await self._c.records.add_proof(ProofRecord(proof, customer, evidence.upstream, sealed, now, until))
        return await self._settle(held, confirmed(held.value, customer, identity.assurance, now))

    async def _settle(self, held: Held[Case], over: Case) -> Case:
        """Store how it ended, once: whoever is later sees what the first saw."""
        if await self._swap(held, over) is None:
            return (await self._held(held.value.agent, held.value.id)).value
        self._note("desk.ended", over)
        return over

    async def _hang_up(self, case: Case) -> None:
        if case.state and case.method in self._callers:
            await self._callers[case.method].hang_up(case.state)

    async def _held(self, agent: str, case_id: str) -> Held[Case]:
        shelf = self._c.shelves.cases
        raw = (await self._c.state.run(shelf.get(case_id)))[0] if is_id(case_id) else None
        held = shelf.read(case_id, raw)
        if held is None or held.value.agent != agent:
            # security: another agent's case and one that never was look alike
            raise Spent("no such case of this agent", code="desk.case")
        return held

    async def _swap(self, held: Held[Case], changed: Case) -> Held[Case] | None:
        op = self._c.shelves.cases.swap(changed.id, held, changed, KEPT.total_seconds())
        (swapped,) = await self._c.state.run(op)
        return Held(changed, op.new) if swapped else None

    async def _may_ask(self, agent: str, method: str, identifier: str) -> None:
        of_agent = self._c.lookup.digest("desk-agent", agent)[:32]
        of_person = self._c.lookup.digest("desk-person", method, identifier)[:32]
        by_agent, for_person = await self._c.state.run(
            Count(f"rate:desk:{of_agent}", 3600), Count(f"rate:desk-person:{of_person}", 600)
        )
        if by_agent > self._desk().calls_per_hour:
            raise TooMany("calls per agent and hour", retry_after_s=600, code="rate.desk_agent")
        if for_person > _ASKED_PER_PERSON:
            raise TooMany("calls for one person", retry_after_s=600, code="rate.desk_person")

    def _desk(self) -> ServiceDesk:
        desk = self._c.policy().config.service_desk
        if desk is None:
            raise Denied("there is no service desk", code="desk.none")
        return desk

    def _note(self, action: str, case: Case) -> None:
        self._c.audit.note(
            action,
            customer=case.customer,
            case=case.id,
            agent=case.agent,
            upstream=case.method,
            standing=case.standing.value,
            level=case.level.value if case.level else None,
        )


def _list_of(agent: str) -> str:
    return f"cases:{agent}"
