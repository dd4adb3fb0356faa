"""Userinfo (OpenID Connect Core section 5.3, RFC 6750): signed where a partner is registered for it, and for whom it answers."""

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from tests.conftest import Golden
from tests.downstream.apis import PLAIN, READER, Apis, parts
from tests.downstream.test_claims import pretty, shape
from tests.stage import ISSUER, Answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

FORM = {"content-type": "application/x-www-form-urlencoded"}


async def test_a_signed_answer_is_as_published(apis: Apis, golden: Golden) -> None:
    """Its header and claims."""
    tokens = await apis.log_in(apis.plain)
    header, claims = parts((await apis.userinfo(tokens["access_token"])).text)
    golden("userinfo_signed.json", pretty({"header": {**header, "kid": "..."}, "claims": shape(claims)}))


@pytest.mark.parametrize(("who", "client_id", "alg"), [("reader", READER, "ES256"), ("plain", PLAIN, "RS256")])
async def test_it_is_signed_as_registered(apis: Apis, who: str, client_id: str, alg: str) -> None:
    """application/jwt with iss, aud and the sub of the ID token (Core section 5.3.2); the algorithm is the userinfo's own."""
    tokens = await apis.log_in(getattr(apis, who))
    told = await apis.userinfo(tokens["access_token"])
    assert told.headers["content-type"] == "application/jwt"
    assert told.headers["cache-control"] == "no-store"
    keys = KeySet.import_key_set((await apis.stage.client.get("/jwks")).json())
    token = jwt.decode(told.text, keys, algorithms=[alg])
    assert token.header["alg"] == alg
    assert (token.claims["iss"], token.claims["aud"]) == (ISSUER, client_id)
    assert token.claims["sub"] == tokens["claims"]["sub"]
    assert token.claims["email"] == "maja@example.com"


async def test_others_get_json(apis: Apis) -> None:
    """Whatever they say they accept: it is a matter of registration."""
    tokens = await apis.log_in(apis.writer)
    for accept in ("application/jwt", "*/*", "text/html"):
        headers = {"authorization": f"Bearer {tokens['access_token']}", "accept": accept}
        told = await apis.stage.client.get("/userinfo", headers=headers)
        assert told.headers["content-type"] == "application/json"
        assert not {"iss", "aud"} & set(told.json())


async def test_a_signed_answer_is_no_id_token(apis: Apis) -> None:
    """docs/security.md A9: it names client and customer, and yet is no hint, neither for a login nor for logging out."""
    tokens = await apis.log_in(apis.plain)
    told = (await apis.userinfo(tokens["access_token"])).text
    hinted = await apis.stage.browser().get(apis.plain.request(id_token_hint=told, prompt="none"))
    assert hinted.query["error"] == "invalid_request"
    assert (await apis.stage.browser().get(f"/logout?id_token_hint={told}")).status == 400
    assert (await apis.userinfo(told)).status == 401


@pytest.mark.parametrize("who", ["writer", "plain"])
async def test_the_token_comes_by_header_or_form(apis: Apis, who: str) -> None:
    """GET and POST (Core section 5.3.1), JWT and opaque; the query is not read (RFC 9700 section 4.3.2)."""
    token = (await apis.log_in(getattr(apis, who)))["access_token"]
    client, bearer = apis.stage.client, {"authorization": f"Bearer {token}"}
    assert (await client.get("/userinfo", headers=bearer)).status_code == 200
    assert (await client.post("/userinfo", headers=bearer)).status_code == 200
    assert (await client.post("/userinfo", content=f"access_token={token}", headers=FORM)).status_code == 200
    for refused in (
        await client.get(f"/userinfo?access_token={token}"),
        await client.post(f"/userinfo?access_token={token}"),
        await client.post(f"/userinfo?access_token={token}", headers=FORM),
    ):
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"


async def test_a_token_in_two_places_is_malformed(apis: Apis) -> None:
    """RFC 6750 section 3.1: 400 invalid_request, with the challenge."""
    token = (await apis.log_in(apis.plain))["access_token"]
    headers = {**FORM, "authorization": f"Bearer {token}"}
    for content in (f"access_token={token}", f"access_token={token}&access_token={token}"):
        refused = await apis.stage.client.post("/userinfo", content=content, headers=headers)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")
        assert refused.headers["www-authenticate"] == 'Bearer error="invalid_request"'


@pytest.mark.parametrize("token", ["x", "a.b.c", "..", "e30.e30.", "A" * 4000, "é"])
async def test_a_bad_token_is_answered_as_rfc_6750_says(apis: Apis, token: str) -> None:
    """401, invalid_token in body and challenge; the token itself is not repeated."""
    raw = await apis.stage.client.get("/userinfo", headers={"authorization": f"Bearer {token}".encode()})  # type: ignore[dict-item]
    answer = Answer(raw)
    assert (answer.status, answer.json["error"]) == (401, "invalid_token")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert len(token) < 4 or token not in answer.text + answer.headers["www-authenticate"]
