"""
The net under the plan: values that look like personal data or secrets never reach a log line.
"""

import re
from typing import Any

_PATTERNS = (
    re.compile(r"\b(19|20)?\d{6}[-+]?\d{4}\b"),
    re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}"),
    re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*)?"),
    re.compile(r"\b[A-Za-z0-9_-]{60,}\b"),
    re.compile(r"\+\d{8,15}\b"),
)


def redact(value: Any) -> Any:
    """*value* with everything that looks like a personal number, address, phone number or token replaced."""
    match value:
        case str():
            for pattern in _PATTERNS:
                value = pattern.sub("[redacted]", value)
            return value
        case dict():
            return {key: redact(inner) for key, inner in value.items()}
        case list() | tuple():
            return [redact(inner) for inner in value]
        case _:
            return value
