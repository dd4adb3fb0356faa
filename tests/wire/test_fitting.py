"""The fast yes to a payload: never said where the library says no, and nearly always where it says yes."""

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from broker.config.render import example_folder
from broker.wire.fitting import Fits, compiled
from tests.stage import PAYLOAD

TYRE_FITTING = json.loads((example_folder() / "schemas" / "tyre-fitting-v1.json").read_text("utf-8"))


def _compiled(schema: Mapping[str, Any]) -> Fits | None:
    return compiled(schema, pattern=re.compile, conforms=Draft202012Validator.FORMAT_CHECKER.conforms)


def _library(schema: Mapping[str, Any], value: Any) -> bool:
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).is_valid(value)


BOUNDS = st.integers(-3, 3)
LEAVES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("string")},
        optional={
            "minLength": st.integers(0, 2),
            "maxLength": st.integers(0, 3),
            "enum": st.lists(st.sampled_from(["a", "bb", 1, None, True]), min_size=1, max_size=3),
            "pattern": st.sampled_from(["^a", "b$", "."]),
            "format": st.sampled_from(["email", "nonsense"]),
        },
    ),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["integer", "number"])},
        optional={"minimum": BOUNDS, "maximum": BOUNDS, "exclusiveMinimum": BOUNDS, "exclusiveMaximum": BOUNDS},
    ),
    st.just({"type": "boolean", "title": "said to people"}),
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.fixed_dictionaries(
            {"type": st.just("array"), "items": inner},
            optional={"minItems": st.integers(0, 2), "maxItems": st.integers(0, 2)},
        ),
        st.fixed_dictionaries(
            {
                "type": st.just("object"),
                "properties": st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
                "additionalProperties": st.just(False),
            },
            optional={"required": st.lists(st.sampled_from("ab"), unique=True)},
        ),
    ),
    max_leaves=4,
)
VALUES = st.recursive(
    st.sampled_from([None, True, False, 0, 1, 2, 1.0, 1.5, -3, "", "a", "bb", "a@b", "abab"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=5,
)


@given(SCHEMAS, VALUES)
def test_yes_means_yes(schema: dict[str, Any], value: Any) -> None:
    """What is let through here is looked at by nobody else."""
    fits = _compiled(schema)
    assert fits is not None
    if fits(value):
        assert _library(schema, value)


@given(SCHEMAS, VALUES)
def test_what_fits_and_has_no_odd_numbers_is_let_through(schema: dict[str, Any], value: Any) -> None:
    """Otherwise it would only be one more way to be slow. 1.0 as an integer is left to the library."""
    fits = _compiled(schema)
    if fits is not None and "1.0" not in json.dumps(value) and _library(schema, value):
        assert fits(value)


def _spoiled() -> list[Any]:
    """The shipped payload with one member gone, of another type, or added, each in turn."""
    found = []
    for group, members in PAYLOAD.items():
        for other in (None, 1, "", "x" * 1000, [], {}, True):
            found.append({**PAYLOAD, group: other})
            if isinstance(members, dict):
                found += [{**PAYLOAD, group: {**members, name: other}} for name in (*members, "unknown")]
        found.append({name: each for name, each in PAYLOAD.items() if name != group})
    return found


@pytest.mark.parametrize("payload", [PAYLOAD, *_spoiled()], ids=str)
def test_the_shipped_schema_is_compiled_and_says_what_the_library_says(payload: Any) -> None:
    """Every handoff of the demo, and everything near it."""
    fits = _compiled(TYRE_FITTING)
    assert fits is not None
    assert fits(payload) == _library(TYRE_FITTING, payload)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": ["string", "null"]},
        {"type": "string", "const": "a"},
        {"type": "string", "not": {}},
        {"type": "array"},
        {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        {"type": "object", "properties": {}},
        {"type": "object", "additionalProperties": False, "properties": {"a": {"$ref": "#"}}},
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "integer", "multipleOf": 2},
        {"type": "boolean", "enum": [True]},
        {"type": "null"},
    ],
    ids=json.dumps,
)
def test_a_schema_with_a_word_that_is_not_known_is_left_to_the_library(schema: dict[str, Any]) -> None:
    """A rule that is not understood must not be a rule that is not kept."""
    assert _compiled(schema) is None
