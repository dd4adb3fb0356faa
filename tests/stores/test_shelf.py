"""Typed shelves: a value comes back as it was put there, or not at all."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from broker.core.assurance import Assurance
from broker.core.handoff import Handoff, State
from broker.core.journey import Journey
from broker.core.session import Session
from broker.stores.memory import MemoryState
from broker.stores.ports import Put
from broker.stores.sealing import Sealer
from broker.stores.shelf import TOMBSTONE, Held, Shelf
from tests.core.world import ask, attempt, handoff, journey, session

SEALER = Sealer([bytes(32)], "state")


@dataclass(frozen=True, slots=True)
class Thing:
    """Something to keep."""

    name: str
    at: datetime
    level: Assurance = Assurance.LOW
    inner: Mapping[str, Any] = field(default_factory=dict)
    more: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Other:
    """Something else that has a name."""

    name: str
    count: int


AT = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)
THING = Thing("å", AT, Assurance.HIGH, {"a": [1, None, True, {"b": "c"}]}, ("x", "y"))
THINGS = Shelf("thing", Thing, SEALER)


def stored(shelf: Shelf[Any], name: str, value: Any) -> bytes:
    put = shelf.put(name, value, 60)
    return put.value


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (Thing, THING),
        (Thing, Thing("", AT)),
        (Session, session("bankid", subjects={"shop": "s1"}, sids={"shop": "i1"})),
        (Handoff, handoff(State.STARTED, withheld=("customer.email",), consent="c1", decided_at=AT)),
        (Journey, journey(ask=ask(prompt=("login",), max_age_s=0), attempt=attempt(waits=True, busy_until=AT))),
    ],
)
def test_a_value_comes_back_as_it_was(type_: type, value: object) -> None:
    """Every frozen value the broker remembers: tuples, times to the microsecond, levels, nested payloads."""
    shelf: Shelf[Any] = Shelf("kind", type_, SEALER)
    held = shelf.read("name", stored(shelf, "name", value))
    assert held is not None
    assert held.value == value
    assert type(held.value) is type_


def plain(value: Any) -> bytes:
    return SEALER.seal(msgspec.msgpack.encode(value), "thing:1")


@pytest.mark.parametrize(
    "raw",
    [
        None,
        TOMBSTONE,
        b"",
        b"1",
        b"garbage" * 20,
        msgspec.msgpack.encode(THING),
        stored(THINGS, "2", THING),
        stored(Shelf("session", Thing, SEALER), "1", THING),
        stored(Shelf("thing", Thing, Sealer([bytes(32)], "records")), "1", THING),
        stored(Shelf("thing", Thing, Sealer([bytes(31) + b"x"], "state")), "1", THING),
        stored(THINGS, "1", THING)[:-1],
        stored(THINGS, "1", THING) + b"\0",
        stored(Shelf("thing", Other, SEALER), "1", Other("a", 1)),
        SEALER.seal(b"", "thing:1"),
        SEALER.seal(b"\xc1", "thing:1"),
        plain(None),
        plain([]),
        plain("text"),
        plain({"name": "a"}),
        plain({"name": "a", "at": "yesterday"}),
        plain({"name": 1, "at": AT}),
        plain({"name": "a", "at": AT, "level": "invented"}),
    ],
    ids=[
        "miss", "tombstone", "empty", "marker", "garbage", "not sealed", "of another name", "of another kind",
        "of another use", "of another secret", "cut", "prolonged", "of another type", "nothing", "no MessagePack", "null",
        "list", "text", "field missing", "no time", "field of another type", "unknown level",
    ],
)  # fmt: skip
def test_what_is_not_ours_to_trust_is_a_miss(raw: bytes | None) -> None:
    """Changed, moved, foreign, of an older version or used up: as good as gone, never half a value and never an error."""
    assert THINGS.read("1", raw) is None


def test_a_value_of_a_later_version_is_read() -> None:
    """During a rollout two versions share a store: an unknown member is no reason to throw customers out."""
    raw = plain({"name": "a", "at": AT, "added_later": 1})
    held = THINGS.read("1", raw)
    assert held is not None
    assert held.value == Thing("a", AT)


def test_the_store_sees_keys_and_nothing_else() -> None:
    """Values are sealed; a key is the kind and a name that is no secret."""
    put = THINGS.put("n1", Thing("Maja Lind", AT), 60)
    assert put.key == "thing:n1"
    assert b"Maja" not in put.value
    assert put.ttl_s == 60


@pytest.fixture
def store() -> MemoryState:
    return MemoryState()


async def test_only_who_knows_the_present_value_replaces_it(store: MemoryState) -> None:
    """Of two that read the same, one wins; the loser's value is nowhere."""
    await store.run(THINGS.put("1", THING, 60))
    (raw,) = await store.run(THINGS.get("1"))
    one, other = THINGS.read("1", raw), THINGS.read("1", raw)
    assert one is not None
    assert other is not None
    won = await store.run(
        THINGS.swap("1", one, Thing("first", AT), 60),
        THINGS.swap("1", other, Thing("second", AT), 60),
    )
    assert list(won) == [True, False]
    (raw,) = await store.run(THINGS.get("1"))
    held = THINGS.read("1", raw)
    assert held is not None
    assert held.value.name == "first"


async def test_the_same_value_put_again_is_another_one(store: MemoryState) -> None:
    """Sealing is random, so a swap notices that somebody wrote meanwhile even if the content is the same."""
    await store.run(THINGS.put("1", THING, 60))
    (raw,) = await store.run(THINGS.get("1"))
    held = THINGS.read("1", raw)
    assert held is not None
    await store.run(THINGS.put("1", THING, 60))
    assert list(await store.run(THINGS.swap("1", held, Thing("mine", AT), 60))) == [False]


async def test_a_taken_value_leaves_a_tombstone(store: MemoryState) -> None:
    """Taken once; afterwards it reads as a miss, while the raw answer still tells used from unknown."""
    await store.run(THINGS.put("1", THING, 60))
    first, second, unknown = await store.run(THINGS.take("1", 60), THINGS.take("1", 60), THINGS.take("2", 60))
    held = THINGS.read("1", first)
    assert held is not None
    assert held.value == THING
    assert second == TOMBSTONE
    assert unknown is None
    assert THINGS.read("1", second) is None
    assert list(await store.run(THINGS.put_new("1", THING, 60))) == [False]


async def test_nobody_overwrites_what_is_there(store: MemoryState) -> None:
    """put_new writes if free; a dropped name is free again."""
    assert list(await store.run(THINGS.put_new("1", THING, 60), THINGS.put_new("1", Thing("x", AT), 60))) == [
        True,
        False,
    ]
    assert list(await store.run(THINGS.drop("1"), THINGS.put_new("1", THING, 60))) == [True, True]


async def test_what_is_spent_is_gone(store: MemoryState) -> None:
    """It reads as gone at once, and makes room a moment later."""
    raw, _, spent = await store.run(THINGS.put("9", THING, 60), THINGS.spend("9"), THINGS.get("9"))
    assert (raw, THINGS.read("9", spent)) == (None, None)
    assert THINGS.spend("9").ttl_s <= 1


async def test_a_value_swapped_in_the_store_is_noticed(store: MemoryState) -> None:
    """Whoever can write to the store and exchanges two customers' values makes both disappear, nothing worse."""
    await store.run(THINGS.put("1", Thing("maja", AT), 60), THINGS.put("2", Thing("karl", AT), 60))
    one, two = await store.run(THINGS.get("1"), THINGS.get("2"))
    await store.run(Put("thing:1", two, 60), Put("thing:2", one, 60))
    assert [
        THINGS.read(name, raw)
        for name, raw in zip("12", await store.run(THINGS.get("1"), THINGS.get("2")), strict=True)
    ] == [
        None,
        None,
    ]


def test_a_held_value_shows_what_was_stored() -> None:
    """``raw`` is what a swap compares with, byte for byte."""
    raw = stored(THINGS, "1", THING)
    assert THINGS.read("1", raw) == Held(THING, raw)
