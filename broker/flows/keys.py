"""
Signing keys: what operators and the calendar decide about them, and how running processes come to know.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct, field

from broker.core import keys as core
from broker.core.keys import KeyBook, KeyRecord, KeyStanding, KeyState, KeyTimes, Maker, said
from broker.errors import ConfigError, StafettError
from broker.observe.logging import log
from broker.stores.ports import KeyStore

Tell = Callable[[str, KeyRecord], None]
"""Takes the name of an audit event and the key it is about."""

_LONGEST_BETWEEN_LOOKS_S = 5.0


class KeyCare(Struct, frozen=True):
    """
    What is done to the keys in *store*; every change is one, whatever happens half-way.

    ``algs``: algorithms there must always be a key for. ``make``: makes a key pair. ``first``: what an empty store begins with.
    """

    store: KeyStore
    times: KeyTimes
    clock: Callable[[], datetime]
    make: Maker
    algs: tuple[str, ...]
    first: KeyBook = field(default_factory=KeyBook)

    def standings(self) -> tuple[KeyStanding, ...]:
        """Where every key stands now."""
        return core.standings(self.store.read() or KeyBook(), self.times, self.clock())

    def begin(self) -> KeyBook:
        """Keys for a store that has none, or not for every algorithm: those in ``first``, and new ones."""
        return self.store.change(self._begun)

    def rotate(self, algs: Sequence[str], *, at_once: bool = False) -> tuple[KeyRecord, ...]:
        """
        A new key for each of *algs*, published now and signing later; all or none. Returns: them.

        Raises: as `broker.core.keys.rotated`.
        """
        made: list[KeyRecord] = []

        def edit(book: KeyBook) -> KeyBook:
            book = self._tidied(book)
            for alg in algs:
                book, key = core.rotated(book, alg, self.make, self.times, self.clock(), at_once=at_once)
                made.append(key)
            return book

        self.store.change(edit)
        return tuple(made)

    def retire(self, kid: str) -> tuple[KeyStanding, ...]:
        """As `broker.core.keys.retired`. Returns: where every key stands afterwards."""

        def edit(book: KeyBook) -> KeyBook:
            return core.retired(self._tidied(book), kid, self.make, self.times, self.clock())

        return core.standings(self.store.change(edit), self.times, self.clock())

    def withdraw(self, kid: str) -> tuple[KeyStanding, ...]:
        """As `broker.core.keys.withdrawn`. Returns: where every key stands afterwards."""

        def edit(book: KeyBook) -> KeyBook:
            return core.withdrawn(self._tidied(book), kid, self.make, self.times, self.clock())

        return core.standings(self.store.change(edit), self.times, self.clock())

    def keep(self, every: timedelta | None) -> tuple[KeyRecord, ...]:
        """Erase what signs no more, and renew what is older than *every*. Returns: the new keys."""
        made: list[KeyRecord] = []

        def edit(book: KeyBook) -> KeyBook:
            book = self._tidied(book)
            for alg in self.overdue(book, every):
                book, key = core.rotated(book, alg, self.make, self.times, self.clock())
                made.append(key)
            return book

        self.store.change(edit)
        return tuple(made)

    def overdue(self, book: KeyBook, every: timedelta | None) -> tuple[str, ...]:
        """The algorithms whose key is to be renewed."""
        return core.due(book, self.algs, every, self.clock()) if every else ()

    def needs_keeping(self, book: KeyBook, every: timedelta | None) -> bool:
        """Whether `keep` would change *book*."""
        return self._tidied(book) != book or bool(self.overdue(book, every))

    def _tidied(self, book: KeyBook) -> KeyBook:
        return core.tidied(book, self.times, self.clock())

    def _begun(self, book: KeyBook) -> KeyBook:
        now = self.clock()
        if not book.keys:
            # Since when they are published nobody knows; they are renewed as if it were today.
            given = (key.model_copy(update={"created_at": now}) for key in self.first.keys)
            book = KeyBook(keys=tuple(given))
        return core.begun(book, self.algs, self.make, self.times, now)


class KeyWatch:
    """
    Notices, beside the requests, that keys changed or that their hour came, and has *show* replace what is signed with.

    What cannot be read is told once and changes nothing: the keys that are known go on signing.

    Args:
        book: what the process started with.
        every: renew keys older than this, where the store can be written.
    """

    def __init__(
        self,
        care: KeyCare,
        book: KeyBook,
        show: Callable[[Sequence[KeyStanding]], None],
        tell: Tell,
        *,
        every: timedelta | None = None,
    ) -> None:
        self._care = care
        self._book = book
        self._mark: object = _NEVER
        self._show = show
        self._tell = tell
        self._every = every
        self._seen = _outline(core.standings(book, care.times, care.clock()))
        self._complaints: dict[str, str] = {}
        self._interval_s = min(_LONGEST_BETWEEN_LOOKS_S, care.times.spread.total_seconds() / 4)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin looking."""
        self._task = asyncio.create_task(self._run(), name="keys")

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def look(self) -> None:
        """Look once; the store is asked in a thread, for it may be slow."""
        with self._complaining("keys.unreadable"):
            await asyncio.to_thread(self._read)
        with self._complaining("keys.unusable"):
            await self._turn()
        with self._complaining("keys.not_renewed"):
            await self._keep()

    def _read(self) -> None:
        mark = self._care.store.mark()
        if mark == self._mark:
            return
        book = self._care.store.read()
        if book is None:
            raise ConfigError(("broker.keys.folder: the file of signing keys is no longer there",))
        self._book, self._mark = book, mark

    async def _keep(self) -> None:
        care = self._care
        if not care.needs_keeping(self._book, self._every):
            return
        if not care.store.is_writable:
            # What a mounted secret keeps too long goes when it is changed next; only a renewal is missed.
            if care.overdue(self._book, self._every):
                raise ConfigError(("broker.keys.rotate_every: keys are to be renewed, but the folder is read-only",))
            return
        for key in await asyncio.to_thread(care.keep, self._every):
            log("keys.rotated", kid=key.name, alg=key.alg, signs_from=said(key.signs_from))
            self._tell("keys.rotated", key)
        await asyncio.to_thread(self._read)
        await self._turn()

    async def _turn(self) -> None:
        care = self._care
        standings = core.standings(self._book, care.times, care.clock())
        if (outline := _outline(standings)) == self._seen:
            return
        await asyncio.to_thread(self._show, standings)
        self._seen = outline
        log(
            "keys.changed",
            signing=[f"{each.key.alg} {each.key.name}" for each in standings if each.state is KeyState.SIGNING],
            published=sum(each.is_published for each in standings),
        )

    @contextlib.contextmanager
    def _complaining(self, event: str) -> Iterator[None]:
        """Whatever goes wrong is told once as *event*, and again when it is something else."""
        try:
            yield
        except StafettError as error:
            detail = error.detail
        except Exception as error:
            detail = type(error).__name__
        else:
            self._complaints.pop(event, None)
            return
        if self._complaints.get(event) != detail:
            self._complaints[event] = detail
            log(event, "error", detail=detail)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            await self.look()


_NEVER = object()


def _outline(standings: Sequence[KeyStanding]) -> Any:
    """What of the keys matters to whoever signs, publishes and verifies."""
    return [(each.key.kid, each.state, each.vouches_for_hints) for each in standings]
