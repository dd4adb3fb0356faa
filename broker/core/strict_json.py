"""
JSON that others wrote, read so that nobody can read it differently (RFC 8259).

Every member once: of two equal ones readers take the first, the last, or both (RFC 8259 section 4). No constants that are not
JSON. UTF-8. And not deeper than anybody writes by hand: how deep the interpreter goes before it gives up differs by a factor of
ten between its versions, and between what reads and what is to read, copy or write the value later.
"""

import json
from collections.abc import Callable
from typing import Any

DEEPEST = 100
"""Objects and arrays within each other."""


class StrictJson:
    """
    A reader.

    Args:
        whole, fraction: what is made of the digits of numbers; a ValueError refuses them.
    """

    def __init__(self, *, whole: Callable[[str], Any] = int, fraction: Callable[[str], Any] = float) -> None:
        self._decoder = json.JSONDecoder(
            object_pairs_hook=_once, parse_int=whole, parse_float=fraction, parse_constant=_refused
        )

    def read(self, text: str | bytes) -> Any:
        """
        The value *text* stands for.

        Raises: ValueError.
        """
        text = text if isinstance(text, str) else text.decode()
        try:
            value = self._decoder.decode(text)
        except RecursionError as error:
            raise ValueError("too deep") from error
        if text.count("[") + text.count("{") > DEEPEST and is_too_deep(value):
            raise ValueError("too deep")
        return value


def is_too_deep(value: Any) -> bool:
    """Whether more than `DEEPEST` objects and arrays are within each other in *value*, as a JSON reader made it."""
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member twice")
    return found


def _refused(constant: str) -> Any:
    raise ValueError("a constant that is not JSON")
