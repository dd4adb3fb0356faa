"""
What simulated OpenID providers have in common: memory with an end, the hashes of the protocol, and tokens that lie.
"""

import base64
import hmac
import json
import secrets
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, Final, TypeVar

from joserfc.jwk import ECKey, RSAKey

_REMEMBERED: Final = 1000

T = TypeVar("T")


def remember(shelf: dict[str, T], thing: T, prefix: str = "") -> str:
    """Keep *thing* under a new random name; the oldest goes when the shelf is full."""
    while len(shelf) >= _REMEMBERED:
        del shelf[next(iter(shelf))]
    name = f"{prefix}{secrets.token_urlsafe(32)}"
    shelf[name] = thing
    return name


def b64url(data: bytes) -> str:
    """base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def s256(verifier: str) -> str:
    """The PKCE challenge of *verifier* (RFC 7636 section 4.2)."""
    return b64url(sha256(verifier.encode()).digest())


def half_hash(access_token: str) -> str:
    """``at_hash`` for signatures with SHA-256 (OpenID Connect Core section 3.1.3.6)."""
    return b64url(sha256(access_token.encode()).digest()[:16])


def lies_of(faults: Iterable[str], lies: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the switched-on *faults* say in place of the truth, by *lies*; a fault that is not in there says nothing."""
    return {name: value for fault in faults for name, value in lies.get(fault, {}).items()}


def lies_in_tokens(now: int) -> dict[str, dict[str, Any]]:
    """
    The lies about an ID token's claims that every simulated provider knows, by the value of its fault; None takes one away.

    Args:
        now: seconds since 1970.
    """
    return {
        "wrong_nonce": {"nonce": "another-nonce"},
        "missing_nonce": {"nonce": None},
        "wrong_audience": {"aud": "another-client"},
        "wrong_issuer": {"iss": "https://other.example"},
        "wrong_at_hash": {"at_hash": half_hash("another access token")},
        "expired": {"iat": now - 7200, "exp": now - 3600},
        "from_the_future": {"iat": now + 3600, "exp": now + 7200},
    }


def overlaid(claims: Mapping[str, Any], lies: Mapping[str, Any]) -> dict[str, Any]:
    """*claims* with *lies* over them; what is None is left out."""
    return {name: value for name, value in {**claims, **lies}.items() if value is not None}


def unsigned(claims: Mapping[str, Any]) -> str:
    """A token of algorithm ``none``."""
    return f"{_segment({'alg': 'none'})}.{_segment(claims)}."


def signed_by_public_key(claims: Mapping[str, Any], key: RSAKey | ECKey) -> str:
    """A token whose shared secret is the public key that everybody can read (RFC 8725 section 2.1)."""
    content = f"{_segment({'alg': 'HS256', 'kid': key.kid})}.{_segment(claims)}"
    signature = hmac.digest(key.as_pem(private=False), content.encode(), "sha256")
    return f"{content}.{b64url(signature)}"


def broken(token: str) -> str:
    """*token* with one letter of its signature changed."""
    content, _, signature = token.rpartition(".")
    return f"{content}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"


def _segment(content: Mapping[str, Any]) -> str:
    return b64url(json.dumps(content).encode())
