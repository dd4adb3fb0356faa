"""
Access tokens at an API that others guard: mod_auth_openidc as a resource server.

One asks the broker about each token (RFC 7662), the other checks JWTs by the published keys (RFC 9068).
"""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.interop.browser import Browser
from tests.interop.clients import CLIENTS
from tests.interop.site import Can, Client, Site
from tests.interop.world import World

GUARDS = {"openid-client": "mod-auth-openidc", "openid-client-public": "mod-auth-openidc-old"}
"""Who guards the API for which client: opaque tokens need somebody who asks."""


@pytest.fixture(scope="session")
def api(client: Client, world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The API that the client's tokens are for."""
    guard = next(each for each in CLIENTS if each.name == GUARDS[client.name])
    started = Site(guard, world.place(guard, spare=1), tmp_path_factory.mktemp("api") / guard.name)
    yield started
    started.close()


@pytest.fixture
def tokens(site: Site, world: World, browser: Browser) -> dict[str, Any]:
    """The client's tokens, once Maja has logged in."""
    return _tokens(site, world, browser)


@pytest.mark.needs(Can.CALL_API)
def test_the_api_takes_its_token(api: Site, world: World, tokens: dict[str, Any]) -> None:
    """It learns a subject of its own: the API's number of her is not the site's."""
    answer = _call(api, world, tokens["access_token"])
    assert answer.status_code == 200, f"{answer.text}\n{api.log()}"
    assert answer.json()["sub"]
    assert answer.json()["sub"] != "(none)"


@pytest.mark.needs(Can.CALL_API)
@pytest.mark.parametrize("token", [None, "invented", "a.b.c"])
def test_the_api_refuses_what_is_no_token(api: Site, world: World, tokens: dict[str, Any], token: str | None) -> None:
    """RFC 6750 section 3."""
    assert _call(api, world, token).status_code == 401


@pytest.mark.needs(Can.CALL_API)
def test_the_api_refuses_an_id_token(api: Site, world: World, tokens: dict[str, Any]) -> None:
    """Signed by the same keys, and for somebody else (RFC 9068 section 5)."""
    assert _call(api, world, tokens["id_token"]).status_code == 401


@pytest.mark.needs(Can.CALL_API)
def test_the_api_refuses_a_refresh_token(api: Site, world: World, tokens: dict[str, Any]) -> None:
    """It is for the token endpoint only."""
    assert _call(api, world, tokens["refresh_token"]).status_code == 401


@pytest.mark.needs(Can.CALL_API)
def test_the_api_refuses_a_token_of_another_site(
    api: Site, world: World, browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A genuine access token that is not for this API."""
    client = CLIENTS[0]
    other = Site(client, world.place(client, spare=1), tmp_path_factory.mktemp("stranger") / client.name)
    try:
        token = _tokens(other, world, browser)["access_token"]
    finally:
        other.close()
    assert _call(api, world, token).status_code == 401


@pytest.mark.needs(Can.CALL_API)
def test_a_revoked_token_is_refused_where_the_broker_is_asked(
    client: Client, api: Site, world: World, tokens: dict[str, Any]
) -> None:
    """RFC 7009; whoever checks by keys alone goes on until it expires, as documented."""
    place = world.place(client)
    proof: dict[str, Any] = {"auth": (place.client_id, place.secret)}
    if client.name.endswith("-public"):
        proof = {}
    with httpx2.Client(verify=world.trust, trust_env=False) as http:
        form = {"token": tokens["access_token"], "client_id": place.client_id}
        assert http.post(f"{world.issuer}/revoke", data=form, **proof).status_code == 200
    is_asked = not client.name.endswith("-public")
    assert _call(api, world, tokens["access_token"]).status_code == (401 if is_asked else 200)


def _tokens(site: Site, world: World, browser: Browser) -> dict[str, Any]:
    seen: list[dict[str, Any]] = []

    def keep(answer: dict[str, Any]) -> dict[str, Any]:
        seen.append(answer)
        return answer

    site.begin(browser)
    with world.front.changing("/token", keep):
        world.log_in(browser)
    return seen[-1]


def _call(api: Site, world: World, token: str | None) -> httpx2.Response:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    with httpx2.Client(verify=world.trust, trust_env=False) as http:
        return http.get(f"{api.place.site}/api/who.json", headers=headers)
