"""
Receipts: what went to whom, as rows that "What I share", export and erasure read.

The handoff's own record in the state store says how it stands; a receipt follows it. Each change leaves an entry beside the
record in the same round trip, and the rows are written in batches beside the requests: a campaign's thousand handoffs are a
few statements. What a process could not write before it ended, the next `write_all` finds by its entries.
"""

import contextlib
from collections.abc import Iterable

from msgspec import Struct

from broker.core import handoff as core
from broker.core.changing import replace
from broker.core.handoff import Handoff, State
from broker.core.naming import is_id
from broker.errors import StafettError, StoreDown
from broker.flows.context import Context
from broker.observe.logging import log
from broker.stores.ports import Delist, Enlist, Listed, Op, Transfer

_DUE = "receipts:due"
_DUE_S = 14 * 24 * 3600.0
"""How long the database may be away before receipts are lost."""
_MOST = 1_000_000
_BATCH = 200

_TOLD = frozenset({State.STARTED, State.REDEEMED, State.ACKNOWLEDGED, State.REVOKED})
"""From the moment something is on its way to the recipient."""


class _Due(Struct, frozen=True):
    handoff: Handoff
    entries: frozenset[str]


class Receipts:
    """
    One per process.

    Args:
        most: as many handoffs wait in memory while the database is away; the others are found by their entries afterwards.
    """

    def __init__(self, context: Context, *, most: int = 10_000) -> None:
        self._c = context
        self._most = most
        self._waiting: dict[str, _Due] = {}
        self._is_more_listed = False

    def entry(self, handoff: Handoff) -> list[Op]:
        """What goes along with writing *handoff*; `follow` it afterwards. Left without, it is found and does no harm."""
        return [Enlist(_DUE, _entry(handoff), _DUE_S, _MOST)] if _is_told(handoff) else []

    def follow(self, handoff: Handoff) -> None:
        """*handoff* is stored: its receipt is to say so."""
        if not _is_told(handoff):
            return
        if not self._waiting:
            self._c.audit.later(self.write)
        if len(self._waiting) >= self._most and handoff.id not in self._waiting:
            self._is_more_listed = True
            return
        self._wait(_Due(handoff, frozenset({_entry(handoff)})))

    async def write(self) -> None:
        """Write what this process is to write. Raises StoreDown; then it still waits."""
        await self._write_waiting()
        if self._is_more_listed:
            await self._write_listed()

    async def write_all(self) -> None:
        """Write what waits anywhere, so that whoever reads next sees everything. Raises StoreDown."""
        await self._write_waiting()
        await self._write_listed()

    async def _write_waiting(self) -> None:
        batch, self._waiting = list(self._waiting.values()), {}
        try:
            while batch:
                await self._save(batch[:_BATCH])
                del batch[:_BATCH]
        finally:
            later, self._waiting = self._waiting, {due.handoff.id: due for due in batch}
            for due in later.values():
                self._wait(due)

    async def _write_listed(self) -> None:
        is_more, self._is_more_listed = self._is_more_listed, False
        try:
            (entries,) = await self._c.state.run(Listed(_DUE))
            left = [entry for entry in entries if is_id(entry.partition(".")[0])]
            for start in range(0, len(left), _BATCH):
                await self._catch_up(left[start : start + _BATCH])
        except StoreDown:
            self._is_more_listed = self._is_more_listed or is_more
            raise

    async def _catch_up(self, entries: list[str]) -> None:
        shelf, names = self._c.shelves.handoffs, [entry.partition(".")[0] for entry in entries]
        raws = await self._c.state.run(*(shelf.get(name) for name in names))
        found = {name: held.value for name, raw in zip(names, raws, strict=True) if (held := shelf.read(name, raw))}
        due = [_Due(handoff, frozenset()) for handoff in found.values() if _is_told(handoff)]
        await self._save(due)
        # security: whoever changes a handoff makes its entry first, and one that is undecided may start at any moment.
        undecided = {name for name, handoff in found.items() if handoff.state in core.UNDECIDED}
        await self._done(entry for name, entry in zip(names, entries, strict=True) if name not in undecided)

    async def _save(self, batch: list[_Due]) -> None:
        rows = [self._row(due.handoff) for due in batch]
        try:
            await self._c.records.save_transfers(rows)
        except StoreDown:
            raise
        except StafettError:
            await self._one_by_one(rows)
        await self._done(entry for due in batch for entry in due.entries)

    async def _one_by_one(self, rows: list[Transfer]) -> None:
        """A row the database will never take (its customer was erased meanwhile) must not hold up the others."""
        for row in rows:
            try:
                await self._c.records.save_transfers([row])
            except StoreDown:
                raise
            except StafettError as error:
                log("receipt.refused", "error", handoff=row.id, code=error.code)

    async def _done(self, entries: Iterable[str]) -> None:
        with contextlib.suppress(StoreDown):
            if ops := [Delist(_DUE, entry) for entry in entries]:
                await self._c.state.run(*ops)

    def _wait(self, due: _Due) -> None:
        known = self._waiting.get(due.handoff.id)
        entries = due.entries | known.entries if known else due.entries
        self._waiting[due.handoff.id] = replace(due, entries=entries)

    def _row(self, handoff: Handoff) -> Transfer:
        payload, digest = self._c.seal_payload(handoff.id, handoff.payload)
        fields = self._c.policy().fields.get(handoff.type, ())
        return Transfer(
            id=handoff.id,
            customer=handoff.bound_to,
            source=handoff.source,
            recipient=handoff.recipient,
            purpose=handoff.purpose,
            type=handoff.type,
            state=handoff.state.value,
            consent=handoff.consent,
            fields=tuple(field.name for field in fields if core.lookup(handoff.payload, field.name) is not None),
            payload=None if handoff.state is State.REVOKED else payload,
            payload_sha256=digest,
            created_at=handoff.decided_at or self._c.now(),
            picked_up_at=handoff.redeemed_at,
            acknowledged_at=handoff.acknowledged_at,
            result=handoff.result.value if handoff.result else None,
            reference=handoff.reference,
        )


def _is_told(handoff: Handoff) -> bool:
    return handoff.state in _TOLD and handoff.decided_at is not None


def _entry(handoff: Handoff) -> str:
    """One per state, so that a change made while the one before is being written is not taken for written."""
    return f"{handoff.id}.{handoff.state.value}"
