"""What an earlier answer covers, and what a new one grants."""

from typing import Any

import pytest

from broker.core.consent import Wish, covering, granted_of

from .world import NOW, OPTIONAL, REQUIRED, TYPE, consent, later


def wish(**changed: Any) -> Wish:
    given: dict[str, Any] = {
        "source": "shop",
        "recipient": "garage",
        "purpose": "fitting",
        "type": TYPE,
        "required": REQUIRED,
        "optional": OPTIONAL,
    }
    return Wish(**given | changed)


@pytest.mark.parametrize(
    ("remembered", "wanted"),
    [
        ({}, {}),
        ({"granted": REQUIRED, "refused": OPTIONAL}, {}),
        ({}, {"optional": OPTIONAL[:1]}),
        ({}, {"required": REQUIRED[:1], "optional": ()}),
        ({"granted": (*REQUIRED, *OPTIONAL, "never.asked.now")}, {}),
        ({"source": None}, {"source": None}),
    ],
)
def test_a_remembered_answer_to_the_same_question_is_enough(remembered: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Whoever ticked "do not ask again" is not asked again; no is an answer as well, and less than then is covered."""
    earlier = consent(**remembered)
    assert covering([earlier], wish(**wanted), NOW) is earlier


@pytest.mark.parametrize(
    ("remembered", "wanted"),
    [
        ({"source": "other-shop"}, {}),
        ({"source": None}, {}),
        ({}, {"source": None}),
        ({"recipient": "other-garage"}, {}),
        ({"purpose": "insurance"}, {}),
        ({"type": "fitting/v2"}, {}),
        ({"remember": False}, {}),
        ({"expires_at": NOW}, {}),
        ({"expires_at": later(days=-1)}, {}),
        ({}, {"optional": (*OPTIONAL, "booking.note")}),
        ({}, {"required": (*REQUIRED, "booking.note")}),
        ({"granted": REQUIRED[:1], "refused": (REQUIRED[1], *OPTIONAL)}, {}),
        ({"granted": OPTIONAL}, {}),
        ({"granted": ()}, {}),
    ],
)
def test_anything_else_is_asked(remembered: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Another source, recipient, purpose or type version, a new field, an answer that ended or was for once: ask."""
    assert covering([consent(**remembered)], wish(**wanted), NOW) is None


def test_answers_are_not_added_up() -> None:
    """Two partial answers were never one question; an uncovering one does not hide a covering one."""
    halves = [consent(granted=REQUIRED, refused=()), consent(granted=(), refused=OPTIONAL)]
    assert covering(halves, wish(), NOW) is None
    whole = consent(id="c9")
    assert covering([*halves, whole], wish(), NOW) is whole
    assert covering([], wish(), NOW) is None


@pytest.mark.parametrize(
    ("kept", "granted", "refused"),
    [
        ([], REQUIRED, OPTIONAL),
        (OPTIONAL, (*REQUIRED, *OPTIONAL), ()),
        (["customer.email"], (*REQUIRED, "customer.email"), ("vehicle.tyre_size", "order.reference")),
        (["customer.name", "order.paid", "", "vehicle"], REQUIRED, OPTIONAL),
        ([*REQUIRED, *REQUIRED], REQUIRED, OPTIONAL),
    ],
)
def test_only_what_was_asked_can_be_granted(
    kept: list[str], granted: tuple[str, ...], refused: tuple[str, ...]
) -> None:
    """A form can send any name; names that were not shown grant nothing, and every optional field gets its yes or no."""
    assert granted_of(wish(), kept) == (granted, refused)


def test_a_fresh_answer_covers_the_question_it_answers() -> None:
    """After an answer is remembered the same question is not asked again, whatever was kept."""
    for kept in ((), OPTIONAL, OPTIONAL[:2]):
        granted, refused = granted_of(wish(), kept)
        remembered = consent(granted=granted, refused=refused)
        assert covering([remembered], wish(), NOW) is remembered
