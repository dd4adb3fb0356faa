"""``stafett logouts list`` and ``retry``: what partners were not told, and having them told after all."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from broker.core.changing import replace
from broker.stores.ports import Notice
from broker.stores.sql import SqlRecords

from .conftest import Terminal

NOW = datetime.now(UTC)


def notice(name: str, **changes: object) -> Notice:
    made = Notice(
        id=name,
        kind="logout",
        batch="b1",
        partner="garage",
        customer="customer-7",
        sealed=b"sealed",
        state="pending",
        attempts=3,
        created_at=NOW,
        due_at=NOW + timedelta(hours=1),
        give_up_at=NOW + timedelta(days=1),
        result="503",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture
def outbox(terminal: Terminal) -> Terminal:
    """A database with one notice of each kind."""
    terminal.write()
    terminal.run("migrate")
    ended = {"ended_at": NOW}
    add(
        terminal,
        notice("n-waits"),
        notice("n-refused", partner="tyre-shop", state="refused", result="400", **ended),
        notice("n-late", state="given_up", result="unreachable", **ended),
        notice("n-told", state="delivered", result="200", sealed=None, **ended),
    )
    return terminal


def add(terminal: Terminal, *notices: Notice) -> None:
    async def run() -> None:
        records = SqlRecords(terminal.database)
        await records.add_notices(notices)
        await records.close()

    asyncio.run(run())


def due(terminal: Terminal) -> set[str]:
    async def run() -> set[str]:
        records = SqlRecords(terminal.database)
        now = datetime.now(UTC)
        claimed = await records.claim_notices(now, now + timedelta(minutes=1), 10)
        await records.close()
        return {each.id for each in claimed}

    return asyncio.run(run())


def listed(terminal: Terminal, *arguments: str) -> list[list[str]]:
    ran = terminal.run("logouts", "list", *arguments)
    assert ran.code == 0
    return [line.split() for line in ran.out.splitlines()]


def test_lists_what_was_not_told(outbox: Terminal) -> None:
    """One line each, with how the last attempt went; nothing of whom it is about."""
    lines = listed(outbox)
    assert {(line[0], line[1], line[2], line[-1]) for line in lines} == {
        ("n-waits", "garage", "pending", "last=503"),
        ("n-refused", "tyre-shop", "refused", "last=400"),
        ("n-late", "garage", "given_up", "last=unreachable"),
    }
    assert "customer-7" not in outbox.run("logouts", "list").said


def test_lists_by_partner_and_also_what_was_told(outbox: Terminal) -> None:
    """As asked."""
    assert {line[0] for line in listed(outbox, "--partner", "garage")} == {"n-waits", "n-late"}
    assert {line[0] for line in listed(outbox, "--told")} == {"n-waits", "n-refused", "n-late", "n-told"}


def test_says_when_nobody_waits(outbox: Terminal) -> None:
    """On the error stream: a mistyped name does not look like silence, and the list stays one line for each notice."""
    ran = outbox.run("logouts", "list", "--partner", "nobody")
    assert (ran.code, ran.out) == (0, "")
    assert "nobody waits" in ran.err


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        ((), {"n-waits", "n-refused", "n-late"}),
        (("--partner", "garage"), {"n-waits", "n-late"}),
        (("--id", "n-refused"), {"n-refused"}),
    ],
)
def test_has_them_told_again(outbox: Terminal, arguments: tuple[str, ...], meant: set[str]) -> None:
    """At once, and for a whole day more."""
    assert due(outbox) == set()
    ran = outbox.run("logouts", "retry", *arguments)
    assert (ran.code, ran.out.split()[0]) == (0, str(len(meant)))
    assert due(outbox) == meant


@pytest.mark.parametrize("arguments", [("--id", "n-told"), ("--id", "n-unknown"), ("--partner", "nobody")])
def test_says_when_there_is_nothing_to_tell(outbox: Terminal, arguments: tuple[str, ...]) -> None:
    """What was told is not told again, and a mistyped name is not passed off as done."""
    ran = outbox.run("logouts", "retry", *arguments)
    assert ran.code == 1
    assert "nothing" in ran.err
