"""Customers log in at an identity provider of the broker's, and through it at a service provider: SAML on both sides."""

import base64
from typing import Any
from urllib.parse import parse_qsl

import pytest

from tests.interop.browser import Browser, Page
from tests.interop.saml.party import Site
from tests.interop.saml.world import SamlWorld


def test_a_customer_logs_in(site: Site, saml_world: SamlWorld, browser: Browser) -> None:
    """With what both sides' metadata say: who she is, by her persistent name there, and what the provider tells of her."""
    log_in(site, saml_world, browser)
    known = known_at(site, saml_world, browser)
    assert known["name"] == "Maja Lindqvist"
    assert known["email"] == "maja@campus.example"
    assert known["pairwise_id"].endswith("@localhost")


def test_she_is_the_same_next_time(site: Site, saml_world: SamlWorld, browser: Browser) -> None:
    """Her persistent name at the provider leads to the same customer, in another browser too."""
    log_in(site, saml_world, browser)
    other = saml_world.world.browser()
    log_in(site, saml_world, other)
    assert known_at(site, saml_world, other)["pairwise_id"] == known_at(site, saml_world, browser)["pairwise_id"]
    other.close()


@pytest.mark.needs("forces")
def test_a_new_login_is_forced(site: Site, saml_world: SamlWorld, browser: Browser) -> None:
    """``ForceAuthn`` goes all the way: the provider asks for the password again although it knows her."""
    log_in(site, saml_world, browser)
    site.begin(browser, anew=True)
    browser.press("method-campus")
    assert 'name="password"' in browser.page.text
    saml_world.campus.log_in(browser)
    assert browser.page.url.startswith(site.place.site), f"{browser.page} {browser.page.text[:1000]}"
    assert known_at(site, saml_world, browser)


def test_a_wrong_password_leads_nowhere(saml_world: SamlWorld, browser: Browser) -> None:
    """The provider keeps her, and the site knows nobody."""
    site = one_of(saml_world)
    arrive(site, saml_world, browser)
    stays = saml_world.campus.log_in(browser, "guessed")
    assert stays.url.startswith(saml_world.campus.site)
    assert site.who(browser) is None


def test_a_request_that_was_changed_is_refused_by_the_provider(saml_world: SamlWorld, browser: Browser) -> None:
    """Our requests are signed over the query as it is sent, and the provider verifies that."""
    one_of(saml_world).begin(browser)
    asked = browser.press("method-campus", stop_before=f"{saml_world.campus.site}/saml2/idp/SSOService.php")
    browser.deliver(asked, RelayState="of-another-login")
    assert browser.page.url.startswith(saml_world.campus.site)
    assert "Unhandled exception" in browser.page.text
    assert "AuthState" not in browser.page.text


def test_a_response_that_was_changed_is_refused(saml_world: SamlWorld, browser: Browser) -> None:
    """One letter of a name, under the provider's genuine signature."""
    answer = answered(saml_world, browser)
    octets = base64.b64decode(form_of(answer)["SAMLResponse"])
    assert b"Maja Lindqvist" in octets
    browser.deliver(
        answer, SAMLResponse=base64.b64encode(octets.replace(b"Maja Lindqvist", b"Maja Lindqvisk")).decode()
    )
    is_refused(saml_world, browser, "saml.digest_mismatch")


def test_a_response_in_another_browser_is_refused(saml_world: SamlWorld, browser: Browser) -> None:
    """Login CSRF: the whole answer to somebody else's login is worth nothing there."""
    answer = answered(saml_world, browser)
    other = saml_world.world.browser()
    other.deliver(answer)
    assert other.page.url.startswith(saml_world.world.issuer)
    assert one_of(saml_world).who(other) is None
    other.close()


def test_a_response_to_another_login_of_hers_is_refused(saml_world: SamlWorld, browser: Browser) -> None:
    """``InResponseTo`` is the request of this very login, whatever the RelayState says."""
    answer = answered(saml_world, browser)
    arrive(one_of(saml_world), saml_world, browser)
    later = browser.page
    if "SAMLResponse" not in later.text:
        pytest.fail(f"the provider asked again: {later}")
    browser.fill("SAMLResponse", stop_before=answer.url)
    browser.deliver(browser.page, SAMLResponse=form_of(answer)["SAMLResponse"])
    is_refused(saml_world, browser, "saml.in_response_to")


def test_what_is_encrypted_by_a_cipher_without_integrity_is_refused(saml_world: SamlWorld, browser: Browser) -> None:
    """This provider can encrypt by AES-CBC only, which we decrypt for nobody."""
    one_of(saml_world).begin(browser)
    browser.press("method-sealed")
    saml_world.campus.log_in(browser)
    is_refused(saml_world, browser, "saml.encryption_algorithm")


def one_of(saml_world: SamlWorld) -> Site:
    """A site; which one does not matter."""
    return saml_world.sites["python3-saml"]


def arrive(site: Site, saml_world: SamlWorld, browser: Browser) -> Page:
    """From the site's link through the broker to the provider's page."""
    site.begin(browser)
    return browser.press("method-campus")


def log_in(site: Site, saml_world: SamlWorld, browser: Browser) -> Page:
    """A whole login."""
    arrive(site, saml_world, browser)
    return saml_world.campus.log_in(browser)


def answered(saml_world: SamlWorld, browser: Browser) -> Page:
    """A login up to where the provider's form would be posted to the broker."""
    arrive(one_of(saml_world), saml_world, browser)
    return saml_world.campus.log_in(browser, stop_before=f"{saml_world.world.issuer}/up/campus/callback")


def form_of(stopped: Page) -> dict[str, str]:
    """The members of a form that was not posted yet."""
    return dict(parse_qsl(stopped.form or ""))


def known_at(site: Site, saml_world: SamlWorld, browser: Browser) -> dict[str, Any]:
    """Whom the site takes her for; not nobody."""
    where = f"{browser.page} {browser.page.text[:500]}"
    known = site.who(browser)
    assert known, f"{where}\n{site.log()}\n{saml_world.campus.log()}\n{saml_world.world.log()}"
    return known


def is_refused(saml_world: SamlWorld, browser: Browser, code: str) -> None:
    """She is on a page of the broker's that offers the other ways in, the log says why, and the site knows nobody."""
    assert browser.page.url.startswith(saml_world.world.issuer), browser.page
    assert browser.has("method-google"), browser.page.text[:2000]
    assert f'"code": "{code}"' in saml_world.world.log()[-3000:], saml_world.world.log()[-3000:]
    assert one_of(saml_world).who(browser) is None
