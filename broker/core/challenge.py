"""
A challenge and its secret: whoever sent the one can later show to be the same by the other (RFC 7636, method S256).
"""

import hmac
import re

from broker.core.octets import base64url, sha256

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")


def is_challenge(text: str) -> bool:
    """Whether *text* has the form of an S256 challenge: 256 bits as base64url."""
    return _CHALLENGE.fullmatch(text) is not None


def fits(challenge: str, secret: str | None) -> bool:
    """Whether *secret*, 43 to 128 characters, is the one behind *challenge* (RFC 7636 section 4.6)."""
    if secret is None or not 43 <= len(secret) <= 128 or not secret.isascii():
        return False
    digest = base64url(sha256(secret.encode()))
    return hmac.compare_digest(digest, challenge)
