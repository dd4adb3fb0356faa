"""``stafett serve``: starts, says so, stops; or says why not."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterable
from pathlib import Path

import pytest

import broker
from tests.servers import free_port

from .conftest import PRODUCTION, Terminal


def listening_on(port: int) -> dict[str, str]:
    return {"    port: 8700": f"    port: {port}"}


def test_a_taken_port_is_told_before_anything_is_opened(terminal: Terminal) -> None:
    """Which key, which port, what to do; exit code 1 and no data folder."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        terminal.write(listening_on(port))
        ran = terminal.run("serve")
    assert ran.code == 1
    assert f"broker.listen.port: cannot listen on 127.0.0.1 port {port}" in ran.err
    assert "choose another" in ran.err
    assert not (terminal.folder / "data" / "stafett.db").exists()


def test_an_address_of_another_machine_is_told(terminal: Terminal) -> None:
    """192.0.2.1 is nobody's (RFC 5737)."""
    terminal.write({**listening_on(free_port()), "    host: 127.0.0.1": "    host: 192.0.2.1"})
    ran = terminal.run("serve")
    assert ran.code == 1
    assert "192.0.2.1" in ran.err


@pytest.mark.parametrize("missing", ["secrets/garage", "schemas/tyre-fitting-v1.json", "logos/garage.png"])
def test_a_file_the_config_names_must_be_there(terminal: Terminal, missing: str) -> None:
    """A sentence with the file, not a fault at the first customer's login."""
    terminal.write(listening_on(free_port()))
    (terminal.folder / missing).unlink()
    ran = terminal.run("serve")
    assert ran.code == 1
    assert Path(missing).name in ran.err


def test_without_a_config_it_says_where_it_looked(terminal: Terminal) -> None:
    """The default is stafett.yaml in this folder."""
    ran = terminal.run("serve")
    assert ran.code == 1
    assert "stafett.yaml" in ran.err


def test_production_refuses_an_old_schema(terminal: Terminal) -> None:
    """It never migrates by itself: several of it may be running, and somebody wants a backup first."""
    terminal.write({**PRODUCTION, **listening_on(free_port())})
    ran = terminal.run("serve")
    assert ran.code == 1
    assert "run: stafett migrate" in ran.err


def test_production_refuses_what_the_demo_takes_for_granted(terminal: Terminal) -> None:
    """Each by key, all at once."""
    terminal.write({"mode: development\n": "mode: production\n", **listening_on(free_port())})
    ran = terminal.run("serve")
    assert ran.code == 1
    for key in (
        "broker.issuer",
        "broker.state.url",
        "broker.records.url",
        "broker.keys.secret",
        "broker.trusted_proxies",
    ):
        assert key in ran.err


def until_serving(lines: Iterable[str]) -> list[str]:
    """What is logged up to the line that says it serves, that included."""
    seen: list[str] = []
    for line in lines:
        seen.append(line)
        if '"event": "serving"' in line:
            return seen
    raise AssertionError("it ended before it served:\n" + "".join(seen))


def test_it_serves_until_told_to_stop(terminal: Terminal) -> None:
    """In a process of its own: answers, logs JSON lines only, and ends cleanly on SIGTERM."""
    port = free_port()
    path = terminal.write({"issuer: http://localhost:8700": f"issuer: http://localhost:{port}", **listening_on(port)})
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STAFETT_")}
    program = [sys.executable, "-m", "broker", "serve", "--config", str(path)]
    root = Path(broker.__file__).parents[1]
    with subprocess.Popen(program, cwd=root, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            logged = until_serving(process.stderr)
            # The socket listens before that line is written, so this waits for the answer and for nothing else.
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=30) as answer:
                assert answer.status == 200
            process.send_signal(signal.SIGTERM)
            logged += process.communicate(timeout=30)[1].splitlines()
        finally:
            process.kill()
    assert process.returncode in {0, -signal.SIGTERM}
    assert all(json.loads(line)["event"] for line in logged)
