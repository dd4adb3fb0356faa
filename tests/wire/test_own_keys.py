"""The secret that development makes for itself: once, for this user only, whoever is first."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from broker.wire.own_keys import own_secret


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "keys"


def test_a_restart_finds_the_same_secret(folder: Path) -> None:
    """So sessions and subjects outlive it; what is there is not touched."""
    first = own_secret(folder)
    written = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert own_secret(folder) == first
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == written


def test_only_this_user_reads_it(folder: Path) -> None:
    """0700 and 0600, and nothing left over from the making."""
    assert len(own_secret(folder)) == 32
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [path.name for path in folder.iterdir()] == ["secret"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_two_folders_share_nothing(tmp_path: Path) -> None:
    """The secret is random, not derived from where it is."""
    assert own_secret(tmp_path / "a") != own_secret(tmp_path / "b")


def test_many_at_once_agree(folder: Path) -> None:
    """Several processes may start together: whoever finishes first wins, and nobody gets half a file."""
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(own_secret, [folder] * 6))
    assert all(each == made[0] for each in made)
    assert len(list(folder.iterdir())) == 1
