"""
Where one way to log in enrols, recovers or raises another: every place is named here, and asks `may_bootstrap_other_methods`.

The Swedish BankID agreement forbids it for BankID ("ID-växling"). A new place that writes a way in, takes over a contact or
tells a level to somebody else makes a test fail until it is named, with the test that shows how it refuses.
"""

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: What gives somebody a way in, or finds her by another, and the files that may call it.
CALLS = {
    "link_identity": {"flows/links.py"},
    "restore_identity": {"flows/ways.py"},
    "find_or_create_customer": {"flows/login.py"},
    "add_passkey": {"upstream/passkey_desk.py", "flows/passkeys.py"},
    "find_contacts": {"flows/links.py", "flows/contacts.py"},
    "save_contacts": {"flows/links.py"},
    "proven_contacts": {"flows/links.py"},
    "joined": {"flows/login.py"},
}

#: Each place: the function that decides there, and a test that it refuses a login that may not bootstrap.
PLACES = {
    "linking, both sides": (
        "core/linking.py::_refusal",
        "core/test_linking.py::test_every_combination_with_a_method_that_may_not_is_refused",
    ),
    "whose a contact is": (
        "flows/contacts.py::owner",
        "flows/test_contacts.py::test_a_way_that_may_not_vouch_is_not_believed",
    ),
    "linking, as a story": ("core/linking.py::decide", "flows/test_links.py::test_bankid_is_never_asked_about"),
    "adding a way on her own page": (
        "core/journey.py::may_add",
        "flows/test_links.py::test_bankid_adds_nothing_and_says_why",
    ),
    "bringing back a way": ("core/linking.py::may_restore", "core/test_linking.py::test_bringing_back_is_a_link"),
    "found by a contact": ("core/linking.py::match", "core/test_linking.py::test_who_was_here_before"),
    "contacts that are kept": (
        "core/linking.py::proven_contacts",
        "core/test_linking.py::test_only_verified_contacts_are_found_by",
    ),
    "contacts of two logins in one session": (
        "core/linking.py::joined",
        "core/test_linking.py::test_an_unverified_contact_does_not_come_along",
    ),
    "the level a handoff carries": (
        "core/release.py::_handoff_assurance",
        "core/test_release.py::test_bankid_vouches_for_nobody_elsewhere",
    ),
    "adding a passkey": ("core/passkey.py::unfit", "upstream/test_passkey.py::test_a_bankid_session_adds_no_passkey"),
}


@cache
def functions(path: Path) -> dict[str, str]:
    """Every function of a file, with its source."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    return {
        node.name: "\n".join(lines[node.lineno - 1 : node.end_lineno])
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


@cache
def callers() -> dict[str, set[str]]:
    """By what is called: the files outside the stores that do."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in (ROOT / "broker").rglob("*.py"):
        where = path.relative_to(ROOT / "broker").as_posix()
        if where.startswith("stores/"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                found[called].add(where)
    return found


@pytest.mark.parametrize("name", CALLS)
def test_only_named_places_give_somebody_a_way_in(name: str) -> None:
    """A new caller is a new place where one method may raise another: name it, and show how it refuses."""
    assert callers().get(name, set()) <= CALLS[name]


@pytest.mark.parametrize("place", PLACES)
def test_each_place_asks(place: str) -> None:
    """The function that decides there looks at what the method may do."""
    where, name = PLACES[place][0].split("::")
    sources = functions(ROOT / "broker" / where)
    called = {**sources, name: sources[name]}
    reached = sources[name] + "".join(
        called[each] for each in re.findall(r"\b(_\w+)\(", sources[name]) if each in called
    )
    assert "may_bootstrap" in reached


@pytest.mark.parametrize("place", PLACES)
def test_each_place_is_shown_to_refuse(place: str) -> None:
    """By a test that exists."""
    where, name = PLACES[place][1].split("::")
    assert name in functions(ROOT / "tests" / where)


def test_whoever_looks_at_the_switch_is_named() -> None:
    """Nobody decides by it in passing: the other readers carry it, show it, or check the config."""
    carries = {
        "core/identity.py", "core/session.py", "core/policy.py", "core/journey.py", "flows/login.py", "config/check.py",
        "pages/ways_in.py", "upstream/passkey.py", "upstream/passkey_desk.py", "pages/passkeys.py", "flows/passkeys.py",
            "flows/service_desk.py",
    }  # fmt: skip
    deciding = {where.split("::")[0] for where, _ in PLACES.values()}
    readers = set()
    for path in (ROOT / "broker").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if "may_bootstrap" in text and not path.is_relative_to(ROOT / "broker" / "demo"):
            readers.add(path.relative_to(ROOT / "broker").as_posix())
    assert readers <= deciding | carries
