"""
Logins at SAML providers in a real Chromium. Their pages post the answer from another site, without our cookies; it ends at the
shop all the same, by back, reload and in two tabs too.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from broker.demo.providers.saml_idp import EIDAS_ON_CURVES, EUROPEANS, GENERIC, SWEDEN_CONNECT, Fault
from tests.demo.sites import barriers, browsing
from tests.stage import ISSUER
from tests.upstream.saml import World, ec_pair, open_world
from tests.upstream.test_oidc import on_loopback
from tests.upstream.test_passkey_browser import tab_to

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SHOP_HOME = "home_uri: http://127.0.0.1:8701/"
CALLBACK = "/up/eid/callback"


@dataclass
class Person:
    """
    Somebody at her browser. ``shop``: where she began. ``asked``: what it asked the broker for: method, path, and whether our
    cookies came along.
    """

    issuer: str
    shop: str
    world: World
    context: BrowserContext
    asked: list[tuple[str, str, bool]] = field(default_factory=list)

    async def comes_from_the_shop(self) -> Page:
        """A tab of its own with the page that offers ways in."""
        page = await self.context.new_page()
        await page.goto(self.issuer + self.world.stage.shop.request())
        return page

    async def goes(self, page: Page) -> None:
        """She chooses the provider and is there."""
        await page.click("#method-eid")
        await expect(page.locator("#account-maja")).to_be_visible()

    async def is_in(self, page: Page) -> None:
        """She is at the shop, and what she brings is good for an ID token."""
        shop = self.world.stage.shop
        await page.wait_for_url(f"{shop.redirect_uri}?*")
        (code,) = parse_qs(urlsplit(page.url).query)["code"]
        assert (await shop.token(code)).status == 200

    def came(self, method: str) -> list[bool]:
        """Whether our cookies were with each answer that came to the callback so."""
        return [has_cookie for each, path, has_cookie in self.asked if (each, path) == (method, CALLBACK)]


MODES = {"saml": GENERIC, "sweden-connect": SWEDEN_CONNECT, "eidas": EIDAS_ON_CURVES}


@pytest_asyncio.fixture(loop_scope="session", params=["saml", "sweden-connect", "saml by post", "eidas"])
async def person(request: pytest.FixtureRequest, stage_folder: Path, chromium: Browser) -> AsyncIterator[Person]:
    """At each kind of provider."""
    async with at_her_browser(stage_folder, chromium, request.param) as person:
        yield person


@asynccontextmanager
async def at_her_browser(folder: Path, chromium: Browser, at: str, **settings: Any) -> AsyncIterator[Person]:
    """Broker, provider and shop on loopback, the broker on a site of its own; whatever her browser complains about fails."""
    served: list[Any] = []
    asked: list[tuple[str, str, bool]] = []
    complaints: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked.append((scope["method"], scope["path"], any(name == b"cookie" for name, _ in scope["headers"])))
        await served[0](scope, receive, send)

    async def arrived(_: Request) -> HTMLResponse:
        return HTMLResponse('<link rel="icon" href="data:,"><h1>At the shop</h1>')

    shop_app = Starlette(routes=[Route("/login/callback", arrived), Route("/", arrived)])
    kind, _, by_post = at.partition(" ")
    mode, takes = MODES[kind], ("HTTP-POST",) if by_post else ("HTTP-Redirect", "HTTP-POST")
    if kind == "eidas":
        settings = {"own": ec_pair(), "signer": ec_pair(9), "receiving_country": "SE"} | settings
    async with on_loopback(lambda _: app) as origin, on_loopback(lambda _: shop_app) as shop:
        issuer, callback = origin.replace("127.0.0.1", "localhost"), f"{shop}/login/callback"
        async with (
            open_world(
                folder,
                kind,
                mode,
                takes=takes,
                logout=True,
                issuer=issuer,
                shop_callback=callback,
                edit={SHOP_HOME: f"home_uri: {shop}/"},
                acr_levels=dict.fromkeys(mode.levels, "low"),
                **settings,
            ) as world,
            browsing(chromium, locale="en-GB", viewport={"width": 390, "height": 844}) as context,
        ):
            served.append(world.stage.broker.app)
            world.stage.shop.redirect_uri = callback
            world.stage.client.base_url = issuer
            context.set_default_timeout(10_000)
            context.on("weberror", lambda error: complaints.append(str(error.error)))
            yield Person(issuer, f"{shop}/", world, context, asked)
    assert complaints == []
    assert ISSUER not in issuer


async def test_she_comes_back_logged_in(person: Person) -> None:
    """The form brings none of our cookies and is not believed by itself; what her browser fetches then has them."""
    page = await person.comes_from_the_shop()
    await person.goes(page)
    await page.click("#account-maja")
    await person.is_in(page)
    assert (person.came("POST"), person.came("GET")) == ([False], [True])
    assert "SAMLResponse" not in page.url


async def test_cancelled_there(person: Person) -> None:
    """A no is brought by a form, too; she chooses again, this way too."""
    page = await person.comes_from_the_shop()
    await person.goes(page)
    await page.click("#cancel")
    await expect(page.locator("#method-bankid")).to_be_visible()
    await person.goes(page)
    await page.click("#account-maja")
    await person.is_in(page)


async def test_refused_there(person: Person) -> None:
    """A response that is not believed logs nobody in and loses nothing."""
    person.world.simulator.switch(Fault.BROKEN_SIGNATURE)
    page = await person.comes_from_the_shop()
    await person.goes(page)
    await page.click("#account-maja")
    await expect(page.locator("#method-bankid")).to_be_visible()
    assert "__Host-stafett-session" not in {each["name"] for each in await person.context.cookies()}
    person.world.simulator.switch()
    await person.goes(page)
    await page.click("#account-maja")
    await person.is_in(page)


async def test_back_from_the_provider(person: Person) -> None:
    """She goes back, reloads, and chooses once more: a new request, and the answer to that one counts."""
    page = await person.comes_from_the_shop()
    await person.goes(page)
    await page.go_back()
    await expect(page.locator("#method-bankid")).to_be_visible()
    await page.reload()
    await person.goes(page)
    await page.click("#account-maja")
    await person.is_in(page)
    first, second = person.world.simulator.requests
    assert first.get("ID") != second.get("ID")


async def test_back_when_she_is_in(person: Person) -> None:
    """However far back she goes, nothing is posted that counts a second time, and her session stays what it is."""
    page = await person.comes_from_the_shop()
    await person.goes(page)
    await page.click("#account-maja")
    await person.is_in(page)
    before, answers = await person.context.cookies(), person.world.simulator.calls["answer"]
    for _ in range(3):
        await page.go_back()
        if page.url.startswith((person.issuer, person.shop)):
            break
    await page.wait_for_url(person.shop)
    assert await person.context.cookies() == before
    assert person.world.simulator.calls["answer"] == answers


async def test_one_login_in_two_tabs(person: Person) -> None:
    """Whichever is first is in; the other's answer is to a request that is over, and leads to the shop without a second code."""
    first = await person.comes_from_the_shop()
    journey = first.url
    await person.goes(first)
    second = await person.context.new_page()
    await second.goto(journey)
    await person.goes(second)
    await second.click("#account-maja")
    await person.is_in(second)
    await first.bring_to_front()
    await first.click("#account-eleni")
    await first.wait_for_url(person.shop)


async def test_two_logins_at_once(person: Person) -> None:
    """Each tab has a RelayState of its own, and they end in any order."""
    first, second = await person.comes_from_the_shop(), await person.comes_from_the_shop()
    await person.goes(first)
    await person.goes(second)
    await second.click("#account-maja")
    await person.is_in(second)
    await first.bring_to_front()
    await first.click("#account-maja")
    await person.is_in(first)


@pytest_asyncio.fixture(loop_scope="session")
async def traveller(stage_folder: Path, chromium: Browser) -> AsyncIterator[Person]:
    """At a node that leads to several countries, as the demo's does."""
    async with at_her_browser(stage_folder, chromium, "eidas", people=EUROPEANS) as person:
        yield person


async def test_by_her_own_country_and_the_keyboard_alone(traveller: Person) -> None:
    """Country, level and person are chosen without a mouse, and the shop reads her name in Latin letters."""
    page, shop = await traveller.comes_from_the_shop(), traveller.world.stage.shop
    for wanted in ("method-eid", "country-EL"):
        await expect(page.locator(f"#{wanted}")).to_be_visible()
        await tab_to(page, wanted)
        await page.keyboard.press("Enter")
    await expect(page.locator("#account-eleni")).to_be_visible()
    await tab_to(page, "level-1")
    await page.keyboard.press("ArrowRight")
    await expect(page.locator("#level-2")).to_be_checked()
    await tab_to(page, "account-eleni")
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"{shop.redirect_uri}?*")
    (code,) = parse_qs(urlsplit(page.url).query)["code"]
    tokens = (await shop.token(code)).json
    assert (await shop.userinfo(tokens["access_token"])).json["name"] == "Eleni Onasi"


async def test_another_country_after_all(traveller: Person) -> None:
    """She goes back from the people of one country to the list, and takes another one; nothing has been used up by that."""
    page = await traveller.comes_from_the_shop()
    await page.click("#method-eid")
    await page.click("#country-DE")
    await expect(page.locator("#account-eleni")).to_have_count(0)
    await page.go_back()
    await page.click("#country-BG")
    await page.click("#account-darina")
    await traveller.is_in(page)


async def test_cancelled_before_any_country(traveller: Person) -> None:
    """A no on the first page is a no: she is asked for another way in."""
    page = await traveller.comes_from_the_shop()
    await page.click("#method-eid")
    await page.click("#cancel")
    await expect(page.locator("#method-bankid")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_pages_of_the_node_are_accessible(traveller: Person, scheme: Literal["light", "dark"]) -> None:
    """No barrier that axe knows on any of them, in either colours, and nothing to scroll sideways on a narrow phone."""
    page = await traveller.comes_from_the_shop()
    await page.emulate_media(color_scheme=scheme)
    await page.set_viewport_size({"width": 320, "height": 700})
    await page.click("#method-eid")
    await expect(page.locator("#country-EL")).to_be_visible()
    found = await barriers(traveller.context)
    await page.click("#country-EL")
    await expect(page.locator("#account-eleni")).to_be_visible()
    found += await barriers(traveller.context)
    used = page.url
    await page.click("#account-eleni")
    await traveller.is_in(page)
    await page.goto(used)
    await expect(page.locator("#problem")).to_be_visible()
    assert [*found, *await barriers(traveller.context)] == []


async def test_she_logs_out_there_too(person: Person) -> None:
    """From our page to the provider and back, without a press in between, and her session is over at both."""
    page = await person.comes_from_the_shop()
    await person.goes(page)
    await page.click("#account-maja")
    await person.is_in(page)
    await page.goto(f"{person.issuer}/logout/confirm")
    await page.click("#log-out")
    await expect(page.locator("#told")).to_contain_text("eID")
    assert page.url.startswith(f"{person.issuer}/logged-out?of=")
    assert person.world.logouts.over == person.world.simulator.sessions
    assert "__Host-stafett-session" not in {each["name"] for each in await person.context.cookies()}


async def test_the_provider_ends_her_session(person: Person) -> None:
    """A link at the provider leads here and back, and she is out."""
    page = await person.comes_from_the_shop()
    await person.goes(page)
    await page.click("#account-maja")
    await person.is_in(page)
    message = await person.world.logouts.ask(person.world.simulator.sessions[0])
    await page.goto(message.url)
    await expect(page.locator("#answered")).to_have_text("Success")
    await page.goto(f"{person.issuer}/shared")
    await expect(page.locator('a[href="/shared/log-in"]')).to_be_visible()
