"""
A store fails at every hop of a login at a SAML service provider, and of leaving it: in bounded time a clear page, or a status at
the partner where nobody looks; nobody is asserted by half, and it works again by itself.

What one lost round trip leaves behind, for each of them, is in `tests.downstream.test_saml_mishaps`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from broker.demo.providers.saml_idp import GENERIC
from broker.stores.redis import RedisState
from tests.downstream.saml_party import open_party
from tests.journeys.hops import Hop, has
from tests.journeys.middleman import Failing, Middleman, between
from tests.journeys.saml_hops import AGREED, HOPS, People
from tests.journeys.test_every_hop import MOST_TRIPS, Fragile, afterwards, during, is_clear
from tests.journeys.test_stores_down import Records
from tests.servers import RedisServer
from tests.stage import Answer
from tests.upstream.saml import World, open_world, visited

PATIENCE_S = 0.5
"""What this broker grants a round trip to Redis."""

ALL = {make.__name__ for make in HOPS}
NEED_NO_STATE = {"metadata"}
ONLY_READ = {*NEED_NO_STATE, "unasked"}
"""A session answers a link of ours without anything being written."""
NEED_RECORDS = {"callback", "unasked_callback", "consent"}


@pytest_asyncio.fixture
async def cast(
    prepared_stage: Path, redis_url: str, redis_server: RedisServer
) -> AsyncIterator[tuple[People, Middleman]]:
    """A broker with little patience, and a line to Redis that can fail."""
    async with between(redis_server.socket_path) as (middleman, url):
        state = RedisState(url, timeout_s=PATIENCE_S, connect_timeout_s=PATIENCE_S)
        async with open_party(prepared_stage, state=state, edit=AGREED) as party:
            people = People(party)
            yield people, middleman
            people.leave()


async def prepared(people: People) -> dict[str, Hop]:
    return {make.__name__: await make(people) for make in HOPS}


async def test_redis_is_slow(cast: tuple[People, Middleman]) -> None:
    """Within the bound it is only slow: everybody gets on."""
    people, line = cast
    hops = await prepared(people)
    line.fail(Failing.SLOW)
    assert await during(hops) == ALL


async def test_redis_answers_too_late(cast: tuple[People, Middleman]) -> None:
    """Carried out, and answered when nobody waits any more: told in time; a request that was taken up is asked for anew."""
    people, line = cast
    hops = await prepared(people)
    line.fail(Failing.LATE)
    assert await during(hops) == NEED_NO_STATE
    line.heal()
    await afterwards(hops, lost=ALL)


async def test_redis_is_away(cast: tuple[People, Middleman]) -> None:
    """Never heard of: the very same messages are good afterwards."""
    people, line = cast
    hops = await prepared(people)
    line.fail(Failing.UNASKED)
    assert await during(hops) == NEED_NO_STATE
    line.heal()
    await afterwards(hops)


async def test_redis_restarts_empty(cast: tuple[People, Middleman], redis_server: RedisServer) -> None:
    """Nobody meets an error of ours, and starting again leads to the end."""
    people, _ = cast
    hops = await prepared(people)
    redis_server.stop()
    assert await during(hops) == NEED_NO_STATE
    redis_server.start()
    await afterwards(hops, is_forgotten=True)


async def test_redis_becomes_a_replica(cast: tuple[People, Middleman], redis_server: RedisServer) -> None:
    """Nothing can be remembered, so nothing is taken; as the master again it takes the same."""
    people, _ = cast
    hops = await prepared(people)
    redis_server.ask("REPLICAOF 127.0.0.1 1")
    try:
        got_on = await during(hops)
    finally:
        redis_server.ask("REPLICAOF NO ONE")
    assert got_on == ONLY_READ
    await afterwards(hops)


async def test_redis_is_full(cast: tuple[People, Middleman], redis_server: RedisServer) -> None:
    """`noeviction`: what writes is told, and has used nothing up."""
    people, _ = cast
    hops = await prepared(people)
    redis_server.ask("CONFIG SET maxmemory 1")
    try:
        got_on = await during(hops)
    finally:
        redis_server.ask("CONFIG SET maxmemory 0")
    assert got_on == ONLY_READ
    await afterwards(hops)


async def test_the_database_is_away(prepared_stage: Path) -> None:
    """Only who logs in anew or says what she shares waits for it; whom her session knows gets on, in and out."""
    kept: list[Records] = []

    def wrap(real: Any) -> Any:
        kept.append(Records(real))
        return kept[0]

    async with open_party(prepared_stage, wrap=wrap, edit=AGREED) as party:
        people, (records,) = People(party), kept
        hops = await prepared(people)
        records.is_down = True
        got_on = await during(hops)
        records.is_down = False
        assert got_on == ALL - NEED_RECORDS
        await afterwards({name: hops[name] for name in sorted(NEED_RECORDS)}, lost=NEED_RECORDS)
        people.leave()


@pytest.mark.parametrize("how", [Failing.UNASKED, Failing.UNHEARD])
@pytest.mark.parametrize(
    "make", [make for make in HOPS if make.__name__ in NEED_RECORDS], ids=lambda make: make.__name__
)
async def test_at_each_call_to_the_database(
    prepared_stage: Path, make: Callable[[People], Awaitable[Hop]], how: Failing
) -> None:
    """It dies there, before it heard or after it committed: told clearly, and in the end it is on record once."""
    kept: list[Fragile] = []

    def wrap(real: Any) -> Any:
        kept.append(Fragile(real))
        return kept[0]

    async with open_party(prepared_stage, wrap=wrap, edit=AGREED) as party:
        people, (records,) = People(party), kept
        for passed in range(MOST_TRIPS):
            hop = await make(people)
            records.fail(how, after=passed)
            answer = await hop.go()
            records.heal()
            if records.calls <= passed:
                assert hop.arrives(answer), answer.text[:2000]
                assert passed > 0
                break
            assert is_clear(hop, answer), (passed, answer.status, answer.location, answer.text[:3000])
            await afterwards({make.__name__: hop}, lost=NEED_RECORDS)
        people.leave()


# The answer of a SAML provider, which its page posts to us


async def brought(world: World) -> Hop:
    """A customer whose provider's page is about to post her answer."""
    browser, shop = world.stage.browser(), world.stage.shop
    await browser.follow(await browser.get(shop.request()))
    gone = await browser.follow(await browser.press("method-eid"))
    action, members = await visited(gone.location)

    async def act() -> Answer:
        return await browser.follow(Answer(await world.stage.client.post(action, data=members)))

    async def anew() -> Answer:
        """Whoever kept the session that she proved is in at once."""
        page = await browser.follow(await browser.get(shop.request()))
        return page if "code" in page.query else await world.attempt(browser=browser)

    return Hop("an answer by form", act, has("code"), anew)


@pytest.mark.parametrize("how", [Failing.UNASKED, Failing.UNHEARD, Failing.LATE])
async def test_a_providers_answer_at_each_round_trip(
    prepared_stage: Path, stage_folder: Path, redis_url: str, redis_server: RedisServer, how: Failing
) -> None:
    """Nobody is logged in by half, and what was not heard of may be posted again; else she begins anew."""
    async with between(redis_server.socket_path) as (line, url):
        state = RedisState(url, timeout_s=PATIENCE_S, connect_timeout_s=PATIENCE_S)
        async with open_world(stage_folder, "saml", GENERIC, state=state) as world:
            for passed in range(MOST_TRIPS):
                hop = await brought(world)
                line.fail(how, after=passed)
                answer = await hop.go()
                made = line.requests
                line.heal()
                if made <= passed:
                    assert hop.arrives(answer)
                    assert passed > 1
                    return
                assert is_clear(hop, answer), (passed, answer.status, answer.text[:3000])
                await afterwards({"brought": hop}, lost={"brought"} if passed or how is not Failing.UNASKED else ())
    raise AssertionError("no end of round trips")


@pytest.mark.parametrize("how", [Failing.UNASKED, Failing.UNHEARD])
async def test_a_providers_answer_at_each_call_to_the_database(stage_folder: Path, how: Failing) -> None:
    """Told clearly; she begins anew, for an answer counts once."""
    kept: list[Fragile] = []

    def wrap(real: Any) -> Any:
        kept.append(Fragile(real))
        return kept[0]

    async with open_world(stage_folder, "saml", GENERIC, wrap=wrap) as world:
        (records,) = kept
        for passed in range(MOST_TRIPS):
            hop = await brought(world)
            records.fail(how, after=passed)
            answer = await hop.go()
            records.heal()
            if records.calls <= passed:
                assert hop.arrives(answer)
                assert passed > 0
                return
            assert is_clear(hop, answer), (passed, answer.status, answer.text[:3000])
            await afterwards({"brought": hop}, lost={"brought"})
    raise AssertionError("no end of calls")
