"""
Make this machine ready for one command of the Makefile: ``python -m setup.install demo|check|browser|test|interop``.

Order of work: list everything the machine lacks, at once; install it where that is ours to do (root on
Debian or Ubuntu), else print one command and stop; then make the virtual environment and install the locked
packages. A stamp inside the environment makes the next run instant, a file lock keeps two runs apart.

Exit codes: 0 ready, 1 an installation failed, 2 the person has to install something first, 130 interrupted.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from setup import find

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "stafett-setup.json"
WORK = ROOT / ".setup"
BROWSER_RECORD = WORK / "browser"
APT_PATIENCE_S = 600
APT_LOCK = Path("/run/lock/stafett-setup.lock")  # two checkouts on one machine share its apt


@dataclass(frozen=True)
class Goal:
    """What one command needs: a lock file of setup/, and programs of the machine. "node" stands for Node.js and Go."""

    lock: str
    programs: tuple[str, ...] = ()


GOALS = {
    "demo": Goal("demo.lock"),
    "check": Goal("dev.lock"),
    "browser": Goal("dev.lock", ("browser",)),
    "test": Goal("dev.lock", ("browser", "redis-server", "postgres")),
    "interop": Goal("dev.lock", ("apache", "saml", "node")),
}


@dataclass(frozen=True)
class Missing:
    """One thing the machine lacks, and the package that brings it; empty when none of that system does."""

    what: str
    apt: str = ""
    brew: str = ""


class SetupError(Exception):
    """Set-up cannot go on. The text says what is wrong and what to do."""

    def __init__(self, text: str, *, exit_code: int = 1) -> None:
        super().__init__(text)
        self.exit_code = exit_code


# --- what is missing ----------------------------------------------------------------------------------------


def missing_for(goal: Goal) -> list[Missing]:
    """Everything of the machine that *goal* needs and that is not there."""
    found = []
    if not makes_environments():
        found.append(_missing_venv())
    if "browser" in goal.programs and (gap := missing_browser()):
        found.append(gap)
    if "redis-server" in goal.programs and find.redis_server() is None:
        found.append(Missing("redis-server", apt="redis-server", brew="redis"))
    if "postgres" in goal.programs and find.postgres_folder() is None:
        what = "PostgreSQL's server programs (initdb, postgres)"
        found.append(Missing(what, apt="postgresql", brew="postgresql@17"))
    if "apache" in goal.programs and find.apache() is None:
        found.append(Missing("apache2 with mod_auth_openidc", apt="libapache2-mod-auth-openidc"))
    if "saml" in goal.programs:
        found += _missing_saml()
    return found


def _missing_saml() -> list[Missing]:
    """Of other people's SAML software."""
    gaps = []
    if find.mellon() is None:
        gaps.append(Missing("apache2 with mod_auth_mellon", apt="libapache2-mod-auth-mellon"))
    if find.simplesamlphp() is None:
        gaps.append(Missing("SimpleSAMLphp", apt="simplesamlphp"))
        gaps.append(Missing("PHP's command line, for SimpleSAMLphp", apt="php-cli"))
        # Which its package uses and does not depend on.
        gaps.append(Missing("PHP's extension dom, for SimpleSAMLphp", apt="php-xml"))
        gaps.append(Missing("PHP's extension mbstring, for SimpleSAMLphp", apt="php-mbstring"))
    return gaps


def makes_environments() -> bool:
    """Whether this Python can make virtual environments; Debian keeps that part in a package of its own."""
    test = [sys.executable, "-c", "import ensurepip, venv"]
    return subprocess.run(test, capture_output=True).returncode == 0


def _missing_venv() -> Missing:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    of_debian = os.path.realpath(sys.executable).startswith("/usr/bin/")
    return Missing(
        f"the venv module of {sys.executable}",
        apt=f"python{version}-venv" if of_debian else "",
        brew="python",
    )


def missing_browser() -> Missing | None:
    """
    None when a browser is there.

    Raises:
        SetupError: STAFETT_CHROMIUM names something else.
    """
    chosen = os.environ.get("STAFETT_CHROMIUM")
    if path := find.browser():
        _remember_browser(path)
        return None
    if chosen:
        raise SetupError(
            f"STAFETT_CHROMIUM={chosen} is no Chrome or Chromium that starts: correct it or leave it out.",
            exit_code=2,
        )
    return Missing("a Chrome or Chromium browser", apt="chromium" if debian_has_chromium() else "")


def debian_has_chromium() -> bool:
    """
    Whether the package chromium is a browser here.

    Ubuntu's is a pointer to a snap, which containers cannot run. Debian has it, even when its lists are not
    loaded yet; root loads them first and then knows.
    """
    if not apt_exists():
        return False
    if os_id() == "debian" and os.geteuid() != 0:
        return True
    answer = subprocess.run(["apt-cache", "policy", "chromium"], capture_output=True, text=True, env=_plain_env())
    candidate = re.search(r"Candidate: (\S+)", answer.stdout)
    return candidate is not None and candidate[1] != "(none)" and "snap" not in candidate[1]


def os_id() -> str:
    """What os-release calls this system: "debian", "ubuntu"; empty when it does not say."""
    with contextlib.suppress(OSError):
        text = Path("/etc/os-release").read_text(encoding="utf-8")
        if found := re.search(r'^ID="?([^"\n]*)"?$', text, re.MULTILINE):
            return found[1]
    return ""


def apt_exists() -> bool:
    """Whether this is a Debian, an Ubuntu or another system with apt-get."""
    return shutil.which("apt-get") is not None


# --- installing on the machine ------------------------------------------------------------------------------


def provide(goal: Goal) -> None:
    """
    See to it that the machine has what *goal* needs, a browser perhaps excepted: see provide_browser().

    Raises:
        SetupError: something is missing and not ours to install, or could not be installed.
    """
    if missing_for(goal) and os.geteuid() == 0 and apt_exists():
        install_with_apt(goal)
    left = [gap for gap in missing_for(goal) if not _playwright_will_bring(gap)]
    if left:
        raise SetupError(what_to_install(left), exit_code=2)


def _playwright_will_bring(gap: Missing) -> bool:
    return "browser" in gap.what and not gap.apt


def what_to_install(gaps: Sequence[Missing]) -> str:
    """The message for whoever has to install *gaps*: all of them, then one command."""
    lines = ["this machine lacks:", *(f"  - {gap.what}" for gap in gaps)]
    if apt_exists() and (packages := [gap.apt for gap in gaps if gap.apt]):
        command = f"apt-get install -y --no-install-recommends {' '.join(packages)}"
        lines += ["Install it with this command, then run make again:", f"  {_as_root(command)}"]
    elif shutil.which("brew") and (packages := [gap.brew for gap in gaps if gap.brew]):
        lines += [
            "Install it with this command, then run make again:",
            f"  brew install {' '.join(packages)}",
        ]
    else:
        lines += ["Install it with this system's package manager, then run make again."]
    if any("venv module" in gap.what and not gap.apt for gap in gaps):
        lines += ["Or choose a Python that has its venv module: make PYTHON=/path/to/python3 ..."]
    return "\n".join(lines)


def _as_root(command: str) -> str:
    return command if os.geteuid() == 0 else f"sudo {command}"


def install_with_apt(goal: Goal) -> None:
    """
    Install the Debian packages that bring what is missing, without a question and without starting a service.

    Raises:
        SetupError: apt-get failed; names its own reason.
    """
    with exclusive(APT_LOCK), no_services():
        apt_get("update")  # also tells whether there is a package chromium
        if packages := [gap.apt for gap in missing_for(goal) if gap.apt]:
            say(f"installing {', '.join(packages)} with apt-get (log: .setup/apt.log)")
            apt_get("install", "-y", "--no-install-recommends", *packages)


def apt_get(*arguments: str) -> None:
    """Run apt-get, waiting up to ten minutes while another run holds one of its locks."""
    command = [
        "apt-get",
        "-q",
        "-o",
        f"DPkg::Lock::Timeout={APT_PATIENCE_S}",
        "-o",
        "Acquire::Retries=3",
        *arguments,
    ]
    run_patiently(command, WORK / "apt.log")


def run_patiently(command: Sequence[str], log: Path, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """
    Run a *command* that may find apt locked; its output goes to *log*.

    apt's own waiting covers the lock of dpkg, not those of the package lists and the archive: hence the loop.
    """
    deadline = time.monotonic() + APT_PATIENCE_S
    while True:
        code, output = run_logged(command, log, env=_plain_env() | {"DEBIAN_FRONTEND": "noninteractive"})
        if code == 0:
            return
        locked = re.search(r"Could not get lock|Unable to lock|Unable to acquire the dpkg", output)
        if not locked or time.monotonic() > deadline:
            raise SetupError(f"{' '.join(command)} failed: {last_error(output)} (log: {log})")
        say("waiting for another run of apt to end")
        sleep(3)


@contextlib.contextmanager
def no_services(root: Path = Path("/")) -> Iterator[None]:
    """
    While this lasts, packages below *root* start no service and make no PostgreSQL cluster.

    Both files are put in place only where there is none, and taken away again whatever happens; one that an
    earlier, killed run left behind is recognised and goes too.
    """
    mark = "# Put here by Stafett's set-up while it installs packages; removed afterwards.\n"
    policy = f"#!/bin/sh\n{mark}exit 101\n"
    cluster = f"{mark}create_main_cluster = false\n"
    clusters = root / "etc/postgresql-common/createcluster.d"
    ours = [
        (root / "usr/sbin/policy-rc.d", policy, 0o755),
        (clusters / "stafett-setup.conf", cluster, 0o644),
    ]
    with contextlib.ExitStack() as stack:
        for path, text, mode in ours:
            stack.enter_context(_in_place(path, text, mode))
        yield


@contextlib.contextmanager
def _in_place(path: Path, text: str, mode: int) -> Iterator[None]:
    if os.path.lexists(path) and not _is_leftover(path, text):
        yield
        return
    made = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        yield
    finally:
        path.unlink(missing_ok=True)
        for folder in made:
            with contextlib.suppress(OSError):  # not empty: the package has put its own files there
                folder.rmdir()


def _is_leftover(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8", errors="replace") == text


def provide_browser() -> None:
    """
    Where no browser was found and no package brings one, let playwright download Chromium.

    Raises:
        SetupError: the download failed, or the browser lacks libraries of the system.
    """
    if missing_browser() is None:
        return
    say("no browser found: downloading Chromium with playwright (log: .setup/playwright.log)")
    command = [str(VENV / "bin/python"), "-m", "playwright", "install", "chromium"]
    try:
        if os.geteuid() == 0 and apt_exists():
            with exclusive(APT_LOCK), no_services():
                run_patiently([*command, "--with-deps"], WORK / "playwright.log")
        else:
            run_patiently(command, WORK / "playwright.log")
    except SetupError as error:
        way_out = "Check the network, or install a Chrome or Chromium, or name one: STAFETT_CHROMIUM=/path/to/chromium"
        raise SetupError(f"{error}\n{way_out}") from error
    if missing_browser() is not None:
        libraries = _as_root(f"{VENV / 'bin/python'} -m playwright install-deps chromium")
        raise SetupError(
            f"the downloaded Chromium lacks libraries. Run this command, then make again:\n  {libraries}",
            exit_code=2,
        )


def provide_tools() -> None:
    """
    Where Node.js or Go is missing or too old, bring both as locked wheels, for the clients of ``make interop``.

    Debian's are years behind what today's client libraries ask for.
    Raises:
        SetupError: pip failed.
    """
    if find.node() is not None and find.go() is not None:
        return
    say("installing Node.js and Go from setup/interop.lock into build/interop/tools")
    lock = str(ROOT / "setup/interop.lock")
    target = ("--target", str(find.TOOLS), "--upgrade")
    pip("--require-hashes", "--only-binary", ":all:", "--no-deps", *target, "-r", lock)
    if find.node() is None or find.go() is None:
        raise SetupError("the wheels of Node.js and Go do not fit this machine: install both and run make again")


# --- the virtual environment --------------------------------------------------------------------------------


def is_ready(goal: Goal) -> bool:
    """Whether nothing at all is to be done for *goal*; looks at a few files only."""
    if not environment_is_current(goal.lock):
        return False
    if "redis-server" in goal.programs and find.redis_server() is None:
        return False
    if "postgres" in goal.programs and find.postgres_folder() is None:
        return False
    if "apache" in goal.programs and find.apache() is None:
        return False
    if "saml" in goal.programs and _missing_saml():
        return False
    if "node" in goal.programs and (find.node() is None or find.go() is None):
        return False
    return "browser" not in goal.programs or _browser_is_remembered()


def _browser_is_remembered() -> bool:
    with contextlib.suppress(OSError):
        remembered = BROWSER_RECORD.read_text(encoding="utf-8")
        return os.environ.get("STAFETT_CHROMIUM", remembered) == remembered and os.access(remembered, os.X_OK)
    return False


def _remember_browser(path: Path) -> None:
    with contextlib.suppress(OSError):  # a checkout one may only read: then each run looks anew
        BROWSER_RECORD.write_text(str(path), encoding="utf-8")


def environment_is_current(lock: str) -> bool:
    """Whether .venv was made here from *lock* as it is now; the one for the tests serves the demo as well."""
    stamp = _read_stamp()
    if stamp.get("root") != str(ROOT) or stamp.get("project") != _project_digest() or not _has_wanted_python():
        return False
    locks = stamp.get("locks", {})
    return any(locks.get(name) == digest(ROOT / "setup" / name) for name in {lock, "dev.lock"})


def install_environment(lock: str) -> None:
    """
    Make .venv if need be, install exactly what *lock* names, and the project itself as an editable package.

    Raises:
        SetupError: the environment cannot be made, or pip failed.
    """
    if not _environment_works():
        say(f"making the virtual environment .venv with Python {sys.version.split()[0]}")
        made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], capture_output=True, text=True)
        if made.returncode != 0:
            raise SetupError(f"Python could not make .venv: {last_error(made.stdout + made.stderr)}")
    STAMP.unlink(missing_ok=True)
    path = ROOT / "setup" / lock
    count = len(re.findall(r"^[\w.-]+==", path.read_text(encoding="utf-8"), re.MULTILINE))
    say(f"installing up to {count} locked packages from setup/{lock}; the first time this takes a while")
    # Wheels only: building a source package would run code that no hash of ours covers, and want a compiler.
    # No dependencies: the lock is complete, and leaves out on purpose what pyproject.toml overrides.
    pip("--require-hashes", "--only-binary", ":all:", "--no-deps", "-r", str(path))
    pip("--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    write_stamp(lock)


def write_stamp(lock: str) -> None:
    """Note in .venv what it was made from."""
    locks = {lock: digest(ROOT / "setup" / lock)}
    stamp = {"root": str(ROOT), "project": _project_digest(), "locks": locks}
    STAMP.write_text(json.dumps(stamp), encoding="utf-8")


def pip(*arguments: str) -> None:
    """
    Install with the environment's own pip; index and proxy are whatever the person configured.

    Raises:
        SetupError: pip failed; names its own reason.
    """
    command = [
        str(VENV / "bin/python"),
        "-I",
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        *arguments,
    ]
    code, output = run_logged(command, WORK / "pip.log", env=dict(os.environ) | {"PIP_USER": "0", "PIP_NO_INPUT": "1"})
    if code != 0:
        raise SetupError(
            f"pip could not install the packages: {last_error(output)}\n"
            "Check the network or pip's index settings and run make again (log: .setup/pip.log)."
        )


def _environment_works() -> bool:
    stamp = _read_stamp()
    if stamp and stamp.get("root") != str(ROOT):  # a moved checkout: its scripts point to the old place
        return False
    try:
        probe = subprocess.run([VENV / "bin/python", "-I", "-c", "import pip"], capture_output=True)
    except OSError:
        return False
    return probe.returncode == 0 and _has_wanted_python()


def _has_wanted_python() -> bool:
    """Whether .venv has the version that PYTHON= asks for; without that any will do."""
    if not os.environ.get("PYTHON"):
        return True
    with contextlib.suppress(OSError):
        config = (VENV / "pyvenv.cfg").read_text(encoding="utf-8")
        return (
            re.search(rf"^version\w* = {sys.version_info.major}\.{sys.version_info.minor}\.", config, re.M) is not None
        )
    return False


def _read_stamp() -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
        return stamp if isinstance(stamp, dict) else {}
    return {}


def _project_digest() -> str:
    return digest(ROOT / "pyproject.toml") + digest(ROOT / "broker/__init__.py")


def digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- plumbing -----------------------------------------------------------------------------------------------


def say(text: str) -> None:
    """One line of progress."""
    print(f"set-up: {text}", file=sys.stderr, flush=True)


def run_logged(command: Sequence[str], log: Path, *, env: dict[str, str]) -> tuple[int, str]:
    """Run *command* without input; its exit code and output, which is also appended to *log*."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env)
    output = done.stdout.decode(errors="replace")
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ {' '.join(command)}\n{output}\n")
    return done.returncode, output


def last_error(output: str) -> str:
    """The line of *output* that says best what went wrong."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(ERROR|E|Error)\b:?", line)]
    return (errors or lines or ["no reason given"])[-1]


def _plain_env() -> dict[str, str]:
    """The environment with messages in English, for those whose answers are read here."""
    return dict(os.environ) | {"LC_ALL": "C.UTF-8", "LANGUAGE": ""}


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file *path*; the system lets go of it even when this process is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another set-up to end")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def prefer_light_browser() -> None:
    """
    Have Debian's Chromium without windows, beside whatever browser there is; where it cannot be had, that one does.
    """
    if os.environ.get("STAFETT_CHROMIUM") or shutil.which(find.LIGHT_BROWSER):
        return
    if os.geteuid() != 0 or not apt_exists() or os_id() != "debian":
        return
    say(f"installing {find.LIGHT_BROWSER} with apt-get (log: .setup/apt.log)")
    try:
        with exclusive(APT_LOCK), no_services():
            apt_get("update")
            apt_get("install", "-y", "--no-install-recommends", find.LIGHT_BROWSER)
    except SetupError:
        say(f"{find.LIGHT_BROWSER} cannot be had; another browser will do")


def prepare(goal: Goal) -> None:
    """
    Make everything ready for *goal*.

    Raises:
        SetupError: see its exit code.
    """
    began = time.monotonic()
    try:
        WORK.mkdir(exist_ok=True)
    except OSError as error:
        raise SetupError(
            f"cannot write in {ROOT}: {error.strerror}. Make your own clone and run make there."
        ) from error
    with exclusive(WORK / "lock"):
        if is_ready(goal):
            return
        if "browser" in goal.programs:
            prefer_light_browser()
        provide(goal)
        if not environment_is_current(goal.lock):
            install_environment(goal.lock)
        if "browser" in goal.programs:
            provide_browser()
        if "node" in goal.programs:
            provide_tools()
    say(f"ready after {time.monotonic() - began:.0f} s")


def _end(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def main(arguments: Sequence[str]) -> int:
    """Prepare for the goal named; with --is-ready only tell by exit code whether all is done already."""
    names = [argument for argument in arguments if argument != "--is-ready"]
    if len(names) != 1 or names[0] not in GOALS:
        print(f"usage: python -m setup.install [--is-ready] {'|'.join(GOALS)}", file=sys.stderr)
        return 2
    if "--is-ready" in arguments:
        return 0 if is_ready(GOALS[names[0]]) else 1
    # Without this a plain kill would leave policy-rc.d behind.
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGHUP, _end)
    try:
        prepare(GOALS[names[0]])
    except SetupError as error:
        print(f"set-up: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:  # disk full, no permission: the system's own words are clear enough
        print(f"set-up: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("interrupted; run make again to go on")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
