"""
What every state store refuses beforehand. These are mistakes of our own code: `ValueError`, never
`StoreDown`.
"""

import math
from functools import lru_cache

from broker.stores.ports import Key

LONGEST_KEY = 200


def checked_key(key: Key) -> Key:
    """*key* itself. Raises ValueError when it is empty, not ASCII or longer than 200 characters."""
    if not 0 < len(key) <= LONGEST_KEY or not key.isascii():
        raise ValueError("state keys are 1 to 200 ASCII characters")
    return key


def checked_member(member: str, most: int = 1) -> str:
    """*member* of a list itself, by the rules of keys. Raises ValueError, also for a list that may hold none."""
    if not 0 < len(member) <= LONGEST_KEY or not member.isascii() or most < 1:
        raise ValueError("members of a list are 1 to 200 ASCII characters, and it holds at least one")
    return member


@lru_cache(maxsize=256)
def milliseconds(ttl_s: float) -> int:
    """A time to live in whole milliseconds, at least one. Raises ValueError unless finite and above zero."""
    if not 0 < ttl_s < math.inf:
        raise ValueError("a time to live is finite and above zero seconds: nothing may stay for ever")
    return math.ceil(ttl_s * 1000)
