"""Programs the tests start, each with its log, and all ended with the run."""

import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

PATIENCE_S = 60.0


class DidNotStart(Exception):
    """A program ended, or did not listen in time. The text has the end of its log."""


class Process:
    """
    One running program.

    Args:
        command: program and arguments.
        environment: all of it.
        port: on 127.0.0.1; the program is up once somebody listens there.
        log: where its output goes.
    Raises:
        DidNotStart: see there.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], *, port: int, log: Path) -> None:
        if _listens(port):
            raise DidNotStart(f"somebody listens on {port} already")
        self.log = log
        with log.open("ab") as output:
            self._running = subprocess.Popen(
                command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        try:
            self._wait(port)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it; by force when it takes too long."""
        self._running.terminate()
        try:
            self._running.wait(10)
        except subprocess.TimeoutExpired:
            self._running.kill()
            self._running.wait()

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text("utf-8", errors="replace")[-10_000:]

    def _wait(self, port: int) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if self._running.poll() is not None:
                raise DidNotStart(f"{self._running.args} ended: {self.tail()}")
            if _listens(port):
                return
            time.sleep(0.05)
        raise DidNotStart(f"{self._running.args} does not listen on {port}: {self.tail()}")


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def run(command: Sequence[str], *, folder: Path, environment: Mapping[str, str]) -> None:
    """
    Run *command* to its end in *folder*.

    Raises:
        DidNotStart: it failed; with what it said.
    """
    done = subprocess.run(
        command, cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise DidNotStart(f"{' '.join(map(str, command))} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
