"""
Server CPU per brokered login, SSO re-login and handoff, over real HTTP with a real Redis; writes ``build/bench.json``.

The broker is one process pinned to one CPU; only its CPU is counted. Figures are printed, never asserted: they belong to
the machine they were taken on.
"""

import argparse
import asyncio
import json
import platform
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.bench.floor import RECIPES, Ingredients, weigh
from tests.bench.people import Failed, Person
from tests.bench.world import World, open_world

_WARM_UP = 10


@dataclass(frozen=True)
class Figures:
    """``cpu_ms`` of the broker per run; wall-clock percentiles of whole runs; requests the broker served per run."""

    cpu_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    requests: float
    failed: int


async def measure(
    world: World, runs: int, prepare: Callable[[], Awaitable[tuple[Person, Callable[[], Awaitable[object]]]]]
) -> Figures:
    """Run a flow *runs* times, one after the other; what *prepare* does is not counted."""
    cpu: list[float] = []
    wall: list[float] = []
    hops = failed = 0
    for turn in range(runs + _WARM_UP):
        person, flow = await prepare()
        person.hops = 0
        cpu_before, started = world.broker_cpu_s(), time.perf_counter()
        try:
            await flow()
        except Failed as error:
            failed += 1
            print(error, file=sys.stderr)
            continue
        if turn >= _WARM_UP:
            wall.append((time.perf_counter() - started) * 1000)
            cpu.append((world.broker_cpu_s() - cpu_before) * 1000)
            hops += person.hops
    if not wall:
        raise SystemExit("every run failed")
    cuts = statistics.quantiles(wall, n=100, method="inclusive") if len(wall) > 1 else wall * 99
    return Figures(statistics.fmean(cpu), cuts[49], cuts[94], cuts[98], hops / len(wall), failed)


async def bench(world: World, runs: int) -> dict[str, Figures]:
    """All three flows."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:

        async def stranger() -> tuple[Person, Callable[[], Awaitable[object]]]:
            person = Person(world, http)
            return person, person.log_in

        login = await measure(world, runs, stranger)
        known = Person(world, http)
        tokens = await known.log_in()
        subject = str(tokens["userinfo"]["sub"])

        async def again() -> tuple[Person, Callable[[], Awaitable[object]]]:
            return known, known.log_in_again

        async def over() -> tuple[Person, Callable[[], Awaitable[object]]]:
            return known, lambda: known.hand_over(subject)

        refresh_token = str(tokens["refresh_token"])

        async def stay() -> tuple[Person, Callable[[], Awaitable[object]]]:
            async def once() -> None:
                nonlocal refresh_token
                refresh_token = await known.stay(refresh_token)

            return known, once

        sso = await measure(world, runs, again)
        refresh = await measure(world, runs, stay)
        handoff = await measure(world, runs, over)
    return {"login": login, "sso": sso, "refresh": refresh, "handoff": handoff}


def _row(name: str, each: Figures, ingredients: Ingredients) -> dict[str, float]:
    floor_ms = RECIPES[name].floor_ms(ingredients)
    row = {
        "cpu_ms": each.cpu_ms,
        "floor_ms": floor_ms,
        "ratio": each.cpu_ms / floor_ms,
        "p50_ms": each.p50_ms,
        "p95_ms": each.p95_ms,
        "p99_ms": each.p99_ms,
    }
    return {key: round(value, 3) for key, value in row.items()} | {"failed": each.failed}


def _print(report: dict[str, dict[str, float]], found: dict[str, Figures], ingredients: Ingredients) -> None:
    print(f"{platform.processor() or platform.machine()}, {platform.platform()}, Python {platform.python_version()}")
    print("ingredients, microseconds of CPU:")
    for name, value in vars(ingredients).items():
        print(f"  {name.removesuffix('_us').replace('_', ' '):<20}{value:>8.0f}")
    print(
        f"{'flow':<10}{'cpu ms':>9}{'floor':>9}{'ratio':>7}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'requests':>10}{'failed':>8}"
    )
    for name, row in report.items():
        print(
            f"{name:<10}{row['cpu_ms']:>9.2f}{row['floor_ms']:>9.2f}{row['ratio']:>7.2f}{row['p50_ms']:>9.1f}"
            f"{row['p95_ms']:>9.1f}{row['p99_ms']:>9.1f}{found[name].requests:>10.1f}{row['failed']:>8.0f}"
        )


def main() -> None:
    """Print the figures and save them."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=300, help="runs of each flow (default 300)")
    parser.add_argument("--out", type=Path, default=Path("build/bench.json"))
    options = parser.parse_args()
    with open_world() as world:
        found = asyncio.run(bench(world, options.runs))
        ingredients = weigh(world)
    report = {name: _row(name, each, ingredients) for name, each in found.items()}
    _print(report, found, ingredients)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"flows": report, "ingredients_us": vars(ingredients)}, indent=2) + "\n")
    raise SystemExit(1 if any(each.failed for each in found.values()) else 0)


main()
