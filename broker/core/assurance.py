"""
Assurance: how sure we are who the customer is, and the vocabularies the edges translate by: ``acr`` of OpenID Connect,
authentication context classes of SAML, levels of eIDAS. No other module knows a word of theirs (docs/assurance.md).

The order is total: ``soft < self-asserted < contact < low < substantial < high``. The last three are the
eIDAS levels (Regulation (EU) 910/2014 article 8); the first three are ours.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never


class Assurance(StrEnum):
    """A level of assurance; comparable, so ``max`` and ``<`` work. The value is the word used in the YAML."""

    SOFT = "soft"
    SELF_ASSERTED = "self-asserted"
    CONTACT = "contact"
    LOW = "low"
    SUBSTANTIAL = "substantial"
    HIGH = "high"

    @property
    def rank(self) -> int:
        """Position in the order, 0 = weakest."""
        return _RANK[self]

    def __lt__(self, other: object) -> bool:
        return _RANK[self] < _rank_of(other)

    def __gt__(self, other: object) -> bool:
        return _RANK[self] > _rank_of(other)

    def __le__(self, other: object) -> bool:
        return _RANK[self] <= _rank_of(other)

    def __ge__(self, other: object) -> bool:
        return _RANK[self] >= _rank_of(other)


_RANK = {level: index for index, level in enumerate(Assurance)}


def _rank_of(other: object) -> int:
    if not isinstance(other, Assurance):
        # security: NotImplemented would let Python compare the words as text, where "high" < "low"
        raise TypeError("a level of assurance is compared with another one only")
    return _RANK[other]


STRONGEST_FIRST = tuple(reversed(Assurance))
_DOWN_FROM = {level: tuple(each for each in STRONGEST_FIRST if each <= level) for level in Assurance}


def still_proven(
    level: Assurance, since: Mapping[Assurance, datetime], limits: Mapping[Assurance, timedelta], now: datetime
) -> Assurance:
    """
    What a proof of *level* is worth at *now*: it goes down step by step to the strongest level that is not too old.

    Args:
        since: when each level was proven (aware UTC); one that is missing was not, although a stronger one was: an eID
            proves no address. ``soft`` is always left.
        limits: how long each level counts; one that is missing counts as long as the session does.
    """
    for step in _DOWN_FROM[level]:
        proven_at = since.get(step)
        limit = limits.get(step)
        if proven_at is not None and (limit is None or now - proven_at < limit):
            return step
    return Assurance.SOFT


_LOA = {
    Assurance.LOW: "http://eidas.europa.eu/LoA/low",
    Assurance.SUBSTANTIAL: "http://eidas.europa.eu/LoA/substantial",
    Assurance.HIGH: "http://eidas.europa.eu/LoA/high",
}
_ACR = {
    Assurance.SOFT: "soft",
    Assurance.SELF_ASSERTED: "self-asserted",
    Assurance.CONTACT: "contact",
    **_LOA,
}
_FROM_ACR = {acr: level for level, acr in _ACR.items()} | {level.value: level for level in Assurance}

#: The acr of a session whose strong proof may not be passed on and that has no proven contact either.
ACR_FEDERATED = "federated"


def acr_of(level: Assurance) -> str:
    """The ``acr`` value for *level* (OpenID Connect Core section 2; eIDAS levels as their LoA URIs)."""
    return _ACR[level]


def level_of_acr(acr: str) -> Assurance | None:
    """The level an ``acr`` value asks for; None when it is not one of ours. Accepts URI and plain word."""
    return _FROM_ACR.get(acr)


def acr_among(actual: str, wanted: Sequence[str]) -> str | None:
    """
    Which of the *wanted* acr values a login at *actual* may be told as: itself, else the strongest it is at least.

    None: it is none of them. A partner that needs one of its values gets one of its values (OpenID Connect Core section
    5.5.1.1), and a login is never told as more than it is.
    """
    if actual in wanted:
        return actual
    level = level_of_acr(actual)
    met = [(asked, value) for value in wanted if (asked := level_of_acr(value)) is not None]
    met = [each for each in met if level is not None and each[0] <= level]
    return max(met, key=lambda each: each[0].rank)[1] if met else None


def acr_values() -> tuple[str, ...]:
    """All acr values a partner may meet, weakest first, for discovery."""
    return (ACR_FEDERATED, *_ACR.values())


def lowest_requested(acr_values_requested: Iterable[str]) -> Assurance | None:
    """
    The weakest known level in a voluntary ``acr_values`` list; None when none is known.

    Voluntary means: never force the strongest login because a library sent every value it found
    in discovery (OpenID Connect Core section 3.1.2.1).
    """
    known = [level for value in acr_values_requested if (level := level_of_acr(value)) is not None]
    return min(known, key=lambda level: level.rank) if known else None


_UNSPECIFIED = "urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified"
_CONTEXT = {Assurance.SELF_ASSERTED: _UNSPECIFIED, Assurance.CONTACT: _UNSPECIFIED, **_LOA}
_FROM_CONTEXT = {_UNSPECIFIED: Assurance.SELF_ASSERTED} | {uri: level for level, uri in _LOA.items()}


class Comparison(StrEnum):
    """How a SAML request compares authentication contexts (SAML Core 2.0 section 3.3.2.2.1); ``exact`` is its default."""

    EXACT = "exact"
    MINIMUM = "minimum"
    MAXIMUM = "maximum"
    BETTER = "better"


def context_of(level: Assurance) -> str | None:
    """The AuthnContextClassRef that says no more than *level*; None for ``soft``, of which nothing is asserted."""
    return _CONTEXT.get(level)


def level_of_context(uri: str) -> Assurance | None:
    """The level that a class says, the weakest where it says it of two; None for a class that is none of ours."""
    return _FROM_CONTEXT.get(uri)


def meets_context(level: Assurance, wanted: Sequence[str], comparison: Comparison) -> bool:
    """
    Whether a login at *level* may answer a request for *wanted* classes (SAML Core 2.0 section 3.3.2.2.1).

    ``exact``: its class is one of them. ``minimum``, ``maximum``: it is at least, at most as strong as one of them. ``better``:
    it is stronger than every one, so an unknown one cannot be met. No class at all asks for nothing.
    """
    told = context_of(level)
    if not wanted or told is None:
        return told is not None
    known = [asked for uri in wanted if (asked := _FROM_CONTEXT.get(uri)) is not None]
    # What is told counts: a proven contact and a bare account have the same class.
    worth = _FROM_CONTEXT[told]
    match comparison:
        case Comparison.EXACT:
            return told in wanted
        case Comparison.MINIMUM:
            return any(worth >= asked for asked in known)
        case Comparison.MAXIMUM:
            return any(worth <= asked for asked in known)
        case Comparison.BETTER:
            return len(known) == len(wanted) and all(worth > asked for asked in known)
    assert_never(comparison)
