"""
Which phone numbers text messages go to. The numbering plans are those of the package ``phonenumbers``.

security: a number is where money goes. Premium and shared-cost numbers, and countries where nobody of ours lives, are how
SMS pumping pays its makers, so whatever is not plainly a mobile phone of a listed country is refused before a gateway
hears of it. Territories with the same dial code are countries of their own: Jersey, Guernsey, Isle of Man (+44), Åland (+358).
"""

import re
from collections.abc import Collection
from typing import Final

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberFormat, PhoneNumberType

from broker.notify.ports import BadNumber, PhoneNumber

_MAX_TYPED: Final = 40
_TYPED: Final = re.compile(r"[+0-9 ()./\-\u00a0\u202f\u2010-\u2015\u2060]+")
"""What people write numbers with. No letters: neither vanity numbers nor extensions get text messages."""

_MOBILE: Final = frozenset({PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE})
"""Where one cannot tell a mobile number from a fixed one (+1), the operator who lists such a country takes both."""

_SHOWN: Final = 2


def known_countries() -> frozenset[str]:
    """The countries (ISO 3166) with a numbering plan we know."""
    return frozenset(phonenumbers.SUPPORTED_REGIONS)


def written_forms(countries: Collection[str], default_country: str) -> frozenset[str]:
    """
    How mobile numbers of *countries* may be written with digits alone, ``#`` standing for any: ``0#########``, ``46#########``.

    As long as the numbering plans allow, and so more than are in use.
    """
    forms: set[str] = set()
    for country in countries:
        plan = phonenumbers.PhoneMetadata.metadata_for_region(country)
        lengths = plan.mobile.possible_length if plan is not None and plan.mobile is not None else ()
        before = [str(plan.country_code), f"00{plan.country_code}"] if plan is not None else []
        if plan is not None and country == default_country:
            before += ["", plan.national_prefix or ""]
        forms |= {f"{prefix}{'#' * length}" for prefix in before for length in lengths if length > 0}
    return frozenset(forms)


class PhoneRules:
    """
    The operator's rules, as a `broker.notify.ports.Numbers`.

    Args:
        countries: ISO 3166, those that are sent to. default_country: of numbers typed without a country code.
    """

    def __init__(self, countries: Collection[str], default_country: str) -> None:
        self._countries = frozenset(countries)
        self._default = default_country

    def read(self, typed: str) -> PhoneNumber | BadNumber:
        """The number *typed* stands for, or why it gets no text message."""
        number = self._parsed(typed)
        if number is None:
            return BadNumber.NOT_A_NUMBER
        # security: the country is looked at first: of others we say nothing, so nobody can search their plans here.
        dialled = set(phonenumbers.region_codes_for_country_code(number.country_code or 0))
        if not dialled & self._countries:
            return BadNumber.COUNTRY
        if not phonenumbers.is_valid_number(number):
            return BadNumber.NOT_A_NUMBER if not phonenumbers.is_possible_number(number) else BadNumber.KIND
        country = phonenumbers.region_code_for_number(number)
        if country is None or country not in self._countries:
            return BadNumber.COUNTRY
        if phonenumbers.number_type(number) not in _MOBILE:
            return BadNumber.KIND
        e164 = phonenumbers.format_number(number, PhoneNumberFormat.E164)
        return PhoneNumber(e164=e164, country=country, masked=_masked(number), block=block_of(e164))

    def _parsed(self, typed: str) -> phonenumbers.PhoneNumber | None:
        text = typed.strip()
        if len(text) > _MAX_TYPED or _TYPED.fullmatch(text) is None:
            return None
        try:
            number = phonenumbers.parse(text, self._default)
        except NumberParseException:
            return None
        return number if number.extension is None else None


def block_of(e164: str) -> str:
    """The number without its last four digits: numbers that are rented together share it."""
    return e164[:-4]


def _masked(number: phonenumbers.PhoneNumber) -> str:
    """The dial code and the last two digits; the others as dots, grouped as in that country."""
    shown = phonenumbers.format_number(number, PhoneNumberFormat.INTERNATIONAL)
    dial_code, _, rest = shown.partition(" ")
    return f"{dial_code} " + re.sub(r"[0-9]", "•", rest[:-_SHOWN]) + rest[-_SHOWN:]
