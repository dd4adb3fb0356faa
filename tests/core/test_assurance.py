"""Levels of assurance: their order, and the acr words partners use for them."""

import operator
from collections.abc import Callable
from itertools import pairwise

import pytest

from broker.core.assurance import (
    ACR_FEDERATED,
    Assurance,
    Comparison,
    acr_of,
    acr_values,
    context_of,
    level_of_acr,
    lowest_requested,
    meets_context,
)

WEAKEST_FIRST = ["soft", "self-asserted", "contact", "low", "substantial", "high"]


def test_the_order_is_the_published_one() -> None:
    """soft < self-asserted < contact < low < substantial < high, total and without gaps."""
    assert [level.value for level in sorted(Assurance)] == WEAKEST_FIRST
    for weaker, stronger in pairwise(Assurance(word) for word in WEAKEST_FIRST):
        assert weaker < stronger
        assert stronger > weaker
        assert weaker <= stronger
        assert stronger >= weaker
        assert not stronger < weaker
        assert not stronger <= weaker
        assert stronger.rank == weaker.rank + 1


@pytest.mark.parametrize("level", Assurance)
def test_a_level_is_neither_above_nor_below_itself(level: Assurance) -> None:
    """Sufficient means at least."""
    assert level <= level
    assert level >= level
    assert not level < level
    assert not level > level


@pytest.mark.parametrize("compare", [operator.lt, operator.gt, operator.le, operator.ge])
def test_a_level_is_never_compared_with_a_word(compare: Callable[[object, object], bool]) -> None:
    """As text "high" < "low": a comparison that slipped past the types must not give that answer, either way around."""
    with pytest.raises(TypeError):
        compare(Assurance.HIGH, "low")
    with pytest.raises(TypeError):
        compare("low", Assurance.HIGH)


@pytest.mark.parametrize("level", Assurance)
def test_acr_words_lead_there_and_back(level: Assurance) -> None:
    """Each level has its own acr, and an acr leads to that level and no other; the plain word is taken as well."""
    assert level_of_acr(acr_of(level)) is level
    assert level_of_acr(level.value) is level


def test_electronic_identities_are_named_as_the_regulation_does() -> None:
    """The three eIDAS levels go out as their LoA URIs."""
    assert [acr_of(Assurance(word)) for word in ("low", "substantial", "high")] == [
        f"http://eidas.europa.eu/LoA/{word}" for word in ("low", "substantial", "high")
    ]


def test_discovery_lists_every_acr_once() -> None:
    """What a partner may meet is announced, ``federated`` included."""
    listed = acr_values()
    assert len(set(listed)) == len(listed) == len(Assurance) + 1
    assert set(listed) == {ACR_FEDERATED, *(acr_of(level) for level in Assurance)}


@pytest.mark.parametrize(
    "acr",
    ["", "federated", "HIGH", " high", "loa3", "http://eidas.europa.eu/LoA/HIGH", "http://eidas.europa.eu/LoA/", "4"],
)
def test_foreign_words_are_no_level(acr: str) -> None:
    """An acr is compared exactly; nothing near it counts, and ``federated`` promises nothing."""
    assert level_of_acr(acr) is None


@pytest.mark.parametrize(
    ("asked", "level"),
    [
        ([], None),
        (["urn:unknown", "federated"], None),
        (["high"], "high"),
        (["high", "low"], "low"),
        (["urn:unknown", "http://eidas.europa.eu/LoA/substantial"], "substantial"),
        (list(acr_values()), "soft"),
    ],
)
def test_a_voluntary_list_asks_for_its_weakest_level(asked: list[str], level: str | None) -> None:
    """A library that sends every acr it found in discovery does not force the strongest login (Core 3.1.2.1)."""
    assert lowest_requested(asked) == (Assurance(level) if level else None)


LOA_URIS = {level: f"http://eidas.europa.eu/LoA/{level.value}" for level in Assurance if level >= Assurance.LOW}
UNSPECIFIED = "urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified"
PASSWORD = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"
LOW, SUBSTANTIAL, HIGH = LOA_URIS.values()


@pytest.mark.parametrize("level", Assurance)
def test_each_vocabulary_says_the_same_of_a_level_or_nothing(level: Assurance) -> None:
    """eIDAS levels are one URI everywhere; below them SAML says only that it says nothing, and of the softest nothing at all."""
    if level >= Assurance.LOW:
        assert acr_of(level) == LOA_URIS[level] == context_of(level)
    else:
        assert context_of(level) == (None if level is Assurance.SOFT else UNSPECIFIED)


@pytest.mark.parametrize(
    ("level", "wanted", "comparison", "meets"),
    [
        ("substantial", [], "exact", True),
        ("substantial", [SUBSTANTIAL], "exact", True),
        ("substantial", [LOW, SUBSTANTIAL], "exact", True),
        ("substantial", [LOW], "exact", False),
        ("substantial", [HIGH], "exact", False),
        ("contact", [UNSPECIFIED], "exact", True),
        ("substantial", [UNSPECIFIED], "exact", False),
        ("substantial", [PASSWORD], "exact", False),
        ("substantial", [LOW], "minimum", True),
        ("substantial", [SUBSTANTIAL], "minimum", True),
        ("substantial", [HIGH], "minimum", False),
        ("substantial", [HIGH, LOW], "minimum", True),
        ("substantial", [PASSWORD], "minimum", False),
        ("contact", [LOW], "minimum", False),
        ("contact", [UNSPECIFIED], "minimum", True),
        ("substantial", [SUBSTANTIAL], "maximum", True),
        ("substantial", [LOW], "maximum", False),
        ("substantial", [LOW, HIGH], "maximum", True),
        ("low", [PASSWORD], "maximum", False),
        ("high", [LOW, SUBSTANTIAL], "better", True),
        ("substantial", [LOW, SUBSTANTIAL], "better", False),
        ("substantial", [SUBSTANTIAL], "better", False),
        ("contact", [UNSPECIFIED], "better", False),
        ("high", [LOW, PASSWORD], "better", False),
        ("soft", [], "exact", False),
        ("soft", [UNSPECIFIED], "minimum", False),
    ],
)
def test_contexts_compare_as_saml_says(level: str, wanted: list[str], comparison: str, meets: bool) -> None:
    """Section 3.3.2.2.1 of SAML Core; what is not known is never met, and makes ``better`` impossible."""
    assert meets_context(Assurance(level), wanted, Comparison(comparison)) is meets
