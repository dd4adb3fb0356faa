"""The modules of ``oidcc-backchannel-rp-initiated-logout-certification-test-plan``, and section 2.4 of the specification."""

import json
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.conftest import Golden
from tests.downstream.receiver import EVENT, Village
from tests.stage import ISSUER

BYE = "https://bakery.example/bye"


async def one_logout(village: Village) -> tuple[dict[str, Any], dict[str, Any]]:
    """The claims of the bakery's ID token, and of the logout token it got for it."""
    browser = village.stage.browser()
    (given,) = await village.log_in(browser, village.bakery)
    asked = {"id_token_hint": given["id_token"], "post_logout_redirect_uri": BYE, "state": "x"}
    answer = await browser.get(f"/logout?{urlencode(asked)}")
    assert answer.location == f"{BYE}?state=x"
    assert (await browser.get(village.bakery.request(prompt="none"))).query["error"] == "login_required"
    (call,) = village.bakery_server.calls
    return given["claims"], await village.logout_token(call)


async def test_oidcc_backchannel_logout_discovery_endpoint_verification(village: Village) -> None:
    """Both flags are true."""
    published = (await village.stage.client.get("/.well-known/openid-configuration")).json()
    assert published["backchannel_logout_supported"] is True
    assert published["backchannel_logout_session_supported"] is True


async def test_oidcc_backchannel_rp_initiated_logout(village: Village) -> None:
    """One POST with nothing but a logout token that names the session of the ID token; then prompt=none is an error."""
    id_token, logout_token = await one_logout(village)
    assert logout_token["iss"] == id_token["iss"] == ISSUER
    assert logout_token["aud"] == id_token["aud"] == "bakery-web"
    assert (logout_token["sub"], logout_token["sid"]) == (id_token["sub"], id_token["sid"])
    assert logout_token["events"] == {EVENT: {}}
    assert "nonce" not in logout_token
    (call,) = village.bakery_server.calls
    assert set(call.form) == {"logout_token"}
    assert call.head.startswith("POST /logout?of=bakery HTTP/1.1\r\n")
    assert "content-type: application/x-www-form-urlencoded" in call.head.lower()


async def test_of_the_token_section_2_4(village: Village, golden: Golden) -> None:
    """Every claim it names and no other; good for two minutes at most; another jti each time."""
    _, token = await one_logout(village)
    now = int(village.stage.clock.now.timestamp())
    assert (token["iat"], token["exp"]) == (now, now + 120)
    shape = {name: type(value).__name__ if name != "events" else value for name, value in token.items()}
    golden("logout_token.json", json.dumps(shape, indent=2, sort_keys=True) + "\n")
    _, other = await one_logout_again(village)
    assert other["jti"] != token["jti"]


async def one_logout_again(village: Village) -> tuple[dict[str, Any], dict[str, Any]]:
    village.bakery_server.calls.clear()
    return await one_logout(village)


@pytest.mark.parametrize(("partner", "alg"), [("bakery", "ES256"), ("dairy", "RS256")])
async def test_is_signed_as_the_clients_id_tokens_are(village: Village, partner: str, alg: str) -> None:
    """Section 2.4: the algorithm the client registered for ID tokens."""
    browser = village.stage.browser()
    await village.log_in(browser, getattr(village, partner))
    await village.log_out(browser)
    (call,) = getattr(village, f"{partner}_server").calls
    header = json.loads(bytes.fromhex(_hex(call.token.split(".")[0])))
    assert (header["alg"], header["typ"]) == (alg, "logout+jwt")


def _hex(part: str) -> str:
    import base64

    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)).hex()


async def test_every_partner_of_the_session_is_told_its_own(village: Village) -> None:
    """Section 2.3 and 2.5: all of them, each by its own sub and sid, and partners of other sessions not at all."""
    browser, other = village.stage.browser(), village.stage.browser()
    bakery, dairy = await village.log_in(browser, village.bakery, village.dairy)
    await village.log_in(other, village.dairy)
    await village.log_out(browser)
    (to_bakery,), (to_dairy,) = village.bakery_server.calls, village.dairy_server.calls
    told = [await village.logout_token(call) for call in (to_bakery, to_dairy)]
    assert [each["sid"] for each in told] == [bakery["claims"]["sid"], dairy["claims"]["sid"]]
    assert len({each["sid"] for each in told}) == len({each["sub"] for each in told}) == 2
    assert await village.is_logged_in(other)
