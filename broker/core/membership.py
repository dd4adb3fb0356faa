"""
Whether a merchant knows the customer already: from its shop, its customer club, or from before there was a web shop.

The merchant's own register answers, and only about somebody it is being told about anyway: what she proved, and what it gets
of that in the same login. So asking it tells it nothing new, and a customer who agreed to nothing is asked about nowhere.
"""

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from broker.core.discreet import Discreet
from broker.core.policy import ByNumber, ProvenContact
from broker.core.release import Release

_MOST: Final = 64
_LONGEST_CONTACT: Final = 320

_BETWEEN: Final = re.compile(r"[\s./\-\u2010-\u2015\u2060]")
"""What people write between the parts of a number, or leave out; no letters, and nothing an address or ``+46`` has."""

_STANDS_FOR: Final = {"#": "[0-9]", "?": "[A-Z]"}


class OnFile(Discreet, frozen=True):
    """What a register has on file for a member: her ``number`` there, and the ``contact`` a code may go to."""

    UNSPOKEN = frozenset({"number", "contact"})

    number: str
    contact: str


def number_typed(typed: str, terms: ByNumber) -> str | None:
    """
    The member number somebody *typed*, as the first of the formats it fits writes it; None when it fits none.

    Capitals or not, and what is written between the parts, make no difference. Nothing with ``@`` or ``+`` is one.
    """
    plain = _BETWEEN.sub("", unicodedata.normalize("NFKC", typed))
    if not plain.isascii() or len(plain) > _MOST:
        return None
    plain = plain.upper()
    written = next((each for each in terms.formats if _pattern(each).fullmatch(plain)), None)
    if written is None:
        return None
    parts = iter(plain)
    return "".join(char if _BETWEEN.match(char) else next(parts) for char in written)


def digits_only(format: str) -> str | None:
    """*format* without what is written between, if only digits fit it: ``####``; None for any other."""
    plain = _BETWEEN.sub("", format)
    return plain if all(char == "#" or char.isdigit() for char in plain) else None


def may_be_both(one: str, other: str) -> bool:
    """Whether there is a row of digits that fits both, ``#`` standing for any: ``0###`` and ``#46#`` share ``0460``."""
    return len(one) == len(other) and all(a == b or "#" in (a, b) for a, b in zip(one, other, strict=True))


@lru_cache(maxsize=1024)
def _pattern(format: str) -> re.Pattern[str]:
    return re.compile("".join(_STANDS_FOR.get(char, char) for char in _BETWEEN.sub("", format)))


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
            return _printable("member_number", number, _MOST)
    raise ValueError("neither known: false, nor known: true with a member_number")


def on_file_in(answer: Mapping[str, Any], contact: ProvenContact) -> OnFile | None:
    """
    What a register that was asked by a number has on file, by its *answer*: ``{"known": true, "member_number": "...", "email":
    "..."}`` (or ``phone_number``) or ``{"known": false}``. Without the *contact* there is nobody a code may go to: None too.

    Raises: ValueError, saying what is wrong with it, never what is in it.
    """
    number = number_in(answer)
    match answer.get(contact):
        case None:
            return None
        case str(value) if number is not None:
            return OnFile(number, _printable(contact, value, _LONGEST_CONTACT))
        case str():
            return None
    raise ValueError(f"{contact} is not a text")


def _printable(what: str, text: str, most: int) -> str:
    if not 1 <= len(text) <= most or not text.isprintable() or text != text.strip():
        raise ValueError(f"{what} is not 1 to {most} printable characters")
    return text
