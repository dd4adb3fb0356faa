"""Telemetry in the config: off unless asked for, nowhere it does not belong, and its secrets by reference."""

import pytest

from broker.app import build_telemetry
from broker.observe.metrics import Metrics
from broker.observe.tracing import Tracing

from .conftest import Bench

AT = "  data_dir: data\n"


def with_telemetry(bench: Bench, block: str) -> Bench:
    """The example with this ``telemetry`` block, written in one line."""
    bench.edit((AT, f"{AT}  telemetry: {block}\n"))
    return bench


def test_nobody_watches_unless_asked(bench: Bench) -> None:
    """The example has no telemetry: nothing is sent, counted or opened."""
    assert not build_telemetry(bench.load()).is_on


async def test_what_is_asked_for_is_built(bench: Bench) -> None:
    """Traces with their headers from where the reference leads; metrics."""
    bench.environment["OTLP_HEADERS"] = "authorization=Bearer t0ken=,x-tenant=a b"
    block = "{traces: {otlp_endpoint: 'http://127.0.0.1:4318/v1/traces', headers: env:OTLP_HEADERS}, metrics: {enabled: true}}"
    loaded = with_telemetry(bench, block).load()
    assert loaded.secrets.otlp_headers == {"authorization": "Bearer t0ken=", "x-tenant": "a b"}
    assert "t0ken" not in repr(loaded)
    telemetry = build_telemetry(loaded)
    assert isinstance(telemetry.tracing, Tracing)
    assert isinstance(telemetry.metrics, Metrics)
    await telemetry.close()


@pytest.mark.parametrize(
    ("block", "key", "advice"),
    [
        pytest.param(
            "{traces: {otlp_endpoint: 'https://otel.example:4318'}}",
            "broker.telemetry.traces.otlp_endpoint",
            "has no path; it usually ends in /v1/traces",
            id="no-path",
        ),
        pytest.param(
            "{traces: {otlp_endpoint: otel.example}}",
            "broker.telemetry.traces.otlp_endpoint",
            "must be a complete http or https address",
            id="no-address",
        ),
        pytest.param(
            "{traces: {propagate_to: [gogle]}}",
            "broker.telemetry.traces.propagate_to[0]",
            "there is no upstream 'gogle'; did you mean 'google'?",
            id="unknown-upstream",
        ),
        pytest.param(
            "{traces: {sample_ratio: 2}}",
            "broker.telemetry.traces.sample_ratio",
            "must be at most 1.0",
            id="more-than-all",
        ),
        pytest.param(
            "{metrics: {enabled: true, listen: {port: 8700}}}",
            "broker.telemetry.metrics.listen.port",
            "is the public port, and metrics are not for the public; choose another",
            id="public-port",
        ),
    ],
)
def test_what_cannot_be_is_refused(bench: Bench, block: str, key: str, advice: str) -> None:
    """Each with line, key and what to do."""
    assert with_telemetry(bench, block).problems() == (bench.sentence("  telemetry:", key, advice),)


@pytest.mark.parametrize("headers", ["Bearer t0ken", "a=", "=b", "a b=c", "a=b,", "a=b\nc=d", "a=å"])
def test_headers_must_be_headers(bench: Bench, headers: str) -> None:
    """Anything else would be refused by the first export, or end a header and begin another; it is not repeated."""
    bench.environment["OTLP_HEADERS"] = headers
    (problem,) = with_telemetry(bench, "{traces: {headers: env:OTLP_HEADERS}}").problems()
    advice = "what is behind env:OTLP_HEADERS must be name=value, several separated by commas"
    assert problem == bench.sentence("  telemetry:", "broker.telemetry.traces.headers", advice)


def test_headers_in_the_clear_are_a_warning(bench: Bench) -> None:
    """A collector in the same cluster may speak http; whoever listens there reads the headers."""
    bench.environment["OTLP_HEADERS"] = "authorization=t0ken"
    block = "{traces: {otlp_endpoint: 'http://otel.example:4318/v1/traces', headers: env:OTLP_HEADERS}}"
    loaded = with_telemetry(bench, block).load()
    assert any("sends the headers in the clear; use https://" in warning for warning in loaded.warnings)
