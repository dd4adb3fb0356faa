"""
Where metadata of SAML peers comes from: a file an operator pinned, an address that has all of it, a server that is asked
for one entity at a time (MDQ, draft-young-md-query).

A source answers from what it has, as long as that may be used; looking for something newer never keeps an answer waiting
that could be given from a copy. Reading and verifying is done in a thread, and what is new takes the place of the old at
once and as a whole. What could not be renewed goes on being used until its validUntil, also over restarts.
"""

import asyncio
import hashlib
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final, Protocol
from urllib.parse import quote

from msgspec import Struct

from broker.core.changing import replace
from broker.core.saml import SamlEntity
from broker.core.saml_copies import NEGATIVE, RETRY, SKEW, Copy, CopyState, Life, Standing
from broker.errors import StafettError, UpstreamDown
from broker.observe.logging import log

ACCEPT: Final = {"Accept": "application/samlmetadata+xml, application/xml;q=0.8, text/xml;q=0.8"}
_PARSED: Final = 512
"""Entities of one document that are kept as values; each costs a millisecond to read again."""
_ASKED_FOR: Final = 1000
"""Entities of one MDQ server that are kept in memory, and names that it does not know."""
_IN_USE: Final = timedelta(days=1)
_AT_ONCE: Final = 8
_PAUSE: Final = timedelta(seconds=10)


class Document(Protocol):
    """A metadata document that was believed (`broker.wire.saml.aggregate.Metadata`)."""

    @property
    def entity_ids(self) -> Collection[str]:
        """The names of all entities."""
        ...

    @property
    def valid_until(self) -> datetime | None:
        """When it ends."""
        ...

    @property
    def cache_duration(self) -> timedelta | None:
        """After which its publisher would like to be asked again."""
        ...

    def find(self, entity_id: str) -> SamlEntity | None:
        """The entity of that name. Raises: StafettError for one that cannot be read."""
        ...


class Answer(Protocol):
    """What a metadata server said; ``headers`` have lower-case names."""

    @property
    def status(self) -> int:
        """200, 304 or 4xx."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Its headers."""
        ...

    @property
    def body(self) -> bytes:
        """The document; empty unless the status is 200."""
        ...


Fetch = Callable[[str, Mapping[str, str]], Awaitable[Answer]]
"""GET of an address with headers, within the rules for outgoing calls. Raises: UpstreamDown."""
Read = Callable[[bytes, datetime], Document]
"""Verifies and reads a document, for use at that time. Blocks. Raises: StafettError with what is wrong."""
Clock = Callable[[], datetime]


class Copies(Protocol):
    """Where last good copies are kept (`broker.stores.saml_files.CopyFolder`). Blocks."""

    def load(self, name: str) -> Copy | None:
        """The copy called *name*."""
        ...

    def save(self, name: str, copy: Copy) -> None:
        """Keep *copy*. Raises: OSError."""
        ...

    def drop(self, name: str) -> None:
        """Forget it."""
        ...


class File(Protocol):
    """A file (`broker.stores.saml_files.PinnedFile`). Blocks."""

    def read(self) -> bytes:
        """Its octets. Raises: OSError."""
        ...

    def mark(self) -> object:
        """Another when the file is another."""
        ...


class Source(Protocol):
    """One of the three."""

    name: str

    async def find(self, entity_id: str) -> SamlEntity | None:
        """
        The entity of that name, None when the source does not know it.

        Raises: UpstreamDown: the source has nothing that may be used, and gives nothing.
        """
        ...

    async def renew(self) -> None:
        """Look for something newer. Raises: StafettError, and nothing changes."""
        ...

    def period(self) -> timedelta:
        """How often to do so."""
        ...

    def standing(self) -> Standing:
        """How it stands."""
        ...

    async def close(self) -> None:
        """Give up what is under way."""
        ...


class _Kept(Struct, frozen=True):
    """
    A document that was believed, and since when. ``entity``: finds in it, and remembers whom it found.

    ``etag``, ``last_modified``, ``digest``: how to tell that what the server has now is still this one.
    """

    document: Document
    life: Life
    entity: Callable[[str], SamlEntity | None]
    etag: str = ""
    last_modified: str = ""
    digest: bytes = b""

    @classmethod
    def of(cls, document: Document, fetched_at: datetime) -> "_Kept":
        life = Life(fetched_at, document.valid_until, document.cache_duration)
        return cls(document, life, lru_cache(maxsize=_PARSED)(document.find))

    def find(self, entity_id: str, source: str, now: datetime) -> SamlEntity | None:
        """One that cannot be read or is past its own end counts as unknown."""
        try:
            entity = self.entity(entity_id)
        except StafettError as error:
            log("saml.metadata_entity", "warning", source=source, code=error.code, detail=error.detail)
            return None
        if entity is not None and entity.valid_until is not None and entity.valid_until <= now - SKEW:
            return None
        return entity


class _Whole(ABC):
    """A source that has one document with everybody in it."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.name = name
        self._clock = clock
        self._kept: _Kept | None = None
        self._tried_at: datetime | None = None
        self._lock = asyncio.Lock()

    async def find(self, entity_id: str) -> SamlEntity | None:
        """See `Source.find`."""
        kept = self._kept
        if kept is None or kept.life.state(self._clock()) is CopyState.EXPIRED:
            kept = await self._at_last()
        return kept.find(entity_id, self.name, self._clock())

    async def renew(self) -> None:
        """See `Source.renew`."""
        async with self._lock:
            await self._try()

    @abstractmethod
    def period(self) -> timedelta:
        """See `Source.period`."""

    def standing(self) -> Standing:
        """See `Source.standing`."""
        if (kept := self._kept) is None:
            return Standing(self.name, CopyState.MISSING)
        life = kept.life
        state = life.state(self._clock())
        return Standing(self.name, state, len(kept.document.entity_ids), life.valid_until, life.fetched_at)

    async def _at_last(self) -> _Kept:
        """Something that may be used, or UpstreamDown; a source that failed a moment ago is not asked again."""
        async with self._lock:
            now = self._clock()
            if not self._is_usable(now) and (self._tried_at is None or now >= self._tried_at + NEGATIVE):
                try:
                    await self._try()
                except StafettError as error:
                    _told_failed(self.name, error)
            if self._kept is None or not self._is_usable(now):
                state = self.standing().state
                raise UpstreamDown(f"metadata source {self.name}: {state}", code=f"saml.metadata_{state}")
            return self._kept

    def _is_usable(self, now: datetime) -> bool:
        return self._kept is not None and self._kept.life.state(now) is not CopyState.EXPIRED

    async def _try(self) -> None:
        self._tried_at = self._clock()
        found = await self._newest(self._kept)
        if found is not self._kept:
            self._kept = found
            _told_renewed(self.name, found)

    @abstractmethod
    async def _newest(self, kept: _Kept | None) -> _Kept:
        """What there is now; *kept* itself when it is still that. Raises: StafettError."""


class FileSource(_Whole):
    """Metadata in a file; a file that changed is read again."""

    def __init__(self, name: str, file: File, read: Read, clock: Clock) -> None:
        super().__init__(name, clock)
        self._file = file
        self._read = read
        self._mark: object = None

    def period(self) -> timedelta:
        """Whether the file is another is cheap to see."""
        return timedelta(seconds=30)

    async def close(self) -> None:
        """Nothing is ever under way that nobody waits for."""

    async def _newest(self, kept: _Kept | None) -> _Kept:
        return await asyncio.to_thread(self._reread, kept)

    def _reread(self, kept: _Kept | None) -> _Kept:
        mark, now = self._file.mark(), self._clock()
        if kept is not None and mark == self._mark:
            return kept
        try:
            octets = self._file.read()
        except OSError as error:
            raise UpstreamDown(f"the file cannot be read ({error.strerror})", code="saml.metadata_file") from None
        found = _Kept.of(self._read(octets, now), now)
        self._mark = mark
        return found


class FeedSource(_Whole):
    """
    Metadata at an address, usually of a whole federation.

    Args:
        refresh: how often to look for a newer one, unless it wishes to be asked more often.
        copies: where the last good one is kept over restarts.
    """

    def __init__(
        self, name: str, url: str, *, fetch: Fetch, read: Read, copies: Copies, refresh: timedelta, clock: Clock
    ) -> None:
        super().__init__(name, clock)
        self._shelf = _Shelf(name, fetch, read, copies, clock)
        self._url = url
        self._refresh = refresh

    def period(self) -> timedelta:
        """See `Life.period`."""
        return self._kept.life.period(self._refresh) if self._kept is not None else RETRY

    async def find(self, entity_id: str) -> SamlEntity | None:
        """See `Source.find`; from the last good copy first of all."""
        await self._recall()
        return await super().find(entity_id)

    async def renew(self) -> None:
        """See `Source.renew`."""
        await self._recall()
        await super().renew()

    async def close(self) -> None:
        """Nothing is ever under way that nobody waits for."""

    async def _recall(self) -> None:
        if self._kept is None and self._tried_at is None:
            async with self._lock:
                if self._kept is None and self._tried_at is None:
                    self._kept = await self._shelf.recalled(self.name)

    async def _newest(self, kept: _Kept | None) -> _Kept:
        found = await self._shelf.fetched(self._url, kept, self.name)
        if found is None:
            raise UpstreamDown("the address has no metadata (status 4xx)", code="saml.metadata_status")
        return found


@dataclass(slots=True)
class _Asked:
    """What is known of one entity of an MDQ server. ``kept`` None: the server does not know it."""

    kept: _Kept | None
    due_at: datetime
    used_at: datetime


class QuerySource:
    """
    A server that is asked for one entity at a time.

    Args:
        base: its address; entities are at ``{base}/entities/{name}``.
        by_hash: to ask by ``{sha1}`` and the SHA-1 of the name instead of by the name.
    """

    def __init__(
        self,
        name: str,
        base: str,
        *,
        by_hash: bool,
        fetch: Fetch,
        read: Read,
        copies: Copies,
        refresh: timedelta,
        clock: Clock,
    ) -> None:
        self.name = name
        self._shelf = _Shelf(name, fetch, read, copies, clock)
        self._base = base.rstrip("/")
        self._by_hash = by_hash
        self._refresh = refresh
        self._clock = clock
        self._asked: OrderedDict[str, _Asked] = OrderedDict()
        self._looking: dict[str, asyncio.Task[_Asked]] = {}
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._pause_until = clock()

    def address(self, entity_id: str) -> str:
        """Where the entity of that name is (draft-young-md-query-saml, section 2.1)."""
        if self._by_hash:
            # A name for something public, not a protection: `find` compares the whole name.
            entity_id = "{sha1}" + hashlib.sha1(entity_id.encode(), usedforsecurity=False).hexdigest()
        return f"{self._base}/entities/{quote(entity_id, safe=':')}"

    async def find(self, entity_id: str) -> SamlEntity | None:
        """See `Source.find`."""
        now = self._clock()
        asked = self._asked.get(entity_id)
        if asked is None or not self._is_usable(asked, now):
            asked = await self._looked(entity_id)
        elif now >= asked.due_at:
            self._look(entity_id)
        asked.used_at = now
        return None if asked.kept is None else asked.kept.find(entity_id, self.name, now)

    async def renew(self) -> None:
        """Those that were asked for in the last day, each when its time has come."""
        now = self._clock()
        due = [
            name for name, each in self._asked.items() if each.kept and self._is_used(each, now) and now >= each.due_at
        ]
        await asyncio.gather(*(self._looked(name) for name in due))

    def period(self) -> timedelta:
        """Every now and then; each entity has its own time."""
        return timedelta(minutes=1)

    def standing(self) -> Standing:
        """The worst of the entities in use; a server that nobody asked anything stands well."""
        now = self._clock()
        lives = [each.kept.life for each in self._asked.values() if each.kept and self._is_used(each, now)]
        states = {life.state(now) for life in lives}
        worst = next((each for each in (CopyState.EXPIRED, CopyState.EXPIRING) if each in states), CopyState.GOOD)
        ends = [life.valid_until for life in lives if life.valid_until is not None]
        return Standing(self.name, worst, len(lives), min(ends, default=None))

    async def close(self) -> None:
        """Give up what is still looked for."""
        looking = list(self._looking.values())
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)

    def _is_usable(self, asked: _Asked, now: datetime) -> bool:
        if asked.kept is None:
            return now < asked.due_at
        return asked.kept.life.state(now) is not CopyState.EXPIRED

    def _is_used(self, asked: _Asked, now: datetime) -> bool:
        return asked.used_at > now - _IN_USE

    async def _looked(self, entity_id: str) -> _Asked:
        """What the server says now; whoever asks for the same meanwhile gets the same answer."""
        return await asyncio.shield(self._look(entity_id))

    def _look(self, entity_id: str) -> asyncio.Task[_Asked]:
        task = self._looking.get(entity_id)
        if task is None:
            task = asyncio.create_task(self._look_now(entity_id), name=f"metadata {self.name}")
            self._looking[entity_id] = task
            task.add_done_callback(lambda done: self._over(entity_id, done))
        return task

    def _over(self, entity_id: str, task: asyncio.Task[_Asked]) -> None:
        del self._looking[entity_id]
        if not task.cancelled() and isinstance(error := task.exception(), StafettError):
            _told_failed(self.name, error)

    async def _look_now(self, entity_id: str) -> _Asked:
        """Raises: StafettError when there is neither an answer nor a copy that may be used."""
        before, place = self._asked.get(entity_id), hashlib.sha256(entity_id.encode()).hexdigest()
        kept = before.kept if before is not None else await self._shelf.recalled(place)
        now = self._clock()
        if before is None and kept is not None and kept.life.state(now) is not CopyState.EXPIRED:
            # The copy answers at once; the server is asked when somebody comes next.
            return self._remember(entity_id, _Asked(kept, now, now))
        used_at = before.used_at if before is not None else now
        try:
            found = await self._asked_for(entity_id, kept, place, now)
        except StafettError as error:
            if kept is None or kept.life.state(now) is CopyState.EXPIRED:
                raise
            _told_failed(self.name, error)
            return self._remember(entity_id, _Asked(kept, now + RETRY, used_at))
        period = NEGATIVE if found is None else found.life.period(self._refresh)
        return self._remember(entity_id, _Asked(found, now + period, used_at))

    async def _asked_for(self, entity_id: str, kept: _Kept | None, place: str, now: datetime) -> _Kept | None:
        """security: whoever sends invented names makes us ask, so a server that is ill is left alone for a moment."""
        if now < self._pause_until:
            raise UpstreamDown("the metadata server failed a moment ago", code="saml.metadata_pause")
        async with self._at_once:
            try:
                found = await self._shelf.fetched(self.address(entity_id), kept, place, only=entity_id)
            except UpstreamDown:
                self._pause_until = now + _PAUSE
                raise
        if found is None:
            # Whoever is no longer listed is trusted no longer.
            await self._shelf.forget(place)
        return found

    def _remember(self, entity_id: str, asked: _Asked) -> _Asked:
        self._asked[entity_id] = asked
        self._asked.move_to_end(entity_id)
        while len(self._asked) > _ASKED_FOR:
            self._asked.popitem(last=False)
        return asked


class _Shelf:
    """Fetching with what is known of the last time, verifying in a thread, keeping what was believed."""

    def __init__(self, source: str, fetch: Fetch, read: Read, copies: Copies, clock: Clock) -> None:
        self._source = source
        self._fetch = fetch
        self._read = read
        self._copies = copies
        self._clock = clock

    async def recalled(self, place: str) -> _Kept | None:
        """The last good copy, verified anew; None when there is none that still may be used."""
        copy = await asyncio.to_thread(self._copies.load, place)
        if copy is None:
            return None
        try:
            return await asyncio.to_thread(self._believed, copy)
        except StafettError as error:
            log("saml.metadata_copy", "warning", source=self._source, code=error.code, detail=error.detail)
            return None

    async def forget(self, place: str) -> None:
        """Throw the copy away."""
        await asyncio.to_thread(self._copies.drop, place)

    async def fetched(self, url: str, kept: _Kept | None, place: str, *, only: str | None = None) -> _Kept | None:
        """
        What is at *url* now; *kept* when it is still that; None when there is nothing.

        Args:
            only: the one entity it has to be about.
        Raises: StafettError: it could not be fetched, or was not believed.
        """
        answer = await self._fetch(url, {**ACCEPT, **(_conditions(kept) if kept else {})})
        match answer.status:
            case 304 if kept is not None:
                return kept
            case 404 | 410:
                return None
            case 200:
                return await self._taken(answer, kept, place, only)
        raise UpstreamDown(f"the metadata server answered with status {answer.status}", code="saml.metadata_status")

    async def _taken(self, answer: Answer, kept: _Kept | None, place: str, only: str | None) -> _Kept:
        if kept is not None and kept.digest == hashlib.sha256(answer.body).digest():
            return kept
        etag, last_modified = (answer.headers.get(name, "")[:500] for name in ("etag", "last-modified"))
        copy = Copy(answer.body, self._clock(), etag, last_modified)
        found = await asyncio.to_thread(self._believed, copy)
        if only is not None and list(found.document.entity_ids) != [only]:
            raise UpstreamDown("the answer is about another entity", code="saml.metadata_entity")
        try:
            await asyncio.to_thread(self._copies.save, place, copy)
        except OSError as error:
            detail = f"the copy cannot be written ({error.strerror})"
            log("saml.metadata_copy", "warning", source=self._source, code="saml.metadata_copy", detail=detail)
        return found

    def _believed(self, copy: Copy) -> _Kept:
        found = _Kept.of(self._read(copy.octets, self._clock()), copy.fetched_at)
        digest = hashlib.sha256(copy.octets).digest()
        return replace(found, etag=copy.etag, last_modified=copy.last_modified, digest=digest)


def _conditions(kept: _Kept) -> Mapping[str, str]:
    """RFC 9110 section 13.1: the tag goes before the date."""
    if kept.etag:
        return {"If-None-Match": kept.etag}
    return {"If-Modified-Since": kept.last_modified} if kept.last_modified else {}


def _told_renewed(source: str, kept: _Kept) -> None:
    until = kept.life.valid_until
    log(
        "saml.metadata_renewed",
        source=source,
        entities=len(kept.document.entity_ids),
        valid_until=None if until is None else until.isoformat(),
    )


def _told_failed(source: str, error: StafettError) -> None:
    log("saml.metadata_failed", "warning", source=source, code=error.code, detail=error.detail)
