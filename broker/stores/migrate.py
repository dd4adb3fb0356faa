"""Bringing a database to the schema of this version; the revisions are in the folder ``migrations``."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection

from broker.errors import ConfigError
from broker.stores.engine import Database

_WAIT_S = 60.0
_LOCK = 0x5374_6166  # any number that nothing else in the database locks


async def migrate(url: str, *, pgbouncer: bool = False) -> None:
    """
    Upgrade to `head_revision`, from empty or any earlier version; nothing happens when it is there already.

    Several processes may do this at once: one works, the others wait and find it done. All of it or
    nothing is carried out.

    Args:
        url, pgbouncer: as `Database` takes them.
    Raises:
        ConfigError: the database was made by a later version.
        StoreDown: not reachable, or no turn within a minute.
    """
    database = Database(url, timeout_s=_WAIT_S, pgbouncer=pgbouncer)
    try:
        async with database.alone(_LOCK) as connection:
            await connection.run_sync(_upgrade)
    finally:
        await database.close()


def head_revision() -> str:
    """The revision this version of the program needs."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise RuntimeError("the package holds no schema revision")
    return head


def _upgrade(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        problem = f"The database was made by a later version ({error}): run that version, or restore a backup."
        raise ConfigError((problem,)) from None


def _config() -> Config:
    config = Config()
    folder = Path(__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
