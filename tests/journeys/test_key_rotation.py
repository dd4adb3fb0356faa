"""
Keys are renewed while customers log in: two real processes, real HTTP, times cut down to seconds (docs/keys.md).

The partners here are stricter than libraries are: they keep the key set as long as it says, and never fetch it early because
they meet an unknown kid. Whoever verifies what they verify has nothing to refuse.
"""

import asyncio
import base64
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, fields
from itertools import cycle
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from broker.config.render import Ports, example_text, render_example
from tests import servers
from tests.bench.people import Person
from tests.bench.world import World, wait
from tests.stage import WAYS_IN, with_one_eid

MAX_AGE_S, ID_TOKEN_S = 1, 1
KEYS = f"  keys: {{jwks_max_age: {MAX_AGE_S}s, spread: 2s}}\n"
"""Published 3 seconds before signing, and kept 8 seconds after."""

LIFETIMES = "  lifetimes:\n    id_token: 1s\n    access_token: 4s\n    handoff_token: 1s\n"
PATIENCE_S = 60.0


class Balancer(AbstractResolver):
    """Every new connection to the issuer goes to the next process, as behind an ingress; other addresses are as they are."""

    def __init__(self, issuer_port: int, ports: tuple[int, ...]) -> None:
        self._issuer_port = issuer_port
        self._next = cycle(ports)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        where = next(self._next) if port == self._issuer_port else port
        return [ResolveResult(hostname=host, host="127.0.0.1", port=where, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        pass


@dataclass
class Running:
    """Two processes of one broker, and what commands are run with."""

    world: World
    resolver: Balancer
    config: Path
    environment: dict[str, str]

    @asynccontextmanager
    async def http(self) -> AsyncIterator[aiohttp.ClientSession]:
        connector = aiohttp.TCPConnector(resolver=self.resolver, use_dns_cache=False, force_close=True)
        async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as http:
            yield http

    async def stafett(self, *words: str) -> str:
        """The program, run as an operator does."""
        command = [sys.executable, "-m", "broker", *words, "--config", str(self.config)]
        process = await asyncio.create_subprocess_exec(
            *command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return out.decode()


@contextmanager
def processes(folder: Path, redis_url: str) -> Iterator[Running]:
    """Started, given and stopped."""
    ports, other = Ports(*(servers.free_port() for _ in fields(Ports))), servers.free_port()
    text = render_example(example_text(), ports, data_dir=folder / "data")
    text = with_one_eid(text).replace(WAYS_IN, "upstreams: [google]")
    given = '  state: {url: "env:REDIS_URL"}\n  trusted_proxies: ["127.0.0.0/8"]\n'
    text = text.replace("  data_dir:", f"{given}{KEYS}  data_dir:", 1).replace("  lifetimes:\n", LIFETIMES, 1)
    (folder / "one.yaml").write_text(text, "utf-8")
    (folder / "two.yaml").write_text(text.replace(f"port: {ports.broker}", f"port: {other}", 1), "utf-8")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STAFETT_")}
    environment = {**clean, "REDIS_URL": redis_url, "STAFETT_LOG_LEVEL": "warning"}
    google = [sys.executable, "-m", "tests.bench.google", str(ports.google), str(ports.broker)]
    one = [sys.executable, "-m", "broker", "serve", "--config", str(folder / "one.yaml")]
    two = [sys.executable, "-m", "broker", "serve", "--config", str(folder / "two.yaml")]
    # The schema first: two processes that meet an empty database are no part of this.
    subprocess.run([*one[:3], "migrate", *one[4:]], env=environment, check=True, stdout=subprocess.DEVNULL)
    running = [subprocess.Popen(command, env=environment) for command in (google, one, two)]
    try:
        addresses = [
            f"http://127.0.0.1:{ports.google}/",
            *(f"http://127.0.0.1:{port}/healthz" for port in (ports.broker, other)),
        ]
        for process, address in zip(running, addresses, strict=True):
            wait(address, process)
        local = [f"http://127.0.0.1:{port}" for port in (ports.google, ports.shop, ports.garage)]
        world = World(f"http://localhost:{ports.broker}", *local, running[1].pid, redis_url, other)
        yield Running(world, Balancer(ports.broker, (ports.broker, other)), folder / "one.yaml", environment)
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(30)


@dataclass
class Shop:
    """A partner's verification: the key set, kept as long as it says, and what did not verify."""

    running: Running
    http: aiohttp.ClientSession
    keys: KeySet | None = None
    fetched: float = 0.0
    signed_by: list[str] = field(default_factory=list)
    published: set[str] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)
    verified: int = 0

    async def verify(self, token: str) -> None:
        """Signature and kid, with the key set of the moment."""
        kid = json.loads(_decoded(token.split(".")[0]))["kid"]
        if kid not in self.signed_by:
            self.signed_by.append(kid)
        try:
            jwt.decode(token, await self._keys(), algorithms=["ES256"])
        except (JoseError, ValueError) as error:
            self.failures.append(f"{kid}: {error}")
        self.verified += 1

    async def _keys(self) -> KeySet:
        if self.keys is None or time.monotonic() - self.fetched >= MAX_AGE_S:
            asked = time.monotonic()
            async with self.http.get(f"{self.running.world.issuer}/jwks") as answer:
                assert answer.headers["cache-control"] == f"public, max-age={MAX_AGE_S}"
                content: dict[str, Any] = await answer.json(content_type=None)
            kids = [key["kid"] for key in content["keys"]]
            assert len({*kids}) == len(kids)
            assert not any({"d", "p", "q", "k"} & key.keys() for key in content["keys"])
            self.keys, self.fetched, self.published = KeySet.import_key_set(content), asked, {*kids}  # type: ignore[arg-type]
        return self.keys


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


async def customer(shop: Shop, person: Person, over: asyncio.Event) -> None:
    """Logs in again and again; every ID token is verified at once, and the one before once more at the end of its life."""
    previous: tuple[float, str] | None = None
    while not over.is_set():
        token = str((await person.log_in_again())["id_token"])
        await shop.verify(token)
        if previous is None:
            previous = (time.monotonic(), token)
        elif time.monotonic() - previous[0] >= ID_TOKEN_S * 0.8:
            await shop.verify(previous[1])
            previous = None
        with suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), 0.05)


async def until(true: Callable[[], bool], load: Sequence["asyncio.Task[None]"]) -> None:
    """Wait for it, as long as everybody can still log in."""
    deadline = time.monotonic() + PATIENCE_S
    while not true() and not any(task.done() for task in load):
        assert time.monotonic() < deadline
        await asyncio.wait(load, timeout=0.1)


async def test_a_whole_cycle_under_load_fails_no_verification(stage_folder: Path, redis_url: str) -> None:
    """From the order to renew a key until the old one is gone: every token of every moment verifies everywhere."""
    with processes(stage_folder, redis_url) as running:
        async with running.http() as http:
            over = asyncio.Event()
            shops = [Shop(running, http) for _ in range(3)]
            people = [Person(running.world, http) for _ in shops]
            for person in people:
                await person.log_in()
            load = [asyncio.create_task(customer(*pair, over)) for pair in zip(shops, people, strict=True)]
            try:
                await until(lambda: all(shop.signed_by for shop in shops), load)
                first = shops[0].signed_by[0]
                told = await running.stafett("keys", "rotate", "--alg", "ES256")
                assert re.fullmatch(r"[\w-]{43} signs ES256 from \S+Z\n", told)
                await until(lambda: all(len(shop.signed_by) == 2 for shop in shops), load)
                await until(lambda: all(first not in shop.published for shop in shops), load)
            finally:
                over.set()
                await asyncio.gather(*load)
            assert [failure for shop in shops for failure in shop.failures] == []
            assert sum(shop.verified for shop in shops) > 30
            assert {shop.signed_by[1] for shop in shops} == {told.split()[0]}
