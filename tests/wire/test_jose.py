"""
Our own signatures and the assertions partners sign: docs/security.md B1 to B8 and B11, RFC 7523, RFC 8725.

Forged tokens are put together by hand from `cryptography`, not by the library that verifies them.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from joserfc import jwt as stock
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey

from broker.core.client_rules import ASSERTION_ALGS
from broker.core.keys import KeyTimes, standings
from broker.errors import BadClient, ConfigError
from broker.wire.jose import (
    Assertion,
    BadToken,
    Keyring,
    at_hash,
    import_jwks,
    unverified_client,
    verify_client_assertion,
)
from broker.wire.signing_keys import given_book

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
AT = int(NOW.timestamp())
ISSUER = "https://login.example"
CLIENT = "garage-web"
ABSENT = object()

RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
OTHER_EC = ec.generate_private_key(ec.SECP256R1())
P384 = ec.generate_private_key(ec.SECP384R1())
ED = ed25519.Ed25519PrivateKey.generate()


def pem(key: Any) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())  # type: ignore[no-any-return]


def public_pem(key: Any) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form)  # type: ignore[no-any-return]


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def packed(value: Any) -> str:
    return b64(value if isinstance(value, bytes) else json.dumps(value).encode())


def signature(content: bytes, key: Any, alg: str) -> bytes:
    """Of *content* with the raw *key*; anything that is no known algorithm gives none."""
    match alg, key:
        case "ES256" | "ES384", ec.EllipticCurvePrivateKey():
            digest, size = (hashes.SHA256(), 32) if alg == "ES256" else (hashes.SHA384(), 48)
            r, s = decode_dss_signature(key.sign(content, ec.ECDSA(digest)))
            return r.to_bytes(size, "big") + s.to_bytes(size, "big")
        case "RS256", rsa.RSAPrivateKey():
            return key.sign(content, padding.PKCS1v15(), hashes.SHA256())
        case "PS256", rsa.RSAPrivateKey():
            return key.sign(content, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
        case "EdDSA" | "Ed25519", ed25519.Ed25519PrivateKey():
            return key.sign(content)
        case "HS256", bytes():
            return hmac.digest(key, content, hashlib.sha256)
        case _:
            return b""


def token(header: Any, claims: Any, key: Any = None, alg: str | None = None) -> str:
    """A compact JWS, as its parts say."""
    content = f"{packed(header)}.{packed(claims)}"
    chosen = alg or (header.get("alg") if isinstance(header, dict) else "")
    return f"{content}.{b64(signature(content.encode(), key, chosen or ''))}"


def without_absent(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not ABSENT}


TIMES = KeyTimes(
    cached=timedelta(minutes=15),
    longest=timedelta(minutes=10),
    session=timedelta(hours=24),
    spread=timedelta(minutes=5),
)


def keyring_of(*pems: bytes) -> Keyring:
    """The keyring of an operator's own keys."""
    return Keyring(standings(given_book(pems), TIMES, NOW))


KEYRING = keyring_of(pem(RSA), pem(EC))
PUBLISHED = json.loads(KEYRING.jwks())
RSA_KID, EC_KID = (key["kid"] for key in PUBLISHED["keys"])
ID_TOKEN = {"iss": ISSUER, "sub": "subject-1", "aud": CLIENT, "exp": AT + 600, "iat": AT}


def hint(token_: str) -> Mapping[str, Any]:
    return KEYRING.id_token_hint(token_, issuer=ISSUER)


def jwk(key: Any, kid: str, **more: str) -> dict[str, Any]:
    kinds: Mapping[type, Callable[..., Any]] = {
        rsa.RSAPrivateKey: RSAKey.import_key,
        ec.EllipticCurvePrivateKey: ECKey.import_key,
        ed25519.Ed25519PrivateKey: OKPKey.import_key,
    }
    importer = next(importer for kind, importer in kinds.items() if isinstance(key, kind))
    return {**importer(public_pem(key)).as_dict(private=False), "kid": kid, **more}


PARTNER_KEYS = import_jwks({"keys": [jwk(RSA, "rsa"), jwk(EC, "ec"), jwk(ED, "ed"), jwk(P384, "p384")]})
ASSERTION = {"iss": CLIENT, "sub": CLIENT, "aud": ISSUER, "jti": "once", "exp": AT + 60, "iat": AT}


def assertion(header: Mapping[str, Any] | None = None, *, key: Any = EC, alg: str | None = None, **changed: Any) -> str:
    head = without_absent({"alg": "ES256", "kid": "ec", **(header or {})})
    return token(head, without_absent({**ASSERTION, **changed}), key, alg)


def check(given: str, keys: KeySet = PARTNER_KEYS) -> Assertion:
    audiences = (ISSUER, f"{ISSUER}/token")
    return verify_client_assertion(
        given, keys=keys, client_id=CLIENT, audiences=audiences, algs=ASSERTION_ALGS, now=NOW
    )


# What no verifier may take, whoever made it: header changes on an otherwise good token, signed with the good key.
BAD_HEADERS: dict[str, dict[str, Any]] = {
    "alg none": {"alg": "none"},
    "alg None": {"alg": "None"},
    "alg nOnE": {"alg": "nOnE"},
    "alg empty": {"alg": ""},
    "alg absent": {"alg": ABSENT},
    "alg null": {"alg": None},
    "alg list": {"alg": ["ES256"]},
    "alg lower case": {"alg": "es256"},
    "alg of another curve": {"alg": "ES384"},
    "alg of another kind of key": {"alg": "RS256"},
    "alg symmetric": {"alg": "HS256"},
    "kid of another key": {"kid": "rsa"},
    "kid unknown": {"kid": "somebody-elses"},
    "kid as a path": {"kid": "../../../../dev/null"},
    "kid as SQL": {"kid": "' OR 1=1 --"},
    "kid of 9 kB": {"kid": "k" * 9000},
    "kid null": {"kid": None},
    "kid number": {"kid": 1},
    "kid list": {"kid": ["ec"]},
    "kid absent": {"kid": ABSENT},
    "crit": {"crit": ["exp"], "exp": 1},
    "crit unknown": {"crit": ["x"], "x": 1},
    "crit empty": {"crit": []},
    "b64 false": {"crit": ["b64"], "b64": False},
    "zip": {"zip": "DEF"},
}


@pytest.mark.parametrize("changed", BAD_HEADERS.values(), ids=BAD_HEADERS.keys())
def test_a_header_decides_nothing(changed: dict[str, Any]) -> None:
    """Algorithm and key are ours to name; what a header asks for beyond that is refused (B1, B2, B3, B4)."""
    head = without_absent({"alg": "ES256", "kid": EC_KID, **changed})
    with pytest.raises(BadToken):
        hint(token(head, ID_TOKEN, EC, "ES256"))
    with pytest.raises(BadClient):
        check(assertion(changed, alg="ES256"))


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", ""])
@pytest.mark.parametrize("rest", ["", "AA", b64(b"\0" * 64)])
def test_an_unsigned_token_is_nobodys(alg: str, rest: str) -> None:
    """With no signature, an empty or an invented one (B1)."""
    content = f"{packed({'alg': alg, 'kid': EC_KID})}.{packed(ID_TOKEN)}.{rest}"
    with pytest.raises(BadToken):
        hint(content)
    with pytest.raises(BadClient):
        check(f"{packed({'alg': alg, 'kid': 'ec'})}.{packed(ASSERTION)}.{rest}")


@pytest.mark.parametrize(
    "secret",
    [public_pem(EC), public_pem(EC).strip(), public_pem(RSA), json.dumps(PUBLISHED["keys"][1]).encode(), KEYRING.jwks(), b""],
    ids=["EC PEM", "stripped", "RSA PEM", "JWK", "JWKS", "empty"],
)  # fmt: skip
@pytest.mark.parametrize("kid", ["ec", "rsa"])
def test_a_public_key_is_no_shared_secret(secret: bytes, kid: str) -> None:
    """HS256 keyed with what everybody can read (B1)."""
    ours = {"ec": EC_KID, "rsa": RSA_KID}[kid]
    with pytest.raises(BadToken):
        hint(token({"alg": "HS256", "kid": ours}, ID_TOKEN, secret))
    with pytest.raises(BadClient):
        check(assertion({"alg": "HS256", "kid": kid}, key=secret))


@pytest.mark.parametrize("kid", ["ec", "mine", ABSENT])
@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c"])
def test_a_token_does_not_bring_its_own_key(name: str, kid: Any) -> None:
    """Keys in or behind the header are not looked at: only registered ones verify (B2)."""
    brought = {
        "jwk": jwk(OTHER_EC, "mine"),
        "jku": "https://evil.example/jwks",
        "x5u": "https://evil.example/cert",
        "x5c": [b64(b"certificate")],
    }[name]
    with pytest.raises(BadClient):
        check(assertion({"kid": kid, name: brought}, key=OTHER_EC))
    ours = EC_KID if kid == "ec" else kid
    with pytest.raises(BadToken):
        hint(token(without_absent({"alg": "ES256", "kid": ours, name: brought}), ID_TOKEN, OTHER_EC))


def spoiled(good: str) -> dict[str, str]:
    """*good* with one thing wrong about its bytes."""
    head, body, tail = good.split(".")
    deep = b"[" * 5000 + b"]" * 5000
    return {
        "empty": "",
        "dots": "..",
        "one part": head,
        "two parts": f"{head}.{body}",
        "four parts": f"{good}.{tail}",
        "five parts (JWE)": f"{head}.{body}.{tail}.a.b",
        "JSON serialization": json.dumps({"protected": head, "payload": body, "signature": tail}),
        "other payload": f"{head}.{packed({'sub': 'x'})}.{tail}",
        "other header": f"{packed({'alg': 'ES256'})}.{body}.{tail}",
        "signature cut": f"{head}.{body}.{tail[:-8]}",
        "signature of zeros": f"{head}.{body}.{b64(bytes(64))}",
        "signature in DER": f"{head}.{body}.{b64(OTHER_EC.sign(b'x', ec.ECDSA(hashes.SHA256())))}",
        "header no base64": f"!!.{body}.{tail}",
        "header no JSON": f"{b64(b'{')}.{body}.{tail}",
        "header a list": f"{packed([])}.{body}.{tail}",
        "header null": f"{packed(None)}.{body}.{tail}",
        "header no UTF-8": f"{b64(bytes([0xFF, 0xFE, 0x7B]))}.{body}.{tail}",
        "header too deep": f"{b64(deep[:6000])}.{body}.{tail}",
        "not ASCII": f"{head}.{body}.å",
        "half a surrogate pair": f"{head}.{body}.\ud800",
    }


@pytest.mark.parametrize("name", spoiled(assertion()).keys())
def test_anything_but_a_compact_jws_is_refused(name: str) -> None:
    """Malformed in whatever way: one kind of error, nothing else ever (B7, RFC 7515 section 7.1)."""
    good_hint = token({"alg": "ES256", "kid": EC_KID}, ID_TOKEN, EC)
    with pytest.raises(BadToken):
        hint(spoiled(good_hint)[name])
    with pytest.raises(BadClient):
        check(spoiled(assertion())[name])


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"[]", b'"text"', b"null", b"1", b"\xff", b"[" * 5000 + b"]" * 5000],
    ids=["empty", "cut", "list", "text", "null", "number", "no UTF-8", "too deep"],
)
def test_what_is_signed_must_be_an_object(payload: bytes) -> None:
    """Truly signed nonsense is nonsense."""
    with pytest.raises(BadToken):
        hint(token({"alg": "ES256", "kid": EC_KID}, payload, EC))
    with pytest.raises(BadClient):
        check(token({"alg": "ES256", "kid": "ec"}, payload, EC))
    with pytest.raises(BadToken):
        unverified_client(token({"alg": "ES256"}, payload, EC))


@pytest.mark.parametrize(
    ("header", "claims"),
    [
        ({"alg": "ES256", "kid": "ec", "pad": "x" * 9000}, ASSERTION),
        ({"alg": "ES256", "kid": "ec"}, {**ASSERTION, "pad": "x" * 20_000}),
        ({"alg": "ES256", "kid": "ec"}, {**ASSERTION, "pad": "x" * 5_000_000}),
    ],
    ids=["header of 9 kB", "token of 20 kB", "token of 5 MB"],
)
def test_oversize_is_refused_before_it_is_read(header: dict[str, Any], claims: dict[str, Any]) -> None:
    """8 KiB of header and 16 KiB of token are enough for anybody; more is not parsed (B11)."""
    big = token(header, claims, EC)
    with pytest.raises(BadClient):
        check(big)
    with pytest.raises(BadToken):
        hint(big)
    with pytest.raises(BadToken):
        unverified_client(big)


TWICE = {
    "alg": (b'{"alg":"none","kid":"ec","alg":"ES256"}', json.dumps(ASSERTION).encode()),
    "kid": (b'{"alg":"ES256","kid":"x","kid":"ec"}', json.dumps(ASSERTION).encode()),
    "sub": (b'{"alg":"ES256","kid":"ec"}', b'{"sub":"other",' + json.dumps(ASSERTION).encode()[1:]),
    "aud": (b'{"alg":"ES256","kid":"ec"}', b'{"aud":"other",' + json.dumps(ASSERTION).encode()[1:]),
}


@pytest.mark.parametrize(("header", "claims"), TWICE.values(), ids=TWICE.keys())
def test_a_member_said_twice_says_nothing(header: bytes, claims: bytes) -> None:
    """Readers differ in which of two values they take, so neither is taken (RFC 7515 section 4, RFC 7519 section 4)."""
    with pytest.raises(BadClient):
        check(token(header, claims, EC, "ES256"))
    with pytest.raises(BadToken):
        unverified_client(token(header, claims, EC, "ES256"))


class TestKeyring:
    def test_stock_libraries_verify_what_we_sign(self) -> None:
        """Both algorithms, from the published set alone, found by kid."""
        keys = KeySet.import_key_set(PUBLISHED)
        for alg, kid in (("RS256", RSA_KID), ("ES256", EC_KID)):
            decoded = stock.decode(KEYRING.sign(ID_TOKEN, alg=alg), keys, algorithms=[alg])
            assert decoded.claims == ID_TOKEN
            assert decoded.header == {"alg": alg, "kid": kid, "typ": "JWT"}

    def test_only_public_halves_are_published(self) -> None:
        """No private member, and each key says what it is for; the kid is the RFC 7638 thumbprint."""
        for key in PUBLISHED["keys"]:
            assert not set(key) & {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
            assert key["use"] == "sig"
        assert [key["alg"] for key in PUBLISHED["keys"]] == ["RS256", "ES256"]
        members = {name: PUBLISHED["keys"][1][name] for name in ("crv", "kty", "x", "y")}
        canonical = json.dumps(members, sort_keys=True, separators=(",", ":")).encode()
        assert b64(hashlib.sha256(canonical).digest()) == EC_KID

    def test_the_first_of_each_kind_signs_and_all_are_published(self) -> None:
        """So keys are rotated: the new one goes first, the old one stays for what it signed."""
        rotated = keyring_of(pem(OTHER_EC), pem(RSA), pem(EC))
        assert len(json.loads(rotated.jwks())["keys"]) == 3
        old = KEYRING.sign(ID_TOKEN, alg="ES256")
        new = rotated.sign(ID_TOKEN, alg="ES256")
        assert rotated.id_token_hint(old, issuer=ISSUER) == ID_TOKEN
        assert rotated.id_token_hint(new, issuer=ISSUER) == ID_TOKEN
        with pytest.raises(BadToken):
            hint(new)

    @pytest.mark.parametrize(
        ("pems", "sentence"),
        [
            ([], "no key for ES256 and RS256"),
            ([pem(RSA)], "no key for ES256"),
            ([pem(EC)], "no key for RS256"),
            ([pem(RSA), pem(EC), pem(RSA)], "the same key is given twice"),
            ([pem(RSA), pem(P384)], "signing[1]: must be RSA of at least 2048 bits or EC P-256"),
            ([pem(ED)], "signing[0]: must be RSA"),
            ([pem(rsa.generate_private_key(65537, 1024)), pem(EC)], "signing[0]: must be RSA of at least 2048 bits"),
            ([public_pem(RSA)], "signing[0]: not an unencrypted PEM private key"),
            ([b""], "signing[0]: not an unencrypted PEM private key"),
            ([b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"], "signing[0]: not an unencrypted"),
        ],
    )
    def test_unusable_keys_are_told_at_start(self, pems: list[bytes], sentence: str) -> None:
        """With key and what to do, and nothing of the key itself."""
        with pytest.raises(ConfigError) as refused:
            keyring_of(*pems)
        assert sentence in refused.value.detail
        assert refused.value.detail.startswith("broker.keys.signing")

    def test_an_encrypted_key_is_refused(self) -> None:
        """A passphrase would have to stand somewhere as well."""
        locked = EC.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"word"),
        )
        with pytest.raises(ConfigError, match="unencrypted"):
            keyring_of(locked)


class TestHint:
    @pytest.mark.parametrize("alg", ["RS256", "ES256"])
    def test_our_own_id_token_is_known_again_even_long_after(self, alg: str) -> None:
        """Signature and issuer hold; expiry is not looked at (RP-Initiated Logout section 2)."""
        assert hint(KEYRING.sign({**ID_TOKEN, "exp": AT - 10**8}, alg=alg))["sub"] == "subject-1"

    @pytest.mark.parametrize(
        "typ", ["at+jwt", "logout+jwt", "client-authentication+jwt", "secevent+jwt", "jwt", "", None, ["JWT"]]
    )
    def test_another_kind_of_token_of_ours_is_no_id_token(self, typ: Any) -> None:
        """The typ we sign with is the typ we take back: no token stands in for another (B9 of RFC 8725; A9)."""
        with pytest.raises(BadToken):
            hint(token({"alg": "ES256", "kid": EC_KID, "typ": typ}, ID_TOKEN, EC))

    @pytest.mark.parametrize(
        "changed",
        [
            {"iss": "https://other.example"},
            {"iss": f"{ISSUER}/"},
            {"iss": [ISSUER]},
            {"iss": ABSENT},
            {"sub": ABSENT},
            {"sub": None},
            {"sub": 1},
            {"sub": ["subject-1"]},
        ],
    )
    def test_it_names_our_customer_as_we_do(self, changed: dict[str, Any]) -> None:
        """Our issuer, exactly, and a subject (B5)."""
        with pytest.raises(BadToken):
            hint(token({"alg": "ES256", "kid": EC_KID}, without_absent({**ID_TOKEN, **changed}), EC))

    def test_nobody_elses_signature_counts(self) -> None:
        """Neither another key under our kid, nor a partner's assertion."""
        with pytest.raises(BadToken):
            hint(token({"alg": "ES256", "kid": EC_KID}, ID_TOKEN, OTHER_EC))
        with pytest.raises(BadToken):
            hint(assertion())


GOOD: dict[str, tuple[dict[str, Any], Any, dict[str, Any]]] = {
    "EC": ({}, EC, {}),
    "RSA": ({"alg": "RS256", "kid": "rsa"}, RSA, {}),
    "RSA-PSS": ({"alg": "PS256", "kid": "rsa"}, RSA, {}),
    "Ed25519": ({"alg": "Ed25519", "kid": "ed"}, ED, {}),
    "Ed25519 by its old name": ({"alg": "EdDSA", "kid": "ed"}, ED, {}),
    "typ": ({"typ": "JWT"}, EC, {}),
    "typ of the draft": ({"typ": "client-authentication+jwt"}, EC, {}),
    "to the token endpoint": ({}, EC, {"aud": f"{ISSUER}/token"}),
    "no iat": ({}, EC, {"iat": ABSENT}),
    "expired within the skew": ({}, EC, {"exp": AT - 59}),
    "an hour long": ({}, EC, {"exp": AT + 3600}),
    "clock ahead within the skew": ({}, EC, {"iat": AT + 60, "nbf": AT + 60}),
    "exp with a fraction": ({}, EC, {"exp": AT + 60.5}),
    "unknown claim": ({}, EC, {"more": {"a": 1}}),
}

BAD: dict[str, dict[str, Any]] = {
    "iss of another client": {"iss": "shop-web"},
    "sub of another client": {"sub": "shop-web"},
    "both of another client": {"iss": "shop-web", "sub": "shop-web"},
    "no iss": {"iss": ABSENT},
    "no sub": {"sub": ABSENT},
    "iss a list": {"iss": [CLIENT]},
    "no aud": {"aud": ABSENT},
    "aud of another": {"aud": "https://other.example"},
    "aud with a slash": {"aud": f"{ISSUER}/"},
    "aud of another endpoint": {"aud": f"{ISSUER}/userinfo"},
    "aud a list": {"aud": [ISSUER]},
    "aud a list of two": {"aud": [ISSUER, "https://other.example"]},
    "aud null": {"aud": None},
    "aud an object": {"aud": {"0": ISSUER}},
    "no jti": {"jti": ABSENT},
    "jti empty": {"jti": ""},
    "jti number": {"jti": 7},
    "jti too long": {"jti": "x" * 201},
    "no exp": {"exp": ABSENT},
    "exp past": {"exp": AT - 60},
    "exp far ahead": {"exp": AT + 3661},
    "exp in milliseconds": {"exp": AT * 1000},
    "exp text": {"exp": str(AT + 60)},
    "exp null": {"exp": None},
    "exp true": {"exp": True},
    "exp negative": {"exp": -1},
    "exp NaN": {"exp": float("nan")},
    "exp infinite": {"exp": float("inf")},
    "exp a list": {"exp": [AT + 60]},
    "iat in the future": {"iat": AT + 61},
    "iat text": {"iat": "now"},
    "iat null": {"iat": None},
    "nbf in the future": {"nbf": AT + 61},
    "nbf infinite": {"nbf": float("inf")},
}


class TestClientAssertion:
    @pytest.mark.parametrize(("header", "key", "claims"), GOOD.values(), ids=GOOD.keys())
    def test_a_good_one_is_taken(self, header: dict[str, Any], key: Any, claims: dict[str, Any]) -> None:
        """Of the algorithms we allow, and as different as stock libraries make them."""
        given = assertion(header, key=key, **claims)
        taken = check(given)
        assert taken.jti == "once"
        assert taken.expires_at == int(claims.get("exp", AT + 60))
        assert unverified_client(given) == CLIENT

    @pytest.mark.parametrize("changed", BAD.values(), ids=BAD.keys())
    def test_each_claim_is_checked(self, changed: dict[str, Any]) -> None:
        """Missing, wrong or of the wrong kind: BadClient and nothing else (B5; RFC 7523 section 3)."""
        with pytest.raises(BadClient):
            check(assertion(**changed))

    @pytest.mark.parametrize(
        "typ", ["at+jwt", "logout+jwt", "dpop+jwt", "secevent+jwt", "", None, 1, ["JWT"], {"a": 1}]
    )
    def test_another_kind_of_token_is_no_assertion(self, typ: Any) -> None:
        """A9: each kind has its typ."""
        with pytest.raises(BadClient):
            check(assertion({"typ": typ}))

    def test_an_id_token_of_ours_is_no_assertion(self) -> None:
        """Not even when a partner registered our keys as its own."""
        ours = import_jwks(PUBLISHED)
        with pytest.raises(BadClient):
            check(KEYRING.sign({**ASSERTION, "iss": ISSUER}, alg="ES256"), ours)

    @pytest.mark.parametrize("key", [OTHER_EC, RSA, b"secret"])
    def test_only_a_registered_key_signs(self, key: Any) -> None:
        """Under a registered kid as well."""
        with pytest.raises(BadClient):
            check(assertion(key=key, alg={OTHER_EC: "ES256", RSA: "RS256"}.get(key, "HS256")))

    def test_a_single_key_needs_no_kid(self) -> None:
        """Stock libraries leave it out then; with several keys it is needed."""
        alone = import_jwks({"keys": [jwk(EC, "ec")]})
        assert check(assertion({"kid": ABSENT}), alone).jti == "once"
        with pytest.raises(BadClient):
            check(assertion({"kid": ABSENT}))

    def test_a_key_registered_for_something_else_does_not_sign(self) -> None:
        """What the partner says about its key holds: use and alg (B4)."""
        for more in ({"alg": "PS256"}, {"alg": "RSA-OAEP-256", "use": "enc"}):
            keys = import_jwks({"keys": [jwk(RSA, "rsa", **more), jwk(EC, "ec")]})
            with pytest.raises(BadClient):
                check(assertion({"alg": "RS256", "kid": "rsa"}, key=RSA), keys)

    def test_a_refusal_repeats_nothing(self) -> None:
        """Details reach the log: neither token nor claim is in them."""
        for given in (assertion(sub="secret-sub"), assertion({"kid": "secret-kid"}), "secret.secret.secret"):
            with pytest.raises(BadClient) as refused:
                check(given)
            assert "secret" not in refused.value.detail
            assert given not in refused.value.detail

    @pytest.mark.parametrize("claims", [{}, {"sub": None}, {"sub": 1}, {"sub": [CLIENT]}, {"iss": CLIENT}])
    def test_whose_it_claims_to_be_must_be_said(self, claims: dict[str, Any]) -> None:
        """Without a sub no keys can be looked up."""
        with pytest.raises(BadToken):
            unverified_client(token({"alg": "ES256"}, claims, EC))


@pytest.mark.parametrize(
    "jwks",
    [
        {},
        {"keys": []},
        {"keys": None},
        {"keys": "text"},
        {"keys": ["text"]},
        {"keys": [{}]},
        {"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]},
        {"keys": [{"kty": "EC", "crv": "P-999", "x": "AA", "y": "AA"}]},
        {"keys": [{"kty": "RSA", "n": "AQAB"}]},
        {"keys": [{"kty": "quantum"}]},
        {"keys": [{"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}]},
        {"keys": [{**jwk(EC, "ec"), "x": b64(b"\1" * 32)}]},
    ],
)
def test_unusable_partner_keys_are_refused(jwks: dict[str, Any]) -> None:
    """ValueError, for points off the curve and shared secrets as well (B8)."""
    with pytest.raises(ValueError):
        import_jwks(jwks)


def test_at_hash_is_the_left_half() -> None:
    """The example of OpenID Connect Core appendix A.3."""
    assert at_hash("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y") == "77QmUPtjPfzWtF2AnpK9RQ"
