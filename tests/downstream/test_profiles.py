"""What a profile means at the endpoints: the strict client and the legacy one, side by side with the others."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
import pytest_asyncio

from tests.conformance.plan import header_of
from tests.downstream.crowd import ASSERTION_TYPE, BANK, BANK_CALLBACK, BankKeys, Crowd
from tests.stage import ISSUER, Answer, open_stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

_STRICT = f"""
partners:
  bank:
    names: {{en: Bank}}
    home_uri: https://bank.example/
    oidc:
      client_id: {BANK}
      profile: strict
      jwks_file: bank.json
      redirect_uris: ["{BANK_CALLBACK}"]
      refresh_tokens: {{idle: 14d}}
    login:
      upstreams: [bankid, google]
      claims: [name]
      consent: implied
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def strict(prepared_stage: Path) -> AsyncIterator[Crowd]:
    """A broker whose bank says no more than ``profile: strict``."""
    folder = Path(tempfile.mkdtemp(dir=prepared_stage.parent))
    shutil.copytree(prepared_stage, folder, dirs_exist_ok=True)
    keys = BankKeys.make()
    (folder / "bank.json").write_text(keys.jwks())
    async with open_stage(folder, edit={"\npartners:\n": _STRICT}) as stage:
        yield Crowd(stage, keys)
    shutil.rmtree(folder)


async def push(
    crowd: Crowd, *, alg: str = "ES256", changed: dict[str, str | None] | None = None, **claims: Any
) -> Answer:
    """The bank pushes a request, with an assertion of these *claims*."""
    request = dict(parse_qsl(crowd.bank.request(scope="openid offline_access").partition("?")[2]))
    proof = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": crowd.assertion(alg=alg, **claims)}
    form = {name: value for name, value in {**request, **proof, **(changed or {})}.items() if value is not None}
    return Answer(await crowd.stage.client.post("/par", data=form))


async def tokens(crowd: Crowd) -> dict[str, Any]:
    pushed = await push(crowd)
    opened = urlencode({"client_id": BANK, "request_uri": pushed.json["request_uri"]})
    browser = crowd.stage.browser()
    await browser.follow(await browser.get(f"/authorize?{opened}"))
    answer = await browser.log_in("bankid", "maja")
    redeemed = await crowd.redeem(crowd.bank, answer.query["code"])
    assert redeemed.status == 200, redeemed.text
    body: dict[str, Any] = redeemed.json
    return body


async def test_a_strict_login_goes_all_the_way(strict: Crowd) -> None:
    """Pushed, signed with ES256, proven by a key to the issuer."""
    assert header_of((await tokens(strict))["id_token"])["alg"] == "ES256"


async def test_its_refresh_token_stays(strict: Crowd) -> None:
    """Without the client's key a stolen one is worth nothing, and a lost answer loses no session."""
    first = (await tokens(strict))["refresh_token"]
    for _ in range(2):
        form = {"grant_type": "refresh_token", "refresh_token": first, **strict.proof(strict.bank)}
        again = await strict.post_token(form)
        assert again.json["refresh_token"] == first
        strict.stage.clock.forward(seconds=31)


async def test_what_is_not_pushed_is_refused(strict: Crowd) -> None:
    """RFC 9126 section 5, at the redirect URI."""
    refused = await strict.stage.browser().get(strict.bank.request())
    assert refused.query["error"] == "invalid_request"
    assert refused.query["iss"] == ISSUER


@pytest.mark.parametrize(
    ("alg", "claims"),
    [
        pytest.param("ES256", {"aud": f"{ISSUER}/token"}, id="aud-token-endpoint"),
        pytest.param("ES256", {"aud": f"{ISSUER}/par"}, id="aud-par-endpoint"),
        pytest.param("ES256", {"aud": [ISSUER]}, id="aud-array"),
        pytest.param("ES256", {"aud": [ISSUER, f"{ISSUER}/token"]}, id="aud-array-of-two"),
        pytest.param("ES256", {"aud": f"{ISSUER}/"}, id="aud-with-slash"),
        pytest.param("RS256", {}, id="rs256"),
        pytest.param("ES256", {"sub": None}, id="no-sub"),
        pytest.param("ES256", {"exp": None}, id="no-exp"),
    ],
)
async def test_its_assertions_are_short_and_for_the_issuer(strict: Crowd, alg: str, claims: dict[str, Any]) -> None:
    """One string, the issuer; no RS256 (draft-ietf-oauth-rfc7523bis, FAPI 2.0 section 5.4)."""
    refused = await push(strict, alg=alg, **claims)
    assert refused.json["error"] == "invalid_client"


@pytest.mark.parametrize(("minutes", "status"), [(4, 201), (5, 201), (7, 400), (60, 400), (-5, 400)])
async def test_its_assertions_live_five_minutes(strict: Crowd, minutes: int, status: int) -> None:
    """Give or take a minute of clocks."""
    at = strict.stage.clock.now + timedelta(minutes=minutes)
    assert (await push(strict, exp=int(at.timestamp()))).status == status


@pytest.mark.parametrize(("ahead_s", "status"), [(8, 201), (90, 400)])
async def test_clocks_may_differ_a_little(strict: Crowd, ahead_s: int, status: int) -> None:
    """8 seconds ahead must be taken, more than 60 must not."""
    at = int((strict.stage.clock.now + timedelta(seconds=ahead_s)).timestamp())
    for name in ("iat", "nbf"):
        assert (await push(strict, **{name: at})).status == status


@pytest.mark.parametrize(
    "changed",
    [
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge_method": "plain"},
        {"redirect_uri": None},
        {"redirect_uri": "https://evil.example/"},
        {"request_uri": "urn:ietf:params:oauth:request_uri:x"},
        {"response_type": "code id_token"},
        {"response_type": "token"},
        {"client_assertion": None},
    ],
    ids=str,
)
async def test_what_it_may_not_push(strict: Crowd, changed: dict[str, str | None]) -> None:
    """PKCE with S256, a registered address, the code flow, no request inside a request, never without its key."""
    refused = await push(strict, changed=changed)
    assert refused.status == 400
    assert "request_uri" not in refused.json


async def test_a_legacy_client_is_held_to_what_it_sends(crowd: Crowd) -> None:
    """PKCE is offered: not sent is not missed, sent is enforced, unasked is refused (RFC 9700 section 2.1.1)."""
    bare = {"code_challenge": None, "code_challenge_method": None}
    without = await crowd.code(crowd.florist, **bare)
    assert (await crowd.redeem(crowd.florist, without, code_verifier=None)).status == 200
    unasked = await crowd.code(crowd.florist, **bare)
    assert (await crowd.redeem(crowd.florist, unasked)).json["error"] == "invalid_grant"
    sent = await crowd.code(crowd.florist)
    assert (await crowd.redeem(crowd.florist, sent, code_verifier=None)).json["error"] == "invalid_grant"
    plain = await crowd.stage.browser().get(crowd.florist.request(code_challenge_method="plain"))
    assert plain.query["error"] == "invalid_request"
