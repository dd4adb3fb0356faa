"""``stafett serve``."""

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import uvicorn

from broker.app import Broker, build
from broker.cli.opening import check_state, open_records, open_state, read
from broker.config.load import Loaded
from broker.errors import ConfigError
from broker.observe.logging import log

_BACKLOG = 2048

_COLLECT_AFTER = 20_000
"""Objects: those of some dozens of requests. Hardly any is part of a cycle; the others go at once."""

MAX_HEAD = 64 * 1024
"""What a request may send besides its body: request line, headers, trailers, chunk sizes."""


def run(config: Path | None) -> None:
    """Serve until told to stop."""
    loaded, _ = read(config)
    with asyncio.Runner(loop_factory=event_loop()) as runner:
        runner.run(_serve(loaded))


def event_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed (uvicorn's ``standard`` extra, not on Windows), asyncio's own otherwise."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(loaded: Loaded) -> None:
    listen = loaded.policy.broker.listen
    with contextlib.closing(bind(listen.host, listen.port, "broker.listen.port")) as listening:
        state, kind, stop = open_state(loaded)
        try:
            await check_state(state)
            async with open_records(loaded) as records:
                broker = build(loaded, state=state, records=records)
                settle()
                async with metrics_served(broker, loaded):
                    log("serving", issuer=loaded.policy.issuer, config_version=loaded.policy.version, state=kind)
                    await server(broker).serve(sockets=[listening])
        finally:
            await state.close()
            stop()


def settle() -> None:
    """
    What the process is made of stays until it ends: the garbage collector need not look through it again and again, which
    would cost a quarter of the CPU of a login. Nor need it look after every few requests.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 20)


@contextlib.asynccontextmanager
async def metrics_served(broker: Broker, loaded: Loaded) -> AsyncIterator[None]:
    """
    The metrics on their own address as long as the block runs; nothing when there are none.

    Raises: ConfigError when the address cannot be used.
    """
    if broker.metrics is None:
        yield
        return
    listen = loaded.policy.broker.telemetry.metrics.listen
    config = uvicorn.Config(
        broker.metrics, access_log=False, log_config=None, proxy_headers=False, server_header=False, lifespan="off"
    )
    beside = _Beside(config)
    with contextlib.closing(bind(listen.host, listen.port, "broker.telemetry.metrics.listen.port")) as listening:
        task = asyncio.create_task(beside.serve(sockets=[listening]), name="metrics")
        try:
            yield
        finally:
            beside.should_exit = True
            await task


class _Beside(uvicorn.Server):
    """uvicorn beside another one, whose business the signals are."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None are captured."""
        yield


def server(broker: Broker) -> uvicorn.Server:
    """uvicorn for *broker*."""
    return uvicorn.Server(settings(broker.app, lifespan="on"))


def settings(app: Callable[..., Any], *, lifespan: Literal["on", "off"]) -> uvicorn.Config:
    """uvicorn as the broker wants it: our own log line and proxy handling, no server header."""
    return uvicorn.Config(
        app,
        access_log=False,
        log_config=None,
        http=http_protocol(),
        proxy_headers=False,
        server_header=False,
        lifespan=lifespan,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=10,
        h11_max_incomplete_event_size=MAX_HEAD,
    )


def http_protocol() -> type[asyncio.Protocol] | Literal["h11"]:
    """How HTTP is read: by httptools where it is installed (uvicorn's ``standard`` extra), otherwise by h11."""
    try:
        from broker.cli.http_protocol import Bounded
    except ImportError:
        return "h11"
    return Bounded


def bind(host: str, port: int, key: str) -> socket.socket:
    """
    A listening socket.

    Raises: ConfigError naming *key* when the port is taken or not allowed.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio turns Nagle's algorithm off for accepted connections: without, each answer whose
    # head and body are two writes waits 40 ms for the client's delayed acknowledgement.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise ConfigError(
            (f"{key}: cannot listen on {host} port {port} ({error.strerror}); stop what uses it, or choose another",)
        ) from None
    listening.setblocking(False)
    return listening
