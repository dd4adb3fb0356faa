"""Running a flow many times, by customers side by side, and what it cost the broker."""

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from tests.bench.floor import AT_ONCE
from tests.bench.people import Failed, Person
from tests.bench.world import World

_WARM_UP = 10


@dataclass(frozen=True)
class Figures:
    """
    ``cpu_ms`` of the broker per run, round by round; wall-clock percentiles of whole runs; ``requests`` the broker served a run.
    """

    cpu_ms: Sequence[float]
    p50_ms: float
    p95_ms: float
    p99_ms: float
    requests: float
    failed: int


Flow = Callable[[], Awaitable[object]]


class Measured:
    """
    A flow, by `AT_ONCE` customers side by side, in rounds between which others have their turn.

    *begin* gives each of them her browser and her flow; what it does is not counted, nor are the first runs.
    """

    def __init__(self, world: World, begin: Callable[[], Awaitable[tuple[Person, Flow]]]) -> None:
        self._world = world
        self._begin = begin
        self._everybody: list[tuple[Person, Flow]] = []
        self._cpu_ms: list[float] = []
        self._took: list[float | None] = []

    async def warm_up(self) -> None:
        """Let everybody begin."""
        self._everybody = [await self._begin() for _ in range(AT_ONCE)]
        for person, flow in self._everybody:
            await _repeated(_WARM_UP, flow)
            person.hops = 0

    async def round(self, runs: int) -> None:
        """*runs* of the flow, shared by all customers."""
        before = self._world.broker_cpu_s()
        outcomes = await asyncio.gather(*(_repeated(runs // AT_ONCE, flow) for _, flow in self._everybody))
        spent_ms = (self._world.broker_cpu_s() - before) * 1000
        took = [each for told in outcomes for each in told]
        self._took += took
        if done := sum(each is not None for each in took):
            self._cpu_ms.append(spent_ms / done)

    @staticmethod
    def figures(flows: Sequence["Measured"]) -> Figures:
        """Of one flow, in several worlds or one."""
        took = [each for flow in flows for each in flow._took]
        wall = [each for each in took if each is not None]
        if len(wall) < 2:
            raise SystemExit("every run failed")
        cpu_ms = [each for flow in flows for each in flow._cpu_ms]
        cuts = statistics.quantiles(wall, n=100, method="inclusive")
        hops = sum(person.hops for flow in flows for person, _ in flow._everybody) / len(took)
        return Figures(cpu_ms, cuts[49], cuts[94], cuts[98], hops, len(took) - len(wall))


async def measure(world: World, runs: int, begin: Callable[[], Awaitable[tuple[Person, Flow]]]) -> Figures:
    """One flow in one round."""
    flow = Measured(world, begin)
    await flow.warm_up()
    await flow.round(runs)
    return Measured.figures([flow])


async def _repeated(times: int, flow: Flow) -> list[float | None]:
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
