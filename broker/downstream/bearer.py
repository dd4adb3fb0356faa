"""
Access tokens as partners present them (RFC 6750).
"""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from broker.downstream.replies import body_of, error_reply, http_reply, json_reply, note_refusal
from broker.errors import BadAsk, Denied, Gone, Spent, StafettError
from broker.web import params

_FORM = "application/x-www-form-urlencoded"


async def bearer_token(request: Request) -> str | None:
    """The token from the header or, for a form POST, its body; never from the query (RFC 9700 section 4.3.2). None: no token."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    from_header = value.strip() if scheme.lower() == "bearer" and value.strip() else None
    from_body = None
    if request.method == "POST" and request.headers.get("content-type", "").startswith(_FORM):
        from_body = (await params.form(request)).get("access_token")
    if from_header and from_body:
        raise BadAsk("access token in both header and body", code="bearer.twice")
    return from_header or from_body


def bearer_endpoint(endpoint: Callable[..., Awaitable[Response]]) -> Callable[..., Awaitable[Response]]:
    """*endpoint*, called with the presented token; refusals answered as RFC 6750 section 3 says."""

    @wraps(endpoint)
    async def guarded(self: Any, request: Request) -> Response:
        try:
            token = await bearer_token(request)
            if token is None:
                return json_reply_with_challenge("Bearer", {}, 401)
            return await endpoint(self, request, token)
        except (Spent, Gone, Denied) as error:
            return _refusal(error)
        except BadAsk as error:
            return error_reply(error, challenge='Bearer error="invalid_request"')
        except StafettError as error:
            return error_reply(error)
        except HTTPException as error:
            return http_reply(error)

    return guarded


def json_reply_with_challenge(challenge: str, content: dict[str, Any], status: int) -> Response:
    """A refusal with its ``WWW-Authenticate``."""
    response = json_reply(content, status)
    response.headers["WWW-Authenticate"] = challenge
    return response


def _refusal(error: StafettError) -> Response:
    code, status, words = "invalid_token", 401, "the token is unknown, expired or was ended"
    if isinstance(error, Denied):
        code, status, words = "insufficient_scope", 403, "the token does not cover this"
    elif error.code == "handoff.foreign":
        code, status, words = "not_found", 404, "no such handoff for this token"
    elif isinstance(error, Gone):
        code, status, words = "gone", 410, "withdrawn, expired or erased"
    note_refusal(error, status)
    if status in {404, 410}:
        return json_reply(body_of(code, words), status)
    return json_reply_with_challenge(
        f'Bearer error="{code}", error_description="{words}"', body_of(code, words), status
    )
