"""ID tokens of others: OpenID Connect Core section 3.1.3.7, RFC 8725, docs/security.md B1 to B11."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, RSAKey

from broker.wire.id_token import BadIdToken, Expected, UnknownKey, parse_key_set, verify_id_token

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
AT = int(NOW.timestamp())
RSA = RSAKey.generate_key(2048, {"kid": "rsa-1"})
RSA_OTHER = RSAKey.generate_key(2048, {"kid": "rsa-2"})
EC = ECKey.generate_key("P-256", {"kid": "ec-1"})
EC_384 = ECKey.generate_key("P-384", {"kid": "ec-384"})
PUBLISHED = {"keys": [key.as_dict(private=False) for key in (RSA, RSA_OTHER, EC)]}
KEYS = parse_key_set(PUBLISHED)
EXPECTED = Expected(
    issuers=frozenset({"https://id.example", "id.example"}),
    client_id="stafett",
    nonce="nonce-1",
    algs=frozenset({"RS256"}),
    access_token="access-token-1",
)
GOOD = {
    "iss": "https://id.example",
    "sub": "person-1",
    "aud": "stafett",
    "exp": AT + 600,
    "iat": AT,
    "nonce": "nonce-1",
}
ABSENT = object()


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def half_hash(text: str, name: str = "sha256") -> str:
    digest = hashlib.new(name, text.encode()).digest()
    return b64(digest[: len(digest) // 2])


def claims_with(**changes) -> dict[str, object]:
    return {name: value for name, value in (GOOD | changes).items() if value is not ABSENT}


def signed(claims=None, *, key=RSA, alg="RS256", header=None, payload: bytes | None = None) -> str:
    """A token really signed with *key*; *header* over the usual one, ABSENT takes a member away."""
    head = {"alg": alg, "kid": key.kid, "typ": "JWT"} | (header or {})
    head = {name: value for name, value in head.items() if value is not ABSENT}
    body = payload if payload is not None else json.dumps(GOOD if claims is None else claims).encode()
    content = f"{b64(json.dumps(head).encode())}.{b64(body)}"
    algorithm = jws.JWSRegistry.algorithms[alg]
    return f"{content}.{b64(algorithm.sign(content.encode(), key))}"


def verify(token: str, *, keys=KEYS, now: datetime = NOW, **changes):
    fields = {name: getattr(EXPECTED, name) for name in EXPECTED.__struct_fields__}
    return verify_id_token(token, keys=keys, expected=Expected(**(fields | changes)), now=now)


def refused(token: str, code: str, **options) -> BadIdToken:
    with pytest.raises(BadIdToken) as caught:
        verify(token, **options)
    assert caught.value.code == f"id_token.{code}"
    return caught.value


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({}, {}),
        ({"iss": "id.example"}, {}),
        ({"aud": ["stafett"]}, {}),
        ({"azp": "stafett"}, {}),
        ({"aud": ["stafett", "sibling"], "azp": "stafett"}, {"audiences": frozenset({"sibling"})}),
        ({"exp": AT - 59}, {}),
        ({"iat": AT + 59}, {}),
        ({"exp": AT + 600.5}, {}),
        ({"nbf": AT + 59}, {}),
        ({"at_hash": half_hash("access-token-1")}, {}),
        ({"auth_time": AT - 3600}, {}),
        ({"auth_time": AT - 100}, {"max_age_s": 120}),
        ({"auth_time": AT - 10}, {"fresh_since": NOW - timedelta(seconds=30)}),
    ],
)
def test_what_is_acceptable(changes, options):
    """Both spellings of the issuer, lists of one, small skew, a right at_hash."""
    assert verify(signed(claims_with(**changes)), **options)["sub"] == "person-1"


@pytest.mark.parametrize(("key", "alg"), [(EC, "ES256"), (RSA, "PS256"), (RSA, "RS512")])
def test_other_algorithms_when_allowed(key, alg):
    """Each with the hash its name says, also for at_hash."""
    claims = claims_with(at_hash=half_hash("access-token-1", f"sha{alg[2:]}"))
    assert verify(signed(claims, key=key, alg=alg), algs=frozenset({alg}))["sub"] == "person-1"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"iss": "https://id.example/"}, "iss"),
        ({"iss": "https://evil.example"}, "iss"),
        ({"iss": "HTTPS://id.example"}, "iss"),
        ({"iss": ABSENT}, "iss"),
        ({"iss": None}, "iss"),
        ({"sub": ABSENT}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": 7}, "sub"),
        ({"sub": "x" * 256}, "sub"),
        ({"sub": "a\u0000b"}, "sub"),
        ({"sub": "\ud800"}, "sub"),
        ({"aud": ABSENT}, "aud"),
        ({"aud": None}, "aud"),
        ({"aud": []}, "aud"),
        ({"aud": "other"}, "aud"),
        ({"aud": "stafett "}, "aud"),
        ({"aud": ["other"]}, "aud"),
        ({"aud": ["stafett", "other"], "azp": "stafett"}, "aud"),
        ({"aud": {"stafett": 1}}, "aud"),
        ({"aud": ["stafett", 7]}, "aud"),
        ({"azp": "other"}, "azp"),
        ({"azp": None}, "azp"),
        ({"exp": ABSENT}, "exp"),
        ({"exp": AT - 60}, "exp"),
        ({"exp": str(AT + 600)}, "exp"),
        ({"exp": True}, "exp"),
        ({"exp": -1}, "exp"),
        ({"exp": 1e300}, "exp"),
        ({"exp": None}, "exp"),
        ({"iat": ABSENT}, "iat"),
        ({"iat": AT + 61}, "iat"),
        ({"iat": AT - 661}, "iat"),
        ({"iat": "now"}, "iat"),
        ({"nbf": AT + 61}, "nbf"),
        ({"nbf": "soon"}, "nbf"),
        ({"nonce": ABSENT}, "nonce"),
        ({"nonce": "nonce-2"}, "nonce"),
        ({"nonce": ""}, "nonce"),
        ({"nonce": ["nonce-1"]}, "nonce"),
        ({"nonce": "nonce-1\u00e9"}, "nonce"),
        ({"at_hash": half_hash("other")}, "at_hash"),
        ({"at_hash": ""}, "at_hash"),
        ({"at_hash": None}, "at_hash"),
        ({"auth_time": AT + 61}, "auth_time"),
        ({"auth_time": "yesterday"}, "auth_time"),
    ],
)
def test_missing_wrong_and_wrongly_typed_claims(changes, code):
    """Every claim of Core 3.1.3.7 alone is enough to refuse; nothing is guessed from a wrong type (B5)."""
    refused(signed(claims_with(**changes)), code)


def test_several_audiences_need_azp():
    """Core 3.1.3.7 item 4."""
    claims = claims_with(aud=["stafett", "sibling"])
    refused(signed(claims), "azp", audiences=frozenset({"sibling"}))


@pytest.mark.parametrize(
    ("auth_time", "options"),
    [
        (ABSENT, {"max_age_s": 3600}),
        (ABSENT, {"fresh_since": NOW}),
        (AT - 3661, {"max_age_s": 3600}),
        (AT - 600, {"fresh_since": NOW - timedelta(seconds=300)}),
    ],
)
def test_max_age_needs_a_recent_auth_time(auth_time, options):
    """Core 3.1.2.1: asked for, it must be there and recent; a new token is no new login."""
    refused(signed(claims_with(auth_time=auth_time)), "auth_time", **options)


@pytest.mark.parametrize(
    "alg", ["none", "None", "nOnE", "", "HS256", "HS512", "RS255", "ES256", "PS256", "RSA-OAEP", 7]
)
def test_algorithms_outside_the_list_are_refused_before_any_key_is_touched(alg):
    """B1: the header never chooses how it is verified."""
    head, body = b64(json.dumps({"alg": alg, "kid": "rsa-1"}).encode()), b64(json.dumps(GOOD).encode())
    refused(f"{head}.{body}.", "alg")
    refused(f"{head}.{body}.AAAA", "alg")


def test_the_public_key_is_no_shared_secret():
    """B1: HS256 keyed with the published PEM or JWK, even where an operator allowed HS256 by mistake."""
    for secret in (RSA.as_pem(private=False), json.dumps(RSA.as_dict(private=False)).encode()):
        content = f"{b64(json.dumps({'alg': 'HS256', 'kid': 'rsa-1'}).encode())}.{b64(json.dumps(GOOD).encode())}"
        token = f"{content}.{b64(hmac.new(secret, content.encode(), 'sha256').digest())}"
        refused(token, "alg")
        refused(token, "alg", algs=frozenset({"RS256", "HS256"}))


def test_key_type_and_curve_must_fit_the_algorithm():
    """B4: an allowed algorithm with another kind of key finds no key at all."""
    refused(signed(key=RSA, header={"alg": "ES256"}), "key", algs=frozenset({"ES256"}))
    refused(signed(key=EC, alg="ES256", header={"alg": "RS256"}), "key")
    keys = parse_key_set({"keys": [EC_384.as_dict(private=False)]})
    refused(signed(key=EC_384, alg="ES384", header={"alg": "ES256"}), "key", keys=keys, algs=frozenset({"ES256"}))


def test_a_key_bound_to_another_algorithm_is_not_used():
    """B4: the JWK's own alg counts too."""
    keys = parse_key_set({"keys": [RSA.as_dict(private=False, alg="PS256")]})
    refused(signed(), "key", keys=keys)


@pytest.mark.parametrize("kid", ["rsa-9", "../../etc/passwd", "' OR 1=1 --", "RSA-1", "", "x" * 5000])
def test_an_unknown_kid_finds_nothing(kid):
    """B2: kid only selects among published keys, by exact equality."""
    with pytest.raises(UnknownKey):
        verify(signed(header={"kid": kid}))


def test_kid_must_be_text():
    """B2: no other type is looked up."""
    refused(signed(header={"kid": ["rsa-1"]}), "kid")


def test_without_kid_exactly_one_key_may_fit():
    """Core 10.1: kid is required when several keys are published."""
    with pytest.raises(UnknownKey):
        verify(signed(header={"kid": ABSENT}))
    one = parse_key_set({"keys": [RSA.as_dict(private=False), EC.as_dict(private=False)]})
    assert verify(signed(header={"kid": ABSENT}), keys=one)["sub"] == "person-1"


def test_two_keys_of_one_name_are_ambiguous():
    """B8: neither is tried."""
    twice = parse_key_set({"keys": [RSA.as_dict(private=False), RSA_OTHER.as_dict(private=False) | {"kid": "rsa-1"}]})
    with pytest.raises(UnknownKey):
        verify(signed(), keys=twice)


def test_a_signature_by_another_key_or_none_is_refused():
    """Signed by the second key but named after the first; cut short; of other content."""
    refused(signed(key=RSA_OTHER, header={"kid": "rsa-1"}), "signature")
    token = signed()
    refused(token.rpartition(".")[0] + ".", "signature")
    head, _, tail = token.split(".")
    refused(f"{head}.{b64(json.dumps(claims_with(sub='other')).encode())}.{tail}", "signature")


@pytest.mark.parametrize(
    "embedded",
    [
        {"jwk": RSAKey.generate_key(2048).as_dict(private=False)},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/cert"},
        {"x5c": ["MIIB"]},
        {"jwk": "not even a key", "jku": 7},
    ],
)
def test_embedded_keys_are_ignored(embedded):
    """B2: with a right signature they change nothing; with an attacker's key they help nothing."""
    assert verify(signed(header=embedded))["sub"] == "person-1"
    attacker = RSAKey.generate_key(2048, {"kid": "rsa-1"}) if "jwk" in embedded else RSA_OTHER
    refused(signed(key=attacker, header={"kid": "rsa-1"} | embedded), "signature")


@pytest.mark.parametrize("extension", [{"crit": ["x"], "x": 1}, {"crit": []}, {"crit": ["b64"], "b64": False},
                                       {"b64": False}, {"zip": "DEF"}])  # fmt: skip
def test_extensions_are_refused(extension):
    """B3, B6: crit, unencoded payload and compression have no place in an ID token."""
    refused(signed(header=extension), "crit")


@pytest.mark.parametrize("typ", ["at+jwt", "logout+jwt", "secevent+jwt", "dpop+jwt", "application/at+jwt", "", 7])
def test_other_kinds_of_token_are_refused(typ):
    """A9: a logout or access token of the same issuer is no ID token."""
    refused(signed(header={"typ": typ}), "typ")


def test_typ_may_be_absent_or_spelled_small():
    """RFC 7519 section 5.1: optional, and media types know no case."""
    assert verify(signed(header={"typ": ABSENT}))
    assert verify(signed(header={"typ": "jwt"}))


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a.b",
        "a.b.c",
        "a.b.c.d.e",
        "{}..",
        b64(b"[]") + ".e30.AA",
        b64(b"\xff") + ".e30.AA",
        b64(b'{"alg":"RS256","alg":"none"}') + ".e30.AA",
        b64(b'{"alg":NaN}') + ".e30.AA",
        "ä.e30.AA",
        "e30.e30.AA" + "A" * 5_000_000,
        b64(json.dumps({"alg": "RS256", "x": "y" * 9000}).encode()) + ".e30.AA",
    ],
    ids=["empty", "two", "no-json", "jwe", "braces", "array", "bytes", "twice", "nan", "umlaut", "5MB", "big-header"],
)
def test_misshapen_tokens(token):
    """B11: size is looked at before anything is parsed."""
    refused(token, "shape")


@pytest.mark.parametrize("payload", [b"[]", b"7", b"{", b"\xff", b'{"sub":"a","sub":"b"}', b'{"exp":Infinity}',
                                     b"[" * 3000])  # fmt: skip
def test_signed_rubbish_is_refused(payload):
    """A right signature over something that is no claims object."""
    refused(signed(payload=payload), "shape")


def test_errors_never_quote_the_token():
    """Texts end in logs: no claim value, no token."""
    error = refused(signed(claims_with(sub="person-1", aud="secret-audience")), "aud")
    assert "secret-audience" not in str(error)
    assert "person-1" not in str(error)


WEAK_RSA = {"kty": "RSA", "kid": "w", "e": "AQAB"}


@pytest.mark.parametrize(
    "jwk",
    [
        OctKey.generate_key(256, {"kid": "x"}).as_dict(),
        RSA.as_dict(private=True),
        RSA.as_dict(private=False, use="enc"),
        RSA.as_dict(private=False) | {"key_ops": ["encrypt"]},
        RSA.as_dict(private=False) | {"kid": 7},
        WEAK_RSA | {"n": b64((1 << 1023 | 1).to_bytes(128, "big"))},
        WEAK_RSA | {"n": b64((1 << 16383 | 1).to_bytes(2048, "big"))},
        RSA.as_dict(private=False) | {"e": b64(((1 << 512) + 1).to_bytes(65, "big"))},
        RSA.as_dict(private=False) | {"n": "%%%"},
        RSA.as_dict(private=False) | {"n": 7},
        RSA.as_dict(private=False) | {"n": ["x"]},
        RSA.as_dict(private=False) | {"n": {}},
        RSA.as_dict(private=False) | {"e": None},
        {"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"},
        {"kty": "EC", "crv": "secp256k1", "x": "AAAA", "y": "AAAA"},
        {"kty": "EC", "crv": "P-256"},
        {"kty": "AKP"},
        {},
        "key",
        None,
    ],
)
def test_unusable_keys_are_left_out(jwk):
    """B7, B8: symmetric, private, encryption-only, weak, huge, off the curve; the good one beside it stays."""
    with pytest.raises(ValueError, match="no usable signature key"):
        parse_key_set({"keys": [jwk]})
    assert len(parse_key_set({"keys": [jwk, EC.as_dict(private=False)]}).keys) == 1


@pytest.mark.parametrize("document", [{}, {"keys": {}}, {"keys": []}, {"keys": [{}] * 51}])
def test_what_is_no_key_set(document):
    """Not a list, empty, or endless."""
    with pytest.raises(ValueError):
        parse_key_set(document)
