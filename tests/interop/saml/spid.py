"""spid-sp-test, the program by which SPID tries service providers: brought here, and what it says of itself."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.interop.processes import run
from tests.interop.site import CACHES

FILES = Path(__file__).parent / "parties/spid_sp_test"
CACHE = CACHES / "spid-sp-test"


@cache
def brought() -> Path:
    """The program, from its registry."""
    CACHE.mkdir(parents=True, exist_ok=True)
    pip = (
        sys.executable,
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--quiet",
        "--use-pep517",
        "--upgrade",
    )
    wanted = ("--require-hashes", "--no-deps", "--target", str(CACHE), "--requirement", str(FILES / "requirements.txt"))
    run((*pip, *wanted), folder=CACHE, environment=os.environ)
    return CACHE


@cache
def provider() -> bytes:
    """The metadata of its identity provider, as SPID's are made."""
    environment = {**os.environ, "PYTHONPATH": str(brought())}
    made = subprocess.run((sys.executable, str(FILES / "describe.py")), env=environment, capture_output=True)
    assert made.returncode == 0, made.stderr.decode()[-3000:]
    return made.stdout
