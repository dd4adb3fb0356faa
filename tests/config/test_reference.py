"""docs/configuration.md tells every key the models know, with its default, and no other."""

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from broker.config.settings import Settings
from broker.core.policy import GatewaySettings, MailSettings, Risk, TrustConfig
from broker.upstream.registry import KINDS

REFERENCE = Path(__file__).parents[2] / "docs" / "configuration.md"
ROW = re.compile(r"^\| `([^`]+)` \| ([^|]+) \|")


def rows(heading: str) -> dict[str, str]:
    """Key -> default, from the tables between *heading* and the next one of its level or above."""
    text = REFERENCE.read_text("utf-8")
    start = text.index(f"\n{heading}\n") + len(heading) + 2
    part = re.split(rf"\n#{{1,{len(heading.split(' ')[0])}}} ", text[start:])[0]
    found = [match.groups() for line in part.splitlines() if (match := ROW.match(line))]
    assert len({key for key, _ in found}) == len(found), "a key is told twice"
    return {key: default.strip() for key, default in found}


def keys(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, str]]:
    """Every key under *model*, with its default as the reference writes it; the names operators choose are NAME."""
    for name, field in model.model_fields.items():
        key = f"{path}{field.alias or name}"
        if field.default is False and block(field.annotation):
            yield key, "`false`"
        if found := block(field.annotation):
            step, inner = found
            yield from keys(inner, f"{key}{step}")
        else:
            extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
            yield key, str(extra.get("x-default") or shown(field.get_default(call_default_factory=True)))


def block(annotation: Any) -> tuple[str, type[BaseModel]] | None:
    """The model that a key holds, and how its keys are reached: as a block, by names, or in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return ".", annotation
    arguments = get_args(annotation)
    if len(drivers(annotation)) > 1:
        return None
    match get_origin(annotation):
        case origin if origin in {Union, UnionType}:
            return next((found for each in arguments if (found := block(each))), None)
        case origin if origin is Annotated:
            return block(arguments[0])
        case origin if origin is Mapping:
            return (".NAME.", found[1]) if (found := block(arguments[1])) else None
        case origin if origin is tuple:
            return ("[].", found[1]) if (found := block(arguments[0])) else None
    return None


def drivers(annotation: Any) -> dict[str, type[BaseModel]]:
    """Driver -> model, where a key ``driver`` says which of several a block is."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        driver = annotation.model_fields.get("driver")
        return {get_args(driver.annotation)[0]: annotation} if driver else {}
    return {name: model for each in get_args(annotation) for name, model in drivers(each).items()}


DRIVERS = [
    *(("mail", name, model) for name, model in drivers(MailSettings).items()),
    *(("text messages", name, model) for name, model in drivers(GatewaySettings).items()),
]


def shown(default: Any) -> str:
    if default is PydanticUndefined:
        return "required"
    if default is None or default in ((), {}):
        return "none"
    if isinstance(default, timedelta):
        return f"`{duration(int(default.total_seconds()))}`"
    if isinstance(default, StrEnum):
        return f"`{default.value}`"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, tuple):
        return f"`[{', '.join(str(each) for each in default)}]`"
    if isinstance(default, dict):
        return "see below"
    return f"`{default}`"


def duration(seconds: int) -> str:
    """As people write it: 60s, 24h and 7d rather than 1m, 1d and 168h."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds % size == 0 and seconds > size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def test_every_key_of_the_file_is_told_with_its_default() -> None:
    """An operator finds every key in one place, and none that does not exist."""
    expected = dict(keys(TrustConfig))
    assert rows("## The file") == expected


@pytest.mark.parametrize(("what", "driver", "model"), DRIVERS, ids=lambda each: each if isinstance(each, str) else "")
def test_every_key_of_a_driver_is_told(what: str, driver: str, model: type[BaseModel]) -> None:
    """Each way to send mail or text messages has its own table."""
    expected = dict(keys(model))
    assert rows(f"### Driver `{driver}` of {what}") == expected
    assert len(expected) == len(model.model_fields)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_key_of_a_kind_of_upstream_is_told(kind: str) -> None:
    """The connect block of each kind has its own table."""
    assert rows(f"### Kind `{kind}`") == dict(keys(KINDS[kind].config))


def test_every_environment_variable_is_told() -> None:
    """Few as they are."""
    assert set(rows("## Environment")) == {f"STAFETT_{name.upper()}" for name in Settings.model_fields}


def test_every_risk_is_told() -> None:
    """What production refuses, by the names that lift it."""
    assert set(rows("## What production refuses")) == {risk.value for risk in Risk}
