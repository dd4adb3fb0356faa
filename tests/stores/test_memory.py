"""What is particular about `MemoryState`; the rest is in the contract suite."""

import pytest

from broker.errors import StoreDown
from broker.stores.memory import MemoryState
from broker.stores.ports import Count, Get, Put, PutNew, Take


class HandClock:
    """Monotonic seconds that move only when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_full_store_refuses_instead_of_forgetting() -> None:
    """A forgotten replay guard would be a hole, so new keys are refused and old ones stay."""
    store = MemoryState(max_entries=2)
    await store.run(PutNew("a:1", b"x", 60), PutNew("a:2", b"x", 60))
    for op in (Put("a:3", b"x", 60), PutNew("a:3", b"x", 60), Count("a:3", 60)):
        with pytest.raises(StoreDown, match="full"):
            await store.run(op)
    with pytest.raises(StoreDown, match="full"):
        await store.ping()
    assert list(await store.run(Get("a:1"), Get("a:2"), Get("a:3"))) == [b"x", b"x", None]


async def test_a_full_store_still_changes_and_takes_what_it_has() -> None:
    """Logins under way can be finished, and make room."""
    store = MemoryState(max_entries=1)
    await store.run(Put("a:1", b"x", 60), Put("a:1", b"y", 60))
    assert list(await store.run(Take("a:1", leave=b"used", leave_ttl_s=60), Take("a:1"))) == [b"y", b"used"]
    await store.ping()


async def test_what_expired_makes_room() -> None:
    """Expired keys do not count, at the very moment they expire."""
    clock = HandClock()
    store = MemoryState(clock=clock, max_entries=1)
    await store.run(Put("a:1", b"x", 10))
    clock.now = 9.999
    with pytest.raises(StoreDown):
        await store.run(Put("a:2", b"x", 10))
    clock.now = 10
    assert list(await store.run(Get("a:1"), PutNew("a:2", b"x", 10))) == [None, True]


async def test_a_key_written_again_and_again_takes_no_more_room() -> None:
    """A busy counter or journey must not grow the store behind the scenes."""
    store = MemoryState()
    for n in range(10_000):
        await store.run(Put("a:1", str(n).encode(), 86_400), Take("a:1", leave=b"used", leave_ttl_s=86_400))
    assert len(store._deadlines) < 200


async def test_a_closed_store_is_down() -> None:
    """Requests that outlive the shutdown get an error, and nothing is kept."""
    store = MemoryState()
    await store.run(Put("a:1", b"x", 60))
    await store.close()
    with pytest.raises(StoreDown):
        await store.run(Get("a:1"))
