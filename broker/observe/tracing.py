"""
Traces by OpenTelemetry, sent as OTLP over HTTP. Imported only when the config asks for traces.

A trace is one request: a span for it, and below it one for each call to a store or provider. Requests of one journey carry
the same digest of its id (docs/telemetry.md). Only what is named here gets into a span; exceptions by their type alone,
since their texts may quote anything.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

_W3C = TraceContextTextMapPropagator()
_EXPORT_TIMEOUT_S = 5.0


def over_otlp(endpoint: str, headers: Mapping[str, str]) -> SpanProcessor:
    """
    Sends spans in batches from a thread of its own; when the collector is away they are dropped, and nobody waits.

    Args:
        endpoint: complete address, usually ending in ``/v1/traces``.
        headers: sent with each export, for collectors that want to know who it is.
    """
    return BatchSpanProcessor(OTLPSpanExporter(endpoint, headers=headers, timeout=_EXPORT_TIMEOUT_S))


class Span:
    """A span that is open, and current, until `end`. ``headers``: trace context (W3C) to send along; empty for none."""

    __slots__ = ("_span", "_token", "headers")

    def __init__(self, span: trace.Span, *, propagates: bool = False) -> None:
        self._span = span
        self._token = contexts.attach(trace.set_span_in_context(span))
        self.headers: dict[str, str] = {}
        if propagates:
            _W3C.inject(self.headers)

    def describe(self, method: str, route: str, status: int, reference: str, ids: Mapping[str, str]) -> None:
        """What a request turned out to be. *ids*: what it was about, by kind; digests of them are kept."""
        if not self._span.is_recording():
            return
        self._span.update_name(f"{method} {route}")
        self._span.set_attributes({"http.route": route, "stafett.reference": reference})
        self._span.set_attributes({f"stafett.{kind}": digest(kind, id) for kind, id in ids.items()})
        if status:
            self.status(status)
        if status >= 500:
            self._span.set_status(trace.StatusCode.ERROR)

    def status(self, status: int) -> None:
        """The HTTP status of the answer."""
        self._span.set_attribute("http.response.status_code", status)

    def end(self, failed: type[BaseException] | None) -> None:
        """Over. *failed*: the exception's type. Call it in the task that opened the span."""
        if failed is not None:
            self._span.set_attribute("error.type", failed.__name__)
            self._span.set_status(trace.StatusCode.ERROR)
        contexts.detach(self._token)
        self._span.end()


class Tracing:
    """
    Makes the spans of one broker.

    Args:
        processor: takes them when they end: `over_otlp`.
        sample_ratio: the part of the traces that is kept, 0 to 1.
        accepts_parent: whether a caller's ``traceparent`` is taken up, its decision to sample included.
        propagates_to: config ids of providers that are sent ours.
    """

    def __init__(
        self,
        processor: SpanProcessor,
        *,
        version: str,
        sample_ratio: float = 1.0,
        accepts_parent: bool = False,
        propagates_to: Iterable[str] = (),
    ) -> None:
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(sample_ratio)),
            resource=Resource.create({"service.name": "stafett", "service.version": version}),
            shutdown_on_exit=False,
            span_limits=SpanLimits(max_span_attributes=32, max_span_attribute_length=200),
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("stafett", version)
        self._accepts_parent = accepts_parent
        self._propagates_to = frozenset(propagates_to)

    def request(self, method: str, headers: Iterable[tuple[bytes, bytes]]) -> Span:
        """The span of a request; the first of its trace unless a caller's is taken up."""
        parent = self._parent(headers) if self._accepts_parent else contexts.Context()
        attributes = {"http.request.method": method}
        return Span(self._tracer.start_span(method, parent, trace.SpanKind.SERVER, attributes))

    def store(self, store: str, operation: str, parts: Sequence[str]) -> Span | None:
        """The span of a round trip to a store; None outside a request that is kept."""
        attributes: dict[str, AttributeValue] = {"stafett.store": store, "stafett.operation": operation}
        if parts:
            attributes["stafett.operations"] = tuple(parts)
        return self._below(f"{store} {operation}", attributes)

    def upstream(self, upstream: str, operation: str) -> Span | None:
        """The span of a call to a provider; None outside a request that is kept."""
        attributes: dict[str, AttributeValue] = {"stafett.upstream": upstream, "stafett.operation": operation}
        return self._below(f"{upstream} {operation}", attributes, propagates=upstream in self._propagates_to)

    def close(self) -> None:
        """Send what waits; nothing is kept after this. Blocks."""
        self._provider.shutdown()

    def _below(self, name: str, attributes: Mapping[str, AttributeValue], *, propagates: bool = False) -> Span | None:
        if not trace.get_current_span().is_recording():
            return None
        span = self._tracer.start_span(name, kind=trace.SpanKind.CLIENT, attributes=attributes)
        return Span(span, propagates=propagates)

    @staticmethod
    def _parent(headers: Iterable[tuple[bytes, bytes]]) -> contexts.Context:
        # security: tracestate and baggage are free text of strangers; it would be exported, and sent to providers.
        given = next((value for name, value in headers if name == b"traceparent"), b"")
        return _W3C.extract({"traceparent": given.decode("latin-1")}, contexts.Context())


def digest(kind: str, id: str) -> str:
    """What stands for a journey, handoff or grant: 64 bits of SHA-256 in hex. Whoever has the id can find its spans."""
    return hashlib.sha256(f"{kind}:{id}".encode()).hexdigest()[:16]
