"""
A login at a SAML service provider in a real Chromium: the request comes from another site, by a form or by a redirect, and the
response is posted back there by our page.
"""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import pytest_asyncio
from markupsafe import escape
from playwright.async_api import Browser, BrowserContext, Page, Route, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route as At

from tests.demo.sites import browsing
from tests.downstream.saml_party import Received, Sp, open_party, pair
from tests.stage import ISSUER
from tests.upstream.test_oidc import on_loopback

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

NAME = "urn:oid:2.16.840.1.113730.3.1.241"
HOSTILE = "/tyres?a=1&b=\"'><script>document.title='x'</script>#%41 åäö"
"""A RelayState, as far as 80 octets go: an address, and everything that an escape could be forgotten for."""

PARTNERS = """
partners:
  hotel:
    names: {{en: Hotel}}
    home_uri: {site}/
    saml:
      entity_id: {site}/saml
      acs: [{site}/acs]
      certificates: [hotel.pem]
      require_signed_requests: true
    login:
      upstreams: [google, bankid]
      claims: [name, email]
      consent: ask
"""


@dataclass
class Hotel:
    """
    The service provider's site, and the broker on another one. ``received``: what it believes of what was posted to it.

    ``seen``: requests to the broker: method, path, and whether a cookie came along.
    """

    site: str = ""
    issuer: str = ""
    after: str = ""
    sp: Sp = field(init=False)
    received: list[Received] = field(default_factory=list)
    seen: list[tuple[str, str, bool]] = field(default_factory=list)
    begun: int = 0

    def app(self) -> Starlette:
        """Its pages: a link and a button that log in, the assertion consumer, and where that leads."""
        return Starlette(
            routes=[
                At("/", self.home),
                At("/login", self.login),
                At("/acs", self.consume, methods=["POST"]),
            ]
        )

    async def home(self, request: Request) -> Response:
        """Nobody is logged in: she begins by a link, or by a form that is posted to the broker."""
        fields = "".join(
            f'<input type="hidden" name="{name}" value="{escape(value)}">'
            for name, value in self.sp.form(relay_state=self.next_state()).items()
        )
        return HTMLResponse(
            '<link rel="icon" href="data:,"><h1>Hotel</h1><a id="redirect" href="/login">Log in</a>'
            f'<form method="post" action="{self.issuer}/saml/sso">{fields}<button id="post">Log in</button></form>'
        )

    async def login(self, request: Request) -> Response:
        """By HTTP-Redirect, signed."""
        address = self.sp.redirect(relay_state=self.next_state(), key=self.sp.key)
        return RedirectResponse(self.issuer + address, status_code=303)

    async def consume(self, request: Request) -> Response:
        """The session begins, and she goes on to a host of its own that nobody registered at the broker."""
        members = {name: str(value) for name, value in (await request.form()).items()}
        self.received.append(self.sp.posted(self.sp.acs, members))
        return RedirectResponse(f"{self.after}/welcome", status_code=303)

    def next_state(self) -> str:
        """A RelayState of each request's own."""
        self.begun += 1
        return f"{self.begun} {HOSTILE}"


@dataclass
class Person:
    """Somebody at her browser."""

    hotel: Hotel
    context: BrowserContext

    async def begins(self, by: str, page: Page | None = None) -> Page:
        """She wants to log in at the hotel."""
        page = page or await self.context.new_page()
        await page.goto(f"{self.hotel.site}/")
        await page.click(f"#{by}")
        return page

    async def proves(self, page: Page) -> None:
        """She chooses a way in, and is who she is there."""
        await page.click("#method-google")
        await page.click("#maja")
        await expect(page.locator("#share")).to_be_visible()

    async def agrees(self, page: Page) -> None:
        """She lets the hotel know her name, from now on."""
        await page.check("#field-name")
        await page.check("#remember")
        await page.click("#share")

    async def is_in(self, page: Page) -> Received:
        """She is where the hotel sends who is logged in."""
        await page.wait_for_url(f"{self.hotel.after}/welcome")
        received = self.hotel.received[-1]
        assert received.status == "Success"
        return received

    async def logs_in(self, by: str) -> Page:
        """All of it."""
        page = await self.begins(by)
        await self.proves(page)
        await self.agrees(page)
        await self.is_in(page)
        return page


@pytest_asyncio.fixture(loop_scope="session")
async def hotel(prepared_stage: Path) -> AsyncIterator[Hotel]:
    """A hotel and its broker, both listening; the broker on ``localhost``, the hotel elsewhere."""
    hotel = Hotel()
    served: list[Any] = []

    async def broker(scope: Any, receive: Any, send: Any) -> None:
        hotel.seen.append((scope["method"], scope["path"], any(name == b"cookie" for name, _ in scope["headers"])))
        await served[0](scope, receive, send)

    async def welcome(request: Request) -> Response:
        return HTMLResponse('<link rel="icon" href="data:,"><h1>Welcome</h1>')

    inside = Starlette(routes=[At("/welcome", welcome)])
    async with (
        on_loopback(lambda _: broker) as origin,
        on_loopback(lambda _: hotel.app()) as site,
        on_loopback(lambda _: inside) as after,
    ):
        hotel.issuer, hotel.site, hotel.after = origin.replace("127.0.0.1", "localhost"), site, after
        edit = {
            f"issuer: {ISSUER}": f"issuer: {hotel.issuer}",
            "\npartners:\n": PARTNERS.format(site=site),
            "\nagreements:\n": "\nagreements:\n",
        }
        async with open_party(prepared_stage, edit=edit) as party:
            served.append(party.stage.broker.app)
            hotel.sp = Sp(party.stage, "hotel", f"{site}/saml", f"{site}/acs", idp_certificate=pair("broker")[1])
            yield hotel


async def at_browser(hotel: Hotel, context: BrowserContext, complaints: list[str]) -> Person:
    """Somebody whose browser tells what it does not like."""

    async def provide(route: Route) -> None:
        (state,) = parse_qs(urlsplit(route.request.url).query)["state"]
        back = f"{hotel.issuer}/up/google/callback?{urlencode({'state': state, 'who': 'maja'})}"
        page = f'<link rel="icon" href="data:,"><a id="maja" href="{escape(back)}">Maja</a>'
        await route.fulfill(content_type="text/html", body=page)

    await context.route("https://google.test/**", provide)
    context.set_default_timeout(10_000)
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    context.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    return Person(hotel, context)


@pytest_asyncio.fixture(loop_scope="session")
async def person(hotel: Hotel, chromium: Browser) -> AsyncIterator[Person]:
    """Whatever her browser complains about, a policy that stops a form first of all, fails the test."""
    complaints: list[str] = []
    async with browsing(chromium, viewport={"width": 390, "height": 844}, locale="en-GB") as context:
        yield await at_browser(hotel, context, complaints)
    assert [text for text in complaints if "Failed to load resource" not in text] == []


def cookies_at(hotel: Hotel, method: str, path: str) -> list[bool]:
    """For each request like that: whether a cookie of ours came along."""
    return [has for how, where, has in hotel.seen if how == method and re.fullmatch(path, where)]


@pytest.mark.parametrize("by", ["post", "redirect"])
async def test_she_logs_in_and_is_taken_back(person: Person, by: str) -> None:
    """
    From another site and back to it: our form may post to the assertion consumer, and what that leads to may be a third host; the
    RelayState is what it was, letter by letter.
    """
    hotel = person.hotel
    page = await person.begins(by)
    state = f"{hotel.begun} {HOSTILE}"
    await person.proves(page)
    await person.agrees(page)
    received = await person.is_in(page)
    assert received.relay_state == state
    assert received.attributes[NAME] == ["Maja Lind"]
    assert await page.title() == ""
    assert len(hotel.received) == 1


@pytest.mark.parametrize("by", ["post", "redirect"])
async def test_with_a_session_she_sees_no_page(person: Person, by: str) -> None:
    """docs/security.md C2: the POST comes without our cookies, the GET to ourselves brings them, and she is in."""
    hotel = person.hotel
    page = await person.logs_in("redirect")
    first = hotel.received[-1]
    hotel.seen.clear()
    await person.begins(by, page)
    second = await person.is_in(page)
    assert second.session_index == first.session_index
    assert second.in_response_to != first.in_response_to
    assert len(hotel.received) == 2
    if by == "post":
        assert cookies_at(hotel, "POST", "/saml/sso") == [False]
        assert cookies_at(hotel, "GET", r"/saml/sso/[\w-]+") == [True]
    else:
        assert cookies_at(hotel, "GET", "/saml/sso") == [True]
    assert not [where for _, where, _ in hotel.seen if where.startswith("/j/")]


@pytest.mark.parametrize("by", ["post", "redirect"])
async def test_without_scripts(hotel: Hotel, chromium: Browser, by: str) -> None:
    """The response waits in its form for a press of the button; the policy lets that go as well."""
    complaints: list[str] = []
    async with browsing(chromium, locale="en-GB", java_script_enabled=False) as context:
        person = await at_browser(hotel, context, complaints)
        page = await person.begins(by)
        state = f"{hotel.begun} {HOSTILE}"
        await person.proves(page)
        await person.agrees(page)
        await page.click("#continue")
        assert (await person.is_in(page)).relay_state == state
        await person.begins(by, page)
        await page.click("#continue")
        await person.is_in(page)
    assert len(hotel.received) == 2
    assert complaints == []


async def test_reloaded_and_gone_back_on_the_way(person: Person) -> None:
    """Nothing is lost of a posted request: its RelayState and its ID are there at the end."""
    hotel = person.hotel
    page = await person.begins("post")
    state = f"{hotel.begun} {HOSTILE}"
    await expect(page.locator("#method-google")).to_be_visible()
    await page.reload()
    await page.click("#method-google")
    await expect(page.locator("#maja")).to_be_visible()
    await page.go_back()
    await person.proves(page)
    await page.reload()
    await person.agrees(page)
    assert (await person.is_in(page)).relay_state == state
    assert len(hotel.received) == 1


@pytest.mark.parametrize("by", ["post", "redirect"])
async def test_back_when_she_is_in(person: Person, by: str) -> None:
    """However far she goes back: no response is posted a second time, and none is made for a request that was answered."""
    hotel = person.hotel
    page = await person.logs_in(by)
    for _ in range(6):
        await page.go_back()
        await page.wait_for_load_state()
        if page.url == f"{hotel.site}/":
            break
    assert page.url == f"{hotel.site}/"
    assert len(hotel.received) == 1
    await page.reload()
    await person.begins(by, page)
    await person.is_in(page)
    assert len(hotel.received) == 2


async def test_two_logins_at_once(person: Person) -> None:
    """Each tab has its own request, and each response goes with its own; the second to end asks nothing any more."""
    hotel = person.hotel
    first, one = await person.begins("post"), f"{hotel.begun} {HOSTILE}"
    await expect(first.locator("#method-google")).to_be_visible()
    second, other = await person.begins("redirect"), f"{hotel.begun} {HOSTILE}"
    await person.proves(second)
    await person.agrees(second)
    assert (await person.is_in(second)).relay_state == other
    await first.bring_to_front()
    await first.reload()
    assert (await person.is_in(first)).relay_state == one
    assert len({each.in_response_to for each in hotel.received}) == len(hotel.received) == 2
