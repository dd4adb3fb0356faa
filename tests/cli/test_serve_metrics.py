"""``stafett serve`` with metrics: on a port of their own, and only there."""

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import broker
from tests.servers import free_port

from .conftest import Terminal
from .test_serve import listening_on, until_serving

AT = "  data_dir: data\n"


def counting(port: int) -> dict[str, str]:
    return {AT: f"{AT}  telemetry: {{metrics: {{enabled: true, listen: {{port: {port}}}}}}}\n"}


def test_a_taken_port_is_told(terminal: Terminal) -> None:
    """By its own key; nothing is served without the metrics that were asked for."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        terminal.write({**listening_on(free_port()), **counting(port)})
        ran = terminal.run("serve")
    assert ran.code == 1
    assert f"broker.telemetry.metrics.listen.port: cannot listen on 127.0.0.1 port {port}" in ran.err


def test_metrics_are_served_beside_the_broker(terminal: Terminal) -> None:
    """What the public port answered is counted on the other; both end on SIGTERM."""
    port, beside = free_port(), free_port()
    path = terminal.write(
        {
            "issuer: http://localhost:8700": f"issuer: http://localhost:{port}",
            **listening_on(port),
            **counting(beside),
        }
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STAFETT_")}
    program = [sys.executable, "-m", "broker", "serve", "--config", str(path)]
    root = Path(broker.__file__).parents[1]
    with subprocess.Popen(program, cwd=root, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            until_serving(process.stderr)
            with urllib.request.urlopen(f"http://localhost:{port}/jwks", timeout=30) as answer:
                assert answer.status == 200
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"http://localhost:{port}/metrics", timeout=30)
            with urllib.request.urlopen(f"http://127.0.0.1:{beside}/metrics", timeout=30) as answer:
                text = answer.read().decode()
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode in {0, -signal.SIGTERM}
    assert 'stafett_requests_total{method="GET",route="/jwks",status="200"} 1.0' in text
    assert "process_resident_memory_bytes" in text
