"""The program as somebody at a terminal meets it: arguments in, text and exit code out."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from broker.cli import main
from broker.config.render import example_text

PRODUCTION = {
    "mode: development\n": "mode: production\naccept_risks: [http_issuer, memory_state, sqlite_records, generated_keys,"
    " loopback_upstream, bankid_test_environment, no_trusted_proxies]\n"
}
"""What makes the example a production config that starts: every refusal lifted by name, as for staging."""


@dataclass(frozen=True)
class Ran:
    """What one run left behind."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err


def _exit_code() -> int:
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


class Terminal:
    """Runs commands in a folder of its own; ``write`` puts a config there."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def run(self, *arguments: str, **environment: str) -> Ran:
        """
        ``stafett`` with these arguments, in this process.

        Whatever is wrong, no stack trace is shown, and the exit code is one of those the program names.
        """
        with self._monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["stafett", *arguments])
            for name, value in environment.items():
                patch.setenv(name, value)
            code = _exit_code()
        captured = self._capsys.readouterr()
        ran = Ran(code, captured.out, captured.err)
        assert "Traceback" not in ran.said
        assert ran.code in {0, 1, 2, 3}
        return ran

    def write(self, edits: Mapping[str, str] | None = None, name: str = "stafett.yaml") -> Path:
        """The shipped example with some texts replaced; state in memory, so that no server is started."""
        text = example_text().replace("  data_dir: data\n", "  data_dir: data\n  state: {embedded: memory}\n")
        if edits and PRODUCTION.items() <= edits.items():
            text = text.replace("http://127.0.0.1:8701", "https://shop.example")
            text = text.replace("http://127.0.0.1:8702", "https://garage.example")
            text = text.replace("http://127.0.0.1:8706", "https://hotel.example")
            text = text.replace("http://127.0.0.1:8714", "https://workshop.example")
            workshop = self.folder / "metadata" / "tyre-workshop.xml"
            workshop.write_text(workshop.read_text().replace("http://127.0.0.1:8714", "https://workshop.example"))
        for old, new in (edits or {}).items():
            assert old in text, f"the example no longer has {old!r}"
            text = text.replace(old, new, 1)
        path = self.folder / name
        path.write_text(text, "utf-8")
        return path

    @property
    def database(self) -> str:
        """Where the records are by default, as a URL."""
        return f"sqlite+aiosqlite:///{self.folder / 'data' / 'stafett.db'}"


@pytest.fixture
def terminal(stage_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """In a folder with everything the example refers to, and no settings in the environment."""
    for name in [name for name in os.environ if name.startswith("STAFETT_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(stage_folder)
    return Terminal(stage_folder, capsys, monkeypatch)
