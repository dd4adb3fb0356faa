"""Running processes and their signing keys: what is noticed, when, and what is not believed."""

import os
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from broker.core.keys import KeyBook, KeyRecord, KeyStanding, KeyState, KeyTimes
from broker.errors import Denied
from broker.flows.keys import KeyCare, KeyWatch
from broker.stores.key_folder import FILE, GivenKeys, KeyFolder

START = datetime(2027, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
TIMES = KeyTimes(cached=15 * MINUTE, longest=10 * MINUTE, session=timedelta(days=1), spread=5 * MINUTE)
ALGS = ("RS256", "ES256")


class World:
    """A folder, a clock, and processes that watch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = START
        self._made = 0
        self.care = self.care_of()
        self.care.begin()

    def care_of(self, *, behind: timedelta = timedelta(0), first: KeyBook | None = None) -> KeyCare:
        return KeyCare(
            KeyFolder(self.folder, [b"s" * 32]),
            TIMES,
            lambda: self.now - behind,
            self.make,
            ALGS,
            first or KeyBook(),
        )

    def make(self, alg: str) -> KeyRecord:
        self._made += 1
        return KeyRecord(kid=f"{self._made:04}-{alg}-key-pair", alg=alg, public={}, private="private")

    def process(self, **more: Any) -> "Process":
        return Process(self.care_of(), **more)


class Process:
    """What one process signs with and publishes, as its watch says."""

    def __init__(self, care: KeyCare, every: timedelta | None = None) -> None:
        self.shown: Sequence[KeyStanding] = care.standings()
        self.swaps = 0
        self.told: list[str] = []
        book = care.store.read()
        assert book is not None
        self.watch = KeyWatch(care, book, self._show, lambda action, key: self.told.append(action), every=every)
        self.refuse = False

    def _show(self, standings: Sequence[KeyStanding]) -> None:
        self.shown = standings
        self.swaps += 1

    @property
    def signs(self) -> dict[str, str]:
        return {each.key.alg: each.key.kid[:4] for each in self.shown if each.state is KeyState.SIGNING}

    @property
    def publishes(self) -> set[str]:
        return {each.key.kid[:4] for each in self.shown if each.is_published}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "keys")


@pytest.fixture
def logged() -> Iterator[list[dict[str, Any]]]:
    """What is logged meanwhile."""
    with structlog.testing.capture_logs() as lines:
        yield lines


async def test_a_rotation_is_noticed_without_a_restart(world: World) -> None:
    """Published at the next look, signed with at its hour, the old one unpublished when its tokens are over."""
    process = world.process()
    world.care.rotate(["ES256"])
    await process.watch.look()
    assert (process.signs, process.publishes) == ({"RS256": "0001", "ES256": "0002"}, {"0001", "0002", "0003"})
    world.now += 20 * MINUTE
    await process.watch.look()
    assert (process.signs["ES256"], process.publishes) == ("0003", {"0001", "0002", "0003"})
    world.now += 20 * MINUTE
    await process.watch.look()
    assert (process.signs["ES256"], process.publishes) == ("0003", {"0001", "0003"})


async def test_nothing_new_swaps_nothing(world: World) -> None:
    """What is signed with is replaced only when it changes; a change of the file alone is none."""
    process = world.process()
    for _ in range(3):
        await process.watch.look()
        world.now += MINUTE
        os.utime(world.folder / FILE)
    assert process.swaps == 0


async def test_all_processes_see_the_same(world: World) -> None:
    """One rotates, and the others follow."""
    processes = [world.process() for _ in range(3)]
    world.care.rotate(ALGS)
    world.now += 21 * MINUTE
    for process in processes:
        await process.watch.look()
    assert {frozenset(process.signs.items()) for process in processes} == {
        frozenset({("RS256", "0003"), ("ES256", "0004")})
    }


async def test_a_rotation_is_all_or_nothing(world: World) -> None:
    """One algorithm that cannot be rotated leaves the other as it was."""
    world.care.rotate(["ES256"])
    with pytest.raises(Denied):
        world.care.rotate(ALGS)
    assert len(world.care.standings()) == 3


@pytest.mark.parametrize("content", [b"", b"half of", None])
async def test_a_file_that_is_spoiled_changes_nothing(
    world: World, content: bytes | None, logged: list[dict[str, Any]]
) -> None:
    """The known keys go on signing; it is told once, and everything is well when the file is back."""
    process, file = world.process(), world.folder / FILE
    good = file.read_bytes()
    world.care.rotate(["ES256"])
    file.unlink() if content is None else file.write_bytes(content)
    for _ in range(3):
        await process.watch.look()
    assert (process.signs, process.swaps) == ({"RS256": "0001", "ES256": "0002"}, 0)
    assert [line["event"] for line in logged] == ["keys.unreadable"]
    file.write_bytes(good)
    world.care.rotate(["ES256"])
    await process.watch.look()
    assert process.swaps == 1


async def test_the_hour_comes_even_if_the_file_is_gone(world: World) -> None:
    """What a process knows is enough for what was decided already."""
    world.care.rotate(["ES256"])
    process = world.process()
    await process.watch.look()
    (world.folder / FILE).rename(world.folder / "away")
    world.now += 20 * MINUTE
    await process.watch.look()
    assert process.signs["ES256"] == "0003"


async def test_keys_that_cannot_be_parsed_are_not_taken(world: World, logged: list[dict[str, Any]]) -> None:
    """Whatever goes wrong while they are taken over leaves the old ones, and the next look tries again."""
    process = world.process()

    def refuse(_: Sequence[KeyStanding]) -> None:
        raise RuntimeError("some library")

    process.watch._show = refuse
    world.care.rotate(["ES256"])
    await process.watch.look()
    assert [(line["event"], line["detail"]) for line in logged] == [("keys.unusable", "RuntimeError")]
    process.watch._show = process._show
    await process.watch.look()
    assert process.publishes == {"0001", "0002", "0003"}


async def test_a_withdrawn_key_is_gone_at_the_next_look(world: World) -> None:
    """And its successor signs, whatever the clock of the process."""
    slow = Process(world.care_of(behind=2 * MINUTE))
    world.care.withdraw("0002-ES256-key-pair")
    await slow.watch.look()
    assert (slow.signs["ES256"], slow.publishes) == ("0003", {"0001", "0003"})


async def test_keys_are_renewed_by_age_once(world: World, logged: list[dict[str, Any]]) -> None:
    """However many processes look after them; whoever does it tells it, to the log and the audit trail."""
    processes = [world.process(every=timedelta(days=90)) for _ in range(4)]
    world.now += timedelta(days=90)
    for process in processes * 2:
        await process.watch.look()
    assert {each.key.kid[:4] for each in world.care.standings()} == {"0001", "0002", "0003", "0004"}
    assert [process.told for process in processes] == [["keys.rotated", "keys.rotated"], [], [], []]
    assert [line["event"] for line in logged].count("keys.rotated") == 2
    assert all(process.publishes == {"0001", "0002", "0003", "0004"} for process in processes)


async def test_private_halves_are_erased(world: World) -> None:
    """By whichever process comes first, when the slowest clock is past the key's last signature."""
    process = world.process()
    world.care.rotate(["ES256"])
    world.now += 24 * MINUTE
    await process.watch.look()
    assert all(each.key.private for each in world.care.standings())
    world.now += MINUTE
    await process.watch.look()
    assert [each.key.kid[:4] for each in world.care.standings() if not each.key.private] == ["0002"]


class ReadOnly(KeyFolder):
    """As a mounted secret."""

    @property
    def is_writable(self) -> bool:
        return False

    def change(self, edit: Callable[[KeyBook], KeyBook]) -> KeyBook:
        raise AssertionError("nobody may try")


async def test_a_folder_for_reading_is_only_read(world: World, logged: list[dict[str, Any]]) -> None:
    """Keys turn in their time; what would have to be renewed is told once."""
    world.care.rotate(["ES256"])
    care = KeyCare(ReadOnly(world.folder, [b"s" * 32]), TIMES, lambda: world.now, world.make, ALGS)
    process = Process(care, every=timedelta(days=90))
    world.now += timedelta(days=91)
    for _ in range(3):
        await process.watch.look()
    assert process.signs["ES256"] == "0003"
    assert [line["event"] for line in logged] == ["keys.changed", "keys.not_renewed"]


async def test_given_keys_turn_at_their_hour(world: World) -> None:
    """A key under next takes over without a restart, and nothing is ever written."""
    firsts = [world.make(alg).model_copy(update={"signs_from": datetime(1970, 1, 1, tzinfo=UTC)}) for alg in ALGS]
    later = world.make("ES256").model_copy(update={"signs_from": START + MINUTE})
    given = GivenKeys(KeyBook(keys=(*firsts, later)))
    process = Process(KeyCare(given, TIMES, lambda: world.now, world.make, ALGS))
    await process.watch.look()
    assert process.signs["ES256"] == "0004"
    world.now += MINUTE
    await process.watch.look()
    assert (process.signs["ES256"], process.publishes) == ("0005", {"0003", "0004", "0005"})


def test_a_folder_begins_with_the_keys_an_operator_had(tmp_path: Path) -> None:
    """So that nothing breaks on the way from files to a folder."""
    world = World(tmp_path / "a")
    had = KeyBook(keys=tuple(world.make(alg).model_copy(update={"signs_from": START - MINUTE}) for alg in ALGS))
    moved = KeyCare(KeyFolder(tmp_path / "b", [b"s" * 32]), TIMES, lambda: START, world.make, ALGS, had)
    moved.begin()
    assert [(each.key.kid, each.state) for each in moved.standings()] == [
        (key.kid, KeyState.SIGNING) for key in had.keys
    ]


async def test_it_looks_until_it_is_stopped(world: World) -> None:
    """Stopping waits for nothing."""
    process = world.process()
    process.watch.start()
    await process.watch.stop()
    await process.watch.stop()
