"""
The floor of a flow, measured in the same run: what its requests cost a server that does only what cannot be left out.

A flow is a row of requests. Each is an empty one with one round trip to the state store, and where the flow has them the call
to a provider, a signature, the check of one. As many customers as in the flow send these requests, in the flow's order, one
after the other, to a process on the event loop and the CPU the broker runs on; the CPU of that process is the floor. So it has
what every server of such a flow has besides the parts themselves: it wakes up as often and finds its caches as cold.

The parts alone are measured as well, each as what it adds to a row of empty requests of one kind. Their sum is lower than the
floor: whatever does nothing but one thing again and again has it all at hand.

There are two servers. The floor has request and round trip as the libraries make them, uvicorn and redis-py: a measure that
stays where it is when the broker gets faster. The *short* floor has them by the broker's own short ways through these libraries
(docs/adr/0020-the-short-way.md).
"""

import asyncio
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final, Self

import aiohttp

from tests.bench.world import World, cpu_s, start, wait

_ROUNDS = 400

AT_ONCE = 8
"""A broker that wakes up for one request at a time works with cold caches, at up to half as much again as a busy one."""


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

    def sum_ms(self, requests: Sequence[str]) -> float:
        """What all parts of *requests* come to."""
        of_part = {
            "state": self.state_us,
            "call": self.call_us,
            "sign": self.es256_sign_us,
            "verify": self.rs256_verify_us,
        }
        own = [path.split("/") for path in requests if path != _AT_PROVIDER]
        return sum(self.request_us + sum(of_part[part] for part in parts) for parts in own) / 1000


@dataclass(frozen=True)
class Floor:
    """Milliseconds of CPU a flow: on either server, round by round, and the sum of its ``parts`` measured alone."""

    plain_ms: Sequence[float]
    short_ms: Sequence[float]
    parts_ms: float


_ASKED: Final = "state"
_CALLED_BACK: Final = "state/call/verify"
_SIGNED: Final = "state/sign"

_AT_PROVIDER: Final = "elsewhere"

_LOGIN: Final = (_ASKED, _AT_PROVIDER, _CALLED_BACK, _SIGNED, _ASKED)
_HANDOFF: Final = (_ASKED, _ASKED, _ASKED, _SIGNED, _ASKED)

RECIPES: Final[Mapping[str, tuple[str, ...]]] = {
    # authorize; the customer is at Google; callback, with Google's token endpoint and ID token; token, with ours; userinfo
    "login": _LOGIN,
    # authorize, token, userinfo
    "sso": (_ASKED, _SIGNED, _ASKED),
    # token
    "refresh": (_SIGNED,),
    # create, open, authorize, token, data
    "handoff": _HANDOFF,
    # a login, and the first handoff of its session
    "visit": _LOGIN + _HANDOFF,
    # as login, and the push before it
    "par": (_ASKED, *_LOGIN),
    "userinfo": (_ASKED,),
    "introspect": (_ASKED,),
}
"""The requests of a flow, each by its parts (`tests.bench.empty`); those that go to somebody else cost the server nothing."""


class Weighed:
    """What was measured in all rounds."""

    def __init__(self) -> None:
        self.parts: list[Ingredients] = []
        self.floors_ms: dict[tuple[str, str], list[float]] = {}

    def ingredients(self) -> Ingredients:
        """The median of each by itself."""
        names = [each.name for each in fields(Ingredients)]
        return Ingredients(*(statistics.median(getattr(each, name) for each in self.parts) for name in names))

    def floor(self, flow: str) -> Floor:
        """Of the flow of that name."""
        plain_ms, short_ms = (self.floors_ms[flow, way] for way in _WAYS)
        return Floor(plain_ms, short_ms, self.ingredients().sum_ms(RECIPES[flow]))


class Scales:
    """
    Two smallest applications beside the broker, one as the libraries make it and a short one, and what they cost.

    Measured again and again between the flows: a machine that is slower for a while is slower for both.
    """

    def __init__(self, world: World, http: aiohttp.ClientSession, weighed: Weighed) -> None:
        self._world = world
        self._http = http
        self._weighed = weighed

    async def __aenter__(self) -> Self:
        provider_port, *ports = self._world.spare_ports
        # On the other CPU, as providers are elsewhere.
        self._provider, server = self._served("plain", provider_port, "", cpu=1)
        self._servers = {way: self._served(way, port, self._provider) for way, port in zip(_WAYS, ports, strict=True)}
        self._processes = [server, *(server for _, server in self._servers.values())]
        for url, each in ((self._provider, server), *self._servers.values()):
            await asyncio.to_thread(wait, url, each)
        await self._ingredients(_WARM_UP)
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
            process.wait(20)

    async def weigh(self) -> None:
        """One round of the parts."""
        self._weighed.parts.append(await self._ingredients(_ROUNDS))

    async def walk(self, flow: str, runs: int) -> None:
        """One round of the flow of that name, *runs* times."""
        for way in _WAYS:
            spent_us = await self._asked(way, RECIPES[flow], runs)
            self._weighed.floors_ms.setdefault((flow, way), []).append(spent_us / 1000)

    def _served(self, way: str, port: int, provider: str, *, cpu: int = 0) -> tuple[str, subprocess.Popen[bytes]]:
        command = [sys.executable, "-m", "tests.bench.empty", way, str(port), self._world.redis_url, provider]
        return f"http://127.0.0.1:{port}/", start(command, dict(os.environ), cpu=cpu)

    async def _ingredients(self, times: int) -> Ingredients:
        request_us = await self._asked("plain", ("",), times)
        short_request_us = await self._asked("short", ("",), times)
        return Ingredients(
            request_us=request_us,
            state_us=await self._asked("plain", ("state",), times) - request_us,
            short_request_us=short_request_us,
            short_state_us=await self._asked("short", ("state",), times) - short_request_us,
            call_us=await self._asked("plain", ("call",), times) - request_us,
            es256_sign_us=await self._asked("plain", ("sign",), times) - request_us,
            rs256_verify_us=await self._asked("plain", ("verify",), times) - request_us,
        )

    async def _asked(self, way: str, paths: Sequence[str], times: int) -> float:
        """
        Microseconds of CPU of the one who answers, for all *paths* once.

        A request has the headers and the body of one to the token endpoint, which has the most of them.
        """
        url, server = self._servers[way]

        async def somebody() -> None:
            for _ in range(times // AT_ONCE):
                for path in paths:
                    where = f"{self._provider}token" if path == _AT_PROVIDER else url + path
                    async with self._http.post(where, data=_FORM, headers=_HEADERS) as answer:
                        await answer.read()
                        answer.raise_for_status()

        before = cpu_s(server.pid)
        await asyncio.gather(*(somebody() for _ in range(AT_ONCE)))
        return (cpu_s(server.pid) - before) / (times // AT_ONCE * AT_ONCE) * 1e6


_WAYS = ("plain", "short")
_WARM_UP = 400
_HEADERS = {"authorization": "Basic " + "b" * 60}
_FORM = {
    "grant_type": "authorization_code",
    "code": "c" * 140,
    "redirect_uri": "http://127.0.0.1:8701/login/callback",
    "code_verifier": "v" * 64,
}
