"""
Our own signatures, and the assertions partners sign.

Every kind of token has its own ``typ`` and is verified for it (RFC 8725 section 3.11); algorithms are named by us, never
taken from a header (section 3.1). Keys are parsed once.
"""

import json
import math
import warnings
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from joserfc import jwe, jws
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, KeySet
from jwt import PyJWS
from msgspec import Struct

from broker.core.keys import KeyStanding, KeyState
from broker.core.octets import base64url, from_base64url, sha256
from broker.core.strict_json import StrictJson
from broker.errors import BadClient, ConfigError
from broker.wire.signing_keys import ALGS, SigningKey, VerifyingKey, signing_key, verifying_key

__all__ = [
    "Assertion",
    "BadToken",
    "EncryptionKey",
    "KeySet",
    "Keyring",
    "at_hash",
    "encrypt",
    "import_encryption_key",
    "import_jwks",
    "unverified_client",
    "verify_client_assertion",
]

EncryptionKey = ECKey
"""A partner's public key, parsed."""

_MAX_TOKEN = 16 * 1024
_MAX_HEADER = 8 * 1024
_JSON = StrictJson()
_JWS = PyJWS()


class BadToken(ValueError):
    """A token that is malformed, not ours, wrongly signed or of another kind; the text says which, without its content."""


class _Shown(Struct, frozen=True):
    """
    One state of the keyring. ``signing``: by algorithm. ``known``: by kid, for hints: what is published and what was.
    """

    signing: Mapping[str, SigningKey]
    known: Mapping[str, VerifyingKey]
    jwks: bytes


class Keyring:
    """
    The broker's signing keys as they stand: per algorithm one that signs, and all that are published.

    Whoever signs or answers reads one attribute; `show` replaces what it holds as a whole.

    Raises:
        ConfigError: a key that cannot be read, or an algorithm that no key signs now.
    """

    def __init__(self, keys: Sequence[KeyStanding]) -> None:
        self._signing: dict[str, SigningKey] = {}
        self._verifying: dict[str, VerifyingKey] = {}
        self.show(keys)

    def show(self, keys: Sequence[KeyStanding]) -> None:
        """From now on these keys; of the same key nothing is parsed twice. Raises ConfigError, and then nothing changes."""
        can_sign = [each.key for each in keys if each.state is KeyState.SIGNING]
        if missing := set(ALGS) - {key.alg for key in can_sign}:
            problem = f"no key signs {' and '.join(sorted(missing))} now; stafett keys rotate --alg makes one"
            raise ConfigError((f"broker.keys: {problem}",))
        signing = {key.kid: self._signing.get(key.kid) or signing_key(key) for key in can_sign}
        known = {
            each.key.kid: self._verifying.get(each.key.kid) or verifying_key(each.key)
            for each in keys
            if each.vouches_for_hints
        }
        published = [dict(each.key.public) for each in keys if each.is_published]
        jwks = json.dumps({"keys": published}, separators=(",", ":")).encode()
        self._shown = _Shown({key.alg: key for key in signing.values()}, known, jwks)
        self._signing, self._verifying = signing, known

    def jwks(self) -> bytes:
        """The public JWK Set (RFC 7517 section 5) as JSON."""
        return self._shown.jwks

    def sign(self, claims: Mapping[str, Any], *, alg: str, typ: str = "JWT") -> str:
        """A compact JWS over *claims* with *alg* (``RS256`` or ``ES256``)."""
        key = self._shown.signing[alg]
        return _JWS.encode(
            msgspec.json.encode(claims), key.private, algorithm=alg, headers={"kid": key.kid, "typ": typ}
        )

    def id_token_hint(self, token: str, *, issuer: str) -> Mapping[str, Any]:
        """
        Claims of an ID token of ours given back as a hint: signature and issuer hold, expiry is not looked at.

        Spec: OpenID Connect RP-Initiated Logout 1.0 section 2; OpenID Connect Core section 3.1.2.1.
        Raises: BadToken.
        """
        claims = self._own(token, typ="JWT", issuer=issuer)
        if not isinstance(claims.get("sub"), str):
            raise BadToken("hint was issued by somebody else")
        # security: a signed userinfo answer is a JWT of ours about the same customer too, and has no exp.
        if _number(claims, "exp") is None:
            raise BadToken("hint is no ID token")
        return claims

    def access_token(self, token: str, *, issuer: str) -> str:
        """
        The ``jti`` of a JWT access token of ours (RFC 9068); whether it is live is the caller's business.

        Raises: BadToken.
        """
        jti = self._own(token, typ="at+jwt", issuer=issuer).get("jti")
        if not isinstance(jti, str):
            raise BadToken("access token has no jti")
        return jti

    def signed(self, token: str) -> bool:
        """Whether *token* is a JWT of ours, of whatever kind and age."""
        try:
            key = self._key_of(_header(token))
            _verified(token, key.keys, (key.alg,))
        except BadToken:
            return False
        return True

    def _own(self, token: str, *, typ: str, issuer: str) -> Mapping[str, Any]:
        header = _header(token)
        key = self._key_of(header)
        if header.get("typ", "JWT") != typ:
            raise BadToken(f"not signed as {typ}")
        claims = _verified(token, key.keys, (key.alg,))
        if claims.get("iss") != issuer:
            raise BadToken("issued by somebody else")
        return claims

    def _key_of(self, header: Mapping[str, Any]) -> VerifyingKey:
        key = self._shown.known.get(str(header.get("kid", "")))
        if key is None or header.get("alg") != key.alg:
            raise BadToken("not signed by a key of ours")
        return key


class Assertion(Struct, frozen=True):
    """A verified client assertion. ``jti`` is unique per client; ``expires_at`` in seconds since the epoch."""

    jti: str
    expires_at: int


def unverified_client(assertion: str) -> str:
    """Whose assertion this claims to be (``sub``), to find the keys by. Raises: BadToken."""
    _header(assertion)
    try:
        claims = _JSON.read(from_base64url(assertion.split(".")[1]))
    except ValueError as error:
        raise BadToken("assertion payload is not JSON") from error
    subject = claims.get("sub") if isinstance(claims, dict) else None
    if not isinstance(subject, str):
        raise BadToken("assertion has no sub")
    return subject


def verify_client_assertion(
    assertion: str,
    *,
    keys: KeySet,
    client_id: str,
    audiences: Collection[str],
    algs: Collection[str],
    now: datetime,
    max_age_s: int = 3600,
    skew_s: int = 60,
) -> Assertion:
    """
    Check a ``private_key_jwt`` assertion.

    ``audiences``: what ``aud`` may be, always one string. New clients send the issuer (draft-ietf-oauth-rfc7523bis); libraries
    that follow OpenID Connect Core section 9 send the token endpoint, and some make assertions that last an hour.
    ``algs``: signatures that count.

    Spec: RFC 7523 section 3. Replay is the caller's business.
    Raises: BadClient.
    """
    try:
        header = _header(assertion)
        claims = _verified(assertion, keys, list(algs))
    except BadToken as error:
        raise BadClient(f"client assertion: {error}") from error
    if header.get("typ", "JWT") not in {"JWT", "client-authentication+jwt"}:
        raise BadClient("client assertion: wrong typ")
    if claims.get("iss") != client_id or claims.get("sub") != client_id:
        raise BadClient("client assertion: iss and sub must be the client id")
    audience = claims.get("aud")
    if not isinstance(audience, str) or audience not in audiences:
        raise BadClient(f"client assertion: aud must be {' or '.join(audiences)}, as one string")
    jti, expires_at = claims.get("jti"), _number(claims, "exp")
    if not isinstance(jti, str) or not 1 <= len(jti) <= 200 or not jti.isprintable():
        raise BadClient("client assertion: jti missing")
    at = int(now.timestamp())
    if expires_at is None or expires_at <= at - skew_s or expires_at > at + max_age_s + skew_s:
        raise BadClient("client assertion: exp missing, past or too far ahead")
    for name in ("iat", "nbf"):
        value = _number(claims, name)
        if (name in claims and value is None) or (value is not None and value > at + skew_s):
            raise BadClient(f"client assertion: {name} is in the future")
    return Assertion(jti, expires_at)


def import_jwks(jwks: Mapping[str, Any]) -> KeySet:
    """A partner's public keys, parsed. Raises ValueError for shared secrets and anything the library cannot use."""
    try:
        keys = KeySet.import_key_set({"keys": list(jwks["keys"])})
        if any(key.key_type == "oct" for key in keys):
            raise ValueError("a shared secret is no public key")
        return keys
    except (JoseError, KeyError, TypeError) as error:
        raise ValueError("not a usable JWK Set") from error


def import_encryption_key(jwk: Mapping[str, Any]) -> EncryptionKey:
    """A partner's public key to encrypt to. Raises: ValueError for anything but EC P-256."""
    try:
        key = ECKey.import_key({name: str(jwk[name]) for name in ("kty", "crv", "x", "y", "kid") if name in jwk})
    except (JoseError, KeyError, TypeError) as error:
        raise ValueError("not a usable key") from error
    if key.curve_name != "P-256":
        raise ValueError("not a key on P-256")
    return key


def encrypt(token: str, key: EncryptionKey) -> str:
    """
    *token*, a signed JWT, in a compact JWE to *key*: ECDH-ES, A256GCM, uncompressed (docs/security.md B6).

    Spec: RFC 7516; nested as in RFC 7519 section 5.2, with nothing of the inner claims in the header.
    """
    header = {"alg": "ECDH-ES", "enc": "A256GCM", "cty": "JWT"} | ({"kid": key.kid} if key.kid else {})
    return jwe.encrypt_compact(header, token, key, algorithms=["ECDH-ES", "A256GCM"])


def _header(token: str) -> Mapping[str, Any]:
    if len(token) > _MAX_TOKEN or token.count(".") != 2 or len(token.split(".", 1)[0]) > _MAX_HEADER:
        raise BadToken("not a compact JWS of acceptable size")
    try:
        header = _JSON.read(from_base64url(token.split(".", 1)[0]))
    except ValueError as error:
        raise BadToken("header is not JSON") from error
    if not isinstance(header, dict) or "crit" in header or "zip" in header or "b64" in header:
        raise BadToken("header has members that are not understood")
    return header


def _verified(token: str, keys: KeySet, algs: Sequence[str]) -> Mapping[str, Any]:
    try:
        with warnings.catch_warnings():
            # The library warns of the name EdDSA (RFC 9864), which other libraries go on using for Ed25519.
            warnings.simplefilter("ignore", SecurityWarning)
            content = jws.deserialize_compact(token, keys, algorithms=list(algs))
        claims = _JSON.read(content.payload)
    except (JoseError, ValueError, TypeError) as error:
        raise BadToken("signature does not hold") from error
    if not isinstance(claims, dict):
        raise BadToken("payload is not an object")
    return claims


def _number(claims: Mapping[str, Any], name: str) -> int | None:
    value = claims.get(name)
    if isinstance(value, float):
        return int(value) if math.isfinite(value) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def at_hash(access_token: str) -> str:
    """``at_hash`` for SHA-256 signature algorithms (OpenID Connect Core section 3.1.3.6)."""
    return base64url(sha256(access_token.encode())[:16])
