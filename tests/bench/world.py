"""
The broker as a process of its own, on a real Redis and real HTTP, with the simulated Google beside it.
"""

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from broker.config.render import Ports, example_text, render_example
from tests import servers
from tests.stage import SECRET, WAYS_IN, prepare, with_one_eid

_START_PATIENCE_S = 60.0


@dataclass(frozen=True)
class World:
    """Where everything is; ``broker_pid`` is the process whose CPU is counted."""

    issuer: str
    google: str
    shop: str
    garage: str
    broker_pid: int
    redis_url: str
    spare_ports: tuple[int, int, int]

    def broker_cpu_s(self) -> float:
        """User and system CPU the broker's process has used so far, in seconds."""
        return cpu_s(self.broker_pid)


def cpu_s(pid: int) -> float:
    """User and system CPU the process *pid* has used so far, all its threads, in seconds."""
    tasks = list(Path(f"/proc/{pid}/task").glob("*/schedstat"))
    if tasks:
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9
    shown = subprocess.run(["ps", "-o", "cputime=", "-p", str(pid)], capture_output=True, text=True, check=True)
    parts = [float(part) for part in shown.stdout.strip().split(":")]
    return sum(part * 60**place for place, part in enumerate(reversed(parts)))


@contextmanager
def open_world(
    edit: Callable[[str], str] = lambda text: text, files: Mapping[str, bytes] | None = None
) -> Iterator[World]:
    """
    Start everything, give it, stop everything.

    Args:
        edit: changes the config's text.
        files: what the config refers to, by the name beside it.
    """
    with (
        _beside_the_broker(),
        tempfile.TemporaryDirectory(prefix="stafett-bench-") as name,
        servers.RedisServer(servers.redis_program()) as redis,
    ):
        folder = prepare(Path(name) / "config")
        ports = Ports(*(servers.free_port() for _ in fields(Ports)))
        text = render_example(example_text(), ports, data_dir=folder / "data")
        text = with_one_eid(text).replace(WAYS_IN, "upstreams: [google]")
        text = text.replace("  data_dir:", '  state: {url: "env:BENCH_REDIS_URL"}\n  data_dir:', 1)
        # Each customer comes from a network of her own, so that the limit per address stays out of the way.
        text = text.replace("  data_dir:", '  trusted_proxies: ["127.0.0.0/8", "::1/128"]\n  data_dir:', 1)
        text = text.replace(
            "      id_token_alg: ES256\n    # Logins that",
            "      id_token_alg: ES256\n      refresh_tokens: {}\n    # Logins that",
            1,
        )
        for file, octets in (files or {}).items():
            (folder / file).write_bytes(octets)
            (folder / file).chmod(0o600)
        (folder / "stafett.yaml").write_text(edit(text), "utf-8")
        environment = {
            **os.environ,
            "BENCH_REDIS_URL": redis.url,
            "BENCH_SECRET": SECRET,
            "STAFETT_LOG_LEVEL": "warning",
        }
        google_port = str(ports.google)
        google = start([sys.executable, "-m", "tests.bench.google", google_port, str(ports.broker)], environment, cpu=1)
        broker = start(
            [sys.executable, "-m", "broker", "serve", "--config", str(folder / "stafett.yaml")], environment, cpu=0
        )
        try:
            issuer = f"http://localhost:{ports.broker}"
            wait(f"{issuer}/readyz", broker)
            wait(f"http://127.0.0.1:{google_port}/", google)
            yield World(
                issuer,
                f"http://127.0.0.1:{google_port}",
                f"http://127.0.0.1:{ports.shop}",
                f"http://127.0.0.1:{ports.garage}",
                broker.pid,
                redis.url,
                (servers.free_port(), servers.free_port(), servers.free_port()),
            )
        finally:
            for process in (broker, google):
                process.terminate()
                process.wait(20)


_CPUS = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


@contextmanager
def _beside_the_broker() -> Iterator[None]:
    """
    Redis and everybody who asks stay off the first CPU, where the system can do that: it is the measured process's alone. Whoever
    wakes up there after each of its calls would leave it cold caches, which a Redis on another machine does not.
    """
    if len(_CPUS) < 2:
        yield
        return
    os.sched_setaffinity(0, _CPUS[1:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, _CPUS)


def start(command: list[str], environment: dict[str, str], *, cpu: int) -> subprocess.Popen[bytes]:
    """*command*, kept to one CPU where the system can do that, so that figures do not depend on the scheduler."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    if _CPUS:
        os.sched_setaffinity(process.pid, {_CPUS[cpu % len(_CPUS)]})
    return process


def wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"{url} did not come up")


__all__ = ["SECRET", "World", "cpu_s", "open_world", "start", "wait"]
