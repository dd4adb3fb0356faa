"""What partners rely on: metadata, keys, ID token, userinfo, and the subject that names a customer to one of them."""

import base64
import hashlib
import json
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from tests.conftest import Golden
from tests.downstream.crowd import Crowd
from tests.stage import ISSUER, Answer, Stage, open_stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONFORMANT = {
    "issuer", "authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri", "end_session_endpoint",
    "response_types_supported", "subject_types_supported", "id_token_signing_alg_values_supported",
    "code_challenge_methods_supported", "authorization_response_iss_parameter_supported",
}  # fmt: skip


def pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def shape(claims: dict[str, Any]) -> dict[str, str]:
    """Claims with what differs each time replaced by its kind."""
    fixed = {"iss", "aud", "acr", "amr", "nonce"}
    return {name: value if name in fixed else f"<{type(value).__name__}>" for name, value in sorted(claims.items())}


async def logged_in(
    crowd: Crowd, partner: Any, who: str = "maja", method: str = "bankid", **changed: str
) -> dict[str, Any]:
    """A whole login at *partner*: the token response, its ID token's claims under ``claims``."""
    code = await crowd.code(partner, who, method, **changed)
    answer = await crowd.redeem(partner, code)
    assert answer.status == 200, answer.text
    body: dict[str, Any] = answer.json
    return {**body, "claims": await crowd.stage.id_token(body["id_token"])}


class TestMetadata:
    """Discovery and keys."""

    async def test_is_as_published(self, crowd: Crowd, golden: Golden) -> None:
        """What libraries configure themselves by changes only on purpose."""
        raw = await crowd.stage.client.get("/.well-known/openid-configuration")
        assert raw.headers["content-type"] == "application/json"
        assert "max-age=900" in raw.headers["cache-control"]
        golden("discovery.json", pretty(raw.json()))

    async def test_is_what_the_specifications_ask(self, crowd: Crowd) -> None:
        """Issuer exact, RS256 offered, no none, no implicit, every address ours; the RFC 8414 name gives the same."""
        client = crowd.stage.client
        document = (await client.get("/.well-known/openid-configuration")).json()
        assert set(document) >= CONFORMANT
        assert document["issuer"] == ISSUER
        assert "RS256" in document["id_token_signing_alg_values_supported"]
        assert document["response_types_supported"] == ["code"]
        assert document["code_challenge_methods_supported"] == ["S256"]
        assert "none" not in json.dumps([value for name, value in document.items() if "alg" in name])
        for name, value in document.items():
            if name.endswith(("_endpoint", "_uri")):
                assert value.startswith(f"{ISSUER}/"), name
        assert (await client.get("/.well-known/oauth-authorization-server")).json() == document

    async def test_every_endpoint_named_is_there(self, crowd: Crowd) -> None:
        """None answers 404."""
        document = (await crowd.stage.client.get("/.well-known/openid-configuration")).json()
        for name, value in document.items():
            if name.endswith(("_endpoint", "_uri")):
                assert (await crowd.stage.client.get(value)).status_code != 404, name

    async def test_keys_are_public_and_distinct(self, crowd: Crowd, golden: Golden) -> None:
        """One RSA and one EC key at least, each with its own kid, nothing private (RFC 7517)."""
        raw = await crowd.stage.client.get("/jwks")
        keys = raw.json()["keys"]
        assert {key["kty"] for key in keys} == {"RSA", "EC"}
        assert len({key["kid"] for key in keys}) == len(keys)
        for key in keys:
            assert not set(key) & {"d", "p", "q", "dp", "dq", "qi", "k", "oth"}
            assert key["use"] == "sig"
        KeySet.import_key_set(raw.json())
        golden("jwks_shape.json", pretty([dict.fromkeys(sorted(key), "...") | {"alg": key["alg"]} for key in keys]))


class TestTheIdToken:
    """OpenID Connect Core section 2."""

    async def test_of_a_login_is_as_published(self, crowd: Crowd, golden: Golden) -> None:
        """Which claims, no profile among them."""
        tokens = await logged_in(crowd, crowd.stage.shop)
        golden("id_token.json", pretty(shape(tokens["claims"])))
        assert not set(tokens["claims"]) & {"name", "email", "phone_number", "personal_number"}

    async def test_of_a_handoff_is_as_published(self, crowd: Crowd, golden: Golden) -> None:
        """References only: the data itself is fetched."""
        browser = crowd.stage.browser()
        at_shop = await crowd.stage.shop_login(browser)
        link = (await crowd.stage.offer(at_shop["claims"]["sub"])).json["link"]
        await browser.follow(await browser.get(link))
        tokens = await crowd.stage.garage.exchange(await crowd.stage.arrive(browser, await browser.press("share")))
        claims = {**shape(tokens["claims"]), "handoff": shape(tokens["claims"]["handoff"])}
        golden("id_token_of_a_handoff.json", pretty(claims))
        assert tokens["claims"]["handoff"]["consent_id"]
        assert "ABC 12D" not in json.dumps(tokens["claims"])
        details = tokens["authorization_details"]
        assert details == [{"type": f"{ISSUER}/handoff/tyre-fitting/v1", "handoff": tokens["claims"]["handoff"]["id"]}]
        assert "handoff:read" in tokens["scope"].split()

    async def test_is_signed_as_the_partner_registered(self, crowd: Crowd) -> None:
        """RS256 unless told otherwise; kid of a published key; typ JWT."""
        published = {key["kid"]: key for key in (await crowd.stage.client.get("/jwks")).json()["keys"]}
        for partner, alg in ((crowd.stage.shop, "ES256"), (crowd.florist, "RS256"), (crowd.bank, "ES256")):
            token = (await logged_in(crowd, partner))["id_token"]
            header = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))
            assert header["alg"] == alg
            assert published[header["kid"]]["alg"] == alg
            assert header["typ"] == "JWT"

    async def test_fits_its_request_and_its_access_token(self, crowd: Crowd) -> None:
        """aud one text, nonce exact, at_hash right, times whole numbers around now."""
        for nonce in ("n-0S6_WzA2Mj", "n" * 384, "~!*()'åäö&=+ \"<>/?#"):
            tokens = await logged_in(crowd, crowd.florist, nonce=nonce)
            claims = tokens["claims"]
            digest = hashlib.sha256(tokens["access_token"].encode()).digest()[:16]
            assert claims["nonce"] == nonce
            assert claims["aud"] == crowd.florist.client_id
            assert claims["at_hash"] == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            now = int(crowd.stage.clock.now.timestamp())
            assert (claims["iat"], claims["auth_time"]) == (now, now)
            assert now < claims["exp"] <= now + 3600

    async def test_has_no_nonce_where_none_was_sent(self, crowd: Crowd) -> None:
        """Nothing invented, nothing null."""
        tokens = await logged_in(crowd, crowd.florist, nonce="")
        assert "nonce" not in tokens["claims"]
        assert None not in tokens["claims"].values()

    async def test_says_when_she_really_logged_in(self, crowd: Crowd) -> None:
        """auth_time is the provider's, not ours."""
        google = crowd.stage.connectors["google"]
        google.authenticated_at = crowd.stage.clock.now - timedelta(hours=3)
        try:
            tokens = await logged_in(crowd, crowd.stage.shop, method="google")
        finally:
            google.authenticated_at = None
        assert tokens["claims"]["auth_time"] == int((crowd.stage.clock.now - timedelta(hours=3)).timestamp())

    async def test_never_claims_more_than_the_ceiling(self, crowd: Crowd) -> None:
        """acr comes from what was proven and what the operator allows (docs/security.md A13)."""
        strong = await logged_in(crowd, crowd.stage.shop, method="bankid")
        weak = await logged_in(crowd, crowd.stage.shop, method="google", acr_values="http://eidas.europa.eu/LoA/high 1")
        assert strong["claims"]["acr"] == "http://eidas.europa.eu/LoA/substantial"
        assert weak["claims"]["acr"] == "contact"

    async def test_is_spoiled_by_a_single_bit(self, crowd: Crowd) -> None:
        """Changed, it verifies nowhere."""
        token = (await logged_in(crowd, crowd.stage.shop))["id_token"]
        head, payload, signature = token.split(".")
        keys = KeySet.import_key_set((await crowd.stage.client.get("/jwks")).json())
        changed = base64.urlsafe_b64encode(base64.urlsafe_b64decode(payload + "==").replace(b"nordhjul", b"NORDHJUL"))
        with pytest.raises(Exception, match="signature"):
            jwt.decode(f"{head}.{changed.rstrip(b'=').decode()}.{signature}", keys, algorithms=["ES256"])


class TestUserinfo:
    """OpenID Connect Core section 5.3."""

    @pytest.mark.parametrize(
        ("scope", "method", "expected"),
        [
            ("openid", "google", {"sub"}),
            ("openid profile", "google", {"sub", "name", "locale"}),
            ("openid email", "google", {"sub", "email", "email_verified"}),
            ("openid phone", "google", {"sub"}),
            ("openid address personal_number", "google", {"sub"}),
            ("openid profile email phone address", "google", {"sub", "name", "locale", "email", "email_verified"}),
            ("openid profile email", "bankid", {"sub", "name", "locale"}),
        ],
    )
    async def test_is_what_scope_policy_and_provider_give(
        self, crowd: Crowd, scope: str, method: str, expected: set[str]
    ) -> None:
        """Asked for, allowed and known; what is missing is left out, never null."""
        tokens = await logged_in(crowd, crowd.florist, method=method, scope=scope)
        told = await crowd.florist.userinfo(tokens["access_token"])
        assert set(told.json) == expected
        assert told.json["sub"] == tokens["claims"]["sub"]
        assert not {None, ""} & set(told.json.values())

    async def test_a_personal_number_goes_only_where_the_policy_lets_it(self, crowd: Crowd) -> None:
        """The bank may, the shop may not, whatever it asks."""
        bank = await logged_in(crowd, crowd.bank)
        assert (await crowd.bank.userinfo(bank["access_token"])).json["personal_number"] == "190905271474"
        shop = await logged_in(crowd, crowd.stage.shop, scope="openid profile email personal_number")
        assert set((await crowd.stage.shop.userinfo(shop["access_token"])).json) == {"sub", "name"}

    async def test_takes_the_token_in_header_or_form(self, crowd: Crowd) -> None:
        """GET and POST; any spelling of Bearer; never from the query, never from two places (RFC 6750, RFC 9700)."""
        token = (await logged_in(crowd, crowd.florist))["access_token"]
        client = crowd.stage.client
        for scheme in ("Bearer", "bearer", "bEARER"):
            assert (await client.get("/userinfo", headers={"authorization": f"{scheme} {token}"})).status_code == 200
        assert (await client.post("/userinfo", headers={"authorization": f"Bearer {token}"})).status_code == 200
        assert (await client.post("/userinfo", data={"access_token": token})).status_code == 200
        assert (await client.get(f"/userinfo?access_token={token}")).status_code == 401
        assert (await client.post(f"/userinfo?access_token={token}")).status_code == 401
        both = await client.post(
            "/userinfo", data={"access_token": token}, headers={"authorization": f"Bearer {token}"}
        )
        assert both.status_code == 400
        assert (await client.post("/userinfo", json={"access_token": token})).status_code == 401

    @pytest.mark.parametrize(
        "header", [None, "", "Bearer", "Bearer ", "Bearer garbage", "Basic YTpi", "Bearer a b", "Bearer å"]
    )
    async def test_refuses_as_rfc_6750_says(self, crowd: Crowd, header: str | None) -> None:
        """401 with a challenge; the error named only where a token was sent."""
        headers = {"authorization": header.encode()} if header is not None else {}
        raw = await crowd.stage.client.get("/userinfo", headers=headers)  # type: ignore[arg-type]
        assert raw.status_code == 401
        assert raw.headers["www-authenticate"].startswith("Bearer")
        has_token = header is not None and header.startswith("Bearer ") and header.strip() != "Bearer"
        assert ('error="invalid_token"' in raw.headers["www-authenticate"]) == has_token

    async def test_ends_with_the_token(self, crowd: Crowd) -> None:
        """Ten minutes."""
        token = (await logged_in(crowd, crowd.florist))["access_token"]
        crowd.stage.clock.forward(seconds=601)
        assert (await crowd.florist.userinfo(token)).status == 401


class TestTheSubject:
    """Pairwise (Core section 8.1)."""

    async def test_differs_by_partner_and_customer_and_by_nothing_else(self, crowd: Crowd) -> None:
        """Each login, browser and method of one provider gives the same; two providers are two people until linked."""
        shop = [await logged_in(crowd, crowd.stage.shop, who) for who in ("maja", "maja", "karl")]
        florist = await logged_in(crowd, crowd.florist)
        subs = [each["claims"]["sub"] for each in (*shop, florist)]
        assert subs[0] == subs[1]
        assert len({*subs}) == 3
        sids = [each["claims"]["sid"] for each in (*shop, florist)]
        assert len({*sids}) == 4

    async def test_survives_a_restart(self, prepared_stage: Path) -> None:
        """The same database, a new process: the same subject, and the old ID token is still a hint."""
        folder = Path(tempfile.mkdtemp(dir=prepared_stage.parent))
        shutil.copytree(prepared_stage, folder, dirs_exist_ok=True)
        seen: list[dict[str, Any]] = []
        for _ in range(2):
            async with open_stage(folder) as stage:
                browser = stage.browser()
                at_shop = await stage.shop_login(browser)
                seen.append(at_shop["claims"])
                if len(seen) == 1:
                    hint = at_shop["id_token"]
                answer = await browser.get(stage.shop.request(id_token_hint=hint, prompt="none"))
                assert "code" in answer.query
        assert seen[0]["sub"] == seen[1]["sub"]
        assert seen[0]["sid"] != seen[1]["sid"]
        shutil.rmtree(folder)


class TestErrors:
    """What developers read."""

    async def test_bodies_are_as_published(self, crowd: Crowd, golden: Golden) -> None:
        """Members, codes and sentences of the common refusals; the reference stands in both places."""
        stage, client = crowd.stage, crowd.stage.client
        statement = await logged_in(crowd, stage.shop)
        answers = {
            "token: no client": Answer(await client.post("/token", data={"grant_type": "authorization_code"})),
            "token: no code": await stage.shop.token(""),
            "token: bad code": await stage.shop.token("x"),
            "token: grant type": await stage.shop.token("x", grant_type="password"),
            "token: wrong secret": await stage.shop.token("x", auth=("nordhjul-web", "wrong")),
            "token: resource": await stage.shop.token("x", resource="https://api.example"),
            "introspect: no client": Answer(await client.post("/introspect", data={"token": "x"})),
            "introspect: no token": Answer(await client.post("/introspect", data={"a": "b"}, auth=stage.shop.auth)),
            "revoke: ID token": Answer(
                await client.post("/revoke", data={"token": statement["id_token"]}, auth=stage.shop.auth)
            ),
            "userinfo: twice": Answer(
                await client.post("/userinfo", data={"access_token": "x"}, headers={"authorization": "Bearer x"})
            ),
            "userinfo: no token": Answer(await client.get("/userinfo")),
            "userinfo: bad token": await stage.shop.userinfo("x"),
            "handoffs: not allowed": await stage.offer(None, partner="nobody"),
            "handoffs: unknown member": await stage.offer(None, colour="red"),
            "handoffs: schema": await stage.offer(None, payload={"vehicle": {"make": 7}}),
            "handoffs: bad token": await stage.garage.read("x", "x"),
            "guest: bad reference": await stage.garage.call("/handoffs/guest", {"ref": "x"}),
        }
        told = {}
        for name, answer in answers.items():
            text = answer.text.replace(answer.headers["x-reference"], "XXXXXXXX") if answer.text else "{}"
            told[name] = {
                "status": answer.status,
                "www_authenticate": answer.headers.get("www-authenticate"),
                "body": json.loads(text),
            }
        golden("errors.json", pretty(told))


async def test_a_partner_without_consent_of_its_own_kind_is_unaffected(staged: Stage) -> None:
    """Consent given to one partner says nothing about another."""
    browser = staged.browser()
    await staged.shop_login(browser)
    await browser.follow(await browser.get(staged.garage.request()))
    await browser.press("share", ("field", "name"), ("remember", "yes"))
    tokens = await staged.garage.exchange(await browser.get(staged.garage.request(prompt="none")))
    told = await staged.garage.userinfo(tokens["access_token"])
    assert set(told.json) == {"sub", "name"}
