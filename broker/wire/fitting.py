"""
Whether a payload surely fits its JSON Schema, said fast.

The library tells precisely what is wrong, and for that looks at every rule of every place anew: 300 us for an ordinary
payload, a tenth of a whole handoff. Nearly all payloads fit. So the schema is compiled once into nested functions that only
say yes or "not sure"; whatever they are not sure about, the library decides. A schema with a word that is not known here is
never compiled.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

Fits = Callable[[Any], bool]

_SAYS_NOTHING = frozenset(
    {"type", "$schema", "$id", "$comment", "title", "description", "x-label", "x-product", "x-values"}
)
_WORDS = {
    "object": frozenset({"properties", "required", "additionalProperties"}),
    "array": frozenset({"items", "minItems", "maxItems"}),
    "string": frozenset({"minLength", "maxLength", "enum", "pattern", "format"}),
    "integer": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}),
    "boolean": frozenset[str](),
}


def compiled(
    schema: Mapping[str, Any],
    *,
    pattern: Callable[[str], re.Pattern[str]],
    conforms: Callable[[Any, str], bool],
) -> Fits | None:
    """
    A function that says True only for what fits *schema*; None where a word of it is not among those above.

    Args:
        pattern: a ``pattern`` as an expression to search with. conforms: whether a value is of a ``format``.
    """
    kind = schema.get("type")
    words = _WORDS.get(kind) if isinstance(kind, str) else None
    if words is None or not schema.keys() <= words | _SAYS_NOTHING:
        return None
    match kind:
        case "object":
            return _object(schema, pattern=pattern, conforms=conforms)
        case "array":
            return _array(schema, pattern=pattern, conforms=conforms)
        case "string":
            return _string(schema, pattern=pattern, conforms=conforms)
        case "boolean":
            return lambda value: value is True or value is False
        case _:
            # A float may be an integer too (6.0); and True is neither. That is for the library to say.
            return _number(schema, (int,) if kind == "integer" else (int, float))


def _object(schema: Mapping[str, Any], **how: Any) -> Fits | None:
    members = {name: compiled(each, **how) for name, each in schema.get("properties", {}).items()}
    known = {name: fits for name, fits in members.items() if fits is not None}
    required = frozenset(schema.get("required", ()))
    if schema.get("additionalProperties", True) is not False or len(known) < len(members):
        return None

    def fits(value: Any) -> bool:
        if value.__class__ is not dict or not value.keys() >= required:
            return False
        for name, member in value.items():
            member_fits = known.get(name)
            if member_fits is None or not member_fits(member):
                return False
        return True

    return fits


def _array(schema: Mapping[str, Any], **how: Any) -> Fits | None:
    item_fits = compiled(schema.get("items", {}), **how)
    least, most = schema.get("minItems", 0), schema.get("maxItems", math.inf)
    if item_fits is None:
        return None

    def fits(value: Any) -> bool:
        return value.__class__ is list and least <= len(value) <= most and all(map(item_fits, value))

    return fits


def _string(schema: Mapping[str, Any], *, pattern: Any, conforms: Any) -> Fits | None:
    least, most = schema.get("minLength", 0), schema.get("maxLength", math.inf)
    words = frozenset(each for each in schema["enum"] if isinstance(each, str)) if "enum" in schema else None
    search = pattern(schema["pattern"]).search if "pattern" in schema else None
    form = schema.get("format")

    def fits(value: Any) -> bool:
        return (
            value.__class__ is str
            and least <= len(value) <= most
            and (words is None or value in words)
            and (search is None or search(value) is not None)
            and (form is None or conforms(value, form))
        )

    return fits


def _number(schema: Mapping[str, Any], kinds: tuple[type, ...]) -> Fits:
    least, most = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")

    def fits(value: Any) -> bool:
        return (
            value.__class__ in kinds
            and least <= value <= most
            and (above is None or value > above)
            and (below is None or value < below)
        )

    return fits
