"""Set-up: says everything that is missing at once, installs only what is its to install, leaves no trace."""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from setup import find, install

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH, empty but for what setup.sh itself calls."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "dirname"):
        (folder / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path / "no-browsers"))
    for name in ("PYTHON", "STAFETT_CHROMIUM"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clone with what set-up looks at."""
    folder = tmp_path / "checkout"
    (folder / "broker").mkdir(parents=True)
    shutil.copytree(ROOT / "setup", folder / "setup", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "broker/__init__.py"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def add(folder: Path, name: str, script: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def be(uid: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)


def run(checkout: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True)


# --- what is missing --------------------------------------------------------------------------------------


def test_without_a_python_it_says_what_to_install(programs: Path, checkout: Path) -> None:
    """One command that brings everything the goal needs, and exit code 2."""
    add(programs, "apt-get", "exit 1")
    answer = run(checkout, "sh", "setup/setup.sh", "test")
    assert answer.returncode == 2
    assert "sudo apt-get install -y python3 python3-venv chromium redis-server postgresql" in answer.stderr


def test_a_python_too_old_is_not_taken(programs: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PYTHON= is checked like any other."""
    add(programs, "python2.7", "exit 1")
    monkeypatch.setenv("PYTHON", "python2.7")
    answer = run(checkout, "sh", "setup/setup.sh", "demo")
    assert answer.returncode == 2
    assert "PYTHON=python2.7 is not a Python 3.11 or later" in answer.stderr


def test_everything_missing_is_named_at_once(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is not root gets one list, one command and exit code 2; nothing is installed, sudo is not called."""
    called = programs / "called"
    for name in ("apt-get", "sudo"):
        add(programs, name, f"echo called >> {called}")
    add(programs, "apt-cache", "echo '  Candidate: 150.0-1'")
    be(1000, monkeypatch)
    with pytest.raises(install.SetupError) as refusal:
        install.provide(install.GOALS["test"])
    text = str(refusal.value)
    assert refusal.value.exit_code == 2
    assert "- a Chrome or Chromium browser\n  - redis-server\n" in text
    commands = [line for line in text.splitlines() if "apt-get" in line]
    assert len(commands) == 1
    assert commands[0].startswith("  sudo apt-get install -y --no-install-recommends chromium redis-server")
    assert not called.exists()


def test_a_system_without_apt_is_told_too(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even root gets a message where there is no apt-get; a browser is no reason: playwright can bring one."""
    be(0, monkeypatch)
    with pytest.raises(install.SetupError, match="package manager") as refusal:
        install.provide(install.GOALS["test"])
    assert refusal.value.exit_code == 2
    install.provide(install.GOALS["browser"])


def test_homebrew_is_named_where_it_is(programs: Path) -> None:
    """macOS: one command as well."""
    add(programs, "brew", "exit 0")
    gaps = [install.Missing("redis-server", apt="redis-server", brew="redis")]
    assert "\n  brew install redis" in install.what_to_install(gaps)


def test_a_python_without_venv_can_be_exchanged(programs: Path) -> None:
    """A Python that no package of the system completes: choose another."""
    gaps = [install.Missing("the venv module of /opt/python3")]
    assert "make PYTHON=/path/to/python3" in install.what_to_install(gaps)


def test_ubuntus_pointer_to_a_snap_is_no_browser(programs: Path) -> None:
    """Neither the stub on the path nor its package counts."""
    stub = add(programs, "chromium-browser", "echo 'Command requires the chromium snap to be installed.' >&2; exit 1")
    assert not find.is_browser(stub)
    assert find.browser() is None or not str(find.browser()).startswith(str(programs))


def test_a_browser_is_what_says_so(programs: Path) -> None:
    """The first name on the path that starts and calls itself Chrome or Chromium."""
    add(programs, "chromium", "echo 'bash: cannot load libnss3.so' >&2; exit 127")
    chrome = add(programs, "google-chrome", "echo 'Google Chrome 150.0.7000.1 '")
    assert find.browser() == chrome


def test_a_wrongly_named_browser_is_reported(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """STAFETT_CHROMIUM is never silently replaced by another browser."""
    add(programs, "chromium", "echo 'Chromium 150.0.7000.1'")
    monkeypatch.setenv("STAFETT_CHROMIUM", "/no/such/browser")
    with pytest.raises(install.SetupError, match="STAFETT_CHROMIUM=/no/such/browser"):
        install.provide(install.GOALS["browser"])


@pytest.mark.parametrize(("version", "is_taken"), [("v18.20.4", False), ("v20.19.0", True), ("v24.1.0", True)])
def test_a_node_too_old_for_todays_clients_is_not_taken(programs: Path, version: str, is_taken: bool) -> None:
    """Then the locked wheel is, which set-up brings."""
    node = add(programs, "node", f"echo {version}")
    add(programs, "npm", "exit 0")
    found = find.node()
    if is_taken:
        assert found == find.Node(node, (str(programs / "npm"),))
    else:
        assert found is None or found.program.is_relative_to(find.TOOLS)


def test_a_node_without_npm_is_not_taken(programs: Path) -> None:
    """Debian keeps npm in a package of its own."""
    add(programs, "node", "echo v24.1.0")
    found = find.node()
    assert found is None or found.program.is_relative_to(find.TOOLS)


def test_a_go_too_old_for_todays_clients_is_not_taken(programs: Path) -> None:
    """It could not read their go.mod."""
    old = add(programs, "go", "echo go version go1.19.8 linux/amd64")
    assert find.go() != old
    new = add(programs, "go", "echo go version go1.26.0 linux/amd64")
    assert find.go() == new


def test_a_checkout_that_cannot_be_written_is_reported(checkout: Path) -> None:
    """A clear line instead of a stack trace."""
    (checkout / ".setup").write_text("a file where a folder should be", encoding="utf-8")
    answer = run(checkout, sys.executable, "-m", "setup.install", "demo")
    assert answer.returncode == 1
    assert "cannot write in" in answer.stderr
    assert "Traceback" not in answer.stderr


# --- installing -------------------------------------------------------------------------------------------


def traces(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def test_services_stay_off_only_while_installing(tmp_path: Path) -> None:
    """Both files are there in between, and gone afterwards with the folders made for them."""
    (tmp_path / "usr/sbin").mkdir(parents=True)
    before = traces(tmp_path)
    with install.no_services(tmp_path):
        policy = tmp_path / "usr/sbin/policy-rc.d"
        assert subprocess.run([policy]).returncode == 101
        clusters = tmp_path / "etc/postgresql-common/createcluster.d/stafett-setup.conf"
        assert "create_main_cluster = false" in clusters.read_text()
    assert traces(tmp_path) == before


def test_a_failed_installation_leaves_no_trace(tmp_path: Path) -> None:
    """Also when apt-get fails or somebody ends it."""
    with pytest.raises(KeyboardInterrupt), install.no_services(tmp_path):
        raise KeyboardInterrupt
    assert traces(tmp_path) == []


def test_the_machines_own_policy_is_left_alone(tmp_path: Path) -> None:
    """A policy-rc.d of somebody else is neither overwritten nor removed."""
    policy = tmp_path / "usr/sbin/policy-rc.d"
    policy.parent.mkdir(parents=True)
    policy.write_text("#!/bin/sh\nexit 0\n")
    with install.no_services(tmp_path):
        assert policy.read_text() == "#!/bin/sh\nexit 0\n"
    assert policy.read_text() == "#!/bin/sh\nexit 0\n"


def test_what_a_killed_run_left_behind_goes(tmp_path: Path) -> None:
    """The file is recognised as our own by its content."""
    with install.no_services(tmp_path):
        left = (tmp_path / "usr/sbin/policy-rc.d").read_text()
    policy = tmp_path / "usr/sbin/policy-rc.d"
    policy.parent.mkdir(parents=True)
    policy.write_text(left)
    with install.no_services(tmp_path):
        assert policy.exists()
    assert not policy.exists()


def test_a_locked_apt_is_waited_for(tmp_path: Path) -> None:
    """The lists' lock too, which apt-get itself does not wait for."""
    busy = "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 7 (apt-get)"
    once = add(
        tmp_path, "apt", f'test -e "{tmp_path}/again" && exit 0; touch "{tmp_path}/again"; echo "{busy}"; exit 100'
    )
    waited: list[float] = []
    install.run_patiently([str(once)], tmp_path / "log", sleep=waited.append)
    assert waited == [3]
    assert busy in (tmp_path / "log").read_text()


def test_another_failure_of_apt_is_not_waited_for(tmp_path: Path) -> None:
    """Its own reason is what the person reads."""
    broken = add(tmp_path, "apt", "echo 'Reading lists'; echo 'E: Unable to locate package chromium'; exit 100")
    with pytest.raises(install.SetupError, match="E: Unable to locate package chromium"):
        install.run_patiently([str(broken)], tmp_path / "log", sleep=pytest.fail)


def test_two_runs_do_not_meet(tmp_path: Path) -> None:
    """The lock is held inside, and free again afterwards."""
    path = tmp_path / "lock"
    with install.exclusive(path), path.open() as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with path.open() as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


# --- the stamp --------------------------------------------------------------------------------------------

IS_CURRENT = "from setup import install; import sys; sys.exit(not install.environment_is_current('demo.lock'))"


def stamp(checkout: Path, lock: str) -> None:
    (checkout / ".venv").mkdir()
    run(checkout, sys.executable, "-c", f"from setup import install; install.write_stamp({lock!r})")


def is_current(checkout: Path) -> bool:
    return run(checkout, sys.executable, "-c", IS_CURRENT).returncode == 0


@pytest.mark.parametrize("lock", ["demo.lock", "dev.lock"])
def test_an_environment_made_from_these_locks_is_current(checkout: Path, lock: str) -> None:
    """The environment for the tests serves the demo as well."""
    stamp(checkout, lock)
    assert is_current(checkout)


def test_no_environment_is_not_current(checkout: Path) -> None:
    """Nothing was made yet."""
    assert not is_current(checkout)


@pytest.mark.parametrize("changed", ["setup/demo.lock", "pyproject.toml", "broker/__init__.py"])
def test_a_change_makes_set_up_run_again(checkout: Path, changed: str) -> None:
    """A new lock, a new entry point, a new version."""
    stamp(checkout, "demo.lock")
    with (checkout / changed).open("a") as file:
        file.write("\n# changed\n")
    assert not is_current(checkout)


def test_a_moved_checkout_is_set_up_again(checkout: Path) -> None:
    """The scripts in .venv name the place they were made at."""
    stamp(checkout, "demo.lock")
    assert not is_current(checkout.rename(checkout.with_name("elsewhere")))


def test_another_python_makes_set_up_run_again(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PYTHON= is obeyed even when an environment is there already."""
    stamp(checkout, "demo.lock")
    monkeypatch.setenv("PYTHON", sys.executable)
    config = checkout / ".venv/pyvenv.cfg"
    config.write_text("version = 3.10.1\n")
    assert not is_current(checkout)
    config.write_text("version = {}.{}.{}\n".format(*sys.version_info))
    assert is_current(checkout)


def test_a_damaged_stamp_counts_as_none(checkout: Path) -> None:
    """An interrupted or foreign environment is completed, never trusted."""
    stamp(checkout, "demo.lock")
    (checkout / ".venv/stafett-setup.json").write_text('{"root": ')
    assert not is_current(checkout)
