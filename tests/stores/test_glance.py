"""Looking into a SQLite file without handing the question to a thread: only where nobody has to wait."""

import sqlite3
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.errors import StoreDown
from broker.stores.migrate import migrate
from broker.stores.ports import Customer, LinkedIdentity
from broker.stores.sql import SqlRecords

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


async def _login(records: SqlRecords, name: str) -> str:
    identity = LinkedIdentity(f"lookup-{name}", name, "bankid", b"x", NOW, NOW)
    return (await records.find_or_create_customer(identity, Customer(name, NOW, None))).customer.id


async def _started(records: SqlRecords) -> set[str]:
    """Names of the threads a first question starts."""
    before = set(threading.enumerate())
    assert await records.known_customer("lookup-c1") is not None
    return {thread.name for thread in set(threading.enumerate()) - before}


@pytest.mark.parametrize("name", ["records.sqlite3", "å b%41.sqlite3"], ids=["plain", "odd"])
async def test_who_was_here_before_is_found_without_a_thread(tmp_path: Path, name: str) -> None:
    """And so is what was written a moment ago."""
    url = f"sqlite:///{tmp_path / name}"
    await migrate(url)
    writer = SqlRecords(url)
    assert await _login(writer, "c1") == "c1"
    records = SqlRecords(url)
    assert await _started(records) == set()
    assert await _login(writer, "c2") == "c2"
    assert (await records.known_customer("lookup-c2")) is not None
    await records.close()
    await writer.close()


async def test_a_file_whose_readers_would_wait_for_writers_is_left_to_the_thread(tmp_path: Path) -> None:
    """Without WAL (a network drive that cannot do it) a reader meets locks."""
    url = f"sqlite:///{tmp_path}/records.sqlite3"
    await migrate(url)
    writer = SqlRecords(url)
    await _login(writer, "c1")
    await writer.close()
    other = sqlite3.connect(tmp_path / "records.sqlite3", isolation_level=None)
    assert other.execute("PRAGMA journal_mode=DELETE").fetchone() == ("delete",)
    other.execute("BEGIN IMMEDIATE")
    records = SqlRecords(url)
    assert await _started(records) != set()
    other.execute("ROLLBACK")
    other.close()
    await records.close()


async def test_a_file_that_is_locked_altogether_is_left_to_the_thread(tmp_path: Path) -> None:
    """A restore, say; the answer comes when it is over, within the time of a call."""
    url = f"sqlite:///{tmp_path}/records.sqlite3"
    await migrate(url)
    records = SqlRecords(url, timeout_s=5)
    await _login(records, "c1")
    assert await _started(records) == set()
    other = sqlite3.connect(tmp_path / "records.sqlite3", isolation_level=None, check_same_thread=False)
    await records.close()
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    releasing = threading.Timer(0.1, other.close)
    releasing.start()
    assert await records.known_customer("lookup-c1") is not None
    releasing.join()
    await records.close()


async def test_a_file_that_was_replaced_is_followed_with_everybody_else(tmp_path: Path) -> None:
    """Once the others look at the new one, nobody is told what the old one said."""
    file = tmp_path / "records.sqlite3"
    url = f"sqlite:///{file}"
    await migrate(url)
    records = SqlRecords(url)
    await _login(records, "c1")
    assert await records.customer_of("lookup-c1") == "c1"
    new = f"sqlite:///{tmp_path}/new.sqlite3"
    await migrate(new)
    for end in ("", "-wal", "-shm"):
        Path(f"{file}{end}").unlink(missing_ok=True)
    (tmp_path / "new.sqlite3").rename(file)
    with suppress(StoreDown):
        async with records._database.connection() as connection:
            # As a call does that is broken off.
            await connection.invalidate()
    await _login(records, "c2")
    assert await records.customer_of("lookup-c1") is None
    assert await records.customer_of("lookup-c2") == "c2"
    await records.close()


async def test_whoever_asks_after_the_end_leaves_nothing_open(tmp_path: Path) -> None:
    """A late question is answered by the thread, whose connection the engine knows of."""
    url = f"sqlite:///{tmp_path}/records.sqlite3"
    await migrate(url)
    records = SqlRecords(url)
    await _login(records, "c1")
    await records.close()
    assert await _started(records) != set()
    await records.close()
