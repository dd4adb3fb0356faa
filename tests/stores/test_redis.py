"""
What `RedisState` does when its server is gone, slow, full or wrong; what it does right is in the contract
suite.
"""

import asyncio
import socket
import time
import traceback
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import get_args

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from broker.errors import StoreDown
from broker.stores.ports import Count, Drop, Get, Op, Put, PutNew, Swap, Take
from broker.stores.redis import _ANSWERS, _COMMANDS, RedisState
from tests.servers import RedisServer, free_port, redis_program, valkey_program

EVERY_OP = [
    Get("k:1"),
    Get("k:1", renew_s=60),
    Put("k:1", b"x", 60),
    Put("k:1", b"x", 60, unless="k:3"),
    PutNew("k:1", b"x", 60),
    Take("k:1"),
    Take("k:1", leave=b"used", leave_ttl_s=60),
    Swap("k:1", b"x", b"y", 60),
    Swap("k:1", b"x", b"y", 60, unless="k:3"),
    Drop("k:1"),
    Count("k:2", 60),
]
WRITES = [op for op in EVERY_OP if not isinstance(op, Get)]


@pytest.fixture(params=["redis", "valkey"])
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A server this test may break."""
    with RedisServer(redis_program() if request.param == "redis" else valkey_program()) as own:
        yield own


@pytest.fixture
async def store(server: RedisServer) -> AsyncIterator[RedisState]:
    """Waits a fifth of a second at most."""
    state = RedisState(server.url, timeout_s=0.2, connect_timeout_s=0.2)
    yield state
    await state.close()


async def seconds_until_down(store: RedisState, *ops: Op) -> float:
    begun = time.monotonic()
    with pytest.raises(StoreDown):
        await store.run(*ops)
    return time.monotonic() - begun


async def fails(store: RedisState, op: Op) -> bool:
    try:
        await store.run(op)
    except StoreDown:
        return True
    return False


@pytest.mark.parametrize("url", ["redis://127.0.0.1:{port}", "unix:///nowhere/at/all"], ids=["tcp", "unix"])
async def test_no_server_is_down_at_once(url: str) -> None:
    """Refused connections are not waited for, and a miss is never reported instead."""
    store = RedisState(url.format(port=free_port()))
    for op in EVERY_OP:
        assert await seconds_until_down(store, op) < 1
    with pytest.raises(StoreDown):
        await store.ping()
    await store.close()


async def test_a_host_that_swallows_packets_is_down_in_time() -> None:
    """A listener that never answers the handshake costs no more than the time allowed, again and again."""
    with socket.create_server(("127.0.0.1", 0)) as quiet:
        store = RedisState(f"redis://user:pw@127.0.0.1:{quiet.getsockname()[1]}", timeout_s=0.1)
        assert await seconds_until_down(store, Get("k:1")) < 1
        assert await seconds_until_down(store, Get("k:1")) < 1
        await store.close()


async def test_a_stopped_server_is_down_and_comes_back_by_itself(server: RedisServer, store: RedisState) -> None:
    """No restart of the broker is needed; what the server forgot is a miss again."""
    await asyncio.gather(*(store.run(Put(f"k:{n}", b"x", 60)) for n in range(20)))
    server.stop()
    assert all([await fails(store, op) for op in EVERY_OP])
    server.start()
    assert list(await store.run(Get("k:1"), PutNew("k:1", b"y", 60), Get("k:1"))) == [None, True, b"y"]
    await store.ping()


async def test_a_restart_nobody_saw_goes_unnoticed(server: RedisServer, store: RedisState) -> None:
    """Connections that died while idle are replaced before they are used."""
    await asyncio.gather(*(store.run(Put(f"k:{n}", b"x", 60)) for n in range(20)))
    server.stop()
    server.start()
    await asyncio.sleep(0)
    results = await asyncio.gather(*(store.run(Get(f"k:{n}")) for n in range(20)))
    assert [found for (found,) in results] == [None] * 20


async def test_a_hanging_server_is_down_in_time_and_answers_never_get_mixed(
    server: RedisServer, store: RedisState
) -> None:
    """Answers that come too late are thrown away with their connection, and not handed to the next caller."""
    await store.run(Put("k:1", b"one", 60), Put("k:2", b"two", 60))
    server.pause()
    took = await asyncio.gather(*(seconds_until_down(store, Get("k:1")) for _ in range(60)))
    assert max(took) < 1
    server.resume()
    for _ in range(60):
        assert list(await store.run(Get("k:2"))) == [b"two"]


async def test_an_interrupted_caller_leaves_nothing_behind(server: RedisServer, store: RedisState) -> None:
    """A browser that hangs up in the middle of a run must not shift the answers of the next one."""
    await store.run(Put("k:1", b"one", 60), Put("k:2", b"two", 60))
    server.pause()
    waiting = [asyncio.create_task(store.run(Get("k:1"))) for _ in range(10)]
    await asyncio.sleep(0.01)
    for task in waiting:
        task.cancel()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    server.resume()
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    for _ in range(20):
        assert list(await store.run(Get("k:2"))) == [b"two"]


async def test_a_take_is_never_sent_twice(server: RedisServer, store: RedisState) -> None:
    """A code taken just before the answer got lost stays taken: StoreDown now, a miss afterwards."""
    await store.run(Put("k:1", b"code", 60))
    server.pause()
    await seconds_until_down(store, Take("k:1"))
    server.resume()
    first, second = await store.run(Take("k:1"), Take("k:1"))
    assert (first, second) in ((None, None), (b"code", None))
    assert await calls_of(server, "getdel") <= 3


async def calls_of(server: RedisServer, command: str) -> int:
    reader, writer = await asyncio.open_unix_connection(str(server.socket_path))
    writer.write(b"INFO commandstats\r\n")
    size = int((await reader.readline())[1:])
    text = (await reader.readexactly(size)).decode()
    writer.close()
    await writer.wait_closed()
    lines = [line for line in text.splitlines() if line.startswith(f"cmdstat_{command}:")]
    return int(lines[0].split("calls=")[1].split(",")[0]) if lines else 0


async def test_each_of_many_callers_waits_only_as_long_as_allowed(server: RedisServer, store: RedisState) -> None:
    """Who came later on the shared connection has her own full time, and no more."""
    assert all(await asyncio.gather(*(store.run(Put(f"k:{n}", b"x", 60)) for n in range(50))))
    server.pause()
    took = await asyncio.gather(*(seconds_until_down(store, Get("k:1")) for _ in range(10)), later(store))
    server.resume()
    assert max(took) < 1
    assert took[-1] >= 0.2
    assert list(await store.run(Get("k:1"))) == [b"x"]


async def later(store: RedisState) -> float:
    await asyncio.sleep(0.1)
    return await seconds_until_down(store, Get("k:1"))


async def test_what_was_given_up_before_it_was_sent_is_never_sent(server: RedisServer, store: RedisState) -> None:
    """A caller who hangs up while the connection is being made must not spend what nobody hears of."""
    server.ask("SET stafett:k:1 code")
    taking = asyncio.create_task(store.run(Take("k:1")))
    await asyncio.sleep(0)
    taking.cancel()
    assert list(await store.run(Get("k:1"))) == [b"code"]
    assert taking.cancelled()


async def test_callers_at_once_share_one_round_trip(server: RedisServer, store: RedisState) -> None:
    """Twenty requests that need the store at the same moment cost one write and one read."""
    await store.run(Get("k:1"))
    before = await total_reads(server)
    await asyncio.gather(*(store.run(Put(f"k:{n}", b"x", 60), Get(f"k:{n}")) for n in range(20)))
    together = await total_reads(server) - before
    before = await total_reads(server)
    assert together - (await total_reads(server) - before) <= 2


async def test_an_answer_nobody_asked_for_ends_the_connection() -> None:
    """Whatever follows it would be handed to the wrong caller."""
    said = iter([b"+one\r\n+two\r\n", b"$1\r\nx\r\n"])

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(next(said))
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        store = RedisState(f"redis://127.0.0.1:{port}")
        assert list(await store.run(Get("k:1"))) == [b"one"]
        assert list(await store.run(Get("k:1"))) == [b"x"]
        await store.close()


@pytest.mark.parametrize("words", [b"?\r\n", b"HTTP/1.1 400 Bad Request\r\n"], ids=["noise", "http"])
async def test_a_server_that_speaks_something_else_is_down(words: bytes) -> None:
    """A wrong port is told as that, at once."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(words)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        store = RedisState(f"redis://127.0.0.1:{port}")
        assert await seconds_until_down(store, Get("k:1")) < 1
        await store.close()


async def test_a_read_only_server_is_down_for_writes(server: RedisServer, store: RedisState) -> None:
    """A primary that became a replica must not look like an empty store."""
    await store.run(Put("k:1", b"x", 60))
    server.ask(f"REPLICAOF 127.0.0.1 {free_port()}")
    assert all([await fails(store, op) for op in WRITES])
    with pytest.raises(StoreDown, match="READONLY"):
        await store.ping()
    server.ask("REPLICAOF NO ONE")
    await store.ping()


async def test_a_full_server_is_down_for_writes(server: RedisServer, store: RedisState) -> None:
    """Nothing is evicted to make room: a forgotten replay guard would be a hole."""
    await store.run(Put("k:1", b"x", 60))
    server.ask("CONFIG SET maxmemory 1")
    growing = [op for op in WRITES if not isinstance(op, (Drop, Take)) or getattr(op, "leave", None)]
    assert all([await fails(store, op) for op in growing])
    with pytest.raises(StoreDown, match="OOM"):
        await store.ping()
    assert list(await store.run(Get("k:1"))) == [b"x"]
    server.ask("CONFIG SET maxmemory 0")
    await store.ping()


async def test_a_busy_server_is_down(server: RedisServer, store: RedisState) -> None:
    """While somebody else's script blocks the server it answers BUSY."""
    server.ask("CONFIG SET busy-reply-threshold 1")
    _, writer = await asyncio.open_unix_connection(str(server.socket_path))
    writer.write(b"EVAL 'while true do end' 0\r\n")
    await writer.drain()
    deadline = time.monotonic() + 5
    while not server.ask("PING").startswith("-BUSY"):
        assert time.monotonic() < deadline
    with pytest.raises(StoreDown, match="BUSY"):
        await store.run(Get("k:1"))
    assert server.ask("SCRIPT KILL") == "+OK"
    while server.ask("PING") != "+PONG":
        assert time.monotonic() < deadline
    await store.ping()
    writer.close()
    await writer.wait_closed()


async def test_a_refusal_in_a_batch_leaves_the_connection_in_order(store: RedisState) -> None:
    """The answers after a refused operation belong to this batch and to no other."""
    await store.run(Put("k:1", b"not a number", 60))
    with pytest.raises(StoreDown):
        await store.run(Get("k:1"), Count("k:1", 60), Get("k:1"))
    assert list(await store.run(Get("k:2"), Get("k:1"))) == [None, b"not a number"]


async def test_scripts_are_not_expected_to_be_known(server: RedisServer, store: RedisState) -> None:
    """After SCRIPT FLUSH, a restart or a fail-over a swap works at the first try."""
    await store.run(Put("k:1", b"a", 60), Swap("k:1", b"a", b"b", 60))
    server.ask("SCRIPT FLUSH")
    assert list(await store.run(Swap("k:1", b"b", b"c", 60), Count("k:2", 60))) == [True, 1]


async def test_everything_has_a_time_to_live_and_the_prefix(server: RedisServer) -> None:
    """Nothing may stay for ever in a server shared with others."""
    store = RedisState(server.url, prefix="mine:")
    await store.run(Put("a:1", b"x", 60), PutNew("a:2", b"x", 60), Count("a:3", 60), Put("a:4", b"x", 60))
    await store.run(Swap("a:1", b"x", b"y", 60), Take("a:4", leave=b"used", leave_ttl_s=60), Count("a:3", 60))
    for key in ("a:1", "a:2", "a:3", "a:4"):
        assert 0 < int(server.ask(f"PTTL mine:{key}")[1:]) <= 60_000
    assert server.ask("DBSIZE") == ":4"
    await store.close()


async def test_two_prefixes_do_not_see_each_other(server: RedisServer) -> None:
    """Two programs share a server without sharing keys."""
    one, two = RedisState(server.url, prefix="one:"), RedisState(server.url, prefix="two:")
    await one.run(Put("k:1", b"x", 60))
    assert list(await two.run(Get("k:1"), PutNew("k:1", b"y", 60))) == [None, True]
    await one.close()
    await two.close()


async def test_errors_name_the_server_and_no_values(server: RedisServer, store: RedisState) -> None:
    """An operator learns where and what kind; keys and values stay out, in the chain of causes too."""
    key, value = "k:" + "s3cret" * 2, b"t0ken" * 2
    await store.run(Put(key, value, 60))
    with pytest.raises(StoreDown) as down:
        await store.run(Count(key, 60))
    told = "".join(traceback.format_exception(down.value))
    assert str(server.socket_path) in str(down.value)
    assert "s3crets3cret" not in told
    assert "t0kent0ken" not in told


async def test_a_server_that_forgets_keys_when_full_is_doubted(server: RedisServer, store: RedisState) -> None:
    """Many managed servers evict by default; the operator is told before a replay guard is lost."""
    assert await store.doubts() == ()
    server.ask("CONFIG SET maxmemory-policy allkeys-lru")
    (doubt,) = await store.doubts()
    assert "noeviction" in doubt
    assert "allkeys-lru" in doubt


async def test_a_server_that_hides_its_settings_is_doubted(server: RedisServer) -> None:
    """An account without the right to INFO works, and the operator is told that nobody could check."""
    server.ask("ACL SETUSER clerk on >pw ~stafett:* +@all -info")
    store = RedisState(f"unix://clerk:pw@{server.socket_path}")
    await store.ping()
    (doubt,) = await store.doubts()
    assert "NOPERM" in doubt
    await store.close()


async def test_an_account_for_our_keys_only_is_enough(server: RedisServer) -> None:
    """Least privilege: reading, writing and scripts on our prefix; anything else is refused as down."""
    rights = "-@all +get +getex +set +getdel +del +eval +incr +pexpire"
    server.ask(f"ACL SETUSER clerk on >pw ~stafett:* {rights}")
    store = RedisState(f"unix://clerk:pw@{server.socket_path}")
    await store.run(*EVERY_OP)
    await store.ping()
    await store.close()
    foreign = RedisState(f"unix://clerk:pw@{server.socket_path}", prefix="other:")
    assert all([await fails(foreign, op) for op in EVERY_OP])
    await foreign.close()


async def test_a_wrong_password_is_down_and_not_repeated(server: RedisServer) -> None:
    """Authentication that fails is an operator's problem, told without the password."""
    server.ask("CONFIG SET requirepass right")
    wrong = RedisState(f"unix://:wrong-password@{server.socket_path}")
    with pytest.raises(StoreDown) as down:
        await wrong.ping()
    assert "wrong-password" not in "".join(traceback.format_exception(down.value))
    right = RedisState(f"unix://:right@{server.socket_path}")
    await right.ping()
    await wrong.close()
    await right.close()


@pytest.mark.parametrize(
    "url",
    ["http://host", "host:6379", "redis://:pa/ss:word@host", "redis://host?nonsense=pa/ss", "redis://host?db=pa/ss"],
)
def test_a_url_that_is_not_understood_is_refused_at_start(url: str) -> None:
    """A mistake in the config is found when the store is built, and the text does not repeat the URL."""
    with pytest.raises(ValueError, match="not a usable Redis URL") as refused:
        RedisState(url)
    assert "pa/ss" not in "".join(traceback.format_exception(refused.value))


async def test_a_closed_store_is_down(store: RedisState) -> None:
    """Requests that outlive the shutdown get an error, not a new connection."""
    await store.run(Put("k:1", b"x", 60))
    await store.close()
    with pytest.raises(StoreDown):
        await store.run(Get("k:1"))


async def test_one_run_is_one_round_trip(server: RedisServer, store: RedisState) -> None:
    """However many operations: one write, one read; counted by the server's own reads of our connection."""
    await store.run(*EVERY_OP)
    before = await total_reads(server)
    await store.run(*EVERY_OP)
    alone = await total_reads(server) - before
    before = await total_reads(server)
    assert alone - (await total_reads(server) - before) <= 1


async def total_reads(server: RedisServer) -> int:
    reader, writer = await asyncio.open_unix_connection(str(server.socket_path))
    writer.write(b"INFO stats\r\n")
    size = int((await reader.readline())[1:])
    text = (await reader.readexactly(size)).decode()
    writer.close()
    await writer.wait_closed()
    (line,) = [line for line in text.splitlines() if line.startswith("total_reads_processed:")]
    return int(line.split(":")[1])


async def test_tls_checks_the_servers_certificate(tmp_path: Path) -> None:
    """``rediss://`` works with the right authority, and is down with any other and without one."""
    authority, other = tmp_path / "ca.pem", tmp_path / "other.pem"
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    _self_signed(authority, certificate, key)
    _self_signed(other, tmp_path / "unused.pem", tmp_path / "unused.key")
    port = free_port()
    options = ("--tls-port", str(port), "--tls-auth-clients", "no", "--bind", "127.0.0.1")
    files = ("--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-ca-cert-file", str(authority))
    with RedisServer(redis_program(), (*options, *files)):
        good = RedisState(f"rediss://127.0.0.1:{port}?ssl_ca_certs={authority}")
        await good.ping()
        await good.close()
        for url in (f"rediss://127.0.0.1:{port}?ssl_ca_certs={other}", f"rediss://127.0.0.1:{port}"):
            bad = RedisState(url)
            with pytest.raises(StoreDown):
                await bad.ping()
            await bad.close()


def _self_signed(authority: Path, certificate: Path, key: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "redis")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    authority.write_bytes(pem)
    certificate.write_bytes(pem)
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


def test_every_operation_has_its_command_and_its_answer() -> None:
    """A new one cannot be forgotten in either table; of these three the reply itself is the answer."""
    assert set(_COMMANDS) == set(get_args(Op))
    assert set(_ANSWERS) == set(get_args(Op)) - {Get, Take, Count}
