"""``stafett check-config``: a verdict an operator can act on, and an exit code a pipeline can."""

import pytest

from .conftest import PRODUCTION, Terminal


def test_a_good_config_is_called_good(terminal: Terminal) -> None:
    """With mode, version and what is in it; exit code 0."""
    path = terminal.write()
    ran = terminal.run("check-config", str(path))
    assert ran.code == 0
    assert f"{path}: good (development, version " in ran.out
    assert " upstreams, 4 partners, 2 payload types, 3 agreements" in ran.out
    assert ran.err == ""


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("ceiling: contact", "ceiling: contakt", "upstreams.google.ceiling"),
        ("    to: garage\n", "    to: garge\n", "agreements[0].to"),
        ("handle: 24h", "handle: 24", "agreements[0].lifetime.handle"),
        ("mode: development\n", "mode: development\nmode: development\n", "mode"),
        ("secret: file:secrets/garage", "secret: hunter2", "partners.garage.oidc.secret"),
        ("mode: development\n", "", "broker.issuer"),
    ],
)
def test_a_bad_config_is_told_by_file_line_and_key(terminal: Terminal, old: str, new: str, key: str) -> None:
    """Exit code 1; a secret written in the wrong place is not repeated."""
    path = terminal.write({old: new})
    ran = terminal.run("check-config", str(path))
    assert ran.code == 1
    assert f"{path}:" in ran.out
    assert key in ran.out
    assert "the broker will not start with this file" in ran.out
    assert "hunter2" not in ran.said


def test_all_problems_are_told_at_once(terminal: Terminal) -> None:
    """Nobody wants to fix them one by one."""
    path = terminal.write({"ceiling: contact": "ceiling: contakt", "handle: 24h": "handle: 24"})
    ran = terminal.run("check-config", str(path))
    assert "2 problems" in ran.out


@pytest.mark.parametrize("content", [None, b"", b"\x00", b"\xff\xfe", b"- a\n", b"a: &a [*a]\n", b"{" * 5000])
def test_what_is_no_config_is_a_sentence(terminal: Terminal, content: bytes | None) -> None:
    """Missing, empty, binary or hostile: exit code 1."""
    path = terminal.folder / "other.yaml"
    if content is not None:
        path.write_bytes(content)
    ran = terminal.run("check-config", str(path))
    assert ran.code == 1
    assert str(path) in ran.out


def test_a_folder_is_no_config(terminal: Terminal) -> None:
    """A slip of the finger at the terminal."""
    ran = terminal.run("check-config", str(terminal.folder))
    assert ran.code == 1
    assert str(terminal.folder) in ran.out


def test_checking_leaves_nothing_behind(terminal: Terminal) -> None:
    """No folder, no key, no database: it may run anywhere, as anybody."""
    path = terminal.write()
    before = sorted(terminal.folder.rglob("*"))
    terminal.run("check-config", str(path))
    assert sorted(terminal.folder.rglob("*")) == before


def test_what_is_odd_but_right_is_a_warning(terminal: Terminal) -> None:
    """Accepted risks are listed whenever somebody looks."""
    path = terminal.write(PRODUCTION)
    ran = terminal.run("check-config", str(path))
    assert ran.code == 0, ran.out
    assert "good (production" in ran.out
    assert "http_issuer" in ran.out
