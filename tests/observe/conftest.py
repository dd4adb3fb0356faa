"""A staged broker that is watched: spans kept in memory, figures as text."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest_asyncio
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from broker.observe.metrics import Metrics
from broker.observe.telemetry import Telemetry
from broker.observe.tracing import Tracing
from tests.stage import Stage, open_stage

SAMPLE = re.compile(r"^(?P<name>stafett_\w+)(?:\{(?P<labels>[^}]*)\})? (?P<value>\S+)$", re.MULTILINE)


@dataclass
class Watched:
    """The stage, and what was seen of it."""

    stage: Stage
    exporter: InMemorySpanExporter
    metrics: Metrics

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    @property
    def requests(self) -> list[ReadableSpan]:
        return [span for span in self.spans if span.parent is None]

    @property
    def text(self) -> str:
        return self.metrics.render()[0].decode()

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples of that name that have these labels."""
        wanted = {f'{label}="{value}"' for label, value in labels.items()}
        return sum(
            float(found["value"])
            for found in SAMPLE.finditer(self.text)
            if found["name"] == f"stafett_{name}" and wanted <= set((found["labels"] or "").split(","))
        )


def watchers() -> tuple[Telemetry, InMemorySpanExporter, Metrics]:
    """Both kinds, for the shipped example."""
    exporter = InMemorySpanExporter()
    tracing = Tracing(SimpleSpanProcessor(exporter), version="test", propagates_to=["google"])
    metrics = Metrics(upstreams=["bankid", "google"], partners=["tyre-shop", "garage"])
    return Telemetry(tracing=tracing, metrics=metrics), exporter, metrics


@pytest_asyncio.fixture
async def watched(stage_folder: Path) -> AsyncIterator[Watched]:
    """A watched broker on the shipped example, with played providers."""
    telemetry, exporter, metrics = watchers()
    async with open_stage(stage_folder, telemetry=telemetry) as opened:
        yield Watched(opened, exporter, metrics)
