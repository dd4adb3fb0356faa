"""
The smallest application on the broker's own server, with its settings: `python -m tests.bench.empty PORT REDIS_URL`.

``/`` answers with nothing; ``/state`` does after one round trip to the state store, which brings what a session weighs;
``/token`` answers as a provider's token endpoint does.
"""

import asyncio
import json
import sys
from typing import Any

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
    state = RedisState(sys.argv[2])

    async def empty(scope: Any, receive: Any, send: Any) -> None:
        status, headers, body = 204, [], b""
        if scope["path"] == "/state":
            await state.run(Get("bench:session"))
        elif scope["path"] == "/token":
            length = str(len(_TOKENS)).encode()
            status, headers, body = 200, [(b"content-type", b"application/json"), (b"content-length", length)], _TOKENS
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def serve() -> None:
        await state.run(Put("bench:session", _SEALED, 3600))
        settle()
        server = uvicorn.Server(settings(empty, lifespan="off"))
        await server.serve(sockets=[bind("127.0.0.1", int(sys.argv[1]), "port")])

    with asyncio.Runner(loop_factory=event_loop()) as runner:
        runner.run(serve())


main()
