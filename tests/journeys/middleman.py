"""A line between the broker and its Redis that fails when told to: before a request arrives, or after it was carried out."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any

SLOW_S = 0.005


class Failing(StrEnum):
    """What becomes of a request, and of all after it."""

    UNASKED = "unasked"
    """The connection ends and Redis never sees it."""
    UNHEARD = "unheard"
    """Redis carries it out and is gone before it answers; what follows it never sees."""
    SLOW = "slow"
    """Every answer takes a while, but comes."""
    LATE = "late"
    """Redis carries it out, and what follows too; every answer comes when nobody waits any more."""


class Middleman:
    """
    A TCP proxy in front of a Redis on a unix socket.

    ``requests``: round trips since the last `fail` or `heal`; the broker writes each at once, on a connection without greeting.
    """

    def __init__(self, socket_path: Path) -> None:
        self._path = socket_path
        self._tasks: set[asyncio.Task[None]] = set()
        self._lines: set[asyncio.StreamWriter] = set()
        self._healed = asyncio.Event()
        self._how: Failing | None = None
        self._good = 0
        self.requests = 0

    def fail(self, how: Failing, *, after: int = 0) -> None:
        """Let *after* more round trips pass, and then none until `heal`."""
        self._how, self._good, self.requests = how, after, 0
        self._healed.clear()

    def heal(self) -> None:
        """Late answers arrive now; new connections work."""
        self._how, self.requests = None, 0
        self._healed.set()

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for line in self._lines:
            line.transport.abort()
        await asyncio.gather(*(line.wait_closed() for line in self._lines), return_exceptions=True)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of the broker's."""
        self._lines.add(writer)
        try:
            there_reader, there_writer = await asyncio.open_unix_connection(str(self._path))
        except OSError:
            writer.close()
            return
        self._lines.add(there_writer)
        self.begin(self._answers(there_reader, writer))
        with contextlib.suppress(OSError):
            while request := await reader.read(1 << 20):
                self.requests += 1
                is_dead = self._how is Failing.UNHEARD and self.requests > self._good + 1
                if is_dead or (self._how is Failing.UNASKED and self.requests > self._good):
                    break
                there_writer.write(request)
        writer.close()
        there_writer.close()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while answer := await reader.read(1 << 20):
                if self._how is not None and self.requests > self._good:
                    if self._how is Failing.UNHEARD:
                        break
                    await (asyncio.sleep(SLOW_S) if self._how is Failing.SLOW else self._healed.wait())
                writer.write(answer)
        writer.close()


@asynccontextmanager
async def between(socket_path: Path) -> AsyncIterator[tuple[Middleman, str]]:
    """A middleman, and the address the broker reaches Redis at."""
    middleman = Middleman(socket_path)

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        middleman.begin(middleman.carry(reader, writer))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield middleman, f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    finally:
        server.close()
        await middleman.end()
