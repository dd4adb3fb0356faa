"""
State in Redis or Valkey: what production runs, and what the embedded default runs too.

Rules of this file:

- One run is one write and one read on one connection. No second round trip, no transaction, each operation
  touches one key.
- Only commands that Redis 7.0 and Valkey both have.
- Nothing is ever sent twice. A `Take` whose answer got lost may have been carried out, and only the
  caller knows what that means; a hidden retry would turn "used" into "never existed".
- Every failure is `StoreDown`: unreachable, slow, read-only, full, busy, loading. Its detail names the
  server and the kind of error. The server's own words stay out, as they may quote keys and values.
"""

import asyncio
import secrets
from collections.abc import Sequence
from typing import Any, assert_never
from urllib.parse import urlsplit

from hiredis import pack_command
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
_COUNT = b"local n=redis.call('INCR',KEYS[1]) if n==1 then redis.call('PEXPIRE',KEYS[1],ARGV[1]) end return n"

# A sorted set by the moment each member leaves, on the server's own clock. The list lives as long as its last member.
_ENLIST = (
    b"local t=redis.call('TIME') local now=t[1]*1000+math.floor(t[2]/1000) "
    b"redis.call('ZREMRANGEBYSCORE',KEYS[1],'-inf',now) "
    b"redis.call('ZADD',KEYS[1],now+ARGV[2],ARGV[1]) "
    b"redis.call('ZREMRANGEBYRANK',KEYS[1],0,-ARGV[3]-1) "
    b"local last=redis.call('ZRANGE',KEYS[1],-1,-1,'WITHSCORES') "
    b"redis.call('PEXPIREAT',KEYS[1],string.format('%.0f',last[2])) return 1"
)

_OLDEST_VERSION = 7
"""Of the protocol; Valkey says 7.2 here. ``SET`` with ``NX`` or ``XX`` together with ``GET`` came with it."""


class RedisState:
    """
    `StateStore` on a Redis or Valkey server.

    Args:
        url: ``redis://``, ``rediss://`` (TLS, certificate checked) or ``unix://``, with redis-py's options.
        prefix: put before every key, so that several programs can share a server.
        max_connections: more callers than this wait, within *timeout_s*.
        timeout_s: for a whole run, waiting for a free connection and connecting included.
        connect_timeout_s: for making a connection.
    Raises: ValueError when the URL or one of its options is not understood. The text does not repeat the URL.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "stafett:",
        max_connections: int = 50,
        timeout_s: float = 2.0,
        connect_timeout_s: float = 1.0,
    ) -> None:
        self._prefix = prefix
        self._timeout_s = timeout_s
        # redis-py makes and parses connections; keeping them is done here, since its pool's bookkeeping
        # costs twice as much CPU as the exchange itself (58 us a run against 26).
        self._factory, first = _factory(url, connect_timeout_s)
        self._where = _where(url)
        self._idle: list[AbstractConnection] = [first]
        self._slots = asyncio.Semaphore(max_connections)
        self._closed = False

    async def run(self, *ops: Op) -> Sequence[Any]:
        """See `StateStore.run`."""
        if not ops:
            return []
        replies = await self._bounded(b"".join([_packed(self._prefix, op) for op in ops]), len(ops))
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
        (reply,) = await self._bounded(b"INFO\r\n", 1)
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
        """Close the connections; runs under way finish first, later ones get StoreDown."""
        self._closed = True
        while self._idle:
            await self._idle.pop().disconnect()

    async def _bounded(self, request: bytes, answers: int) -> list[Any]:
        try:
            async with asyncio.timeout(self._timeout_s), self._slots:
                return await self._exchange(request, answers)
        except (RedisError, OSError, TimeoutError) as error:
            raise self._down(type(error).__name__) from error

    async def _exchange(self, request: bytes, answers: int) -> list[Any]:
        if self._closed:
            raise self._down("closed")
        connection = self._idle.pop() if self._idle else _connection(self._factory)
        try:
            # Notices a connection the server has closed in the meantime and makes a new one: the recovery.
            await self._factory.ensure_connection(connection)
            await connection.send_packed_command(request, check_health=False)
            replies = [await _reply(connection) for _ in range(answers)]
        except BaseException:
            # security: a connection with an answer outstanding would hand it to the next caller.
            await connection.disconnect(nowait=True)
            raise
        # A server that says no may have become a replica: ask the name service again next time.
        if self._closed or any(isinstance(reply, ResponseError) for reply in replies):
            await connection.disconnect(nowait=True)
        if not self._closed:
            self._idle.append(connection)
        return replies

    def _result(self, op: Op, reply: Any) -> Any:
        if isinstance(reply, ResponseError):
            raise self._down(_code(reply))
        match op:
            case Get() | Take() | Count():
                return reply
            case Put():
                return None
            case PutNew():
                return reply is not None
            case Swap() | Drop() | Delist():
                return reply == 1
            case Enlist():
                return None
            case Listed():
                return tuple(member.decode() for member in reply)
        assert_never(op)

    def _down(self, what: str) -> StoreDown:
        return StoreDown(f"state store at {self._where}: {what}")


def _packed(prefix: str, op: Op) -> bytes:
    packed: bytes = pack_command(_command(prefix, op))  # type: ignore[arg-type]  # stub: a tuple of one
    return packed


def _command(prefix: str, op: Op) -> tuple[str | bytes | int, ...]:
    key = prefix + checked_key(op.key)
    match op:
        case Get():
            return "GET", key
        case Put():
            return "SET", key, op.value, "PX", milliseconds(op.ttl_s)
        case PutNew():
            return "SET", key, op.value, "NX", "PX", milliseconds(op.ttl_s)
        case Take(leave=None):
            return "GETDEL", key
        case Take():
            return "SET", key, op.leave or b"", "XX", "GET", "PX", milliseconds(op.leave_ttl_s)
        case Swap():
            return "EVAL", _SWAP, 1, key, op.old, op.new, milliseconds(op.ttl_s)
        case Drop():
            return "DEL", key
        case Count():
            return "EVAL", _COUNT, 1, key, milliseconds(op.window_s)
        case Enlist():
            return "EVAL", _ENLIST, 1, key, checked_member(op.member, op.most), milliseconds(op.ttl_s), op.most
        case Delist():
            return "ZREM", key, checked_member(op.member)
        case Listed():
            return "ZRANGE", key, 0, -1
    assert_never(op)


async def _reply(connection: AbstractConnection) -> Any:
    """The next answer; a refusal is returned, so that the answers after it are still read."""
    try:
        return await connection.read_response(disconnect_on_error=False)
    except ResponseError as refusal:
        return refusal


def _code(refusal: ResponseError) -> str:
    """The error code the server put first, e.g. ``OOM``; not the sentence after it."""
    word = refusal.status_code or str(refusal).partition(" ")[0]
    return word if word.isascii() and word.isalpha() and word.isupper() else "refused"


def _factory(url: str, connect_timeout_s: float) -> tuple[ConnectionPool, AbstractConnection]:
    try:
        pool = ConnectionPool.from_url(
            url,
            protocol=2,
            socket_timeout=None,
            socket_connect_timeout=connect_timeout_s,
            driver_info=None,
            retry=Retry(NoBackoff(), 0),
        )
        return pool, _connection(pool)
    except (ValueError, TypeError, RedisError):
        # security: the library's text may quote the part of the URL that holds the password.
        raise ValueError("not a usable Redis URL: redis://, rediss:// or unix:// with known options") from None


def _connection(factory: ConnectionPool) -> AbstractConnection:
    """A new connection, not yet connected."""
    connection: AbstractConnection = factory.make_connection()  # type: ignore[no-untyped-call]
    return connection


def _where(url: str) -> str:
    parts = urlsplit(url)
    return parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"
