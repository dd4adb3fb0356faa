"""
Parameters of a request, each at most once.

security: Starlette silently takes the last of duplicates, other layers the first; RFC 6749 section 3.1 forbids them.
"""

import re
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.requests import Request

from broker.errors import BadAsk

_MAX_PARAMS = 100
_MAX_VALUE = 8192
_FORM = "application/x-www-form-urlencoded"
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


def single(pairs: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    """
    *pairs* as a mapping; empty values count as omitted (RFC 6749 section 3.1).

    Raises: BadAsk for a duplicate, too many or too long ones, or control characters.
    """
    found: dict[str, str] = {}
    seen: set[str] = set()
    for index, (name, value) in enumerate(pairs):
        if index >= _MAX_PARAMS or len(name) > _MAX_VALUE or len(value) > _MAX_VALUE:
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
    return single(request.query_params.multi_items())


async def form(request: Request) -> Mapping[str, str]:
    """
    The members of an urlencoded form; none may also be in the query (docs/security.md A7).

    Raises: BadAsk.
    """
    return single([(name, value) for name, value in await form_pairs(request)])


async def form_pairs(request: Request) -> list[tuple[str, str]]:
    """All members of an urlencoded form in order, for pages whose checkboxes share a name. Raises BadAsk."""
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != _FORM:
        raise BadAsk("a form must be application/x-www-form-urlencoded", code="params.content_type")
    body = await request.body()
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMS)
    except ValueError as error:
        raise BadAsk("not a form, or too many members", code="params.size") from error
    if request.scope["query_string"] and {name for name, _ in pairs} & set(request.query_params):
        raise BadAsk("a parameter is given in both query and form", code="params.duplicate")
    return pairs


def with_query(uri: str, members: Mapping[str, str]) -> str:
    """*uri* with *members* added to its query."""
    joint = "&" if urlsplit(uri).query else "?"
    return f"{uri}{joint}{urlencode(members)}"
