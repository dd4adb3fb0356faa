"""``stafett demo``: the story over HTTP, and how the command begins and ends."""

import contextlib
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest

from broker.cli.demo import listen, run, staged
from broker.config.render import OPTIONS, Ports
from broker.demo.player import Stuck
from broker.demo.run import Addresses, Secrets, make_cast
from broker.demo.story import Report, StoryEnded, play_all
from broker.errors import ConfigError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


@pytest.fixture
def also_taken() -> Iterator[int]:
    """Another one."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


@pytest.fixture
def ports(taken: int, also_taken: int) -> Ports:
    """Ports that were free a moment ago, while the taken ones were taken."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in fields(Ports)]
        return Ports(*(each.getsockname()[1] for each in sockets))


def command(ports: Ports, folder: Path) -> list[str]:
    chosen = [f"{option}={getattr(ports, name)}" for name, option in OPTIONS.items()]
    return [sys.executable, "-m", "broker", "demo", f"--folder={folder}", *chosen]


def processes_naming(text: str) -> list[str]:
    listed = subprocess.run(["ps", "-axww", "-o", "command"], capture_output=True, text=True, check=True)
    return [line for line in listed.stdout.splitlines() if text in line and not line.startswith("ps ")]


async def test_the_story_plays_over_http(ports: Ports, tmp_path: Path) -> None:
    """
    A clean start is enough for the whole story: log in, share once, come again unasked, withdraw, be asked again, cancel,
    come with Google, share nothing. Its log is its own; this process logs afterwards where it did before.
    """
    said: list[str] = []
    places = logging.getLogger().handlers[:]
    sockets = listen(ports)
    async with staged(ports, tmp_path, sockets, said.append) as stage:
        passed = await play_all(stage.at, Report(said.append), pictures=None, browser=False)
    assert passed, "\n".join(said)
    assert logging.getLogger().handlers == places
    log = (tmp_path / "broker.log").read_text()
    assert '"level": "error"' not in log, log
    for personal in ("Anders", "Lindqvist", "ABC 12D", "195704289999", "anders.lindqvist@example.com", "+46701740635"):
        assert personal not in log


async def test_a_failing_step_is_named(ports: Ports) -> None:
    """With nobody there the first step fails, is named with its reason, and nothing more is played."""
    said: list[str] = []
    assert not await play_all(Addresses(ports), Report(said.append), pictures=None)
    text = "\n".join(said)
    assert "FAILED  the tyre shop shows its tyres" in text
    assert str(ports.shop) in text
    assert "BankID" not in text
    assert said[-1].startswith("\n  FAILED: the tyre shop shows its tyres")


async def test_a_failing_step_ends_the_story() -> None:
    """Whatever goes wrong inside a step, the story ends there and the reason is one line."""
    said: list[str] = []
    report = Report(said.append)
    with pytest.raises(StoryEnded):
        async with report.step("something is looked up"):
            raise Stuck("there is no such button")
    assert report.failed == "something is looked up"
    assert said[-1].strip() == "there is no such button"


def test_the_next_start_finds_secrets_and_certificates(ports: Ports, tmp_path: Path) -> None:
    """What the first start made is kept, readable by its owner only, so that sessions and subjects survive a restart."""
    make_cast(ports, tmp_path)
    kept = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    make_cast(ports, tmp_path)
    assert {file: file.read_bytes() for file in kept} == kept
    secret = [*(tmp_path / "secrets").iterdir(), *(tmp_path / "bankid").glob("*.key")]
    assert [file.name for file in secret if file.stat().st_mode & 0o077] == []


def test_secrets_do_not_show(tmp_path: Path) -> None:
    """Each name has a secret of its own, kept, and none is printed with the object that knows them."""
    known = Secrets(tmp_path)
    made = [known.text("shop"), known.text("garage"), known.key("apple.p8")]
    assert made == [known.text("shop"), known.text("garage"), known.key("apple.p8")]
    assert len({*made}) == 3
    assert not any(secret in repr(known) for secret in made)


def test_make_knows_every_port() -> None:
    """What the program lets one choose, the Makefile passes on."""
    named = re.search(r"^DEMO_PORTS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert named is not None
    assert [f"--{each.lower().replace('_', '-')}-port" for each in named[1].split()] == list(OPTIONS.values())


@pytest.mark.parametrize("name", OPTIONS)
def test_a_taken_port_is_named_with_its_option(name: str, ports: Ports, taken: int, tmp_path: Path) -> None:
    """All ports are tried before anything is started; the sentence says which one and what chooses another."""
    with pytest.raises(ConfigError) as refusal:
        run(replace(ports, **{name: taken}), tmp_path / "demo", check=False, screenshots=None)
    (problem,) = refusal.value.problems
    assert str(taken) in problem
    assert OPTIONS[name] in problem
    assert not (tmp_path / "demo").exists()


def test_every_taken_port_is_named(ports: Ports, taken: int, also_taken: int) -> None:
    """Two taken ports are two sentences, and the free ones are let go again."""
    with pytest.raises(ConfigError) as refusal:
        listen(replace(ports, shop=taken, garage=also_taken))
    assert [problem.split(":")[0] for problem in refusal.value.problems] == ["--shop-port", "--garage-port"]
    with contextlib.ExitStack() as stack:
        for each in listen(ports).values():
            stack.enter_context(each)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_an_impossible_port_is_refused(port: int, ports: Ports) -> None:
    """A number that is no port is a sentence, not a stack trace."""
    with pytest.raises(ConfigError, match="--google-port"):
        listen(replace(ports, google=port))


def test_one_port_for_two_is_refused(ports: Ports) -> None:
    """The sentence names both options."""
    with pytest.raises(ConfigError, match=r"--garage-port: .*--shop-port"):
        listen(replace(ports, garage=ports.shop))


def test_a_taken_port_ends_the_command(ports: Ports, taken: int, tmp_path: Path) -> None:
    """Exit code 1, one sentence, no stack trace."""
    ended = subprocess.run(
        command(replace(ports, bankid_app=taken), tmp_path), capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert ended.returncode == 1
    assert ended.stdout == ""
    (sentence,) = ended.stderr.splitlines()
    assert sentence.startswith("--phone-port: ")
    assert str(taken) in sentence


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_stops_cleanly(by: signal.Signals, ports: Ports, tmp_path: Path) -> None:
    """Exit code 0, a word of goodbye, no stack trace, and no process left behind."""
    with subprocess.Popen(
        command(ports, tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        # As in a terminal, where Ctrl-C reaches the whole group.
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if "Ctrl-C" in line:
                break
        os.killpg(process.pid, by)
        rest, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert errors == ""
    assert "Stopped" in rest
    text = "".join(said)
    assert text.index(f"http://127.0.0.1:{ports.shop}/") < text.index(f"http://localhost:{ports.broker}/")
    assert processes_naming(str(tmp_path)) == []


def test_help_names_every_option() -> None:
    """``--help`` lists what can be chosen."""
    shown = subprocess.run(
        [sys.executable, "-m", "broker", "demo", "--help"], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert shown.returncode == 0
    for option in (*OPTIONS.values(), "--check", "--screenshots", "--folder"):
        assert option in shown.stdout
