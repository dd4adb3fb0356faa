"""
Errors as a partner's software reads them: JSON with a registered code, a sentence, and the reference id.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from broker.errors import (
    BadAsk,
    BadClient,
    Denied,
    Gone,
    NeedsCustomer,
    Spent,
    StafettError,
    Stopped,
    StoreDown,
    TooMany,
    TooWeak,
    UpstreamDown,
    WrongCustomer,
)
from broker.observe.logging import current_reference, log
from broker.web.answers import ReadyResponse

Endpoint = Callable[..., Awaitable[Response]]

_UNKEPT = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_JSON = ((b"cache-control", b"no-store"), (b"pragma", b"no-cache"), (b"content-type", b"application/json"))


def oauth_error(error: StafettError) -> tuple[str, str]:
    """
    The error code (Core section 3.1.2.6) and a sentence for the developer, of the characters that RFC 6749 allows in a
    description (sections 4.1.2.1 and 5.2).
    """
    code, sentence = _told(error)
    return code, _allowed(sentence)


def _told(error: StafettError) -> tuple[str, str]:
    match error:
        case BadAsk():
            return error.oauth_error, error.detail
        case NeedsCustomer():
            return error.oauth_error, "the request needs the customer"
        case BadClient():
            return "invalid_client", "client authentication failed"
        case Spent():
            return "invalid_grant", "unknown, used, expired, or issued to somebody else"
        case Gone():
            return "invalid_grant", "withdrawn or expired"
        case Denied():
            return "unauthorized_client", "not allowed by the trust config"
        case Stopped():
            return "access_denied", "the customer said no"
        case WrongCustomer():
            return "access_denied", "another customer is logged in"
        case TooWeak():
            return "unmet_authentication_requirements", "the assurance asked for is out of reach"
        case StoreDown() | TooMany() | UpstreamDown():
            return "temporarily_unavailable", "try again in a moment"
        case _:
            return "server_error", "something went wrong on our side"


def _status(error: StafettError) -> int:
    match error:
        case BadClient():
            return 401
        case Denied():
            return 403
        case TooMany():
            return 429
        case StoreDown() | UpstreamDown():
            return 503
        case BadAsk() | Spent() | Gone() | NeedsCustomer() | Stopped() | WrongCustomer() | TooWeak():
            return 400
        case _:
            return 500


def error_reply(error: StafettError, *, status: int | None = None, challenge: str | None = None) -> Response:
    """The JSON answer to *error*; its detail goes to the log only, under the same reference."""
    code, sentence = oauth_error(error)
    answered = status or _status(error)
    note_refusal(error, answered)
    headers = dict(_UNKEPT)
    if challenge is not None:
        headers["WWW-Authenticate"] = challenge
    if isinstance(error, TooMany):
        headers["Retry-After"] = str(error.retry_after_s)
    elif answered == 503:
        headers["Retry-After"] = "2"
    return Response(
        msgspec.json.encode(body_of(code, sentence)),
        status_code=answered,
        headers=headers,
        media_type="application/json",
    )


def body_of(code: str, sentence: str) -> dict[str, str]:
    """An error body; the description keeps to the characters RFC 6749 section 5.2 allows."""
    return {
        "error": code,
        "error_description": f"{_allowed(sentence)} (reference {current_reference()})",
        "reference": current_reference(),
    }


def _allowed(sentence: str) -> str:
    return "".join(char for char in sentence if char in _ALLOWED)


_ALLOWED = {chr(code) for code in (*range(0x20, 0x22), *range(0x23, 0x5C), *range(0x5D, 0x7F))}


def note_refusal(error: StafettError, status: int) -> None:
    """Log *error* for the operator."""
    facts: Mapping[str, Any] = {key: value for key, value in error.facts.items() if value is not None}
    level = "warning" if status >= 500 else "info"
    log("refused", level, code=error.code, kind=type(error).__name__, detail=error.detail, status=status, **facts)


def partner_endpoint(endpoint: Endpoint) -> Endpoint:
    """*endpoint* answering every `StafettError` as JSON."""

    @wraps(endpoint)
    async def guarded(self: Any, request: Request) -> Response:
        try:
            return await endpoint(self, request)
        except BadClient as error:
            return _unproven(error, request)
        except StafettError as error:
            return error_reply(error)
        except HTTPException as error:
            return http_reply(error)

    return guarded


def _unproven(error: BadClient, request: Request) -> Response:
    """
    Client authentication failed: 401 with a challenge where it was to come in a header, 400 where it came in a form.

    Spec: RFC 6749 section 5.2; RFC 9110 section 15.5.2 knows no 401 without a challenge.
    """
    by_form = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    if by_form and "authorization" not in request.headers:
        return error_reply(error, status=400)
    return error_reply(error, challenge='Basic realm="stafett"')


def http_reply(error: HTTPException) -> Response:
    """Starlette's own refusals (a body that is too large) as a partner's software reads them."""
    return json_reply(body_of("invalid_request", "the request cannot be read"), error.status_code)


def jwt_reply(token: str) -> Response:
    """A JWT that nobody may keep (RFC 7519 section 10.3.1)."""
    return Response(token, headers=dict(_UNKEPT), media_type="application/jwt")


def json_reply(content: Mapping[str, Any], status: int = 200) -> Response:
    """A JSON answer that nobody may keep."""
    body = msgspec.json.encode(content)
    return ReadyResponse(status, [*_JSON, (b"content-length", b"%d" % len(body))], body)
