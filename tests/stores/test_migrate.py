"""Bringing a database to the schema this version needs, from anywhere, by several at once."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

import broker.stores
from broker.errors import ConfigError, StoreDown
from broker.stores.engine import Database
from broker.stores.migrate import head_revision, migrate
from broker.stores.sql import SqlRecords
from broker.stores.tables import metadata
from tests.servers import free_port


async def version_of(url: str) -> str | None:
    records = SqlRecords(url)
    try:
        return await records.schema_version()
    finally:
        await records.close()


async def on(url: str, work: Callable[[Connection], object]) -> object:
    database = Database(url)
    try:
        async with database.transaction() as connection:
            return await connection.run_sync(work)
    finally:
        await database.close()


async def test_an_empty_database_has_no_version_and_is_brought_to_the_newest(empty_url: str) -> None:
    """None means empty; afterwards database and program agree."""
    assert await version_of(empty_url) is None
    await migrate(empty_url)
    assert await version_of(empty_url) == head_revision()


async def test_the_revisions_make_exactly_the_tables_the_program_uses(migrated_url: str) -> None:
    """A column added to the tables without a revision is found here."""
    differences = await on(
        migrated_url,
        lambda connection: compare_metadata(
            MigrationContext.configure(connection, opts={"compare_type": True}), metadata
        ),
    )
    assert differences == []


async def test_migrating_again_changes_nothing(migrated_url: str) -> None:
    """Every start of a development broker does it."""
    await on(migrated_url, lambda connection: connection.execute(_a_customer()))
    await migrate(migrated_url)
    count = await on(migrated_url, lambda c: c.execute(text("SELECT count(*) FROM customers")).scalar())
    assert count == 1
    assert await version_of(migrated_url) == head_revision()


async def test_many_at_once_wait_for_one(empty_url: str) -> None:
    """Several pods start together: one migrates, the others find it done."""
    await asyncio.gather(*(migrate(empty_url) for _ in range(6)))
    assert await version_of(empty_url) == head_revision()


async def test_an_old_schema_is_seen_as_old(migrated_url: str) -> None:
    """Production refuses to start on it, by comparing the two."""
    await on(migrated_url, lambda c: c.execute(text("UPDATE alembic_version SET version_num = '0000'")))
    assert await version_of(migrated_url) == "0000"
    assert await version_of(migrated_url) != head_revision()


async def test_a_schema_from_the_future_is_refused_in_words(migrated_url: str) -> None:
    """An older program does not touch a newer database; the operator reads what to do."""
    await on(migrated_url, lambda c: c.execute(text("UPDATE alembic_version SET version_num = 'future'")))
    with pytest.raises(ConfigError) as refused:
        await migrate(migrated_url)
    assert "later version" in refused.value.problems[0]
    assert await version_of(migrated_url) == "future"


async def test_a_migration_that_fails_leaves_nothing_half_done(empty_url: str) -> None:
    """A table in the way: neither the tables before it nor a version remain."""
    await on(empty_url, lambda c: c.execute(text("CREATE TABLE transfers (mine INTEGER)")))
    with pytest.raises(StoreDown):
        await migrate(empty_url)
    left = await on(empty_url, lambda c: c.dialect.get_table_names(c))
    assert left == ["transfers"]


async def test_no_database_is_told(tmp_path: Path) -> None:
    """
    A server that is not there and a folder that is not there are StoreDown, not a traceback of the
    driver.
    """
    for url in (f"postgresql://127.0.0.1:{free_port()}/x", f"sqlite:///{tmp_path}/missing/records.sqlite3"):
        with pytest.raises(StoreDown):
            await migrate(url)


async def test_a_percent_sign_in_the_path_is_no_obstacle(tmp_path: Path) -> None:
    """Alembic's config files read percent signs as their own; paths of operators may hold them."""
    folder = tmp_path / "100%s"
    folder.mkdir()
    await migrate(f"sqlite:///{folder}/records.sqlite3")
    assert await version_of(f"sqlite:///{folder}/records.sqlite3") == head_revision()


def test_revisions_are_part_of_the_package() -> None:
    """`stafett migrate` works from the installed wheel; each revision has a number of its own, in order."""
    folder = Path(broker.stores.__file__).parent / "migrations" / "versions"
    names = sorted(path.stem for path in folder.glob("0*.py"))
    assert [name[:4] for name in names] == [f"{n:04}" for n in range(1, len(names) + 1)]
    assert all(re.fullmatch(r"\d{4}_[a-z_]+", name) for name in names)


def _a_customer() -> object:
    return text("INSERT INTO customers (id, created_at) VALUES ('c1', '2026-11-21 12:00:00+00:00')")
