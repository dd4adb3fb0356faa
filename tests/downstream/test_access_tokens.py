"""Access tokens: opaque or JWT (RFC 9068), for an API (RFC 8707), for fewer scopes (RFC 6749 section 6)."""

import json

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from tests.conftest import Golden
from tests.downstream.apis import BOOKING, STOCK, WRITER, Apis, changed, parts
from tests.downstream.test_claims import pretty, shape
from tests.stage import ISSUER, PAYLOAD, SHOP_RETURN, Answer

pytestmark = pytest.mark.asyncio(loop_scope="module")


class TestJwt:
    """RFC 9068."""

    async def test_is_as_published(self, apis: Apis, golden: Golden) -> None:
        """Its header and claims; nothing of the customer but a subject."""
        tokens = await apis.log_in(apis.writer)
        header, claims = parts(tokens["access_token"])
        published = {"header": {**header, "kid": "..."}, "claims": shape(claims)}
        golden("access_token.json", pretty(published))
        assert "maja" not in json.dumps(claims).lower()

    async def test_says_what_the_specification_asks(self, apis: Apis) -> None:
        """typ at+jwt; aud is the API and never the client; all required claims; verified by a stock library."""
        tokens = await apis.log_in(apis.writer)
        keys = KeySet.import_key_set((await apis.stage.client.get("/jwks")).json())
        token = jwt.decode(tokens["access_token"], keys, algorithms=["ES256"])
        claims = token.claims
        assert token.header["typ"] == "at+jwt"
        assert (claims["iss"], claims["aud"], claims["client_id"]) == (ISSUER, BOOKING, WRITER)
        assert claims["exp"] - claims["iat"] == tokens["expires_in"] == 600
        assert claims["scope"] == tokens["scope"]
        for name in ("acr", "auth_time"):
            assert claims[name] == tokens["claims"][name]

    async def test_names_the_customer_as_the_api_knows_her(self, apis: Apis) -> None:
        """The sector of the resource, not of the client; jti differs each time."""
        one, two = await apis.log_in(apis.writer), await apis.log_in(apis.writer)
        first, second = parts(one["access_token"])[1], parts(two["access_token"])[1]
        assert first["sub"] == second["sub"] != one["claims"]["sub"]
        assert first["jti"] != second["jti"]

    async def test_opens_userinfo(self, apis: Apis) -> None:
        """As an opaque one does, with the client's own subject."""
        tokens = await apis.log_in(apis.writer)
        told = await apis.userinfo(tokens["access_token"])
        assert (told.status, told.json["sub"]) == (200, tokens["claims"]["sub"])

    async def test_is_made_anew_by_a_refresh(self, apis: Apis) -> None:
        """Same subject and audience, later end."""
        tokens = await apis.offline(apis.writer)
        apis.stage.clock.forward(minutes=3)
        renewed = (await apis.refresh(apis.writer, tokens["refresh_token"])).json
        old, new = parts(tokens["access_token"])[1], parts(renewed["access_token"])[1]
        assert (old["sub"], old["aud"], old["auth_time"]) == (new["sub"], new["aud"], new["auth_time"])
        assert new["exp"] > old["exp"]
        assert (await apis.userinfo(renewed["access_token"])).status == 200

    async def test_counts_as_it_is_signed_or_not_at_all(self, apis: Apis) -> None:
        """Changed, cut, unsigned, or only its jti: 401."""
        token = (await apis.log_in(apis.writer))["access_token"]
        head, payload, _ = token.split(".")
        for spoiled in (
            changed(token, b"writer-web", b"reader-web"),
            changed(token, b"at+jwt", b"JWT", part=0),
            changed(token, b"ES256", b"none", part=0),
            f"{head}.{payload}.",
            token[:-4],
            parts(token)[1]["jti"],
        ):
            assert (await apis.userinfo(spoiled)).status == 401

    async def test_is_no_other_token(self, apis: Apis) -> None:
        """docs/security.md A9: neither a hint, a code, a refresh token nor a client assertion; and nothing else is one."""
        tokens = await apis.offline(apis.writer)
        token = tokens["access_token"]
        hinted = await apis.stage.browser().get(apis.writer.request(id_token_hint=token, prompt="none"))
        assert hinted.query["error"] == "invalid_request"
        assert (await apis.refresh(apis.writer, token)).json["error"] == "invalid_grant"
        assert (await apis.token(apis.writer, code=token)).json["error"] == "invalid_grant"
        for other in (tokens["id_token"], tokens["refresh_token"]):
            assert (await apis.userinfo(other)).status == 401

    async def test_of_a_handoff_stays_opaque(self, apis: Apis) -> None:
        """The garage has JWTs for an API; but the right to a customer's data never travels there."""
        browser = apis.stage.browser()
        at_shop = await apis.stage.shop_login(browser)
        body = {"partner": "garage", "purpose": "tyre-fitting", "type": "tyre-fitting/v1", "payload": PAYLOAD,
                "subject": at_shop["claims"]["sub"], "return_uri": SHOP_RETURN}  # fmt: skip
        link = (await apis.stage.shop.call("/handoffs", body)).json["link"]
        await browser.follow(await browser.get(link))
        tokens = await apis.stage.garage.exchange(await apis.stage.arrive(browser, await browser.press("share")))
        assert "." not in tokens["access_token"]
        handoff = tokens["authorization_details"][0]["handoff"]
        assert await apis.introspect("booking-api", tokens["access_token"]) == {"active": False}
        own = await apis.stage.garage.exchange(
            await browser.get(apis.stage.garage.request(scope="openid", prompt="none"))
        )
        assert parts(own["access_token"])[1]["aud"] == BOOKING
        assert (await apis.stage.garage.read(handoff, own["access_token"])).status == 401


class TestResource:
    """RFC 8707: one API per client, named or not."""

    async def test_the_clients_own_api_may_be_named(self, apis: Apis) -> None:
        """At the token endpoint, for codes and refresh tokens."""
        tokens = await apis.offline(apis.writer)
        renewed = await apis.refresh(apis.writer, tokens["refresh_token"], resource=BOOKING)
        assert renewed.status == 200

    @pytest.mark.parametrize("resource", [STOCK, f"{BOOKING}/", "https://elsewhere.example", "booking", ISSUER])
    async def test_any_other_is_refused_and_uses_nothing_up(self, apis: Apis, resource: str) -> None:
        """invalid_target; the code is still good."""
        browser = apis.stage.browser()
        await browser.follow(await browser.get(apis.writer.request()))
        code = (await browser.log_in("google", "maja")).query["code"]
        refused = await apis.token(apis.writer, code=code, resource=resource)
        assert (refused.status, refused.json["error"]) == (400, "invalid_target")
        assert (await apis.token(apis.writer, code=code, resource=BOOKING)).status == 200

    async def test_a_client_without_an_api_may_name_none(self, apis: Apis) -> None:
        """Its tokens are for us only."""
        refused = await apis.token(apis.plain, code="x", resource=BOOKING)
        assert refused.json["error"] == "invalid_target"

    async def test_it_is_checked_before_anybody_logs_in(self, apis: Apis) -> None:
        """At the authorization endpoint, answered at the redirect URI."""
        refused = await apis.stage.browser().get(apis.writer.request(resource=STOCK))
        assert refused.query["error"] == "invalid_target"
        assert (await apis.stage.browser().get(apis.writer.request(resource=BOOKING))).query.get("error") is None


class TestScopes:
    """RFC 6749 section 6: a refresh may ask for less, for this access token only."""

    @pytest.mark.parametrize("who", ["writer", "plain"])
    async def test_fewer_scopes_give_fewer_claims(self, apis: Apis, who: str) -> None:
        """Opaque and JWT; the refresh token keeps them all."""
        partner = getattr(apis, who)
        tokens = await apis.offline(partner)
        less = (await apis.refresh(partner, tokens["refresh_token"], scope="openid email")).json
        assert less["scope"] == "openid email"
        told = claims_of(await apis.userinfo(less["access_token"]))
        assert set(told) - {"iss", "aud"} == {"sub", "email", "email_verified"}
        assert (await apis.introspect(partner, less["access_token"]))["scope"] == "openid email"
        if who == "writer":
            assert parts(less["access_token"])[1]["scope"] == "openid email"
        again = (await apis.refresh(partner, less["refresh_token"])).json
        assert again["scope"] == tokens["scope"]
        assert "name" in claims_of(await apis.userinfo(again["access_token"]))

    async def test_without_openid_there_is_neither_id_token_nor_userinfo(self, apis: Apis) -> None:
        """403 insufficient_scope (RFC 6750 section 3.1)."""
        tokens = await apis.offline(apis.writer)
        less = (await apis.refresh(apis.writer, tokens["refresh_token"], scope="email")).json
        assert "id_token" not in less
        refused = await apis.userinfo(less["access_token"])
        assert refused.status == 403
        assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]
        assert (await apis.introspect("booking-api", less["access_token"]))["scope"] == "email"

    @pytest.mark.parametrize("scope", ["openid phone", "openid handoff:read", "OPENID", "openid\u00a0email"])
    async def test_more_is_refused_and_uses_nothing_up(self, apis: Apis, scope: str) -> None:
        """invalid_scope, and the refresh token is still the current one."""
        tokens = await apis.offline(apis.plain)
        refused = await apis.refresh(apis.plain, tokens["refresh_token"], scope=scope)
        assert (refused.status, refused.json["error"]) == (400, "invalid_scope")
        assert (await apis.refresh(apis.plain, tokens["refresh_token"])).status == 200

    async def test_what_was_not_granted_is_not_told_as_granted(self, apis: Apis) -> None:
        """offline_access where the policy or the customer gives none (Core section 11), handoff:read without a handoff."""
        browser = apis.stage.browser()
        await browser.follow(await browser.get(apis.stage.shop.request(scope="openid offline_access handoff:read")))
        answer = await browser.log_in("google", "maja")
        tokens = (await apis.stage.shop.token(answer.query["code"])).json
        assert tokens["scope"] == "openid"
        assert "refresh_token" not in tokens

    async def test_a_refreshed_id_token_adds_nothing(self, apis: Apis) -> None:
        """Core section 12.2: iss, sub, aud, auth_time, sid as before, iat later; no azp, no nonce."""
        tokens = await apis.offline(apis.writer)
        apis.stage.clock.forward(seconds=90)
        renewed = await apis.stage.id_token((await apis.refresh(apis.writer, tokens["refresh_token"])).json["id_token"])
        for name in ("iss", "sub", "aud", "auth_time", "sid", "acr"):
            assert renewed[name] == tokens["claims"][name]
        assert renewed["iat"] == tokens["claims"]["iat"] + 90
        assert set(renewed) == set(tokens["claims"]) - {"nonce"}

    async def test_another_clients_refresh_token_is_worth_nothing(self, apis: Apis) -> None:
        """400 invalid_grant, also to a public client; and it still works for its own."""
        tokens = await apis.offline(apis.writer)
        for thief in (apis.reader, apis.page):
            refused = await apis.refresh(thief, tokens["refresh_token"])
            assert (refused.status, refused.json["error"]) == (400, "invalid_grant")
        assert (await apis.refresh(apis.writer, tokens["refresh_token"])).status == 200


def claims_of(answer: Answer) -> dict[str, object]:
    assert answer.status == 200, answer.text
    return dict(parts(answer.text)[1] if answer.headers["content-type"] == "application/jwt" else answer.json)
