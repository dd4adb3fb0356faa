"""
Payloads against their JSON Schema (draft 2020-12), and JSON bodies strictly read.
"""

import json
from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator

from broker.errors import BadAsk

MAX_PAYLOAD = 16 * 1024
_MAX_BODY = 32 * 1024


def read_object(body: bytes) -> dict[str, Any]:
    """
    *body* as one JSON object (RFC 8259), every key once.

    Raises: BadAsk.
    """
    if len(body) > _MAX_BODY:
        raise BadAsk("the JSON body is larger than 32 KiB", code="json.size")
    try:
        value = json.loads(body, object_pairs_hook=_once, parse_constant=_refuse)
        # What cannot be written again (half a surrogate pair, too deep) would only fail later, where it is stored.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise BadAsk("the body is not a JSON object with every key once", code="json.syntax") from error
    if not isinstance(value, dict):
        raise BadAsk("the body must be a JSON object", code="json.syntax")
    return value


class PayloadSchema:
    """A compiled schema; `check` says in words what is wrong, without quoting the value."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._validator = Draft202012Validator(dict(schema), format_checker=Draft202012Validator.FORMAT_CHECKER)

    def check(self, payload: Any) -> None:
        """
        Return if *payload* fits.

        Raises: BadAsk naming the place and the rule of the first few misfits.
        """
        wrong = [
            f"{error.json_path} breaks the rule '{error.validator}'" for error in self._validator.iter_errors(payload)
        ]
        if wrong:
            raise BadAsk("payload: " + "; ".join(sorted(wrong)[:5]), code="handoff.payload")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate key")
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")
