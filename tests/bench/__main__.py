"""
Server CPU per login (pushed or not), SSO re-login, refresh, handoff, login with the handoff that follows it, userinfo and
introspection.

Over real HTTP with a real Redis; writes ``build/bench.json``. The broker is one process pinned to one CPU; only its CPU is
counted. It is started anew several times, since two processes of one version are not alike: which pages of memory they get is
chance. Figures are printed, never asserted: they belong to the machine they were taken on.
"""

import argparse
import asyncio
import json
import platform
from operator import truediv
from pathlib import Path
from statistics import median

import aiohttp

from tests.bench.floor import AT_ONCE, Floor, Ingredients, Scales, Weighed
from tests.bench.measure import Figures, Flow, Measured
from tests.bench.people import Person
from tests.bench.world import World, open_world


async def bench(world: World, rounds: int, runs: int, weighed: Weighed) -> dict[str, Measured]:
    """
    All flows, and beside them their floors, in *rounds* of *runs* each: what the machine does to one it does to all.

    Args:
        weighed: takes up what the floors were measured at.
    """
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
        Scales(world, http, weighed) as scales,
    ):

        async def stranger() -> tuple[Person, Flow]:
            person = Person(world, http)

            async def log_in() -> None:
                person.forget()
                await person.log_in()

            return person, log_in

        async def known() -> tuple[Person, Flow]:
            person = Person(world, http)
            await person.log_in()
            return person, person.log_in_again

        async def staying() -> tuple[Person, Flow]:
            person = Person(world, http)
            token = str((await person.log_in(staying=True))["refresh_token"])

            async def stay() -> None:
                nonlocal token
                token = await person.stay(token)

            return person, stay

        async def travelling() -> tuple[Person, Flow]:
            person = Person(world, http)
            subject = str((await person.log_in())["userinfo"]["sub"])
            return person, lambda: person.hand_over(subject)

        async def visiting() -> tuple[Person, Flow]:
            person = Person(world, http)

            async def visit() -> None:
                person.forget()
                await person.hand_over(str((await person.log_in())["userinfo"]["sub"]))

            return person, visit

        async def pushing() -> tuple[Person, Flow]:
            person = Person(world, http)

            async def log_in() -> None:
                person.forget()
                await person.log_in(pushed=True)

            return person, log_in

        async def asked_about() -> tuple[Person, Flow]:
            person = Person(world, http)
            token = str((await person.log_in())["access_token"])
            return person, lambda: person.userinfo(token)

        async def introspected() -> tuple[Person, Flow]:
            person = Person(world, http)
            token = str((await person.log_in())["access_token"])
            return person, lambda: person.introspect(token)

        begins = {
            "login": stranger,
            "sso": known,
            "refresh": staying,
            "handoff": travelling,
            "visit": visiting,
            "par": pushing,
            "userinfo": asked_about,
            "introspect": introspected,
        }
        flows = {name: Measured(world, begin) for name, begin in begins.items()}
        for flow in flows.values():
            await flow.warm_up()
        for _ in range(rounds):
            await scales.weigh()
            for name, flow in flows.items():
                await scales.walk(name, runs)
                await flow.round(runs)
        return flows


def _row(each: Figures, floor: Floor) -> dict[str, float]:
    """Medians of all rounds; a ratio is that of its round, so that a machine that is slower for a while is slower for both."""
    cpu_ms = median(each.cpu_ms)
    row = {
        "cpu_ms": cpu_ms,
        "floor_ms": median(floor.plain_ms),
        "ratio": median(map(truediv, each.cpu_ms, floor.plain_ms)),
        "short_floor_ms": median(floor.short_ms),
        "short_ratio": median(map(truediv, each.cpu_ms, floor.short_ms)),
        "parts_ms": floor.parts_ms,
        "parts_ratio": cpu_ms / floor.parts_ms,
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
    columns = [
        "cpu ms",
        "floor",
        "ratio",
        "short",
        "ratio",
        "parts",
        "ratio",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "requests",
        "failed",
    ]
    print(f"{'flow':<12}" + "".join(f"{column:>9}" for column in columns))
    for name, row in report.items():
        *figures, p50_ms, p95_ms, p99_ms, failed = row.values()
        print(
            f"{name:<12}"
            + "".join(f"{figure:>9.2f}" for figure in figures)
            + "".join(f"{time:>9.1f}" for time in (p50_ms, p95_ms, p99_ms, found[name].requests))
            + f"{failed:>9.0f}"
        )


def main() -> None:
    """Print the figures and save them."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--worlds", type=int, default=3, help="how often all is started anew (default 3)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds in each; the median of all counts (default 5)")
    parser.add_argument(
        "--runs", type=int, default=80, help=f"runs of each flow in a round, by {AT_ONCE} customers (default 80)"
    )
    parser.add_argument("--out", type=Path, default=Path("build/bench.json"))
    options = parser.parse_args()
    weighed, measured = Weighed(), list[dict[str, Measured]]()
    for _ in range(options.worlds):
        with open_world() as world:
            measured.append(asyncio.run(bench(world, options.rounds, options.runs, weighed)))
    found = {name: Measured.figures([flows[name] for flows in measured]) for name in measured[0]}
    ingredients = weighed.ingredients()
    report = {name: _row(each, weighed.floor(name)) for name, each in found.items()}
    _print(report, found, ingredients)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"flows": report, "ingredients_us": vars(ingredients)}, indent=2) + "\n")
    raise SystemExit(1 if any(each.failed for each in found.values()) else 0)


main()
