"""
The audit trail: what happened, without personal data, written in batches beside the requests.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

import msgspec

from broker.errors import StoreDown
from broker.observe.logging import log
from broker.observe.telemetry import tell
from broker.stores.ports import AuditEvent, Records

_MAX_WAITING = 10_000


class AuditTrail:
    """
    Collects events and writes them every *interval_s* seconds in one transaction.

    When the database is away events wait, up to a bound; then the oldest are dropped and counted in ``dropped``. What a
    customer was told is never only here: consents are written before the answer, and transfers have `Receipts`.
    """

    def __init__(
        self,
        records: Records,
        clock: Callable[[], datetime],
        reference: Callable[[], str],
        *,
        interval_s: float = 0.5,
    ) -> None:
        self._records = records
        self._clock = clock
        self._reference = reference
        self._interval_s = interval_s
        self._waiting: list[AuditEvent] = []
        self._later: list[Callable[[], Awaitable[object]]] = []
        self._task: asyncio.Task[None] | None = None
        self._ending = asyncio.Event()
        self._flushing = asyncio.Lock()
        self.dropped = 0

    @property
    def waiting(self) -> int:
        """How many events are not yet written."""
        return len(self._waiting)

    def note(
        self,
        action: str,
        *,
        customer: str | None = None,
        partner: str | None = None,
        took_s: Mapping[str, float] = MappingProxyType({}),
        **facts: Any,
    ) -> None:
        """
        Record *action* (a name of docs/events.md); *facts* are ids and rule names, never personal data.

        *took_s*: how long which step took, in seconds; for whoever watches, not kept.
        """
        tell(action, {**facts, "partner": partner, "took_s": took_s})
        event = AuditEvent(
            at=self._clock(),
            action=action,
            reference=self._reference(),
            customer=customer,
            partner=partner,
            facts=msgspec.json.encode(facts, order="deterministic").decode(),
        )
        self._waiting.append(event)
        self._drop_oldest()

    def later(self, write: Callable[[], Awaitable[object]]) -> None:
        """Carry out a bookkeeping *write* beside the requests; it is tried until the database takes it."""
        if len(self._later) < _MAX_WAITING:
            self._later.append(write)
        else:
            self.dropped += 1

    def start(self) -> None:
        """Begin writing in the background."""
        self._ending.clear()
        self._task = asyncio.create_task(self._run(), name="audit")

    async def stop(self) -> None:
        """Write what waits and end."""
        if self._task is not None:
            # Not cancelled: a connection that is torn out of a write is lost, and what it wrote would be written twice.
            self._ending.set()
            await self._task
        with contextlib.suppress(StoreDown):
            await self.flush()
            while self._later:
                await self.flush()

    async def flush(self) -> None:
        """Write what waits now, one caller after the other. Raises StoreDown; then what was not written still waits."""
        async with self._flushing:
            await self._flush()

    async def _flush(self) -> None:
        # What comes meanwhile waits for the next time: a busy broker would otherwise write it one by one, and nothing else.
        for _ in range(len(self._later)):
            await self._carry_out(self._later[0])
            del self._later[0]
        # What is being written is out of reach of `note`, which drops the oldest when there are too many.
        batch, self._waiting = self._waiting, []
        try:
            await self._write(batch)
        finally:
            self._waiting = [*batch, *self._waiting]
            self._drop_oldest()

    async def _carry_out(self, write: Callable[[], Awaitable[object]]) -> None:
        """One write; what the database will never take is dropped and counted, so that it does not stop all others."""
        try:
            await write()
        except StoreDown:
            raise
        except Exception as error:
            self._refused(error)

    async def _write(self, batch: list[AuditEvent]) -> None:
        """Write *batch* and empty it; an event the database will never take is found by halving and dropped alone."""
        size = len(batch)
        while batch:
            try:
                await self._records.add_audit(batch[:size])
            except StoreDown:
                raise
            except Exception as error:
                if size > 1:
                    size //= 2
                    continue
                self._refused(error)
            del batch[:size]
            size = len(batch)

    def _refused(self, error: Exception) -> None:
        self.dropped += 1
        log("audit.refused", "error", error=type(error).__name__)

    def _drop_oldest(self) -> None:
        excess = len(self._waiting) - _MAX_WAITING
        if excess > 0:
            del self._waiting[:excess]
            self.dropped += excess

    async def _run(self) -> None:
        while not self._ending.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), self._interval_s)
            with contextlib.suppress(StoreDown):
                await self.flush()
