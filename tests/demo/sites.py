"""The shop, the garage and the fake broker in one room, for the tests of both sites."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from importlib import resources
from string import Formatter
from typing import Any

import httpx2
import uvicorn
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from joserfc.jwk import ECKey
from playwright.async_api import Browser, BrowserContext
from playwright.async_api import Page as BrowserPage
from starlette.applications import Starlette

from broker.demo import garage, shop
from broker.demo.garage.accounts import Account

from .fake_broker import ISSUER, Client, FakeBroker, Network
from .page import Page

SHOP = "http://127.0.0.1:8701"
GARAGE = "http://127.0.0.1:8702"

CHECKOUT = {
    "name": "Anna Lind",
    "email": "anna@example.se",
    "phone": "070-123 45 67",
    "registration_number": "abc12d",
    "deliver_to": "partner",
}


@dataclass
class World:
    """Everybody; `at` is the time on both sites' clocks, `letters` what the shop mailed, `last` what a test looks at."""

    broker: FakeBroker
    network: Network
    browser: httpx2.AsyncClient
    at: datetime = field(default_factory=lambda: datetime(2026, 11, 23, 9, 0, tzinfo=UTC))
    letters: list[EmailMessage] = field(default_factory=list)
    mail_is_down: bool = False
    last: Page = field(init=False, repr=False)

    async def mail(self, letter: EmailMessage) -> None:
        if self.mail_is_down:
            raise ConnectionRefusedError("played to be down")
        self.letters.append(letter)

    async def get(self, address: str) -> Page:
        return Page(await self.browser.get(address))

    async def post(self, address: str, **form: str) -> Page:
        return Page(await self.browser.post(address, data=form))

    async def buy(self, **changes: str) -> Page:
        """Buy four tyres in the shop; the page the customer ends on."""
        await self.post(f"{SHOP}/basket", sku="firn-stig-18", quantity="4")
        return await self.post(f"{SHOP}/checkout", **CHECKOUT | changes)

    async def buy_and_follow(self, **changes: str) -> Page:
        """Log in, buy, and follow the link to the garage."""
        await self.get(f"{SHOP}/login")
        order = await self.buy(**changes)
        return await self.get(order.attributes["book-fitting"]["href"])


def build(*, key: ECKey | None = None, regulars: tuple[Account, ...] = ()) -> World:
    """A fresh world; with *key* the garage authenticates by private_key_jwt."""
    network = Network()
    broker = FakeBroker(clients=_clients(SHOP, GARAGE, key))
    world = World(broker, network, network.browser())
    shop_app, garage_app = _apps(ISSUER, SHOP, GARAGE, world, key, regulars)
    network.add(ISSUER, broker.app())
    network.add(SHOP, shop_app)
    network.add(GARAGE, garage_app)
    return world


def _clients(shop_origin: str, garage_origin: str, key: ECKey | None = None) -> dict[str, Client]:
    return {
        "nordhjul-web": Client("nordhjul-web", "s" * 43, shop_origin, "tyre-shop"),
        "verkstan-web": Client("verkstan-web", "g" * 43, garage_origin, "garage", "/callback", "/", key),
    }


def _apps(
    issuer: str, shop_origin: str, garage_origin: str, world: World, key: ECKey | None, regulars: tuple[Account, ...]
) -> tuple[Starlette, Starlette]:
    return (
        shop.create_app(
            issuer=issuer,
            base_url=shop_origin,
            client_id="nordhjul-web",
            client_secret="s" * 43,
            send=world.mail,
            http_transport=world.network,
            now=lambda: world.at,
        ),
        garage.create_app(
            issuer=issuer,
            base_url=garage_origin,
            client_id="verkstan-web",
            client_secret="" if key else "g" * 43,
            private_key=key,
            regulars=regulars,
            http_transport=world.network,
            now=lambda: world.at,
        ),
    )


@asynccontextmanager
async def served() -> AsyncIterator[tuple[str, str, FakeBroker]]:
    """The same on real ports for a real browser: origins of shop and garage, and the broker."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    broker_port, shop_port, garage_port = (each.getsockname()[1] for each in sockets)
    issuer = f"http://localhost:{broker_port}"
    shop_origin, garage_origin = f"http://127.0.0.1:{shop_port}", f"http://127.0.0.1:{garage_port}"
    broker = FakeBroker(issuer=issuer, clients=_clients(shop_origin, garage_origin))
    network = Network()
    world = World(broker, network, network.browser())
    shop_app, garage_app = _apps(issuer, shop_origin, garage_origin, world, None, ())
    broker_app = broker.app()
    for origin, app in ((issuer, broker_app), (shop_origin, shop_app), (garage_origin, garage_app)):
        network.add(origin, app)
    servers = [
        uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", ws="none"))
        for app in (broker_app, shop_app, garage_app)
    ]
    running = [asyncio.create_task(server.serve(sockets=[each])) for server, each in zip(servers, sockets, strict=True)]
    try:
        yield shop_origin, garage_origin, broker
    finally:
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*running)


@asynccontextmanager
async def browsing(chromium: Browser, **settings: Any) -> AsyncIterator[BrowserContext]:
    """Somebody's browser, with no cookies yet."""
    context = await chromium.new_context(**settings)
    try:
        yield context
    finally:
        await context.close()


async def press(page: BrowserPage, selector: str) -> None:
    """Press a button or link and wait until the next page is there, redirects included."""
    async with page.expect_navigation():
        await page.click(selector)


async def barriers(context: BrowserContext) -> list[str]:
    """What axe finds wrong for people with disabilities on the page now open, and whether it overflows sideways."""
    page = context.pages[0]
    results = await Axe().run(page)
    found = [
        f"{page.url} {violation['id']}: {node['target']} {node['any'][:1]}"
        for violation in results.response["violations"]
        for node in violation["nodes"]
    ]
    wide = await page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    return [*found, f"{page.url} overflows"] if wide else found


def placeholders(package: str, language: str) -> dict[str, list[str]]:
    """The texts of a site in one language, each with the placeholders it uses."""
    texts = json.loads((resources.files(package) / "locale" / f"{language}.json").read_text("utf-8"))
    return {key: sorted(name for _, name, _, _ in Formatter().parse(text) if name) for key, text in texts.items()}
