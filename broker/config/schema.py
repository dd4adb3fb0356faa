"""
The JSON Schema of the YAML, for editors: completion, hover texts and a first check while typing.

Made from the models, so it knows every key; ``stafett check-config`` knows more (references, keys, what belongs together)
and decides. Draft-07, because that is the newest one editors' YAML servers fully support
(https://github.com/redhat-developer/vscode-yaml/issues/704, 2026-11).
"""

import inspect
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from broker.core.policy import (
    LANGUAGES,
    Amount,
    Duration,
    Instant,
    Language,
    Network,
    Origin,
    RedirectUri,
    TrustConfig,
    Uri,
)
from broker.upstream.registry import KINDS, Kind

DRAFT = "http://json-schema.org/draft-07/schema#"
TITLE = "Trust config of Stafett"


def config_schema(kinds: Mapping[str, Kind] = KINDS) -> JsonSchemaValue:
    """The schema of the whole file; the ``connect`` block of an upstream is that of its kind, one of *kinds*."""
    models: list[type[BaseModel]] = [TrustConfig, *dict.fromkeys(kind.config for kind in kinds.values())]
    _, content = models_json_schema(
        [(model, "validation") for model in models],
        ref_template="#/definitions/{model}",
        schema_generator=_ForEditors,
    )
    definitions = content["$defs"]
    for name, model in _described(models):
        _describe(definitions[name], model)
    _connect_by_kind(definitions["UpstreamPolicy"], kinds)
    root = definitions.pop("TrustConfig")
    return {"$schema": DRAFT, "title": TITLE, **_tidied(root), "definitions": _tidied(definitions)}


def _check_of(annotated: Any) -> Any:
    """The function that checks values of an annotated type of the policy."""
    return get_args(annotated)[1].func


_FORMS: Mapping[Any, JsonSchemaValue] = {
    _check_of(Amount): {"type": "number", "minimum": 0, "maximum": 1000},
    _check_of(Duration): {
        "type": "string",
        "pattern": "^[1-9][0-9]{0,5}[smhd]$",
        "description": "A whole number with a unit: 60s, 30m, 24h or 7d.",
    },
    _check_of(Instant): {
        "type": "string",
        "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2})$",
        "description": "A point in time with its offset, such as 2027-01-31T04:00:00Z.",
    },
    _check_of(Network): {
        "type": "string",
        "pattern": "^[0-9a-fA-F:.]+(/[0-9]{1,3})?$",
        "description": "A network in CIDR form, such as 10.0.0.0/8.",
    },
    _check_of(Uri): {"type": "string", "pattern": r"^https?://[!-\"$-\[\]-~]+$"},
    _check_of(RedirectUri): {"type": "string", "pattern": r"^[a-z][a-z0-9.+-]*:/[!-\"$-\[\]-~]+$"},
    _check_of(Origin): {"type": "string", "pattern": "^https?://[^/?#@A-Z\\s]+$"},
    _check_of(Language): {"type": "string", "enum": list(LANGUAGES)},
}
"""What checks that are functions mean to an editor."""


def _form(function: Any) -> JsonSchemaValue | None:
    if not inspect.isfunction(function):
        return None
    if (known := _FORMS.get(function)) is not None:
        return dict(known)
    # The checks of the policy that are patterns close over both of these.
    closed_over = inspect.getclosurevars(function).nonlocals
    if isinstance(pattern := closed_over.get("compiled"), re.Pattern):
        return {
            "type": "string",
            "pattern": f"^(?:{pattern.pattern})$",
            "description": _sentence(closed_over["sentence"]),
        }
    return None


def _sentence(advice: str) -> str:
    return f"{advice[0].upper()}{advice[1:]}."


class _ForEditors(GenerateJsonSchema):
    """Pydantic's generator, for what the YAML reader takes: durations with a unit, no empty values."""

    def function_after_schema(self, schema: core_schema.AfterValidatorFunctionSchema) -> JsonSchemaValue:
        return _form(schema["function"]["function"]) or super().function_after_schema(schema)

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        return _form(schema["function"]["function"]) or super().function_before_schema(schema)

    def function_plain_schema(self, schema: core_schema.PlainValidatorFunctionSchema) -> JsonSchemaValue:
        return _form(schema["function"]["function"]) or super().function_plain_schema(schema)

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """A key without a value is refused when the file is read; it is left out instead."""
        return self.generate_inner(schema["schema"])

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        names = self.generate_inner(schema["keys_schema"])
        content = {"type": "object", "additionalProperties": self.generate_inner(schema["values_schema"])}
        if names.keys() & {"pattern", "enum"}:
            content["propertyNames"] = names
        return content | ({"minProperties": schema["min_length"]} if "min_length" in schema else {})

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        content = self.generate_inner(schema["schema"])
        default = _default(self.get_default_value(schema))
        return content if default is None else {**content, "default": default}


def _default(value: Any) -> Any:
    """A default as it would be written in the YAML; None for those that say nothing."""
    match value:
        case timedelta():
            return _duration(int(value.total_seconds()))
        case str() | bool() | int() | float():
            return value
        case tuple() if value and all(isinstance(each, str) for each in value):
            return list(value)
        case _:
            return None


def _duration(seconds: int) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds % size == 0 and seconds > size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _connect_by_kind(upstream: JsonSchemaValue, kinds: Mapping[str, Kind]) -> None:
    upstream["properties"]["kind"] = {"type": "string", "enum": sorted(kinds), "description": "What it speaks."}
    upstream["allOf"] = [
        {
            "if": {"properties": {"kind": {"const": name}}, "required": ["kind"]},
            "then": {"properties": {"connect": {"$ref": f"#/definitions/{kind.config.__name__}"}}},
        }
        for name, kind in sorted(kinds.items())
    ]


# Descriptions: what a model's docstring says of itself, and of each key as ``key``: text.

_ITEM = re.compile(r"((?:``\w+``(?:, )?)+): (.+?)(?=(?<=[.)])\s+``|\s*$)", re.DOTALL)


def _described(models: list[type[BaseModel]]) -> Iterator[tuple[str, type[BaseModel]]]:
    """Every model reachable from *models*, with its name among the definitions."""
    for model in models:
        for each in (model, *_below(model)):
            yield each.__name__, each


def _below(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for field in annotation.model_fields.values():
            yield from _models_in(field.annotation)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        yield from _below(annotation)
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _describe(definition: JsonSchemaValue, model: type[BaseModel]) -> None:
    own, items = _docstring(model.__doc__)
    for parent in model.__mro__[1:]:
        if issubclass(parent, BaseModel) and parent is not BaseModel:
            items = _docstring(parent.__doc__)[1] | items
    if own:
        definition["description"] = own
    for name, field in model.model_fields.items():
        if text := items.get(key := field.alias or name, items.get(name)):
            definition["properties"][key]["description"] = text


def _docstring(text: str | None) -> tuple[str, dict[str, str]]:
    """What a docstring says of the model, and of its keys."""
    plain = inspect.cleandoc(text or "")
    items = {
        name: _sentence(_plain(match[2]).rstrip("."))
        for match in _ITEM.finditer(" ".join(plain.split()))
        for name in re.findall(r"``(\w+)``", match[1])
    }
    return _plain(_ITEM.sub("", plain.split("\n\n")[0])).rstrip("; "), items


def _plain(text: str) -> str:
    """Without markup, and without the names of classes that mean nothing to an operator."""
    return re.sub(r" \(`\w+\.\w+`\)", "", " ".join(text.split())).replace("``", "`").replace("*", "")


def _tidied(value: Any) -> Any:
    """*value* without titles, which pydantic makes from names, and bounds of durations, which no validator knows."""
    if isinstance(value, list):
        return [_tidied(each) for each in value]
    if not isinstance(value, dict):
        return value
    kept = {key: _tidied(each) for key, each in value.items() if key not in {"title", "le"} or isinstance(each, dict)}
    return kept | ({"description": _plain(text)} if isinstance(text := kept.get("description"), str) else {})
