"""
CPU and memory for the metadata of a whole federation: verified, kept, and one entity of it found; and the same document loaded by
pysaml2, its signature verified by the program xmlsec1.

The document is made and signed in one process (by signxml), and read in others, one for each reader, that have done nothing
before, so that their memory is that of the reading. Writes ``build/bench-metadata.json``; figures are printed, never asserted.
"""

import argparse
import json
import resource
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

_READ = "read"
_PATIENCE_S = 900
_UNITS = {
    "entities": "",
    "document_mb": "MB",
    "cpu_s": "s of CPU to load",
    "wall_s": "s to load",
    "peak_mb": "MB more at the most, the document included",
    "kept_mb": "MB more once it is loaded",
    "find_ms": "ms of CPU to find one for the first time",
    "program_mb": "MB of the program xmlsec1 at the most",
}


def _rss_mb(which: str) -> float:
    """``VmRSS``: resident now; ``VmHWM``: the most so far."""
    line = next(each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith(which))
    return int(line.split()[1]) / 1024


def _loaded_by_broker(folder: Path) -> dict[str, float]:
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


def _loaded_by_pysaml2(folder: Path) -> dict[str, float]:
    """The same; without the program xmlsec1 the signature is not verified, and there is no ``program_mb``."""
    from saml2.mdstore import MetaDataFile
    from saml2.sigver import CryptoBackendXmlSec1, SecurityContext

    program, document = shutil.which("xmlsec1"), folder / "federation.xml"
    before = _rss_mb("VmRSS")
    security = SecurityContext(CryptoBackendXmlSec1(program)) if program else None
    certificate = str(folder / "signer.pem") if program else None
    root = "urn:oasis:names:tc:SAML:2.0:metadata:EntitiesDescriptor"
    # Its own clock is the wall's, and the document ends a week after the tests' present.
    kept = MetaDataFile(None, str(document), certificate, security=security, node_name=root, check_validity=False)
    cpu, wall = _cpu_s(), time.perf_counter()
    kept.load()
    cpu, wall = _cpu_s() - cpu, time.perf_counter() - wall
    names = list(kept.keys())[:: max(1, len(kept.keys()) // 200)]
    one = time.process_time()
    for name in names:
        kept[name]
    one = (time.process_time() - one) / len(names)
    figures = {
        "entities": len(kept.keys()),
        "document_mb": document.stat().st_size / 1e6,
        "cpu_s": cpu,
        "wall_s": wall,
        "peak_mb": _rss_mb("VmHWM") - before,
        "kept_mb": _rss_mb("VmRSS") - before,
        "find_ms": one * 1000,
    }
    return figures | ({"program_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024} if program else {})


def _cpu_s() -> float:
    """Of this process and of programs it started that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


READERS = {"broker": _loaded_by_broker, "pysaml2": _loaded_by_pysaml2}


def _make(folder: Path, count: int) -> None:
    from tests.wire import federation
    from tests.wire.saml_stage import cert

    (folder / "federation.xml").write_bytes(federation.signed(federation.federation(count)))
    der = cert("rsa", 9)
    (folder / "signer.der").write_bytes(der)
    (folder / "signer.pem").write_text(ssl.DER_cert_to_PEM_cert(der))
    (folder / "now").write_text(federation.NOW.isoformat())


def _figures(folder: str, reader: str) -> dict[str, float]:
    """What the reader needs, in a process of its own; nothing when that takes too long."""
    command = [sys.executable, "-m", "tests.bench.metadata", "--reader", reader, f"--{_READ}", folder]
    try:
        ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        print(f"{reader} did not load it in {_PATIENCE_S} s")
        return {}
    found: dict[str, float] = json.loads(ended.stdout)
    return found


def main() -> None:
    """Print the figures and save them."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.metadata", description=__doc__)
    parser.add_argument("--entities", type=int, default=5000)
    parser.add_argument("--out", type=Path, default=Path("build/bench-metadata.json"))
    parser.add_argument("--reader", choices=list(READERS), default="broker", help=argparse.SUPPRESS)
    parser.add_argument(f"--{_READ}", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read is not None:
        print(json.dumps(READERS[options.reader](options.read)))
        return
    with tempfile.TemporaryDirectory() as folder:
        _make(Path(folder), options.entities)
        figures = {reader: _figures(folder, reader) for reader in READERS}
    print("".join(f"{reader:>12}" for reader in figures))
    for name, unit in _UNITS.items():
        row = [f"{each[name]:12.2f}" if name in each else f"{'-':>12}" for each in figures.values()]
        print(f"{''.join(row)}  {unit or name}")
    if "program_mb" not in figures["pysaml2"]:
        print("pysaml2 verified no signature: there is no xmlsec1")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
