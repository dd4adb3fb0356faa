"""
The ingredients of a flow, measured in the same run, and the floor they add up to.

An empty request, a round trip to the state store, a call to a provider, a signature, a verification: each is measured by
itself, on the event loop the broker runs on, as CPU of the process that does it, and by as many at once as the flows: what
shares a core with a busy neighbour costs more CPU than what runs alone.

There are two floors. The floor has request and round trip as the libraries make them, uvicorn and redis-py: a measure that
stays where it is when the broker gets faster. The *short* floor has them by the broker's own short ways through these libraries
(docs/adr/0020-the-short-way.md).
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp
import msgspec
import uvloop
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from tests.bench.world import World, cpu_s, start, wait

_ROUNDS = 4000

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
    # as login, and the push before it
    "par": Recipe(requests=5, calls=1, es256_signs=1, rs256_verifies=1),
    "userinfo": Recipe(requests=1),
    "introspect": Recipe(requests=1),
}


def weigh(world: World) -> Ingredients:
    """Measure all ingredients."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        request_us, state_us, _ = runner.run(_requests_us(world, "plain"))
        short_request_us, short_state_us, call_us = runner.run(_requests_us(world, "short"))
    return Ingredients(
        request_us, state_us, short_request_us, short_state_us, call_us, _es256_sign_us(), _rs256_verify_us()
    )


async def _requests_us(world: World, way: str) -> tuple[float, float, float]:
    """
    What serving an empty request costs, what a round trip to the state store adds to it, and what a call to a provider costs
    the caller, the reading of its JSON included.

    The request has the headers and the body of one to the token endpoint, which has the most of them.
    """
    command = [sys.executable, "-m", "tests.bench.empty", way, str(world.spare_port), world.redis_url]
    server = start(command, dict(os.environ), cpu=0)
    url = f"http://127.0.0.1:{world.spare_port}/"
    try:
        wait(url, server)
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:

            async def asked(path: str) -> tuple[float, float]:
                async def once() -> None:
                    async with http.post(url + path, data=_FORM, headers=_HEADERS) as answer:
                        if body := await answer.read():
                            msgspec.json.decode(body)

                await _repeat(once, _WARM_UP)
                before, asking = cpu_s(server.pid), time.process_time()
                await _repeat(once, _ROUNDS)
                return (cpu_s(server.pid) - before) / _ROUNDS * 1e6, (time.process_time() - asking) / _ROUNDS * 1e6

            request_us, _ = await asked("")
            with_state_us, _ = await asked("state")
            _, call_us = await asked("token")
            return request_us, with_state_us - request_us, call_us
    finally:
        _stop(server)


_WARM_UP = 400
_HEADERS = {"authorization": "Basic " + "b" * 60}
_FORM = {
    "grant_type": "authorization_code",
    "code": "c" * 140,
    "redirect_uri": "http://127.0.0.1:8701/login/callback",
    "code_verifier": "v" * 64,
}


async def _repeat(once: Callable[[], Awaitable[None]], times: int) -> None:
    async def some() -> None:
        for _ in range(times // AT_ONCE):
            await once()

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))


def _es256_sign_us() -> float:
    key = ec.generate_private_key(ec.SECP256R1())
    return _timed_us(lambda: key.sign(b"x" * 600, ec.ECDSA(hashes.SHA256())), 1000)


def _rs256_verify_us() -> float:
    key = rsa.generate_private_key(65537, 2048)
    signature = key.sign(b"x" * 600, padding.PKCS1v15(), hashes.SHA256())
    public = key.public_key()
    return _timed_us(lambda: public.verify(signature, b"x" * 600, padding.PKCS1v15(), hashes.SHA256()), 1000)


def _timed_us(once: Callable[[], object], times: int) -> float:
    started = time.process_time()
    for _ in range(times):
        once()
    return (time.process_time() - started) / times * 1e6


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(20)
