"""
Swedish personal numbers as BankID gives them: twelve digits ``YYYYMMDDNNNC``.

C is the Luhn digit over the ten digits without the century; NNN is never 000. A coordination number (samordningsnummer) has 60
added to the day; its month and day may be 00 (60) when they were unknown. Source: Skatteverket, SKV 704 and
SKV 707.
"""

import re
from datetime import date

from msgspec import Struct

_TWELVE_DIGITS = re.compile(r"[0-9]{12}")
_COORDINATION = 60


class PersonalNumber(Struct, frozen=True):
    """
    A number whose form and check digit are right.

    ``birthdate``: None for a coordination number without a full date. ``is_coordination``: such a person may
    get another number later.
    """

    digits: str
    birthdate: date | None
    is_coordination: bool


def parse_personal_number(unverified_text: str, *, today: date) -> PersonalNumber:
    """
    Check a number.

    Raises:
        ValueError: other form, wrong check digit, birth number 000, no such day, or born after *today*. The text never repeats
            the number.
    """
    if not _TWELVE_DIGITS.fullmatch(unverified_text):
        raise ValueError("not twelve digits")
    if not _luhn_holds(unverified_text[2:]):
        raise ValueError("wrong check digit")
    if unverified_text[8:11] == "000":
        raise ValueError("no such birth number")
    year, month, day = int(unverified_text[:4]), int(unverified_text[4:6]), int(unverified_text[6:8])
    is_coordination = day >= _COORDINATION
    if is_coordination:
        day -= _COORDINATION
    birthdate = _birthdate(year, month, day, may_be_partial=is_coordination)
    if birthdate is not None and birthdate > today:
        raise ValueError("born in the future")
    return PersonalNumber(unverified_text, birthdate, is_coordination)


def _birthdate(year: int, month: int, day: int, *, may_be_partial: bool) -> date | None:
    if may_be_partial and (month == 0 or day == 0) and month <= 12 and day <= 31:
        return None
    try:
        return date(year, month, day)
    except ValueError:
        raise ValueError("no such day") from None


def _luhn_holds(ten_digits: str) -> bool:
    """
    Luhn, ISO/IEC 7812-1 annex B: double every second digit from the left, add the digits of the products.
    """
    doubled = (int(digit) * (2 if index % 2 == 0 else 1) for index, digit in enumerate(ten_digits))
    return sum(value // 10 + value % 10 for value in doubled) % 10 == 0
