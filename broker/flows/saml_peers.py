"""
The SAML peers there are, by the metadata sources of the config: found when a message comes or is to be sent, kept fresh
beside the requests, and an alarm in good time when that fails.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, TypeVar

from broker.core.saml import SamlEntity, SamlProvider, SamlService
from broker.core.saml_copies import RETRY, SKEW, CopyState, Standing
from broker.errors import StafettError
from broker.flows.saml_sources import Source
from broker.observe.logging import log

PINNED: Final = "pinned"
_LOOK_EVERY_S: Final = 5.0

T = TypeVar("T", SamlService, SamlProvider)


class SamlPeers:
    """
    All sources of one broker, by their names in the config.

    Args:
        pinned: makes a source of the file that a partner or upstream names in place of a source.
        spread: gives a number from 0 to 1, so that processes started together do not ask together.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        *,
        pinned: Callable[[str], Source],
        clock: Callable[[], datetime],
        spread: Callable[[], float],
    ) -> None:
        self._sources = dict(sources)
        self._named = frozenset(sources)
        self._pinned = pinned
        self._clock = clock
        self._spread = spread
        self._due = dict.fromkeys(self._sources, clock())
        self._alarmed: dict[str, CopyState] = {}
        self._task: asyncio.Task[None] | None = None

    async def entity(self, source: str, entity_id: str) -> SamlEntity | None:
        """
        Whoever is called *entity_id* in *source*, a source of the config or a file; None for nobody.

        Raises:
            UpstreamDown: the source has nothing that may be used, and could not be reached.
        """
        return await self._source(source).find(entity_id)

    async def service(self, source: str, entity_id: str) -> SamlService | None:
        """The service provider of that name; None when it is nobody, or none. Raises: as `entity`."""
        found = await self.entity(source, entity_id)
        return _current(found.service, self._clock()) if found is not None else None

    async def provider(self, source: str, entity_id: str) -> SamlProvider | None:
        """The identity provider of that name; None when it is nobody, or none. Raises: as `entity`."""
        found = await self.entity(source, entity_id)
        return _current(found.provider, self._clock()) if found is not None else None

    def standings(self) -> tuple[Standing, ...]:
        """How each source stands, in the order of the config."""
        return tuple(source.standing() for source in self._sources.values())

    def alarms(self) -> Sequence[str]:
        """The sources an operator should look after, by name; files, whose names are nobody's business, as ``pinned``."""
        ill = [each.source for each in self.standings() if each.needs_care]
        return list(dict.fromkeys(name if name in self._named else PINNED for name in ill))

    def start(self) -> None:
        """Begin to look after the sources."""
        self._task = asyncio.create_task(self._run(), name="saml metadata")

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        for source in self._sources.values():
            await source.close()

    async def look(self) -> None:
        """Renew what is due, one after the other, and raise alarms; what fails is told and tried again."""
        for name, source in tuple(self._sources.items()):
            if self._clock() >= self._due[name]:
                await self._renew(name, source)
        self._watch()

    def pin(self, file: str) -> None:
        """Look after *file* from the beginning, and not only when it is first asked for."""
        self._source(file)

    def _source(self, name: str) -> Source:
        """security: names come from the config only, so that there are no more of them than it has."""
        if name not in self._sources:
            self._sources[name], self._due[name] = self._pinned(name), self._clock()
        return self._sources[name]

    async def _renew(self, name: str, source: Source) -> None:
        try:
            await source.renew()
            period = source.period()
        except StafettError as error:
            self._failed(name, error.code, error.detail)
            period = RETRY
        except Exception as error:
            # Nothing that one source does ends the care for the others.
            self._failed(name, "fault", type(error).__name__)
            period = RETRY
        self._due[name] = self._clock() + period * (0.9 + 0.2 * self._spread())

    @staticmethod
    def _failed(name: str, code: str, detail: str) -> None:
        log("saml.metadata_failed", "warning", source=name, code=code, detail=detail)

    def _watch(self) -> None:
        """Each change for the worse, and the end of it, is told once."""
        for each in self.standings():
            before = self._alarmed.get(each.source, CopyState.GOOD)
            if each.state is before:
                continue
            self._alarmed[each.source] = each.state
            until = None if each.valid_until is None else each.valid_until.isoformat()
            match each.state:
                case CopyState.GOOD:
                    log("saml.metadata_well", source=each.source, valid_until=until)
                case CopyState.EXPIRING:
                    log("saml.metadata_expiring", "warning", source=each.source, valid_until=until)
                case CopyState.EXPIRED | CopyState.MISSING:
                    log("saml.metadata_unusable", "error", source=each.source, state=each.state, valid_until=until)

    async def _run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_EVERY_S)


def _current(role: T | None, now: datetime) -> T | None:
    """A role may end before its entity does."""
    if role is None or (role.valid_until is not None and role.valid_until <= now - SKEW):
        return None
    return role
