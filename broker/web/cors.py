"""
Which pages of other sites may call which endpoints by script (the Fetch standard's CORS protocol).

Only endpoints a browser's own client needs, only for registered origins, never with cookies, and never the
authorization endpoint, whose answer goes to a browser and not to a script (RFC 9700 section 2.6). Pure ASGI.
"""

from collections.abc import Callable, Collection, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_EXPOSED = b"WWW-Authenticate, Retry-After, X-Reference"
_MAX_AGE_S = b"600"

Origins = Callable[[], Collection[bytes]]
"""The origins that may call, as browsers write them; asked anew each time, so that a changed config counts."""


class Cors:
    """
    Wraps an application.

    Args:
        guarded: path -> its methods, for *origins* only.
        public: path -> its methods, for everybody: nothing there depends on who asks.
    """

    def __init__(
        self, app: ASGIApp, *, guarded: Mapping[str, str], public: Mapping[str, str], origins: Origins
    ) -> None:
        self._app = app
        self._guarded = guarded
        self._methods = {path: methods.encode() for path, methods in {**guarded, **public}.items()}
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; without an ``Origin`` it passes as it is."""
        path: str = scope.get("path", "")
        headers = dict(scope["headers"]) if path in self._methods and scope["type"] == "http" else {}
        origin = headers.get(b"origin")
        if origin is None:
            await self._app(scope, receive, send)
            return
        allowed = self._allowed(path, origin)
        if allowed and scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            await _preflight(send, [*allowed, (b"access-control-allow-methods", self._methods[path])])
            return
        await self._app(scope, receive, _adding(send, allowed or [(b"vary", b"Origin")]))

    def _allowed(self, path: str, origin: bytes) -> list[tuple[bytes, bytes]]:
        """The headers that let a script read the answer; none for a stranger."""
        if path not in self._guarded:
            return [(b"access-control-allow-origin", b"*")]
        if origin not in self._origins():
            return []
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _EXPOSED),
            (b"vary", b"Origin"),
        ]


async def _preflight(send: Send, headers: list[tuple[bytes, bytes]]) -> None:
    """May such a request be sent? No ``Access-Control-Allow-Credentials``: cookies play no part at these endpoints."""
    headers = [
        *headers,
        (b"access-control-allow-headers", b"Authorization, Content-Type"),
        (b"access-control-max-age", _MAX_AGE_S),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _adding(send: Send, headers: list[tuple[bytes, bytes]]) -> Send:
    """*send* that puts *headers* in place of those of the same names."""
    names = {name for name, _ in headers}

    async def adding(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [header for header in message.get("headers", []) if header[0].lower() not in names]
            message = {**message, "headers": [*kept, *headers]}
        await send(message)

    return adding
