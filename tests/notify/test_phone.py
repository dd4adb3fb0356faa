"""Which numbers get text messages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.notify.phone import PhoneRules, block_of, known_countries
from broker.notify.ports import BadNumber, PhoneNumber

NORDIC = PhoneRules({"SE", "FI", "PL"}, "SE")


def read(typed: str, rules: PhoneRules = NORDIC) -> PhoneNumber:
    found = rules.read(typed)
    assert isinstance(found, PhoneNumber)
    return found


@pytest.mark.parametrize(
    "typed",
    [
        "0701740605",
        "070-174 06 05",
        "070 - 174 06 05",
        " 070\u00a0174\u00a006\u00a005 ",
        "+46701740605",
        "+46 70 174 06 05",
        "+46 (0)70 174 06 05",
        "0046 70 174 06 05",
        "070\u2013174 06 05",
    ],
)
def test_a_number_is_read_as_people_write_it(typed: str) -> None:
    """However it is grouped, it is the same number."""
    assert read(typed).e164 == "+46701740605"


@pytest.mark.parametrize(
    ("typed", "country", "e164"),
    [("+358 40 123 4567", "FI", "+358401234567"), ("+48 512 345 678", "PL", "+48512345678")],
)
def test_neighbours_write_their_country_code(typed: str, country: str, e164: str) -> None:
    """Countries of the list are recognised by their code."""
    assert (read(typed).country, read(typed).e164) == (country, e164)


def test_without_a_country_code_the_default_country_is_meant() -> None:
    """The same digits are another number elsewhere."""
    assert read("0401234567", PhoneRules({"SE", "FI"}, "FI")).e164 == "+358401234567"


def test_it_is_shown_masked_and_counted_by_its_block() -> None:
    """Two digits tell her which phone it is, and nobody else which number."""
    number = read("070-174 06 05")
    assert number.masked == "+46 •• ••• •• 05"
    assert number.block == block_of(number.e164) == "+4670174"
    assert repr(number) == "PhoneNumber(country='SE')"


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "+",
        "maja@example.com",
        "070",
        "+46 70",
        "0701-HELLO",
        "+46701740605 ext 5",
        "+46701740605;ext=5",
        "tel:+46701740605",
        "+4670174060\u0665",
        "+46701740605,+46701740606",
        "+46701740605\n+46701740606",
        "7" * 41,
        "+999701740605",
        "0719012345678901",
    ],
)
def test_what_is_no_number(typed: str) -> None:
    """Neither letters nor extensions, nor two numbers, nor digits of other scripts."""
    assert NORDIC.read(typed) is BadNumber.NOT_A_NUMBER


@pytest.mark.parametrize(
    "typed",
    [
        "+44 7400 123456",
        "+1 202 555 0123",
        "+41 79 123 45 67",
        "+88213300655",
        "+883510000000000",
        "+358 18 12345",
        "+44 900 123456",
    ],
)
def test_other_countries_get_none(typed: str) -> None:
    """SMS pumping is paid for where nobody of ours lives; of such numbers nothing more is said."""
    assert NORDIC.read(typed) is BadNumber.COUNTRY


@pytest.mark.parametrize("typed", ["+44 7911 123456", "+44 7624 123456", "+44 7797 712345"])
def test_an_island_with_the_dial_code_of_a_listed_country_is_another_country(typed: str) -> None:
    """Guernsey, Isle of Man and Jersey cost many times what Britain costs."""
    british = PhoneRules({"GB"}, "GB")
    assert british.read(typed) is BadNumber.COUNTRY
    assert isinstance(british.read("+44 7400 123456"), PhoneNumber)


@pytest.mark.parametrize(
    "typed",
    [
        "08-123 456 78",
        "0939-123 45 67",
        "0900 123 456",
        "077-123 45 67",
        "020-12 34 56",
        "010-123 45 67",
        "0746-12345",
        "+46 71 123 45 67",
        "+358 600 12345",
        "+358 9 123456",
        "+48 22 123 45 67",
        "+48 701 234 567",
        "+48 39 123 45 67",
    ],
)
def test_only_mobile_phones_get_any(typed: str) -> None:
    """Premium, shared-cost, toll-free, VoIP, company-wide and fixed numbers, and those no plan knows."""
    assert NORDIC.read(typed) is BadNumber.KIND


def test_the_countries_are_those_of_iso_3166() -> None:
    """By two capitals; groups of countries are none."""
    assert {"SE", "FI", "PL", "NO", "DK", "AX"} <= known_countries()
    assert not {"EU", "001", "se", "UK"} & known_countries()


@given(st.text(max_size=50))
def test_whatever_is_typed_gets_an_answer(typed: str) -> None:
    """Never an error, and what passes is E.164."""
    found = NORDIC.read(typed)
    assert isinstance(found, BadNumber) or found.e164.removeprefix("+").isdigit()
