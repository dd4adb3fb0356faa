"""
ID tokens of upstream providers: their keys, and every check between a string and claims one may believe.

Order (one screen, `verify_id_token`): shape and size, header, key, signature, then the claims of OpenID Connect
Core section 3.1.3.7. A token says nothing about how it is to be verified: issuer, algorithms and keys are the
caller's (RFC 8725 sections 3.1 and 3.10); `jwk`, `jku`, `x5u` and `x5c` headers are never looked at.
"""

import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final

from authlib.oidc.core.util import create_half_hash  # type: ignore[import-untyped]
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey
from msgspec import Struct

from broker.core.octets import from_base64url
from broker.core.strict_json import StrictJson
from broker.errors import UpstreamRefused

MAX_TOKEN_CHARS: Final = 16 * 1024
MAX_HEADER_CHARS: Final = 8 * 1024
#: An ID token fetched with a fresh code is minutes old at most (Core section 3.1.3.7, item 10).
MAX_TOKEN_AGE_S: Final = 600
SKEW_S: Final = 60
MAX_KEYS: Final = 50

#: Signature algorithms that may be allowed, and the kind of key each needs: key type, curve.
ALGORITHMS: Final[Mapping[str, tuple[str, str | None]]] = {
    **{f"{family}{size}": ("RSA", None) for family in ("RS", "PS") for size in (256, 384, 512)},
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
}
#: Longest accepted members of an RSA key, in base64url characters: 4096 bits, and exponents in use.
_MAX_MODULUS_CHARS: Final = 684
_MAX_EXPONENT_CHARS: Final = 6

PublicKey = RSAKey | ECKey


class BadIdToken(UpstreamRefused):
    """An ID token that must not be believed; ``code`` names the failed check, the text never quotes the token."""

    default_code = "id_token"


class UnknownKey(BadIdToken):
    """Signed with a key that is not in the key set we have: maybe the provider rotated."""

    default_code = "id_token.key"


class KeySet(Struct, frozen=True):
    """A provider's public signing keys, parsed once. ``keys``: with the ``kid`` and ``alg`` the JWK gave."""

    keys: tuple[tuple[str | None, str | None, PublicKey], ...]

    def find(self, kid: str | None, alg: str) -> PublicKey:
        """
        The one key that *kid* and *alg* mean; without *kid* the only one that fits (Core section 10.1).

        Raises:
            UnknownKey: none, or more than one.
        """
        fitting = [
            key
            for name, bound_alg, key in self.keys
            if (kid is None or name == kid) and bound_alg in {None, alg} and _fits(key, alg)
        ]
        if len(fitting) != 1:
            raise UnknownKey(f"{len(fitting)} published keys fit the token's kid and alg")
        return fitting[0]


class Expected(Struct, frozen=True):
    """
    What an ID token must say.

    ``issuers``: exact values of ``iss``. ``audiences``: others than us that may stand in ``aud``. ``algs``: allowed
    signature algorithms. ``access_token``: what ``at_hash``, if present, binds to. ``max_age_s``: how old the login
    may be; then ``auth_time`` is required. ``fresh_since``: the login must not be older than this (aware UTC).
    """

    issuers: frozenset[str]
    client_id: str
    nonce: str
    algs: frozenset[str]
    access_token: str
    audiences: frozenset[str] = frozenset()
    max_age_s: int | None = None
    fresh_since: datetime | None = None


def parse_key_set(jwks: Mapping[str, Any]) -> KeySet:
    """
    The usable signature keys of a JWK Set (RFC 7517 section 5: what is not understood is left out).

    Left out: symmetric and private keys, encryption keys, RSA outside 2048 to 4096 bits, curves we do not allow.

    Raises:
        ValueError: not a JWK Set, too many keys, or none that is usable.
    """
    entries = jwks.get("keys")
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise ValueError("not a JWK Set of acceptable size")
    parsed = [found for entry in entries if (found := _parse_key(entry)) is not None]
    if not parsed:
        raise ValueError("the JWK Set holds no usable signature key")
    return KeySet(tuple(parsed))


def verify_id_token(token: str, *, keys: KeySet, expected: Expected, now: datetime) -> Mapping[str, Any]:
    """
    Check an ID token from the token endpoint.

    Args:
        token: as received.
        now: aware UTC.
    Returns: the claims; ``iss``, ``sub``, ``aud``, ``exp`` and ``iat`` are there and of the right type.
    Raises:
        UnknownKey: no published key fits; fetching the key set anew may help.
        BadIdToken: any other failed check.
    Spec: OpenID Connect Core sections 3.1.3.7 and 2, RFC 7519 section 7.2, RFC 8725 section 3.
    """
    header = checked_header(token, expected.algs)
    key = keys.find(header.get("kid"), header["alg"])
    claims = signed_claims(token, key, header["alg"])
    check_issuer(claims, expected)
    _check_subject(claims)
    check_audience(claims, expected)
    check_times(claims, now.timestamp())
    _check_nonce(claims, expected)
    _check_access_token(claims, expected, header["alg"])
    _check_authentication_time(claims, expected, now.timestamp())
    return claims


def verify_userinfo(token: str, *, keys: KeySet, expected: Expected, now: datetime) -> Mapping[str, Any]:
    """
    Check a userinfo answer that is a signed JWT. That it speaks of the same subject is the caller's to see.

    ``nonce`` and ``access_token`` of *expected* have no meaning here. ``iss``, ``aud`` and times are recommended only
    (OpenID Connect Core section 5.3.2); what is there must be right.

    Raises: as `verify_id_token`.
    """
    header = checked_header(token, expected.algs)
    claims = signed_claims(token, keys.find(header.get("kid"), header["alg"]), header["alg"])
    if "iss" in claims:
        check_issuer(claims, expected)
    if "aud" in claims:
        check_audience(claims, expected)
    expires, valid = seconds(claims, "exp"), seconds(claims, "nbf")
    if expires is not None and expires <= now.timestamp() - SKEW_S:
        raise BadIdToken("expired", code="id_token.exp")
    if valid is not None and valid > now.timestamp() + SKEW_S:
        raise BadIdToken("not valid yet", code="id_token.nbf")
    if "nonce" in claims:
        # security: an ID token passed off as userinfo says how somebody logged in, and maybe somebody else.
        raise BadIdToken("an ID token in place of userinfo", code="id_token.typ")
    return claims


def verify_key_set(token: str, *, keys: KeySet, issuers: frozenset[str], now: datetime) -> KeySet:
    """
    The provider's keys from a signed JWK Set, by *keys* that the operator was given beforehand.

    Raises:
        UnknownKey: signed with none of *keys*. BadIdToken: any other failed check.
    Spec: OpenID Federation 1.0 section 5.2.1 (``signed_jwks_uri``); RFC 8725 section 3.11 for ``typ``.
    """
    header = checked_header(token, frozenset(ALGORITHMS), frozenset({"JWK-SET+JWT", "JWT"}))
    claims = signed_claims(token, keys.find(header.get("kid"), header["alg"]), header["alg"])
    expires, issued = seconds(claims, "exp"), seconds(claims, "iat")
    if claims.get("iss") not in issuers:
        raise BadIdToken("key set of somebody else", code="key_set.iss")
    if expires is not None and expires <= now.timestamp() - SKEW_S:
        raise BadIdToken("key set has expired", code="key_set.exp")
    if issued is not None and issued > now.timestamp() + SKEW_S:
        raise BadIdToken("key set is from the future", code="key_set.iat")
    try:
        return parse_key_set(claims)
    except ValueError as error:
        raise BadIdToken(f"key set: {error}", code="key_set.keys") from error


def seconds(claims: Mapping[str, Any], name: str) -> float | None:
    """
    A NumericDate claim (RFC 7519 section 2); None when absent.

    Raises:
        BadIdToken: there, but not a positive number (JSON strings and booleans are none).
    """
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e11:
        raise BadIdToken(f"{name} is not a number of seconds", code=f"id_token.{name}")
    return float(value)


def checked_header(token: str, algs: frozenset[str], typs: frozenset[str] = frozenset({"JWT"})) -> Mapping[str, Any]:
    """The header of a token of one of the kinds *typs* (upper case). Raises: BadIdToken."""
    segments = token.split(".")
    if len(token) > MAX_TOKEN_CHARS or len(segments) != 3 or len(segments[0]) > MAX_HEADER_CHARS:
        raise BadIdToken("not a compact JWS of acceptable size", code="id_token.shape")
    header = _json_object(_decoded(segments[0]))
    if {"crit", "zip", "b64"} & set(header):
        # joserfc knows b64 and would accept it; an ID token has no use for any extension (RFC 8725 section 3.10).
        raise BadIdToken("header asks for an extension", code="id_token.crit")
    alg, kid, typ = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if not isinstance(alg, str) or alg not in algs or alg not in ALGORITHMS:
        raise BadIdToken("signature algorithm is not allowed here", code="id_token.alg")
    if kid is not None and not isinstance(kid, str):
        raise BadIdToken("kid is not text", code="id_token.kid")
    if not isinstance(typ, str) or typ.upper() not in typs:
        # Access, logout and event tokens carry other types (RFC 8725 section 3.11).
        raise BadIdToken("another kind of token", code="id_token.typ")
    return header


def signed_claims(token: str, key: PublicKey, alg: str) -> Mapping[str, Any]:
    """The claims, if *key* signed them. Raises: BadIdToken."""
    try:
        content = jws.deserialize_compact(token, key, registry=_registry(alg))
    except (JoseError, ValueError, TypeError) as error:
        raise BadIdToken("signature does not hold", code="id_token.signature") from error
    return _json_object(content.payload or b"")


def check_issuer(claims: Mapping[str, Any], expected: Expected) -> None:
    """Core section 3.1.3.7, item 2. Raises: BadIdToken."""
    if claims.get("iss") not in expected.issuers:
        raise BadIdToken("issued by somebody else", code="id_token.iss")


def _check_subject(claims: Mapping[str, Any]) -> None:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 1 <= len(subject) <= 255:
        raise BadIdToken("sub is missing or not of 1 to 255 characters", code="id_token.sub")
    if not subject.isascii() or not subject.isprintable():
        raise BadIdToken("sub is not printable ASCII", code="id_token.sub")


def check_audience(claims: Mapping[str, Any], expected: Expected) -> None:
    """Core section 3.1.3.7, items 3 to 5. Raises: BadIdToken."""
    audience = claims.get("aud")
    named: Sequence[Any] = [audience] if isinstance(audience, str) else audience or ()
    if not isinstance(named, list) or not all(isinstance(each, str) for each in named):
        raise BadIdToken("aud is neither text nor a list of texts", code="id_token.aud")
    if expected.client_id not in named or not set(named) <= {expected.client_id} | expected.audiences:
        raise BadIdToken("meant for another client", code="id_token.aud")
    if len(named) > 1 and "azp" not in claims:
        raise BadIdToken("several audiences and no azp", code="id_token.azp")
    if "azp" in claims and claims["azp"] != expected.client_id:
        raise BadIdToken("authorised for another client", code="id_token.azp")


def check_times(claims: Mapping[str, Any], now_s: float) -> None:
    """Core section 3.1.3.7, items 9 and 10. Raises: BadIdToken."""
    expires, issued, valid = (seconds(claims, name) for name in ("exp", "iat", "nbf"))
    if expires is None or issued is None:
        raise BadIdToken("exp or iat is missing", code="id_token.exp" if expires is None else "id_token.iat")
    if expires <= now_s - SKEW_S:
        raise BadIdToken("expired", code="id_token.exp")
    if not now_s - MAX_TOKEN_AGE_S - SKEW_S <= issued <= now_s + SKEW_S:
        raise BadIdToken("issued in the future or too long ago", code="id_token.iat")
    if valid is not None and valid > now_s + SKEW_S:
        raise BadIdToken("not valid yet", code="id_token.nbf")


def _check_nonce(claims: Mapping[str, Any], expected: Expected) -> None:
    if not _same(claims.get("nonce"), expected.nonce):
        raise BadIdToken("nonce is missing or another one", code="id_token.nonce")


def _check_access_token(claims: Mapping[str, Any], expected: Expected, alg: str) -> None:
    """``at_hash`` (Core section 3.1.3.8): optional in the code flow, but never wrong."""
    if "at_hash" not in claims:
        return
    half = create_half_hash(expected.access_token, alg)
    if half is None or not _same(claims["at_hash"], half.decode()):
        raise BadIdToken("bound to another access token", code="id_token.at_hash")


def _check_authentication_time(claims: Mapping[str, Any], expected: Expected, now_s: float) -> None:
    authenticated = seconds(claims, "auth_time")
    if authenticated is not None and authenticated > now_s + SKEW_S:
        raise BadIdToken("auth_time is in the future", code="id_token.auth_time")
    if expected.max_age_s is None and expected.fresh_since is None:
        return
    if authenticated is None:
        raise BadIdToken("auth_time is missing although max_age was asked", code="id_token.auth_time")
    earliest = expected.fresh_since.timestamp() if expected.fresh_since else now_s - (expected.max_age_s or 0)
    if authenticated < earliest - SKEW_S:
        raise BadIdToken("the login at the provider is too old", code="id_token.auth_time")


def _parse_key(entry: Any) -> tuple[str | None, str | None, PublicKey] | None:
    """The key of one JWK, None for anything that must not verify a signature."""
    if not isinstance(entry, dict) or "d" in entry or entry.get("use", "sig") != "sig":
        return None
    operations = entry.get("key_ops")
    if operations is not None and (not isinstance(operations, list) or "verify" not in operations):
        return None
    kid, alg = entry.get("kid"), entry.get("alg")
    if not isinstance(kid, str | None) or not isinstance(alg, str | None):
        return None
    # Only what the key itself is: certificates and URLs beside it are nobody's business.
    members = {name: value for name, value in entry.items() if name in {"kty", "n", "e", "crv", "x", "y"}}
    if not all(isinstance(value, str) for value in members.values()):
        return None
    try:
        key = _import(members)
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return (kid, alg, key) if key is not None else None


def _import(members: dict[str, Any]) -> PublicKey | None:
    if members.get("kty") == "EC" and members.get("crv") in {"P-256", "P-384", "P-521"}:
        return ECKey.import_key(members)
    if members.get("kty") != "RSA":
        return None
    if len(members["n"]) > _MAX_MODULUS_CHARS or len(members["e"]) > _MAX_EXPONENT_CHARS:
        return None
    # joserfc would only warn of a short modulus.
    bits = int.from_bytes(from_base64url(members["n"])).bit_length()
    return RSAKey.import_key(members) if 2048 <= bits <= 4096 else None


def _fits(key: PublicKey, alg: str) -> bool:
    """Whether *key* is of the type and curve *alg* needs (RFC 8725 section 3.1)."""
    key_type, curve = ALGORITHMS[alg]
    return key.key_type == key_type and (curve is None or getattr(key, "curve_name", None) == curve)


@cache
def _registry(alg: str) -> jws.JWSRegistry:
    """joserfc's rules for one algorithm, with our sizes; unknown headers are ignored as RFC 7515 section 4 says."""
    registry = jws.JWSRegistry(header_registry=_IGNORED, algorithms=[alg], strict_check_header=False)
    registry.max_header_length = MAX_HEADER_CHARS
    registry.max_payload_length = MAX_TOKEN_CHARS
    return registry


def _accept_anything(_: Any) -> None:
    """Header members that are not used are not checked either."""


_IGNORED: Final = {
    name: jws.JWSRegistry.default_header_registry[name].__class__("ignored", _accept_anything)
    for name in ("jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256", "cty")
}


_JSON: Final = StrictJson()


def _json_object(text: bytes) -> Mapping[str, Any]:
    try:
        content = _JSON.read(text)
    except ValueError as error:
        raise BadIdToken("not JSON, or a member twice", code="id_token.shape") from error
    if not isinstance(content, dict):
        raise BadIdToken("not a JSON object", code="id_token.shape")
    return content


def _decoded(segment: str) -> bytes:
    try:
        return from_base64url(segment)
    except ValueError as error:
        raise BadIdToken("not base64url", code="id_token.shape") from error


def _same(unverified: Any, expected: str) -> bool:
    """Constant-time comparison; anything that is not text differs."""
    if not isinstance(unverified, str) or not unverified.isascii():
        return False
    return hmac.compare_digest(unverified.encode(), expected.encode())
