"""
``oidcc-basic-certification-test-plan``: one test per module, by the module's name; each docstring says what it checks.

What the suite would skip because the broker does not advertise it is tested as that: not advertised, and refused.
"""

from collections.abc import AsyncIterator
from math import log2
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_asyncio

from tests.conformance.plan import (
    CALLBACK,
    FIRST,
    NONCE,
    OF_AN_ID_TOKEN,
    POSTING,
    SECOND,
    STATE,
    Suite,
    header_of,
    open_suite,
)
from tests.stage import ISSUER, Answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

_VERIFIER = "v" * 64
_CHALLENGE = "w1TpKUdYE9hUAcNSeeSRFioHDxfUxuHho_JHAfZ_vDM"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def op(prepared_stage: Path) -> AsyncIterator[Suite]:
    async with open_suite(prepared_stage, "query") as suite:
        yield suite


async def _metadata(op: Suite) -> dict[str, Any]:
    document: dict[str, Any] = (await op.stage.client.get("/.well-known/openid-configuration")).json()
    return document


async def test_oidcc_server(op: Suite) -> None:
    """The whole code flow: state, iss, entropy of the code, the token response, every claim of the ID token, userinfo."""
    members = await op.log_in()
    assert set(members) == {"code", "state", "iss"}
    assert len(members["code"]) * log2(len(set(members["code"]))) >= 128
    tokens = await op.tokens(members)
    claims = tokens["claims"]
    assert claims["iss"] == ISSUER
    assert claims["aud"] == FIRST
    assert claims["nonce"] == NONCE
    assert abs(claims["iat"] - op.now_s()) < 300
    assert claims["exp"] > op.now_s()
    assert claims["acr"]
    assert claims["auth_time"] <= op.now_s()
    assert set(claims) <= OF_AN_ID_TOKEN
    assert set(await op.userinfo(tokens)) == {"sub"}


async def test_oidcc_response_type_missing(op: Suite) -> None:
    """An error at the callback."""
    members = await op.silently(op.stage.browser(), response_type=None)
    assert members["error"] == "invalid_request"


async def test_oidcc_idtoken_signature(op: Suite) -> None:
    """No algorithm registered: RS256, with the kid of a published key."""
    tokens = await op.tokens(await op.log_in())
    header = header_of(tokens["id_token"])
    assert header["alg"] == "RS256"
    assert header["kid"] in {key["kid"] for key in (await op.stage.client.get("/jwks")).json()["keys"]}


async def test_oidcc_idtoken_unsigned(op: Suite) -> None:
    """Skipped by the suite: ``none`` is not advertised."""
    assert "none" not in (await _metadata(op))["id_token_signing_alg_values_supported"]


async def test_oidcc_userinfo_get(op: Suite) -> None:
    """GET with the token as Bearer."""
    await op.userinfo(await op.tokens(await op.log_in()))


async def test_oidcc_userinfo_post_header(op: Suite) -> None:
    """POST with the token as Bearer."""
    tokens = await op.tokens(await op.log_in())
    await op.userinfo(tokens, method="POST", headers={"authorization": f"Bearer {tokens['access_token']}"})


async def test_oidcc_userinfo_post_body(op: Suite) -> None:
    """POST with the token in the form: taken, or refused, which is a warning (RFC 9700 prefers the header)."""
    tokens = await op.tokens(await op.log_in())
    raw = await op.stage.client.post("/userinfo", data={"access_token": tokens["access_token"]})
    assert raw.status_code in {200, 400, 401}
    assert raw.status_code != 200 or raw.json()["sub"] == tokens["claims"]["sub"]


async def test_oidcc_ensure_request_without_nonce_succeeds_for_code_flow(op: Suite) -> None:
    """No nonce asked, none invented."""
    assert "nonce" not in (await op.tokens(await op.log_in(nonce=None)))["claims"]


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        pytest.param("profile", {"name", "locale"}, id="oidcc-scope-profile"),
        pytest.param("email", {"email", "email_verified"}, id="oidcc-scope-email"),
        pytest.param("phone", set(), id="oidcc-scope-phone"),
        pytest.param("profile email phone", {"name", "email", "email_verified", "locale"}, id="oidcc-scope-all"),
    ],
)
async def test_oidcc_scope(op: Suite, scope: str, expected: set[str]) -> None:
    """Claims of the scopes at userinfo and not in the ID token. What nobody told us is left out: a warning, never null."""
    tokens = await op.tokens(await op.log_in(scope=f"openid {scope}"))
    told = await op.userinfo(tokens)
    assert set(told) == {"sub", *expected}
    assert None not in told.values()
    assert set(tokens["claims"]) <= OF_AN_ID_TOKEN


async def test_oidcc_scope_address(op: Suite) -> None:
    """Skipped by the suite: addresses are not what this broker deals in."""
    assert "address" not in (await _metadata(op))["scopes_supported"]


async def test_oidcc_alternate_happy_flow(op: Suite) -> None:
    """The order of scopes and of parameters says nothing."""
    browser = op.stage.browser()
    query = "&".join(reversed(op.request(scope="email profile openid").partition("?")[2].split("&")))
    await browser.follow(await browser.get(f"/authorize?{query}"))
    tokens = await op.tokens(op.callback(await browser.log_in("google", "maja")))
    assert (await op.userinfo(tokens))["email"] == "maja@example.com"


@pytest.mark.parametrize("display", ["page", "popup", "touch", "wap"])
async def test_oidcc_display(op: Suite, display: str) -> None:
    """Tolerated: our pages fit every width anyway."""
    await op.tokens(await op.log_in(display=display))


async def test_oidcc_prompt_login(op: Suite) -> None:
    """A second login although there is a session, and auth_time is that of the second."""
    browser = op.stage.browser()
    first = (await op.tokens(await op.log_in(browser)))["claims"]
    op.stage.clock.forward(seconds=2)
    second = (await op.tokens(await op.log_in(browser, prompt="login")))["claims"]
    assert second["auth_time"] > first["auth_time"]
    assert second["sub"] == first["sub"]


async def test_oidcc_prompt_none_not_logged_in(op: Suite) -> None:
    """login_required, with the long state intact."""
    members = await op.silently(op.stage.browser(), prompt="none")
    assert members["error"] == "login_required"
    assert members["state"] == STATE


async def test_oidcc_prompt_none_logged_in(op: Suite) -> None:
    """No page, the same customer, the same auth_time."""
    browser = op.stage.browser()
    first = (await op.tokens(await op.log_in(browser)))["claims"]
    op.stage.clock.forward(seconds=2)
    second = (await op.tokens(await op.silently(browser, prompt="none")))["claims"]
    assert (second["sub"], second["auth_time"]) == (first["sub"], first["auth_time"])


async def test_oidcc_max_age_1(op: Suite) -> None:
    """Two seconds later one second is over: a login, and auth_time says when."""
    browser = op.stage.browser()
    first = (await op.tokens(await op.log_in(browser)))["claims"]
    op.stage.clock.forward(seconds=2)
    second = (await op.tokens(await op.log_in(browser, max_age="1")))["claims"]
    assert second["auth_time"] > first["auth_time"]
    assert op.now_s() - second["auth_time"] <= 1


async def test_oidcc_max_age_10000(op: Suite) -> None:
    """auth_time because it was asked for; then no page, the same customer and time."""
    browser = op.stage.browser()
    first = (await op.tokens(await op.log_in(browser, max_age="15000")))["claims"]
    op.stage.clock.forward(seconds=2)
    second = (await op.tokens(await op.silently(browser, max_age="10000")))["claims"]
    assert (second["sub"], second["auth_time"]) == (first["sub"], first["auth_time"])


async def test_oidcc_ensure_request_with_unknown_parameter_succeeds(op: Suite) -> None:
    """Ignored (RFC 6749 section 3.1)."""
    await op.tokens(await op.log_in(extra="foobar"))


async def test_oidcc_id_token_hint(op: Suite) -> None:
    """The same customer goes through silently."""
    browser = op.stage.browser()
    first = await op.tokens(await op.log_in(browser))
    second = await op.tokens(await op.silently(browser, prompt="none", id_token_hint=first["id_token"]))
    assert second["claims"]["sub"] == first["claims"]["sub"]


async def test_oidcc_login_hint(op: Suite) -> None:
    """The suite's default names nobody; that is no error."""
    await op.tokens(await op.log_in(login_hint="buffy@localhost"))


async def test_oidcc_ui_locales(op: Suite) -> None:
    """Northern Sami, which we do not speak."""
    await op.tokens(await op.log_in(ui_locales="se"))


async def test_oidcc_claims_locales(op: Suite) -> None:
    """Names are in one language."""
    await op.tokens(await op.log_in(claims_locales="se"))


async def test_oidcc_ensure_request_with_acr_values_succeeds(op: Suite) -> None:
    """All that discovery lists: any login will do, and its own level is told, which is one of them."""
    advertised = (await _metadata(op))["acr_values_supported"]
    tokens = await op.tokens(await op.log_in(acr_values=" ".join(advertised)))
    assert tokens["claims"]["acr"] in advertised


@pytest.mark.parametrize(
    "seconds", [pytest.param(0, id="oidcc-codereuse"), pytest.param(30, id="oidcc-codereuse-30seconds")]
)
async def test_oidcc_codereuse(op: Suite, seconds: int) -> None:
    """Exactly 400 invalid_grant, and what the code gave is worth nothing any more."""
    members = await op.log_in()
    tokens = await op.tokens(members)
    op.stage.clock.forward(seconds=seconds)
    again = await op.redeem(members)
    assert (again.status, again.json["error"]) == (400, "invalid_grant")
    spent = await op.stage.client.get("/userinfo", headers={"authorization": f"Bearer {tokens['access_token']}"})
    assert spent.status_code == 401


async def test_oidcc_ensure_registered_redirect_uri(op: Suite) -> None:
    """A page of ours, to neither address."""
    for uri in (f"{CALLBACK}?foo=bar", f"{CALLBACK}/other", "https://elsewhere.example/callback"):
        answer = await op.stage.browser().get(op.request(redirect_uri=uri))
        assert answer.status == 400
        assert not answer.location
        assert answer.form_post is None


async def test_oidcc_ensure_post_request_succeeds(op: Suite) -> None:
    """A cross-site POST without our cookies: a 303 to a GET finds them again."""
    browser = op.stage.browser()
    await op.log_in(browser)
    query = op.request().partition("?")[2]
    sent = {"content-type": "application/x-www-form-urlencoded", "origin": "https://suite.example"}
    moved = Answer(await op.stage.client.post("/authorize", content=query, headers=sent))
    assert moved.status == 303
    await op.tokens(op.callback(await browser.get(moved.location)))


async def test_oidcc_server_client_secret_post(op: Suite) -> None:
    """The client that proves itself in the form; and not by Basic."""
    tokens = await op.tokens(await op.log_in(client_id=POSTING), POSTING)
    assert tokens["claims"]["aud"] == POSTING
    members = await op.log_in(client_id=POSTING)
    form = {"grant_type": "authorization_code", "code": members["code"], "redirect_uri": CALLBACK}
    raw = await op.stage.client.post("/token", data=form, auth=(POSTING, "0123456789abcdef0123456789abcdef"))
    assert raw.json()["error"] == "invalid_client"


@pytest.mark.parametrize(
    ("parameter", "error"),
    [
        pytest.param(
            {"request": "eyJhbGciOiJub25lIn0.eyJzdGF0ZSI6ImEifQ."},
            "request_not_supported",
            id="oidcc-unsigned-request-object-supported-correctly-or-rejected-as-unsupported",
        ),
        pytest.param(
            {"request_uri": "https://suite.example/request.jwt"},
            "request_uri_not_supported",
            id="oidcc-request-uri-unsigned-supported-correctly-or-rejected-as-unsupported",
        ),
        pytest.param(
            {"request": "eyJhbGciOiJub25lIn0.eyJyZWRpcmVjdF91cmkiOiJodHRwczovL2UuZXhhbXBsZSJ9."},
            "request_not_supported",
            id="oidcc-ensure-request-object-with-redirect-uri",
        ),
    ],
)
async def test_oidcc_request_objects(op: Suite, parameter: dict[str, str], error: str) -> None:
    """Not advertised, and refused by name: ignoring the object would be a failure."""
    assert (await op.silently(op.stage.browser(), **parameter))["error"] == error
    metadata = await _metadata(op)
    assert metadata["request_parameter_supported"] is False
    assert metadata["request_uri_parameter_supported"] is False


async def test_oidcc_claims_essential(op: Suite) -> None:
    """name, asked for by its name, at userinfo and not in the ID token."""
    tokens = await op.tokens(await op.log_in(claims='{"userinfo":{"name":{"essential":true}}}'))
    assert (await op.userinfo(tokens))["name"] == "Maja Lind"
    assert "name" not in tokens["claims"]


async def test_oidcc_refresh_token(op: Suite) -> None:
    """The new ID token: same iss, sub, aud and auth_time, later iat, no azp; another client's token is invalid_grant."""
    scopes = {"scope": "openid offline_access", "prompt": "consent"}
    first = await op.tokens(await op.log_in(**scopes))
    op.stage.clock.forward(seconds=2)
    refreshed = await op.token({"grant_type": "refresh_token", "refresh_token": first["refresh_token"]})
    assert refreshed.status == 200
    assert "no-store" in refreshed.headers["cache-control"]
    assert refreshed.json["token_type"] == "Bearer"
    claims = await op.stage.id_token(refreshed.json["id_token"])
    for same in ("iss", "sub", "aud", "auth_time"):
        assert claims[same] == first["claims"][same]
    assert claims["iat"] > first["claims"]["iat"]
    assert "azp" not in claims
    second = await op.tokens(await op.log_in(client_id=SECOND, **scopes), SECOND)
    stolen = await op.token({"grant_type": "refresh_token", "refresh_token": second["refresh_token"]})
    assert (stolen.status, stolen.json["error"]) == (400, "invalid_grant")


async def test_oidcc_ensure_request_with_valid_pkce_succeeds(op: Suite) -> None:
    """S256 is taken, and then held to."""
    pkce = {"code_challenge": _CHALLENGE, "code_challenge_method": "S256"}
    await op.tokens(await op.log_in(**pkce), code_verifier=_VERIFIER)
    refused = await op.redeem(await op.log_in(**pkce))
    assert (refused.status, refused.json["error"]) == (400, "invalid_grant")
    unasked = await op.redeem(await op.log_in(), code_verifier=_VERIFIER)
    assert (unasked.status, unasked.json["error"]) == (400, "invalid_grant")


async def test_keys_every_plan_begins_with(op: Suite) -> None:
    """ValidateJwksSequence, CheckDistinctKeyIdValueInServerJWKs: nothing private, nothing symmetric, every kid once."""
    keys = (await op.stage.client.get("/jwks")).json()["keys"]
    assert len({key["kid"] for key in keys}) == len(keys)
    for key in keys:
        assert key["kty"] in {"RSA", "EC", "OKP"}
        assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & set(key)


async def test_errors_of_another_client_stay_there(op: Suite) -> None:
    """A code of the first client is nothing for the second (RFC 6749 section 4.1.3)."""
    members = await op.log_in()
    refused = await op.redeem(members, SECOND)
    assert (refused.status, refused.json["error"]) == (400, "invalid_grant")
    assert urlencode({"code": members["code"]}) not in refused.text
