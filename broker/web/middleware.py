"""
What happens to every request: a reference id, the caller's address, limits on size, one log line. Pure ASGI.
"""

import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.observe.logging import log, new_reference, set_reference
from broker.observe.telemetry import METHODS
from broker.web.visitor import Proxies

MAX_BODY = 64 * 1024
_MAX_DIGITS = 10
_MAX_URL = 8 * 1024
QUIET = frozenset({"/healthz", "/readyz"})
"""Probes: too many to be told."""
_ALWAYS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
"""What an answer carries that says nothing else. Header names are lower case here (ASGI)."""


class RequestMiddleware:
    """
    Wraps the whole application.

    Args:
        issuer: its host is the only one served, besides the probes (docs/security.md E2).
        trusted: networks of our own proxies.
        larger: paths to which more may be sent than elsewhere, and how much.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        issuer: Callable[[], str],
        trusted: Callable[[], tuple[IPv4Network | IPv6Network, ...]],
        larger: Mapping[str, int],
    ) -> None:
        self._app = app
        self._larger = larger
        self._issuer = issuer
        self._trusted = trusted
        self._proxies = Proxies()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        reference = new_reference()
        set_reference(reference)
        headers = dict(scope["headers"])
        state = scope.setdefault("state", {})
        state["reference"] = reference
        state["address"] = self._address(scope, headers)
        most = self._larger.get(scope["path"], MAX_BODY)
        answer = _Answer(receive, send, reference, most)
        started = time.perf_counter()
        refusal = self._refusal(scope, headers, most)
        try:
            if refusal is not None:
                await refusal(scope, receive, answer)
            else:
                await self._app(scope, answer.receive, answer)
        except Exception:
            # security: answered and logged by now; the server would log it once more, with the error's own words.
            if not answer.status:
                raise
        finally:
            if scope["path"] not in QUIET:
                took_ms = round((time.perf_counter() - started) * 1000, 1)
                method = scope["method"] if scope["method"] in METHODS else "_OTHER"
                log("request", method=method, route=_route(scope), status=answer.status, ms=took_ms)

    def _address(self, scope: Scope, headers: dict[bytes, bytes]) -> str:
        trusted = self._trusted()
        if trusted is not self._proxies.networks:
            self._proxies = Proxies(trusted)
        peer = scope["client"][0] if scope.get("client") else ""
        return self._proxies.client_address(peer, headers.get(b"x-forwarded-for", b"").decode("latin-1"))

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes], most: int) -> ASGIApp | None:
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > _MAX_URL:
            return PlainTextResponse("The address is too long.\n", status_code=414)
        length = headers.get(b"content-length")
        if length is None:
            pass
        elif not length.isdigit() or len(length) > _MAX_DIGITS or int(length) > most:
            return PlainTextResponse("The request is too large.\n", status_code=413)
        host = headers.get(b"host", b"").lower()
        if scope["path"] not in QUIET and host != _host_of(self._issuer()):
            return PlainTextResponse("This server does not serve that host name.\n", status_code=421)
        return None


@lru_cache(maxsize=8)
def _host_of(issuer: str) -> bytes:
    return urlsplit(issuer).netloc.lower().encode("latin-1")


class _Answer:
    """Sends on, and remembers the status; adds what every answer carries. Stops reading a body that is too large."""

    __slots__ = ("_most", "_read", "_receive", "_reference", "_send", "status")

    def __init__(self, receive: Receive, send: Send, reference: str, most: int) -> None:
        self._receive = receive
        self._most = most
        self._read = 0
        self._send = send
        self._reference = reference
        self.status = 0

    async def receive(self) -> Message:
        """What the client sends, as long as it is not too much, whatever its Content-Length says."""
        message = await self._receive()
        self._read += len(message.get("body", b""))
        if self._read > self._most:
            raise HTTPException(413)
        return message

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = message.setdefault("headers", [])
            named = {name for name, _ in headers}
            headers += [header for header in _ALWAYS if header[0] not in named]
            headers.append((b"x-reference", self._reference.encode()))
        await self._send(message)


def _route(scope: Scope) -> str:
    """The route's template, never the path or query, which may hold ids and codes."""
    route = scope.get("route")
    return getattr(route, "path", None) or "unmatched"
