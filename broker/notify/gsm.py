"""
What fits into a text message: the GSM 7-bit alphabet, and how many segments a text is paid for as.

Sources: 3GPP TS 23.038 section 6.2.1 (alphabet and its extension), TS 23.040 section 9.2.3.24.1 (parts of long messages).
Swedish and Finnish letters are in the alphabet; of Polish ones only ``ó`` looks as if it were, and is not.
"""

import unicodedata
from typing import Final

from msgspec import Struct

_BASIC: Final = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENDED: Final = frozenset("\f^{}\\[~]|€")
"""These take two places each."""

SEGMENT_7BIT: Final = 160
SEGMENT_UCS2: Final = 70
_PART_7BIT: Final = 153
_PART_UCS2: Final = 67

_PLAIN: Final = str.maketrans(
    {
        "Ł": "L",
        "ł": "l",
        "Đ": "D",
        "đ": "d",
        "–": "-",
        "—": "-",
        "‑": "-",
        "−": "-",
        "„": '"',
        "”": '"',
        "“": '"',
        "«": '"',
        "»": '"',
        "’": "'",
        "‘": "'",
        "…": "...",
        "•": "*",
        "\t": " ",
        "\u00a0": " ",
        "\u202f": " ",
        "\u2009": " ",
    }
)


class Size(Struct, frozen=True):
    """``is_gsm7``: in the 7-bit alphabet, else UCS-2. ``units``: septets or UTF-16 units. ``segments``: what is paid for."""

    is_gsm7: bool
    units: int
    segments: int


def size_of(text: str) -> Size:
    """What *text* comes to as a text message; one character outside the alphabet makes all of it UCS-2."""
    if all(char in _BASIC or char in _EXTENDED for char in text):
        widths = [2 if char in _EXTENDED else 1 for char in text]
        return Size(True, sum(widths), _segments(widths, SEGMENT_7BIT, _PART_7BIT))
    widths = [2 if ord(char) > 0xFFFF else 1 for char in text]
    return Size(False, sum(widths), _segments(widths, SEGMENT_UCS2, _PART_UCS2))


def _segments(widths: list[int], alone: int, part: int) -> int:
    """A character of two units is never cut in half, so counting is not dividing."""
    if sum(widths) <= alone:
        return 1
    segments, room = 1, part
    for width in widths:
        if width > room:
            segments, room = segments + 1, part
        room -= width
    return segments


def to_gsm7(text: str) -> str:
    """
    *text* in the 7-bit alphabet, as people write it who have no other letters: ``żółć`` becomes ``zolc``.

    Letters that the alphabet has (``å ä ö é`` ...) stay; what has no plain form becomes ``?``.
    """
    return "".join(_plain(char) for char in unicodedata.normalize("NFC", text).translate(_PLAIN))


def _plain(char: str) -> str:
    if char in _BASIC or char in _EXTENDED:
        return char
    bare = "".join(each for each in unicodedata.normalize("NFKD", char) if not unicodedata.combining(each))
    if bare and all(each in _BASIC or each in _EXTENDED for each in bare):
        return bare
    return "" if unicodedata.category(char) in {"Cf", "Mn"} else "?"


def with_code_line(text: str, *, host: str, code: str) -> str:
    """
    *text* with the last line by which browsers offer *code* only to the site it is for.

    Args:
        host: of the page where the code is typed, without port.
        code: digits, without blanks.
    Raises: ValueError: a host or code that would make the line mean something else.
    Source: WICG, Origin-bound one-time codes delivered via SMS, section 2 (format ``@host #code``, the last line).
    """
    if not host or not code or any(char.isspace() or char in "@#%" for char in host + code):
        raise ValueError("the line for autofill is @host #code")
    return f"{text.rstrip()}\n\n@{host} #{code}"
