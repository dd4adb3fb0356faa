"""
Reaching the database: addresses as operators write them, engine options that fit logins, failures as
`StoreDown`.

Every statement commits by itself (AUTOCOMMIT): the BEGIN and ROLLBACK around single statements would
double the round trips of a login. What needs a transaction asks for one with `Database.transaction`.
"""

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from operator import attrgetter
from socket import gaierror
from typing import Any
from urllib.parse import quote

import aiosqlite
from asyncpg import InterfaceError, PostgresError  # type: ignore[import-untyped]
from sqlalchemy import Dialect, Insert, Select, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    InvalidatePoolError,
    SQLAlchemyError,
    StatementError,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from broker.errors import StafettError, StoreDown

_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}

_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

#: What an operator can do something about, by SQLSTATE (PostgreSQL, appendix A).
_SENTENCES = {
    "28P01": "it refuses this user name or password",
    "28000": "it does not let this user in",
    "3D000": "there is no database of this name",
    "42501": "this user may not do that; grant it the rights of an owner",
    "42P01": "tables are missing; run: stafett migrate",
    "53300": "it has no connection left; raise max_connections or use a pooler",
}

_REFUSED = ("22", "23")
"""
SQLSTATE classes that blame the values and not the server: data exception, integrity constraint violation.
"""


class Question:
    """
    A SELECT asked in logins, taken apart once.

    The library's way through a statement (its cache, its cursor, its result) costs several times what the database does.

    Args:
        statement: with bound parameters that are named.
    """

    def __init__(self, statement: Select[Any], dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        self.text = str(compiled)
        self._given = [
            (name, compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect))
            for name in compiled.positiontup or ()
        ]
        self._readers = [
            column.type.dialect_impl(dialect).result_processor(dialect, None) for column in statement.selected_columns
        ]

    def given(self, values: Mapping[str, Any]) -> list[Any]:
        """*values* by name as the driver wants them, in the order of the text."""
        return [values[name] if writer is None else writer(values[name]) for name, writer in self._given]

    def read(self, rows: Iterable[Sequence[Any]]) -> list[tuple[Any, ...]]:
        """*rows* of the driver, with the values the columns stand for."""
        return [
            tuple(value if reader is None else reader(value) for reader, value in zip(self._readers, row, strict=True))
            for row in rows
        ]


class Rows:
    """
    An INSERT that takes many records at once, taken apart once.

    The library looks at each value of each row anew, which costs three times what the database does.

    Args:
        statement: with no bound parameters but the columns.
        type_: of the records; its members are named as the columns.
    """

    def __init__(self, statement: Insert, dialect: Dialect, type_: type[Any]) -> None:
        names = type_.__struct_fields__
        compiled = statement.compile(dialect=dialect, column_keys=names)
        self._text = str(compiled)
        order = tuple(compiled.positiontup or ())
        if set(order) != set(names):
            raise ValueError("something else is bound than the columns")
        self._values = attrgetter(*order)
        types = [compiled.binds[name].type.dialect_impl(dialect) for name in order]
        writers = [(place, each.bind_processor(dialect)) for place, each in enumerate(types)]
        self._writers = [(place, writer) for place, writer in writers if writer is not None]

    async def write(self, connection: AsyncConnection, records: Sequence[Any]) -> None:
        """Insert *records*. Raises: as *connection* does."""
        try:
            rows = [self._row(record) for record in records]
        except (TypeError, ValueError) as error:
            raise StatementError("a value does not fit its column", None, None, error) from error
        await connection.exec_driver_sql(self._text, rows)

    def _row(self, record: Any) -> tuple[Any, ...]:
        row = list(self._values(record))
        for place, writer in self._writers:
            row[place] = writer(row[place])
        return tuple(row)


class _Glance:
    """
    A reader of a SQLite file, for questions that an index answers at once.

    Handing one to the connection's thread and taking the answer back costs 200 us of CPU, the question itself 20. In WAL mode a
    reader waits for nobody; where it would have to (a lock, a file that is not there yet, a disk that fails), it gives
    up at once and the thread takes over, with all its patience.
    """

    def __init__(self, path: str) -> None:
        # Also for SQLite, a "?" in a name ends it.
        self._uri = f"file:{quote(os.path.abspath(path))}?mode=ro"
        self._connection: sqlite3.Connection | None = None

    def rows(self, question: str, given: Sequence[Any]) -> list[tuple[Any, ...]] | None:
        """What is found; None when it cannot be told without waiting."""
        try:
            if self._connection is None:
                self._connection = self._opened()
            return self._connection.execute(question, given).fetchall()
        except sqlite3.Error:
            self.close()
            return None

    def close(self) -> None:
        """Let go of the file; the next question opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _opened(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._uri, uri=True, timeout=0, isolation_level=None)
        try:
            if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
                raise sqlite3.OperationalError("a reader would wait for writers")
        except sqlite3.Error:
            connection.close()
            raise
        return connection


class Database:
    """
    An engine with bounded waiting and translated errors.

    Args:
        url: ``sqlite:///relative``, ``sqlite:////absolute`` or ``postgresql://user@host/name``;
            ``sslmode`` as in libpq.
        timeout_s: for one call, waiting for a connection and connecting included. A database that hangs
            in the middle may take two seconds more, while the driver tries to say goodbye.
        pool_size: connections to PostgreSQL. SQLite gets one: it has one writer anyway, and callers
            queueing here in order are served sooner than connections that fight for its lock.
        pgbouncer: prepare nothing that outlives a transaction, for a pooler in transaction mode.
    Raises: ValueError when the URL is not understood. The text does not repeat it, as it may hold a password.
    """

    def __init__(self, url: str, *, timeout_s: float = 3.0, pool_size: int = 10, pgbouncer: bool = False) -> None:
        address = read_address(url)
        self.dialect = address.get_backend_name()
        self._where = address.database if self.dialect == "sqlite" else f"{address.host}:{address.port or 5432}"
        self._timeout_s = timeout_s
        size = 1 if self.dialect == "sqlite" else pool_size
        self._engine = _engine(address, timeout_s, size, pgbouncer)
        # Callers wait here and not in the engine's pool: there, nobody is woken when the one who was making a
        # connection fails or is cancelled, and the rest would wait their full time for nothing.
        self._slots = asyncio.Semaphore(size)
        self._isolation = "SERIALIZABLE" if self.dialect == "sqlite" else "READ COMMITTED"
        self._glance = _Glance(address.database) if self.dialect == "sqlite" and address.database else None
        if self._glance is not None:
            # Both look at one file: where it was replaced, whoever looks anew is followed.
            event.listen(self._engine.sync_engine, "connect", self._look_anew)
        self._pgbouncer = pgbouncer

    def _look_anew(self, _connection: object, _record: object) -> None:
        if self._glance is not None:
            self._glance.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """
        A connection on which each statement is a transaction of its own. Raises StoreDown, also from
        inside.
        """
        # A pooler may give preparing and executing to two servers unless a transaction holds them together.
        single = self._isolated() if self._pgbouncer else self._engine.begin()
        async with self._bounded(), self._slots, single as connection:
            yield connection

    def question(self, statement: Select[Any]) -> Question:
        """*statement*, for `ask`."""
        return Question(statement, self._engine.dialect)

    def rows(self, statement: Insert, type_: type[Any]) -> Rows:
        """*statement*, for many records of *type_*."""
        return Rows(statement, self._engine.dialect, type_)

    async def ask(self, question: Question, **values: Any) -> list[tuple[Any, ...]]:
        """The rows that answer *question*, in a transaction of its own. Raises StoreDown."""
        try:
            given = question.given(values)
        except (TypeError, ValueError):
            raise self._refused("a value does not fit its column") from None
        if self._glance is not None and (rows := self._glance.rows(question.text, given)) is not None:
            return question.read(rows)
        async with self._bounded(), self._slots, self._engine.connect() as connection:
            try:
                driver: Any = (await connection.get_raw_connection()).driver_connection
                if self.dialect == "sqlite":
                    return question.read(await driver.execute_fetchall(question.text, given))
                if self._pgbouncer:
                    return question.read(await _fetched_together(driver, question.text, given))
                return question.read(await driver.fetch(question.text, *given))
            except BaseException:
                # Whatever it was in the middle of, nobody else gets to hear the end of it.
                await connection.invalidate()
                raise

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction, committed at the end. Raises StoreDown, also from inside."""
        async with self._bounded(), self._slots, self._isolated() as connection:
            yield connection

    @asynccontextmanager
    async def _isolated(self) -> AsyncIterator[AsyncConnection]:
        # Not by an engine with this option: a connection whose time is over while it is made ready would be lost to the pool.
        async with self._engine.connect() as connection:
            try:
                await connection.execution_options(isolation_level=self._isolation)
            except BaseException:
                # Half made ready, it is good for nobody.
                await connection.invalidate()
                raise
            async with connection.begin():
                yield connection

    @asynccontextmanager
    async def alone(self, lock: int) -> AsyncIterator[AsyncConnection]:
        """A transaction that no other holder of *lock*, in whatever process, runs at the same time."""
        async with self.transaction() as connection:
            if self.dialect == "sqlite":
                await connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": lock})
            yield connection

    async def close(self) -> None:
        """Close all connections."""
        glance, self._glance = self._glance, None
        if glance is not None:
            glance.close()
        await self._engine.dispose()

    def down(self, what: str) -> StoreDown:
        """The error that says where and what kind, and no values."""
        return StoreDown(f"records at {self._where}: {what}")

    @asynccontextmanager
    async def _bounded(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._timeout_s):
                yield
        except StatementError as error:
            raise self._translated(error) from None
        except gaierror:
            raise self.down("the host's name cannot be looked up") from None
        except (SQLAlchemyError, sqlite3.Error, InterfaceError, OSError, TimeoutError) as error:
            raise self.down(type(error).__name__) from None
        except PostgresError as error:
            raise self._told(type(error).__name__, str(error.sqlstate or "")) from None

    def _translated(self, error: StatementError) -> StafettError:
        # security: `from None` and no text of the database, since it quotes the values of the row it refused.
        sqlstate = getattr(error.orig, "sqlstate", None) or ""
        if isinstance(error, IntegrityError) or not isinstance(error, DBAPIError):
            return self._refused(f"{type(error).__name__} {sqlstate}".strip())
        return self._told(type(error).__name__, sqlstate)

    def _told(self, kind: str, sqlstate: str) -> StafettError:
        if sentence := _SENTENCES.get(sqlstate):
            return self.down(f"{sentence} ({sqlstate})")
        what = f"{kind} {sqlstate}".strip()
        return self._refused(what) if sqlstate[:2] in _REFUSED else self.down(what)

    def _refused(self, what: str) -> StafettError:
        return StafettError(f"records at {self._where}: {what}", code="records_refused")


def read_address(url: str) -> URL:
    """*url* with the driver we use. Raises: as `Database`."""
    try:
        address = make_url(url)
        address = address.set(drivername=_DRIVERS[address.drivername])
        if address.database in (None, "", ":memory:"):
            raise ValueError("each connection would get a database of its own")
    except (ArgumentError, ValueError, KeyError):
        raise ValueError("not a usable database URL: sqlite:///path or postgresql://user@host/name") from None
    if "sslmode" in address.query:
        mode = address.query["sslmode"]
        address = address.difference_update_query(["sslmode"]).update_query_dict({"ssl": mode})
    if set(address.query) - {"ssl"} or address.query.get("ssl", "require") not in _SSL_MODES:
        raise ValueError(
            "a database URL may have the one option sslmode, of "
            + ", ".join(_SSL_MODES)
            + "; a CA of your own goes into"
            " the environment variable PGSSLROOTCERT"
        )
    return address


def _engine(address: URL, timeout_s: float, pool_size: int, pgbouncer: bool) -> AsyncEngine:
    sqlite = address.get_backend_name() == "sqlite"
    connect_args: dict[str, Any] = {"timeout": timeout_s}
    if sqlite:
        connect_args["async_creator_fn"] = _open_sqlite
    elif pgbouncer:
        # A named statement would stay in the pooler's connection and meet its namesake of another process.
        connect_args["prepared_statement_name_func"] = str
        connect_args |= {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
    engine = create_async_engine(
        address,
        isolation_level="AUTOCOMMIT",
        pool_reset_on_return=None,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=timeout_s,
        hide_parameters=True,
        connect_args=connect_args,
    )
    if sqlite:
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    else:
        event.listen(engine.sync_engine, "checkout", _refuse_closed)
    return engine


async def _fetched_together(driver: Any, question: str, given: Sequence[Any]) -> Any:
    """
    Behind a pooler the unnamed statement must meet its own: a transaction keeps them together.

    Nothing is rolled back: the connection is thrown away then, and a server that fell silent would never answer.
    """
    transaction = driver.transaction()
    await transaction.start()
    rows = await driver.fetch(question, *given)
    await transaction.commit()
    return rows


async def _open_sqlite(*args: Any, **options: Any) -> aiosqlite.Connection:
    opening = aiosqlite.connect(*args, **options)
    thread, connect, made = opening._thread, opening._connector, list[sqlite3.Connection]()
    thread.daemon = True

    def connect_and_tell() -> sqlite3.Connection:
        made.append(connect())
        return made[0]

    opening._connector = connect_and_tell
    try:
        return await opening
    except BaseException:
        # It would go on for a moment and then report to an event loop that may be closed by then.
        await asyncio.shield(asyncio.to_thread(_closed, thread, made))
        raise


def _closed(thread: threading.Thread, made: Sequence[sqlite3.Connection]) -> None:
    """Wait for the end of *thread*, and close what it *made* in that moment: nobody else knows of it."""
    thread.join()
    for connection in made:
        connection.close()


def _prepare_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    # NORMAL syncs at checkpoints only, which WAL makes safe.
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    # What is erased is overwritten, not only let go of: some builds of SQLite do that unasked, others do not.
    cursor.execute("PRAGMA secure_delete=ON")
    # WAL lets a sweep or a migration in another process read while we write. It is a property of the
    # file: when SQLite says busy here, without waiting, somebody else is just switching it on.
    with suppress(sqlite3.OperationalError):
        cursor.execute("PRAGMA journal_mode=WAL")
    cursor.close()


def _refuse_closed(connection: Any, _record: object, _proxy: object) -> None:
    # After a restart of the server every pooled connection is dead, and asyncpg already knows: asking it
    # costs nothing, where a ping per checkout would cost a round trip.
    if connection.driver_connection.is_closed():
        raise InvalidatePoolError
