"""
The smallest application: `python -m tests.bench.empty plain|short PORT REDIS_URL`.

``plain``: on the libraries as they come, uvicorn and redis-py's client. ``short``: by the broker's own short ways through them
(docs/adr/0020-the-short-way.md), its server settings and protocol class, its store.

``/`` answers with nothing; ``/state`` does after one round trip to the state store, which brings what a session weighs;
``/token`` answers as a provider's token endpoint does.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import redis.asyncio
import uvicorn

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


def main() -> None:
    """Serve until told to stop."""
    way, port, url = sys.argv[1:]
    if way == "plain":
        client = redis.asyncio.from_url(url)
        _serve(port, url, lambda: client.get("stafett:bench:session"), _plain)
    else:
        state = RedisState(url)
        _serve(port, url, lambda: state.run(Get("bench:session")), lambda app: settings(app, lifespan="off"))


def _plain(app: Any) -> uvicorn.Config:
    return uvicorn.Config(app, access_log=False, log_config=None, lifespan="off")


def _serve(
    port: str, url: str, ask: Callable[[], Awaitable[object]], settings_of: Callable[[Any], uvicorn.Config]
) -> None:
    async def empty(scope: Any, receive: Any, send: Any) -> None:
        status, headers, body = 204, [], b""
        if scope["path"] == "/state":
            await ask()
        elif scope["path"] == "/token":
            length = str(len(_TOKENS)).encode()
            status, headers, body = 200, [(b"content-type", b"application/json"), (b"content-length", length)], _TOKENS
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def serve() -> None:
        store = RedisState(url)
        await store.run(Put("bench:session", _SEALED, 3600))
        await store.close()
        settle()
        server = uvicorn.Server(settings_of(empty))
        await server.serve(sockets=[bind("127.0.0.1", int(port), "port")])

    with asyncio.Runner(loop_factory=event_loop()) as runner:
        runner.run(serve())


main()
