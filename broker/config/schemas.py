"""
Payload types: a JSON Schema file becomes the fields customers consent to, or sentences about what it lacks.

A payload is shown to the customer field by field and released field by field, so a schema may only say what can be
shown: nested objects of named members, lists and plain values, all of them bounded, every leaf with a label. Keywords
that make a member's shape depend on another's are refused, since nobody could say what a consent to them covers.
Draft 2020-12: https://json-schema.org/draft/2020-12/json-schema-core
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from broker.config.document import Document, KeyPath, Problem, read
from broker.config.validate import similar
from broker.core.policy import LANGUAGES, PayloadField

MAX_FIELDS = 100
DRAFT = "https://json-schema.org/draft/2020-12/schema"

_KEYWORDS = {
    "type", "title", "description", "enum", "const", "properties", "required", "additionalProperties", "items",
    "minItems", "maxItems", "uniqueItems", "minLength", "maxLength", "pattern", "format", "minimum", "maximum",
    "exclusiveMinimum", "exclusiveMaximum", "x-label", "x-product", "x-values", "$comment",
}  # fmt: skip
_ROOT_KEYWORDS = _KEYWORDS | {"$schema", "$id"}
_TYPES = {"object", "array", "string", "integer", "number", "boolean"}
_MEMBER = re.compile(r"[a-z][a-z0-9_]*")

# Words that say a member names, reaches or finds a person, whatever an operator may think of it.
_IDENTIFYING = {
    "customer", "person", "name", "given", "family", "surname", "email", "mail", "phone", "mobile", "address", "street",
    "postcode", "zip", "city", "birthdate", "birthday", "birth", "ssn", "personal", "registration", "plate", "vin",
    "licence", "license", "member", "membership", "loyalty", "account", "ip", "reference", "note", "comment", "message",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Schema:
    """A checked payload schema: ``content`` as parsed, ``fields`` in its order."""

    content: Mapping[str, Any]
    fields: tuple[PayloadField, ...]


@lru_cache(maxsize=256)
def read_schema(data: bytes, file: str, default_language: str) -> tuple[Schema | None, tuple[Problem, ...]]:
    """
    Check one schema file; *file* is how problems name it.

    Remembered: a reload does not check again what has not changed.
    """
    document, content = _parse(data, file)
    if document.problems:
        return None, document.problems
    if problem := _invalid(document, content, data):
        return None, (problem,)
    walk = _Walk(document, default_language)
    fields = tuple(walk.root(content))
    if not fields and not walk.problems:
        walk.problems.append(document.problem((), "has no fields; name at least one under properties"))
    if len(fields) > MAX_FIELDS:
        walk.problems.append(document.problem((), f"has more than {MAX_FIELDS} fields; no customer reads that"))
    return (None if walk.problems else Schema(content, fields)), tuple(walk.problems)


def _parse(data: bytes, file: str) -> tuple[Document, Any]:
    """
    JSON with line numbers.

    JSON is read as JSON; the YAML reader, which takes JSON too, adds lines, duplicate keys and bounds.
    """
    document = read(data, file)
    if document.problems:
        return document, None
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        problem = Problem(
            file, getattr(error, "lineno", None), "", "not valid JSON; check commas, quotes and braces here"
        )
        return Document(file, None, {}, (problem,)), None
    return document, content


def _invalid(document: Document, content: Any, data: bytes) -> Problem | None:
    if not isinstance(content, dict) or content.get("type") != "object":
        return document.problem((), 'must be one JSON Schema with "type": "object"')
    if content.get("$schema", DRAFT) != DRAFT:
        return document.problem(("$schema",), f"must be {DRAFT}")
    return document.problem(*breach) if (breach := _breach(data)) else None


@lru_cache(maxsize=256)
def _breach(data: bytes) -> tuple[KeyPath, str] | None:
    """Where and how a schema breaks the draft; by far the longest check, so remembered whatever the file is called."""
    try:
        Draft202012Validator.check_schema(json.loads(data))
    except SchemaError as error:
        path: KeyPath = tuple(error.absolute_path)
        if error.validator == "format":
            return path, f"is not a valid {error.validator_value}"
        return path, f"is not valid JSON Schema (draft 2020-12): breaks {error.validator!r}"
    return None


class _Walk:
    def __init__(self, document: Document, default_language: str) -> None:
        self.document = document
        self.default_language = default_language
        self.problems: list[Problem] = []

    def root(self, schema: Mapping[str, Any]) -> Iterator[PayloadField]:
        self._keywords(schema, (), _ROOT_KEYWORDS)
        yield from self._object(schema, (), ())

    def _object(self, schema: Mapping[str, Any], at: KeyPath, name: Sequence[str]) -> Iterator[PayloadField]:
        self._closed(schema, at)
        for key in ("x-label", "x-product"):
            if key in schema:
                self._add((*at, key), "belongs to the fields inside, not to the object around them; move it there")
        for member, child in schema.get("properties", {}).items():
            here = (*at, "properties", member)
            if _MEMBER.fullmatch(member) is None:
                self._add(here, "names of members are lower-case letters, digits and underscores")
            elif not isinstance(child, dict):
                self._add(here, "must be a schema of its own, with a type")
            else:
                yield from self._member(child, here, (*name, member))

    def _member(self, schema: Mapping[str, Any], at: KeyPath, name: Sequence[str]) -> Iterator[PayloadField]:
        self._keywords(schema, at, _KEYWORDS)
        if schema.get("type") == "object":
            yield from self._object(schema, at, name)
            return
        self._shape(schema, at)
        labels = self._labels(schema, at)
        is_product = schema.get("x-product", False)
        if not isinstance(is_product, bool):
            self._add((*at, "x-product"), "must be true or false")
        elif is_product:
            self._product(schema, at, name)
        yield PayloadField(name=".".join(name), labels=labels, is_product=is_product is True)

    def _shape(self, schema: Mapping[str, Any], at: KeyPath) -> None:
        """Of a value that is shown or released as one: its type, an upper bound, and words for its fixed values."""
        self._words(schema, at)
        match schema.get("type"):
            case "string":
                if not {"maxLength", "enum", "const"} & schema.keys():
                    self._add(at, "needs maxLength (or enum): without it a payload has no bound")
            case "array":
                if "maxItems" not in schema:
                    self._add(at, "needs maxItems: without it a payload has no bound")
                self._items(schema.get("items"), at)
            case "object":
                self._closed(schema, at)
                for member, child in schema.get("properties", {}).items():
                    self._nested(child, (*at, "properties", member))
            case kind if not isinstance(kind, str) or kind not in _TYPES:
                self._add(at, f"needs one type of {', '.join(sorted(_TYPES))}")

    def _words(self, schema: Mapping[str, Any], at: KeyPath) -> None:
        """``x-values``: each word of ``enum`` as customers read it, per language."""
        if "x-values" not in schema:
            return
        words, values = schema["x-values"], schema.get("enum")
        if not isinstance(words, dict) or not isinstance(values, list):
            self._add((*at, "x-values"), "needs enum beside it, and gives a text per language for each of its words")
            return
        for value, texts in words.items():
            if value not in values:
                self._add((*at, "x-values", value), f"is not among the words of enum{similar(value, values)}")
            elif not isinstance(texts, dict) or self.default_language not in texts:
                self._add((*at, "x-values", value), f"needs a text in the default language ({self.default_language})")
            elif any(language not in LANGUAGES or not isinstance(text, str) for language, text in texts.items()):
                self._add((*at, "x-values", value), f"must be texts in the languages {', '.join(LANGUAGES)}")

    def _items(self, items: Any, at: KeyPath) -> None:
        if not isinstance(items, dict):
            self._add(at, "needs items: the schema of what the list holds")
        else:
            self._nested(items, (*at, "items"))

    def _nested(self, schema: Any, at: KeyPath) -> None:
        """Something inside a list: part of one field, so it has no label of its own."""
        if not isinstance(schema, dict):
            self._add(at, "must be a schema of its own, with a type")
            return
        self._keywords(schema, at, _KEYWORDS - {"x-product"})
        self._shape(schema, at)

    def _keywords(self, schema: Mapping[str, Any], at: KeyPath, known: set[str]) -> None:
        for key in schema:
            if key == "$ref":
                self._add((*at, key), "references are not followed; write the schema out here")
            elif key == "x-product" and key not in known:
                self._add((*at, key), "a list is one field; mark the list itself")
            elif key not in known:
                self._add(
                    (*at, key),
                    f"this keyword is not supported in payload schemas{similar(key, sorted(known))}",
                )

    def _closed(self, schema: Mapping[str, Any], at: KeyPath) -> None:
        if schema.get("additionalProperties") is not False:
            self._add(at, 'needs "additionalProperties": false, so that nothing unnamed can travel along')
        for member in schema.get("required", ()):
            if member not in schema.get("properties", {}):
                self._add((*at, "required"), f"requires {member!r}, which is not among its properties")

    def _labels(self, schema: Mapping[str, Any], at: KeyPath) -> dict[str, str]:
        labels = schema.get("x-label")
        if not isinstance(labels, dict) or self.default_language not in labels:
            self._add(
                at,
                f"needs an x-label in the default language ({self.default_language}): customers must read what it is",
            )
            return {}
        for language, label in labels.items():
            if language not in LANGUAGES:
                self._add((*at, "x-label", language), f"must be one of the languages {', '.join(LANGUAGES)}")
            elif not isinstance(label, str) or not 0 < len(label) <= 80:
                self._add((*at, "x-label", language), "must be a text of 1 to 80 characters")
        return {language: label for language, label in labels.items() if isinstance(label, str)}

    def _product(self, schema: Mapping[str, Any], at: KeyPath, name: Sequence[str]) -> None:
        """``x-product`` lets a field go to a guest handoff, which nobody consents to: it must not identify anybody."""
        for place, words in ((name, name), *((inner, inner[-1:]) for inner in _inner_names(schema, name))):
            if found := next((part for word in words for part in word.split("_") if part in _IDENTIFYING), None):
                what = f"{'.'.join(place)} may identify the customer ({found!r})"
                self._add((*at, "x-product"), f"{what}, so guests cannot have it; remove x-product")
        if schema.get("type") == "string" and schema.get("maxLength", 0) > 200:
            self._add(
                (*at, "x-product"),
                "free text may say anything about the customer; remove x-product or shorten it",
            )

    def _add(self, at: KeyPath, advice: str) -> None:
        self.problems.append(self.document.problem(at, advice))


def _inner_names(schema: Mapping[str, Any], name: Sequence[str]) -> Iterator[Sequence[str]]:
    items = schema.get("items")
    inner = items if isinstance(items, dict) else schema
    for member, child in inner.get("properties", {}).items() if isinstance(inner.get("properties"), dict) else ():
        if isinstance(child, dict):
            yield (*name, member)
            yield from _inner_names(child, (*name, member))
