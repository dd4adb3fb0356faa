"""Logins that succeed."""

import pytest

from tests.interop.browser import Browser
from tests.interop.site import Can, Site
from tests.interop.world import World


def test_a_customer_logs_in(site: Site, world: World, browser: Browser) -> None:
    """Configured by discovery alone, the library accepts the ID token, and userinfo is about the same person."""
    assert site.who(browser) is None
    site.begin(browser)
    world.log_in(browser)
    known = site.who(browser)
    assert known, f"{browser.page}\n{browser.page.text[:500]}\n{site.log()}"
    assert known["claims"]["iss"] == world.issuer
    assert known["claims"]["aud"] in (site.place.client_id, [site.place.client_id])
    assert known["userinfo"]["sub"] == known["claims"]["sub"]
    assert known["userinfo"]["email"] == "maja.lindqvist.demo@gmail.com"


@pytest.mark.needs(Can.BE_REMEMBERED)
def test_coming_back_asks_nothing(site: Site, world: World, logged_in: Browser) -> None:
    """A second login in the same browser is answered from the session, for the same person."""
    first = site.who(logged_in)
    site.begin(logged_in)
    assert first
    assert logged_in.page.url.startswith(site.place.site)
    again = site.who(logged_in)
    assert again
    assert again["claims"]["sub"] == first["claims"]["sub"]


@pytest.mark.needs(Can.REFRESH)
def test_tokens_are_refreshed(site: Site, world: World, logged_in: Browser) -> None:
    """New tokens without the customer; also a second time, with the successor of the first refresh token."""
    for _ in range(2):
        before = len(world.front.served)
        site.refresh(logged_in)
        assert "POST /token 200" in world.front.served[before:], f"{logged_in.page.text[:500]}\n{site.log()}"
        known = site.who(logged_in)
        assert known
        assert known["userinfo"]["sub"] == known["claims"]["sub"]


@pytest.mark.needs(Can.DOCUMENTED)
def test_it_works_beside_the_demo(plain_site: tuple[World, Site]) -> None:
    """An issuer on http://localhost will do on a developer's machine."""
    world, site = plain_site
    browser = world.browser()
    site.begin(browser)
    world.log_in(browser)
    known = site.who(browser)
    assert known, f"{browser.page.text[:500]}\n{site.log()}"
    assert known["claims"]["iss"] == world.issuer
    browser.close()
