"""Passkeys in a real Chromium with its virtual authenticator: made, used by the button and out of the field's list, refused."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import Browser, BrowserContext, CDPSession, Page, expect
from playwright.async_api import Route as Intercepted
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tests.stage import SHOP_CALLBACK
from tests.upstream.test_oidc import on_loopback
from tests.upstream.test_passkey import Place, opened

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

NO_LIST = "PublicKeyCredential.isConditionalMediationAvailable = async () => false;"
"""A browser that cannot offer passkeys in a field's list."""


class Person:
    """Somebody at a browser. ``complaints``: what her browser did not like."""

    def __init__(self, issuer: str, place: Place, context: BrowserContext, page: Page) -> None:
        self.issuer = issuer
        self.place = place
        self.context = context
        self.page = page
        self.complaints: list[str] = []
        self._devices: CDPSession | None = None
        self._device = ""

    async def has_device(self, **changed: Any) -> None:
        """She has a phone or laptop that keeps passkeys and knows her."""
        self._devices = await self.context.new_cdp_session(self.page)
        await self._devices.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
            **changed,
        }
        added = await self._devices.send("WebAuthn.addVirtualAuthenticator", {"options": options})
        self._device = added["authenticatorId"]

    async def device(self, command: str, **said: Any) -> Any:
        """Something is done to her device."""
        assert self._devices is not None
        return await self._devices.send(f"WebAuthn.{command}", {"authenticatorId": self._device, **said})

    async def at_home(self) -> None:
        """She logs in by Google and sees her own page."""
        await self.page.goto(f"{self.issuer}/shared/log-in")
        await self.page.click("#method-google")
        await expect(self.page.locator("#add-passkey")).to_be_visible()

    async def adds_a_passkey(self) -> None:
        await self.at_home()
        await self.page.click("#add-passkey")
        await self.page.click("#make-passkey")
        await self.page.wait_for_url("**/shared?passkey=added*")
        await self.logs_out()

    async def logs_out(self) -> None:
        await self.page.click("#log-out")
        await self.page.wait_for_url("**/logged-out*")

    async def comes_from_the_shop(self) -> None:
        await self.page.goto(self.issuer + self.place.stage.shop.request())

    async def arrives_at_the_shop(self) -> None:
        await self.page.wait_for_url(f"{self.place.stage.shop.redirect_uri}?*")
        assert "code" in parse_qs(urlsplit(self.page.url).query)


@asynccontextmanager
async def at_the_browser(folder: Path, chromium: Browser, **options: Any) -> AsyncIterator[Person]:
    """A broker on a port of its own, and a person who comes there; the shop and Google are answered for here."""
    served: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await served[0](scope, receive, send)

    async def arrived(request: Request) -> PlainTextResponse:
        return PlainTextResponse("at the shop")

    shop_app = Starlette(routes=[Route("/login/callback", arrived)])
    async with (
        on_loopback(lambda _: app) as origin,
        on_loopback(lambda _: shop_app) as shop,
    ):
        issuer, callback = origin.replace("127.0.0.1", "localhost"), f"{shop}/login/callback"
        async with opened(folder, issuer=issuer, edit={SHOP_CALLBACK: callback}) as place:
            served.append(place.stage.broker.app)
            place.stage.shop.redirect_uri = callback
            context = await chromium.new_context(viewport={"width": 390, "height": 844}, **options)
            context.set_default_timeout(10_000)

            async def google(route: Intercepted) -> None:
                state = parse_qs(urlsplit(route.request.url).query)["state"][0]
                where = f"{issuer}/up/google/callback?state={state}&who=maja"
                await route.fulfill(
                    content_type="text/html", body=f'<meta http-equiv="refresh" content="0;url={where}">'
                )

            await context.route("https://google.test/**", google)
            person = Person(issuer, place, context, await context.new_page())
            context.on("weberror", lambda error: person.complaints.append(str(error.error)))
            context.on("console", lambda said: person.complaints.append(said.text) if said.type == "error" else None)
            try:
                yield person
            finally:
                await context.close()
            assert person.complaints == []


async def test_made_and_used_by_the_button(stage_folder: Path, chromium: Browser) -> None:
    """Where the browser has no list: she chooses the passkey, the browser asks, and she is at the shop."""
    async with at_the_browser(stage_folder, chromium) as person:
        await person.context.add_init_script(NO_LIST)
        await person.has_device()
        await person.adds_a_passkey()
        credentials = (await person.device("getCredentials"))["credentials"]
        assert [each["isResidentCredential"] for each in credentials] == [True]
        await person.comes_from_the_shop()
        await person.page.click("#method-passkey")
        await person.arrives_at_the_shop()


async def test_out_of_the_fields_list(stage_folder: Path, chromium: Browser) -> None:
    """She presses nothing of ours: the browser offers the passkey, she confirms, and is at the shop."""
    async with at_the_browser(stage_folder, chromium) as person:
        await person.has_device()
        await person.adds_a_passkey()
        await person.comes_from_the_shop()
        await person.arrives_at_the_shop()


async def test_another_way_while_the_list_waits(stage_folder: Path, chromium: Browser) -> None:
    """What the browser still offers is given up, and is in nobody's way; back again, it is offered anew."""
    async with at_the_browser(stage_folder, chromium) as person:
        await person.has_device()
        await person.adds_a_passkey()
        await person.device("setAutomaticPresenceSimulation", enabled=False)
        await person.comes_from_the_shop()
        await person.page.click("#method-passkey")
        await expect(person.page.locator("#use-passkey")).to_be_visible()
        await person.page.click("#cancel")
        await person.page.click("#method-google")
        await person.arrives_at_the_shop()


async def test_the_list_in_two_tabs(stage_folder: Path, chromium: Browser) -> None:
    """One tab waits with its list while she logs in in the other."""
    async with at_the_browser(stage_folder, chromium) as person:
        await person.comes_from_the_shop()
        other = await person.context.new_page()
        await other.goto(person.page.url)
        await other.click("#method-google")
        await other.wait_for_url(f"{person.place.stage.shop.redirect_uri}?*")


async def test_by_keyboard_alone(stage_folder: Path, chromium: Browser) -> None:
    """From the shop's link to the shop, with Tab and Enter."""
    async with at_the_browser(stage_folder, chromium) as person:
        await person.context.add_init_script(NO_LIST)
        await person.has_device()
        await person.adds_a_passkey()
        await person.device("setUserVerified", isUserVerified=False)
        await person.comes_from_the_shop()
        await tab_to(person.page, "method-passkey")
        await person.page.keyboard.press("Enter")
        await expect(person.page.locator("#status")).to_have_class("complaint")
        await person.device("setUserVerified", isUserVerified=True)
        await tab_to(person.page, "use-passkey")
        await person.page.keyboard.press("Enter")
        await person.arrives_at_the_shop()


async def tab_to(page: Page, wanted: str) -> None:
    for _ in range(30):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.id") == wanted:
            return
    raise AssertionError(f"{wanted} is not reached by keyboard")


async def test_no_passkey_here(stage_folder: Path, chromium: Browser) -> None:
    """Cancelled, or none there: she reads so, and goes another way."""
    async with at_the_browser(stage_folder, chromium) as person:
        await person.context.add_init_script(NO_LIST)
        await person.has_device()
        await person.comes_from_the_shop()
        await person.page.click("#method-passkey")
        await expect(person.page.locator("#status.complaint")).to_contain_text("No passkey was used")
        await person.page.click("#cancel")
        await person.page.click("#method-google")
        await person.arrives_at_the_shop()


async def test_without_script(stage_folder: Path, chromium: Browser) -> None:
    """Passkeys need it, and the page says so; everything else works."""
    async with at_the_browser(stage_folder, chromium, java_script_enabled=False) as person:
        await person.comes_from_the_shop()
        await person.page.click("#method-passkey")
        await person.page.click("#use-passkey")
        await expect(person.page.locator("#status")).to_contain_text("JavaScript")
        await person.page.click("#cancel")
        await expect(person.page.locator("#method-google")).to_be_visible()


async def test_a_second_one_on_the_same_device(stage_folder: Path, chromium: Browser) -> None:
    """The device says that it has one, and the page in words."""
    async with at_the_browser(stage_folder, chromium) as person:
        await person.context.add_init_script(NO_LIST)
        await person.has_device()
        await person.adds_a_passkey()
        await person.at_home()
        await person.page.click("#add-passkey")
        await person.page.click("#make-passkey")
        await expect(person.page.locator("#status.complaint")).to_contain_text("already has a passkey")


async def test_removed_on_her_page(stage_folder: Path, chromium: Browser) -> None:
    """Renamed, removed after a question, and no way in any more although her device still has it."""
    async with at_the_browser(stage_folder, chromium) as person:
        await person.context.add_init_script(NO_LIST)
        await person.has_device()
        await person.adds_a_passkey()
        await person.at_home()
        await person.page.click("#rename-1")
        await person.page.fill("#name-1", "My phone")
        await person.page.click("#save-1")
        await expect(person.page.locator("#passkey-name-1")).to_contain_text("My phone")
        await person.page.click("#remove-passkey-1")
        await expect(person.page.locator("main")).to_contain_text("My phone")
        await person.page.click("#remove")
        await person.page.wait_for_url("**/shared?passkey=removed*")
        await person.logs_out()
        await person.comes_from_the_shop()
        await person.page.click("#method-passkey")
        await expect(person.page.locator(".notice")).to_contain_text("no longer works here")
