"""Back, reload, two tabs and the keyboard alone in a real Chromium, by a code in a text message and by a national eID."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from tests.stage import ISSUER, SHOP_CALLBACK, Stage
from tests.upstream.codes import NUMBER, Post, open_post
from tests.upstream.test_national_oidc import open_world
from tests.upstream.test_oidc import on_loopback
from tests.upstream.test_passkey_browser import tab_to

SHOP_HOME = "home_uri: http://127.0.0.1:8701/"

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@dataclass
class TextMessage:
    """She gives her number and types what comes."""

    post: Post

    @property
    def stage(self) -> Stage:
        return self.post.stage

    async def goes(self, page: Page) -> str:
        """She chooses it; what came by text message."""
        await page.fill("#identifier", NUMBER)
        await page.click("#identify")
        await self.there(page)
        return self.post.sms.code

    async def there(self, page: Page) -> None:
        await expect(page.locator("#code")).to_be_focused()
        await self.post.idle()

    async def proves(self, page: Page, proof: str) -> None:
        await page.fill("#code", proof)
        await page.click("#send-code")

    async def by_keyboard(self, page: Page) -> None:
        await tab_to(page, "identifier")
        await page.keyboard.type(NUMBER)
        await page.keyboard.press("Enter")
        await self.there(page)
        await page.keyboard.type(self.post.sms.code)
        await page.keyboard.press("Enter")


@dataclass
class NationalEid:
    """She goes to the provider's page and says who she is."""

    stage: Stage

    async def goes(self, page: Page) -> str:
        """She chooses it; nothing is sent to her."""
        await page.click("#method-eid")
        await self.there(page)
        return ""

    async def there(self, page: Page) -> None:
        await expect(page.locator("#account-aino")).to_be_visible()

    async def proves(self, page: Page, _proof: str) -> None:
        await page.click("#account-aino")

    async def by_keyboard(self, page: Page) -> None:
        await tab_to(page, "method-eid")
        await page.keyboard.press("Enter")
        await self.there(page)
        await tab_to(page, "account-aino")
        await page.keyboard.press("Enter")


Way = TextMessage | NationalEid


@asynccontextmanager
async def text_messages(folder: Path, edit: Mapping[str, str]) -> AsyncIterator[Way]:
    async with open_post(folder, edit=edit) as post:
        yield TextMessage(post)


@asynccontextmanager
async def national_eid(folder: Path, edit: Mapping[str, str]) -> AsyncIterator[Way]:
    async with open_world(folder, "ftn", edit=edit) as world:
        yield NationalEid(world.stage)


@dataclass
class Person:
    """Somebody at her browser, and the one way in that she goes. ``shop``: where it begins."""

    issuer: str
    shop: str
    way: Way
    context: BrowserContext

    async def comes_from_the_shop(self) -> Page:
        """A tab of its own with the page that offers ways in."""
        page = await self.context.new_page()
        await page.goto(self.issuer + self.way.stage.shop.request())
        return page

    async def is_in(self, page: Page) -> None:
        """She is at the shop, and what she brings is good for an ID token."""
        shop = self.way.stage.shop
        await page.wait_for_url(f"{shop.redirect_uri}?*")
        (code,) = parse_qs(urlsplit(page.url).query)["code"]
        assert (await shop.token(code)).status == 200


@pytest_asyncio.fixture(loop_scope="session", params=[text_messages, national_eid], ids=["sms", "national"])
async def person(request: pytest.FixtureRequest, stage_folder: Path, chromium: Browser) -> AsyncIterator[Person]:
    """A broker that listens, a shop to come back to; whatever her browser complains about fails the test."""
    opened: Callable[[Path, Mapping[str, str]], AbstractAsyncContextManager[Way]] = request.param
    served: list[Any] = []
    complaints: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await served[0](scope, receive, send)

    async def arrived(request: Request) -> HTMLResponse:
        return HTMLResponse('<link rel="icon" href="data:,"><h1>At the shop</h1>')

    shop_app = Starlette(routes=[Route("/login/callback", arrived), Route("/", arrived)])
    async with on_loopback(lambda _: app) as origin, on_loopback(lambda _: shop_app) as shop:
        issuer, callback = origin.replace("127.0.0.1", "localhost"), f"{shop}/login/callback"
        edit = {f"issuer: {ISSUER}": f"issuer: {issuer}", SHOP_CALLBACK: callback, SHOP_HOME: f"home_uri: {shop}/"}
        async with opened(stage_folder, edit) as way:
            served.append(way.stage.broker.app)
            way.stage.shop.redirect_uri = callback
            way.stage.client.base_url = issuer
            context = await chromium.new_context(viewport={"width": 390, "height": 844}, locale="en-GB")
            context.set_default_timeout(10_000)
            context.on("weberror", lambda error: complaints.append(str(error.error)))
            yield Person(issuer, f"{shop}/", way, context)
            await context.close()
    assert complaints == []


async def test_reloaded_and_gone_back(person: Person) -> None:
    """Nothing is lost: where we wait she waits on, and no second message goes out; from a provider she comes back and chooses."""
    page = await person.comes_from_the_shop()
    proof = await person.way.goes(page)
    await page.reload()
    await page.go_back()
    if isinstance(person.way, TextMessage):
        await person.way.there(page)
        assert len(person.way.post.sms.sent) == 1
    else:
        proof = await person.way.goes(page)
    await person.way.proves(page, proof)
    await person.is_in(page)


async def test_back_when_she_is_in(person: Person) -> None:
    """What is over is over: she is led to the shop, and not logged in a second time."""
    page = await person.comes_from_the_shop()
    await person.way.proves(page, await person.way.goes(page))
    await person.is_in(page)
    before = await person.context.cookies()
    await page.go_back()
    if isinstance(person.way, NationalEid):
        # Its own page comes first, which takes a request once.
        await expect(page.locator("#problem")).to_be_visible()
        await page.go_back()
    await page.wait_for_url(person.shop)
    assert await person.context.cookies() == before


async def test_one_login_in_two_tabs(person: Person) -> None:
    """Whichever is first is in; the other is led to the shop and brings it no second code."""
    first = await person.comes_from_the_shop()
    journey = first.url
    proof = await person.way.goes(first)
    second = await person.context.new_page()
    await second.goto(journey)
    if isinstance(person.way, NationalEid):
        await person.way.goes(second)
    await person.way.proves(second, proof)
    await person.is_in(second)
    await first.bring_to_front()
    if isinstance(person.way, NationalEid):
        await person.way.proves(first, "")
    await first.wait_for_url(person.shop)


async def test_two_logins_at_once(person: Person) -> None:
    """Each tab has its own, and they end in any order."""
    first, second = await person.comes_from_the_shop(), await person.comes_from_the_shop()
    assert first.url != second.url
    one, other = await person.way.goes(first), await person.way.goes(second)
    await person.way.proves(second, other)
    await person.is_in(second)
    await first.bring_to_front()
    await person.way.proves(first, one)
    await person.is_in(first)


async def test_by_keyboard_alone(person: Person) -> None:
    """From the shop's link to the shop, with Tab, Enter and what she types."""
    page = await person.comes_from_the_shop()
    await person.way.by_keyboard(page)
    await person.is_in(page)


async def test_cancelled_by_keyboard(person: Person) -> None:
    """She gives up on the way and is where she can choose; this way too."""
    page = await person.comes_from_the_shop()
    await person.way.goes(page)
    await tab_to(page, "cancel")
    await page.keyboard.press("Enter")
    await expect(page.locator("#method-bankid")).to_be_visible()
    await person.way.by_keyboard(page)
    await person.is_in(page)
