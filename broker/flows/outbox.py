"""
The outbox as the flows and the one who delivers see it.

A flow posts what partners must be told: it is durable before `Outbox.post` returns, and already leased to this process,
whose courier (``downstream/notices.py``) takes it at once. So a customer who logs out usually sees how it went. What this
process does not get done is claimed by whichever is first when the lease is over: this one, another, or one after a restart.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec
from msgspec import Struct

from broker.core import notice as notices
from broker.core.notice import Kind, Outcome, State
from broker.errors import StoreDown
from broker.flows.audit import AuditTrail
from broker.observe.logging import log
from broker.stores.ports import Notice, Records
from broker.stores.sealing import Broken, Sealer

_BATCH = 50
_REMEMBERED = 1000


@dataclass(slots=True)
class _Batch:
    """What this process heard of one batch. ``open``: notices whose first attempt is not over."""

    open: set[str]
    states: dict[str, State] = field(default_factory=dict)
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Errand(Struct, frozen=True):
    """
    A notice that the courier is to deliver now. ``content``: what to tell, None when it cannot be read any more.

    ``until``: the lease; afterwards it is somebody else's.
    """

    notice: Notice
    content: Mapping[str, str] | None

    @property
    def partner(self) -> str:
        """Whom to tell."""
        return self.notice.partner

    @property
    def until(self) -> datetime:
        """When the lease is over."""
        return self.notice.due_at


class Outbox:
    """
    One per process.

    Args:
        sealer: what partners are told stands encrypted in the database.
        patience_s: how long a customer waits at most to see how the first attempts went.
        chance: draws from 0 to 1, for the jitter.
    """

    def __init__(
        self,
        records: Records,
        clock: Callable[[], datetime],
        audit: AuditTrail,
        sealer: Sealer,
        *,
        patience_s: float = 2.5,
        chance: Callable[[], float] = secrets.SystemRandom().random,
    ) -> None:
        self._records = records
        self._clock = clock
        self._audit = audit
        self._sealer = sealer
        self._chance = chance
        self._fresh: list[Notice] = []
        self._batches: dict[str, _Batch] = {}
        self.patience_s = patience_s
        self.wake = asyncio.Event()
        self.is_served = False
        self.waiting = 0
        self._oldest_at: datetime | None = None

    def oldest_s(self) -> float:
        """Age in seconds of what waits longest, by the last look; 0 when nothing waits."""
        return max(0.0, (self._clock() - self._oldest_at).total_seconds()) if self._oldest_at else 0.0

    def notice(
        self,
        id: str,
        kind: Kind,
        batch: str,
        *,
        partner: str,
        customer: str,
        content: Mapping[str, str],
        life: timedelta,
    ) -> Notice:
        """A notice to be posted by this process at once. *life*: how long telling it is tried."""
        now = self._clock()
        return Notice(
            id=id,
            kind=kind.value,
            batch=batch,
            partner=partner,
            customer=customer,
            sealed=self._sealer.seal(msgspec.json.encode(content), _place(id)),
            state=State.PENDING.value,
            attempts=1,
            created_at=now,
            due_at=now + notices.LEASE,
            give_up_at=now + life,
        )

    async def post(self, posted: Sequence[Notice]) -> None:
        """
        Keep *posted*, all of one batch, leased to this process.

        When the database is away the partners are told once, from memory: better than not at all, and the log says so.
        """
        if not posted:
            return
        try:
            await self._records.add_notices(posted)
        except StoreDown as error:
            log("outbox.unkept", "error", notices=len(posted), detail=error.detail)
        while len(self._batches) >= _REMEMBERED:
            del self._batches[next(iter(self._batches))]
        known = self._batches.setdefault(posted[0].batch, _Batch(set()))
        known.open |= {each.id for each in posted}
        known.done.clear()
        self._fresh.extend(posted)
        self.wake.set()

    def take_fresh(self) -> Sequence[Errand]:
        """What was posted in this process since the last call."""
        fresh, self._fresh = self._fresh, []
        self.wake.clear()
        return [self._errand(each) for each in fresh]

    async def claim(self) -> Sequence[Errand]:
        """What is due, leased to the caller; with a look at how much waits. Raises StoreDown."""
        self.waiting, self._oldest_at = await self._records.notices_waiting()
        if not self.waiting:
            return []
        now = self._clock()
        claimed = await self._records.claim_notices(now, now + notices.LEASE, _BATCH)
        return [self._errand(each) for each in claimed]

    async def settle(self, errand: Errand, outcome: Outcome, result: str) -> None:
        """
        Write down how the attempt on *errand* went. *result*: in a word, for the operator.

        A database that is away at this moment leaves the notice to its lease: it is then told once more.
        """
        now, notice = self._clock(), errand.notice
        standing = notices.after(
            outcome, attempts=notice.attempts, give_up_at=notice.give_up_at, now=now, chance=self._chance()
        )
        self._heard(notice, standing.state)
        self._tell(notice, standing.state, result)
        try:
            await self._records.settle_notice(
                notice, state=standing.state, result=result, due_at=standing.due_at, ended_at=standing.ended_at
            )
        except StoreDown as error:
            log("outbox.unsettled", "warning", partner=notice.partner, notice=notice.id, detail=error.detail)

    async def first_word(self, batch: str) -> Mapping[str, State]:
        """
        How the first attempts of *batch* went, by partner, as far as it is known after `patience_s` seconds at most.

        Only what this process posted a moment ago; without a courier there is nothing to wait for.
        """
        known = self._batches.get(batch)
        if known is None:
            return {}
        if self.is_served and known.open:
            try:
                async with asyncio.timeout(self.patience_s):
                    await known.done.wait()
            except TimeoutError:
                log("logout.slow", partners=len(known.open))
        self._batches.pop(batch, None)
        return dict(known.states)

    async def states(self, batch: str) -> Mapping[str, State]:
        """Where the notices of *batch* stand now, by partner. Raises StoreDown."""
        return {each.partner: State(each.state) for each in await self._records.notices_of(batch)}

    def _errand(self, notice: Notice) -> Errand:
        try:
            content = msgspec.json.decode(
                self._sealer.open(notice.sealed or b"", _place(notice.id)), type=dict[str, str]
            )
        except (Broken, msgspec.DecodeError):
            return Errand(notice, None)
        return Errand(notice, content)

    def _heard(self, notice: Notice, state: State) -> None:
        known = self._batches.get(notice.batch)
        if known is None:
            return
        known.states[notice.partner] = state
        known.open.discard(notice.id)
        if not known.open:
            known.done.set()

    def _tell(self, notice: Notice, state: State, result: str) -> None:
        took_s = (self._clock() - notice.created_at).total_seconds()
        facts = {"batch": notice.batch, "result": result, "attempts": notice.attempts}
        if state is State.PENDING:
            log(f"{notice.kind}.failed", "warning", partner=notice.partner, **facts)
            return
        name = f"{notice.kind}.{state.value}"
        took = {"created_to_told": took_s}
        self._audit.note(name, customer=notice.customer, partner=notice.partner, took_s=took, **facts)
        if state is not State.DELIVERED:
            log(f"{notice.kind}.untold", "error", partner=notice.partner, state=state.value, **facts)


def _place(id: str) -> str:
    """What a notice's content is bound to."""
    return f"notice:{id}"
