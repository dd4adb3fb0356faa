"""
The smallest application: `python -m tests.bench.empty plain|short PORT REDIS_URL PROVIDER_URL`.

``plain``: on the libraries as they come, uvicorn and redis-py's client. ``short``: by the broker's own short ways through them
(docs/adr/0020-the-short-way.md), its server settings and protocol class, its store.

``/`` answers with nothing, and so does every other path, after what its segments say, in their order: ``state``, a round trip to
the state store, which brings what a session weighs; ``call``, a call to the provider's token endpoint; ``sign``, an ES256
signature; ``verify``, the check of an RS256 signature. ``/token`` answers as a provider's token endpoint does.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import msgspec
import redis.asyncio
import uvicorn
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from broker.cli.serve import bind, event_loop, settings, settle
from broker.stores.ports import Get, Put
from broker.stores.redis import RedisState

_SEALED = bytes(700)
"""Sessions, grants and journeys as they are stored weigh 600 to 900."""

_TOKENS = json.dumps(
    {
        "access_token": "a" * 200,
        "expires_in": 3599,
        "scope": "openid email profile",
        "token_type": "Bearer",
        "id_token": "i" * 900,
    }
).encode()


_FORM = {
    "grant_type": "authorization_code",
    "code": "c" * 140,
    "redirect_uri": "http://127.0.0.1:8700/up/google/callback",
    "code_verifier": "v" * 64,
}
_HEADERS = {"authorization": "Basic " + "b" * 60}

_EC = ec.generate_private_key(ec.SECP256R1())
_RSA = rsa.generate_private_key(65537, 2048)
_PUBLIC = _RSA.public_key()
_TEXT = b"x" * 600
_SIGNATURE = _RSA.sign(_TEXT, padding.PKCS1v15(), hashes.SHA256())

Part = Callable[[], Awaitable[object]]


def main() -> None:
    """Serve until told to stop."""
    way, port, url, provider = sys.argv[1:]
    with asyncio.Runner(loop_factory=event_loop()) as runner:
        runner.run(_served(way, int(port), url, provider))


async def _served(way: str, port: int, url: str, provider: str) -> None:
    state = RedisState(url)
    await state.run(Put("bench:session", _SEALED, 3600))
    async with redis.asyncio.from_url(url) as client, aiohttp.ClientSession() as http:

        async def ask_by_library() -> None:
            await client.get("stafett:bench:session")

        async def ask() -> None:
            await state.run(Get("bench:session"))

        async def call() -> None:
            async with http.post(provider + "token", data=_FORM, headers=_HEADERS) as answer:
                msgspec.json.decode(await answer.read())

        parts: dict[str, Part] = {
            "state": ask_by_library if way == "plain" else ask,
            "call": call,
            "sign": _sign,
            "verify": _verify,
        }
        app = _empty(parts)
        settle()
        server = uvicorn.Server(
            uvicorn.Config(app, access_log=False, log_config=None, lifespan="off")
            if way == "plain"
            else settings(app, lifespan="off")
        )
        await server.serve(sockets=[bind("127.0.0.1", port, "port")])
    await state.close()


def _empty(parts: dict[str, Part]) -> Callable[[Any, Any, Any], Awaitable[None]]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        status, headers, body = 204, [], b""
        if path == "/token":
            length = str(len(_TOKENS)).encode()
            status, headers, body = 200, [(b"content-type", b"application/json"), (b"content-length", length)], _TOKENS
        elif path != "/":
            for part in path[1:].split("/"):
                await parts[part]()
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


async def _sign() -> None:
    _EC.sign(_TEXT, ec.ECDSA(hashes.SHA256()))


async def _verify() -> None:
    _PUBLIC.verify(_SIGNATURE, _TEXT, padding.PKCS1v15(), hashes.SHA256())


main()
