"""
Octets as the protocols write them.
"""

import hashlib
from binascii import a2b_base64, b2a_base64

_IN_ADDRESSES = bytes.maketrans(b"+/", b"-_")
_FROM_ADDRESSES = bytes.maketrans(b"-_+/=", b"+/***")
_SHA256 = hashlib.sha256()


def base64url(octets: bytes) -> str:
    """*octets* in the alphabet for addresses and without padding (RFC 4648 section 5, RFC 7515 section 2)."""
    return b2a_base64(octets, newline=False).translate(_IN_ADDRESSES, b"=").decode()


def from_base64url(text: str) -> bytes:
    """
    The octets that `base64url` wrote as *text*. As lenient as the decoders of others in one thing: unused bits may be set.

    Raises: ValueError: another alphabet, padding, white space, or a length that there is none of.
    """
    octets = text.encode("ascii").translate(_FROM_ADDRESSES)
    return a2b_base64(octets + b"==="[: -len(octets) % 4], strict_mode=True)


def sha256(octets: bytes) -> bytes:
    """The digest of *octets*; to look the algorithm up each time costs as much as to carry it out."""
    digest = _SHA256.copy()
    digest.update(octets)
    return digest.digest()
