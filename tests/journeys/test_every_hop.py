"""
A store fails at every hop: in bounded time a clear answer with its reference, nothing half done, and it works again by itself.

Redis and PostgreSQL are real ones. One outage meets everybody at once, each before another hop; and for every hop, every round
trip it makes to Redis fails once before Redis hears it and once after Redis carried it out.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from broker.errors import StoreDown
from broker.stores.memory import MemoryState
from broker.stores.migrate import migrate
from broker.stores.ports import Op, Put
from broker.stores.redis import RedisState
from broker.stores.sql import SqlRecords
from tests.downstream.service import open_services
from tests.downstream.test_refresh_and_par import REFRESHING
from tests.journeys.hops import HOPS, Cast, Hop, at_provider
from tests.journeys.middleman import Failing, Middleman, between
from tests.journeys.test_refusals import has_a_way_on, no_session_made
from tests.journeys.test_stores_down import is_clear_json, is_clear_page
from tests.servers import PostgresServer, RedisServer, redis_program
from tests.stage import Answer

PATIENCE_S = 1.0
"""What this broker grants a round trip to Redis."""
HANGS_S = 20.0
"""Nothing took this long: the answer came because the broker gave up by itself, not because the store came back."""

ALL = {make.__name__ for make in HOPS}

READ_ONLY = {"userinfo", "status", "read_data", "shared"}
MAY_NEED_RECORDS = {
    "callback",
    "consent",
    "create",
    "open_link",
    "agree",
    "acknowledge",
    "depot_acknowledge",
    "shared",
    "withdraw",
    "decline",
    "garage_authorize",
    "depot_confirm",
}
MOST_TRIPS = 20


@pytest_asyncio.fixture
async def cast(
    prepared_stage: Path, redis_url: str, redis_server: RedisServer
) -> AsyncIterator[tuple[Cast, Middleman]]:
    """A broker with little patience, and a line to Redis that can fail."""
    async with between(redis_server.socket_path) as (middleman, url):
        state = RedisState(url, timeout_s=PATIENCE_S, connect_timeout_s=PATIENCE_S)
        async with open_services(prepared_stage, state=state, **REFRESHING) as services:
            people = Cast(services)
            yield people, middleman
            people.leave()


def is_clear(hop: Hop, answer: Answer) -> bool:
    """What is told: a page, JSON, or at the partner; never a success and never a wrong reason."""
    if hop.refused is not None:
        return hop.refused(answer)
    if hop.kind == "silent":
        return answer.query.get("error") == "temporarily_unavailable" and "code" not in answer.query
    return is_clear_page(answer) if hop.kind == "page" else is_clear_json(answer)


async def during(hops: dict[str, Hop]) -> set[str]:
    """Everybody tries, at once; the names of those who got on. The others were told clearly, in bounded time."""
    got_on = set()
    answers = await asyncio.wait_for(asyncio.gather(*(hop.go() for hop in hops.values())), HANGS_S)
    for (name, hop), answer in zip(hops.items(), answers, strict=True):
        if hop.arrives(answer):
            got_on.add(name)
        else:
            assert is_clear(hop, answer), (name, answer.status)
    return got_on


async def afterwards(hops: dict[str, Hop], *, lost: Collection[str] = (), is_forgotten: bool = False) -> None:
    """
    The same again succeeds; what was carried out before is answered as that. Nothing happened twice.

    Args:
        lost: hops where something may have been carried out and not heard of: starting again may be what leads to the end.
        is_forgotten: Redis came back empty: likewise, everywhere.
    """
    for name, hop in hops.items():
        if hop.is_once and hop.arrivals:
            assert (await hop.go()).status == 400, name
        else:
            again = await hop.go()
            if not hop.arrives(again):
                assert name in lost or is_forgotten, (name, again.status, again.location, again.text[:3000])
                assert again.status < 500, (name, again.text[:3000])
                anew = await hop.go(hop.anew)
                assert hop.arrives(anew), (name, anew.status, anew.location, anew.text[:3000])
        assert not hop.is_once or hop.arrivals == 1, name
        if hop.after is not None and not is_forgotten:
            await hop.after()


async def prepared(people: Cast) -> dict[str, Hop]:
    return {make.__name__: await make(people) for make in HOPS}


# One outage, everybody in the middle of something


async def test_redis_is_slow(cast: tuple[Cast, Middleman]) -> None:
    """Within the bound it is only slow: everybody gets on, nothing is asked twice."""
    people, line = cast
    hops = await prepared(people)
    line.fail(Failing.SLOW)
    assert await during(hops) == ALL


async def test_redis_answers_too_late(cast: tuple[Cast, Middleman]) -> None:
    """Carried out, and answered when nobody waits any more: told in time, and late answers reach nobody."""
    people, line = cast
    hops = await prepared(people)
    line.fail(Failing.LATE)
    assert await during(hops) == set()
    line.heal()
    await afterwards(hops, lost=ALL)


async def test_redis_restarts_and_remembers(prepared_stage: Path) -> None:
    """Killed, and back with what it had: the same again, at every hop, and it works."""
    with RedisServer(redis_program(), ("--appendonly", "yes", "--appendfsync", "always")) as server:
        async with open_services(prepared_stage, state=RedisState(server.url), **REFRESHING) as services:
            people = Cast(services)
            hops = await prepared(people)
            server.stop()
            assert await during(hops) == set()
            server.start()
            await afterwards(hops)
            people.leave()


async def test_redis_restarts_empty(cast: tuple[Cast, Middleman], redis_server: RedisServer) -> None:
    """Nobody meets an error of ours, and starting again leads to the end."""
    people, _ = cast
    hops = await prepared(people)
    redis_server.stop()
    assert await during(hops) == set()
    redis_server.start()
    await afterwards(hops, is_forgotten=True)


async def test_redis_becomes_a_replica(cast: tuple[Cast, Middleman], redis_server: RedisServer) -> None:
    """What only reads goes on; the rest is told, and works when it is the master again."""
    people, _ = cast
    hops = await prepared(people)
    redis_server.ask("REPLICAOF 127.0.0.1 1")
    try:
        got_on = await during(hops)
    finally:
        redis_server.ask("REPLICAOF NO ONE")
    assert got_on == READ_ONLY
    await afterwards(hops)


async def test_redis_is_full(cast: tuple[Cast, Middleman], redis_server: RedisServer) -> None:
    """`noeviction`: what reads or forgets goes on, the rest is told and has forgotten nothing meanwhile."""
    people, _ = cast
    hops = await prepared(people)
    redis_server.ask("CONFIG SET maxmemory 1")
    try:
        got_on = await during(hops)
    finally:
        redis_server.ask("CONFIG SET maxmemory 0")
    assert READ_ONLY <= got_on <= READ_ONLY | {"log_out", "log_out_by_hint"}
    await afterwards(hops)


async def test_the_database_stops(
    prepared_stage: Path, postgres_server: PostgresServer, postgres_url: str, redis_url: str
) -> None:
    """A PostgreSQL that died and came back: whoever needs it is told and gets on afterwards, everybody else at once."""
    await migrate(postgres_url)
    state, records = RedisState(redis_url), SqlRecords(postgres_url)
    async with open_services(prepared_stage, state=state, records=records, **REFRESHING) as services:
        people = Cast(services)
        hops = await prepared(people)
        # The tests' server answers before it writes; a real one does not.
        postgres_server.execute("CHECKPOINT")
        postgres_server.stop()
        got_on = await during(hops)
        postgres_server.start()
        assert {"callback", "consent", "agree", "shared", "withdraw"} <= ALL - got_on <= MAY_NEED_RECORDS
        # The provider's answer is used up: she chooses again.
        await afterwards(hops, lost={"callback"})
        people.leave()


# Every round trip of every hop


@pytest.mark.parametrize("how", [Failing.UNASKED, Failing.UNHEARD])
@pytest.mark.parametrize("make", HOPS, ids=lambda make: make.__name__)
async def test_at_each_round_trip(
    cast: tuple[Cast, Middleman], make: Callable[[Cast], Awaitable[Hop]], how: Failing
) -> None:
    """Redis dies there, before it heard or before it answered: told clearly, and in the end it happened once."""
    people, line = cast
    for passed in range(MOST_TRIPS):
        hop = await make(people)
        line.fail(how, after=passed)
        answer = await asyncio.wait_for(hop.go(), HANGS_S)
        made = line.requests
        line.heal()
        if made <= passed:
            assert hop.arrives(answer)
            assert passed > 0
            return
        assert is_clear(hop, answer), (passed, answer.status, answer.location, answer.text[:3000])
        await afterwards({make.__name__: hop}, lost=ALL if passed or how is Failing.UNHEARD else ())
    raise AssertionError("no end of round trips")


@pytest.mark.parametrize("how", [Failing.UNASKED, Failing.UNHEARD])
async def test_a_login_that_breaks_off_logs_nobody_out(cast: tuple[Cast, Middleman], how: Failing) -> None:
    """Who was logged in stays so; only where the old session ended and that answer got lost she logs in anew."""
    people, line = cast
    stays = []
    for passed in range(MOST_TRIPS):
        customer = await people.logged_in()
        address = await at_provider(customer)
        line.fail(how, after=passed)
        answer = await customer.browser.get(address)
        line.heal()
        if "code" in answer.query:
            break
        stays.append("code" in (await customer.browser.get(people.stage.shop.request(prompt="none"))).query)
    assert len(stays) > 2
    assert stays.count(False) == (1 if how is Failing.UNHEARD else 0)


class Overtaken(MemoryState):
    """A store where somebody else is faster, right before a new session is put into it."""

    first: Callable[[], Awaitable[object]] | None = None

    async def run(self, *ops: Op) -> Sequence[Any]:
        if self.first is not None and any(isinstance(op, Put) and op.key.startswith("session:") for op in ops):
            first, self.first = self.first, None
            await first()
        return await super().run(*ops)


async def test_a_login_that_another_tab_overtakes_logs_nobody_out(prepared_stage: Path) -> None:
    """The slower tab opens no session and ends none."""
    store = Overtaken()
    async with open_services(prepared_stage, state=store) as services:
        people = Cast(services)
        customer = await people.logged_in()
        browser, shop = customer.browser, people.stage.shop
        address = await at_provider(customer)
        tab = browser.copy()

        async def faster() -> None:
            await tab.follow(await tab.get(f"/j/{address.partition('state=')[2].partition('.')[0]}"))
            await tab.press("method-bankid")

        store.first = faster
        overtaken = await browser.get(address)
        assert store.first is None
        assert overtaken.status == 410
        assert has_a_way_on(overtaken)
        assert no_session_made(overtaken)
        assert "code" in (await browser.get(shop.request(prompt="none"))).query
        people.leave()


# Every call to the database


class Fragile:
    """Records that fail at one call of the request under test, and at all after it; background work goes on."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self._how: Failing | None = None
        self._good = self.calls = 0
        self._task: object = None

    def fail(self, how: Failing, *, after: int) -> None:
        self._how, self._good, self.calls, self._task = how, after, 0, asyncio.current_task()

    def heal(self) -> None:
        self._how = None

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)

        async def called(*given: Any, **named: Any) -> Any:
            if self._how is None or asyncio.current_task() is not self._task:
                return await real(*given, **named)
            self.calls += 1
            if self.calls <= self._good:
                return await real(*given, **named)
            if self._how is Failing.UNHEARD and self.calls == self._good + 1:
                await real(*given, **named)
            raise StoreDown("records played to be away")

        return called


@pytest.mark.parametrize("how", [Failing.UNASKED, Failing.UNHEARD])
@pytest.mark.parametrize(
    "make", [make for make in HOPS if make.__name__ in MAY_NEED_RECORDS], ids=lambda make: make.__name__
)
async def test_at_each_call_to_the_database(
    prepared_stage: Path, make: Callable[[Cast], Awaitable[Hop]], how: Failing
) -> None:
    """It dies there, before it heard or after it committed: told clearly, and in the end it is on record once."""
    kept: list[Fragile] = []

    def wrap(real: Any) -> Any:
        kept.append(Fragile(real))
        return kept[0]

    async with open_services(prepared_stage, wrap=wrap, **REFRESHING) as services:
        people, (records,) = Cast(services), kept
        for passed in range(MOST_TRIPS):
            hop = await make(people)
            records.fail(how, after=passed)
            answer = await hop.go()
            records.heal()
            if records.calls <= passed:
                assert hop.arrives(answer)
                break
            assert is_clear(hop, answer), (passed, answer.status, answer.location, answer.text[:3000])
            await afterwards({make.__name__: hop}, lost={"callback"})
        people.leave()
