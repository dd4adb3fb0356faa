"""
The customer's browser as a real headless Chromium, driven by playwright.
"""

import io
import os
import re
import shutil
from pathlib import Path
from typing import Self

import zxingcpp
from PIL import Image
from playwright.async_api import (
    Browser,
    BrowserContext,
    Error,
    Frame,
    Locator,
    Page,
    Playwright,
    ViewportSize,
    async_playwright,
)

from broker.demo.player import Stuck

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
OPTIONS = (
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS = 20_000
_DESKTOP = ViewportSize(width=1200, height=860)
_PHONE = ViewportSize(width=390, height=844)

_NO_LIST = "if (window.PublicKeyCredential) PublicKeyCredential.isConditionalMediationAvailable = async () => false;"
_AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


def program() -> str | None:
    """The browser: $STAFETT_CHROMIUM, else the first known name on the path; None lets playwright take its own."""
    chosen = os.environ.get("STAFETT_CHROMIUM")
    return chosen or next((found for name in NAMES if (found := shutil.which(name))), None)


class Chromium:
    """One running browser program; ``pictures``: where screenshots go, in place of an earlier run's; None for none."""

    def __init__(self, pictures: Path | None) -> None:
        self._pictures = pictures
        self._taken: set[str] = set()
        self._driver: Playwright | None = None
        self._browser: Browser | None = None

    async def __aenter__(self) -> Self:
        if self._pictures is not None:
            self._pictures.mkdir(parents=True, exist_ok=True)
            for earlier in self._pictures.glob("[0-9][0-9]-*.png"):
                earlier.unlink()
        self._driver = await async_playwright().start()
        try:
            self._browser = await self._driver.chromium.launch(executable_path=program(), args=list(OPTIONS))
        except Error as error:
            await self._driver.stop()
            raise Stuck(f"no Chromium can be started: {str(error).splitlines()[0]}") from None
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._browser is not None:
            await self._browser.close()
        if self._driver is not None:
            await self._driver.stop()

    async def player(self, *, phone: bool = False) -> "ChromiumPlayer":
        """A new device: cookies of its own."""
        if self._browser is None:
            raise Stuck("the browser does not run")
        context = await self._browser.new_context(
            viewport=_PHONE if phone else _DESKTOP, device_scale_factor=2 if phone else 1, locale="en-GB"
        )
        context.set_default_timeout(PATIENCE_MS)
        return ChromiumPlayer(self, context, await context.new_page(), owns_context=True)

    def picture_path(self, name: str) -> Path | None:
        """Where the next picture goes: numbered in the order taken. None for one that there is already: each takes its time."""
        if self._pictures is None or name in self._taken:
            return None
        self._taken.add(name)
        return self._pictures / f"{len(self._taken):02}-{name}.png"


class ChromiumPlayer:
    """A `Player` in a tab of Chromium."""

    def __init__(self, chromium: Chromium, context: BrowserContext, page: Page, *, owns_context: bool) -> None:
        self._chromium = chromium
        self._context = context
        self._tab = page
        self._owns_context = owns_context
        self.shown: list[str] = []
        page.on("framenavigated", self._navigated)

    @property
    def address(self) -> str:
        return self._tab.url

    async def open(self, address: str) -> None:
        await self._tab.goto(address)

    async def click(self, element: str) -> None:
        async with self._tab.expect_navigation():
            await self._find(element).click()

    async def press(self, element: str) -> None:
        await self._find(element).click()

    async def unfold(self, element: str) -> None:
        folded = self._tab.locator("details:not([open])").filter(has=self._find(element))
        if await folded.count():
            await self._find(element).click()

    async def fill(self, element: str, text: str) -> None:
        await self._find(element).fill(text)

    async def tick(self, element: str) -> None:
        await self._find(element).check()

    async def untick(self, element: str) -> None:
        await self._find(element).uncheck()

    async def is_ticked(self, element: str) -> bool:
        return await self._find(element).is_checked()

    async def has(self, element: str) -> bool:
        return await self._find(element).is_visible()

    async def elements(self, prefix: str) -> list[str]:
        found = await self._tab.locator(f'[id^="{prefix}"]').all()
        return [await each.get_attribute("id") or "" for each in found]

    async def text(self, element: str) -> str:
        return " ".join((await self._find(element).inner_text()).split())

    async def attribute(self, element: str, name: str) -> str:
        return await self._find(element).get_attribute(name) or ""

    async def value(self, element: str) -> str:
        return await self._find(element).input_value()

    async def source(self) -> str:
        return await self._tab.content()

    async def wait_for(self, *, element: str = "", address: str = "") -> None:
        if address:
            await self._tab.wait_for_url(re.compile("^" + re.escape(address)))
        if element:
            await self._find(element).wait_for()

    async def read_code(self, element: str) -> str:
        """From a screenshot of the drawn image, as a person would carry it over."""
        await self._tab.wait_for_function("id => document.getElementById(id).complete", arg=element)
        found = zxingcpp.read_barcodes(Image.open(io.BytesIO(await self._find(element).screenshot())))
        if not found:
            raise Stuck("the drawn code cannot be read from a screenshot")
        return str(found[0].text)

    async def picture(self, name: str, *, phone: bool = False) -> None:
        path = self._chromium.picture_path(f"{name}-phone" if phone else name)
        if path is None:
            return
        before = self._tab.viewport_size
        if phone:
            await self._tab.set_viewport_size(_PHONE)
        await self._tab.screenshot(path=path, full_page=True, animations="disabled")
        if phone and before is not None:
            await self._tab.set_viewport_size(before)

    async def new_tab(self) -> "ChromiumPlayer":
        return ChromiumPlayer(self._chromium, self._context, await self._context.new_page(), owns_context=False)

    async def other_device(self, *, phone: bool = True) -> "ChromiumPlayer":
        return await self._chromium.player(phone=phone)

    async def keep_passkeys(self) -> bool:
        # Else the field's list uses the passkey before anybody presses a button.
        await self._context.add_init_script(_NO_LIST)
        devices = await self._context.new_cdp_session(self._tab)
        await devices.send("WebAuthn.enable")
        await devices.send("WebAuthn.addVirtualAuthenticator", {"options": _AUTHENTICATOR})
        return True

    async def close(self) -> None:
        if self._owns_context:
            await self._context.close()
        else:
            await self._tab.close()

    def _find(self, element: str) -> Locator:
        return self._tab.locator(f'[id="{element}"]')

    def _navigated(self, frame: Frame) -> None:
        if frame == self._tab.main_frame:
            self.shown.append(frame.url)
