"""
From a document to a checked model, and from pydantic's errors to sentences an operator can act on.

Values are validated strictly (a quoted number is no number), as JSON, because that is the mode in which pydantic's
strictness still takes a list for a tuple and a word for an enum member. No sentence repeats a value that is not a name:
it might be a secret in the wrong place.
"""

import json
import re
import types
from collections.abc import Mapping, Sequence
from datetime import timedelta
from difflib import get_close_matches
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from broker.config.document import Document, KeyPath, Problem

Model = TypeVar("Model", bound=BaseModel)


def validate(model: type[Model], document: Document, at: KeyPath = ()) -> tuple[Model | None, list[Problem]]:
    """
    The part of *document* at *at* as a *model*, or what is wrong with it.

    Keys that already have a problem (a value the reader refused) get no second one.
    """
    value = _value(document, at)
    known = {problem.key for problem in document.problems}
    try:
        return model.model_validate_json(json.dumps(value), strict=True), []
    except ValidationError as failed:
        errors = failed.errors(include_url=False)
    found = [_problem(model, document, at, error) for error in errors if not _follows(error, errors)]
    return None, [problem for problem in found if problem.key not in known]


def similar(word: str, known: Sequence[str]) -> str:
    """``; did you mean 'x'?`` when something known is close to *word*, else what there is to choose from."""
    lowered = {each.lower(): each for each in known}
    if close := get_close_matches(word.lower(), lowered, n=1, cutoff=0.6):
        return f"; did you mean {lowered[close[0]]!r}?"
    shown = ", ".join(sorted(known)[:20])
    return f"; known here: {shown}" if known else ""


def _value(document: Document, at: KeyPath) -> Any:
    value = document.value
    for part in at:
        value = value[part]
    return value


def _follows(error: ErrorDetails, errors: Sequence[ErrorDetails]) -> bool:
    """A list is also reported as too short because its entries were refused: that mends itself."""
    loc = error["loc"]
    return error["type"] == "too_short" and any(
        other["loc"][: len(loc)] == loc and len(other["loc"]) > len(loc) for other in errors
    )


def _problem(model: type[BaseModel], document: Document, at: KeyPath, error: ErrorDetails) -> Problem:
    path = _path(document, at, error)
    return document.problem(path, _advice(model, path[len(at) :], error))


def _path(document: Document, at: KeyPath, error: ErrorDetails) -> KeyPath:
    """pydantic's ``loc`` without the parts that are no keys: union members, ``[key]``, names of validators."""
    value, path = _value(document, at), at
    for part in error["loc"]:
        if (isinstance(value, dict) and part in value) or (isinstance(value, list) and part in range(len(value))):
            value, path = value[part], (*path, part)  # type: ignore[index]
    return (*path, error["loc"][-1]) if error["type"] == "missing" else path


def _advice(model: type[BaseModel], path: KeyPath, error: ErrorDetails) -> str:
    kind, given, context = error["type"], error["input"], error.get("ctx", {})
    match kind:
        case "extra_forbidden":
            return f"unknown key{similar(str(path[-1]), _keys(model, path[:-1]))}"
        case "missing":
            return "is missing; add it"
        case "value_error":
            return error["msg"].removeprefix("Value error, ")
        case "union_tag_not_found":
            return f"needs a {_plainly(context['discriminator'])}"
        case "union_tag_invalid":
            return f"{_plainly(context['discriminator'])} {_closed_set(str(context['expected_tags']), context['tag'])}"
        case "enum" | "literal_error":
            return _closed_set(str(context["expected"]), given)
        case "string_type":
            return "must be text; " + (
                "quote it" if isinstance(given, int | float) else "not a list or a block of keys"
            )
        case "int_type" | "int_from_float" | "float_type":
            return "must be a number" + ("; remove the quotes" if isinstance(given, str) else "")
        case "bool_type":
            return "must be true or false" + (", without quotes" if isinstance(given, str) else "")
        case "tuple_type" | "list_type":
            return "must be a list: one line '- value' for each, or [a, b]"
        case "model_type" | "mapping_type" | "dict_type" | "model_attributes_type":
            return "must be a block of keys (key: value), indented under this one"
        case "too_short":
            return (
                "needs at least one entry" if context["min_length"] == 1 else f"needs {context['min_length']} entries"
            )
        case "string_too_short" | "string_too_long":
            return f"must have {_bounds(context)} characters"
        case "greater_than_equal" | "less_than_equal" | "greater_than" | "less_than":
            return _limit(context)
        case _:
            return error["msg"][0].lower() + error["msg"][1:]


def _plainly(discriminator: object) -> str:
    return str(discriminator).strip("'").removesuffix("()").strip("_")


def _closed_set(expected: str, given: object) -> str:
    # Of a part of an enumeration pydantic tells the members: <ClientAuth.SECRET_BASIC: 'client_secret_basic'>.
    plain = re.sub(r"<[\w.]+: ('[^']*')>", r"\1", expected)
    words = [word.strip().strip("'") for part in plain.split(" or ") for word in part.split(",")]
    if words == ["True"]:
        return "is always true for this kind; remove it"
    close = get_close_matches(given, words, n=1, cutoff=0.6) if isinstance(given, str) else []
    return f"must be one of {', '.join(words)}" + (f"; did you mean {close[0]!r}?" if close else "")


def _bounds(context: Mapping[str, Any]) -> str:
    return f"at least {context['min_length']}" if "min_length" in context else f"at most {context['max_length']}"


_LIMIT_WORDS = {"ge": "at least", "le": "at most", "gt": "more than", "lt": "less than"}


def _limit(context: Mapping[str, Any]) -> str:
    bound, value = next(iter(context.items()))
    return f"must be {_LIMIT_WORDS[bound]} {_seconds(str(value))}"


def _seconds(value: str) -> str:
    """pydantic shows a timedelta bound as Python code."""
    if not value.startswith("datetime.timedelta("):
        return value
    parts = (part.split("=") for part in value.removeprefix("datetime.timedelta(").removesuffix(")").split(", "))
    return f"{int(timedelta(**{name: int(number) for name, number in parts}).total_seconds())}s"


def _keys(model: type[BaseModel], path: KeyPath) -> list[str]:
    """The keys that a block at *path* under *model* may have; empty when they are free."""
    annotation: Any = model
    for part in path:
        annotation = _member(annotation, part)
    named = [field.alias or name for block in _blocks(annotation) for name, field in block.model_fields.items()]
    return list(dict.fromkeys(named))


def _member(annotation: Any, part: str | int) -> Any:
    if blocks := _blocks(annotation):
        for block in blocks:
            for name, field in block.model_fields.items():
                if part == (field.alias or name):
                    return field.annotation
        return None
    for each in _alternatives(annotation):
        if arguments := get_args(each):
            return arguments[-1] if isinstance(part, str) else arguments[0]
    return None


def _blocks(annotation: Any) -> list[type[BaseModel]]:
    """The kinds of block there may be; several where one of their keys says which it is."""
    return [each for each in _alternatives(annotation) if isinstance(each, type) and issubclass(each, BaseModel)]


def _alternatives(annotation: Any) -> list[Any]:
    """*annotation* without ``Annotated``, unions spread out."""
    if get_origin(annotation) is Annotated:
        return _alternatives(get_args(annotation)[0])
    if get_origin(annotation) in {Union, types.UnionType}:
        return [alternative for each in get_args(annotation) for alternative in _alternatives(each)]
    return [annotation]
