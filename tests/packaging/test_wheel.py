"""
The built wheel, installed into an empty environment outside the checkout, does everything the checkout does.

The environment borrows the locked dependencies by path; the package itself comes from the wheel alone.
"""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from broker import __version__
from broker.config.render import OPTIONS, Ports
from tests.servers import free_port

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 30.0
# What a program needs of the surroundings, and nothing that leads back to the checkout.
SURROUNDINGS = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "STAFETT_LOG_FORMAT": "text"}


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel in it, and an empty folder to work in."""

    environment: Path
    folder: Path

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """``stafett`` with *arguments*, to its end."""
        return subprocess.run(
            [self.program, *arguments], cwd=self.folder, env=SURROUNDINGS, capture_output=True, text=True, timeout=60
        )

    def python(self, code: str) -> str:
        """What *code* prints."""
        command = [self.environment / "bin/python", "-c", code]
        return subprocess.run(
            command, cwd=self.folder, env=SURROUNDINGS, capture_output=True, text=True, check=True
        ).stdout.strip()

    @contextmanager
    def running(self, *arguments: str, up: Callable[[], bool]) -> Iterator["subprocess.Popen[bytes]"]:
        """``stafett`` with *arguments* from when *up* says so until the block ends; then it must stop by itself."""
        log = self.folder / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [self.program, *arguments], cwd=self.folder, env=SURROUNDINGS, stdout=output, stderr=output
            )
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not up():
                if process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"stafett {' '.join(arguments)}:\n{log.read_text(errors='replace')[-3000:]}")
                time.sleep(0.05)
            yield process
            process.send_signal(signal.SIGTERM)
            # uvicorn, when it is done, passes the signal on to whoever would count it as the reason.
            assert process.wait(PATIENCE_S) in {0, -signal.SIGTERM}, log.read_text(errors="replace")[-3000:]
        finally:
            process.kill()
            process.wait()

    @property
    def program(self) -> Path:
        return self.environment / "bin/stafett"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the checkout as it is."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """pip installs it without its dependencies, which are then lent from where the lock put them."""
    environment = tmp_path_factory.mktemp("outside") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(environment / "bin/python"), "install", "-q", "--no-index"]
    subprocess.run([*pip, "--no-deps", "--no-compile", str(wheel)], check=True, env={**os.environ, "PIP_NO_INPUT": "1"})
    (packages,) = environment.glob("lib/python*/site-packages")
    # A .pth file read from here is not followed further: the editable checkout stays out.
    (packages / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return Installed(environment, tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def ports() -> Ports:
    return Ports(*(free_port() for _ in fields(Ports)))


def get(host: str, port: int, path: str, **headers: str) -> tuple[int, str]:
    """Status and text of one page; 0 while nobody listens."""
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8")
    except OSError:
        return 0, ""
    finally:
        connection.close()


def test_the_package_that_runs_is_the_wheels(installed: Installed) -> None:
    """Else the rest of this file would prove something about the checkout."""
    assert installed.python("import broker; print(broker.__file__)").startswith(str(installed.environment))
    assert installed.run("--version").stdout == f"stafett {__version__}\n"


def test_the_wheel_holds_every_file_of_the_package_and_no_other(wheel: Path) -> None:
    """Pages, words, pictures, revisions of the schema and the example travel along; tests and secrets do not."""
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    here = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "broker"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    example = {
        f"broker/config/example/{path.relative_to(ROOT / 'config')}"
        for path in [ROOT / "config/stafett.example.yaml", *(ROOT / "config").glob("[ls]*/*")]
    }
    assert held == {name for name in here if (ROOT / name).is_file()} | example


def test_the_example_in_the_package_is_the_one_in_the_checkout(installed: Installed) -> None:
    """The demo of an installed broker tells the same story; what is missing beside it is named, file by file."""
    folder = Path(installed.python("from broker.config.render import example_folder as f; print(f())"))
    assert folder.is_relative_to(installed.environment)
    for name in ("stafett.example.yaml", "schemas/tyre-fitting-v1.json", "logos/garage.png"):
        assert (folder / name).read_bytes() == (ROOT / "config" / name).read_bytes()
    checked = installed.run("check-config", "--format", "json", str(folder / "stafett.example.yaml"))
    keys = {problem["key"] for problem in json.loads(checked.stdout)["problems"]}
    assert checked.returncode == 1
    assert "partners.garage.oidc.secret" in keys
    # Secrets are missing, of partners and of the gateway for text messages; nothing that is in the package is.
    named = {key for key in keys if not key.startswith("broker.sms.gateways")}
    assert not any(key.startswith(("payload_types", "broker")) or key.endswith("logo") for key in named)


def test_demo_and_serve_run_from_the_wheel(installed: Installed, ports: Ports) -> None:
    """
    The demo starts every party; its config is then good for check-config and for a broker alone, which has brought its
    database to the schema, shows its pages in the customer's language and stops when told to.
    """

    def demo_is_up() -> bool:
        return all(
            (
                get("localhost", ports.broker, "/readyz")[0] == 200,
                get("127.0.0.1", ports.shop, "/healthz")[0] == 200,
                get("127.0.0.1", ports.garage, "/healthz")[0] == 200,
                get("127.0.0.1", ports.hotel, "/healthz")[0] == 200,
                get("127.0.0.1", ports.workshop, "/healthz")[0] == 200,
                get("127.0.0.1", ports.google, "/.well-known/openid-configuration")[0] == 200,
                get("127.0.0.1", ports.bankid_app, "/")[0] == 200,
            )
        )

    chosen = [part for field, option in OPTIONS.items() for part in (option, str(getattr(ports, field)))]
    with installed.running("demo", "--folder", "demo", *chosen, up=demo_is_up):
        status, shop = get("127.0.0.1", ports.shop, "/", **{"Accept-Language": "sv"})
        assert (status, 'lang="sv"' in shop) == (200, True)

    checked = installed.run("check-config", "demo/stafett.yaml")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "good (development" in checked.stdout

    def broker_is_up() -> bool:
        return get("localhost", ports.broker, "/readyz")[0] == 200

    with installed.running("serve", "--config", "demo/stafett.yaml", up=broker_is_up):
        assert json.loads(get("localhost", ports.broker, "/readyz")[1])["checks"] == {"state": "ok", "records": "ok"}
        pages = {
            language: get("localhost", ports.broker, "/authorize", **{"Accept-Language": language})
            for language in ("sv", "fi", "pl", "en")
        }
        assert [(status, f'lang="{language}"' in page) for language, (status, page) in pages.items()] == [
            (400, True)
        ] * 4
        assert len({page for _, page in pages.values()}) == 4
        style = re.search(r'href="(/static/[^"]+\.css)"', pages["en"][1])
        assert style is not None
        assert get("localhost", ports.broker, style[1])[0] == 200
        assert get("localhost", ports.shop, "/healthz")[0] == 0
