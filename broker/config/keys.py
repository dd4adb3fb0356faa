"""
Keys that come by reference: the broker's own private ones, and the public ones partners sign with.

Only their form is looked at here, so that a mistake is told with its line; ``broker/wire`` uses them.
"""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

MIN_RSA_BITS = 2048
MAX_RSA_BITS = 4096
MAX_EXPONENT_BITS = 32
MIN_SECRET_BYTES = 32


def signing_kind(pem: bytes) -> str:
    """
    ``RSA`` or ``EC P-256``: what a signing key is.

    Raises:
        ValueError: with what to do, for anything else.
    """
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        raise ValueError("is not an unencrypted private key in PEM form (-----BEGIN PRIVATE KEY-----)") from None
    match key:
        case rsa.RSAPrivateKey():
            if key.key_size < MIN_RSA_BITS:
                raise ValueError(f"is RSA with {key.key_size} bits; make one with at least {MIN_RSA_BITS}")
            return "RSA"
        case ec.EllipticCurvePrivateKey() if isinstance(key.curve, ec.SECP256R1):
            return "EC P-256"
        case _:
            raise ValueError(f"must be RSA with at least {MIN_RSA_BITS} bits, or EC on the curve P-256")


def certificate(pem: bytes) -> bytes:
    """
    The one certificate of a PEM file, as DER. Its dates carry no meaning in SAML and are not looked at.

    Raises:
        ValueError: with what to do.
    """
    try:
        (found,) = x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise ValueError("must be one certificate in PEM form (-----BEGIN CERTIFICATE-----)") from None
    match key := found.public_key():
        case rsa.RSAPublicKey() if key.key_size < MIN_RSA_BITS:
            raise ValueError(f"is of an RSA key with {key.key_size} bits; at least {MIN_RSA_BITS} are needed")
        case rsa.RSAPublicKey() | ec.EllipticCurvePublicKey():
            return found.public_bytes(Encoding.DER)
        case _:
            raise ValueError("must be of an RSA or EC key")


def belong_together(key: bytes, found: bytes) -> bool:
    """Whether the certificate *found* (DER) is of the private *key* (PEM)."""
    private = load_pem_private_key(key, password=None)
    return x509.load_der_x509_certificate(found).public_key() == private.public_key()


def derivation_secret(text: str) -> bytes:
    """
    The bytes of ``keys.secret``.

    Raises:
        ValueError: with what to do.
    """
    try:
        secret = base64.b64decode(text.strip() + "=" * (-len(text.strip()) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not base64url; make it with: openssl rand -base64 32 | tr '+/' '-_'") from None
    if len(secret) < MIN_SECRET_BYTES:
        raise ValueError(f"has {len(secret)} bytes; it needs at least {MIN_SECRET_BYTES} random ones")
    return secret


def public_keys(text: str) -> Mapping[str, Any]:
    """
    A partner's JWK Set (RFC 7517 section 5) for ``private_key_jwt``: its public signing keys.

    Raises:
        ValueError: with everything that is wrong, one sentence per line.
    """
    keys = _key_set(text)
    if found := [*_each_wrong(keys), *_kids_wrong(keys)]:
        raise ValueError("\n".join(found))
    return {"keys": keys}


def encryption_key(text: str) -> Mapping[str, Any]:
    """
    The key of a partner's JWK Set that handoff tokens are encrypted to: the first one with ``"use": "enc"``.

    Raises:
        ValueError: with what is wrong.
    """
    key = next((key for key in _key_set(text) if key.get("use") == "enc"), None)
    if key is None:
        raise ValueError('has no key for encryption; ask the partner for one on P-256 with "use": "enc"')
    if advice := _key_wrong({**key, "use": "sig"}):
        raise ValueError(f"key for encryption: {advice}")
    if key.get("kty") != "EC":
        raise ValueError("key for encryption: must be EC on P-256 (ECDH-ES)")
    return key


def _key_set(text: str) -> list[Mapping[str, Any]]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("is not JSON") from None
    keys = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(keys, list) or not keys or not all(isinstance(key, dict) for key in keys):
        raise ValueError('is not a JWK Set: {"keys": [...]} with at least one key')
    return keys


def _each_wrong(keys: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for index, key in enumerate(keys):
        if advice := _key_wrong(key):
            yield f"key {index + 1}: {advice}"


def _kids_wrong(keys: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    kids = [key.get("kid") for key in keys]
    if len(keys) > 1 and not all(isinstance(kid, str) and kid for kid in kids):
        yield "several keys need a kid each, so that it is clear which one signed"
    elif len({str(kid) for kid in kids}) < len(kids):
        yield "two keys have the same kid; give each its own"


def _key_wrong(key: Mapping[str, Any]) -> str | None:
    if key.get("kty") == "oct" or "k" in key:
        return "is a symmetric key; only public keys belong here"
    if {"d", "p", "q", "dp", "dq", "qi", "oth"} & key.keys():
        return "has private members; ask the partner for a new key, and for its public part only"
    if key.get("use", "sig") != "sig":
        return 'is not for signatures ("use" must be "sig")'
    try:
        return _public_wrong(key)
    except (ValueError, KeyError, TypeError):
        return "cannot be read; ask the partner for it again"


def _public_wrong(key: Mapping[str, Any]) -> str | None:
    """Building the key is the check: the library refuses points off the curve and odd numbers."""
    match key.get("kty"):
        case "RSA":
            rsa.RSAPublicNumbers(_number(key["e"]), _number(key["n"])).public_key()
            return _rsa_wrong(_number(key["n"]).bit_length(), _number(key["e"]))
        case "EC" if key.get("crv") == "P-256":
            ec.EllipticCurvePublicNumbers(_number(key["x"]), _number(key["y"]), ec.SECP256R1()).public_key()
            return None
        case "OKP" if key.get("crv") == "Ed25519":
            ed25519.Ed25519PublicKey.from_public_bytes(_bytes(key["x"]))
            return None
        case _:
            return "must be RSA, EC on P-256, or Ed25519"


def _rsa_wrong(bits: int, exponent: int) -> str | None:
    """security: a partner's key decides what each check of its signatures costs us (docs/security.md B7)."""
    if bits < MIN_RSA_BITS:
        return f"is RSA with {bits} bits; at least {MIN_RSA_BITS} are needed"
    if bits > MAX_RSA_BITS or exponent.bit_length() > MAX_EXPONENT_BITS:
        return f"is RSA that is slow to check; at most {MAX_RSA_BITS} bits, and the usual exponent 65537"
    return None


def _number(text: str) -> int:
    return int.from_bytes(_bytes(text), "big")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
