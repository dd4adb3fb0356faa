"""
State in this process's own memory: for tests and for a single process that found no server to start.

Nothing survives a restart and nothing is shared with a second process; production refuses it.
"""

import heapq
import time
from collections.abc import Callable, Sequence
from typing import Any, assert_never

from broker.errors import StoreDown
from broker.stores.limits import checked_key, checked_member, milliseconds
from broker.stores.ports import Count, Delist, Drop, Enlist, Get, Key, Listed, Op, Put, PutNew, Swap, Take

Clock = Callable[[], float]
"""Seconds that only ever grow, such as `time.monotonic`."""


class MemoryState:
    """
    `StateStore` in a dict.

    Atomic because nothing is awaited between the first and the last operation of a run. When
    *max_entries* live keys are there, a new one is refused as a full Redis would refuse it: nothing is
    evicted, since a forgotten replay guard or a forgotten tombstone is a hole.
    """

    def __init__(self, *, clock: Clock = time.monotonic, max_entries: int = 100_000) -> None:
        self._clock = clock
        self._max_entries = max_entries
        self._entries: dict[Key, tuple[bytes, float]] = {}
        self._deadlines: list[tuple[float, Key]] = []
        self._lists: dict[Key, dict[str, float]] = {}
        self._closed = False

    async def run(self, *ops: Op) -> Sequence[Any]:
        """See `StateStore.run`. Raises StoreDown when full or closed."""
        if self._closed:
            raise StoreDown("state store in memory: closed")
        for op in ops:
            _check(op)
        now = self._clock()
        self._forget_expired(now)
        return [self._do(op, now) for op in ops]

    async def ping(self) -> None:
        """Raises StoreDown when full or closed."""
        await self.run(Put("ping:memory", b"1", 1), Drop("ping:memory"))

    async def close(self) -> None:
        """Forget everything."""
        self._closed = True
        self._entries.clear()
        self._deadlines.clear()
        self._lists.clear()

    def _do(self, op: Op, now: float) -> Any:
        entry = self._entries.get(op.key)
        found = None if entry is None else entry[0]
        match op:
            case Get():
                if found is not None and op.renew_s is not None:
                    self._write(op.key, found, op.renew_s, now)
                return found
            case Put():
                if op.unless is None or op.unless not in self._entries:
                    self._write(op.key, op.value, op.ttl_s, now)
                return None
            case PutNew():
                if found is None:
                    self._write(op.key, op.value, op.ttl_s, now)
                return found is None
            case Take():
                if found is not None and op.leave is not None:
                    self._write(op.key, op.leave, op.leave_ttl_s, now)
                elif found is not None:
                    del self._entries[op.key]
                return found
            case Swap():
                is_due = found == op.old and (op.unless is None or op.unless not in self._entries)
                if is_due:
                    self._write(op.key, op.new, op.ttl_s, now)
                return is_due
            case Drop():
                return self._entries.pop(op.key, None) is not None
            case Count():
                return self._count(op, entry, now)
            case Enlist():
                return self._enlist(op, now)
            case Delist():
                until = self._lists.get(op.key, {}).pop(op.member, 0.0)
                return until > now
            case Listed():
                return tuple(name for name, until in self._lists.get(op.key, {}).items() if until > now)
        assert_never(op)

    def _enlist(self, op: Enlist, now: float) -> tuple[str, ...]:
        on_it = {name: until for name, until in self._lists.get(op.key, {}).items() if until > now}
        if op.key not in self._lists and len(self._lists) >= self._max_entries:
            self._lists = {key: names for key, names in self._lists.items() if any(t > now for t in names.values())}
            if len(self._lists) >= self._max_entries:
                raise StoreDown("state store in memory: full", lists=len(self._lists))
        on_it[op.member] = now + op.ttl_s
        order = sorted(on_it, key=lambda name: (on_it[name], name))
        fallen = tuple(name for name in order if name != op.member)[: max(0, len(order) - op.most)]
        self._lists[op.key] = {name: on_it[name] for name in order if name not in fallen}
        if op.drops:
            for name in fallen:
                self._entries.pop(op.drops + name, None)
        return fallen

    def _count(self, op: Count, entry: tuple[bytes, float] | None, now: float) -> int:
        if entry is None:
            self._write(op.key, b"1", op.window_s, now)
            return 1
        value, deadline = entry
        if not value.isdigit():
            raise StoreDown("state store in memory: Count on a key that is no counter")
        self._entries[op.key] = (str(int(value) + 1).encode(), deadline)
        return int(value) + 1

    def _write(self, key: Key, value: bytes, ttl_s: float, now: float) -> None:
        if key not in self._entries and len(self._entries) >= self._max_entries:
            raise StoreDown("state store in memory: full", entries=len(self._entries))
        deadline = now + ttl_s
        self._entries[key] = (value, deadline)
        heapq.heappush(self._deadlines, (deadline, key))
        if len(self._deadlines) > 64 + 2 * len(self._entries):
            self._drop_stale_deadlines()

    def _forget_expired(self, now: float) -> None:
        while self._deadlines and self._deadlines[0][0] <= now:
            deadline, key = heapq.heappop(self._deadlines)
            entry = self._entries.get(key)
            if entry is not None and entry[1] == deadline:
                del self._entries[key]

    def _drop_stale_deadlines(self) -> None:
        # A key that is rewritten or taken leaves its old deadline behind; long ones would pile up for days.
        self._deadlines = [(deadline, key) for key, (_, deadline) in self._entries.items()]
        heapq.heapify(self._deadlines)


def _check(op: Op) -> None:
    checked_key(op.key)
    match op:
        case Get(renew_s=float() | int()):
            milliseconds(op.renew_s or 0)
        case PutNew():
            milliseconds(op.ttl_s)
        case Put() | Swap():
            milliseconds(op.ttl_s)
            if op.unless is not None:
                checked_key(op.unless)
        case Take(leave=bytes()):
            milliseconds(op.leave_ttl_s)
        case Count():
            milliseconds(op.window_s)
        case Enlist():
            checked_member(op.member, op.most)
            milliseconds(op.ttl_s)
            if op.drops:
                checked_key(op.drops)
        case Delist():
            checked_member(op.member)
