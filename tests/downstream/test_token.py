"""The token endpoint: who may redeem, what, and how often."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import jwt as pyjwt
import pytest

from tests.downstream.crowd import ASSERTION_TYPE, BANK, FLORIST, LIBRARY, OTHER_SECRET, Crowd
from tests.stage import GARAGE, GARAGE_CALLBACK, ISSUER, SECRET, SHOP, SHOP_CALLBACK, Answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROVEN = dict[str, Any]


def refusal(answer: Answer) -> str:
    """The error code of a refusal, after checking its form (RFC 6749 section 5.2)."""
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json
    assert set(body) == {"error", "error_description", "reference"}
    assert body["reference"] in body["error_description"]
    if body["error"] == "invalid_client":
        assert answer.status in {400, 401}
        assert ("www-authenticate" in answer.headers) == (answer.status == 401)
    else:
        assert answer.status in {400, 403}
        assert "www-authenticate" not in answer.headers
    return str(body["error"])


async def test_each_way_of_being_a_client_works(crowd: Crowd) -> None:
    """basic (with what RFC 6749 section 2.3.1 encodes), post, private_key_jwt with EC and RSA keys."""
    for partner in (crowd.stage.shop, crowd.florist, crowd.bank, crowd.library):
        browser = crowd.stage.browser()
        answer = await crowd.log_in(browser, partner)
        if partner is crowd.library:
            answer = await browser.press("share")
        tokens = await crowd.redeem(partner, answer.query["code"])
        assert tokens.status == 200, tokens.text
        assert tokens.headers["cache-control"] == "no-store"
        assert tokens.json["token_type"] == "Bearer"
        assert tokens.json["expires_in"] > 0
        claims = await crowd.stage.id_token(tokens.json["id_token"])
        assert claims["aud"] == partner.client_id


@pytest.mark.parametrize("alg", ["ES256", "RS256", "PS256"])
async def test_assertions_by_published_keys_are_taken(crowd: Crowd, alg: str) -> None:
    """Also dated a few seconds ahead, with the recommended typ, and without iat; once each."""
    ahead = int(crowd.stage.clock.now.timestamp()) + 8
    for kwargs in (
        {},
        {"iat": ahead, "nbf": ahead},
        {"iat": None},
        {"aud": f"{ISSUER}/token"},
        {"header": {"typ": "client-authentication+jwt"}},
        {"extra": "claim"},
    ):
        code = await crowd.code(crowd.bank)
        answer = await crowd.redeem(crowd.bank, code, client_assertion=crowd.assertion(alg=alg, **kwargs))
        assert answer.status == 200, (kwargs, answer.text)


def _at(crowd: Crowd, seconds: int) -> int:
    return int(crowd.stage.clock.now.timestamp()) + seconds


def _unsigned(crowd: Crowd, alg: str) -> str:
    _, payload, _ = crowd.assertion().split(".")
    header = base64.urlsafe_b64encode(json.dumps({"alg": alg, "kid": "ec"}).encode()).rstrip(b"=").decode()
    return f"{header}.{payload}."


def _critical(crowd: Crowd) -> str:
    """Signed as it should be, but for an extension we do not know (RFC 7515 section 4.1.11)."""
    return pyjwt.encode(
        crowd.claims(),
        crowd.keys.ec.as_pem(private=True),
        algorithm="ES256",
        headers={"kid": "ec", "crit": ["x"], "x": 1},
    )


def _by_secret(crowd: Crowd, secret: bytes, kid: str) -> str:
    """The public key taken for a shared secret, as a library that trusts the header's alg would."""
    header = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "kid": kid}).encode()).rstrip(b"=")
    signed = header + b"." + crowd.assertion().split(".")[1].encode()
    mac = hmac.new(secret, signed, hashlib.sha256).digest()
    return f"{signed.decode()}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def _deep(_: Crowd) -> str:
    deep = base64.urlsafe_b64encode(b"[" * 2900).decode().rstrip("=")
    return f"{deep}.{deep}.AAAA"


BAD_ASSERTIONS: dict[str, Callable[[Crowd], str]] = {
    "audience is another endpoint": lambda c: c.assertion(aud=f"{ISSUER}/userinfo"),
    "audience is somebody else": lambda c: c.assertion(aud="https://other.example"),
    "audience is a list": lambda c: c.assertion(aud=[ISSUER]),
    "audience list with another": lambda c: c.assertion(aud=[ISSUER, "https://other.example"]),
    "audience has a slash": lambda c: c.assertion(aud=f"{ISSUER}/"),
    "no audience": lambda c: c.assertion(aud=None),
    "other issuer": lambda c: c.assertion(iss="florist-web"),
    "no issuer": lambda c: c.assertion(iss=None),
    "other subject": lambda c: c.assertion(sub="florist-web"),
    "no subject": lambda c: c.assertion(sub=None),
    "subject is a list": lambda c: c.assertion(sub=[BANK]),
    "expired five minutes ago": lambda c: c.assertion(exp=_at(c, -300)),
    "no expiry": lambda c: c.assertion(exp=None),
    "expiry as text": lambda c: c.assertion(exp=str(_at(c, 60))),
    "expiry infinite": lambda c: c.assertion(exp=float("inf")),
    "expiry beyond number": lambda c: c.assertion(exp=10**400),
    "expires next year": lambda c: c.assertion(exp=_at(c, 365 * 86400)),
    "issued 90 seconds ahead": lambda c: c.assertion(iat=_at(c, 90)),
    "valid 90 seconds from now": lambda c: c.assertion(nbf=_at(c, 90)),
    "iat as text": lambda c: c.assertion(iat="now"),
    "no jti": lambda c: c.assertion(jti=None),
    "jti too long": lambda c: c.assertion(jti="j" * 201),
    "jti a number": lambda c: c.assertion(jti=7),
    "wrong typ": lambda c: c.assertion(header={"typ": "at+jwt"}),
    "critical extension": lambda c: _critical(c),
    "foreign key under our kid": lambda c: c.assertion(key=c.keys.foreign),
    "unknown kid": lambda c: c.assertion(header={"kid": "none"}),
    "kid with a path": lambda c: c.assertion(header={"kid": "../../etc/passwd"}),
    "kid of the other type": lambda c: c.assertion(header={"kid": "rsa"}),
    "embedded key": lambda c: c.assertion(key=c.keys.foreign, header={"jwk": c.keys.foreign.as_dict(private=False)}),
    "alg RS512": lambda c: c.assertion(key=c.keys.rsa, alg="RS512"),
    "alg none": lambda c: _unsigned(c, "none"),
    "alg nOnE": lambda c: _unsigned(c, "nOnE"),
    "no alg": lambda c: _unsigned(c, ""),
    "HS256 with our public key": lambda c: _by_secret(c, c.keys.rsa.as_pem(private=False), "rsa"),
    "HS256 with the EC key's text": lambda c: _by_secret(c, c.keys.ec.as_pem(private=False), "ec"),
    "HS256 with nothing": lambda c: _by_secret(c, b"", "ec"),
    "cut": lambda c: c.assertion()[:-4],
    "garbage": lambda c: "garbage",
    "dots": lambda c: "..",
    "not ASCII": lambda c: "å.ä.ö",
    "deep JSON": _deep,
    "too large": lambda c: "e30." + "A" * 17000 + ".AAAA",
}


@pytest.mark.parametrize("kind", BAD_ASSERTIONS)
async def test_a_bad_assertion_is_no_authentication(crowd: Crowd, kind: str) -> None:
    """RFC 7523 section 3, RFC 8725, draft rfc7523bis: 401, and the code is still good for the real bank."""
    code = await crowd.code(crowd.bank)
    answer = await crowd.redeem(crowd.bank, code, client_assertion=BAD_ASSERTIONS[kind](crowd))
    if kind == "too large" and answer.status == 400:
        assert refusal(answer) == "invalid_request"
    else:
        assert refusal(answer) == "invalid_client"
    assert (await crowd.redeem(crowd.bank, code)).status == 200


async def test_an_assertion_works_once(crowd: Crowd) -> None:
    """The same jti again is refused, also with another code and signed anew; another client's jti is another jti."""
    assertion = crowd.assertion(jti="only-once")
    assert (await crowd.redeem(crowd.bank, await crowd.code(crowd.bank), client_assertion=assertion)).status == 200
    code = await crowd.code(crowd.bank)
    for again in (assertion, crowd.assertion(jti="only-once")):
        assert refusal(await crowd.redeem(crowd.bank, code, client_assertion=again)) == "invalid_client"


async def test_an_expired_assertion_stays_spent_until_nobody_takes_it(crowd: Crowd) -> None:
    """The memory of a jti outlives the assertion, skew included."""
    assertion = crowd.assertion(exp=_at(crowd, 300))
    assert (await crowd.redeem(crowd.bank, await crowd.code(crowd.bank), client_assertion=assertion)).status == 200
    for _ in range(8):
        crowd.stage.clock.forward(seconds=59)
        code = await crowd.code(crowd.bank)
        assert refusal(await crowd.redeem(crowd.bank, code, client_assertion=assertion)) == "invalid_client"


def _basic(client: str, secret: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{client}:{secret}".encode()).decode()}


UNPROVEN: dict[str, tuple[dict[str, str | None], dict[str, str]]] = {
    "nothing": ({}, {}),
    "client_id only": ({"client_id": SHOP}, {}),
    "wrong secret": ({}, _basic(SHOP, "wrong")),
    "empty secret": ({}, _basic(SHOP, "")),
    "secret of another": ({}, _basic(SHOP, OTHER_SECRET)),
    "unknown client": ({}, _basic("unknown", SECRET)),
    "partner id instead of client id": ({}, _basic("tyre-shop", SECRET)),
    "basic client by post": ({"client_id": SHOP, "client_secret": SECRET}, {}),
    "both at once": ({"client_id": SHOP, "client_secret": SECRET}, _basic(SHOP, SECRET)),
    "basic and assertion": ({"client_assertion_type": ASSERTION_TYPE, "client_assertion": "e30.e30.AA"}, _basic(SHOP, SECRET)),
    "basic as another client_id": ({"client_id": GARAGE}, _basic(SHOP, SECRET)),
    "no colon": ({}, {"authorization": "Basic " + base64.b64encode(b"nordhjul-web").decode()}),
    "not base64": ({}, {"authorization": "Basic !!!"}),
    "not UTF-8": ({}, {"authorization": "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode()}),
    "empty basic": ({}, {"authorization": "Basic "}),
    "another scheme": ({}, {"authorization": f"Digest {SHOP}"}),
    "assertion without its type": ({"client_assertion": "e30.e30.AA"}, {}),
    "assertion of unknown type": ({"client_assertion": "e30.e30.AA", "client_assertion_type": "saml"}, {}),
    "bearer that is no assertion": ({}, {"authorization": "Bearer abc"}),
}  # fmt: skip


@pytest.mark.parametrize("kind", UNPROVEN)
async def test_a_client_proves_itself_by_its_own_method_only(crowd: Crowd, kind: str) -> None:
    """RFC 6749 section 2.3: one method, the registered one; one error for all that fails; the code survives."""
    code = await crowd.code(crowd.stage.shop)
    form, headers = UNPROVEN[kind]
    answer = await crowd.post_token(crowd.form(crowd.stage.shop, code, **form), **headers)
    assert refusal(answer) == "invalid_client"
    assert (await crowd.redeem(crowd.stage.shop, code)).status == 200


@pytest.mark.parametrize("sent", [b"Basic \xe4", b"Basic \xff\xfe", b"Bearer \xe4.\xe4.\xe4"])
async def test_a_header_of_other_bytes_is_no_authentication(crowd: Crowd, sent: bytes) -> None:
    """Headers may carry any byte; those that are no base64 prove nobody, and break nothing."""
    answer = Answer(await crowd.stage.client.post("/token", data={"code": "x"}, headers={b"authorization": sent}))
    assert refusal(answer) == "invalid_client"


async def test_only_a_failure_in_the_header_is_challenged(crowd: Crowd) -> None:
    """RFC 6749 section 5.2: 401 with a challenge where the header failed; what failed in the form is a plain 400."""
    asked = {"grant_type": "authorization_code", "code": "x"}
    by_header = await crowd.post_token(asked, **_basic(SHOP, "wrong"))
    assert (by_header.status, by_header.headers["www-authenticate"]) == (401, 'Basic realm="stafett"')
    for proof in (
        {},
        {"client_id": FLORIST, "client_secret": "wrong"},
        crowd.proof(crowd.bank) | {"client_id": FLORIST},
    ):
        by_form = await crowd.post_token({**asked, **proof})
        assert (by_form.status, by_form.json["error"]) == (400, "invalid_client")
        assert "www-authenticate" not in by_form.headers


async def test_a_post_client_may_not_use_basic(crowd: Crowd) -> None:
    """Registered for client_secret_post; and a private_key_jwt client has no secret at all."""
    for client in (FLORIST, BANK):
        answer = await crowd.post_token(
            {"grant_type": "authorization_code", "code": "x"}, **_basic(client, OTHER_SECRET)
        )
        assert refusal(answer) == "invalid_client"


async def test_basic_without_the_encoding_is_another_secret(crowd: Crowd) -> None:
    """A secret with + and % only fits form-encoded (RFC 6749 section 2.3.1)."""
    answer = await crowd.post_token({"grant_type": "authorization_code", "code": "x"}, **_basic(LIBRARY, OTHER_SECRET))
    assert refusal(answer) == "invalid_client"


WRONG_REQUESTS: dict[str, tuple[dict[str, str | None], str]] = {
    "no grant_type": ({"grant_type": None}, "unsupported_grant_type"),
    "refresh_token without one": ({"grant_type": "refresh_token"}, "invalid_request"),
    "password": ({"grant_type": "password"}, "unsupported_grant_type"),
    "client_credentials": ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
    "no code": ({"code": None}, "invalid_request"),
    "empty code": ({"code": ""}, "invalid_request"),
}


@pytest.mark.parametrize("kind", WRONG_REQUESTS)
async def test_only_codes_are_redeemed_here(crowd: Crowd, kind: str) -> None:
    """One grant type; a malformed request does not use the code up."""
    code = await crowd.code(crowd.stage.shop)
    changed, error = WRONG_REQUESTS[kind]
    assert refusal(await crowd.redeem(crowd.stage.shop, code, **changed)) == error
    assert (await crowd.redeem(crowd.stage.shop, code)).status == 200


@pytest.mark.parametrize("code", ["garbage", "A" * 200, "å", "../../etc", "A" * 3000, "%00", "ho_x", "\u202e"])
async def test_garbage_is_no_code(crowd: Crowd, code: str) -> None:
    """invalid_grant, whatever it looks like."""
    assert refusal(await crowd.redeem(crowd.stage.shop, code)) == "invalid_grant"


MISFITS: dict[str, dict[str, str | None]] = {
    "another redirect_uri": {"redirect_uri": GARAGE_CALLBACK},
    "redirect_uri with a slash": {"redirect_uri": f"{SHOP_CALLBACK}/"},
    "no redirect_uri": {"redirect_uri": None},
    "wrong verifier": {"code_verifier": "w" * 64},
    "no verifier": {"code_verifier": None},
    "short verifier": {"code_verifier": "v" * 42},
    "long verifier": {"code_verifier": "v" * 129},
    "verifier is the challenge": {"code_verifier": "d2b5d0b7"},
    "verifier not ASCII": {"code_verifier": "å" * 64},
}


@pytest.mark.parametrize("kind", MISFITS)
async def test_a_code_that_does_not_fit_its_request_is_refused_and_ended(crowd: Crowd, kind: str) -> None:
    """RFC 9700 section 4.5: whoever tries has the code but not the rest; nobody gets another try."""
    code = await crowd.code(crowd.stage.shop)
    assert refusal(await crowd.redeem(crowd.stage.shop, code, **MISFITS[kind])) == "invalid_grant"
    assert refusal(await crowd.redeem(crowd.stage.shop, code)) == "invalid_grant"


async def test_a_verifier_nobody_asked_for_is_refused(crowd: Crowd) -> None:
    """RFC 9700 section 2.1.1: no challenge in the request, so none may be answered (PKCE downgrade)."""
    code = await crowd.code(crowd.florist, code_challenge=None, code_challenge_method=None)
    assert refusal(await crowd.redeem(crowd.florist, code)) == "invalid_grant"
    code = await crowd.code(crowd.florist, code_challenge=None, code_challenge_method=None)
    assert (await crowd.redeem(crowd.florist, code, code_verifier=None)).status == 200


async def test_a_challenge_must_be_answered_where_pkce_is_optional_too(crowd: Crowd) -> None:
    """Sent once, it binds."""
    code = await crowd.code(crowd.florist)
    assert refusal(await crowd.redeem(crowd.florist, code, code_verifier=None)) == "invalid_grant"


async def test_a_code_of_another_client_is_worth_nothing(crowd: Crowd) -> None:
    """docs/security.md A8: with its redirect URI and verifier known, too."""
    for owner, thief in (
        (crowd.stage.shop, crowd.florist),
        (crowd.florist, crowd.bank),
        (crowd.bank, crowd.stage.shop),
    ):
        code = await crowd.code(owner)
        for redirect_uri in (owner.redirect_uri, thief.redirect_uri):
            assert refusal(await crowd.redeem(thief, code, redirect_uri=redirect_uri)) == "invalid_grant"


async def test_a_code_lives_a_minute(crowd: Crowd) -> None:
    """Redeemed after 59 seconds, refused after 61 (FAPI 2.0: at most 60)."""
    code = await crowd.code(crowd.stage.shop)
    crowd.stage.clock.forward(seconds=59)
    assert (await crowd.redeem(crowd.stage.shop, code)).status == 200
    code = await crowd.code(crowd.stage.shop)
    crowd.stage.clock.forward(seconds=61)
    assert refusal(await crowd.redeem(crowd.stage.shop, code)) == "invalid_grant"


@pytest.mark.parametrize("wait_s", [0, 30])
async def test_using_a_code_twice_ends_what_it_gave(crowd: Crowd, wait_s: int) -> None:
    """RFC 6749 section 4.1.2: invalid_grant, and the access token of the first time is dead."""
    code = await crowd.code(crowd.stage.shop)
    tokens = await crowd.redeem(crowd.stage.shop, code)
    assert (await crowd.stage.shop.userinfo(tokens.json["access_token"])).status == 200
    crowd.stage.clock.forward(seconds=wait_s)
    assert refusal(await crowd.redeem(crowd.stage.shop, code)) == "invalid_grant"
    assert (await crowd.stage.shop.userinfo(tokens.json["access_token"])).status == 401


async def test_tokens_of_one_kind_are_not_those_of_another(crowd: Crowd) -> None:
    """docs/security.md A9: each kind of token offered everywhere else: only its own place takes it."""
    browser = crowd.stage.browser()
    at_shop = await crowd.stage.shop_login(browser)
    offered = await crowd.stage.offer(at_shop["claims"]["sub"])
    handle = offered.json["link"].rpartition("/")[2]
    await browser.follow(await browser.get(offered.json["link"]))
    started = await browser.press("share")
    reference = started.query["login_hint"]
    code = (await browser.get(crowd.stage.shop.request(prompt="none"))).query["code"]
    guest = await crowd.stage.offer(at_shop["claims"]["sub"])
    other = crowd.stage.browser()
    await other.follow(await other.get(guest.json["link"]))
    guest_reference = (await other.press("continue-guest")).query["ref"]

    kinds = {
        "access": at_shop["access_token"],
        "id": at_shop["id_token"],
        "handle": handle,
        "reference": reference,
        "reference token": reference[3:],
        "guest": guest_reference,
        "code": code,
    }
    for kind, token in kinds.items():
        if kind != "access":
            assert (await crowd.stage.shop.userinfo(token)).status == 401, kind
        if kind != "handle":
            assert (await browser.get(f"/h/{token}")).status in {404, 410}, kind
        if kind != "guest":
            refused = await crowd.stage.garage.call("/handoffs/guest", {"ref": token})
            assert refused.json["error"] == "invalid_grant", kind
        if not kind.startswith("reference"):
            hinted = await crowd.stage.browser().get(
                crowd.stage.garage.request(login_hint=f"ho_{token}", prompt="none")
            )
            assert hinted.query["error"] == "login_required", kind
        if kind != "code":
            assert refusal(await crowd.redeem(crowd.stage.shop, token)) == "invalid_grant", kind
    assert (await crowd.redeem(crowd.stage.shop, code)).status == 200
    assert (await crowd.stage.garage.call("/handoffs/guest", {"ref": guest_reference})).status == 200


async def test_only_a_form_by_post_is_read(crowd: Crowd) -> None:
    """GET, JSON, multipart, a duplicate, a member in the query as well, and too many members are refused."""
    code = await crowd.code(crowd.stage.shop)
    client, form = crowd.stage.client, crowd.form(crowd.stage.shop, code)
    auth = crowd.basic(crowd.stage.shop)
    as_form = {**auth, "content-type": "application/x-www-form-urlencoded"}
    assert (await client.get("/token")).status_code == 405
    for raw in (
        await client.post("/token", json=form, headers=auth),
        await client.post("/token", files={"code": b"x"}, headers=auth),
        await client.post(f"/token?code={code}", data=form, headers=auth),
        await client.post("/token", content=f"code={code}&code={code}", headers=as_form),
        await client.post("/token", content="&".join(f"a{n}=1" for n in range(200)), headers=as_form),
        await client.post("/token", content="a=" + "b" * 9000, headers=as_form),
    ):  # fmt: skip
        assert refusal(Answer(raw)) == "invalid_request"
    assert (await crowd.redeem(crowd.stage.shop, code)).status == 200


async def test_secrets_and_codes_are_not_read_from_the_query(crowd: Crowd) -> None:
    """They would end in logs."""
    code = await crowd.code(crowd.florist)
    raw = await crowd.stage.client.post(
        f"/token?client_id={FLORIST}&client_secret={OTHER_SECRET}&code={code}&grant_type=authorization_code",
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert refusal(Answer(raw)) == "invalid_client"
