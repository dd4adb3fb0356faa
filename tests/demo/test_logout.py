"""Both sites hear of a logout by their servers, and believe nobody but the broker."""

from typing import Any

import httpx2
import pytest

from tests.demo.sites import GARAGE, SHOP, World, build

ENDS = {"garage": f"{GARAGE}/backchannel-logout", "tyre-shop": f"{SHOP}/backchannel-logout"}


@pytest.fixture
def world() -> World:
    return build()


async def told(world: World, partner: str, token: str) -> int:
    """What the site answers to the broker's server."""
    async with httpx2.AsyncClient(transport=world.network) as server:
        return (await server.post(ENDS[partner], data={"logout_token": token})).status_code


async def is_in(world: World, partner: str) -> bool:
    site = GARAGE if partner == "garage" else SHOP
    return 'id="logout"' in (await world.browser.get(f"{site}/")).text


async def logged_in(world: World, partner: str) -> None:
    await world.get(f"{GARAGE if partner == 'garage' else SHOP}/login")
    assert await is_in(world, partner)


def partner_of(world: World, site: str) -> str:
    """The fake broker's name for the partner behind *site*."""
    return next(each.partner for each in world.broker.clients.values() if site in each.partner)


@pytest.mark.parametrize("site", ["garage", "shop"])
async def test_the_visit_ends(world: World, site: str) -> None:
    """Told twice is told once: the second time there is nothing left to end."""
    partner = "garage" if site == "garage" else "tyre-shop"
    await logged_in(world, partner)
    token = world.broker.logout_token(partner_of(world, site))
    assert [await told(world, partner, token) for _ in range(2)] == [200, 200]
    assert not await is_in(world, partner)


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://elsewhere.example"},
        {"aud": "somebody-else"},
        {"exp": 1_700_000_000},
        {"exp": None},
        {"nonce": "n"},
        {"events": {}},
        {"events": None},
        {"sid": None},
        {"typ": "JWT"},
        {"typ": "at+jwt"},
    ],
    ids=str,
)
async def test_what_is_no_logout_token_for_us_ends_nothing(world: World, changed: dict[str, Any]) -> None:
    """Back-Channel Logout section 2.6: every check by itself."""
    await logged_in(world, "garage")
    assert await told(world, "garage", world.broker.logout_token("garage", **changed)) == 400
    assert await is_in(world, "garage")


async def test_a_forged_one_ends_nothing(world: World) -> None:
    """Another's key, another partner's token, none at all; and another session's ends only that."""
    await logged_in(world, "garage")
    world.broker.lie = "key"
    forged = world.broker.logout_token("garage")
    world.broker.lie = ""
    for token in (forged, world.broker.logout_token(partner_of(world, "shop")), "", "a.b.c"):
        assert await told(world, "garage", token) == 400
    assert await told(world, "garage", world.broker.logout_token("garage", sid="another")) == 200
    assert await is_in(world, "garage")
