"""JSON of others: one reading, or none."""

import json
from typing import Any

import pytest

from broker.core.strict_json import DEEPEST, StrictJson, is_too_deep

READER = StrictJson()


def _nested(depth: int, open_: str = "[", close: str = "]") -> str:
    return open_ * depth + close * depth


@pytest.mark.parametrize(
    "text", ["{}", "[]", "null", "1", '"a"', '{"a": [1, 2.5, {"b": null}], "c": "\\u00e5"}', " [true ] "]
)
def test_json_is_read_as_by_everybody(text: str) -> None:
    """As text and as octets."""
    assert READER.read(text) == READER.read(text.encode()) == json.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            '{"a": 1, "a": 2}',
            '[{"a": {"b": 1, "b": 1}}]',
            "NaN",
            "[Infinity]",
            '{"a": -Infinity}',
            "{'a': 1}",
            "[1,]",
            "",
            "{} {}",
        ),
        *('{"a": 1}'.encode("utf-16"), b"\xff", b"\xef\xbb\xbf{}", b'"\xe5"'),
    ],
)
def test_anything_else_is_refused(text: str | bytes) -> None:
    """A member twice, constants, other encodings, and what is no JSON at all."""
    with pytest.raises(ValueError):
        READER.read(text)


@pytest.mark.parametrize(
    "text",
    [_nested(DEEPEST), _nested(DEEPEST // 2, '{"a":[', "]}"), "[" + "[1]," * 300 + "2]"],
)
def test_as_deep_as_anybody_needs(text: str) -> None:
    """However much stands beside each other."""
    assert READER.read(text) == json.loads(text)


@pytest.mark.parametrize("depth", [DEEPEST + 1, 500, 990, 1_100, 5_000, 9_900, 50_000])
def test_deeper_is_refused(depth: int) -> None:
    """Whether the interpreter would go along, and before anything that goes through the value meets it."""
    for text in (_nested(depth), _nested(depth // 2 + 1, '{"a":[', "]}")):
        with pytest.raises(ValueError, match="too deep"):
            READER.read(text)


def test_numbers_are_the_callers() -> None:
    """Whoever stores them in less room says what fits."""

    def small(digits: str) -> int:
        if len(digits) > 3:
            raise ValueError("too large")
        return int(digits)

    reader = StrictJson(whole=small, fraction=str)
    assert reader.read("[1, 22, 1.50]") == [1, 22, "1.50"]
    with pytest.raises(ValueError):
        reader.read("1234")


@pytest.mark.parametrize("value", [1, None, "[[[", [], {}, {"a": [{}]}])
def test_what_is_not_deep(value: Any) -> None:
    assert not is_too_deep(value)
