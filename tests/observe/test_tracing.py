"""Traces: one per request, with what docs/telemetry.md promises and nothing else."""

import asyncio
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from broker.errors import StoreDown, UpstreamDown
from broker.observe.telemetry import Scope, Telemetry, about
from broker.observe.tracing import Tracing, digest, over_otlp
from broker.stores.memory import MemoryState
from broker.stores.ports import Get, Put
from broker.stores.watched import WatchedState
from broker.wire.http import Fetcher
from tests.observe.conftest import Watched
from tests.stage import Answer, Stage

DOCS = Path(__file__).parents[2] / "docs" / "telemetry.md"
ALLOWED = set(re.findall(r"^\| `((?:http|error|stafett)\.[\w.]+)`", DOCS.read_text("utf-8"), re.MULTILINE))
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE = 0x0AF7651916CD43DD8448EB211C80319C


async def whole_story(stage: Stage) -> Answer:
    """A login at the shop, a handoff with consent, arrival at the garage, its data read and acknowledged."""
    browser = stage.browser()
    at_shop = await stage.shop_login(browser)
    created = await stage.offer(at_shop["claims"]["sub"])
    await browser.follow(await browser.get(created.json["link"]))
    started = await browser.press("share")
    tokens = await stage.garage.exchange(await stage.arrive(browser, started))
    handoff = tokens["claims"]["handoff"]["id"]
    await stage.garage.read(handoff, tokens["access_token"])
    return await stage.garage.acknowledge(handoff, tokens["access_token"], {"result": "booked"})


def attributes(spans: Iterable[ReadableSpan], key: str) -> set[Any]:
    return {span.attributes[key] for span in spans if span.attributes and key in span.attributes}


# A whole story


async def test_every_request_of_the_story_is_a_trace_of_its_own(watched: Watched) -> None:
    """Named by method and template, with the status and the reference that stands in the log."""
    answer = await whole_story(watched.stage)
    names = {span.name for span in watched.requests}
    assert names >= {
        "GET /authorize",
        "GET /j/{journey}",
        "POST /j/{journey}/choose",
        "GET /up/{upstream}/callback",
        "POST /token",
        "POST /handoffs",
        "GET /h/{handle}",
        "POST /j/{journey}/consent",
        "GET /handoffs/{id}",
        "POST /handoffs/{id}/acknowledgement",
    }
    assert {span.kind for span in watched.requests} == {SpanKind.SERVER}
    assert len({span.context.trace_id for span in watched.requests if span.context}) == len(watched.requests)
    last = watched.requests[-1]
    assert last.attributes is not None
    assert last.attributes["http.response.status_code"] == 200
    assert last.attributes["stafett.reference"] == answer.headers["x-reference"]


async def test_calls_to_stores_stand_below_their_request(watched: Watched) -> None:
    """No call without its request; operations by name, those of a batch one by one."""
    await whole_story(watched.stage)
    requests = {span.context.span_id: span for span in watched.requests if span.context}
    calls = [span for span in watched.spans if span.parent is not None]
    assert {span.kind for span in calls} == {SpanKind.CLIENT}
    for call in calls:
        assert call.parent is not None
        assert call.parent.span_id in requests
    callback = next(span for span in watched.requests if span.name == "GET /up/{upstream}/callback")
    assert callback.context is not None
    below = [call.name for call in calls if call.parent and call.parent.span_id == callback.context.span_id]
    assert "state batch" in below
    assert any(name.startswith("records ") for name in below)
    assert ("get", "get") in attributes(calls, "stafett.operations")


async def test_a_span_says_nothing_that_is_not_on_the_list(watched: Watched) -> None:
    """Attributes are an allow-list; there are no events (exceptions with their texts), links, statuses with words."""
    await whole_story(watched.stage)
    upstreams = {"stafett.upstream", "error.type"}  # played providers are not called; see below
    assert {key for span in watched.spans for key in span.attributes or {}} == ALLOWED - upstreams
    for span in watched.spans:
        assert not span.events
        assert not span.links
        assert not span.status.description


async def test_a_journey_can_be_followed_across_its_requests(watched: Watched) -> None:
    """All requests of one journey carry one digest, which is not its id; the answer also that of the grant."""
    browser = watched.stage.browser()
    page = await browser.follow(await browser.get(watched.stage.shop.request()))
    journey = page.url.rpartition("/")[2]
    await watched.stage.shop.exchange(await browser.log_in("bankid", "maja"))
    told = [span for span in watched.requests if (span.attributes or {}).get("stafett.journey")]
    assert attributes(told, "stafett.journey") == {digest("journey", journey)}
    assert {span.name for span in told} == {
        "GET /authorize",
        "GET /j/{journey}",
        "POST /j/{journey}/choose",
        "GET /up/{upstream}/callback",
    }
    with_grant = [span for span in watched.requests if (span.attributes or {}).get("stafett.grant")]
    assert {span.name for span in with_grant} == {"GET /up/{upstream}/callback", "POST /token"}
    assert len(attributes(with_grant, "stafett.grant")) == 1


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_probes_are_not_traced(watched: Watched, path: str) -> None:
    """Every few seconds for ever: nobody would read it."""
    assert (await watched.stage.client.get(path)).status_code == 200
    assert watched.spans == []


async def test_what_is_unknown_has_no_name_of_its_own(watched: Watched) -> None:
    """Strangers choose paths and methods; neither becomes the name of a span."""
    await watched.stage.client.get("/wp-admin/maja@example.com")
    await watched.stage.client.request("MAJA", "/authorize")
    assert [span.name for span in watched.spans] == ["GET unmatched", "_OTHER /authorize"]


# Failures


def watching(**options: Any) -> tuple[Telemetry, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    return Telemetry(tracing=Tracing(SimpleSpanProcessor(exporter), version="test", **options)), exporter


async def asked(telemetry: Telemetry, app: Any, *headers: tuple[bytes, bytes]) -> None:
    """One request to *app*, watched."""
    scope: Scope = {"type": "http", "path": "/x", "method": "GET", "headers": list(headers)}

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(_: Any) -> None:
        return None

    await telemetry.watched(app, quiet=frozenset())(scope, receive, send)


async def test_a_failed_call_is_told_by_its_kind_only() -> None:
    """Words of an error may quote anything; its type cannot."""
    telemetry, exporter = watching()
    state = WatchedState(MemoryState(), telemetry.store("state"))
    await state.close()

    async def app(*_: Any) -> None:
        await state.run(Put("kind:maja", b"Maja", 1), Get("kind:maja"))

    with pytest.raises(StoreDown):
        await asked(telemetry, app)
    call, request = exporter.get_finished_spans()
    for span in (call, request):
        assert span.status.status_code is StatusCode.ERROR
        assert (span.attributes or {})["error.type"] == "StoreDown"
        assert not span.events
    assert "maja" not in f"{call.to_json()}{request.to_json()}".lower()


async def test_a_call_outside_a_request_is_no_trace() -> None:
    """Work beside the requests (audit, probes) would be thousands of traces of one span."""
    telemetry, exporter = watching()
    await WatchedState(MemoryState(), telemetry.store("state")).ping()
    assert exporter.get_finished_spans() == ()


async def test_what_a_request_is_about_stays_in_it() -> None:
    """Two at once do not mix, and outside there is nobody to tell."""
    telemetry, exporter = watching()
    about("journey", "nobody's")

    async def app(scope: Scope, *_: Any) -> None:
        about("journey", scope["method"])
        await asyncio.sleep(0)

    await asyncio.gather(asked(telemetry, app), asked(telemetry, app))
    assert attributes(exporter.get_finished_spans(), "stafett.journey") == {digest("journey", "GET")}


# Trace context, in and out


async def nothing(*_: Any) -> None:
    return None


async def test_a_callers_trace_is_not_taken_up_unasked() -> None:
    """Anybody can send a traceparent: whose trace ours joins, and whether it is kept, is not a stranger's choice."""
    telemetry, exporter = watching()
    await asked(telemetry, nothing, (b"traceparent", PARENT.encode()))
    (span,) = exporter.get_finished_spans()
    assert span.parent is None
    assert span.context is not None
    assert span.context.trace_id != TRACE


async def test_a_callers_trace_is_taken_up_where_config_says_so() -> None:
    """Behind a proxy that makes it; its tracestate, free text, never is."""
    telemetry, exporter = watching(accepts_parent=True)
    await asked(telemetry, nothing, (b"traceparent", PARENT.encode()), (b"tracestate", b"who=maja"))
    (span,) = exporter.get_finished_spans()
    assert span.context is not None
    assert span.context.trace_id == TRACE
    assert len(span.context.trace_state) == 0


@pytest.mark.parametrize("value", [b"", b"00-zz-yy-01", b"\xff\xfe", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01"])
async def test_a_broken_traceparent_is_as_none(value: bytes) -> None:
    """W3C Trace Context section 4.3: start anew."""
    telemetry, exporter = watching(accepts_parent=True)
    await asked(telemetry, nothing, (b"traceparent", value))
    (span,) = exporter.get_finished_spans()
    assert span.parent is None


async def test_nothing_is_kept_of_what_is_not_sampled() -> None:
    """A ratio of 0 keeps none, and makes no spans below."""
    telemetry, exporter = watching(sample_ratio=0.0)
    state = WatchedState(MemoryState(), telemetry.store("state"))

    async def app(*_: Any) -> None:
        await state.ping()

    await asked(telemetry, app)
    assert exporter.get_finished_spans() == ()


@asynccontextmanager
async def serving(app: Starlette) -> AsyncIterator[str]:
    """*app* on a port of this machine."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", ws="none", http="h11"))
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listening.close()


@pytest.mark.parametrize(("upstream", "is_sent"), [("google", True), ("other", False)])
async def test_our_trace_goes_along_only_where_config_says_so(upstream: str, is_sent: bool) -> None:
    """A provider is a third party: it gets our traceparent if the operator wants that, and never our tracestate."""
    seen: list[dict[str, str]] = []

    async def provider(request: Request) -> Response:
        seen.append(dict(request.headers))
        return JSONResponse({})

    telemetry, exporter = watching(propagates_to=["google"])
    fetcher = Fetcher(allow_private_networks=["127.0.0.0/8"])
    async with serving(Starlette(routes=[Route("/keys", provider)])) as origin:
        way_out = fetcher.watched_by(telemetry.upstream(upstream))

        async def app(*_: Any) -> None:
            await way_out.get_json(f"{origin}/keys?secret=maja", operation="keys")

        await asked(telemetry, app)
        await fetcher.close()
    call, _ = exporter.get_finished_spans()
    assert call.context is not None
    assert call.name == f"{upstream} keys"
    assert dict(call.attributes or {}) == {
        "stafett.upstream": upstream,
        "stafett.operation": "keys",
        "http.response.status_code": 200,
    }
    ids = f"00-{call.context.trace_id:032x}-{call.context.span_id:016x}" if is_sent else ""
    assert seen[0].get("traceparent", "").rpartition("-")[0] == ids
    assert not {"tracestate", "baggage"} & set(seen[0])


async def test_a_provider_that_is_away_is_told_by_kind() -> None:
    """No address, no port: the connector's id is enough."""
    telemetry, exporter = watching()
    way_out = Fetcher(allow_private_networks=["127.0.0.0/8"]).watched_by(telemetry.upstream("google"))

    async def app(*_: Any) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        await way_out.get_json(f"http://127.0.0.1:{port}/", operation="token")

    with pytest.raises(UpstreamDown):
        await asked(telemetry, app)
    await way_out.close()
    call, _ = exporter.get_finished_spans()
    assert (call.attributes or {})["error.type"] == "UpstreamDown"
    assert "127.0.0.1" not in call.to_json()


# On the wire


async def test_spans_arrive_at_a_collector() -> None:
    """OTLP over HTTP, protobuf, with the operator's headers; closing sends what waits."""
    exports: list[tuple[dict[str, str], bytes]] = []

    async def collect(request: Request) -> Response:
        exports.append((dict(request.headers), await request.body()))
        return Response(b"", media_type="application/x-protobuf")

    async with serving(Starlette(routes=[Route("/v1/traces", collect, methods=["POST"])])) as origin:
        processor = over_otlp(f"{origin}/v1/traces", {"x-tenant": "stafett-test"})
        telemetry = Telemetry(tracing=Tracing(processor, version="1.2.3"))
        await asked(telemetry, nothing)
        await telemetry.close()
    ((headers, body),) = exports
    assert headers["x-tenant"] == "stafett-test"
    assert headers["content-type"] == "application/x-protobuf"
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    told = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert (told["service.name"], told["service.version"]) == ("stafett", "1.2.3")
    (span,) = resource.scope_spans[0].spans
    assert span.name == "GET unmatched"


async def test_a_collector_that_refuses_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """Requests are answered, and closing ends."""

    async def refuse(_: Request) -> Response:
        return PlainTextResponse("no", status_code=400)

    async with serving(Starlette(routes=[Route("/v1/traces", refuse, methods=["POST"])])) as origin:
        telemetry = Telemetry(tracing=Tracing(over_otlp(f"{origin}/v1/traces", {}), version="test"))
        await asked(telemetry, nothing)
        await telemetry.close()
    assert "400" in caplog.text


# Switched off


def test_without_telemetry_nothing_of_it_is_loaded(stage_folder: Path) -> None:
    """Neither library is imported, no thread runs, no socket is open: what is off costs nothing."""
    program = """
import asyncio, sys
from pathlib import Path
from tests.stage import open_stage

async def main():
    async with open_stage(Path(sys.argv[1])) as stage:
        assert (await stage.client.get("/authorize")).status_code == 400
        assert stage.broker.metrics is None
        loaded = [name for name in sys.modules if name.startswith(("opentelemetry", "prometheus_client", "google.protobuf"))]
        assert not loaded, loaded

asyncio.run(main())
"""
    run = subprocess.run(
        [sys.executable, "-c", program, str(stage_folder)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
