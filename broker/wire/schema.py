"""
Payloads against their JSON Schema (draft 2020-12), and JSON bodies strictly read.
"""

import math
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec
from jsonschema import Draft202012Validator, FormatChecker, ValidationError, validators

from broker.core.strict_json import StrictJson
from broker.errors import BadAsk
from broker.wire import fitting

MAX_PAYLOAD = 16 * 1024
_MAX_BODY = 32 * 1024

_FORMATS = FormatChecker(Draft202012Validator.FORMAT_CHECKER.checkers)
"""What ``format`` checks: the library's own, and date-time, which it leaves out without further packages."""

_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


@_FORMATS.checks("date-time", raises=ValueError)
def _is_date_time(value: object) -> bool:
    """RFC 3339 section 5.6, but for leap seconds."""
    if not isinstance(value, str):
        return True
    return _DATE_TIME.fullmatch(value) is not None and datetime.fromisoformat(value.upper()) is not None


_DOLLAR = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|\$", re.DOTALL)


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    """
    *pattern* as ECMA-262 means it (JSON Schema Validation section 6.3.3): ``$`` is the very end, where Python lets a line
    break follow, and digits are ASCII.
    """
    return re.compile(_DOLLAR.sub(lambda found: r"\Z" if found[0] == "$" else found[0], pattern), re.ASCII)


def _matches(_validator: Any, pattern: str, value: Any, _schema: Any) -> Iterator[ValidationError]:
    if isinstance(value, str) and _compiled(pattern).search(value) is None:
        yield ValidationError("does not match")


_Validator = validators.extend(Draft202012Validator, {"pattern": _matches})  # type: ignore[no-untyped-call]


def read_object(body: bytes) -> dict[str, Any]:
    """
    *body* as one JSON object (RFC 8259), every key once.

    Raises: BadAsk.
    """
    if len(body) > _MAX_BODY:
        raise BadAsk("the JSON body is larger than 32 KiB", code="json.size")
    try:
        value = _JSON.read(body)
        _writable(value)
    except ValueError as error:
        raise BadAsk("the body is not a JSON object with every key once", code="json.syntax") from error
    if not isinstance(value, dict):
        raise BadAsk("the body must be a JSON object", code="json.syntax")
    return value


class PayloadSchema:
    """A compiled schema; `check` says in words what is wrong, without quoting the value."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._validator = _Validator(dict(schema), format_checker=_FORMATS)
        self._fits = fitting.compiled(schema, pattern=_compiled, conforms=_FORMATS.conforms)

    def check(self, payload: Any) -> None:
        """
        Return if *payload* fits.

        Raises: BadAsk naming the place and the rule of the first few misfits.
        """
        if self._fits is not None and self._fits(payload):
            return
        wrong = [
            f"{error.json_path} breaks the rule '{error.validator}'" for error in self._validator.iter_errors(payload)
        ]
        if wrong:
            raise BadAsk("payload: " + "; ".join(sorted(wrong)[:5]), code="handoff.payload")


def _writable(value: Any) -> None:
    """
    What cannot be written again would only fail later, where it is stored: half a surrogate pair, and U+0000, which
    PostgreSQL takes in no text. Numbers: see `_whole` and `_finite`.
    """
    text = msgspec.json.encode(value).decode()
    if r"\u0000" in text and r"\u0000" in text.replace(r"\\", ""):
        raise ValueError("U+0000 in a text")


def _whole(digits: str) -> int:
    """At most 64 bits, as MessagePack has them."""
    value = int(digits)
    if not -(2**63) <= value < 2**64:
        raise ValueError("a whole number of more than 64 bits")
    return value


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError("a number beyond all bounds")
    return value


_JSON = StrictJson(whole=_whole, fraction=_finite)
