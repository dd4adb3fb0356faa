"""What a text message comes to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.notify.gsm import Size, size_of, to_gsm7, with_code_line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Size(True, 0, 1)),
        ("a" * 160, Size(True, 160, 1)),
        ("a" * 161, Size(True, 161, 2)),
        ("a" * 306, Size(True, 306, 2)),
        ("a" * 307, Size(True, 307, 3)),
        ("åäöÅÄÖéü" * 20, Size(True, 160, 1)),
        ("€" * 80, Size(True, 160, 1)),
        ("€" * 81, Size(True, 162, 2)),
        ("ż" * 70, Size(False, 70, 1)),
        ("ż" + "a" * 70, Size(False, 71, 2)),
        ("ó" + "a" * 69, Size(False, 70, 1)),
        ("😀" * 35, Size(False, 70, 1)),
        ("😀" * 36, Size(False, 72, 2)),
        ("`", Size(False, 1, 1)),
    ],
)
def test_segments_are_counted_as_gateways_charge_them(text: str, expected: Size) -> None:
    """160 or 153 septets, 70 or 67 units of 16 bits (3GPP TS 23.040)."""
    assert size_of(text) == expected


def test_a_letter_of_two_places_is_not_cut_in_half() -> None:
    """153 does not divide by two: each part of euro signs has 76 of them."""
    assert size_of("€" * 76 + "€" * 76).segments == 2
    assert size_of("€" * 153).segments == 3
    assert size_of("😀" * 67).segments == 3


def test_polish_is_written_without_its_letters() -> None:
    """As people do whose phone has none."""
    text = "Zażółć gęślą jaźń. Łódź – „kod”: 123 456…"
    assert to_gsm7(text) == 'Zazolc gesla jazn. Lodz - "kod": 123 456...'


def test_what_the_alphabet_has_stays() -> None:
    """Swedish and Finnish lose nothing."""
    text = "Din kod är 123456. Ge den inte till någon! Älä kerro sitä. (€5) @login.example #123456\n"
    assert to_gsm7(text) == text


@given(st.text(max_size=200))
def test_afterwards_everything_is_in_the_alphabet(text: str) -> None:
    """Whatever was written."""
    assert size_of(to_gsm7(text)).is_gsm7


def test_the_last_line_is_for_one_site() -> None:
    """Browsers offer the code there and nowhere else."""
    text = with_code_line("Din kod är 123456.\n", host="login.example", code="123456")
    assert text == "Din kod är 123456.\n\n@login.example #123456"
    assert size_of(text).segments == 1


@pytest.mark.parametrize(
    ("host", "code"),
    [("", "123456"), ("a.example", ""), ("a.example #1", "2"), ("a@b.example", "1"), ("a.example", "1 2")],
)
def test_a_line_that_would_mean_something_else_is_not_made(host: str, code: str) -> None:
    """It would be for another site, or hold another code."""
    with pytest.raises(ValueError, match="autofill"):
        with_code_line("x", host=host, code=code)
