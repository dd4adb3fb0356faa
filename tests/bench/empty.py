"""
The smallest application on the broker's own server stack: `python -m tests.bench.empty PORT REDIS_URL`.

``/`` answers with nothing; ``/state`` does after one round trip to the state store.
"""

import asyncio
import sys
from typing import Any

import uvicorn

from broker.cli.serve import bind, event_loop
from broker.stores.ports import Get
from broker.stores.redis import RedisState


def main() -> None:
    """Serve until told to stop."""
    state = RedisState(sys.argv[2])

    async def empty(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/state":
            await state.run(Get("bench:nothing"))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    config = uvicorn.Config(
        empty, access_log=False, log_config=None, proxy_headers=False, server_header=False, lifespan="off"
    )
    with asyncio.Runner(loop_factory=event_loop()) as runner:
        runner.run(uvicorn.Server(config).serve(sockets=[bind("127.0.0.1", int(sys.argv[1]), "port")]))


main()
