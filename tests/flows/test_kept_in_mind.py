"""What the database is not asked again: consents a session keeps in mind, subjects just told, a login on its way."""

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from broker.stores.ports import Records
from tests.stage import Answer, Browser, Stage, open_stage


class Asked:
    """Passes on to the records and counts what is asked of them."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._records, name)
        if not callable(inner):
            return inner

        def counted(*args: Any, **named: Any) -> Any:
            self.calls[name] += 1
            return inner(*args, **named)

        return counted


@pytest_asyncio.fixture
async def watched(stage_folder: Path) -> AsyncIterator[tuple[Stage, Asked]]:
    """A stage, and what it asks of its records."""
    asked: list[Asked] = []

    def wrap(records: Records) -> Records:
        asked.append(Asked(records))
        return asked[0]  # type: ignore[return-value]

    async with open_stage(stage_folder, wrap=wrap) as stage:
        yield stage, asked[0]


async def handed_over(stage: Stage, browser: Browser, subject: str) -> Answer:
    """Where a new handoff's link leads."""
    return await browser.get((await stage.offer(subject)).json["link"])


async def remembered(stage: Stage, browser: Browser) -> str:
    """Maja shares once and says not to ask again; the shop's name for her."""
    subject = str((await stage.shop_login(browser))["claims"]["sub"])
    await browser.follow(await handed_over(stage, browser, subject))
    await stage.garage.exchange(await stage.arrive(browser, await browser.press("share", ("remember", "yes"))))
    return subject


def goes_straight(answer: Answer) -> bool:
    return "login_hint" in answer.query


async def test_a_remembered_handoff_asks_no_database(watched: tuple[Stage, Asked]) -> None:
    """From the second one in a session on: created, followed, arrived, read without a question to it."""
    stage, asked = watched
    browser = stage.browser()
    subject = await remembered(stage, browser)
    assert goes_straight(await handed_over(stage, browser, subject))
    await stage.broker.context.audit.flush()
    asked.calls.clear()
    started = await handed_over(stage, browser, subject)
    tokens = await stage.garage.exchange(await stage.arrive(browser, started))
    assert (await stage.garage.read(tokens["claims"]["handoff"]["id"], tokens["access_token"])).status == 200
    assert not asked.calls


async def test_a_login_of_somebody_known_asks_one_question(watched: tuple[Stage, Asked]) -> None:
    """Who is she, and under which names do partners know her: one statement; afterwards none in this session."""
    stage, asked = watched
    await stage.shop_login(stage.browser())
    asked.calls.clear()
    browser = stage.browser()
    await stage.shop_login(browser)
    assert set(asked.calls) <= {"known_customer", "add_proof", "add_audit"}
    assert asked.calls["known_customer"] == 1
    await stage.broker.context.audit.flush()
    asked.calls.clear()
    tokens = await stage.shop.exchange(await browser.get(stage.shop.request(prompt="none")))
    assert (await stage.shop.userinfo(tokens["access_token"])).status == 200
    assert not asked.calls


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_what_was_withdrawn_is_not_kept_in_mind(staged: Stage, elsewhere: bool) -> None:
    """She is asked again, also in the browser that did not see her withdraw; what she then agrees to holds there."""
    browser = staged.browser()
    subject = await remembered(staged, browser)
    assert goes_straight(await handed_over(staged, browser, subject))
    other = browser
    if elsewhere:
        other = staged.browser()
        await staged.shop_login(other)
    shared = await other.get("/shared")
    await other.press(next(each for each in shared.ids if each.startswith("withdraw-")))
    asked_again = await browser.follow(await handed_over(staged, browser, subject))
    assert "share" in asked_again.ids
    await browser.press("share", ("remember", "yes"))
    assert goes_straight(await handed_over(staged, browser, subject))


async def test_a_consent_that_ran_out_is_asked_again(staged: Stage) -> None:
    """Kept in mind or not, it holds as long as the agreement says."""
    browser = staged.browser()
    subject = await remembered(staged, browser)
    assert goes_straight(await handed_over(staged, browser, subject))
    staged.clock.forward(days=400)
    await staged.shop_login(browser)
    assert "share" in (await browser.follow(await handed_over(staged, browser, subject))).ids
