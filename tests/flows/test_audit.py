"""The audit trail: complete and in order as far as the database lets it, and never in the way of a login."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from broker.errors import StafettError, StoreDown
from broker.flows.audit import AuditTrail
from broker.stores.ports import AuditEvent, Records

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
BOUND = 10_000


class Book:
    """Records that note audit events, and what the test wants of them: away, slow, or choosy."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []
        self.is_away = False
        self.refuses = ""
        self.calls = 0
        self.gate: asyncio.Event | None = None

    async def add_audit(self, events: Sequence[AuditEvent]) -> None:
        self.calls += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.is_away:
            raise StoreDown("played to be away")
        if self.refuses and any(event.action == self.refuses for event in events):
            raise StafettError("played to refuse a row", code="records_refused")
        self.events.extend(events)

    @property
    def actions(self) -> list[str]:
        return [event.action for event in self.events]


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def trail(book: Book) -> AuditTrail:
    references: Iterator[str] = iter(f"REF{number}" for number in range(100_000))
    return AuditTrail(cast(Records, book), lambda: NOW, lambda: next(references), interval_s=0)


def write(trail: AuditTrail, *actions: str) -> None:
    for action in actions:
        trail.note(action)


async def test_events_are_written_in_the_order_they_happened(trail: AuditTrail, book: Book) -> None:
    """Also across several writes."""
    write(trail, "a", "b")
    await trail.flush()
    write(trail, "c", "a")
    await trail.flush()
    assert book.actions == ["a", "b", "c", "a"]
    assert book.calls == 2


async def test_an_event_says_when_who_where_and_why(trail: AuditTrail, book: Book) -> None:
    """Time, reference of the request, ids, and the facts as JSON with sorted names."""
    trail.note(
        "handoff.started", customer="c1", partner="garage", rule="shop>garage:fitting", given=("items",), count=1
    )
    await trail.flush()
    event = book.events[0]
    assert (event.at, event.reference, event.customer, event.partner) == (NOW, "REF0", "c1", "garage")
    assert event.facts == '{"count":1,"given":["items"],"rule":"shop>garage:fitting"}'
    assert json.loads(event.facts)["rule"] == "shop>garage:fitting"


async def test_nothing_to_write_asks_nothing(trail: AuditTrail, book: Book) -> None:
    """An idle broker leaves the database alone."""
    await trail.flush()
    assert book.calls == 0


async def test_events_wait_while_the_database_is_away(trail: AuditTrail, book: Book) -> None:
    """Noting never fails; what could not be written is written later, once and in order."""
    book.is_away = True
    write(trail, "a", "b")
    for _ in range(3):
        with pytest.raises(StoreDown):
            await trail.flush()
    write(trail, "c")
    book.is_away = False
    await trail.flush()
    await trail.flush()
    assert book.actions == ["a", "b", "c"]
    assert trail.dropped == 0


async def test_two_that_flush_at_once_write_everything_once(trail: AuditTrail, book: Book) -> None:
    """Neither carries out what the other is at, nor trips over it."""
    done: list[str] = []

    async def bookkeeping() -> None:
        await asyncio.sleep(0)
        done.append("done")

    trail.later(bookkeeping)
    write(trail, "first")
    await asyncio.gather(trail.flush(), trail.flush())
    assert done == ["done"]
    assert book.actions == ["first"]


async def test_waiting_is_bounded_and_the_loss_counted(trail: AuditTrail, book: Book) -> None:
    """A database that stays away does not fill the memory: the oldest go, and how many is known."""
    write(trail, *(f"e{number}" for number in range(BOUND + 5)))
    await trail.flush()
    assert len(book.events) == BOUND
    assert book.actions[0] == "e5"
    assert book.actions[-1] == f"e{BOUND + 4}"
    assert trail.dropped == 5


async def test_what_is_being_written_is_not_mistaken_for_what_waits(trail: AuditTrail, book: Book) -> None:
    """Events that come during a slow write are neither lost nor written twice, even when there are too many to keep."""
    write(trail, "first")
    book.gate = asyncio.Event()
    writing = asyncio.create_task(trail.flush())
    while not book.calls:
        await asyncio.sleep(0)
    write(trail, *(f"e{number}" for number in range(BOUND + 1)))
    book.gate.set()
    await writing
    await trail.flush()
    assert book.actions == ["first", *(f"e{number}" for number in range(1, BOUND + 1))]
    assert trail.dropped == 1


async def test_a_failed_write_keeps_the_bound_as_well(trail: AuditTrail, book: Book) -> None:
    """What comes back from a failed write and what came meanwhile share the room; the oldest go."""
    write(trail, "old-1", "old-2")
    book.is_away, book.gate = True, asyncio.Event()
    writing = asyncio.create_task(trail.flush())
    while not book.calls:
        await asyncio.sleep(0)
    write(trail, *(f"e{number}" for number in range(BOUND - 1)))
    book.gate.set()
    with pytest.raises(StoreDown):
        await writing
    book.is_away = False
    await trail.flush()
    assert book.actions[:2] == ["old-2", "e0"]
    assert len(book.events) == BOUND
    assert trail.dropped == 1


@pytest.mark.parametrize("count", [1, 2, 7, 64])
async def test_an_event_the_database_never_takes_goes_alone(trail: AuditTrail, book: Book, count: int) -> None:
    """One bad row takes no good one with it and does not stop the trail."""
    book.refuses = "bad"
    for at in (0, count // 2, count - 1):
        book.events.clear()
        actions = [f"e{number}" for number in range(count)]
        write(trail, *actions[:at], "bad", *actions[at:])
        dropped = trail.dropped
        await trail.flush()
        assert book.actions == actions
        assert trail.dropped == dropped + 1


async def test_bookkeeping_is_tried_until_the_database_takes_it(trail: AuditTrail) -> None:
    """Small writes beside the requests: in order, each carried out once."""
    done: list[str] = []
    is_away = True

    async def save(what: str) -> None:
        if is_away:
            raise StoreDown("played to be away")
        done.append(what)

    trail.later(lambda: save("a"))
    trail.later(lambda: save("b"))
    for _ in range(2):
        with pytest.raises(StoreDown):
            await trail.flush()
    is_away = False
    await trail.flush()
    await trail.flush()
    assert done == ["a", "b"]


@pytest.mark.parametrize("error", [StafettError("refused", code="records_refused"), TypeError("a bug")])
async def test_bookkeeping_that_is_refused_does_not_block_the_rest(
    trail: AuditTrail, book: Book, error: Exception
) -> None:
    """What will never succeed is dropped and counted; what comes after it is still written."""
    done: list[str] = []

    async def refuse() -> None:
        raise error

    async def save() -> None:
        done.append("saved")

    trail.later(refuse)
    trail.later(save)
    write(trail, "a")
    await trail.flush()
    assert done == ["saved"]
    assert book.actions == ["a"]
    assert trail.dropped == 1


async def test_bookkeeping_that_comes_meanwhile_waits_for_the_next_time(trail: AuditTrail, book: Book) -> None:
    """
    Writes that gather what is there go on gathering while one of them is under way: a busy broker would otherwise write
    a few things at a time without an end, and its events never.
    """
    written: list[int] = []

    async def save() -> None:
        written.append(len(written))
        if len(written) < 5:
            trail.later(save)

    trail.later(save)
    write(trail, "a")
    await trail.flush()
    assert (written, book.actions) == ([0], ["a"])
    await trail.stop()
    assert written == [0, 1, 2, 3, 4]


async def test_bookkeeping_is_bounded(trail: AuditTrail) -> None:
    """Beyond the bound it is not taken, and counted."""

    async def save() -> None:
        pass

    for _ in range(BOUND + 3):
        trail.later(save)
    assert trail.dropped == 3


async def settle(condition: Any) -> None:
    """Let the background task run until *condition* holds."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never happened")


async def test_the_background_goes_on_after_every_trouble(trail: AuditTrail, book: Book) -> None:
    """Neither an outage nor a refused row ends it."""
    trail.start()
    write(trail, "a")
    await settle(lambda: book.actions == ["a"])
    book.is_away = True
    write(trail, "b")
    await settle(lambda: book.calls >= 4)
    book.is_away, book.refuses = False, "bad"
    write(trail, "bad", "c")
    await settle(lambda: book.actions == ["a", "b", "c"])
    await trail.stop()


async def test_stopping_writes_what_waits(trail: AuditTrail, book: Book) -> None:
    """Nothing noted before the end is lost, also when the end comes in the middle of a write."""
    trail.start()
    write(trail, "a")
    book.gate = asyncio.Event()
    await settle(lambda: book.calls == 1)
    write(trail, "b")
    stopping = asyncio.create_task(trail.stop())
    await asyncio.sleep(0)
    book.gate.set()
    await stopping
    assert book.actions == ["a", "b"]


async def test_stopping_without_a_database_ends_all_the_same(trail: AuditTrail, book: Book) -> None:
    """A broker that cannot write its trail can still be stopped, and one that never started as well."""
    book.is_away = True
    write(trail, "a")
    await trail.stop()
    trail.start()
    await trail.stop()
    assert book.events == []
