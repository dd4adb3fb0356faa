"""
Personal numbers of the Nordic countries, each in the form its own country writes it.

The forms differ in length or signs, so a number says by itself whose it is: Sweden 12 digits, Finland 6 digits, a sign for the
century and 4 characters, Denmark 10 digits, Norway 11 digits.

Sources: Skatteverket SKV 704 (Sweden); Digital and Population Data Services Agency, "Personal identity code", with the century
signs of 2023 (Finland); CPR-kontoret, "Personnummeret i CPR" (Denmark: the modulus 11 check no longer holds for all);
Skatteetaten, "Fødselsnummer", with D numbers (Norway: day plus 40; test persons have 80 added to the month).
"""

import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Final, Literal

from broker.upstream.personal_number import parse_personal_number

Country = Literal["SE", "FI", "DK", "NO"]

_CHECK_CHARACTERS: Final = "0123456789ABCDEFHJKLMNPRSTUVWXY"
_CENTURIES: Final = {"+": 1800, **dict.fromkeys("-YXWVU", 1900), **dict.fromkeys("ABCDEF", 2000)}
_FINNISH: Final = re.compile(r"([0-9]{2})([0-9]{2})([0-9]{2})([-+YXWVUABCDEF])([0-9]{3})([0-9A-Y])")
_DANISH: Final = re.compile(r"([0-9]{2})([0-9]{2})([0-9]{2})-?([0-9]{4})")
_NORWEGIAN: Final = re.compile(r"[0-9]{11}")
_D_NUMBER: Final = 40
_TEST_MONTHS: Final = 80
_WEIGHTS: Final = ((3, 7, 6, 1, 8, 9, 4, 5, 2, 1), (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1))


def parse_national_number(country: Country, unverified_text: str, *, today: date) -> str:
    """
    Check a number of *country*.

    Returns: the number as that country writes it, Danish without hyphen.
    Raises:
        ValueError: other form, wrong check character, no such day, or born after *today*. The text never repeats the number.
    """
    return _PARSERS[country](unverified_text, today)


def _swedish(text: str, today: date) -> str:
    return parse_personal_number(text, today=today).digits


def _finnish(text: str, today: date) -> str:
    found = _FINNISH.fullmatch(text.upper())
    if found is None:
        raise ValueError("not a Finnish personal identity code")
    day, month, year, sign, individual, check = found.groups()
    if _CHECK_CHARACTERS[int(f"{day}{month}{year}{individual}") % 31] != check:
        raise ValueError("wrong check character")
    _check_birthday(_CENTURIES[sign] + int(year), int(month), int(day), today)
    return found[0]


def _danish(text: str, today: date) -> str:
    found = _DANISH.fullmatch(text)
    if found is None:
        raise ValueError("not ten digits")
    day, month, year, serial = found.groups()
    _check_birthday(_danish_century(int(serial[0]), int(year)) + int(year), int(month), int(day), today)
    return f"{day}{month}{year}{serial}"


def _danish_century(seventh: int, year: int) -> int:
    """The table of CPR-kontoret: the seventh digit and the year tell the century."""
    if seventh <= 3 or (seventh in {4, 9} and year >= 37):
        return 1900
    if seventh in {4, 9} or year <= 57:
        return 2000
    return 1800


def _norwegian(text: str, today: date) -> str:
    if not _NORWEGIAN.fullmatch(text):
        raise ValueError("not eleven digits")
    for weights in _WEIGHTS:
        if sum(weight * int(digit) for weight, digit in zip(weights, text, strict=False)) % 11:
            raise ValueError("wrong check digits")
    day, month, year, individual = (int(part) for part in (text[:2], text[2:4], text[4:6], text[6:9]))
    day, month = (part - added if part > added else part for part, added in ((day, _D_NUMBER), (month, _TEST_MONTHS)))
    _check_birthday(_norwegian_century(individual, year) + year, month, day, today)
    return text


def _norwegian_century(individual: int, year: int) -> int:
    """The table of Skatteetaten: individual number and year tell the century."""
    if individual < 500 or (individual >= 900 and year >= 40):
        return 1900
    if year < 40:
        return 2000
    return 1800


def _check_birthday(year: int, month: int, day: int, today: date) -> None:
    try:
        born = date(year, month, day)
    except ValueError:
        raise ValueError("no such day") from None
    if born > today:
        raise ValueError("born in the future")


_PARSERS: Final[Mapping[Country, Callable[[str, date], str]]] = {
    "SE": _swedish,
    "FI": _finnish,
    "DK": _danish,
    "NO": _norwegian,
}
