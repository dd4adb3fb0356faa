"""
Whether a merchant knows the customer already: from its shop, its customer club, or from before there was a web shop.

The merchant's own register answers, and only about somebody it is being told about anyway: what she proved, and what it gets
of that in the same login. So asking it tells it nothing new, and a customer who agreed to nothing is asked about nowhere.
"""

from collections.abc import Mapping
from typing import Any, Final

from broker.core.policy import ProvenContact
from broker.core.release import Release

_MOST: Final = 64


def askable(release: Release, contacts: tuple[ProvenContact, ...]) -> dict[str, Any]:
    """
    By what of *release* the register may be asked: those of *contacts* that are given, and proven to be hers.

    security: a contact nobody proved would let her be told as somebody else's customer.
    """
    given = {item.name: item.value for item in release.items if item.given}
    return {name: given[name] for name in contacts if given.get(f"{name}_verified") is True and given.get(name)}


def number_in(answer: Mapping[str, Any]) -> str | None:
    """
    The customer's number in a register's *answer*: ``{"known": true, "member_number": "..."}`` or ``{"known": false}``.

    Raises: ValueError, saying what is wrong with it, never what is in it.
    """
    match answer:
        case {"known": False}:
            return None
        case {"known": True, "member_number": str(number)}:
            if not 1 <= len(number) <= _MOST or not number.isprintable() or number != number.strip():
                raise ValueError(f"member_number is not 1 to {_MOST} printable characters")
            return number
    raise ValueError("neither known: false, nor known: true with a member_number")
