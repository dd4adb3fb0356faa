"""
From a payload's values to what the consent page shows: the value of one field, as its JSON Schema describes it.

The schema is one that ``check-config`` accepted: nested objects and lists without references or alternatives, each
leaf with an ``x-label``. Words of an enumeration are told by its ``x-values`` (value -> text per language) where the
operator gave some.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from broker.pages.views import Cell, Table, Value

InLanguage = Callable[[Mapping[str, str]], str]
"""Picks the text in the customer's language (`Policy.text` with the language filled in)."""


def shown_value(raw: Any, name: str, schema: Mapping[str, Any], in_language: InLanguage) -> Value:
    """
    The value *raw* of the field *name* (dotted path) of a payload with *schema*, ready for the page.

    A list of objects becomes a table with a column for each member that occurs; dates are parsed so that they can be
    told in the customer's language. A field the schema does not know is shown as it is.
    """
    leaf = _leaf(schema, name)
    if isinstance(raw, list):
        return _list(raw, leaf.get("items", {}), in_language)
    return _cell(raw, leaf, in_language)


def _leaf(schema: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    at: Mapping[str, Any] = schema
    for member in name.split("."):
        at = at.get("properties", {}).get(member, {})
    return at


def _list(raw: Sequence[Any], schema: Mapping[str, Any], in_language: InLanguage) -> Value:
    members: Mapping[str, Mapping[str, Any]] = schema.get("properties", {})
    if not members:
        return ", ".join(str(_cell(each, schema, in_language)) for each in raw)
    columns = [member for member in members if any(row.get(member) is not None for row in raw)]
    return Table(
        tuple(in_language(members[column].get("x-label") or {"en": column}) for column in columns),
        tuple(tuple(_cell(row.get(column), members[column], in_language) for column in columns) for row in raw),
    )


def _cell(raw: Any, schema: Mapping[str, Any], in_language: InLanguage) -> Cell:
    if raw is None or isinstance(raw, bool | int | float):
        return raw
    text = str(raw)
    told = schema.get("x-values", {}).get(text)
    if told:
        return in_language(told)
    match schema.get("format"):
        case "date-time":
            return _moment(text)
        case "date":
            return _day(text)
    return text


def _moment(text: str) -> datetime | str:
    """A moment with its zone; without one nobody knows when it was, and the text says as much as we know."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return moment if moment.tzinfo else text


def _day(text: str) -> date | str:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return text
