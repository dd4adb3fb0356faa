"""Who may be asked about at a merchant's register of customers, and what counts as its answer."""

from typing import Any

import pytest

from broker.core.membership import askable, number_in
from broker.core.release import LoginTerms, Reason, decide_release
from broker.core.session import Session

from .world import profile, session

ALLOWED = ("email", "phone_number", "member_number")


def released(visitor: Session, *scopes: str, agreed: frozenset[str] | None = None, number: str | None = None) -> Any:
    terms = LoginTerms("shop", ALLOWED, frozenset(scopes), agreed, member_number=number)
    return decide_release(terms, visitor, standing=visitor.assurance, policy_version="v1")


def test_she_is_asked_about_by_what_she_proved() -> None:
    """One question with all of it."""
    visitor = session(
        profile=profile(
            email="maja@example.com", email_verified=True, phone_number="+46700000001", phone_number_verified=True
        )
    )
    found = askable(released(visitor, "email", "phone"), ("email", "phone_number"))
    assert found == {"email": "maja@example.com", "phone_number": "+46700000001"}


@pytest.mark.parametrize(
    ("visitor", "scopes", "agreed"),
    [
        pytest.param(
            session(profile=profile(email="m@example.com", email_verified=False)), ("email",), None, id="unproven"
        ),
        pytest.param(
            session(profile=profile(email="m@example.com", email_verified=True)), (), None, id="not-asked-for"
        ),
        pytest.param(
            session(profile=profile(email="m@example.com", email_verified=True)),
            ("email",),
            frozenset(),
            id="not-agreed",
        ),
        pytest.param(session(profile=profile(email=None, email_verified=True)), ("email",), None, id="none-known"),
        pytest.param(
            session(profile=profile(phone_number="+46700000001", phone_number_verified=True, email=None)),
            ("email", "phone"),
            None,
            id="not-configured",
        ),
    ],
)
def test_nobody_is_asked_about_by_anything_else(
    visitor: Session, scopes: tuple[str, ...], agreed: frozenset[str] | None
) -> None:
    """The register learns nothing that its own site does not learn in the same answer."""
    assert askable(released(visitor, *scopes, agreed=agreed), ("email",)) == {}


def test_the_partners_own_number_needs_no_consent() -> None:
    """It is told to whom it belongs, and only if it is asked for."""
    item = {each.name: each for each in released(session(), "membership", agreed=frozenset(), number="M-1").items}
    assert (item["member_number"].value, item["member_number"].reason) == ("M-1", Reason.PARTNERS_OWN)
    assert "member_number" not in released(session(), "profile", number="M-1").given
    assert "member_number" not in released(session(), "membership", number=None).given


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ({"known": False}, None),
        ({"known": True, "member_number": "M-1042"}, "M-1042"),
        ({"known": False, "member_number": "M-1042"}, None),
        ({"known": True, "member_number": "x" * 64, "since": "1998"}, "x" * 64),
    ],
)
def test_answers(answer: dict[str, Any], number: str | None) -> None:
    """Known with a number, or not known."""
    assert number_in(answer) == number


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"known": True},
        {"known": "true", "member_number": "M-1"},
        {"known": 0},
        {"known": True, "member_number": 1042},
        {"known": True, "member_number": ""},
        {"known": True, "member_number": " M-1"},
        {"known": True, "member_number": "x" * 65},
        {"known": True, "member_number": "a\nb"},
        {"known": True, "member_number": None},
        {"member_number": "M-1"},
    ],
)
def test_what_is_no_answer(answer: dict[str, Any]) -> None:
    """Nothing is guessed, and the sentence quotes nothing."""
    with pytest.raises(ValueError, match=r"known|member_number") as caught:
        number_in(answer)
    assert "M-1" not in str(caught.value)
