"""
Parameters of a request, each at most once.

security: Starlette silently takes the last of duplicates, other layers the first; RFC 6749 section 3.1 forbids them.
"""

import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection, Request

from broker.core.query import decoded, encoded
from broker.errors import BadAsk

_MAX_PARAMS = 100
MAX_VALUE = 8192
_FORM = "application/x-www-form-urlencoded"
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


def single(pairs: Iterable[tuple[str, str]], *, largest: int = MAX_VALUE) -> Mapping[str, str]:
    """
    *pairs* as a mapping; empty values count as omitted (RFC 6749 section 3.1).

    Args:
        largest: characters of a value.
    Raises: BadAsk for a duplicate, too many or too long ones, or control characters.
    """
    found: dict[str, str] = {}
    seen: set[str] = set()
    for index, (name, value) in enumerate(pairs):
        if index >= _MAX_PARAMS or len(name) > MAX_VALUE or len(value) > largest:
            raise BadAsk("too many or too long parameters", code="params.size")
        if name in seen:
            raise BadAsk("a parameter is given twice", code="params.duplicate")
        if _CONTROL.search(value) or "\x00" in name:
            raise BadAsk("a parameter has control characters", code="params.control")
        seen.add(name)
        if value:
            found[name] = value
    return found


def query(request: Request) -> Mapping[str, str]:
    """The query parameters. Raises BadAsk."""
    return single(query_pairs(request))


def query_pairs(connection: HTTPConnection) -> list[tuple[str, str]]:
    """All parameters of the query in order, duplicates included; read once a request."""
    pairs: list[tuple[str, str]] | None = connection.scope.get("stafett.query")
    if pairs is None:
        pairs = connection.scope["stafett.query"] = decoded(connection.scope["query_string"].decode("latin-1"))
    return pairs


async def form(request: Request, *, largest: int = MAX_VALUE) -> Mapping[str, str]:
    """
    The members of an urlencoded form; none may also be in the query (docs/security.md A7). *largest*: as for `single`.

    Raises: BadAsk.
    """
    return single(await form_pairs(request), largest=largest)


async def form_pairs(request: Request) -> list[tuple[str, str]]:
    """All members of an urlencoded form in order, for pages whose checkboxes share a name. Raises BadAsk."""
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != _FORM:
        raise BadAsk("a form must be application/x-www-form-urlencoded", code="params.content_type")
    body = await request.body()
    try:
        text = body.decode()
        if text.count("&") >= _MAX_PARAMS:
            raise BadAsk("too many members", code="params.size")
        pairs = decoded(text, errors="strict")
    except ValueError as error:
        raise BadAsk("not a form", code="params.size") from error
    if request.scope["query_string"] and {name for name, _ in pairs} & {name for name, _ in query_pairs(request)}:
        raise BadAsk("a parameter is given in both query and form", code="params.duplicate")
    return pairs


def with_query(uri: str, members: Mapping[str, str]) -> str:
    """*uri* with *members* added to its query."""
    joint = "&" if "?" in uri and urlsplit(uri).query else "?"
    return f"{uri}{joint}{encoded(members)}"
