"""``stafett migrate`` and ``stafett sweep``: the database made right, and kept clean."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest

from broker.core.changing import replace
from broker.stores.migrate import head_revision
from broker.stores.ports import ConsentRecord, Customer, LinkedIdentity, ProofRecord, Transfer
from broker.stores.sql import SqlRecords
from tests.servers import free_port

from .conftest import PRODUCTION, Terminal

T = TypeVar("T")
NOW = datetime.now(UTC)
DAY = timedelta(days=1)


def in_records(terminal: Terminal, work: Callable[[SqlRecords], Awaitable[T]]) -> T:
    async def run() -> T:
        records = SqlRecords(terminal.database)
        try:
            return await work(records)
        finally:
            await records.close()

    return asyncio.run(run())


def set_schema(terminal: Terminal, revision: str) -> None:
    """As if another version of the program had been here."""
    database = sqlite3.connect(terminal.folder / "data" / "stafett.db")
    database.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    database.commit()
    database.close()


class TestMigrate:
    def test_an_empty_database_gets_this_versions_schema(self, terminal: Terminal) -> None:
        """And says which; doing it again changes nothing."""
        terminal.write()
        for _ in range(2):
            ran = terminal.run("migrate")
            assert (ran.code, ran.out) == (0, f"the database is at schema {head_revision()}\n")
        assert in_records(terminal, lambda records: records.schema_version()) == head_revision()

    def test_the_data_folder_is_this_users_alone(self, terminal: Terminal) -> None:
        """Personal data and keys will lie there."""
        terminal.write()
        terminal.run("migrate")
        assert (terminal.folder / "data").stat().st_mode & 0o777 == 0o700

    def test_the_config_is_found_by_option_and_by_environment(self, terminal: Terminal) -> None:
        """The option goes before the environment, and that before the file of the usual name."""
        path = terminal.write(name="other.yaml")
        assert terminal.run("migrate").code == 1
        assert terminal.run("migrate", STAFETT_CONFIG=str(path)).code == 0
        assert terminal.run("migrate", "-c", str(path), STAFETT_CONFIG="/nowhere.yaml").code == 0

    def test_a_database_of_a_later_version_is_left_alone(self, terminal: Terminal) -> None:
        """Going back needs a backup, not a guess."""
        terminal.write()
        terminal.run("migrate")
        set_schema(terminal, "9999")
        ran = terminal.run("migrate")
        assert ran.code == 1
        assert "made by a later version" in ran.err

    def test_a_config_with_problems_touches_nothing(self, terminal: Terminal) -> None:
        """First the config, then the data."""
        terminal.write({"ceiling: contact": "ceiling: contakt"})
        ran = terminal.run("migrate")
        assert ran.code == 1
        assert "upstreams.google.ceiling" in ran.err
        assert not (terminal.folder / "data").exists()

    @pytest.mark.parametrize("command", ["migrate", "sweep", "serve"])
    def test_a_database_that_is_not_there_has_its_own_exit_code(self, terminal: Terminal, command: str) -> None:
        """3: worth trying again, unlike a mistake; where it was looked for, but no password."""
        port = free_port()
        url = f"postgresql+asyncpg://stafett:hunter2@127.0.0.1:{port}/stafett"
        terminal.write(
            {
                "  data_dir: data\n": '  data_dir: data\n  records: {url: "env:DATABASE_URL"}\n',
                "    port: 8700": f"    port: {free_port()}",
            }
        )
        ran = terminal.run(command, DATABASE_URL=url)
        assert ran.code == 3
        assert f"127.0.0.1:{port}" in ran.err
        assert "hunter2" not in ran.said

    def test_a_host_that_no_name_server_knows(self, terminal: Terminal) -> None:
        """Said in words: a slip in the URL is the likeliest mistake."""
        terminal.write({"  data_dir: data\n": '  data_dir: data\n  records: {url: "env:DATABASE_URL"}\n'})
        ran = terminal.run("migrate", DATABASE_URL="postgresql+asyncpg://stafett:hunter2@db.invalid/stafett")
        assert ran.code == 3
        assert "db.invalid" in ran.err
        assert "gaierror" not in ran.err

    @pytest.mark.parametrize(
        "url", ["redis://[::1/0", "redis://localhost:6379/0?nonsense=1", "redis://localhost:port/0"]
    )
    def test_an_address_of_no_redis_is_a_mistake(self, terminal: Terminal, url: str) -> None:
        """1, naming the key."""
        state = {
            "state: {embedded: memory}": 'state: {url: "env:REDIS_URL"}',
            "    port: 8700": f"    port: {free_port()}",
        }
        terminal.write(state)
        ran = terminal.run("serve", REDIS_URL=url)
        assert ran.code == 1
        assert "broker.state.url" in ran.err
        assert url not in ran.said

    @pytest.mark.parametrize("url", ["mysql://db.example/stafett", "nonsense", "sqlite", "postgresql+asyncpg://[::1/x"])
    def test_an_address_that_is_none_is_a_mistake(self, terminal: Terminal, url: str) -> None:
        """1, naming the key; the address may hold a password and is not repeated."""
        terminal.write({"  data_dir: data\n": '  data_dir: data\n  records: {url: "env:DATABASE_URL"}\n'})
        ran = terminal.run("migrate", DATABASE_URL=url)
        assert ran.code == 1
        assert "broker.records.url" in ran.err

    @pytest.mark.parametrize("command", ["migrate", "sweep", "serve"])
    def test_a_data_folder_that_cannot_be_is_a_mistake(self, terminal: Terminal, command: str) -> None:
        """A file in its place: a sentence with the path."""
        terminal.write(
            {"  data_dir: data\n": "  data_dir: stafett.yaml\n", "    port: 8700": f"    port: {free_port()}"}
        )
        ran = terminal.run(command)
        assert ran.code == 1
        assert "stafett.yaml" in ran.err


def transfer(name: str, made: datetime, picked_up: datetime | None) -> Transfer:
    return Transfer(
        id=name,
        customer="maja",
        source="tyre-shop",
        recipient="garage",
        purpose="tyre-fitting",
        type="tyre-fitting/v1",
        state="redeemed" if picked_up else "started",
        consent="live",
        fields=("vehicle.registration_number",),
        payload=b"sealed",
        payload_sha256="0" * 64,
        created_at=made,
        picked_up_at=picked_up,
    )


def consent(name: str, ended: datetime) -> ConsentRecord:
    return ConsentRecord(
        id=name,
        customer="maja",
        source="tyre-shop",
        recipient="garage",
        purpose="tyre-fitting",
        type="tyre-fitting/v1",
        granted=("items",),
        refused=(),
        remember=True,
        policy_version="v",
        created_at=ended - 365 * DAY,
        expires_at=ended,
    )


async def fill(records: SqlRecords) -> None:
    identity = LinkedIdentity("lookup", "maja", "bankid", b"sealed", NOW, NOW)
    await records.find_or_create_customer(identity, Customer("maja", NOW, b"profile"))
    for name, made, picked_up in [
        ("picked up long ago", NOW - 9 * DAY, NOW - 8 * DAY),
        ("picked up lately", NOW - 9 * DAY, NOW - 6 * DAY),
        ("never picked up, old", NOW - 8 * DAY, None),
        ("never picked up, new", NOW - DAY, None),
    ]:
        await records.save_transfers([transfer(name, made, picked_up)])
    for name, until in [("over", NOW - DAY), ("kept", NOW + DAY)]:
        await records.add_proof(ProofRecord(name, "maja", "bankid", b"sealed", NOW - 90 * DAY, until))
    for name, ended in [("long over", NOW - 366 * DAY), ("over", NOW - 364 * DAY), ("live", NOW + DAY)]:
        await records.add_consent(consent(name, ended))


class TestSweep:
    def test_what_is_past_its_retention_is_erased_and_the_rest_stays(self, terminal: Terminal) -> None:
        """Payloads a week after pick-up or, never picked up, after creation; their receipts stay, without the data."""
        terminal.write()
        terminal.run("migrate")
        in_records(terminal, fill)
        ran = terminal.run("sweep")
        assert (ran.code, ran.out) == (
            0,
            "erased: 2 payloads, 1 proofs of login, 1 ended consents, 0 settled notices\n",
        )
        kept = {each.id: each for each in in_records(terminal, lambda records: records.transfers_of("maja", 10))}
        assert {name: each.payload for name, each in kept.items()} == {
            "picked up long ago": None,
            "picked up lately": b"sealed",
            "never picked up, old": None,
            "never picked up, new": b"sealed",
        }
        assert kept["picked up long ago"].fields == ("vehicle.registration_number",)
        assert kept["picked up long ago"].payload_sha256 == "0" * 64
        assert (
            terminal.run("sweep").out == "erased: 0 payloads, 0 proofs of login, 0 ended consents, 0 settled notices\n"
        )

    def test_the_retention_is_the_configs(self, terminal: Terminal) -> None:
        """A month in the YAML is a month."""
        terminal.write({"payload: 7d": "payload: 30d"})
        terminal.run("migrate")
        in_records(terminal, fill)
        assert terminal.run("sweep").out.startswith("erased: 0 payloads")

    def test_nothing_erased_can_be_found_in_the_file(self, terminal: Terminal) -> None:
        """The word is gone from the database, not only from its answers: pages are overwritten."""
        terminal.write()
        terminal.run("migrate")
        secret = b"sealed-payload-of-maja"

        async def one(records: SqlRecords) -> None:
            await fill(records)
            await records.save_transfers([replace(transfer("x", NOW - 9 * DAY, None), payload=secret)])

        in_records(terminal, one)
        assert secret in b"".join(file.read_bytes() for file in (terminal.folder / "data").glob("stafett.db*"))
        terminal.run("sweep")
        files = list((terminal.folder / "data").glob("stafett.db*"))
        assert files
        assert not any(secret in file.read_bytes() for file in files)

    def test_many_are_erased_batch_by_batch(self, terminal: Terminal) -> None:
        """More than one batch holds."""
        terminal.write()
        terminal.run("migrate")
        in_records(terminal, fill)
        database = sqlite3.connect(terminal.folder / "data" / "stafett.db")
        database.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1100)"
            " INSERT INTO proofs (id, customer, upstream, sealed, created_at, delete_after)"
            " SELECT 'p' || i, customer, upstream, sealed, created_at, delete_after FROM proofs, n WHERE id = 'over'"
        )
        database.commit()
        database.close()
        assert "1101 proofs of login" in terminal.run("sweep").out

    def test_production_never_sweeps_on_another_schema(self, terminal: Terminal) -> None:
        """Neither an empty nor an older database is touched; what to do is said."""
        terminal.write(PRODUCTION)
        ran = terminal.run("sweep")
        assert ran.code == 1
        assert "run: stafett migrate" in ran.err
        assert terminal.run("migrate").code == 0
        assert terminal.run("sweep").code == 0
        set_schema(terminal, "0000")
        ran = terminal.run("sweep")
        assert ran.code == 1
        assert "run: stafett migrate" in ran.err
        assert ran.out == ""
