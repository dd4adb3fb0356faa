"""
The ingredients of a flow, measured in the same run, and the floor they add up to.

An empty request, a round trip to the state store, a call to a provider, a signature, a verification: each is measured as what
it adds to a request, on the event loop and the CPU the broker runs on, as CPU of the process that does it, and by as many at
once as the flows: what shares a core with a busy neighbour costs more CPU than what runs alone.

There are two floors. The floor has request and round trip as the libraries make them, uvicorn and redis-py: a measure that
stays where it is when the broker gets faster. The *short* floor has them by the broker's own short ways through these libraries
(docs/adr/0020-the-short-way.md).
"""

import asyncio
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass, fields
from typing import Self

import aiohttp

from tests.bench.world import World, cpu_s, start, wait

_ROUNDS = 400

AT_ONCE = 8
"""A broker that wakes up for one request at a time works with cold caches, at up to twice the cost of a busy one."""


@dataclass(frozen=True)
class Ingredients:
    """Microseconds of CPU each."""

    request_us: float
    state_us: float
    short_request_us: float
    short_state_us: float
    call_us: float
    es256_sign_us: float
    rs256_verify_us: float


@dataclass(frozen=True)
class Recipe:
    """How often a flow needs each: ``requests`` (each with one state round trip), outgoing ``calls``, signatures, checks."""

    requests: int
    calls: int = 0
    es256_signs: int = 0
    rs256_verifies: int = 0

    def floor_ms(self, of: Ingredients) -> float:
        return self._ms(of, of.request_us + of.state_us)

    def short_floor_ms(self, of: Ingredients) -> float:
        return self._ms(of, of.short_request_us + of.short_state_us)

    def _ms(self, of: Ingredients, hop_us: float) -> float:
        return (
            self.requests * hop_us
            + self.calls * of.call_us
            + self.es256_signs * of.es256_sign_us
            + self.rs256_verifies * of.rs256_verify_us
        ) / 1000


RECIPES = {
    # authorize, callback, token, userinfo; Google's token endpoint; the ID token; Google's ID token
    "login": Recipe(requests=4, calls=1, es256_signs=1, rs256_verifies=1),
    # authorize, token, userinfo
    "sso": Recipe(requests=3, es256_signs=1),
    # token
    "refresh": Recipe(requests=1, es256_signs=1),
    # create, open, authorize, token, data
    "handoff": Recipe(requests=5, es256_signs=1),
    # a login, and the first handoff of its session
    "visit": Recipe(requests=9, calls=1, es256_signs=2, rs256_verifies=1),
    # as login, and the push before it
    "par": Recipe(requests=5, calls=1, es256_signs=1, rs256_verifies=1),
    "userinfo": Recipe(requests=1),
    "introspect": Recipe(requests=1),
}


class Scales:
    """
    Two smallest applications beside the broker, one as the libraries make it and a short one, and what they cost.

    Measured again and again between the flows: a machine that is slower for a while is slower for both.
    """

    def __init__(self, world: World, http: aiohttp.ClientSession) -> None:
        self._world = world
        self._http = http
        self._weighed: list[Ingredients] = []

    async def __aenter__(self) -> Self:
        provider_port, *ports = self._world.spare_ports
        # On the other CPU, as providers are elsewhere.
        provider, server = self._served("plain", provider_port, "", cpu=1)
        self._servers = {way: self._served(way, port, provider) for way, port in zip(_WAYS, ports, strict=True)}
        self._processes = [server, *(server for _, server in self._servers.values())]
        for url, each in ((provider, server), *self._servers.values()):
            await asyncio.to_thread(wait, url, each)
        await self._weigh(_WARM_UP)
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
            process.wait(20)

    async def weigh(self) -> None:
        """One round."""
        self._weighed.append(await self._weigh(_ROUNDS))

    def ingredients(self) -> Ingredients:
        """The median of all rounds, each by itself."""
        names = [each.name for each in fields(Ingredients)]
        return Ingredients(*(statistics.median(getattr(each, name) for each in self._weighed) for name in names))

    def _served(self, way: str, port: int, provider: str, *, cpu: int = 0) -> tuple[str, subprocess.Popen[bytes]]:
        command = [sys.executable, "-m", "tests.bench.empty", way, str(port), self._world.redis_url, provider]
        return f"http://127.0.0.1:{port}/", start(command, dict(os.environ), cpu=cpu)

    async def _weigh(self, times: int) -> Ingredients:
        request_us = await self._asked("plain", "", times)
        short_request_us = await self._asked("short", "", times)
        return Ingredients(
            request_us=request_us,
            state_us=await self._asked("plain", "state", times) - request_us,
            short_request_us=short_request_us,
            short_state_us=await self._asked("short", "state", times) - short_request_us,
            call_us=await self._asked("plain", "call", times) - request_us,
            es256_sign_us=await self._asked("plain", "sign", times) - request_us,
            rs256_verify_us=await self._asked("plain", "verify", times) - request_us,
        )

    async def _asked(self, way: str, path: str, times: int) -> float:
        """
        Microseconds of CPU of the one who answers.

        The request has the headers and the body of one to the token endpoint, which has the most of them.
        """
        url, server = self._servers[way]

        async def some() -> None:
            for _ in range(times // AT_ONCE):
                async with self._http.post(url + path, data=_FORM, headers=_HEADERS) as answer:
                    await answer.read()

        before = cpu_s(server.pid)
        await asyncio.gather(*(some() for _ in range(AT_ONCE)))
        return (cpu_s(server.pid) - before) / times * 1e6


_WAYS = ("plain", "short")
_WARM_UP = 400
_HEADERS = {"authorization": "Basic " + "b" * 60}
_FORM = {
    "grant_type": "authorization_code",
    "code": "c" * 140,
    "redirect_uri": "http://127.0.0.1:8701/login/callback",
    "code_verifier": "v" * 64,
}
