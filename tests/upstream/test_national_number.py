"""Personal numbers of the Nordic countries: invented ones, with the check characters right or wrong."""

from datetime import date

import pytest

from broker.upstream.national_number import Country, parse_national_number

TODAY = date(2026, 11, 1)


@pytest.mark.parametrize(
    ("country", "text", "expected"),
    [
        ("SE", "190905271474", "190905271474"),
        ("FI", "140285-9120", "140285-9120"),
        ("FI", "140285-9120".lower(), "140285-9120"),
        ("FI", "030711A913V", "030711A913V"),
        ("FI", "030711a913v", "030711A913V"),
        ("FI", "140285Y9120", "140285Y9120"),
        ("DK", "1402851234", "1402851234"),
        ("DK", "140285-1234", "1402851234"),
        ("DK", "0307115678", "0307115678"),
        ("NO", "14828510046", "14828510046"),
    ],
)
def test_a_number_in_its_countrys_form(country: Country, text: str, expected: str) -> None:
    """As that country writes it; one spelling for one person."""
    assert parse_national_number(country, text, today=TODAY) == expected


@pytest.mark.parametrize(
    ("country", "text"),
    [
        ("SE", "190905271475"),
        ("SE", "140285-9120"),
        ("FI", "140285-9121"),
        ("FI", "140285-912"),
        ("FI", "140285Z9120"),
        ("FI", "310285-9120"),
        ("FI", "190905271474"),
        ("FI", " 140285-9120"),
        ("FI", "140285-9120\n"),
        ("FI", "١٤٠٢٨٥-9120"),
        ("DK", "3102851234"),
        ("DK", "140285123"),
        ("DK", "14028512345"),
        ("DK", "1413851234"),
        ("DK", "1402361234" + "x"),
        ("NO", "14828510047"),
        ("NO", "14828510036"),
        ("NO", "1482851004"),
        ("NO", "140285100460"),
        ("NO", "00000000000"),
    ],
)
def test_anything_else_is_refused_without_being_repeated(country: Country, text: str) -> None:
    """Another country's, another day, another check character; the error never tells the number."""
    with pytest.raises(ValueError, match=r"\w+ ") as error:
        parse_national_number(country, text, today=TODAY)
    assert text.strip()[:6] not in str(error.value)


def test_nobody_is_born_tomorrow() -> None:
    """A number whose day has not come is none yet."""
    parse_national_number("FI", "030711A913V", today=date(2011, 7, 3))
    with pytest.raises(ValueError, match="future"):
        parse_national_number("FI", "030711A913V", today=date(2011, 7, 2))


@pytest.mark.parametrize(
    ("text", "is_future"),
    [("0101270123", False), ("0101274123", True), ("0101279123", True), ("0101375123", True), ("0101585123", False)],
)
def test_the_seventh_digit_tells_a_danish_century(text: str, is_future: bool) -> None:
    """The table of the CPR office, by who would not be born yet: year 27 is 1927 or 2027, 58 with a 5 is 1858."""
    if is_future:
        with pytest.raises(ValueError, match="future"):
            parse_national_number("DK", text, today=TODAY)
    else:
        assert parse_national_number("DK", text, today=TODAY) == text


def test_a_norwegian_d_number_has_forty_added_to_the_day() -> None:
    """People without a birth number have one, too: the check digits are over what is written."""
    digits = "54028510"
    found = [
        number
        for individual in range(1000)
        if (number := f"{digits[:6]}{individual:03d}") and (number := _checked(number)) is not None
    ]
    assert parse_national_number("NO", found[0], today=TODAY) == found[0]


def _checked(nine: str) -> str | None:
    """*nine* digits with their two check digits; None where there are none (modulus 11 gives 10)."""
    for weights in ((3, 7, 6, 1, 8, 9, 4, 5, 2), (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)):
        check = -sum(weight * int(digit) for weight, digit in zip(weights, nine, strict=True)) % 11
        if check == 10:
            return None
        nine += str(check)
    return nine
