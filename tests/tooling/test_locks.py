"""The lock files: complete, anonymous, and above the versions with known weaknesses (docs/security.md G1, G2)."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ["demo.lock", "dev.lock"]

# The first version without the weaknesses known of a package. Those not installed today count once they are.
FLOORS = {
    "starlette": "1.0.1",  # CVE-2026-48710 (Host header), CVE-2025-62727 (Range), CVE-2024-47874 (multipart)
    "authlib": "1.6.9",  # CVE-2026-27962, CVE-2026-28498
    "pyjwt": "2.13.0",  # CVE-2026-32597, GHSA-jq35-7prp-9v3f: above 2.12.1
    "jwcrypto": "1.5.7",  # CVE-2026-39373
    "pysaml2": "7.5.5",
    "cryptography": "50",
}


def pins(lock: str) -> dict[str, Version]:
    text = (ROOT / "setup" / lock).read_text(encoding="utf-8")
    found = re.findall(r"^([\w.-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", text, re.MULTILINE)
    return {canonicalize_name(name): Version(version) for name, version in found}


def wanted(lock: str) -> list[Requirement]:
    """What pyproject.toml asks for and *lock* has to fix."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    lines = [*project["project"]["dependencies"], *project["build-system"]["requires"], *extras["demo"]]
    if lock == "dev.lock":
        lines += [*project["dependency-groups"]["dev"], *(line for lines in extras.values() for line in lines)]
    return [Requirement(line) for line in lines]


def weak(locked: dict[str, Version]) -> list[str]:
    return [name for name, floor in FLOORS.items() if name in locked and locked[name] < Version(floor)]


@pytest.mark.parametrize("lock", LOCKS)
def test_nothing_is_below_its_security_floor(lock: str) -> None:
    """G1: a version with a known weakness never comes in by way of a lock file."""
    assert weak(pins(lock)) == []


def test_a_version_below_its_floor_is_found() -> None:
    """The check above can fail."""
    assert weak({"authlib": Version("1.6.8"), "starlette": Version("1.0.1")}) == ["authlib"]


@pytest.mark.parametrize("lock", LOCKS)
def test_everything_asked_for_is_locked(lock: str) -> None:
    """Whoever changes pyproject.toml renews the locks: make lock."""
    locked = pins(lock)
    missing = [str(r) for r in wanted(lock) if not r.specifier.contains(locked.get(canonicalize_name(r.name), "0"))]
    assert missing == []


@pytest.mark.parametrize("lock", [*LOCKS, "interop.lock"])
def test_every_package_is_fixed_by_hashes(lock: str) -> None:
    """G2: pip takes exactly these files or none."""
    text = (ROOT / "setup" / lock).read_text(encoding="utf-8")
    entries = re.split(r"\n(?=\S)", text.strip())
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert len(entries) == len(pins(lock))


@pytest.mark.parametrize("lock", [*LOCKS, "interop.lock"])
def test_a_lock_names_no_source(lock: str) -> None:
    """Where packages come from is the choice of whoever installs."""
    text = (ROOT / "setup" / lock).read_text(encoding="utf-8")
    assert not re.search(r"://|--(extra-)?index-url|--find-links|@ file", text)


def test_the_environment_for_tests_serves_the_demo() -> None:
    """Set-up relies on it: demo.lock holds nothing that dev.lock does not hold in the same version."""
    assert pins("demo.lock").items() <= pins("dev.lock").items()


def test_the_demo_needs_no_development_tools() -> None:
    """`make demo` installs only what the demo needs."""
    assert not {"pytest", "playwright", "mypy", "ruff", "hypothesis"} & set(pins("demo.lock"))


def test_what_runs_here_is_what_is_locked() -> None:
    """The tests prove something about the locked versions only if those are the ones that run."""
    from importlib.metadata import version

    here = default_environment()
    text = (ROOT / "setup/dev.lock").read_text(encoding="utf-8")
    lines = re.findall(r"^([\w.-]+==.*?) ?\\$", text, re.MULTILINE)
    requirements = [r for r in map(Requirement, lines) if r.marker is None or r.marker.evaluate(here)]
    differing = [str(r) for r in requirements if not r.specifier.contains(version(r.name))]
    assert differing == []
