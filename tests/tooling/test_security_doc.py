"""docs/security.md and docs/reliability.md name tests, modules and threats that exist, and the code names threats they have."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "docs" / "security.md", ROOT / "docs" / "reliability.md"]
TEST = re.compile(r"`([\w/]+\.py)::([\w:]+)`")
MODULE = re.compile(r"`((?:\w+/)+\w*(?:\.py)?)`")
ID = re.compile(r"\b[A-G]\d{1,2}\b")
REFERENCE = re.compile(
    r"docs/security\.md,? ((?:[A-G]\d{1,2}(?:, | and | to )?)+)|\(([A-G]\d{1,2})[,)]|^\W*([A-G]\d{1,2}): ", re.M
)


def collected() -> set[str]:
    """Every test there is, as ``folder/file.py::test`` or ``folder/file.py::Class::test``."""
    found = set()
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        name = path.relative_to(ROOT / "tests").as_posix()
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            within = node.body if isinstance(node, ast.ClassDef) else [node]
            prefix = f"{name}::{node.name}::" if isinstance(node, ast.ClassDef) else f"{name}::"
            found |= {prefix + each.name for each in within if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
    return found


def rows(page: str) -> dict[str, list[str]]:
    """The tables of docs/security.md by section: the first cell of each row."""
    found: dict[str, list[str]] = {}
    for section in re.split(r"^## ", page, flags=re.M)[1:]:
        title, _, body = section.partition("\n")
        found[title] = re.findall(r"^\| ([^|]*[A-G]\d[^|]*) \|", body, flags=re.M)
    return found


def said(path: Path) -> Iterator[str]:
    """The comments and texts of a source file."""
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type in {tokenize.COMMENT, tokenize.STRING}:
            yield token.string


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_a_page_names_exists(page: Path) -> None:
    """A renamed or removed test is a proof lost."""
    named = {f"{file}::{test}" for file, test in TEST.findall(page.read_text(encoding="utf-8"))}
    assert len(named) > 20
    assert named - collected() == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_module_a_page_names_exists(page: Path) -> None:
    """Where a defence is, is where a reader looks."""
    named = {name for name in MODULE.findall(page.read_text(encoding="utf-8")) if not name.startswith("tests/")}
    assert len(named) > 5
    assert {name for name in named if not (ROOT / "broker" / name).exists() and not (ROOT / name).exists()} == set()


def test_every_threat_is_proven_open_or_not_there() -> None:
    """A row has a test; what has none is said under Open, what has no code under Not applicable yet."""
    page = PAGES[0].read_text(encoding="utf-8")
    threats = [line for line in page.splitlines() if re.match(r"\| [A-G]\d+ \|", line) and line.count(" | ") >= 3]
    unproven = [line[:6] for line in threats if not TEST.search(line)]
    assert len(threats) > 60
    assert unproven == []
    ids = [line.split(" | ")[0].strip("| ") for line in threats]
    assert len(ids) == len(set(ids))


def test_every_threat_the_code_names_is_on_the_page() -> None:
    """Comments and tests refer to ids; a reader finds each."""
    page = PAGES[0].read_text(encoding="utf-8")
    known = {each for cells in rows(page).values() for cell in cells for each in ID.findall(cell)}
    unknown, seen = [], 0
    for folder in ("broker", "tests"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.is_relative_to(ROOT / "broker" / "demo") or path == Path(__file__).resolve():
                continue
            for text in said(path):
                for found in REFERENCE.finditer(text):
                    ids = ID.findall(found[0])
                    seen += len(ids)
                    unknown += [f"{path.relative_to(ROOT)}: {each}" for each in ids if each not in known]
    assert seen > 50
    assert unknown == []
