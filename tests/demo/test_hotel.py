"""The tyre hotel: a partner without OpenID Connect lets nobody in but who came with this browser's own secret."""

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import jsonschema
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from broker.demo.hotel import create_app
from broker.demo.website.language import LANGUAGES

from . import sites
from .fake_broker import ISSUER, Network
from .page import Page

HOTEL = "http://127.0.0.1:8706"
SCHEMA = json.loads((Path(__file__).parents[2] / "config" / "schemas" / "tyre-storage-v1.json").read_text("utf-8"))
CLAIMS = {
    "vehicle": {"registration_number": "ABC 12D", "model": "Volvo V60"},
    "tyres": [{"dimension": "225/50 R17", "quantity": 4, "season": "summer"}],
    "customer": {"name": "Anna Lind", "preferred_language": "sv"},
}
Lie = Callable[[dict[str, Any], dict[str, Any]], None]


class Broker:
    """The broker's side: artifacts bound to challenges, tokens that may lie, and what was acknowledged."""

    def __init__(self) -> None:
        self.key = ECKey.generate_key("P-256", {"kid": "k"})
        self.signs_with = self.key
        self.artifacts: dict[str, str] = {}
        self.acknowledged: list[Any] = []
        self.lie: Lie = lambda header, claims: None

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/jwks", self._jwks),
                Route("/handoffs/artifact", self._redeem, methods=["POST"]),
                Route("/handoffs/guest", self._guest, methods=["POST"]),
                Route("/handoffs/{id}/acknowledgement", self._acknowledge, methods=["POST"]),
            ]
        )

    def artifact(self, challenge: str) -> str:
        name = secrets.token_urlsafe(8)
        self.artifacts[name] = challenge
        return name

    async def _jwks(self, request: Request) -> Response:
        return JSONResponse(KeySet([self.key]).as_dict(private=False))

    async def _redeem(self, request: Request) -> Response:
        body = await request.json()
        digest = base64.urlsafe_b64encode(hashlib.sha256(body["secret"].encode()).digest()).rstrip(b"=").decode()
        if self.artifacts.pop(body["artifact"], None) != digest:
            return JSONResponse({"error": "invalid_grant"}, 400)
        header = {"alg": "ES256", "kid": "k", "typ": "stafett-handoff+jwt"}
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": ISSUER, "aud": "hjulvila", "sub": "s1", "jti": secrets.token_urlsafe(8), "iat": now, "exp": now + 300,
            "consent_id": "c1", "handoff": {"id": "h1"}, "claims": CLAIMS, "withheld": [],
        }  # fmt: skip
        self.lie(header, claims)
        return JSONResponse({"handoff_token": jwt.encode(header, claims, self.signs_with), "expires_in": 300})

    async def _guest(self, request: Request) -> Response:
        if (await request.json())["ref"] != "good":
            return JSONResponse({"error": "invalid_grant"}, 400)
        return JSONResponse({"id": "h1", "claims": {"tyres": CLAIMS["tyres"]}})

    async def _acknowledge(self, request: Request) -> Response:
        self.acknowledged.append(await request.json())
        return JSONResponse({"state": "acknowledged"})


class World:
    """The hotel, its broker, and a browser."""

    def __init__(self) -> None:
        self.broker, self.network = Broker(), Network()
        self.network.add(ISSUER, self.broker.app())
        self.network.add(
            HOTEL,
            create_app(
                issuer=ISSUER,
                base_url=HOTEL,
                client_id="hjulvila",
                client_secret="x" * 43,
                http_transport=self.network,
            ),
        )
        self.browser = self.network.browser()

    async def sent_back(self, browser: httpx2.AsyncClient) -> str:
        """The challenge the hotel sends *browser* to the broker with."""
        answer = await browser.get(f"{HOTEL}/arrive?handoff=handle", follow_redirects=False)
        back = httpx2.URL(answer.headers["location"])
        assert str(back).startswith(f"{ISSUER}/arrive?")
        assert back.params["handoff"] == "handle"
        return str(back.params["challenge"])

    async def arrive(self) -> Page:
        artifact = self.broker.artifact(await self.sent_back(self.browser))
        return Page(await self.browser.get(f"{HOTEL}/arrive?artifact={artifact}"))


@pytest.fixture
def world() -> World:
    return World()


async def test_a_customer_arrives_and_takes_a_shelf(world: World) -> None:
    """What she agreed to is filled in; the broker hears which shelf it became."""
    shelf = await world.arrive()
    assert (shelf.text["user-name"], shelf.text["vehicle-registration"]) == ("Anna Lind", "ABC 12D")
    done = Page(await world.browser.post(f"{HOTEL}/shelf"))
    assert world.broker.acknowledged == [{"result": "booked", "reference": done.text["shelf-number"]}]


async def test_the_address_is_clean_and_the_visit_new(world: World) -> None:
    """Neither handle nor artifact stays in it, and what was planted before the arrival is worth nothing."""
    await world.sent_back(world.browser)
    before = world.browser.cookies["hotel_session"]
    answer = await world.browser.get(
        f"{HOTEL}/arrive?artifact={world.broker.artifact(await world.sent_back(world.browser))}"
    )
    assert str(answer.url) == f"{HOTEL}/shelf"
    assert world.browser.cookies["hotel_session"] != before


async def test_an_artifact_slipped_to_another_browser_lets_nobody_in(world: World) -> None:
    """Login CSRF: the attacker's artifact does not fit the victim's secret, whether she has one or none."""
    artifacts = [world.broker.artifact(await world.sent_back(world.network.browser())) for _ in range(2)]
    for artifact in artifacts:
        answer = await world.browser.get(f"{HOTEL}/arrive?artifact={artifact}")
        assert answer.status_code == 410
        assert "user-name" not in Page(answer)
        await world.sent_back(world.browser)


async def test_an_artifact_works_once(world: World) -> None:
    """Also here: the secret is gone after the first try."""
    artifact = world.broker.artifact(await world.sent_back(world.browser))
    assert (await world.browser.get(f"{HOTEL}/arrive?artifact={artifact}")).status_code == 200
    assert (await world.browser.get(f"{HOTEL}/arrive?artifact={artifact}")).status_code == 410


LIES: dict[str, Lie] = {
    "another typ": lambda header, claims: header.update(typ="JWT"),
    "no typ": lambda header, claims: header.pop("typ"),
    "another audience": lambda header, claims: claims.update(aud="verkstan-web"),
    "two audiences": lambda header, claims: claims.update(aud=["hjulvila", "verkstan-web"]),
    "another issuer": lambda header, claims: claims.update(iss="https://else.example"),
    "expired": lambda header, claims: claims.update(exp=int(time.time()) - 60),
    "without end": lambda header, claims: claims.pop("exp"),
    "without consent": lambda header, claims: claims.pop("consent_id"),
    "without jti": lambda header, claims: claims.pop("jti"),
    "without subject": lambda header, claims: claims.pop("sub"),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
async def test_a_token_that_does_not_hold(world: World, lie: Lie) -> None:
    """Well signed is not enough (RFC 8725)."""
    world.broker.lie = lie
    page = await world.arrive()
    assert page.status == 410
    assert "user-name" not in page


async def test_a_token_of_another_key(world: World) -> None:
    """Only the broker's published keys count."""
    world.broker.signs_with = ECKey.generate_key("P-256", {"kid": "k"})
    assert (await world.arrive()).status == 410


async def test_a_token_used_before(world: World) -> None:
    """One jti, one arrival."""
    world.broker.lie = lambda header, claims: claims.update(jti="same")
    assert (await world.arrive()).status == 200
    assert (await world.arrive()).status == 410


async def test_a_broker_that_is_away(world: World) -> None:
    """A page that says so, and a way on."""
    challenge = await world.sent_back(world.browser)
    world.network.down.add(ISSUER)
    answer = await world.browser.get(f"{HOTEL}/arrive?artifact={world.broker.artifact(challenge)}")
    assert answer.status_code == 503


async def test_a_guest_leaves_a_name(world: World) -> None:
    """Her tyres are known, and nothing else; nothing is reported about her."""
    page = Page(await world.browser.get(f"{HOTEL}/guest?ref=good"))
    assert "225/50 R17" in page.text["tyres"]
    assert "user-name" not in page
    assert Page(await world.browser.post(f"{HOTEL}/shelf", data={"name": " "})).status == 422
    assert "shelf-number" in Page(await world.browser.post(f"{HOTEL}/shelf", data={"name": "Anna"}))
    assert world.broker.acknowledged == []


@pytest.mark.parametrize("path", ["/arrive", "/guest", "/guest?ref=bad", "/arrive?artifact=bad"])
async def test_nothing_to_arrive_with(world: World, path: str) -> None:
    """A page, not a stack."""
    assert (await world.browser.get(f"{HOTEL}{path}")).status_code in {400, 410}


async def test_the_shelf_is_for_who_arrived(world: World) -> None:
    """Everybody else is led to the front page."""
    assert str((await world.browser.get(f"{HOTEL}/shelf")).url) == f"{HOTEL}/"
    foreign = await world.browser.post(f"{HOTEL}/shelf", headers={"Sec-Fetch-Site": "cross-site"})
    assert foreign.status_code == 403


def test_every_language_says_the_same() -> None:
    """Keys and placeholders agree."""
    english = sites.placeholders("broker.demo.hotel", "en")
    assert all(sites.placeholders("broker.demo.hotel", language) == english for language in LANGUAGES)


async def test_what_the_shop_offers_fits_the_schema() -> None:
    """tyre-storage/v1, with no price and no order number, made only when it is asked for, and the same all day."""
    world = sites.build()
    order = await world.buy()
    before = len(world.broker.handoffs)
    way = f"{sites.SHOP}{order.attributes['store-tyres']['href']}"
    links = {(await world.browser.get(way, follow_redirects=False)).headers["location"] for _ in range(2)}
    request = world.broker.latest.request
    assert (len(links), len(world.broker.handoffs) - before) == (1, 1)
    jsonschema.validate(request["payload"], SCHEMA, format_checker=jsonschema.FormatChecker())
    assert (request["partner"], request["purpose"]) == ("tyre-hotel", "tyre-storage")
    assert request["return_uri"] == f"{sites.SHOP}/storage-return"
    assert request["payload"]["tyres"] == [{"dimension": "235/45 R18", "quantity": 4, "season": "summer"}]


async def test_a_broker_that_is_away_costs_only_the_link() -> None:
    """The purchase is as good as ever, and the customer is told so."""
    world = sites.build()
    order = await world.buy()
    world.network.down.add(ISSUER)
    page = await world.get(f"{sites.SHOP}{order.attributes['store-tyres']['href']}")
    assert page.status == 503


async def test_coming_back_from_the_hotel_leaves_the_order_alone() -> None:
    """It is another handoff than the fitting's."""
    world = sites.build()
    order = await world.buy()
    page = await world.get(f"{sites.SHOP}/storage-return?handoff=cancelled")
    assert page.text["order-reference"] == order.text["order-reference"]
    assert "book-fitting" in page
