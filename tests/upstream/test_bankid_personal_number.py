"""Swedish personal numbers; vectors from personnummer/meta (testdata list, allCoords, interim), MIT licence."""

from datetime import date

import pytest

from broker.upstream.personal_number import parse_personal_number

TODAY = date(2026, 11, 21)


@pytest.mark.parametrize(
    ("digits", "birthdate"),
    [
        ("190905271474", date(1909, 5, 27)),
        ("200002292399", date(2000, 2, 29)),
        ("195704289999", date(1957, 4, 28)),
        ("194608239986", date(1946, 8, 23)),
        ("198211059954", date(1982, 11, 5)),
        ("199012119948", date(1990, 12, 11)),
        ("187912219990", date(1879, 12, 21)),
        ("200012099891", date(2000, 12, 9)),
    ],
)
def test_a_personal_number_gives_the_birthdate(digits: str, birthdate: date) -> None:
    """Twelve digits with the right check digit, also of somebody older than a hundred."""
    number = parse_personal_number(digits, today=TODAY)
    assert (number.digits, number.birthdate, number.is_coordination) == (digits, birthdate, False)


@pytest.mark.parametrize(
    ("digits", "birthdate"),
    [
        ("195705749959", date(1957, 5, 14)),
        ("197306749982", date(1973, 6, 14)),
        ("191401682396", date(1914, 1, 8)),
        ("191411672387", date(1914, 11, 7)),
        ("191500722390", None),
        ("194000862393", None),
        ("195300812384", None),
    ],
)
def test_a_coordination_number_has_60_added_to_the_day(digits: str, birthdate: date | None) -> None:
    """Samordningsnummer are accepted; without a known month there is no birthdate."""
    number = parse_personal_number(digits, today=TODAY)
    assert (number.birthdate, number.is_coordination) == (birthdate, True)


@pytest.mark.parametrize(
    "text",
    [
        "197004289895",
        "198707049996",
        "193901829913",
        "201210759984",
        "195704289998",
        "195704289990",
    ],
)
def test_a_wrong_check_digit_is_refused(text: str) -> None:
    """Luhn over the last ten digits."""
    with pytest.raises(ValueError, match="check digit"):
        parse_personal_number(text, today=TODAY)


def test_birth_number_000_is_refused() -> None:
    """The check digit of this published vector is right, and still nobody has it."""
    with pytest.raises(ValueError, match="birth number"):
        parse_personal_number("201509160006", today=TODAY)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5704289999",
        "19570428-9999",
        "19570428+9999",
        " 195704289999",
        "195704289999\n",
        "1957042899990",
        "20000101T220",
        "20000101P220",
        "１９５７０４２８９９９９",
        "19090527 1474",
    ],
)
def test_any_other_form_is_refused(text: str) -> None:
    """Ten digits, separators, interim numbers with letters and foreign digits are not what BankID sends."""
    with pytest.raises(ValueError, match="twelve digits"):
        parse_personal_number(text, today=TODAY)


@pytest.mark.parametrize("text", ["200002302396", "199913010011", "200104319999", "190002290013", "197300000010"])
def test_a_day_that_never_was_is_refused(text: str) -> None:
    """The date must exist, whatever the check digit."""
    repaired = text[:11] + next(digit for digit in "0123456789" if _luhn_sum(text[2:11] + digit) % 10 == 0)
    with pytest.raises(ValueError, match="no such day"):
        parse_personal_number(repaired, today=TODAY)


def test_nobody_is_born_tomorrow() -> None:
    """A number of the future is a mistake or a lie."""
    with pytest.raises(ValueError, match="future"):
        parse_personal_number("200002292399", today=date(2000, 2, 28))
    assert parse_personal_number("200002292399", today=date(2000, 2, 29)).birthdate == date(2000, 2, 29)


def test_the_number_is_not_in_the_refusal() -> None:
    """Refusals are logged; personal data is not."""
    with pytest.raises(ValueError, match="check digit") as refusal:
        parse_personal_number("195704289998", today=TODAY)
    assert "9998" not in str(refusal.value)


def _luhn_sum(ten: str) -> int:
    doubled = [int(digit) * (2, 1)[index % 2] for index, digit in enumerate(ten)]
    return sum(value - 9 if value > 9 else value for value in doubled)
