"""
The broker as a process of its own, on a real Redis and real HTTP, with the simulated Google beside it.
"""

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from broker.config.render import Ports, example_text, render_example
from tests import servers
from tests.stage import SECRET, prepare

_START_PATIENCE_S = 30.0


@dataclass(frozen=True)
class World:
    """Where everything is; ``broker_pid`` is the process whose CPU is counted."""

    issuer: str
    google: str
    shop: str
    garage: str
    broker_pid: int

    def broker_cpu_s(self) -> float:
        """User and system CPU the broker's process has used so far, in seconds."""
        statistics = Path(f"/proc/{self.broker_pid}/schedstat")
        if statistics.exists():
            return int(statistics.read_text().split()[0]) / 1e9
        shown = subprocess.run(
            ["ps", "-o", "cputime=", "-p", str(self.broker_pid)], capture_output=True, text=True, check=True
        )
        parts = [float(part) for part in shown.stdout.strip().split(":")]
        return sum(part * 60**place for place, part in enumerate(reversed(parts)))


@contextmanager
def open_world() -> Iterator[World]:
    """Start everything, give it, stop everything."""
    with (
        tempfile.TemporaryDirectory(prefix="stafett-bench-") as name,
        servers.RedisServer(servers.redis_program()) as redis,
    ):
        folder = prepare(Path(name) / "config")
        ports = Ports(*(servers.free_port() for _ in range(6)))
        text = render_example(example_text(), ports, data_dir=folder / "data")
        text = text.replace("upstreams: [bankid, google]", "upstreams: [google]")
        text = text.replace("  data_dir:", '  state: {url: "env:BENCH_REDIS_URL"}\n  data_dir:', 1)
        (folder / "stafett.yaml").write_text(text, "utf-8")
        environment = {**os.environ, "BENCH_REDIS_URL": redis.url, "STAFETT_LOG_LEVEL": "warning"}
        google_port = str(ports.google)
        google = _start(
            [sys.executable, "-m", "tests.bench.google", google_port, str(ports.broker)], environment, cpu=1
        )
        broker = _start(
            [sys.executable, "-m", "broker", "serve", "--config", str(folder / "stafett.yaml")], environment, cpu=0
        )
        try:
            issuer = f"http://localhost:{ports.broker}"
            _wait(f"{issuer}/readyz", broker)
            _wait(f"http://127.0.0.1:{google_port}/", google)
            yield World(
                issuer,
                f"http://127.0.0.1:{google_port}",
                f"http://127.0.0.1:{ports.shop}",
                f"http://127.0.0.1:{ports.garage}",
                broker.pid,
            )
        finally:
            for process in (broker, google):
                process.terminate()
                process.wait(20)


def _start(command: list[str], environment: dict[str, str], *, cpu: int) -> subprocess.Popen[bytes]:
    """*command*, kept to one CPU where the system can do that, so that figures do not depend on the scheduler."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(process.pid, {allowed[cpu % len(allowed)]})
    return process


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"{url} did not come up")


__all__ = ["SECRET", "World", "open_world"]
