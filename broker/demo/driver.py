"""
The customer's browser as a small HTTP client: cookies, redirects, forms, and no scripts.

Like browsers it treats loopback as a secure origin, so the broker's ``__Host-`` cookies need no weakening.
"""

import asyncio
import re
import time
from typing import Self
from urllib.parse import urldefrag, urljoin, urlsplit

import aiohttp
import zxingcpp
from PIL import Image, ImageDraw
from yarl import URL

from broker.demo.html_page import Element, HtmlPage, entries
from broker.demo.player import Stuck

PATIENCE_S = 20.0
_MOST_HOPS = 20
_REDIRECTS = frozenset({301, 302, 303})
_MODULE_PX = 4


class HttpPlayer:
    """A `Player` over HTTP. Tabs share one cookie jar; every other device has its own."""

    def __init__(
        self, session: aiohttp.ClientSession, cookieless: aiohttp.ClientSession, secure: str, *, owns_session: bool
    ) -> None:
        self._session = session
        self._cookieless = cookieless
        self._secure = secure
        self._owns_session = owns_session
        self._page = HtmlPage("")
        self._source = ""
        self.address = "about:blank"
        self.shown: list[str] = []

    @classmethod
    def started(cls, secure: str) -> Self:
        """A new browser that treats *secure*, an http origin on loopback, as a secure one."""
        jar = aiohttp.CookieJar(unsafe=True, treat_as_secure_origin=URL(secure))
        # A form posted from another site comes without our cookies, which are all SameSite=Lax.
        return cls(_session(jar), _session(aiohttp.DummyCookieJar()), secure, owns_session=True)

    async def open(self, address: str) -> None:
        await self._go("GET", address)

    async def click(self, element: str) -> None:
        found = self._page.get(element)
        if found.tag == "a":
            await self._go("GET", self._absolute(found.attributes.get("href", "")))
        else:
            await self._send(found)

    async def press(self, element: str) -> None:
        await self.click(element)

    async def unfold(self, element: str) -> None:
        folded = self._page.get(element).within("details")
        if folded is None:
            raise Stuck(f"#{element} is the summary of nothing")
        folded.attributes["open"] = ""

    async def fill(self, element: str, text: str) -> None:
        found = self._page.get(element)
        if found.tag == "textarea":
            found.children = [text]
        else:
            found.attributes["value"] = text

    async def tick(self, element: str) -> None:
        found = self._page.get(element)
        if found.attributes.get("type") == "radio":
            for other in (found.within("form") or self._page.root).walk():
                if other.attributes.get("name") == found.attributes.get("name"):
                    other.attributes.pop("checked", None)
        found.attributes["checked"] = ""

    async def untick(self, element: str) -> None:
        self._page.get(element).attributes.pop("checked", None)

    async def is_ticked(self, element: str) -> bool:
        return "checked" in self._page.get(element).attributes

    async def has(self, element: str) -> bool:
        return self._page.find(element) is not None

    async def elements(self, prefix: str) -> list[str]:
        return self._page.ids(prefix)

    async def text(self, element: str) -> str:
        return self._page.get(element).text()

    async def attribute(self, element: str, name: str) -> str:
        return self._page.get(element).attributes.get(name, "")

    async def value(self, element: str) -> str:
        return self._page.get(element).attributes.get("value", "")

    async def source(self) -> str:
        return self._source

    async def wait_for(self, *, element: str = "", address: str = "") -> None:
        until = time.monotonic() + PATIENCE_S
        while not (self.address.startswith(address) and (not element or self._page.find(element))):
            if time.monotonic() > until:
                raise Stuck(f"waited {PATIENCE_S:.0f} s for {address} {'#' + element if element else ''}")
            await asyncio.sleep(0.3)
            await self._go("GET", self.address)

    async def read_code(self, element: str) -> str:
        picture = self._absolute(self._page.get(element).attributes.get("src", ""))
        async with self._session.get(picture, headers={"Sec-Fetch-Site": "same-origin"}) as answer:
            drawing = await answer.text()
        found = zxingcpp.read_barcodes(rasterised(drawing))
        if not found:
            raise Stuck("the drawn code cannot be read")
        return str(found[0].text)

    async def picture(self, name: str, *, phone: bool = False) -> None:
        """There is nothing to see here."""

    async def new_tab(self) -> "HttpPlayer":
        return HttpPlayer(self._session, self._cookieless, self._secure, owns_session=False)

    async def other_device(self, *, phone: bool = True) -> "HttpPlayer":
        return HttpPlayer.started(self._secure)

    async def keep_passkeys(self) -> bool:
        return False

    async def close(self) -> None:
        if self._owns_session:
            await self._session.close()
            await self._cookieless.close()

    async def _send(self, button: Element) -> None:
        form = button.within("form")
        if form is None:
            raise Stuck(f"#{button.attributes.get('id')} is in no form")
        sent = entries(form, button)
        target = self._absolute(form.attributes.get("action", ""))
        if form.attributes.get("method", "get").lower() != "post":
            await self._go("GET", str(URL(target).with_query(sent)))
            return
        data = aiohttp.FormData(sent, default_to_multipart=form.attributes.get("enctype") == "multipart/form-data")
        await self._go("POST", target, data)

    async def _go(self, method: str, address: str, data: aiohttp.FormData | None = None) -> None:
        """Ask for *address* and follow redirects, our "continue" pages and posted answers, to the page that is shown."""
        came_from = self.address
        for _ in range(_MOST_HOPS):
            address, _ = urldefrag(address)
            is_foreign = method == "POST" and urlsplit(came_from).hostname != urlsplit(address).hostname
            async with (self._cookieless if is_foreign else self._session).request(
                method,
                URL(address, encoded=True),
                data=data,
                headers=_headers(method, came_from, is_foreign=is_foreign),
                allow_redirects=False,
            ) as answer:
                body = await answer.text()
            if answer.status in _REDIRECTS:
                method, data, address = "GET", None, urljoin(address, answer.headers["Location"])
                continue
            self._show(address, body)
            if (form := self._page.find("response")) is not None:
                # The broker's answer to a partner, which the page sends by itself where there are scripts.
                sent = entries(form, self._page.get("continue"))
                came_from, method, data = address, "POST", aiohttp.FormData(sent)
                address = urljoin(address, form.attributes.get("action", ""))
                continue
            moves_on = self._page.moves_on_to()
            if moves_on is None:
                return
            link = self._page.find("continue") or self._page.get("onward")
            if link.attributes.get("href") != moves_on:
                raise Stuck("the page moves on to another address than its link shows")
            came_from, method, data, address = address, "GET", None, urljoin(address, moves_on)
        raise Stuck(f"more than {_MOST_HOPS} redirects")

    def _show(self, address: str, body: str) -> None:
        self.address, self._source, self._page = address, body, HtmlPage(body)
        self.shown.append(address)

    def _absolute(self, address: str) -> str:
        return urljoin(self.address, address)


def _session(jar: aiohttp.abc.AbstractCookieJar) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        cookie_jar=jar,
        headers={
            "Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8",
            "Accept-Language": "en",
            "User-Agent": "stafett-demo-check",
        },
        timeout=aiohttp.ClientTimeout(total=PATIENCE_S),
    )


def _headers(method: str, came_from: str, *, is_foreign: bool) -> dict[str, str]:
    """What browsers say about where a form was sent from."""
    if method != "POST":
        return {}
    parts = urlsplit(came_from)
    site = "cross-site" if is_foreign else "same-origin"
    return {"Origin": f"{parts.scheme}://{parts.netloc}", "Sec-Fetch-Site": site}


_SIZE = re.compile(r'viewBox="0 0 (\d+) \d+"')
_RECTANGLE = re.compile(r"M(\d+) (\d+)h(\d+)v(\d+)h-\d+[zZ]")


def rasterised(drawing: str) -> Image.Image:
    """A drawn code as a picture: the SVG's last path, which is made of rectangles, black on white."""
    size = _SIZE.search(drawing)
    if size is None:
        raise Stuck("the code's picture is not the expected SVG")
    side = int(size[1]) * _MODULE_PX
    image = Image.new("L", (side, side), 255)
    draw = ImageDraw.Draw(image)
    for rectangle in _RECTANGLE.findall(drawing.rpartition("<path")[2]):
        x, y, width, height = (int(number) * _MODULE_PX for number in rectangle)
        draw.rectangle((x, y, x + width - 1, y + height - 1), fill=0)
    return image
