"""
What `SqlRecords` does when its database is gone, slow, locked or wrong; the rest is in the contract
suite.
"""

import asyncio
import gc
import os
import socket
import sqlite3
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import create_async_engine

from broker.core.changing import replace
from broker.errors import StafettError, StoreDown
from broker.stores import tables
from broker.stores.engine import Database, read_address
from broker.stores.migrate import migrate
from broker.stores.ports import AuditEvent, Customer, LinkedIdentity
from broker.stores.sql import SqlRecords
from tests.servers import PostgresServer, free_port

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.fixture
async def records(migrated_url: str) -> AsyncIterator[SqlRecords]:
    """Waits half a second at most."""
    store = SqlRecords(migrated_url, timeout_s=0.5)
    yield store
    await store.close()


@pytest.fixture
async def only_postgres(postgres_url: str) -> AsyncIterator[SqlRecords]:
    await migrate(postgres_url)
    store = SqlRecords(postgres_url, timeout_s=0.5)
    yield store
    await store.close()


async def login(records: SqlRecords, name: str = "c1") -> bool:
    identity = LinkedIdentity(f"lookup-{name}", name, "bankid", b"x", NOW, NOW)
    return (await records.find_or_create_customer(identity, Customer(name, NOW, None))).is_new


async def seconds_until_down(records: SqlRecords, name: str = "c1") -> float:
    begun = time.monotonic()
    with pytest.raises(StoreDown):
        await login(records, name)
    return time.monotonic() - begun


async def test_no_database_is_down_at_once(tmp_path: Path) -> None:
    """A server or a folder that is not there is not waited for."""
    for url in (f"postgresql://127.0.0.1:{free_port()}/x", f"sqlite:///{tmp_path}/missing/records.sqlite3"):
        records = SqlRecords(url)
        assert await seconds_until_down(records) < 1
        with pytest.raises(StoreDown):
            await records.ping()
        with pytest.raises(StoreDown):
            await records.schema_version()
        await records.close()


async def test_a_database_that_never_answers_is_down_in_time() -> None:
    """A listener that swallows the handshake costs no more than the time allowed."""
    with socket.create_server(("127.0.0.1", 0)) as quiet:
        records = SqlRecords(f"postgresql://u:pw@127.0.0.1:{quiet.getsockname()[1]}/x", timeout_s=0.2)
        assert await seconds_until_down(records) < 2
        await records.close()


async def test_a_database_without_tables_is_down(empty_url: str) -> None:
    """Somebody forgot to migrate: an error for the operator, and no miss for the customer."""
    records = SqlRecords(empty_url)
    with pytest.raises(StoreDown):
        await login(records)
    with pytest.raises(StoreDown):
        await records.get_customer("c1")
    await records.close()


async def test_a_restarted_server_is_used_again_by_itself(postgres_server: PostgresServer, postgres_url: str) -> None:
    """
    Dead connections are replaced before they are used; what was committed is still there. Patient, as a busy machine may take
    long to make ten connections: one that is gone is noticed at once all the same.
    """
    await migrate(postgres_url)
    records = SqlRecords(postgres_url, timeout_s=30)
    assert await login(records) is True
    await asyncio.gather(*(records.ping() for _ in range(10)))
    postgres_server.execute("CHECKPOINT")
    postgres_server.stop()
    await seconds_until_down(records)
    postgres_server.start()
    assert await login(records) is False
    await asyncio.gather(*(records.ping() for _ in range(10)))
    await records.close()


async def test_a_locked_table_is_down_in_time_and_works_afterwards(
    postgres_url: str, only_postgres: SqlRecords
) -> None:
    """A migration or a backup that holds the table makes logins fail fast, not hang; later ones work."""
    assert await login(only_postgres) is True
    other = await asyncpg.connect(postgres_url.replace("postgresql+asyncpg", "postgresql"))
    async with other.transaction():
        await other.execute("LOCK TABLE identities IN ACCESS EXCLUSIVE MODE")
        took = await asyncio.gather(*(seconds_until_down(only_postgres) for _ in range(15)))
        assert max(took) < 4
    await other.close()
    assert await login(only_postgres) is False


async def test_a_locked_file_is_down_in_time_and_works_afterwards(tmp_path: Path) -> None:
    """Another process that writes for long makes first logins fail in time; whoever was here before gets in."""
    path = tmp_path / "records.sqlite3"
    await migrate(f"sqlite:///{path}")
    records = SqlRecords(f"sqlite:///{path}", timeout_s=0.2)
    assert await login(records) is True
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert await seconds_until_down(records, "c2") < 3
    assert await login(records) is False
    other.execute("COMMIT")
    other.close()
    assert await login(records, "c2") is True
    await records.close()


async def test_a_standby_is_down_for_pings_and_writes(postgres_server: PostgresServer, postgres_url: str) -> None:
    """After a fail-over the broker may still talk to the old primary, which must not look ready."""
    await migrate(postgres_url)
    name = postgres_url.rpartition("/")[2]
    postgres_server.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    records = SqlRecords(postgres_url)
    with pytest.raises(StoreDown, match="25006"):
        await login(records)
    with pytest.raises(StoreDown, match="read-only"):
        await records.ping()
    await records.close()


async def test_an_interrupted_caller_leaves_nothing_behind(migrated_url: str) -> None:
    """A browser that hangs up in the middle of a login costs at most that login."""
    records = SqlRecords(migrated_url, timeout_s=30)
    tasks = [asyncio.create_task(login(records, f"c{n}")) for n in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(result is True for result in results[1::2])
    for n in range(20):
        await login(records, f"c{n}")
    await records.close()


async def test_a_transaction_interrupted_at_any_moment_loses_no_connection(
    migrated_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Also while it is being made ready: it goes back to its pool, or is closed there and then, and the next caller gets on."""
    database = Database(migrated_url, timeout_s=5)

    async def call() -> int:
        async with database.transaction() as connection:
            return int((await connection.execute(text("SELECT 1"))).scalar_one())

    assert await call() == 1
    for passed in range(0, 80, 2):
        task = asyncio.create_task(call())
        for _ in range(passed):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    del task
    gc.collect()
    assert await call() == 1
    await database.close()
    assert not [record for record in caplog.records if "non-checked-in" in record.getMessage()]


@pytest.mark.parametrize("times", [1, 2])
async def test_a_file_that_is_given_up_while_it_opens_is_closed(tmp_path: Path, times: int) -> None:
    """Also by somebody who is interrupted once more meanwhile; not only when memory is cleared up some time."""
    await migrate(f"sqlite:///{tmp_path}/records.sqlite3")
    gc.collect()
    gc.disable()
    try:
        before = len(os.listdir("/dev/fd"))
        for _ in range(60):
            database = Database(f"sqlite:///{tmp_path}/records.sqlite3", timeout_s=5)
            task = asyncio.create_task(_selected(database))
            for _ in range(4):
                await asyncio.sleep(0)
            for _ in range(times):
                task.cancel()
                await asyncio.sleep(0)
            with suppress(asyncio.CancelledError):
                await task
            await database.close()
        until = time.monotonic() + 5
        while len(os.listdir("/dev/fd")) > before and time.monotonic() < until:
            await asyncio.sleep(0.02)
        # The library may have taken over some just then, and closes them when it is cleared up.
        assert len(os.listdir("/dev/fd")) - before < 10
    finally:
        gc.enable()
        gc.collect()


async def _selected(database: Database) -> int:
    async with database.connection() as connection:
        return int((await connection.execute(text("SELECT 1"))).scalar_one())


async def test_a_pooler_in_transaction_mode_is_catered_for(only_postgres: SqlRecords, postgres_url: str) -> None:
    """Everything works without statements that outlive a transaction."""
    records = SqlRecords(postgres_url, pgbouncer=True)
    assert await login(records) is True
    assert await login(records) is False
    await records.add_audit([AuditEvent(NOW, "login", "ref", "c1", None, "{}")] * 3)
    assert len(await records.audit_of("c1", 10)) == 3
    assert await only_postgres.subject_for("c1", "s", "s1", NOW) == await records.subject_for("c1", "s", "s2", NOW)
    await records.close()


class Line:
    """A TCP line to a server on this machine that can fall silent without ending."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open = asyncio.Event()
        self._open.set()
        self._pumps: list[asyncio.Task[None]] = []
        self._ends: list[asyncio.StreamWriter] = []

    async def start(self) -> int:
        """Returns: the port it listens on."""
        self._server = await asyncio.start_server(self._joined, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    def fall_silent(self) -> None:
        self._open.clear()

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        beyond, onward = await asyncio.open_connection("127.0.0.1", self._port)
        self._ends += [writer, onward]
        self._pumps += [asyncio.create_task(self._pump(*ends)) for ends in ((reader, onward), (beyond, writer))]

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            await self._open.wait()
            writer.write(chunk)

    async def close(self) -> None:
        self._server.close()
        for pump in self._pumps:
            pump.cancel()
        for end in self._ends:
            end.close()
        await asyncio.gather(*self._pumps, *(end.wait_closed() for end in self._ends), return_exceptions=True)


@pytest.mark.parametrize("pgbouncer", [False, True], ids=["direct", "pooler"])
async def test_a_line_that_falls_silent_in_the_middle_is_down_in_time(
    only_postgres: SqlRecords, postgres_server: PostgresServer, postgres_url: str, pgbouncer: bool
) -> None:
    """No goodbye is waited for that nobody will answer: it would hold the customer, and the connection's place, for ever."""
    assert await login(only_postgres) is True
    line = Line(postgres_server.port)
    port = await line.start()
    through = postgres_url.replace(f":{postgres_server.port}/", f":{port}/")
    records = SqlRecords(through, timeout_s=0.5, pool_size=1, pgbouncer=pgbouncer)
    assert await login(records) is False
    other = await asyncpg.connect(postgres_url.replace("postgresql+asyncpg", "postgresql"))
    async with other.transaction():
        await other.execute("LOCK TABLE identities IN ACCESS EXCLUSIVE MODE")
        asked = asyncio.create_task(seconds_until_down(records))
        while not await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0)
        line.fall_silent()
        assert await asyncio.wait_for(asked, 5) < 4
    await other.close()
    await line.close()
    await records.close()


async def test_errors_name_the_server_and_no_values(records: SqlRecords) -> None:
    """The database quotes the row it refuses; the operator's log must not."""
    personal = "199001" + "012384"
    with pytest.raises(StafettError) as refused:
        await records.subject_for(personal, personal, personal, NOW)
    assert refused.value.code == "records_refused"
    told = "".join(traceback.format_exception(refused.value))
    assert personal not in told
    assert "INSERT" not in told


@pytest.mark.parametrize(
    "url",
    [
        "mysql://host/x",
        "host/pa/ss",
        "redis://:pa/ss@host",
        "postgresql://u:pa/ss@host:x/db",
        "postgresql://u:pa/ss@host",
        "sqlite://",
        "sqlite:///:memory:",
        "",
    ],
)
def test_a_url_that_is_not_understood_is_refused_at_start(url: str) -> None:
    """A mistake in the config is found when the records are built, and the text does not repeat the URL."""
    with pytest.raises(ValueError, match="not a usable database URL") as refused:
        SqlRecords(url)
    assert "pa/ss" not in "".join(traceback.format_exception(refused.value))


async def test_a_wrong_password_is_down_and_not_repeated(postgres_server: PostgresServer) -> None:
    """An operator's problem, told without the password."""
    url = f"postgresql://nobody:wrong-password@127.0.0.1:{postgres_server.port}/postgres"
    records = SqlRecords(url)
    with pytest.raises(StoreDown) as down:
        await records.ping()
    assert "wrong-password" not in "".join(traceback.format_exception(down.value))
    await records.close()


async def test_sslmode_is_understood_as_libpq_does(postgres_url: str) -> None:
    """An operator's URL says sslmode: a server without TLS is refused when TLS is required."""
    plain = SqlRecords(f"{postgres_url}?sslmode=disable")
    await plain.ping()
    await plain.close()
    strict = SqlRecords(f"{postgres_url}?sslmode=require")
    with pytest.raises(StoreDown):
        await strict.ping()
    await strict.close()


@pytest.mark.parametrize(
    "query", ["sslrootcert=/etc/ssl/ca.pem", "sslmode=bogus", "sslmode=require&target_session_attrs=any", "ssl=yes"]
)
def test_options_nobody_understands_are_refused(query: str) -> None:
    """A sentence at start, not a driver's complaint at the first login; and it does not repeat the address."""
    with pytest.raises(ValueError, match="may have the one option sslmode") as caught:
        SqlRecords(f"postgresql://maja:hush@db.example/stafett?{query}")
    assert "hush" not in str(caught.value)


async def test_what_an_operator_can_mend_is_said_in_words(postgres_server: PostgresServer) -> None:
    """A database that is not there is called that."""
    records = SqlRecords(postgres_server.url("no_such_database"))
    with pytest.raises(StoreDown, match="there is no database of this name"):
        await records.ping()
    await records.close()


async def test_many_rows_are_written_as_the_library_writes_one(records: SqlRecords, migrated_url: str) -> None:
    """The short way for batches (`Rows`) leaves the same columns behind: times in UTC, texts that are not there as NULL."""
    told = {"reference": "R", "customer": None, "partner": "garage", "facts": "{}"}
    abroad = NOW.astimezone(timezone(timedelta(hours=2)))
    await records.add_audit([AuditEvent(at=abroad, action="short", **told)])
    engine = create_async_engine(read_address(migrated_url))
    async with engine.begin() as connection:
        await connection.execute(insert(tables.audit).values(at=abroad, action="long", **told))
        query = text("SELECT CAST(at AS TEXT), reference, customer, partner, facts FROM audit ORDER BY id")
        short, long = (await connection.execute(query)).all()
    await engine.dispose()
    assert short == long


async def test_a_value_that_is_none_of_its_column_is_refused_alone(records: SqlRecords) -> None:
    """A naive time among many rows: an error that blames the values and repeats none, and the next batch is written."""
    event = AuditEvent(at=NOW, action="a", reference="R", customer="c-secret", partner=None, facts="{}")
    with pytest.raises(StafettError) as raised:
        await records.add_audit([event, replace(event, at=NOW.replace(tzinfo=None))])
    assert raised.value.code == "records_refused"
    assert "secret" not in str(raised.value)
    await records.add_audit([event])
    assert len(await records.audit_of("c-secret", 9)) == 1
