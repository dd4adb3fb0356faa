"""The mistakes developers make, and what they see then: word for word as docs/relying-parties.md has it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.changing import replace
from tests.interop.browser import Browser
from tests.interop.processes import DidNotStart
from tests.interop.site import HERE, Can, Client, Place, Site
from tests.interop.world import World

PAGE = HERE.parents[1] / "docs/relying-parties.md"
OF_THE_BROKER = "This link is not right"


@dataclass(frozen=True)
class Mistake:
    """What somebody configured wrongly, and the words each library has for it; None: it does not mind."""

    change: Callable[[Place], Place]
    authlib: str | None
    openid_client: str | None
    go_oidc: str | None

    def words(self, client: Client) -> str | None:
        """What *client* says."""
        said = {"authlib-starlette": self.authlib, "openid-client": self.openid_client, "go-oidc": self.go_oidc}
        return said[client.name]


MISTAKES = {
    "the secret": Mistake(
        lambda place: replace(place, secret="wrong" * 8),
        "invalid_client: client authentication failed (reference",
        "server responded with a challenge in the WWW-Authenticate HTTP Header",
        'oauth2: "invalid_client" "client authentication failed (reference',
    ),
    "the client id": Mistake(
        lambda place: replace(place, client_id="nobody"), OF_THE_BROKER, OF_THE_BROKER, OF_THE_BROKER
    ),
    "the redirect URI": Mistake(
        lambda place: replace(place, site=place.site.replace("127.0.0.1", "localhost")),
        OF_THE_BROKER,
        OF_THE_BROKER,
        OF_THE_BROKER,
    ),
    "a slash after the issuer": Mistake(
        lambda place: replace(place, issuer=f"{place.issuer}/"),
        "Client error '404 Not Found' for url",
        None,
        "did not match the issuer URL returned by provider",
    ),
    "another name of the issuer": Mistake(
        lambda place: replace(place, issuer=place.issuer.replace("localhost", "127.0.0.1")),
        "Client error '421 Misdirected Request' for url",
        "unexpected HTTP response status code",
        "421 Misdirected Request: This server does not serve that host name.",
    ),
    "plain http": Mistake(
        lambda place: replace(place, issuer="http://127.0.0.1:9"),
        "All connection attempts failed",
        "only requests to HTTPS are allowed",
        "connection refused",
    ),
}


@pytest.mark.needs(Can.DOCUMENTED)
@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_told_as_documented(
    client: Client, world: World, browser: Browser, tmp_path: Path, mistake: Mistake
) -> None:
    """What the developer sees, on the page or in the site's log, is what the documentation says."""
    seen = _try(client, mistake.change(world.place(client, spare=1)), world, browser, tmp_path / "site")
    words = mistake.words(client)
    if words is None:
        assert "userinfo" in browser.page.text
    else:
        assert words in seen
        assert words in PAGE.read_text("utf-8")


NOT_BEGUN_HERE = {
    "authlib-starlette": "mismatching_state: CSRF Warning! State not equal in request and response.",
    "openid-client": "no login was begun here",
    "go-oidc": "state does not match",
}
CANCELLED = {
    "authlib-starlette": "access_denied: the customer cancelled",
    "openid-client": "access_denied: authorization response from the server is an error",
    "go-oidc": "access_denied: the customer cancelled",
}


@pytest.mark.needs(Can.DOCUMENTED)
def test_a_site_opened_under_another_name_loses_its_cookie(site: Site, world: World, browser: Browser) -> None:
    """Begun at localhost, answered at 127.0.0.1: the login is refused as if somebody else had begun it."""
    browser.open(f"{site.place.site.replace('127.0.0.1', 'localhost')}/login")
    world.log_in(browser)
    _is_told(browser, NOT_BEGUN_HERE[site.client.name])


@pytest.mark.needs(Can.DOCUMENTED)
def test_an_answer_loaded_again_is_told_as_documented(site: Site, world: World, browser: Browser) -> None:
    """Reload on the redirect URI."""
    site.begin(browser)
    world.log_in(browser, stop_before=site.callback)
    answer = browser.page
    browser.deliver(answer)
    browser.deliver(answer)
    _is_told(browser, NOT_BEGUN_HERE[site.client.name])


@pytest.mark.needs(Can.DOCUMENTED)
def test_a_cancelled_login_is_told_as_documented(site: Site, browser: Browser) -> None:
    """Not a mistake, but the same table."""
    site.begin(browser)
    browser.press("cancel")
    _is_told(browser, CANCELLED[site.client.name])


def _is_told(browser: Browser, words: str) -> None:
    assert words in browser.page.text
    assert words in PAGE.read_text("utf-8")


def _try(client: Client, place: Place, world: World, browser: Browser, folder: Path) -> str:
    """Start a site and log in as far as it goes; everything that can be seen."""
    try:
        site = Site(client, place, folder)
    except DidNotStart as error:
        return str(error)
    try:
        site.begin(browser)
        if browser.has("method-google"):
            world.log_in(browser)
    finally:
        site.close()
    return browser.page.text + site.log()
