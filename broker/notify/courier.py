"""
Messages that go out beside the requests that caused them: nobody waits for a mail server, and how long a page takes tells
nobody whether an address exists.

In this process's memory: what waits when it dies is not sent, and the customer asks for another.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from broker.notify.ports import Reason, Rejected, Sent, Unknown

AT_ONCE: Final = 8
WAITING_MOST: Final = 500
CLOSING_S: Final = 12.0
"""Longer than one message takes (`broker.notify.ports`)."""

Tell = Callable[[Sent], Coroutine[Any, Any, None]]


class Courier:
    """
    One per sender.

    Args:
        at_once: messages under way together. most: messages that wait or are under way; more are refused as `Reason.BUSY`.
    """

    def __init__(self, *, at_once: int = AT_ONCE, most: int = WAITING_MOST) -> None:
        self._most = most
        self._under_way = asyncio.Semaphore(at_once)
        self._tasks: set[asyncio.Task[None]] = set()

    def post(self, send: Callable[[], Awaitable[Sent]], tell: Tell) -> None:
        """Send soon by *send*; what became of it is for *tell*. Returns at once."""
        is_full = len(self._tasks) >= self._most
        carried = tell(Rejected(Reason.BUSY, code="queue")) if is_full else self._carry(send, tell)
        task = asyncio.create_task(carried)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def idle(self) -> None:
        """Return when nothing waits and nothing is under way."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    async def close(self) -> None:
        """Give what is under way a few seconds to end."""
        if self._tasks:
            _, late = await asyncio.wait(tuple(self._tasks), timeout=CLOSING_S)
            for task in late:
                task.cancel()

    async def _carry(self, send: Callable[[], Awaitable[Sent]], tell: Tell) -> None:
        async with self._under_way:
            try:
                sent = await send()
            except Exception as error:
                # Senders answer instead of raising; one that does not must not leave the customer without an answer.
                sent = Unknown(code=type(error).__name__)
        await tell(sent)
