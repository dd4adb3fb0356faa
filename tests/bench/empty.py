"""The smallest application on the broker's own server stack: `python -m tests.bench.empty PORT`."""

import asyncio
import sys

import uvicorn

from broker.cli.serve import bind, event_loop


async def empty(scope: dict, receive: object, send: object) -> None:  # type: ignore[type-arg]
    """Answers everything with nothing."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 204, "headers": []})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": b""})  # type: ignore[operator]


def main() -> None:
    config = uvicorn.Config(
        empty, access_log=False, log_config=None, proxy_headers=False, server_header=False, lifespan="off"
    )
    with asyncio.Runner(loop_factory=event_loop()) as runner:
        runner.run(uvicorn.Server(config).serve(sockets=[bind("127.0.0.1", int(sys.argv[1]), "port")]))


main()
