"""
What all processes remember of a code that was sent: how often it was tried, and what became of its message.

The code itself is kept (as a keyed digest) with the login it is for, and is gone with it.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct

from broker.core.membership import OnFile
from broker.flows.context import Context
from broker.flows.limits import TRIES_PER_CODE, Limits
from broker.stores.ports import Get, Put

_TOLD_S: Final = 15 * 60.0
"""How long it is known what became of a message: longer than any code lives."""


_NOBODY: Final = OnFile("", "")


class Fate(StrEnum):
    """What became of a message."""

    SENT = "sent"
    """Somebody took it on, or may have."""
    UNDELIVERABLE = "undeliverable"
    """This address or number cannot be written to."""
    UNSENT = "unsent"
    """It did not go out, which is our matter."""


class Tried(Struct, frozen=True):
    """
    A code is about to be tried, and was counted. ``count``: tries of this code, this one included. ``is_void``: there were too
    many. ``is_refused``: too many for this address or from this network, whichever the code. ``fate``: of its message, if known.
    """

    count: int
    is_void: bool
    is_refused: bool
    fate: Fate | None


class Codes:
    """One per way of sending codes."""

    def __init__(self, context: Context, limits: Limits) -> None:
        self._state = context.state
        self._on_file = context.shelves.on_file
        self._limits = limits

    async def tried(self, code: str, address: str, network: str) -> Tried:
        """
        Count a try of *code* (its id).

        security: before anything is compared, and in the store that all processes share: of many at once only so many count.
        """
        count, *others, told = await self._state.run(*self._limits.tries(code, address, network), Get(_key(code)))
        may = self._limits.may_try(count, *others)
        return Tried(count, count > TRIES_PER_CODE, not may, _fate(told))

    async def tried_by_number(
        self, code: str, number: str, network: str, canonical: Callable[[str], str]
    ) -> tuple[Tried, OnFile | None]:
        """
        As `tried`, of a code that went to whoever the member *number* is of; and what `file` kept, None where it went to nobody.

        Args:
            canonical: makes of a contact on file what it is counted by.

        security: for nobody the same is asked and counted as for somebody, so that neither what she reads nor how long it takes
        says which it is. Too many tries for the contact on file void the code in silence.
        """
        shelf = self._on_file
        count, *others, raw = await self._state.run(
            *self._limits.tries_by_number(code, number, network), shelf.get(code)
        )
        filed = held.value if (held := shelf.read(code, raw)) is not None else _NOBODY
        (of_address,) = await self._state.run(self._limits.tries_on_file(canonical(filed.contact or number)))
        tried = Tried(count, count > TRIES_PER_CODE, not self._limits.may_try(count, *others), None)
        return tried, filed if filed.contact and self._limits.may_try_on_file(of_address) else None

    async def file(self, code: str, on_file: OnFile | None) -> None:
        """Keep whom *code* goes to, before it goes, for as long as a code may live; the same is done where it goes to nobody."""
        await self._state.run(self._on_file.put(code, on_file or _NOBODY, _TOLD_S))

    async def filed(self, code: str) -> OnFile | None:
        """What `file` kept."""
        (raw,) = await self._state.run(self._on_file.get(code))
        held = self._on_file.read(code, raw)
        return held.value if held is not None and held.value.contact else None

    async def tell(self, code: str, fate: Fate) -> None:
        """The message of *code* came to that."""
        await self._state.run(Put(_key(code), fate.value.encode(), _TOLD_S))

    async def fate(self, code: str) -> Fate | None:
        """What became of the message of *code*; None while nobody knows."""
        (told,) = await self._state.run(Get(_key(code)))
        return _fate(told)


def _key(code: str) -> str:
    return f"told:{code}"


def _fate(told: Any) -> Fate | None:
    return Fate(told.decode()) if isinstance(told, bytes) else None
