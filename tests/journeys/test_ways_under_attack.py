"""Her ways in, attacked: by logins that are under way while a way is taken out or shut, by what was lent, by many at once."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from broker.core.logout import Change
from broker.flows.logout import Logouts, UpstreamOver
from broker.notify.phone import PhoneRules
from broker.notify.ports import Messages
from broker.stores.ports import KnownCustomer, Records
from tests.journeys.ways import answers, begin, is_in, logs_in, open_ways, proves, ways_of
from tests.stage import Answer, Browser, Stage
from tests.upstream.codes import PlayedSender


class Held:
    """Records that let whoever looks up a customer wait with what was found, once told to: it is old news then."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self.holds = False
        self.reached, self.goes_on = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)

    async def known_customer(self, lookup: str) -> KnownCustomer | None:
        found = await self._records.known_customer(lookup)
        if self.holds:
            self.holds = False
            self.reached.set()
            await self.goes_on.wait()
        return found


@pytest_asyncio.fixture
async def opened(stage_folder: Path) -> AsyncIterator[tuple[Stage, Held]]:
    held: list[Held] = []

    def wrap(records: Records) -> Records:
        held.append(Held(records))
        return held[0]

    # What she is told goes nowhere: a mail server of somebody else's may listen where the example says.
    messages = Messages(PlayedSender(), PlayedSender(), PhoneRules(["SE"], "SE"))
    async with open_ways(stage_folder, wrap=wrap, messages=messages) as stage:
        yield stage, held[0]


async def linked(stage: Stage, browser: Browser) -> str:
    """She has Google and the eID, and is in by the latter."""
    await logs_in(stage, browser, "google")
    await proves(stage, browser, "eid", acr_values="substantial")
    return str((await answers(stage, browser, "join"))["claims"]["sub"])


def link_of(page: Answer, which: int) -> str:
    link = re.search(rf'id="remove-way-{which}"[^>]*href="([^"]+)"', page.text)
    assert link is not None, page.text
    return link[1]


async def take_out(browser: Browser, which: int) -> Answer:
    await browser.get(link_of(await browser.get("/shared"), which))
    return await browser.press("remove")


async def during(stage: Stage, held: Held, act: Callable[[], Coroutine[Any, Any, object]]) -> Browser:
    """Somebody whose login by Google was found to be hers while *act* happens; the browser it was made in."""
    thief = stage.browser()
    await begin(stage, thief)
    held.holds = True
    login = asyncio.create_task(thief.log_in("google", "maja"))
    await held.reached.wait()
    await act()
    held.goes_on.set()
    await login
    return thief


async def blocked(stage: Stage, change: Change = Change.BLOCKED) -> int:
    """Google says what became of her account there."""
    now = stage.clock()
    said = UpstreamOver(
        "https://google.test", "subject-of-maja", None, change, now, now + timedelta(hours=1), change, now
    )
    return await Logouts(stage.broker.context).end_of_upstream("google", said)


async def test_a_login_under_way_while_its_way_in_is_taken_out(opened: tuple[Stage, Held]) -> None:
    """It was found to be hers a moment before; it opens nothing all the same."""
    stage, held = opened
    browser = stage.browser()
    subject = await linked(stage, browser)
    thief = await during(stage, held, lambda: take_out(browser, 1))
    assert await ways_of(stage, subject) == ["eid"]
    assert not await is_in(stage, thief)


async def test_a_login_under_way_while_its_provider_says_not_to_trust_it(opened: tuple[Stage, Held]) -> None:
    """Likewise; the way she is in by herself is not touched."""
    stage, held = opened
    browser = stage.browser()
    await linked(stage, browser)
    thief = await during(stage, held, lambda: blocked(stage))
    assert not await is_in(stage, thief)
    assert await is_in(stage, browser)


async def test_what_was_taken_out_may_be_added_or_brought_back_at_once(opened: tuple[Stage, Held]) -> None:
    """Only logins from before the removal open nothing."""
    stage, _ = opened
    browser = stage.browser()
    subject = await linked(stage, browser)
    await take_out(browser, 1)
    await browser.get("/shared")
    await browser.follow(await browser.press("restore-1"))
    assert await logs_in(stage, stage.browser(), "google") == subject
    await take_out(browser, 1)
    await browser.follow(await browser.get("/shared/ways/add"))
    await browser.log_in("google", "maja")
    await browser.follow(await browser.press("join"))
    assert await logs_in(stage, stage.browser(), "google") == subject


async def test_a_block_that_was_lifted_at_once(opened: tuple[Stage, Held]) -> None:
    """She is in again without waiting."""
    stage, _ = opened
    subject = await linked(stage, stage.browser())
    await blocked(stage)
    await blocked(stage, Change.ALLOWED)
    assert await logs_in(stage, stage.browser(), "google") == subject


async def test_a_blocked_way_is_no_other_way(opened: tuple[Stage, Held]) -> None:
    """The last one by which she gets in stays, on her page as when a form is sent all the same; the blocked one may go."""
    stage, _ = opened
    browser = stage.browser()
    subject = await linked(stage, browser)
    page = await browser.get("/shared")
    form = await browser.get(link_of(page, 2))
    await blocked(stage)
    page = await browser.get("/shared")
    assert {"remove-way-1", "remove-way-2"} & page.ids == {"remove-way-1"}
    browser.page = form
    assert "way=not_last" in (await browser.press("remove")).location
    assert await ways_of(stage, subject) == ["google", "eid"]
    await take_out(browser, 1)
    assert await ways_of(stage, subject) == ["eid"]


async def test_forty_tabs_take_out_both_and_one_stays(opened: tuple[Stage, Held]) -> None:
    """Whoever comes late reads that it is the last, or that she is to log in; then as many bring the other back, once."""
    stage, _ = opened
    browser = stage.browser()
    subject = await linked(stage, browser)
    shown = await browser.get("/shared")
    forms = [await browser.get(link_of(shown, which)) for which in (1, 2)]
    seen = await asyncio.gather(*(in_tab(browser, forms[tab % 2], "remove") for tab in range(40)))
    assert {each.status for each in seen} == {303}
    (left,) = await ways_of(stage, subject)
    again = stage.browser()
    assert await logs_in(stage, again, left) == subject
    shown = await again.get("/shared")
    await asyncio.gather(*(in_tab(again, shown, "restore-1") for _ in range(20)))
    assert sorted(await ways_of(stage, subject)) == ["eid", "google"]


async def in_tab(browser: Browser, page: Answer, button: str) -> Answer:
    tab = browser.copy()
    tab.page = page
    return await tab.press(button)


@pytest.mark.parametrize(
    "way", ["//evil.example", "https://evil.example/", "x\r\nset-cookie: a=b", "a" * 5000, "../.."]
)
async def test_a_stale_form_leads_to_no_page_but_hers(opened: tuple[Stage, Held], way: str) -> None:
    """Whatever it names: the page it goes back to has one address, where the name is only a name."""
    stage, _ = opened
    browser = stage.browser()
    await linked(stage, browser)
    page = await browser.get(link_of(await browser.get("/shared"), 1))
    csrf = page.text.partition('name="csrf" value="')[2].partition('"')[0]
    stage.clock.forward(minutes=11)
    answer = await browser.post("/shared/ways/remove", {"csrf": csrf, "way": way, "answer": "remove"})
    where = urlsplit(answer.location)
    assert (where.netloc, where.path) == ("localhost:8700", "/shared/ways/remove")
    assert "set-cookie" not in answer.headers
    assert (await browser.get(answer.location)).location == "http://localhost:8700/shared"
