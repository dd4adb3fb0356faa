"""
Names under which secrets are remembered.
"""

import re
from functools import lru_cache
from ipaddress import ip_address, ip_network

from broker.core.octets import base64url, sha256

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@lru_cache(maxsize=1024)
def neighbourhood(address: str) -> str:
    """
    Whom an address is counted with: an IPv6 address stands for its /64, all of which one customer or attacker has.
    """
    try:
        known = ip_address(address)
    except ValueError:
        return address
    if known.version == 4:
        return address
    mapped = known.ipv4_mapped
    return str(mapped or ip_network((known.packed[:8] + bytes(8), 64)))


def is_id(text: str) -> bool:
    """Whether *text*, as it came from outside, has the shape of the ids we give out; nothing else is looked up."""
    return _ID.fullmatch(text) is not None


def name_of(token: str) -> str:
    """
    The name a secret *token* is stored under: 192 bits of its SHA-256.

    A reader of the store, or of a log, cannot turn it back into something that opens anything.
    """
    return base64url(sha256(token.encode())[:24])
