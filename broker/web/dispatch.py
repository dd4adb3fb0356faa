"""
From an address straight to its endpoint.

Starlette tries its routes one after the other, and wraps every request three times against exceptions; each wrapper is passed
again by every message and every resumption. That is 45 us a request, more than the HTTP server itself takes. Here one look
into a table finds the endpoint, and the exceptions are caught in one place, by the same handlers and with the same outcome:
what was foreseen is answered, what was not is answered and goes on to the server. Whatever does not fit the table exactly
(no such address, another method, a lifespan) goes to Starlette as before.
"""

from collections.abc import Awaitable, Callable, Sequence
from inspect import iscoroutinefunction
from typing import Any

from starlette.convertors import PathConvertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from broker.errors import StafettError

Handler = Callable[[Request, Exception], Awaitable[Response]]


class Dispatch:
    """
    Wraps a Starlette application.

    Args:
        routes: the application's, whose endpoints are coroutine functions that take a request.
        expected, http, unexpected: its handlers for `StafettError`, ``HTTPException`` and everything else.
    """

    def __init__(
        self, app: ASGIApp, routes: Sequence[Route], *, expected: Handler, http: Handler, unexpected: Handler
    ) -> None:
        self._app = app
        self._expected = expected
        self._http = http
        self._unexpected = unexpected
        self._fixed: dict[tuple[str, str], Route] = {}
        self._others: dict[tuple[str, int], list[Route]] = {}
        for route in routes:
            if not iscoroutinefunction(route.endpoint):
                raise TypeError(f"the endpoint of {route.path} is no coroutine function")
            if not route.param_convertors:
                for method in route.methods or ():
                    self._fixed.setdefault((method, route.path), route)
            if any(isinstance(each, PathConvertor) for each in route.param_convertors.values()):
                raise TypeError(f"a parameter of {route.path} may have slashes")
            # Also what is found above: where two fit, the one that was named first counts.
            self._others.setdefault(_shape(route.path), []).append(route)
        for place, route in list(self._fixed.items()):
            if self._searched(_scope(*place)) is not route:
                del self._fixed[place]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        route = None
        if scope["type"] == "http" and not scope.get("root_path"):
            route = self._fixed.get((scope["method"], scope["path"])) or self._searched(scope)
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        request = Request(scope, receive, send)
        try:
            response = await route.endpoint(request)
        except StafettError as error:
            response = await self._expected(request, error)
        except HTTPException as error:
            response = await self._http(request, error)
        except Exception as error:
            response = await self._unexpected(request, error)
            await response(scope, receive, send)
            raise
        await response(scope, receive, send)

    def _searched(self, scope: Scope) -> Route | None:
        """The first route that fits, with its parameters put into *scope*; None where Starlette must say why."""
        for route in self._others.get(_shape(scope["path"]), ()):
            match, found = route.matches(scope)
            if match is Match.FULL:
                scope.update(found)
                return route
        return None


def _shape(path: str) -> tuple[str, int]:
    """The first segment of a path, in which no route has a parameter, and how many there are."""
    return path[1:].partition("/")[0], path.count("/")


def _scope(method: str, path: str) -> dict[str, Any]:
    return {"type": "http", "method": method, "path": path}
