"""The servers the other tests stand on."""

import os
import select
import shutil
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio
import redis.exceptions

from tests import servers

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["redis_url", "valkey_url"])
def url(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue(request.param)


@pytest.fixture
def redis_alone():
    with servers.RedisServer(servers.redis_program()) as server:
        yield server


async def test_an_ordinary_client_reads_what_it_wrote(url: str) -> None:
    """The address works with redis-py as it is."""
    async with redis.asyncio.from_url(url) as client:
        await client.set("k", "v", ex=10)
        assert await client.get("k") == b"v"


@pytest.mark.parametrize("turn", ["first", "second"])
async def test_each_test_begins_with_an_empty_store(url: str, turn: str) -> None:
    """What one test left behind, the next does not see."""
    async with redis.asyncio.from_url(url) as client:
        assert await client.dbsize() == 0
        await client.set("left-behind-by", turn)


def test_redis_and_valkey_are_two_programs(redis_server, valkey_server) -> None:
    """Neither stands in for the other."""
    assert "redis" in redis_server.program.name
    assert "valkey" in valkey_server.program.name


async def test_a_stopped_redis_refuses_and_comes_back_empty(redis_alone: servers.RedisServer) -> None:
    """Fault tests: down means refused at once; the address survives the restart, the data does not."""
    async with redis.asyncio.from_url(redis_alone.url) as client:
        await client.set("k", "v")
        redis_alone.stop()
        with pytest.raises(redis.exceptions.ConnectionError):
            await client.get("k")
        redis_alone.start()
        assert await client.get("k") is None


def test_a_paused_redis_answers_nothing_until_resumed(redis_alone: servers.RedisServer) -> None:
    """Fault tests: hanging means accepted, but without an answer; afterwards all is as before."""
    redis_alone.ask("SET k v")
    redis_alone.pause()
    with pytest.raises(TimeoutError):
        redis_alone.ask("GET k", timeout_s=0.05)
    redis_alone.resume()
    assert redis_alone.ask("EXISTS k") == ":1"


def test_a_stopped_redis_cannot_be_paused(redis_alone: servers.RedisServer) -> None:
    """A fault test that mixes up its steps fails instead of proving nothing."""
    redis_alone.stop()
    with pytest.raises(servers.ServerFailed):
        redis_alone.pause()


def test_a_server_that_cannot_start_says_why() -> None:
    """The server's own reason reaches whoever reads the failure."""
    server = servers.RedisServer(servers.redis_program(), options=("--maxmemory", "a-lot"))
    with pytest.raises(servers.ServerFailed, match="FATAL CONFIG"):
        server.start()
    server.close()


@pytest.mark.parametrize("turn", ["first", "second"])
async def test_each_test_has_a_database_of_its_own(postgres_url: str, turn: str) -> None:
    """What one test left behind, the next does not see."""
    connection = await asyncpg.connect(postgres_url.replace("+asyncpg", ""))
    try:
        await connection.execute(f"CREATE TABLE mark (turn text); INSERT INTO mark VALUES ('{turn}')")
        assert await connection.fetchval("SELECT count(*) FROM mark") == 1
    finally:
        await connection.close()


def test_a_database_is_copied_from_a_template(postgres_server: servers.PostgresServer) -> None:
    """One migrated database serves any number of tests."""
    template = postgres_server.new_database()
    postgres_server.execute("CREATE TABLE migrated (id int)", database=template)
    copy = postgres_server.new_database(template=template)
    assert postgres_server.execute("SELECT count(*) FROM migrated", database=copy) == "0"
    postgres_server.drop_database(copy)
    postgres_server.drop_database(template)


def test_a_restarted_postgres_keeps_what_was_committed(postgres_server: servers.PostgresServer) -> None:
    """Fault tests: records survive a crash of the server, at the same address."""
    name = postgres_server.new_database()
    postgres_server.execute("CREATE TABLE kept AS SELECT 1 AS id", database=name)
    postgres_server.execute("CHECKPOINT")
    address = postgres_server.url(name)
    postgres_server.stop()
    with pytest.raises(servers.ServerFailed):
        postgres_server.execute("SELECT 1")
    postgres_server.start()
    assert postgres_server.url(name) == address
    assert postgres_server.execute("SELECT id FROM kept", database=name) == "1"
    postgres_server.drop_database(name)


def test_a_missing_program_fails_and_says_what_to_do(monkeypatch, tmp_path) -> None:
    """No implementation passes by being absent."""
    monkeypatch.setenv("STAFETT_CHROMIUM", str(tmp_path / "no-browser"))
    with pytest.raises(servers.ServerMissing, match="make setup"):
        servers.chromium_path()


KILLED_RUN = """
import time
from tests import servers
server = servers.RedisServer(servers.redis_program())
server.start()
print(server.pid, server.socket_path.parent, flush=True)
time.sleep(60)
"""

if sys.platform.startswith("linux"):  # no other system ties a process to its parent

    def test_a_killed_test_run_leaves_no_server_behind() -> None:
        """Whoever is killed cannot clean up: the system does it."""
        run = subprocess.Popen([sys.executable, "-c", KILLED_RUN], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        pid, folder = run.stdout.readline().split()
        descriptor = os.pidfd_open(int(pid))
        run.kill()
        run.communicate()
        ended, _, _ = select.select([descriptor], [], [], 10)
        os.close(descriptor)
        shutil.rmtree(folder)
        assert ended
