"""
The net under the plan: values that look like personal data or secrets never reach a log line.
"""

import re
from collections.abc import Mapping
from typing import Any

# security: strangers choose some of what is logged. Runs without a bound begin only where the run begins and are never
# given back (``++``), so that the time grows with the text and not with its square.
_PATTERNS = (
    # Personal numbers: Swedish (10 or 12 digits), Polish (11), Finnish (131052-308T); phone numbers without their plus.
    re.compile(r"(?<![\dA-Za-z])\d{6,8}[-+]?\d{4,5}(?![\dA-Za-z])"),
    re.compile(r"\b\d{6}[-+A-FU-Y]\d{3}[0-9A-Y]\b"),
    re.compile(r"\+\d[\d -]{6,16}\d\b"),
    re.compile(r"(?<![^\s@<>\"'(),;:=])[^\s@<>\"'(),;:=]++@[\w-]++(\.[\w-]+)+"),
    re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{10,}+\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*)?"),
    # Secrets of 256 bits and more as base64url: cookies, tokens, codes. Ids have 128 or 192 bits and stay.
    re.compile(r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{40,}(?![A-Za-z0-9_-])"),
)


def redact(value: Any) -> Any:
    """
    *value* with everything that looks like a personal number, address, phone number or token replaced.

    Anything but texts, numbers, truth values and what holds them becomes its redacted text.
    """
    match value:
        case None | bool() | float():
            return value
        case int():
            return _clean(str(value)) if value >= _LOOKS_PERSONAL else value
        case str():
            return _clean(str(value))
        case Mapping():
            return {_clean(str(key)): redact(inner) for key, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [redact(inner) for inner in value]
        case _:
            return _clean(str(value))


_LOOKS_PERSONAL = 10**11
"""Numbers below are counts and times in seconds; 12 digits and more may be a personal number."""


def _clean(text: str) -> str:
    for pattern in _PATTERNS:
        text = pattern.sub("[redacted]", text)
    return text
