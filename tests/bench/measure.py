"""Running a flow many times, by customers side by side, and what it cost the broker."""

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.bench.floor import AT_ONCE
from tests.bench.people import Failed, Person
from tests.bench.world import World

_WARM_UP = 10


@dataclass(frozen=True)
class Figures:
    """``cpu_ms`` of the broker per run; wall-clock percentiles of whole runs; ``requests`` the broker served per run."""

    cpu_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    requests: float
    failed: int


Flow = Callable[[], Awaitable[object]]


async def measure(world: World, runs: int, begin: Callable[[], Awaitable[tuple[Person, Flow]]]) -> Figures:
    """
    Run a flow *runs* times, by `AT_ONCE` customers side by side.

    *begin* gives each of them her browser and her flow; what it does is not counted, nor are the first rounds.
    """
    everybody = [await begin() for _ in range(AT_ONCE)]
    for _, flow in everybody:
        await _rounds(_WARM_UP, flow)
    for person, _ in everybody:
        person.hops = 0
    cpu_before = world.broker_cpu_s()
    each = runs // AT_ONCE
    outcomes = [took for told in await asyncio.gather(*(_rounds(each, flow) for _, flow in everybody)) for took in told]
    cpu_ms = (world.broker_cpu_s() - cpu_before) * 1000
    wall = [took for took in outcomes if took is not None]
    if len(wall) < 2:
        raise SystemExit("every run failed")
    cuts = statistics.quantiles(wall, n=100, method="inclusive")
    hops = sum(person.hops for person, _ in everybody)
    return Figures(cpu_ms / len(wall), cuts[49], cuts[94], cuts[98], hops / len(outcomes), len(outcomes) - len(wall))


async def _rounds(times: int, flow: Flow) -> list[float | None]:
    """How long each run took in milliseconds, None for one that failed."""
    took: list[float | None] = []
    for _ in range(times):
        started = time.perf_counter()
        try:
            await flow()
        except Failed as error:
            print(error, file=sys.stderr)
            took.append(None)
            continue
        took.append((time.perf_counter() - started) * 1000)
    return took
