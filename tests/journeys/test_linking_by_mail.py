"""Linking where one way in is the broker's own: she types an address and a code, on our pages."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from broker.core.assurance import Assurance
from tests.stage import Browser, PlayedConnector
from tests.upstream.codes import MAJA, Post, open_post


@pytest.fixture
async def post(stage_folder: Path) -> AsyncIterator[Post]:
    """Codes by mail are real; Google is played."""
    async with open_post(stage_folder) as opened:
        connectors: Any = opened.stage.broker.connectors
        connectors["google"] = PlayedConnector("google", Assurance.CONTACT, opened.stage.clock)
        yield opened


async def by_google(post: Post, browser: Browser) -> str:
    """Maja is in by Google; the shop's number for her."""
    await browser.follow(await browser.get(post.stage.shop.request()))
    return str((await post.stage.shop.exchange(await browser.log_in("google", "maja")))["claims"]["sub"])


async def typed(post: Post, browser: Browser) -> None:
    """On a page with the field: she types her address, and the code from the mail."""
    await browser.follow(await browser.press("identify", ("identifier", MAJA)))
    await post.idle()
    await browser.follow(await post.typed(browser, post.mail.code))


async def ways_of(post: Post, subject: str) -> list[str]:
    customer = await post.stage.records.customer_of_subject("tyre-shop", subject)
    assert customer is not None
    return sorted(each.upstream for each in await post.stage.records.identities_of(customer))


async def test_she_adds_her_mailbox_on_her_own_page(post: Post) -> None:
    """The field is offered there; the code proves it, the yes links it."""
    browser = post.stage.browser()
    subject = await by_google(post, browser)
    page = await browser.follow(await browser.get("/shared/ways/add"))
    assert "identify" in page.ids
    await typed(post, browser)
    assert browser.page is not None
    assert "join" in browser.page.ids
    done = await browser.follow(await browser.press("join"))
    assert done.url.endswith("/shared")
    assert len(await ways_of(post, subject)) == 2


async def test_her_mailbox_makes_us_ask_for_google(post: Post) -> None:
    """She was here by Google; today she types the same address. Logged in there once, both are one."""
    subject = await by_google(post, post.stage.browser())
    await post.stage.broker.context.audit.flush()
    browser = post.stage.browser()
    await browser.follow(await browser.get(post.stage.shop.request()))
    await typed(post, browser)
    assert browser.page is not None
    assert "join-google" in browser.page.ids
    gone = await browser.press("join-google")
    done = await browser.follow(await browser.get(f"/up/google/callback?state={gone.query['state']}&who=maja"))
    assert (await post.stage.shop.exchange(done))["claims"]["sub"] == subject
    assert len(await ways_of(post, subject)) == 2


async def test_a_mailbox_is_proven_once_more_by_a_code(post: Post) -> None:
    """The older side is the mailbox: the page of the field comes first, and then both are linked."""
    browser = post.stage.browser()
    await browser.follow(await browser.get(post.stage.shop.request()))
    await browser.follow(await browser.press("identify", ("identifier", MAJA)))
    await post.idle()
    subject = (await post.stage.shop.exchange(await post.typed(browser, post.mail.code)))["claims"]["sub"]
    post.stage.clock.forward(minutes=11)
    await browser.follow(await browser.get(post.stage.shop.request(prompt="login")))
    page = await browser.log_in("google", "maja")
    renew = next(each for each in page.ids if each.startswith("join-"))
    page = await browser.follow(await browser.press(renew))
    assert "identify" in page.ids
    assert "method-google" not in page.ids
    await typed(post, browser)
    assert len(await ways_of(post, subject)) == 2
