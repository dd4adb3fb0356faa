"""
From a config file to open stores: what every command that works with data begins with.
"""

import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from broker.config.load import Loaded, load
from broker.config.settings import Settings, read_settings
from broker.core.policy import Mode
from broker.errors import ConfigError, StoreDown
from broker.observe.logging import configure, log
from broker.stores.embedded import start_embedded
from broker.stores.engine import read_address
from broker.stores.memory import MemoryState
from broker.stores.migrate import head_revision, migrate
from broker.stores.ports import Records, StateStore
from broker.stores.redis import RedisState
from broker.stores.sql import SqlRecords


def read(config: Path | None, *, plainly: bool = False) -> tuple[Loaded, Settings]:
    """
    The checked config, with logging set up; what is doubtful in it goes into the log, or *plainly* to who reads standard error.

    Raises: ConfigError with every problem.
    """
    settings = read_settings()
    configure(settings.log_level, json_lines=settings.log_format == "json")
    loaded = load(config or settings.config, data_dir=settings.data_dir)
    (_print_doubts if plainly else _log_doubts)(loaded)
    return loaded, settings


def _print_doubts(loaded: Loaded) -> None:
    """In the words of ``stafett check-config``."""
    for said in (*(f"warning: {warning}" for warning in loaded.warnings), *loaded.accepted_risks):
        print(said, file=sys.stderr)


def _log_doubts(loaded: Loaded) -> None:
    for warning in loaded.warnings:
        log("config.warning", "warning", detail=warning)
    for risk in loaded.accepted_risks:
        log("config.accepted_risk", "warning", risk=risk.risk.value, key=risk.key)


def records_url(loaded: Loaded) -> str:
    """
    The database's address: the configured one, else SQLite in the data folder.

    Raises: ConfigError for one that cannot be understood.
    """
    url = loaded.secrets.records_url
    if url is None:
        return f"sqlite+aiosqlite:///{data_folder(loaded) / 'stafett.db'}"
    with _understood("broker.records.url"):
        read_address(url)
    return url


def data_folder(loaded: Loaded) -> Path:
    """The data folder, made now if it is not there yet. Raises: ConfigError when it cannot be."""
    try:
        loaded.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError((f"broker.data_dir: cannot make the folder {loaded.data_dir} ({error.strerror})",)) from None
    return loaded.data_dir


@contextlib.contextmanager
def _understood(key: str) -> Iterator[None]:
    """What a store cannot make of an address is a mistake in the config."""
    try:
        yield
    except ValueError as error:
        raise ConfigError((f"{key}: {error}",)) from None


def open_state(loaded: Loaded) -> tuple[StateStore, str, Callable[[], None]]:
    """
    Redis as configured, else an embedded server. Returns: the store, what it is, and how to stop it.

    Raises: ConfigError for an address that cannot be understood, or a data folder that cannot be made.
    """
    if loaded.secrets.state_url is not None:
        with _understood("broker.state.url"):
            return RedisState(loaded.secrets.state_url), "redis", lambda: None
    if loaded.policy.broker.state.embedded == "memory":
        return MemoryState(), "memory, as configured", lambda: None
    embedded = start_embedded(data_folder(loaded))
    log(
        "state.embedded", "info" if embedded.kind == "valkey" else "warning", kind=embedded.kind, detail=embedded.reason
    )
    return embedded.open(), embedded.reason, embedded.stop


async def check_state(state: StateStore) -> None:
    """
    Say what is doubtful about the configured server: no answer, keys it may evict, a version too old.

    A server that is away is no reason not to start; readyz says so until it is back.
    """
    if isinstance(state, RedisState):
        try:
            doubts = await state.doubts()
        except StoreDown as error:
            doubts = (f"{error.detail}: no answer yet, or not the one expected; starting all the same",)
        for doubt in doubts:
            log("state.doubt", "warning", detail=doubt)


@contextlib.asynccontextmanager
async def open_records(loaded: Loaded) -> AsyncIterator[Records]:
    """
    The database at this version's schema: development migrates by itself.

    Raises: ConfigError in production when the schema is not this version's.
    """
    url, pgbouncer = records_url(loaded), loaded.policy.broker.records.pgbouncer
    if loaded.policy.config.mode is Mode.DEVELOPMENT:
        await migrate(url, pgbouncer=pgbouncer)
    records = SqlRecords(url, pgbouncer=pgbouncer)
    try:
        if await records.schema_version() != head_revision():
            raise ConfigError(
                ("broker.records: the database has another schema than this version needs; run: stafett migrate",)
            )
        yield records
    finally:
        await records.close()
