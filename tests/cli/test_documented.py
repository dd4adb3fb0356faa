"""The commands README and docs tell people to type are commands of this program."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.exceptions import TyperException

from broker.cli import app

ROOT = Path(__file__).parents[2]
COMMANDS = ("serve", "check-config", "migrate", "sweep", "demo", "keys", "logouts", "risc")
TYPED = re.compile(rf"(?<![\w.-])stafett ((?:{'|'.join(COMMANDS)})\b[^`\n]*)")


def typed(text: str) -> Iterator[str]:
    """What is told to be typed after ``stafett``, in code on its own lines or between words; optional parts included."""
    text = re.sub(r"`([^`\n]*)\n\s*([^`\n]*)`", r"`\1 \2`", text)
    pieces = re.findall(r"`[^`\n]+`|^(?: {2,}|(?=stafett |\$ )).*stafett .*$", text, re.MULTILINE)
    for piece in pieces:
        for found in TYPED.findall(piece):
            yield re.split(r"\s#\s|\s\|\s|\s{2,}", found)[0].translate(str.maketrans("", "", "[]")).strip()


def parse(command: Any, words: list[str]) -> None:
    """Parse *words* as the program would, and run nothing. Raises: KeyError for an unknown command; TyperException."""
    context = command.make_context(command.name, list(words))
    if hasattr(command, "commands") and (rest := [*context._protected_args, *context.args]):
        parse(command.commands[rest[0]], rest[1:])


def documented() -> list[str]:
    """Each once; a group alone, as in «stafett keys looks after», is a name and nothing to type."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    found = {line for page in pages for line in typed(page.read_text("utf-8"))}
    return sorted(found - {"keys", "logouts", "risc", "check-config"})


def test_there_are_some() -> None:
    """The pattern still finds what the pages say."""
    assert {"serve -c stafett.yaml", "keys retire KID --compromised", "logouts retry --partner NAME --id ID"} <= {
        *documented()
    }
    assert "serve -c build/conformance/stafett.yaml" in documented()


@pytest.mark.parametrize("line", documented())
def test_what_is_documented_is_understood(line: str) -> None:
    """Command, options and number of arguments."""
    parse(typer.main.get_command(app), shlex.split(line))


@pytest.mark.parametrize(
    "line", ["serve stafett.yaml", "keys retire", "logouts retry --all", "demo --port 1", "key list"]
)
def test_a_mistake_in_a_page_would_be_seen(line: str) -> None:
    """What the program would refuse is refused here."""
    with pytest.raises((TyperException, KeyError)):
        parse(typer.main.get_command(app), shlex.split(line))
