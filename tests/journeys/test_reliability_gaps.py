"""What goes on while something is ill, where no other file of tests plays it: docs/reliability.md."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest_asyncio

from broker.cli.opening import check_state
from broker.errors import StoreDown
from broker.stores.memory import MemoryState
from broker.stores.ports import Get, Listed, Op
from broker.stores.redis import RedisState
from tests.journeys.test_refusals_of_curiosity import listening
from tests.journeys.test_stores_down import Records, is_clear_json, is_clear_page
from tests.servers import free_port
from tests.stage import Stage, open_stage


class ReadOnlyState(MemoryState):
    """A store that answers and takes nothing in, as a full server or one that became a replica does."""

    takes_nothing = False

    async def run(self, *ops: Op) -> Sequence[Any]:
        if self.takes_nothing and not all(isinstance(op, Get | Listed) for op in ops):
            raise StoreDown("played to be read-only")
        return await super().run(*ops)


@pytest_asyncio.fixture
async def reading(stage_folder: Path) -> AsyncIterator[tuple[Stage, ReadOnlyState]]:
    """A stage whose store can stop taking anything in."""
    store = ReadOnlyState()
    async with open_stage(stage_folder, state=store) as stage:
        yield stage, store


async def test_what_only_reads_goes_on_with_a_store_that_takes_nothing(reading: tuple[Stage, ReadOnlyState]) -> None:
    """Full or read-only: tokens given out serve on, pages in front of customers stay, keys and metadata too."""
    stage, store = reading
    browser = stage.browser()
    at_shop = await stage.shop_login(browser)
    created = await stage.offer(at_shop["claims"]["sub"])
    consent = await browser.follow(await browser.get(created.json["link"]))
    store.takes_nothing = True
    assert (await stage.shop.userinfo(at_shop["access_token"])).status == 200
    assert (await browser.get(consent.url)).status == 200
    assert (await browser.get("/shared")).status == 200
    assert (await stage.client.get("/jwks")).status_code == 200


async def test_what_writes_is_refused_and_loses_nothing(reading: tuple[Stage, ReadOnlyState]) -> None:
    """Full or read-only: 503 each; afterwards the same code, link and answer work."""
    stage, store = reading
    browser = stage.browser()
    at_shop = await stage.shop_login(browser)
    created = await stage.offer(at_shop["claims"]["sub"])
    code = (await browser.get(stage.shop.request(prompt="none"))).query["code"]
    await browser.follow(await browser.get(created.json["link"]))
    form = browser.page
    store.takes_nothing = True
    assert is_clear_json(await stage.shop.token(code))
    assert is_clear_page(await browser.press("share"))
    assert is_clear_page(await stage.browser().get(stage.shop.request()))
    assert is_clear_json(await stage.offer(at_shop["claims"]["sub"]))
    store.takes_nothing = False
    assert (await stage.shop.token(code)).status == 200
    browser.page = form
    assert "login_hint" in (await browser.press("share")).query


async def test_a_partner_she_never_visited_waits_for_the_database(stage_folder: Path) -> None:
    """A first subject is made in the database: without it no code, and her session stays; afterwards it works."""
    kept: list[Records] = []

    def wrap(real: Any) -> Any:
        kept.append(Records(real))
        return kept[0]

    async with open_stage(stage_folder, wrap=wrap, edit={"      consent: ask": "      consent: implied"}) as stage:
        browser = stage.browser()
        await stage.shop_login(browser)
        kept[0].is_down = True
        silent = await browser.get(stage.garage.request(prompt="none"))
        assert silent.query["error"] == "temporarily_unavailable"
        assert is_clear_page(await browser.get(stage.garage.request()))
        kept[0].is_down = False
        await stage.shop.exchange(await browser.get(stage.shop.request(prompt="none")))
        assert "code" in (await browser.get(stage.garage.request())).query


async def test_a_redis_that_does_not_answer_is_no_reason_not_to_start() -> None:
    """It is said in the log, with where it was looked for; `/readyz` tells the rest."""
    port = free_port()
    store = RedisState(f"redis://:a-password@127.0.0.1:{port}/0")
    with listening() as log:
        await check_state(store)
    await store.close()
    assert '"event": "state.doubt"' in log.getvalue()
    assert str(port) in log.getvalue()
    assert "a-password" not in log.getvalue()
