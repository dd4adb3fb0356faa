"""The commands of the project say what they do, and do what they say."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = [
    *("help", "setup", "demo", "demo-check", "check", "test", "interop"),
    *("bench", "golden", "fmt", "lock", "clean"),
]


def make(*arguments: str) -> str:
    # Not a child of the make that runs the tests: `make pytest` and `make test SHOP_PORT=9001` would have a say in it.
    passed_on = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("MAKE", "MFLAGS")) and key[-5:] != "_PORT"
    }
    run = subprocess.run(["make", *arguments], cwd=ROOT, capture_output=True, text=True, check=True, env=passed_on)
    return run.stdout


def test_make_alone_lists_every_command() -> None:
    """Each with a line of explanation."""
    listed = dict(re.findall(r"^  ([a-z-]+) +(\S.*)$", make(), re.MULTILINE))
    assert list(listed) == COMMANDS


def test_a_chosen_port_reaches_the_demo() -> None:
    """Only those chosen are passed on; the defaults are the program's own."""
    assert make("-n", "demo", "BROKER_PORT=9700", "PHONE_PORT=9705").split("stafett demo")[1].split() == [
        *("--broker-port", "9700"),
        *("--phone-port", "9705"),
    ]


def test_an_empty_port_counts_as_not_chosen() -> None:
    """An option without its value would swallow the next one."""
    assert "--shop-port" not in make("-n", "demo", "SHOP_PORT=")


@pytest.mark.parametrize(
    "part", ["setup/setup.sh test", "ruff check", "mypy", "tests/rooms", "--ignore=tests/bench", "--check"]
)
def test_the_gate_leaves_nothing_out(part: str) -> None:
    """`make test`: set-up, lint, types, walls, every test, then the whole story."""
    assert part in make("-n", "test")


def test_the_gate_needs_no_registry_of_clients() -> None:
    """What other people's libraries bring is tested by `make interop` alone."""
    assert "--ignore=tests/interop" in make("-n", "pytest")
    assert make("-n", "interop").rstrip().endswith("pytest tests/interop")


def test_the_pipeline_runs_the_gate_and_then_the_clients() -> None:
    """.ci/run is `make test`, then `make interop`."""
    script = (ROOT / ".ci/run").read_text()
    commands = [line for line in script.splitlines() if line and not line.startswith(("#", "set ", "cd "))]
    assert commands == ["make test", "exec make interop"]
    assert (ROOT / ".ci/run").stat().st_mode & 0o111
