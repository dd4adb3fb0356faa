"""Logging out, and being told that somebody did."""

import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.interop import front
from tests.interop.browser import Browser
from tests.interop.clients import CLIENTS
from tests.interop.site import Can, Site
from tests.interop.world import World

EVENT = "http://schemas.openid.net/event/backchannel-logout"
_PATIENCE_S = 20.0


@pytest.fixture(scope="session")
def other_site(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Another site the same customer is logged in at."""
    client = CLIENTS[0]
    started = Site(client, world.place(client, spare=2), tmp_path_factory.mktemp("other") / client.name)
    yield started
    started.close()


def test_logging_out_at_the_site_logs_out_at_the_broker(site: Site, world: World, logged_in: Browser) -> None:
    """RP-Initiated Logout 1.0: back at the site as nobody, and the next login asks again."""
    page = site.log_out(logged_in)
    assert page.url.startswith(site.place.site), f"{page} {page.text[:500]}"
    assert site.who(logged_in) is None
    site.begin(logged_in)
    assert logged_in.has("method-google"), logged_in.page


@pytest.mark.needs(Can.HEAR_LOGOUT)
def test_a_logout_elsewhere_reaches_the_site(site: Site, other_site: Site, logged_in: Browser, world: World) -> None:
    """Back-Channel Logout 1.0: the broker tells the site, which forgets her without her browser."""
    other_site.begin(logged_in)
    assert site.who(logged_in)
    assert other_site.who(logged_in)
    other_site.log_out(logged_in)
    _becomes_nobody(site, logged_in, world)


@pytest.mark.needs(Can.HEAR_LOGOUT)
def test_a_logout_token_of_our_own_is_believed(site: Site, world: World, logged_in: Browser) -> None:
    """The way forgeries are made is sound, so that those below are refused for what they change."""
    answer = _tell(site, world, logged_in)
    assert answer.status_code in (200, 204), answer.text
    assert site.who(logged_in) is None


FORGERIES: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "https://login.example"},
    "another audience": {"aud": "somebody-else"},
    "a nonce": {"nonce": "of-an-id-token"},
    "no event": {"events": {}},
    "another session": {"sid": "of-nobody"},
}


@pytest.mark.needs(Can.HEAR_LOGOUT)
@pytest.mark.parametrize("changed", FORGERIES.values(), ids=FORGERIES.keys())
def test_a_forged_logout_token_logs_nobody_out(
    site: Site, world: World, logged_in: Browser, changed: dict[str, Any]
) -> None:
    """Back-Channel Logout 1.0 section 2.6: what is not a logout token for this site and session ends nothing."""
    _tell(site, world, logged_in, **changed)
    assert site.who(logged_in)


@pytest.mark.needs(Can.HEAR_LOGOUT)
def test_an_unsigned_logout_token_logs_nobody_out(site: Site, world: World, logged_in: Browser) -> None:
    """Anybody could write it."""
    token = front.unsigned(world.front.signed(_claims(site, world, logged_in), typ="logout+jwt"))
    answer = _post(site, world, token)
    assert answer.status_code >= 400
    assert site.who(logged_in)


def _tell(site: Site, world: World, browser: Browser, **changed: Any) -> httpx2.Response:
    claims = {**_claims(site, world, browser), **changed}
    return _post(site, world, world.front.signed(claims, typ="logout+jwt", alg=site.client.algorithm))


def _claims(site: Site, world: World, browser: Browser) -> dict[str, Any]:
    known = site.who(browser)
    assert known
    now = int(time.time())
    return {
        "iss": world.issuer,
        "aud": site.place.client_id,
        "sub": known["claims"]["sub"],
        "sid": known["claims"]["sid"],
        "iat": now,
        "exp": now + 120,
        "jti": str(uuid.uuid4()),
        "events": {EVENT: {}},
    }


def _post(site: Site, world: World, token: str) -> httpx2.Response:
    with httpx2.Client(verify=world.trust, trust_env=False) as http:
        return http.post(site.client.logout_uri(site.place.site), data={"logout_token": token})


def _becomes_nobody(site: Site, browser: Browser, world: World) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while site.who(browser) is not None:
        assert time.monotonic() < deadline, f"{site.log()}\n{world.log()}"
        time.sleep(0.1)
