"""
Assurance: how sure we are who the customer is, and the vocabularies the edges translate by.

The order is total: ``soft < self-asserted < contact < low < substantial < high``. The last three are the
eIDAS levels (Regulation (EU) 910/2014 article 8); the first three are ours.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum


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
        return self.rank < _rank_of(other)

    def __gt__(self, other: object) -> bool:
        return self.rank > _rank_of(other)

    def __le__(self, other: object) -> bool:
        return self.rank <= _rank_of(other)

    def __ge__(self, other: object) -> bool:
        return self.rank >= _rank_of(other)


_RANK = {level: index for index, level in enumerate(Assurance)}


def _rank_of(other: object) -> int:
    if not isinstance(other, Assurance):
        # security: NotImplemented would let Python compare the words as text, where "high" < "low"
        raise TypeError("a level of assurance is compared with another one only")
    return other.rank


_ACR = {
    Assurance.SOFT: "soft",
    Assurance.SELF_ASSERTED: "self-asserted",
    Assurance.CONTACT: "contact",
    Assurance.LOW: "http://eidas.europa.eu/LoA/low",
    Assurance.SUBSTANTIAL: "http://eidas.europa.eu/LoA/substantial",
    Assurance.HIGH: "http://eidas.europa.eu/LoA/high",
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
