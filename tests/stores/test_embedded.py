"""The embedded default: a real server that starts, keeps its data, and never outlives its broker."""

import fcntl
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker.errors import ConfigError
from broker.stores.embedded import Embedded, Program, find_programs, start_embedded
from broker.stores.memory import MemoryState
from broker.stores.ports import Get, Put
from tests.servers import redis_program, valkey_program

BROKEN = Program("valkey", Path("/bin/false"), "a broken wheel")
MISSING = Program("valkey", Path("/nowhere/valkey-server"), "a missing wheel")
REDIS = Program("redis", redis_program(), "Redis")

A_BROKER = """
import sys
from pathlib import Path
from broker.stores.embedded import start_embedded
print(start_embedded(Path(sys.argv[1])).kind, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Embedded]]:
    """Starts in this test's own data folder, and stops what a failed test leaves running."""
    started: list[Embedded] = []

    def begin(*programs: Program, data_dir: Path = tmp_path / "data") -> Embedded:
        started.append(start_embedded(data_dir, programs or None))
        return started[-1]

    yield begin
    for embedded in started:
        embedded.stop()


async def put(embedded: Embedded, key: str, value: bytes) -> None:
    store = embedded.open()
    await store.run(Put(key, value, 60))
    await store.close()


async def get(embedded: Embedded, key: str) -> object:
    store = embedded.open()
    (value,) = await store.run(Get(key))
    await store.close()
    return value


def is_locked(data_dir: Path) -> bool:
    with (data_dir / "embedded.lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def soon(true: Callable[[], bool]) -> bool:
    """Whether *true* becomes true within ten seconds."""
    deadline = time.monotonic() + 10
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


async def test_valkey_starts_keeps_its_data_and_stops(start: Callable[..., Embedded], tmp_path: Path) -> None:
    """A restart of the broker keeps sessions; nothing listens in between."""
    first = start()
    assert first.kind == "valkey"
    await put(first, "session:1", b"\x00kept")
    first.stop()
    assert not is_locked(tmp_path / "data")
    second = start()
    assert await get(second, "session:1") == b"\x00kept"


async def test_stopping_twice_is_fine(start: Callable[..., Embedded]) -> None:
    """Shutdown paths may meet."""
    embedded = start()
    embedded.stop()
    embedded.stop()


async def test_only_this_user_may_come_near(start: Callable[..., Embedded], tmp_path: Path) -> None:
    """Data folder and socket are closed to everybody else, and there is no TCP port."""
    embedded = start()
    folder = tmp_path / "data"
    for path, kind in ((folder, stat.S_ISDIR), (folder / "valkey", stat.S_ISDIR)):
        assert kind(path.stat().st_mode)
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "valkey" / "socket").stat().st_mode) == 0o700
    assert embedded.url == f"unix://{folder}/valkey/socket"


async def test_an_open_folder_is_closed(start: Callable[..., Embedded], tmp_path: Path) -> None:
    """A folder of the server that somebody opened to others is closed again at start."""
    start().stop()
    (tmp_path / "data" / "valkey").chmod(0o777)
    start()
    assert stat.S_IMODE((tmp_path / "data" / "valkey").stat().st_mode) == 0o700


async def test_two_on_one_folder_are_refused(start: Callable[..., Embedded], tmp_path: Path) -> None:
    """Two servers on the same files would destroy them: the second broker is told whom it met, at once."""
    first = start()
    begun = time.monotonic()
    with pytest.raises(ConfigError) as refused:
        start_embedded(tmp_path / "data")
    assert time.monotonic() - begun < 1
    (problem,) = refused.value.problems
    assert f"process {os.getpid()}" in problem
    assert str(tmp_path / "data") in problem
    await put(first, "still:1", b"alive")


async def test_two_folders_are_two_stores(start: Callable[..., Embedded], tmp_path: Path) -> None:
    """Two brokers on one machine do not meet."""
    one, two = start(data_dir=tmp_path / "one"), start(data_dir=tmp_path / "two")
    await put(one, "k:1", b"x")
    assert await get(two, "k:1") is None


async def test_a_killed_broker_leaves_no_server_behind(tmp_path: Path) -> None:
    """Even ``kill -9`` ends the server, which saves what it holds; the next broker may follow at once."""
    data = tmp_path / "data"
    broker = subprocess.Popen(
        [sys.executable, "-c", A_BROKER, str(data)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert broker.stdin is not None
    assert broker.stdout is not None
    assert broker.stdout.readline() == b"valkey\n"
    await put(Embedded("valkey", f"unix://{data}/valkey/socket", ""), "session:1", b"kept")
    broker.send_signal(signal.SIGKILL)
    broker.communicate()
    next_broker = start_embedded(data)
    assert await get(next_broker, "session:1") == b"kept"
    next_broker.stop()
    assert soon(lambda: not is_locked(data))


async def test_a_broker_that_forgets_to_stop_leaves_no_server_behind(tmp_path: Path) -> None:
    """An ordinary exit without `stop` ends the server too."""
    data = tmp_path / "data"
    done = subprocess.run(
        [sys.executable, "-c", A_BROKER, str(data)], stdin=subprocess.DEVNULL, capture_output=True, check=True
    )
    assert done.stdout == b"valkey\n"
    assert soon(lambda: not is_locked(data))


async def test_ctrl_c_does_not_reach_the_server(start: Callable[..., Embedded]) -> None:
    """
    The terminal signals its whole process group; the server must live until the broker has finished its work,
    so it is in another one.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(start().url.removeprefix("unix://"))
        connection.sendall(b"INFO server\r\n")
        told = connection.recv(65536).decode()
    (server,) = [int(line.split(":")[1]) for line in told.splitlines() if line.startswith("process_id:")]
    assert os.getsid(server) != os.getsid(0)
    assert os.getpgid(server) != os.getpgrp()


async def test_a_stale_socket_is_replaced(start: Callable[..., Embedded], tmp_path: Path) -> None:
    """After a power cut the old socket file still lies there."""
    folder = tmp_path / "data" / "valkey"
    folder.mkdir(parents=True)
    (folder / "socket").write_text("stale")
    (tmp_path / "data" / "embedded.lock").write_text("999999999\n")
    assert start().kind == "valkey"


async def test_a_deep_folder_gets_a_short_socket(start: Callable[..., Embedded], tmp_path: Path) -> None:
    """
    Socket paths end at about a hundred bytes; the data stays where it was asked to be, the socket is
    removed.
    """
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    embedded = start(data_dir=deep)
    await put(embedded, "k:1", b"x")
    socket_path = Path(embedded.url.removeprefix("unix://"))
    assert len(os.fsencode(socket_path)) < 100
    assert stat.S_IMODE(socket_path.parent.stat().st_mode) == 0o700
    assert list((deep / "valkey").glob("appendonlydir/*"))
    embedded.stop()
    assert not socket_path.parent.exists()


async def test_a_strange_folder_name_is_no_obstacle(start: Callable[..., Embedded], tmp_path: Path) -> None:
    """Spaces, percent and question marks are quoted in the URL."""
    embedded = start(data_dir=tmp_path / "my data?%20#1")
    await put(embedded, "k:1", b"x")
    assert await get(embedded, "k:1") == b"x"


@pytest.mark.parametrize("unusable", [BROKEN, MISSING], ids=["broken", "missing"])
async def test_where_the_wheel_cannot_run_redis_does(start: Callable[..., Embedded], unusable: Program) -> None:
    """And the reason says so."""
    embedded = start(unusable, REDIS)
    await put(embedded, "k:1", b"x")
    assert await get(embedded, "k:1") == b"x"
    assert embedded.kind == "redis"
    assert embedded.reason.startswith(f"{unusable.label} cannot run here (")
    assert embedded.reason.endswith("using Redis")


async def test_where_nothing_can_run_memory_does(start: Callable[..., Embedded], tmp_path: Path) -> None:
    """The last resort works, and says what is lost."""
    embedded = start(BROKEN)
    assert embedded.kind == "memory"
    assert "ends with this process" in embedded.reason
    store = embedded.open()
    assert isinstance(store, MemoryState)
    await store.ping()
    assert not is_locked(tmp_path / "data")


def test_the_wheels_program_is_found_first() -> None:
    """Valkey is preferred, redis-server comes after."""
    found = [(program.kind, program.path) for program in find_programs()]
    assert found[0] == ("valkey", valkey_program())
    assert found[1:] == [("redis", Path(path)) for path in [shutil.which("redis-server")] if path]
