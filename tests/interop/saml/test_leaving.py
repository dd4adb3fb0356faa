"""Single logout with service providers of others: begun at each of them, and begun at the broker (docs/saml.md, Logging out)."""

import base64
import re
import zlib
from html import unescape
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from lxml import etree

from tests.interop.browser import Browser, Page
from tests.interop.saml.party import Site
from tests.interop.saml.test_service_providers import log_in
from tests.interop.saml.world import SamlWorld

NS = {"samlp": "urn:oasis:names:tc:SAML:2.0:protocol"}
STATUS = "urn:oasis:names:tc:SAML:2.0:status:"


def answer_of(stopped: Page) -> Any:
    """The LogoutResponse in a request that was stopped: in its form, or deflated in its address."""
    if stopped.form is not None:
        return etree.fromstring(base64.b64decode(dict(parse_qsl(stopped.form))["SAMLResponse"]))
    packed = base64.b64decode(dict(parse_qsl(urlsplit(stopped.url).query))["SAMLResponse"])
    return etree.fromstring(zlib.decompress(packed, wbits=-15))


def statuses(stopped: Page) -> list[str]:
    """From the top down."""
    return [each.get("Value").removeprefix(STATUS) for each in answer_of(stopped).iter(f"{{{NS['samlp']}}}StatusCode")]


def asks_to_log_in(site: Site, saml_world: SamlWorld, browser: Browser) -> bool:
    """Whether nobody has a session at the broker any more."""
    return site.begin(browser).url.startswith(saml_world.world.issuer) and browser.has("method-google")


def explained(site: Site, saml_world: SamlWorld, browser: Browser) -> str:
    return f"{browser.page} {browser.page.text[:600]}\n{site.log()}\n{saml_world.world.log()}"


def leave(site: Site, saml_world: SamlWorld, browser: Browser) -> Page:
    """From the site's link to the broker; its answer, on the way back."""
    asked = site.leave(browser, stop_before=f"{saml_world.world.issuer}/saml/slo")
    return browser.open(asked.url, stop_before=site.slo)


def test_begun_at_the_site(site: Site, saml_world: SamlWorld, browser: Browser) -> None:
    """Nobody else is left: the software takes the answer for what it is, and she is out at both."""
    log_in(site, saml_world, browser)
    answer = leave(site, saml_world, browser)
    assert statuses(answer) == ["Success"], explained(site, saml_world, browser)
    browser.deliver(answer)
    assert browser.page.url.startswith(site.place.site), explained(site, saml_world, browser)
    assert browser.page.status == 200, explained(site, saml_world, browser)
    assert site.who(browser) is None
    assert asks_to_log_in(site, saml_world, browser)


def test_begun_at_the_site_while_another_is_left(site: Site, saml_world: SamlWorld, browser: Browser) -> None:
    """PartialLogout is still a logout to the software; the other site, which nobody told, keeps her, and the broker does not."""
    other = next(each for each in saml_world.sites.values() if each is not site)
    log_in(other, saml_world, browser)
    log_in(site, saml_world, browser)
    answer = leave(site, saml_world, browser)
    assert statuses(answer) == ["Success", "PartialLogout"], explained(site, saml_world, browser)
    browser.deliver(answer)
    assert browser.page.status == 200, explained(site, saml_world, browser)
    assert site.who(browser) is None
    assert other.who(browser)
    assert asks_to_log_in(site, saml_world, browser)


def test_begun_at_the_broker(site: Site, saml_world: SamlWorld, browser: Browser) -> None:
    """She reads that she is still in at the site, goes there, and reads that she is out there too."""
    log_in(site, saml_world, browser)
    browser.open(f"{saml_world.world.issuer}/logout/confirm")
    browser.press("log-out")
    assert browser.has(f"still-{site.name}"), explained(site, saml_world, browser)
    (onward,) = re.findall(rf'<a id="still-{site.name}"[^>]*href="([^"]+)"', browser.page.text)
    back = browser.open(f"{saml_world.world.issuer}{unescape(onward)}")
    assert back.url.startswith(f"{saml_world.world.issuer}/logged-out"), explained(site, saml_world, browser)
    assert browser.has("told")
    assert not browser.has(f"still-{site.name}")
    assert site.who(browser) is None


def test_an_answer_that_was_changed_is_none(site: Site, saml_world: SamlWorld, browser: Browser) -> None:
    """What the site hears of how it went is signed, and the software looks."""
    log_in(site, saml_world, browser)
    answer = leave(site, saml_world, browser)
    if answer.form is not None:
        members = dict(parse_qsl(answer.form))
        changed = base64.b64decode(members["SAMLResponse"]).replace(b":status:Success", b":status:Success ", 1)
        browser.deliver(answer, SAMLResponse=base64.b64encode(changed).decode())
    else:
        signature = dict(parse_qsl(urlsplit(answer.url).query))["Signature"]
        browser.deliver(answer, Signature=f"{'B' if signature[0] == 'A' else 'A'}{signature[1:]}")
    assert browser.page.status >= 400, explained(site, saml_world, browser)


def test_a_request_that_was_changed_ends_nothing(site: Site, saml_world: SamlWorld, browser: Browser) -> None:
    """The broker logs nobody out by a message that its sender did not sign."""
    log_in(site, saml_world, browser)
    asked = site.leave(browser, stop_before=f"{saml_world.world.issuer}/saml/slo")
    signature = dict(parse_qsl(urlsplit(asked.url).query))["Signature"]
    assert browser.deliver(asked, Signature=f"{'B' if signature[0] == 'A' else 'A'}{signature[1:]}").status == 400
    assert browser.deliver(asked, Signature=None, SigAlg=None).status == 400
    site.begin(browser)
    assert site.who(browser)
