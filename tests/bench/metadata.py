"""
CPU and memory for the metadata of a whole federation: verified, kept, and one entity of it found.

The document is made and signed in one process (by signxml), and read in another that has done nothing before, so that its
memory is that of the reading. Writes ``build/bench-metadata.json``; figures are printed, never asserted.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

_READ = "read"


def _rss_mb(which: str) -> float:
    """``VmRSS``: resident now; ``VmHWM``: the most so far."""
    line = next(each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith(which))
    return int(line.split()[1]) / 1024


def _reading(folder: Path) -> dict[str, float]:
    """The figures of reading the federation in *folder*, taken in this process."""
    from broker.wire.saml.aggregate import Demands, read
    from broker.wire.saml.keys import verifying_key

    demands = Demands((verifying_key((folder / "signer.der").read_bytes()),), timedelta(days=28))
    before = _rss_mb("VmRSS")
    octets = (folder / "federation.xml").read_bytes()
    cpu, wall = time.process_time(), time.perf_counter()
    found = read(octets, demands=demands, now=datetime.fromisoformat((folder / "now").read_text()))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    size = len(octets)
    del octets
    names = list(found.entity_ids)[:: max(1, len(found) // 200)]
    one = time.process_time()
    for name in names:
        found.find(name)
    one = (time.process_time() - one) / len(names)
    return {
        "entities": len(found),
        "document_mb": size / 1e6,
        "cpu_s": cpu,
        "wall_s": wall,
        "peak_mb": _rss_mb("VmHWM") - before,
        "kept_mb": _rss_mb("VmRSS") - before,
        "find_ms": one * 1000,
    }


def _make(folder: Path, count: int) -> None:
    from tests.wire import federation
    from tests.wire.saml_stage import cert

    (folder / "federation.xml").write_bytes(federation.signed(federation.federation(count)))
    (folder / "signer.der").write_bytes(cert("rsa", 9))
    (folder / "now").write_text(federation.NOW.isoformat())


def main() -> None:
    """Print the figures and save them."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.metadata", description=__doc__)
    parser.add_argument("--entities", type=int, default=5000)
    parser.add_argument("--out", type=Path, default=Path("build/bench-metadata.json"))
    parser.add_argument(f"--{_READ}", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read is not None:
        print(json.dumps(_reading(options.read)))
        return
    with tempfile.TemporaryDirectory() as folder:
        _make(Path(folder), options.entities)
        command = [sys.executable, "-m", "tests.bench.metadata", f"--{_READ}", folder]
        figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    for name, value in figures.items():
        print(f"{name:14}{value:10.2f}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
