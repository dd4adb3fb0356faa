"""One suite for every `StateStore`: what journeys, codes, handoffs and replay guards rely on."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from broker.stores.memory import MemoryState
from broker.stores.ports import Count, Delist, Drop, Enlist, Get, Listed, Op, Put, PutNew, StateStore, Swap, Take
from broker.stores.redis import RedisState

MINUTE = 60.0
SHORT = 0.03


@dataclass
class Subject:
    """A store under test, and how time passes in it."""

    store: StateStore
    pass_time: Callable[[float], Awaitable[None]]


class HandClock:
    """Monotonic seconds that move only when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["memory", "redis", "valkey"])
def url(request: pytest.FixtureRequest) -> str | None:
    return None if request.param == "memory" else str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
async def subject(url: str | None) -> AsyncIterator[Subject]:
    """An empty store."""
    clock = HandClock()

    async def wind(seconds: float) -> None:
        clock.now += seconds

    store = MemoryState(clock=clock) if url is None else RedisState(url, timeout_s=30)
    yield Subject(store, wind if url is None else asyncio.sleep)
    await store.close()


@pytest.fixture
def store(subject: Subject) -> StateStore:
    return subject.store


async def one(store: StateStore, op: Op) -> object:
    (result,) = await store.run(op)
    return result


async def gone_within(subject: Subject, key: str, seconds: float) -> bool:
    """Whether *key* vanishes by itself; real servers are asked again and again, at most a second longer."""
    await subject.pass_time(seconds)
    deadline = time.monotonic() + 1
    while await one(subject.store, Get(key)) is not None:
        if time.monotonic() > deadline or isinstance(subject.store, MemoryState):
            return False
        await asyncio.sleep(0.002)
    return True


async def test_a_key_that_never_was_is_a_miss_for_every_operation(store: StateStore) -> None:
    """A miss is a value, never an error."""
    results = await store.run(
        Get("a:1"),
        Take("a:1"),
        Take("a:1", leave=b"used", leave_ttl_s=MINUTE),
        Swap("a:1", b"", b"x", MINUTE),
        Drop("a:1"),
    )
    assert list(results) == [None, None, None, False, False]
    assert await one(store, Get("a:1")) is None


async def test_put_overwrites_and_get_reads_as_often_as_asked(store: StateStore) -> None:
    """Put writes whatever was there before; Get changes nothing."""
    results = await store.run(Put("a:1", b"old", MINUTE), Put("a:1", b"new", MINUTE), Get("a:1"), Get("a:1"))
    assert list(results) == [None, None, b"new", b"new"]


@pytest.mark.parametrize(
    "value",
    [b"", b"\x00", b"a\x00b\r\n$3\r\n", bytes(range(256)), b"\xff" * 100_000],
    ids=["empty", "nul", "protocol", "all-bytes", "large"],
)
async def test_values_come_back_byte_for_byte(store: StateStore, value: bytes) -> None:
    """Values are bytes, whatever they hold, through every operation that reads or compares them."""
    assert list(await store.run(PutNew("b:1", value, MINUTE), Get("b:1"))) == [True, value]
    assert await one(store, Swap("b:1", value, value + b"\x00", MINUTE)) is True
    assert await one(store, Take("b:1", leave=value, leave_ttl_s=MINUTE)) == value + b"\x00"
    assert await one(store, Take("b:1")) == value


async def test_reading_may_prolong(subject: Subject) -> None:
    """Read with a lifetime, a value has that from then on, longer or shorter; what is not there is not made."""
    results = await subject.store.run(
        Put("b:2", b"x", SHORT), Get("b:2", renew_s=MINUTE), Put("b:3", b"y", MINUTE), Get("b:3", renew_s=SHORT)
    )
    assert list(results) == [None, b"x", None, b"y"]
    assert await gone_within(subject, "b:3", SHORT)
    assert list(await subject.store.run(Get("b:2"), Get("b:4", renew_s=MINUTE), Get("b:4"))) == [b"x", None, None]


async def test_put_new_writes_only_where_nothing_is(store: StateStore) -> None:
    """The second writer is told so, and changes neither value nor lifetime."""
    results = await store.run(PutNew("c:1", b"first", MINUTE), PutNew("c:1", b"second", MINUTE), Get("c:1"))
    assert list(results) == [True, False, b"first"]


async def test_put_new_loser_does_not_prolong(subject: Subject) -> None:
    """A replayed id cannot keep its own guard alive."""
    await subject.store.run(PutNew("c:2", b"x", SHORT), PutNew("c:2", b"y", MINUTE))
    assert await gone_within(subject, "c:2", SHORT)


async def test_a_taken_value_is_gone(store: StateStore) -> None:
    """One-time means one time."""
    assert list(await store.run(Put("d:1", b"x", MINUTE), Take("d:1"), Take("d:1"))) == [None, b"x", None]


async def test_a_tombstone_tells_used_from_never_was(store: StateStore) -> None:
    """Whoever comes second gets the tombstone; a key that never was leaves none."""
    await store.run(Put("d:2", b"x", MINUTE))
    take = Take("d:2", leave=b"used", leave_ttl_s=MINUTE)
    assert list(await store.run(take, take, Get("d:2"))) == [b"x", b"used", b"used"]
    assert list(await store.run(Take("d:3", leave=b"used", leave_ttl_s=MINUTE), Get("d:3"))) == [None, None]


async def test_a_tombstone_has_its_own_lifetime(subject: Subject) -> None:
    """It goes when its own time is over, however long the value might have lived."""
    await subject.store.run(Put("d:4", b"x", MINUTE), Take("d:4", leave=b"used", leave_ttl_s=SHORT))
    assert await gone_within(subject, "d:4", SHORT)


async def test_an_empty_tombstone_is_a_tombstone(store: StateStore) -> None:
    """Empty bytes are not None."""
    await store.run(Put("d:5", b"x", MINUTE), Take("d:5", leave=b"", leave_ttl_s=MINUTE))
    assert await one(store, Get("d:5")) == b""


@pytest.mark.parametrize("stale", [b"other", b"", b"valu", b"value "], ids=["other", "empty", "shorter", "longer"])
async def test_swap_refuses_any_other_value(store: StateStore, stale: bytes) -> None:
    """Only exactly the old value is replaced."""
    await store.run(Put("e:1", b"value", MINUTE))
    assert list(await store.run(Swap("e:1", stale, b"new", MINUTE), Get("e:1"))) == [False, b"value"]


async def test_swap_never_creates(store: StateStore) -> None:
    """A journey that expired stays expired."""
    assert list(await store.run(Swap("e:2", b"", b"new", MINUTE), Get("e:2"))) == [False, None]


async def test_swap_sets_the_new_lifetime(subject: Subject) -> None:
    """The lifetime is the one given with the new value, and a refused swap changes nothing."""
    await subject.store.run(Put("e:3", b"a", MINUTE), Swap("e:3", b"a", b"b", SHORT), Swap("e:3", b"a", b"c", MINUTE))
    assert await gone_within(subject, "e:3", SHORT)


async def test_swap_does_nothing_while_something_is_in_its_way(subject: Subject) -> None:
    """Looked for in the same step, whatever is stored there; from when that is gone, or where it never was, as ever."""
    store = subject.store
    await store.run(Put("e:4", b"a", MINUTE), Put("e:5", b"", SHORT))
    blocked, free = (Swap("e:4", b"a", b"b", MINUTE, unless=key) for key in ("e:5", "e:6"))
    assert list(await store.run(blocked, Get("e:4"))) == [False, b"a"]
    assert list(await store.run(free, Get("e:4"), Put("e:4", b"a", MINUTE))) == [True, b"b", None]
    assert await gone_within(subject, "e:5", SHORT)
    assert list(await store.run(blocked, blocked, Get("e:4"))) == [True, False, b"b"]
    assert await one(store, Swap("e:4", b"b", b"c", MINUTE, unless="e:4")) is False


async def test_put_does_nothing_while_something_is_in_its_way(store: StateStore) -> None:
    """As a swap; its result tells nothing, and bad keys are refused as anywhere."""
    blocked, free = (Put("e:7", b"a", MINUTE, unless=key) for key in ("e:8", "e:9"))
    assert list(await store.run(Put("e:8", b"", MINUTE), blocked, Get("e:7"))) == [None, None, None]
    assert list(await store.run(free, Get("e:7"), Drop("e:8"), blocked)) == [None, b"a", True, None]
    for op in (Put("e:7", b"b", MINUTE, unless=""), Swap("e:7", b"a", b"b", MINUTE, unless="k:å")):
        with pytest.raises(ValueError, match="keys"):
            await store.run(op)
    assert await one(store, Get("e:7")) == b"a"


async def test_drop_says_whether_it_was_there(store: StateStore) -> None:
    """Dropping twice is no error."""
    assert list(await store.run(Put("f:1", b"x", MINUTE), Drop("f:1"), Drop("f:1"), Get("f:1"))) == [
        None,
        True,
        False,
        None,
    ]


async def test_count_counts_and_starts_anew_after_its_window(subject: Subject) -> None:
    """The window begins at the first count; later counts do not prolong it, or a limit would never end."""
    window = Count("g:1", SHORT)
    first = await subject.store.run(window, window, window)
    assert list(first) == [1, 2, 3]
    assert await gone_within(subject, "g:1", SHORT)
    assert await one(subject.store, window) == 1


async def test_count_keeps_the_first_window(subject: Subject) -> None:
    """A later count with a longer window does not lengthen the running one."""
    await subject.store.run(Count("g:2", SHORT), Count("g:2", MINUTE))
    assert await gone_within(subject, "g:2", SHORT)


async def test_a_list_holds_each_member_once(store: StateStore) -> None:
    """Members come and go in one batch with everything else; who is not on it is not taken off."""
    results = await store.run(
        Listed("p:1"),
        Enlist("p:1", "one", MINUTE, 5),
        Enlist("p:1", "two", 2 * MINUTE, 5),
        Enlist("p:1", "one", MINUTE, 5),
        Listed("p:1"),
        Delist("p:1", "one"),
        Delist("p:1", "one"),
        Delist("p:2", "one"),
        Listed("p:1"),
        Delist("p:1", "two"),
        Listed("p:1"),
    )
    assert list(results) == [(), (), (), (), ("one", "two"), True, False, False, ("two",), True, ()]


async def test_a_list_is_bounded(store: StateStore) -> None:
    """A customer with a thousand browsers does not fill the store; those that would leave soonest go."""
    await store.run(*(Enlist("p:3", f"m{number:02}", MINUTE + number, 3) for number in range(20)))
    assert await one(store, Listed("p:3")) == ("m17", "m18", "m19")


async def test_who_falls_off_a_list_is_told_and_dropped_in_one_step(store: StateStore) -> None:
    """What it names is gone with it, other keys are not; who is renewed pushes nobody off."""
    puts = [Put(f"p11:m{number}", b"x", MINUTE) for number in range(4)]
    await store.run(*puts, *(Enlist("p:10", f"m{number}", MINUTE + number, 3, "p11:") for number in range(3)))
    results = await store.run(
        Enlist("p:10", "m1", MINUTE + 1, 3, "p11:"),
        Enlist("p:10", "m3", MINUTE + 3, 3, "p11:"),
        Listed("p:10"),
        *(Get(f"p11:m{number}") for number in range(4)),
        Enlist("p:10", "m4", MINUTE + 4, 1),
        Get("p11:m3"),
    )
    assert list(results) == [(), ("m0",), ("m1", "m2", "m3"), None, b"x", b"x", b"x", ("m1", "m2", "m3"), b"x"]


async def test_a_new_member_is_not_the_one_that_falls_off(store: StateStore) -> None:
    """Though it would leave soonest: times to live were longer when the others came."""
    results = await store.run(
        *(Enlist("p:12", f"m{number}", 2 * MINUTE + number, 2) for number in range(2)),
        Enlist("p:12", "new", MINUTE, 2),
        Listed("p:12"),
    )
    assert list(results) == [(), (), ("m0",), ("new", "m1")]


async def test_whose_time_is_over_does_not_fall_off(subject: Subject) -> None:
    """It had left before."""
    await subject.store.run(Enlist("p:13", "short", SHORT, 1), Put("p:14", b"x", SHORT))
    assert await gone_within(subject, "p:14", SHORT)
    await subject.pass_time(SHORT)
    assert await one(subject.store, Enlist("p:13", "next", MINUTE, 1)) == ()


async def test_a_list_forgets_whose_time_is_over(subject: Subject) -> None:
    """The next one to come clears up, and a list nobody is on any more is gone by itself."""
    await subject.store.run(Enlist("p:4", "short", SHORT, 5), Enlist("p:5", "short", SHORT, 5), Put("p:6", b"x", SHORT))
    assert await gone_within(subject, "p:6", SHORT)
    await subject.pass_time(SHORT)
    assert list(await subject.store.run(Enlist("p:4", "long", MINUTE, 5), Listed("p:4"))) == [(), ("long",)]
    assert await one(subject.store, Listed("p:5")) == ()


async def test_renewing_a_member_keeps_it(subject: Subject) -> None:
    """A session that goes on stays on the list."""
    await subject.store.run(Enlist("p:7", "a", SHORT, 5), Enlist("p:7", "a", MINUTE, 5), Put("p:8", b"x", SHORT))
    assert await gone_within(subject, "p:8", SHORT)
    assert list(await subject.store.run(Enlist("p:7", "b", MINUTE, 5), Listed("p:7")))[1] == ("a", "b")


@pytest.mark.parametrize(("member", "most"), [("", 1), ("å", 1), ("x" * 201, 1), ("x", 0)])
async def test_strange_members_are_refused(store: StateStore, member: str, most: int) -> None:
    """As keys are."""
    with pytest.raises(ValueError, match="members"):
        await store.run(Enlist("p:9", member, MINUTE, most))


@pytest.mark.parametrize("op", [Put("h:1", b"x", SHORT), PutNew("h:1", b"x", SHORT)], ids=["Put", "PutNew"])
async def test_values_expire(subject: Subject, op: Op) -> None:
    """A time to live is kept, and the key is then free again."""
    await subject.store.run(op)
    assert await gone_within(subject, "h:1", SHORT)
    assert await one(subject.store, PutNew("h:1", b"y", MINUTE)) is True


async def test_put_replaces_the_lifetime(subject: Subject) -> None:
    """A longer second write survives the end of the first."""
    await subject.store.run(Put("h:2", b"x", SHORT), Put("h:2", b"y", MINUTE), Put("h:3", b"x", SHORT))
    assert await gone_within(subject, "h:3", SHORT)
    assert await one(subject.store, Get("h:2")) == b"y"


async def test_an_expired_value_cannot_be_taken_swapped_or_dropped(subject: Subject) -> None:
    """Expiry is a miss for every operation, not only for reading."""
    await subject.store.run(Put("h:4", b"x", SHORT))
    assert await gone_within(subject, "h:4", SHORT)
    results = await subject.store.run(Take("h:4"), Swap("h:4", b"x", b"y", MINUTE), Drop("h:4"))
    assert list(results) == [None, False, False]


async def test_a_batch_runs_in_order_and_answers_in_order(store: StateStore) -> None:
    """Each operation sees what the ones before it in the batch did."""
    results = await store.run(
        Put("i:1", b"a", MINUTE),
        Swap("i:1", b"a", b"b", MINUTE),
        Get("i:1"),
        Count("i:2", MINUTE),
        PutNew("i:1", b"c", MINUTE),
        Take("i:1"),
        PutNew("i:1", b"d", MINUTE),
        Drop("i:1"),
        Count("i:2", MINUTE),
    )
    assert list(results) == [None, True, b"b", 1, False, b"b", True, True, 2]


async def test_an_empty_batch_does_nothing(store: StateStore) -> None:
    """No operations, no results."""
    assert list(await store.run()) == []


async def test_ping_returns_when_reads_and_writes_work(store: StateStore) -> None:
    """And says nothing."""
    await store.ping()


async def test_closing_twice_is_fine(store: StateStore) -> None:
    """Shutdown paths may meet."""
    await store.close()
    await store.close()


@pytest.mark.parametrize("ttl_s", [0, -1, float("inf"), float("nan")])
@pytest.mark.parametrize(
    "make",
    [
        lambda ttl_s: Get("j:1", renew_s=ttl_s),
        lambda ttl_s: Put("j:1", b"x", ttl_s),
        lambda ttl_s: PutNew("j:1", b"x", ttl_s),
        lambda ttl_s: Swap("j:1", b"x", b"y", ttl_s),
        lambda ttl_s: Take("j:1", leave=b"used", leave_ttl_s=ttl_s),
        lambda ttl_s: Count("j:1", ttl_s),
        lambda ttl_s: Enlist("j:1", "x", ttl_s, 1),
    ],
    ids=["Get", "Put", "PutNew", "Swap", "Take", "Count", "Enlist"],
)
async def test_nothing_may_stay_for_ever(store: StateStore, make: Callable[[float], Op], ttl_s: float) -> None:
    """
    A time to live is finite and above zero; the mistake is ours, and nothing of the batch is carried out.
    """
    with pytest.raises(ValueError, match="time to live"):
        await store.run(Put("j:2", b"x", MINUTE), make(ttl_s))
    assert await one(store, Get("j:2")) is None


@pytest.mark.parametrize("key", ["", "k:å", "k:" + "x" * 199], ids=["empty", "not-ascii", "too-long"])
async def test_strange_keys_are_refused(store: StateStore, key: str) -> None:
    """Keys are short ASCII; anything else is a mistake of ours, found in every store alike."""
    with pytest.raises(ValueError, match="keys"):
        await store.run(Get(key))


@pytest.mark.parametrize(
    ("before", "op", "won", "lost"),
    [
        (b"code", Take("k:1"), b"code", None),
        (b"code", Take("k:1", leave=b"used", leave_ttl_s=MINUTE), b"code", b"used"),
        (None, PutNew("k:1", b"x", MINUTE), True, False),
        (b"old", Swap("k:1", b"old", b"new", MINUTE), True, False),
        (b"x", Drop("k:1"), True, False),
    ],
    ids=["Take", "Take-leave", "PutNew", "Swap", "Drop"],
)
async def test_of_fifty_at_once_exactly_one_wins(
    store: StateStore, before: bytes | None, op: Op, won: object, lost: object
) -> None:
    """
    The promise behind codes, references and replay guards: one winner, forty-nine who know they are not.
    """
    for _ in range(5):
        await store.run(Drop("k:1"))
        if before is not None:
            await store.run(Put("k:1", before, MINUTE))
        results = await asyncio.gather(*(one(store, op) for _ in range(50)))
        assert results.count(won) == 1
        assert results.count(lost) == 49


async def test_fifty_counts_at_once_lose_none(store: StateStore) -> None:
    """Every caller gets a number of its own."""
    counts = await asyncio.gather(*(one(store, Count("l:1", MINUTE)) for _ in range(50)))
    assert sorted(map(str, counts)) == sorted(map(str, range(1, 51)))


async def test_hundreds_at_once_each_get_their_own_answer(store: StateStore) -> None:
    """More callers than connections wait their turn; no answer goes to somebody else."""

    async def write_then_read(number: int) -> bool:
        mine = str(number).encode()
        _, read = await store.run(Put(f"m:{number}", mine, MINUTE), Get(f"m:{number}"))
        return bool(read == mine) and await one(store, Take(f"m:{number}")) == mine

    assert all(await asyncio.gather(*(write_then_read(number) for number in range(300))))


@pytest.mark.parametrize("seed", range(4))
async def test_any_sequence_gives_what_the_simplest_store_gives(store: StateStore, seed: int) -> None:
    """A thousand random operations on three keys: every store answers as a dict would."""
    chance, model = random.Random(seed), MemoryState()

    def some_op() -> Op:
        key, value = chance.choice(["n:1", "n:2", "n:3"]), chance.choice([b"", b"a", b"\x00", b"used"])
        make = [
            Get(key),
            Put(key, value, MINUTE),
            Put(key, value, MINUTE, unless=chance.choice(["n:1", "n:4"])),
            PutNew(key, value, MINUTE),
            Take(key),
            Take(key, leave=b"used", leave_ttl_s=MINUTE),
            Swap(key, chance.choice([b"", b"a", b"used"]), value, MINUTE),
            Swap(key, chance.choice([b"", b"a", b"used"]), value, MINUTE, unless=chance.choice(["n:1", "n:4"])),
            Drop(key),
            Count("n:count", MINUTE),
        ]
        return chance.choice(make)

    for _ in range(100):
        batch = [some_op() for _ in range(chance.randint(1, 20))]
        assert list(await store.run(*batch)) == list(await model.run(*batch)), batch
