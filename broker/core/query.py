"""
Names and values in an address or a form body (``application/x-www-form-urlencoded``, WHATWG URL section 5).

Byte for byte what `urllib.parse` makes of them, at a third of its cost: every hop of a login writes and reads some, and most of
what they carry needs no escaping.
"""

import re
from collections.abc import Mapping
from urllib.parse import quote_plus, unquote

_needs_no_escape = re.compile(r"[A-Za-z0-9_.~-]*").fullmatch
_special = re.compile(r"[^A-Za-z0-9_.~-]").sub
_escapes = re.compile(r"%[0-9A-Fa-f]{2}").sub
_ASCII = [chr(code) for code in range(128)]
_WRITTEN = {each: "+" if each == " " else f"%{ord(each):02X}" for each in _ASCII}
_MEANT = {f"%{high}{low}": chr(int(high + low, 16)) for high in "01234567" for low in "0123456789abcdefABCDEF"}


def encoded(members: Mapping[str, str]) -> str:
    """*members* as a query or form body (`urllib.parse.urlencode`)."""
    return "&".join([f"{_escaped(name)}={_escaped(value)}" for name, value in members.items()])


def decoded(text: str, *, errors: str = "replace") -> list[tuple[str, str]]:
    """
    The pairs of a query or form body in order, those without a value too (`urllib.parse.parse_qsl`, ``keep_blank_values``).

    Args:
        errors: what to do about bytes that are not UTF-8, as in `bytes.decode`.
    Raises: UnicodeDecodeError, if *errors* is ``strict``.
    """
    pairs = []
    for piece in text.split("&"):
        if not piece:
            continue
        name, _, value = piece.partition("=")
        if "%" in piece or "+" in piece:
            name, value = _read(name, errors), _read(value, errors)
        pairs.append((name, value))
    return pairs


def _read(text: str, errors: str) -> str:
    text = text.replace("+", " ")
    if "%" not in text:
        return text
    try:
        return _escapes(_unescaped, text)
    except KeyError:
        # More than ASCII, which octets alone do not say.
        return unquote(text, errors=errors)


def _unescaped(escape: re.Match[str]) -> str:
    return _MEANT[escape[0]]


def _escaped(text: str) -> str:
    if _needs_no_escape(text):
        return text
    return _special(_written, text) if text.isascii() else quote_plus(text)


def _written(special: re.Match[str]) -> str:
    return _WRITTEN[special[0]]
