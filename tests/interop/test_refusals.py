"""What a client must refuse. Each forgery differs from a good answer in one thing: that logins succeed proves the rest."""

import time
from collections.abc import Callable

import pytest
from joserfc.jwk import ECKey, RSAKey

from tests.interop import front
from tests.interop.browser import Browser
from tests.interop.front import Front
from tests.interop.site import Can, Site
from tests.interop.world import World

_OTHER_KEYS = {"RS256": RSAKey.generate_key(2048), "ES256": ECKey.generate_key("P-256")}

Forgery = Callable[[Front, str], str]


def of_another_key(own: Front, id_token: str) -> str:
    """Signed by a key nobody published, under the name of one that is."""
    key = _OTHER_KEYS["ES256" if len(id_token.rpartition(".")[2]) < 100 else "RS256"]
    return own.forged(id_token, key=key)


FORGERIES: dict[str, Forgery] = {
    "a broken signature": lambda _, token: front.broken(token),
    "no signature": lambda _, token: front.unsigned(token),
    "an unknown key": of_another_key,
    "another issuer": lambda own, token: own.forged(token, iss="https://login.example"),
    "another audience": lambda own, token: own.forged(token, aud="somebody-else"),
    "another nonce": lambda own, token: own.forged(token, nonce="of-another-login"),
    "no nonce": lambda own, token: own.forged(token, nonce=None),
    "expired": lambda own, token: own.forged(token, iat=int(time.time()) - 7200, exp=int(time.time()) - 3600),
}


def test_a_forger_who_changes_nothing_is_believed(site: Site, world: World, browser: Browser) -> None:
    """The way forgeries are made is sound, so that those below are refused for what they change."""
    site.begin(browser)
    with world.front.changing("/token", lambda answer: {**answer, "id_token": world.front.forged(answer["id_token"])}):
        world.log_in(browser)
    assert site.who(browser), f"{browser.page.text[:500]}\n{site.log()}"


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES.keys())
def test_a_spoiled_id_token_is_refused(site: Site, world: World, browser: Browser, forgery: Forgery) -> None:
    """OpenID Connect Core section 3.1.3.7: signature, issuer, audience, expiry and nonce are the library's to check."""
    site.begin(browser)
    with world.front.changing(
        "/token", lambda answer: {**answer, "id_token": forgery(world.front, answer["id_token"])}
    ):
        world.log_in(browser)
    _is_refused(site, browser)


@pytest.mark.parametrize(("changed", "is_believed"), [({}, True), ({"sub": "of-somebody-else"}, False)])
def test_userinfo_about_somebody_else_is_not_believed(
    site: Site, world: World, browser: Browser, changed: dict[str, str], is_believed: bool
) -> None:
    """OpenID Connect Core section 5.3.2: its ``sub`` is that of the ID token, or nothing in it counts."""
    site.begin(browser)
    with world.front.changing("/userinfo", lambda answer: {**answer, "name": "Somebody Else", **changed}):
        world.log_in(browser)
    page = browser.open(f"{site.place.site}{site.client.home}", stop_before=f"{world.issuer}/authorize")
    assert ("Somebody Else" in page.text) is is_believed


@pytest.mark.parametrize("value", ["of-another-login", None], ids=["another", "none"])
def test_a_tampered_state_is_refused(site: Site, world: World, browser: Browser, value: str | None) -> None:
    """RFC 6749 section 10.12: the answer belongs to a login this browser began."""
    site.begin(browser)
    world.log_in(browser, stop_before=site.callback)
    browser.deliver(browser.page, state=value)
    _is_refused(site, browser)


def test_an_answer_in_another_browser_is_refused(site: Site, world: World, browser: Browser) -> None:
    """Login CSRF: the whole answer of somebody else's login is worth nothing here."""
    site.begin(browser)
    world.log_in(browser, stop_before=site.callback)
    other = world.browser()
    other.deliver(browser.page)
    _is_refused(site, other)
    other.close()


def test_an_answer_from_another_issuer_is_refused(site: Site, world: World, browser: Browser) -> None:
    """Mix-up: ``iss`` in the answer is the issuer's that was asked (RFC 9207 section 2.4)."""
    site.begin(browser)
    world.log_in(browser, stop_before=site.callback)
    browser.deliver(browser.page, iss="https://login.example")
    _is_refused(site, browser)


@pytest.mark.needs(Can.DEMAND_ISS)
def test_an_answer_without_issuer_is_refused(site: Site, world: World, browser: Browser) -> None:
    """Discovery announces it, so it may not be missing (RFC 9207 section 2.4)."""
    site.begin(browser)
    world.log_in(browser, stop_before=site.callback)
    browser.deliver(browser.page, iss=None)
    _is_refused(site, browser)


def test_an_answer_is_good_once(site: Site, world: World, browser: Browser) -> None:
    """The same answer again is refused; who is logged in stays so."""
    site.begin(browser)
    world.log_in(browser, stop_before=site.callback)
    answer = browser.page
    browser.deliver(answer)
    assert site.who(browser)
    before = len(world.front.served)
    browser.deliver(answer)
    assert "POST /token 200" not in world.front.served[before:]


def test_a_customer_who_cancels_is_not_logged_in(site: Site, world: World, browser: Browser) -> None:
    """She is back at the site, as nobody."""
    site.begin(browser)
    browser.press("cancel")
    _is_refused(site, browser)


@pytest.mark.needs(Can.HEAR_ERRORS)
def test_the_site_hears_that_a_customer_cancelled(site: Site, world: World, browser: Browser) -> None:
    """``access_denied`` reaches the application (RFC 6749 section 4.1.2.1), for it to offer something else."""
    site.begin(browser)
    browser.press("cancel")
    assert "access_denied" in browser.page.text, browser.page.text[:1000]


def _is_refused(site: Site, browser: Browser) -> None:
    answer = browser.page
    assert answer.url.startswith(site.place.site), answer
    assert site.client.is_refusal(answer), f"{answer} {answer.text[:500]}"
    assert site.who(browser) is None
