"""
Stores with a watch around every round trip: how long each took, by the name of the operation; never keys or values.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from broker.observe.telemetry import Watch
from broker.stores.ports import Op, Records, StateStore


class WatchedState:
    """`StateStore` that does what *inner* does. A run of several operations is a ``batch`` with its parts."""

    def __init__(self, inner: StateStore, watch: Watch) -> None:
        self._inner = inner
        self._watch = watch

    async def run(self, *ops: Op) -> Sequence[Any]:
        """See `StateStore.run`."""
        names = [type(op).__name__.lower() for op in ops]
        with self._watch(names[0]) if len(names) == 1 else self._watch("batch", names):
            return await self._inner.run(*ops)

    async def ping(self) -> None:
        """See `StateStore.ping`."""
        with self._watch("ping"):
            await self._inner.ping()

    async def close(self) -> None:
        """See `StateStore.close`."""
        await self._inner.close()


class _WatchedRecords:
    """Every method of *inner*, looked up once and then kept."""

    def __init__(self, inner: Records, watch: Watch) -> None:
        self._inner = inner
        self._watch = watch

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method, watch = getattr(self._inner, name), self._watch

        async def watched(*args: Any, **named: Any) -> Any:
            with watch(name):
                return await method(*args, **named)

        setattr(self, name, watched)
        return watched


def watched_records(inner: Records, watch: Watch) -> Records:
    """`Records` that do what *inner* does; an operation is the method's name."""
    return cast(Records, _WatchedRecords(inner, watch))
