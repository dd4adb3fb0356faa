"""
State in Redis or Valkey: what production runs, and what the embedded default runs too.

Rules of this file:

- All callers of a process share one connection; what they ask at the same time goes out in one write and comes back in one
  read, in order. A run is one round trip: no transaction, each operation touches one key.
- Only commands that Redis 7.0 and Valkey both have.
- Nothing is ever sent twice. A `Take` whose answer got lost may have been carried out, and only the
  caller knows what that means; a hidden retry would turn "used" into "never existed".
- Every failure is `StoreDown`: unreachable, slow, read-only, full, busy, loading. Its detail names the
  server and the kind of error. The server's own words stay out, as they may quote keys and values.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import hiredis
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from broker.errors import StoreDown
from broker.stores.limits import checked_key, checked_member, milliseconds
from broker.stores.ports import Count, Delist, Drop, Enlist, Get, Listed, Op, Put, PutNew, Swap, Take

# Sent as text each time instead of by digest: the server keeps it compiled either way (measured: no
# difference), and there is no "script not known" answer to handle after a restart, a fail-over or SCRIPT
# FLUSH.
_SWAP = (
    b"if redis.call('GET',KEYS[1])==ARGV[1] then redis.call('SET',KEYS[1],ARGV[2],'PX',ARGV[3]) return 1 end return 0"
)
_PUT_UNLESS = b"if redis.call('GET',KEYS[2]) then return 0 end redis.call('SET',KEYS[1],ARGV[1],'PX',ARGV[2])"
_SWAP_UNLESS = b"if redis.call('GET',KEYS[2]) then return 0 end " + _SWAP
_COUNT = b"local n=redis.call('INCR',KEYS[1]) if n==1 then redis.call('PEXPIRE',KEYS[1],ARGV[1]) end return n"

# A sorted set by the moment each member leaves, on the server's own clock. The list lives as long as its last member.
_ENLIST = (
    b"local t=redis.call('TIME') local now=t[1]*1000+math.floor(t[2]/1000) "
    b"redis.call('ZREMRANGEBYSCORE',KEYS[1],'-inf',now) "
    b"redis.call('ZADD',KEYS[1],now+ARGV[2],ARGV[1]) "
    b"local over=redis.call('ZCARD',KEYS[1])-ARGV[3] local fallen={} "
    b"if over>0 then for _,name in ipairs(redis.call('ZRANGE',KEYS[1],0,over)) do "
    b"if name~=ARGV[1] and #fallen<over then fallen[#fallen+1]=name redis.call('ZREM',KEYS[1],name) "
    b"if ARGV[4]~='' then redis.call('DEL',ARGV[4]..name) end end end end "
    b"local last=redis.call('ZRANGE',KEYS[1],-1,-1,'WITHSCORES') "
    b"redis.call('PEXPIREAT',KEYS[1],string.format('%.0f',last[2])) return fallen"
)

_OLDEST_VERSION = 7
"""Of the protocol; Valkey says 7.2 here. ``SET`` with ``NX`` or ``XX`` together with ``GET`` came with it."""


class RedisState:
    """
    `StateStore` on a Redis or Valkey server.

    Args:
        url: ``redis://``, ``rediss://`` (TLS, certificate checked) or ``unix://``, with redis-py's options.
        prefix: put before every key, so that several programs can share a server.
        timeout_s: for a whole run, connecting included.
        connect_timeout_s: for making a connection.
    Raises: ValueError when the URL or one of its options is not understood. The text does not repeat the URL.
    """

    def __init__(
        self, url: str, *, prefix: str = "stafett:", timeout_s: float = 2.0, connect_timeout_s: float = 1.0
    ) -> None:
        self._prefix = prefix
        self._timeout_s = timeout_s
        self._factory = _factory(url, connect_timeout_s)
        self._where = _where(url)
        self._line: _Line | None = None
        self._closed = False

    async def run(self, *ops: Op) -> Sequence[Any]:
        """See `StateStore.run`."""
        if not ops:
            return []
        replies = await self._ask(b"".join([_packed(self._prefix, op) for op in ops]), len(ops))
        return [self._result(op, reply) for op, reply in zip(ops, replies, strict=True)]

    async def ping(self) -> None:
        """Write something new and read it back. Raises StoreDown."""
        token = secrets.token_hex(8)
        _, found = await self.run(Put(f"ping:{token}", token.encode(), 10), Get(f"ping:{token}"))
        if found != token.encode():
            raise self._down("written value not there")

    async def doubts(self) -> tuple[str, ...]:
        """
        What the operator should change about the server: sentences for the log; none when all is well.

        A server that evicts keys under memory pressure forgets replay guards and tombstones, and nobody
        notices.

        Raises: StoreDown.
        """
        (reply,) = await self._ask(b"INFO\r\n", 1)
        if isinstance(reply, ResponseError):
            return (f"the state store at {self._where} does not let us see its settings ({_code(reply)} for INFO)",)
        facts = dict(line.split(":", 1) for line in reply.decode(errors="replace").splitlines() if ":" in line)
        doubts = []
        if (policy := facts.get("maxmemory_policy")) != "noeviction":
            doubts.append(
                f"the state store at {self._where} forgets keys when full: set maxmemory-policy to noeviction, not {policy}"
            )
        if int(facts.get("redis_version", "0").partition(".")[0]) < _OLDEST_VERSION:
            doubts.append(f"the state store at {self._where} is older than Redis {_OLDEST_VERSION}.0")
        return tuple(doubts)

    async def close(self) -> None:
        """Close the connection; runs under way finish first, later ones get StoreDown."""
        self._closed = True
        if self._line is not None:
            await self._line.finish()

    def _ask(self, request: bytes, answers: int) -> "asyncio.Future[list[Any]]":
        """The answers to *request*, refusals (`ResponseError`) among them. Raises StoreDown."""
        if self._closed:
            raise self._down("closed")
        line = self._line
        if line is None or line.is_retired or line.loop is not asyncio.get_running_loop():
            # The old one ends by itself, with what it still waits for.
            line = self._line = _Line(self._factory, self._timeout_s, self._down)
        return line.ask(request, answers)

    def _result(self, op: Op, reply: Any) -> Any:
        if reply.__class__ is ResponseError:
            raise self._down(_code(reply))
        answer = _ANSWERS.get(op.__class__)
        return reply if answer is None else answer(reply)

    def _down(self, what: str) -> StoreDown:
        return StoreDown(f"state store at {self._where}: {what}")


class _Run:
    """A request and whoever waits for its *answers*; ``deadline`` by the event loop's clock."""

    __slots__ = ("answers", "deadline", "future", "request")

    def __init__(self, request: bytes, answers: int, future: "asyncio.Future[list[Any]]", deadline: float) -> None:
        self.request = request
        self.answers = answers
        self.future = future
        self.deadline = deadline


class _Line(asyncio.Protocol):
    """
    One connection that all callers share.

    Checking a connection out of a pool for each run cost 34 us of CPU, a third of it for a write and a read of its own;
    sharing costs 12 when eight callers are busy. One alarm watches all runs, since they end in the order in which they began.

    A line that may be out of order takes no more runs (``is_retired``): the next run opens another. It waits for the answers
    that are still wanted, each in its time, and then closes.
    """

    def __init__(self, factory: ConnectionPool, timeout_s: float, down: Callable[[str], StoreDown]) -> None:
        self.loop = asyncio.get_running_loop()
        self.is_retired = False
        self._timeout_s = timeout_s
        self._down = down
        self._runs: deque[_Run] = deque()
        self._unsent: list[bytes] = []
        self._replies: list[Any] = []
        self._reader = hiredis.Reader(replyError=ResponseError, notEnoughData=_MORE)
        self._writer: asyncio.StreamWriter | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._ended = self.loop.create_future()
        self._connecting = self.loop.create_task(self._connect(factory))

    def ask(self, request: bytes, answers: int) -> "asyncio.Future[list[Any]]":
        """Send *request*, now or once connected; its answers."""
        future: asyncio.Future[list[Any]] = self.loop.create_future()
        deadline = self.loop.time() + self._timeout_s
        self._runs.append(_Run(request, answers, future, deadline))
        if self._transport is not None:
            self._unsent.append(request)
            if len(self._unsent) == 1:
                self.loop.call_soon(self._send)
        if self._alarm is None:
            self._alarm = self.loop.call_at(deadline, self._watch)
        return future

    def _send(self) -> None:
        """Everything that was asked since the event loop's last round, in one write."""
        unsent, self._unsent = self._unsent, []
        if self._transport is not None:
            self._transport.write(b"".join(unsent))

    async def finish(self) -> None:
        """Return when everything that is under way has ended and the connection is closed."""
        self._retire()
        await self._ended
        await asyncio.wait({self._connecting})

    async def _connect(self, factory: ConnectionPool) -> None:
        connection: AbstractConnection = factory.make_connection()  # type: ignore[no-untyped-call]
        try:
            # The library knows TLS, passwords, databases and unix sockets; from then on its streams are not needed.
            await connection.connect()  # type: ignore[no-untyped-call]
        except (RedisError, OSError, TimeoutError, asyncio.CancelledError) as error:
            await connection.disconnect(nowait=True)
            self._end(type(error).__name__, error)
            return
        writer, connection._reader, connection._writer = connection._writer, None, None
        if writer is None:
            self._end("ConnectionError")
            return
        self._writer, self._transport = writer, writer.transport
        self._transport.set_protocol(self)
        # Whoever gave up meanwhile is not served any more.
        self._runs = deque(run for run in self._runs if not run.future.done())
        self._transport.write(b"".join([run.request for run in self._runs]))
        self._close_if_done()

    def data_received(self, data: bytes) -> None:
        """Answers, in the order of the runs."""
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _MORE:
                self._take(reply)
        except (hiredis.HiredisError, IndexError) as error:
            # security: an answer nobody asked for: whatever came after it would belong to somebody else.
            self._end(type(error).__name__)

    def _take(self, reply: Any) -> None:
        run = self._runs[0]
        self._replies.append(reply)
        if reply.__class__ is ResponseError:
            # A server that says no may have become a replica: ask the name service again next time.
            self.is_retired = True
        if len(self._replies) == run.answers:
            self._runs.popleft()
            if not run.future.done():
                run.future.set_result(self._replies)
            self._replies = []
            if self.is_retired:
                self._close_if_done()

    def eof_received(self) -> None:
        """The server hangs up: what it has not answered it will not answer."""
        if self._transport is not None:
            self._transport.abort()
        self.is_retired = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is sent again: what was under way may have been carried out."""
        self._transport = None
        self._end("ConnectionError" if exc is None else type(exc).__name__, exc)

    def _watch(self) -> None:
        """The alarm: who has waited for too long gets no answer any more, and the connection no more runs."""
        now, self._alarm = self.loop.time(), None
        for run in self._runs:
            if run.deadline > now:
                self._alarm = self.loop.call_at(run.deadline, self._watch)
                break
            if not run.future.done():
                run.future.set_exception(self._down("TimeoutError"))
            self.is_retired = True
        if self.is_retired:
            self._close_if_done()

    def _retire(self) -> None:
        self.is_retired = True
        self._close_if_done()

    def _close_if_done(self) -> None:
        """Close a retired line that nobody waits for any more; with it goes whatever answer is outstanding."""
        if self.is_retired and all(run.future.done() for run in self._runs):
            self._end("closed")

    def _end(self, what: str, cause: BaseException | None = None) -> None:
        self.is_retired = True
        runs, self._runs = self._runs, deque()
        for run in runs:
            if not run.future.done():
                down = self._down(what)
                down.__cause__ = cause
                run.future.set_exception(down)
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self._connecting.cancel()
        if self._transport is not None:
            self._transport.abort()
        elif not self._ended.done():
            self._ended.set_result(None)


_MORE: Final = object()
_Command = tuple[str | bytes | int, ...]


def _packed(prefix: str, op: Op) -> bytes:
    command = _COMMANDS[op.__class__](prefix + checked_key(op.key), op, prefix)
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]  # stub: a tuple of one
    return packed


def _enlist(key: str, op: Enlist, prefix: str) -> _Command:
    drops = prefix + checked_key(op.drops) if op.drops else ""
    return "EVAL", _ENLIST, 1, key, checked_member(op.member, op.most), milliseconds(op.ttl_s), op.most, drops


def _get(key: str, op: Get, _prefix: str) -> _Command:
    return ("GET", key) if op.renew_s is None else ("GETEX", key, "PX", milliseconds(op.renew_s))


def _put(key: str, op: Put, prefix: str) -> _Command:
    if op.unless is None:
        return "SET", key, op.value, "PX", milliseconds(op.ttl_s)
    return "EVAL", _PUT_UNLESS, 2, key, prefix + checked_key(op.unless), op.value, milliseconds(op.ttl_s)


def _swap(key: str, op: Swap, prefix: str) -> _Command:
    if op.unless is None:
        return "EVAL", _SWAP, 1, key, op.old, op.new, milliseconds(op.ttl_s)
    unless = prefix + checked_key(op.unless)
    return "EVAL", _SWAP_UNLESS, 2, key, unless, op.old, op.new, milliseconds(op.ttl_s)


def _take(key: str, op: Take, _prefix: str) -> _Command:
    if op.leave is None:
        return "GETDEL", key
    return "SET", key, op.leave, "XX", "GET", "PX", milliseconds(op.leave_ttl_s)


# By class and not by `match`, which asks the classes one after the other.
_COMMANDS: Final[Mapping[type[Op], Callable[[str, Any, str], _Command]]] = {
    Get: _get,
    Put: _put,
    PutNew: lambda key, op, _: ("SET", key, op.value, "NX", "PX", milliseconds(op.ttl_s)),
    Take: _take,
    Swap: _swap,
    Drop: lambda key, _op, _: ("DEL", key),
    Count: lambda key, op, _: ("EVAL", _COUNT, 1, key, milliseconds(op.window_s)),
    Enlist: _enlist,
    Delist: lambda key, op, _: ("ZREM", key, checked_member(op.member)),
    Listed: lambda key, _op, _: ("ZRANGE", key, 0, -1),
}
_ANSWERS: Final[Mapping[type[Op], Callable[[Any], Any]]] = {
    Put: lambda _: None,
    PutNew: lambda reply: reply is not None,
    **dict.fromkeys((Swap, Drop, Delist), lambda reply: reply == 1),
    **dict.fromkeys((Enlist, Listed), lambda reply: tuple(member.decode() for member in reply)),
}
"""What a reply means; of the other commands it is the answer itself."""


def _code(refusal: ResponseError) -> str:
    """The error code the server put first, e.g. ``OOM``; not the sentence after it."""
    word = refusal.status_code or str(refusal).partition(" ")[0]
    return word if word.isascii() and word.isalpha() and word.isupper() else "refused"


def _factory(url: str, connect_timeout_s: float) -> ConnectionPool:
    try:
        pool = ConnectionPool.from_url(
            url,
            protocol=2,
            socket_timeout=None,
            socket_connect_timeout=connect_timeout_s,
            driver_info=None,
            retry=Retry(NoBackoff(), 0),
        )
        # Options that are not understood show when a connection is made, which does not connect yet.
        pool.make_connection()  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, RedisError):
        # security: the library's text may quote the part of the URL that holds the password.
        raise ValueError("not a usable Redis URL: redis://, rediss:// or unix:// with known options") from None
    return pool


def _where(url: str) -> str:
    parts = urlsplit(url)
    return parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"
