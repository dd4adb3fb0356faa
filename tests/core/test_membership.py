"""Who may be asked about at a merchant's register of customers, and what counts as its answer."""

from datetime import UTC, datetime
from typing import Any

import pytest

from broker.core.membership import OnFile, askable, digits_only, may_be_both, number_in, number_typed, on_file_in
from broker.core.policy import ByNumber
from broker.core.release import LoginTerms, Reason, decide_release
from broker.core.session import Profile, Recognition, Session, with_all_known, without_number

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


TERMS = ByNumber(formats=("M-####", "CLUB ??##", "## ## ##"), contact="email")


@pytest.mark.parametrize(
    ("typed", "number"),
    [
        ("M-1042", "M-1042"),
        ("m1042", "M-1042"),
        (" m - 10.42 ", "M-1042"),
        ("M\u20131042", "M-1042"),
        ("\uff2d\uff11\uff10\uff14\uff12", "M-1042"),
        ("club ab12", "CLUB AB12"),
        ("112233", "11 22 33"),
        ("M-104", None),
        ("M-10423", None),
        ("N-1042", None),
        ("M-104O", None),
        ("CLUB 12AB", None),
        ("+112233", None),
        ("M-1042@example.com", None),
        ("m1042@x", None),
        ("\u041c-1042", None),
        ("M-\u0661\u0660\u0664\u0662", None),
        ("M-1042\x00", None),
        ("(11) 22 33", None),
        ("", None),
        ("-", None),
        ("1" * 1000, None),
    ],
)
def test_what_is_a_number(typed: str, number: str | None) -> None:
    """As the format writes it, however she types it; nothing else, and no letter or digit of another script."""
    assert number_typed(typed, TERMS) == number


@pytest.mark.parametrize(
    ("format", "digits"), [("## ## ##", "######"), ("0###-###", "0######"), ("M-####", None), ("?###", None)]
)
def test_formats_of_digits(format: str, digits: str | None) -> None:
    """Those a phone number could fit."""
    assert digits_only(format) == digits


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("####", "0###", True),
        ("0###", "#1##", True),
        ("0###", "1###", False),
        ("###", "####", False),
        ("01", "01", True),
    ],
)
def test_formats_that_share_a_number(one: str, other: str, both: bool) -> None:
    """Position by position."""
    assert may_be_both(one, other) is both
    assert may_be_both(other, one) is both


KNOWN = {"known": True, "member_number": "M-1042", "email": "maja@example.com"}


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (KNOWN, OnFile("M-1042", "maja@example.com")),
        ({**KNOWN, "phone_number": "+46701740605"}, OnFile("M-1042", "maja@example.com")),
        ({"known": False}, None),
        ({"known": False, "email": "maja@example.com"}, None),
        ({"known": True, "member_number": "M-1042"}, None),
        ({"known": True, "member_number": "M-1042", "email": None}, None),
        ({"known": True, "member_number": "M-1042", "phone_number": "+46701740605"}, None),
    ],
)
def test_what_is_on_file(answer: dict[str, Any], found: OnFile | None) -> None:
    """The contact must be in the answer itself, of the kind that is configured."""
    assert on_file_in(answer, "email") == found


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"email": "maja@example.com"},
        {"known": True, "email": "maja@example.com"},
        {**KNOWN, "known": "yes"},
        {**KNOWN, "member_number": 1042},
        {**KNOWN, "email": ["maja@example.com"]},
        {**KNOWN, "email": ""},
        {**KNOWN, "email": "maja@example.com\nBcc: eve@example.com"},
        {**KNOWN, "email": " maja@example.com"},
        {**KNOWN, "email": f"{'m' * 320}@example.com"},
    ],
)
def test_what_is_no_answer_by_number(answer: dict[str, Any]) -> None:
    """Nothing is guessed, and the sentence quotes nothing."""
    with pytest.raises(ValueError, match=r"known|member_number|email") as caught:
        on_file_in(answer, "email")
    assert not any(secret in str(caught.value) for secret in ("1042", "maja", "eve"))


def test_on_file_says_nothing_of_itself() -> None:
    """A repr gets into logs."""
    assert repr(OnFile("M-1042", "maja@example.com")) == "OnFile()"


def test_no_number_replaces_another() -> None:
    """What was linked before stays; what a login brings for another partner joins it."""
    known = Profile(member_numbers={"shop": "M-1", "club": "7"})
    told = Profile(name="Maja", member_numbers={"shop": "M-2", "garage": "9"})
    assert with_all_known(told, known).member_numbers == {"shop": "M-1", "club": "7", "garage": "9"}
    assert with_all_known(told, Profile()) == told


def test_a_number_taken_out() -> None:
    """With what the register said; other partners' numbers stay, and where there is none nothing changes."""
    until = datetime(2027, 1, 1, tzinfo=UTC)
    visitor = session(
        profile=profile(member_numbers={"shop": "M-1", "club": "7"}), recognitions={"shop": Recognition("M-1", until)}
    )
    left = without_number(visitor, "shop")
    assert (left.profile.member_numbers, left.recognitions) == ({"club": "7"}, {})
    assert without_number(left, "shop") is left
