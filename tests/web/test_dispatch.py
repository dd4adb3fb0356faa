"""The short way to an endpoint: what Starlette would have done, only sooner."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from broker.errors import Spent, StafettError
from broker.web.dispatch import Dispatch

Endpoint = Callable[[Request], Awaitable[Response]]


async def _expected(request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"expected {request.path_params}", 400)


async def _http(request: Request, error: Exception) -> Response:
    return PlainTextResponse("http", error.status_code if isinstance(error, HTTPException) else 500)


async def _unexpected(request: Request, error: Exception) -> Response:
    return PlainTextResponse("our fault", 500)


def _says(what: str) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        return PlainTextResponse(f"{what} {dict(request.path_params)} {request.scope['route'].path}")

    return endpoint


def _raises(error: Exception) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        raise error

    return endpoint


ROUTES = [
    Route("/", _says("front")),
    Route("/things", _says("list"), methods=["GET"]),
    Route("/things", _says("add"), methods=["POST"]),
    Route("/things/first", _says("first"), methods=["POST"]),
    Route("/things/{id}", _says("one"), methods=["GET"]),
    Route("/things/last", _says("hidden"), methods=["GET"]),
    Route("/things/{id}/parts/{part}", _says("part")),
    Route("/broken/expected/{id}", _raises(Spent("used"))),
    Route("/broken/http", _raises(HTTPException(413))),
    Route("/broken/bug", _raises(ZeroDivisionError())),
]
PATHS = [
    *(
        "/",
        "",
        "/things",
        "/things/",
        "/things/first",
        "/things/last",
        "/things/7",
        "/things/7/parts/8",
        "/things/7/parts",
    ),
    *("/things/a%2Fb", "/things/%00", "//things", "/thing", "/broken/expected/5", "/broken/http", "/nowhere"),
]


def _starlette() -> Starlette:
    handlers: Any = {StafettError: _expected, HTTPException: _http, Exception: _unexpected}
    app = Starlette(routes=ROUTES, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return app


def _short() -> Dispatch:
    return Dispatch(_starlette(), ROUTES, expected=_expected, http=_http, unexpected=_unexpected)


async def _ask(app: Any, method: str, path: str) -> tuple[int, str, dict[str, str]]:
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.request(method, f"http://test{path}")
    return answer.status_code, answer.text, dict(answer.headers)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "OPTIONS"])
@pytest.mark.parametrize("path", PATHS)
async def test_every_answer_is_starlettes(method: str, path: str) -> None:
    """Endpoint, parameters, order of the routes, 404, 405 and the handlers: all as without the short way."""
    assert await _ask(_short(), method, path) == await _ask(_starlette(), method, path)


@pytest.mark.parametrize("app", [_starlette, _short], ids=["starlette", "short"])
async def test_what_nobody_foresaw_is_answered_and_goes_on_to_the_server(app: Callable[[], Any]) -> None:
    """Whoever wraps the application learns of it; the client gets the bland page."""
    said: list[Any] = []

    async def send(message: Any) -> None:
        said.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "GET", "path": "/broken/bug", "query_string": b"", "headers": []}
    with pytest.raises(ZeroDivisionError):
        await app()(scope, receive, send)
    assert [message.get("status") or message["body"] for message in said] == [500, b"our fault"]


def test_a_parameter_with_slashes_is_refused_at_start() -> None:
    """Addresses are told apart by how many segments they have."""
    with pytest.raises(TypeError, match="/files/"):
        Dispatch(
            _starlette(),
            [Route("/files/{name:path}", _says("file"))],
            expected=_expected,
            http=_http,
            unexpected=_unexpected,
        )


def test_an_endpoint_that_would_block_is_refused_at_start() -> None:
    """Starlette runs plain functions in threads; here they would hold up everybody."""
    with pytest.raises(TypeError, match="/plain"):
        Dispatch(
            _starlette(),
            [Route("/plain", lambda request: PlainTextResponse(""))],
            expected=_expected,
            http=_http,
            unexpected=_unexpected,
        )
