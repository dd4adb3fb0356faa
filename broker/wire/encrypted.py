"""
Encrypted answers of upstream providers: a compact JWE around the signed token that says something.

What opens here is believed no more than before: encryption to a public key proves nothing about who encrypted, so the
signature inside is still to be verified (RFC 7519 section 11.2). Algorithms are the caller's, by allow-list; compression and
password-based keys do not exist here (docs/security.md B6, B7).
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey
from msgspec import Struct

from broker.core.octets import from_base64url
from broker.core.strict_json import StrictJson
from broker.errors import UpstreamRefused

MAX_ENCRYPTED_CHARS: Final = 32 * 1024
_MAX_HEADER_CHARS: Final = 4 * 1024
_JSON: Final = StrictJson()

#: Key management that may be allowed, and the kind of key each needs. RSA1_5 is not among them (RFC 8725 section 3.2).
KEY_TYPES: Final[Mapping[str, str]] = {
    "RSA-OAEP": "RSA",
    "RSA-OAEP-256": "RSA",
    "ECDH-ES": "EC",
    "ECDH-ES+A128KW": "EC",
    "ECDH-ES+A256KW": "EC",
}


class BadEncryption(UpstreamRefused):
    """A token that cannot or must not be opened; ``code`` names the failed check, the text never quotes the token."""

    default_code = "jwe"


class DecryptionKey(Struct, frozen=True):
    """Our private key to read with, parsed once; ``kid`` is its thumbprint (RFC 7638)."""

    key: RSAKey | ECKey
    kid: str

    def public(self) -> dict[str, Any]:
        """The JWK to publish: no private part, ``use`` is ``enc``."""
        members = {name: value for name, value in self.key.as_dict(private=False).items() if name != "kid"}
        return {**members, "kid": self.kid, "use": "enc"}


def parse_decryption_key(pem: str) -> DecryptionKey:
    """
    A private key to decrypt with: RSA of 2048 to 4096 bits, or EC P-256.

    Raises:
        ValueError: unreadable, or another kind of key. The text never quotes it.
    """
    problem = "not a PEM private key of RSA (2048 to 4096 bits) or EC P-256"
    try:
        private = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(problem) from error
    key: RSAKey | ECKey
    match private:
        case rsa.RSAPrivateKey() if 2048 <= private.key_size <= 4096:
            key = RSAKey.import_key(private)
        case ec.EllipticCurvePrivateKey() if isinstance(private.curve, ec.SECP256R1):
            key = ECKey.import_key(private)
        case _:
            raise ValueError(problem)
    return DecryptionKey(key, key.thumbprint())


def opened(unverified_token: str, *, keys: Sequence[DecryptionKey], algs: frozenset[str], encs: frozenset[str]) -> str:
    """
    The signed token inside *unverified_token*; nothing of it is verified yet.

    Args:
        keys: ours, newest first; the header's ``kid`` chooses, without one the newest of the fitting kind.
        algs, encs: what is allowed of key management and of content encryption.
    Raises:
        BadEncryption: not encrypted, not to a key of ours, or not in an allowed way; or what is inside is no signed token.
    Spec: RFC 7516 section 5.2, RFC 7519 sections 5.2 and 7.2.
    """
    header = _checked_header(unverified_token, algs, encs)
    key = _chosen(keys, header)
    try:
        inside = jwe.decrypt_compact(
            unverified_token, key.key, registry=_registry(header["alg"], header["enc"])
        ).plaintext
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise BadEncryption("does not open with our key", code="jwe.decryption") from error
    # One layer only: what is inside is a JWS, or it is nothing (three parts, where a JWE has five).
    if inside is None or not inside.isascii() or inside.count(b".") != 2:
        raise BadEncryption("what is inside is no signed token", code="jwe.content")
    return inside.decode()


def _checked_header(token: str, algs: frozenset[str], encs: frozenset[str]) -> Mapping[str, Any]:
    segments = token.split(".")
    if len(segments) == 3:
        raise BadEncryption("signed only, although encryption is agreed", code="jwe.not_encrypted")
    if len(token) > MAX_ENCRYPTED_CHARS or len(segments) != 5 or len(segments[0]) > _MAX_HEADER_CHARS:
        raise BadEncryption("not a compact JWE of acceptable size", code="jwe.shape")
    header = _json_header(segments[0])
    if {"crit", "zip", "p2c", "p2s"} & set(header):
        # security: a few compressed bytes become gigabytes, and p2c makes us compute for hours.
        raise BadEncryption("header asks for compression or an extension", code="jwe.crit")
    alg, enc, kid, cty = (header.get(name) for name in ("alg", "enc", "kid", "cty"))
    if not isinstance(alg, str) or alg not in algs or alg not in KEY_TYPES:
        raise BadEncryption("encrypted in a way that is not allowed here", code="jwe.alg")
    if not isinstance(enc, str) or enc not in encs:
        raise BadEncryption("encrypted in a way that is not allowed here", code="jwe.alg")
    if not isinstance(kid, str | None):
        raise BadEncryption("kid is not text", code="jwe.kid")
    # RFC 7519 section 5.2 wants cty; providers that forget it lose nothing, the content is looked at anyway.
    if cty is not None and not (isinstance(cty, str) and cty.upper() == "JWT"):
        raise BadEncryption("what is inside is another kind of token", code="jwe.cty")
    return header


def _json_header(segment: str) -> Mapping[str, Any]:
    try:
        header = _JSON.read(from_base64url(segment))
    except ValueError as error:
        raise BadEncryption("header is not JSON", code="jwe.shape") from error
    if not isinstance(header, dict):
        raise BadEncryption("header is not a JSON object", code="jwe.shape")
    return header


def _chosen(keys: Sequence[DecryptionKey], header: Mapping[str, Any]) -> DecryptionKey:
    kid, key_type = header.get("kid"), KEY_TYPES[header["alg"]]
    for key in keys:
        if key.key.key_type == key_type and kid in (None, key.kid):
            return key
    raise BadEncryption("encrypted to a key that is not ours", code="jwe.key")


@cache
def _registry(alg: str, enc: str) -> jwe.JWERegistry:
    """joserfc's rules for one pair of algorithms; header members that are not used are ignored (RFC 7516 section 4)."""
    registry = jwe.JWERegistry(algorithms=[alg, enc], strict_check_header=False)
    registry.max_protected_header_length = _MAX_HEADER_CHARS
    registry.max_ciphertext_length = MAX_ENCRYPTED_CHARS
    return registry
