"""Help, version, and what wrong usage gets."""

import subprocess
import sys
from pathlib import Path

import pytest

import broker
from broker import __version__

from .conftest import Terminal

COMMANDS = ["serve", "check-config", "migrate", "sweep", "risc", "demo"]


def test_help_names_every_command(terminal: Terminal) -> None:
    """With one line for each."""
    ran = terminal.run("--help")
    assert ran.code == 0
    assert ran.err == ""
    for command in COMMANDS:
        assert command in ran.out


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(terminal: Terminal, command: str) -> None:
    """Without needing a config, a database or the demo's extra."""
    ran = terminal.run(command, "--help")
    assert ran.code == 0
    assert f"Usage: stafett {command}" in ran.out
    assert "--help" in ran.out


def test_the_version_comes_from_one_place(terminal: Terminal) -> None:
    """The package's own."""
    ran = terminal.run("--version")
    assert (ran.code, ran.out) == (0, f"stafett {__version__}\n")


def test_the_module_is_the_program() -> None:
    """``python -m broker`` in a process of its own, as the Makefile and a container start it."""
    root = Path(broker.__file__).parents[1]
    program = [sys.executable, "-m", "broker", "--version"]
    ran = subprocess.run(program, cwd=root, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"stafett {__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("fly",),
        ("--fly",),
        ("serve", "--fly"),
        ("serve", "now"),
        ("serve", "--config"),
        ("check-config",),
        ("check-config", "a.yaml", "b.yaml"),
        ("sweep", "--days", "1"),
        ("demo", "--shop-port", "many"),
    ],
)
def test_wrong_usage_is_told_with_the_way_to_help(terminal: Terminal, arguments: tuple[str, ...]) -> None:
    """Exit code 2 and a usage line."""
    ran = terminal.run(*arguments)
    assert ran.code == 2
    assert "Usage: stafett" in ran.said or "'--config' requires an argument" in ran.err


@pytest.mark.parametrize("command", ["serve", "migrate", "sweep"])
def test_a_setting_that_cannot_be_is_told_by_name(terminal: Terminal, command: str) -> None:
    """The environment is config too."""
    terminal.write()
    ran = terminal.run(command, STAFETT_LOG_LEVEL="loud")
    assert ran.code == 1
    assert "environment variable STAFETT_LOG_LEVEL" in ran.err
    assert ran.out == ""
