"""
Being watched from outside: who tells what, and what it becomes.

The rooms tell and do not know whether anybody listens: `tell` says what happened in the running request, `about` what it is
about, and a `Watch` goes around one call to a store or provider. Without telemetry in the config nobody listens: a watch is
then one shared object that does nothing, and the application is not wrapped. Neither OpenTelemetry nor Prometheus is
imported here; whoever builds a `Telemetry` brings them.

What may be told is an allow-list: names from the code, ids from the config, figures, times. The id of a journey becomes a
digest before it leaves.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextvars import ContextVar
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from broker.observe.metrics import Metrics
    from broker.observe.tracing import Span, Tracing

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Those that are called by name; whoever sends another one is told of as ``_OTHER``."""


class Call:
    """
    One call while it runs, as a context manager; this one is watched by nobody.

    ``headers``: to be sent along with it.
    """

    __slots__ = ()
    headers: Mapping[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Over; an exception is noted by its type and goes on."""

    def answered(self, status: int) -> None:
        """The other side answered with this HTTP status."""


class Watch(Protocol):
    """Goes around calls to one store or one provider."""

    def __call__(self, operation: str, parts: Sequence[str] = ()) -> Call:
        """*operation* and, when it is a batch, its *parts*: names from the code, never keys or values."""
        ...


_UNWATCHED = Call()


def unwatched(operation: str, parts: Sequence[str] = ()) -> Call:
    """The `Watch` of whoever is not watched."""
    return _UNWATCHED


class _Request:
    """The running request: who hears what happens in it, and what it is about."""

    __slots__ = ("ids", "metrics")

    def __init__(self, metrics: "Metrics | None") -> None:
        self.metrics = metrics
        self.ids: dict[str, str] = {}


_running: ContextVar[_Request | None] = ContextVar("watched_request", default=None)


def tell(event: str, facts: Mapping[str, Any]) -> None:
    """*event* (a name of docs/events.md) happened in the running request; whoever listens takes of *facts* what it knows."""
    request = _running.get()
    if request is not None and request.metrics is not None:
        request.metrics.heard(event, facts)


def about(kind: str, id: str) -> None:
    """The running request is about the journey, handoff or grant (*kind*) of that *id*."""
    request = _running.get()
    if request is not None:
        request.ids[kind] = id


class Telemetry:
    """Who watches one broker: traces, metrics, both, or nobody."""

    def __init__(self, *, tracing: "Tracing | None" = None, metrics: "Metrics | None" = None) -> None:
        self.tracing = tracing
        self.metrics = metrics

    @property
    def is_on(self) -> bool:
        """Whether anybody watches."""
        return self.tracing is not None or self.metrics is not None

    def watched(self, app: App, *, quiet: frozenset[str]) -> App:
        """*app* with every request watched but those of the paths *quiet*; itself when nobody watches."""
        return _WatchedApp(app, self, quiet) if self.is_on else app

    def store(self, name: str) -> Watch:
        """The watch for the store *name*: ``state`` or ``records``."""
        return _StoreWatch(self, name) if self.is_on else unwatched

    def upstream(self, name: str) -> Watch:
        """The watch for calls to the provider of that config id."""
        return _UpstreamWatch(self, name) if self.is_on else unwatched

    def sender(self, name: str) -> Watch:
        """The watch for calls to whoever carries messages, under a name of the config; they are counted as messages."""
        return _SenderWatch(self.tracing, name) if self.tracing is not None else unwatched

    def listens(self) -> None:
        """What the running task tells is heard from now on, although it belongs to no request."""
        if self.metrics is not None:
            _running.set(_Request(self.metrics))

    async def close(self) -> None:
        """Send what waits to be sent, for a few seconds at most."""
        if self.tracing is not None:
            await asyncio.to_thread(self.tracing.close)


class _WatchedCall(Call):
    """``observe``: told operation, outcome (``ok`` or ``error``) and seconds."""

    __slots__ = ("_observe", "_operation", "_span", "_started", "headers")

    def __init__(self, operation: str, span: "Span | None", observe: Callable[[str, str, float], None] | None) -> None:
        self._operation = operation
        self._span = span
        self._observe = observe
        self.headers = span.headers if span else {}
        self._started = perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._observe is not None:
            self._observe(self._operation, "error" if kind else "ok", perf_counter() - self._started)
        if self._span is not None:
            self._span.end(kind)

    def answered(self, status: int) -> None:
        if self._span is not None:
            self._span.status(status)


class _StoreWatch:
    def __init__(self, telemetry: Telemetry, name: str) -> None:
        self._tracing = telemetry.tracing
        self._name = name
        self._observe = telemetry.metrics.store_observer(name) if telemetry.metrics else None

    def __call__(self, operation: str, parts: Sequence[str] = ()) -> Call:
        span = self._tracing.store(self._name, operation, parts) if self._tracing else None
        return _WatchedCall(operation, span, self._observe)


class _UpstreamWatch:
    def __init__(self, telemetry: Telemetry, name: str) -> None:
        self._tracing = telemetry.tracing
        self._name = name
        self._observe = telemetry.metrics.upstream_observer(name) if telemetry.metrics else None

    def __call__(self, operation: str, parts: Sequence[str] = ()) -> Call:
        span = self._tracing.upstream(self._name, operation) if self._tracing else None
        return _WatchedCall(operation, span, self._observe)


class _SenderWatch:
    def __init__(self, tracing: "Tracing", name: str) -> None:
        self._tracing = tracing
        self._name = name

    def __call__(self, operation: str, parts: Sequence[str] = ()) -> Call:
        return _WatchedCall(operation, self._tracing.upstream(self._name, operation), None)


class _WatchedApp:
    """
    Pure ASGI, outermost.

    security: of the request it reads the method, ``traceparent`` if the config says so, and afterwards the template of the
    route. Path, query, host and every other header stay unread: codes, ids and personal data are in them (docs/security.md F1).
    """

    def __init__(self, app: App, telemetry: Telemetry, quiet: frozenset[str]) -> None:
        self._app = app
        self._tracing = telemetry.tracing
        self._metrics = telemetry.metrics
        self._quiet = quiet

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"] in self._quiet:
            await self._app(scope, receive, send)
            return
        request = _Request(self._metrics)
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        span = self._tracing.request(method, scope["headers"]) if self._tracing else None
        token = _running.set(request)
        answer = _Status(send)
        started = perf_counter()
        failed: type[BaseException] | None = None
        try:
            await self._app(scope, receive, answer)
        except BaseException as error:
            failed = type(error)
            raise
        finally:
            _running.reset(token)
            route = getattr(scope.get("route"), "path", None) or "unmatched"
            if self._metrics is not None:
                self._metrics.request(route, method, answer.status, perf_counter() - started)
            if span is not None:
                span.describe(method, route, answer.status, scope.get("state", {}).get("reference", "-"), request.ids)
                span.end(failed)


class _Status:
    """Sends on, and remembers the status; 0 until there is one."""

    __slots__ = ("_send", "status")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)
