"""Service providers log customers in by the broker."""

import base64
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from lxml import etree

from tests.interop.browser import Browser, Page
from tests.interop.saml import forging
from tests.interop.saml.forging import Forger, Forgery
from tests.interop.saml.party import Site
from tests.interop.saml.world import SamlWorld

NS = {"saml": "urn:oasis:names:tc:SAML:2.0:assertion", "samlp": "urn:oasis:names:tc:SAML:2.0:protocol"}


def test_a_customer_logs_in(site: Site, saml_world: SamlWorld, browser: Browser) -> None:
    """With what both sides' metadata say, the software accepts the response: who she is, and what is released of her."""
    assert site.who(browser) is None
    log_in(site, saml_world, browser)
    known = site.who(browser)
    assert known, f"{browser.page}\n{browser.page.text[:500]}\n{site.log()}\n{saml_world.world.log()}"
    assert known["pairwise_id"].endswith("@localhost")
    assert known["email"] == "maja.lindqvist.demo@gmail.com"
    assert known["name"] == "Maja Lindqvist"
    assert known["name_id"] not in {known["pairwise_id"], known["email"]}


def test_the_request_is_signed(site: Site, saml_world: SamlWorld, browser: Browser) -> None:
    """The broker demands it of each of them, and verifies it: a request whose signature is changed leads nowhere."""
    asked = site.begin(browser, stop_before=f"{saml_world.world.issuer}/saml/sso")
    signature = dict(parse_qsl(urlsplit(asked.url).query))["Signature"]
    refused = browser.deliver(asked, Signature=_spoiled(signature))
    assert refused.status == 400
    assert not refused.url.startswith(site.place.site)
    unsigned = browser.deliver(asked, Signature=None, SigAlg=None)
    assert unsigned.status == 400


def test_the_assertion_is_encrypted(site: Site, saml_world: SamlWorld, browser: Browser) -> None:
    """saml2int SDP-IDP11; and it is this response that the software accepts."""
    response = root_of(log_in(site, saml_world, browser, stop_before=site.acs))
    assert response.find("saml:EncryptedAssertion", NS) is not None
    assert response.find("saml:Assertion", NS) is None
    browser.deliver(browser.page)
    assert site.who(browser)


def test_coming_back_asks_nothing(site: Site, saml_world: SamlWorld, browser: Browser) -> None:
    """A second login in the same browser is answered from the session, for the same person."""
    log_in(site, saml_world, browser)
    first = site.who(browser)
    answer = site.begin(browser)
    again = site.who(browser)
    assert first
    assert again
    assert answer.url.startswith(site.place.site)
    assert again["pairwise_id"] == first["pairwise_id"]


@pytest.mark.needs("forces")
def test_a_new_login_is_forced(site: Site, saml_world: SamlWorld, browser: Browser) -> None:
    """``ForceAuthn``: a session does not do."""
    log_in(site, saml_world, browser)
    asked = site.begin(browser, anew=True)
    assert asked.url.startswith(saml_world.world.issuer)
    assert browser.has("method-google")


def test_a_customer_who_cancels_is_not_logged_in(site: Site, saml_world: SamlWorld, browser: Browser) -> None:
    """The status says so, and the software understands it as a refusal."""
    site.begin(browser)
    browser.press("cancel", stop_before=site.acs)
    response = root_of(browser.page)
    assert response.find("samlp:Status/samlp:StatusCode/samlp:StatusCode", NS).get("Value").endswith(":RequestDenied")
    browser.deliver(browser.page)
    site.refused(browser)


@pytest.mark.needs("takes_unasked")
def test_a_customer_is_sent_there_unasked(site: Site, saml_world: SamlWorld, browser: Browser) -> None:
    """By a link of the broker's, where the operator says so: the software knows her as after a login of its own."""
    browser.open(f"{saml_world.world.issuer}/saml/start?partner={site.name}")
    saml_world.world.log_in(browser)
    assert browser.page.url.startswith(site.place.site), f"{browser.page}\n{site.log()}\n{saml_world.world.log()}"
    known = site.who(browser)
    assert known, f"{browser.page}\n{site.log()}"
    assert known["email"] == "maja.lindqvist.demo@gmail.com"
    log_in(site, saml_world, other := saml_world.world.browser())
    assert (site.who(other) or {})["pairwise_id"] == known["pairwise_id"]
    other.close()


@pytest.mark.needs("only_answers")
def test_a_customer_is_sent_nowhere_unasked(site: Site, saml_world: SamlWorld, browser: Browser) -> None:
    """Where the operator does not say so she reads that, and stays."""
    refused = browser.open(f"{saml_world.world.issuer}/saml/start?partner={site.name}")
    assert (refused.status, refused.url.startswith(saml_world.world.issuer)) == (403, True)
    assert site.who(browser) is None


def test_names_differ_from_site_to_site(saml_world: SamlWorld, browser: Browser) -> None:
    """The ``pairwise-id`` of a customer is another one at each service provider."""
    names = []
    for site in saml_world.sites.values():
        log_in(site, saml_world, browser)
        known = site.who(browser)
        assert known
        names.append(known["pairwise_id"])
    assert len(set(names)) == len(saml_world.sites)


def test_an_answer_for_another_site_is_refused(site: Site, saml_world: SamlWorld, browser: Browser) -> None:
    """A genuine response of the same broker, to another service provider."""
    other = next(each for each in saml_world.sites.values() if each is not site)
    log_in(other, saml_world, browser, stop_before=other.acs)
    answer = dict(parse_qsl(browser.page.form or ""))
    stranger = saml_world.world.browser()
    site.begin(stranger, stop_before=f"{saml_world.world.issuer}/saml/sso")
    stranger.submit(site.acs, [("SAMLResponse", answer["SAMLResponse"])])
    site.refused(stranger)
    stranger.close()


Change = Callable[[Forgery], Forgery]
FORGERIES: dict[str, Change] = {
    "another audience": lambda right: right.told(audience="https://somebody-else.example/metadata"),
    "an unknown key": lambda right: Forgery(right.envelope, right.content, forging.another_key()),
    "expired": lambda right: right.told(
        valid_from=right.content.valid_from - timedelta(hours=2),
        valid_until=right.content.valid_until - timedelta(hours=2),
    ),
    "not yet good": lambda right: right.told(
        valid_from=right.content.valid_from + timedelta(hours=2),
        valid_until=right.content.valid_until + timedelta(hours=2),
    ),
}


def test_a_forger_who_changes_nothing_is_believed(site: Site, forger: Forger, browser: Browser) -> None:
    """The way forgeries are made is sound, so that those below are refused for what they change."""
    forger.deliver(forger.octets(forger.begin()))
    known = site.who(browser)
    assert known, f"{browser.page} {browser.page.text[:500]}\n{site.log()}"
    assert known["pairwise_id"] == "mallory@localhost"


@pytest.mark.parametrize("change", FORGERIES.values(), ids=FORGERIES.keys())
def test_a_spoiled_response_is_refused(site: Site, forger: Forger, browser: Browser, change: Change) -> None:
    """saml-profiles-2.0-os, section 4.1.4.3: what the software has to check."""
    forger.deliver(forger.octets(change(forger.begin())))
    site.refused(browser)


@pytest.mark.needs("only_answers")
def test_an_answer_to_another_request_is_refused(site: Site, forger: Forger, browser: Browser) -> None:
    """Login CSRF: ``InResponseTo`` is a request the site made."""
    forger.deliver(forger.octets(forger.begin().sent(in_response_to="_of-another-login")))
    site.refused(browser)


def test_a_tampered_response_is_refused(site: Site, forger: Forger, browser: Browser) -> None:
    """What the signature covers is as it was signed."""
    response = forger.octets(forger.begin())
    assert response.count(b":status:Success") == 1
    forger.deliver(
        response.replace(b"<samlp:Status>", b"<samlp:Status >").replace(b":status:Success", b":status:Success ")
    )
    site.refused(browser)


def log_in(site: Site, saml_world: SamlWorld, browser: Browser, *, stop_before: str = "") -> Page:
    """From the site's link through the broker, by the session where there is one; where that leads."""
    begun = site.begin(browser, stop_before=stop_before)
    if begun.url.startswith(saml_world.world.issuer):
        saml_world.world.log_in(browser, stop_before=stop_before)
    return browser.page


def root_of(posted: Page) -> Any:
    """The response that a stopped form carries."""
    return etree.fromstring(base64.b64decode(dict(parse_qsl(posted.form or ""))["SAMLResponse"]))


def _spoiled(text: str) -> str:
    return f"{'B' if text[0] == 'A' else 'A'}{text[1:]}"
