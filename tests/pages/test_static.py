"""Style sheet and scripts: named by their content, cached for a year, and nothing else is ever served."""

import re

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from broker.pages.static import STATIC_DIR, StaticFiles

FILES = StaticFiles()
CLIENT = TestClient(Starlette(routes=FILES.routes()))


@pytest.mark.parametrize(
    ("name", "media_type"), [("stafett.css", "text/css"), ("wait.js", "text/javascript"), ("mark.svg", "image/svg+xml")]
)
def test_a_file_is_served_under_its_hash(name: str, media_type: str) -> None:
    """Its address changes with its content, so browsers may keep it for a year."""
    answer = CLIENT.get(FILES.url(name))
    assert answer.content == (STATIC_DIR / name).read_bytes()
    assert answer.headers["content-type"].startswith(media_type)
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["stafett.css", "stafett.000000000000.css", "..%2Frender.py", "%2e%2e/render.py", ""])
def test_nothing_else_is_served(path: str) -> None:
    """Neither an unhashed name, an old hash nor a way up the tree."""
    answer = CLIENT.get(f"/static/{path}")
    assert answer.status_code == 404


def test_post_is_refused() -> None:
    """Files are read, never written to."""
    assert CLIENT.post(FILES.url("wait.js")).status_code == 405


def test_an_unknown_file_is_a_mistake() -> None:
    """A template that names a file nobody shipped fails at once."""
    with pytest.raises(KeyError):
        FILES.url("other.css")


@pytest.mark.parametrize("path", sorted(STATIC_DIR.iterdir()), ids=lambda path: path.name)
def test_files_load_nothing_from_elsewhere(path: object) -> None:
    """No third party is told of a visit: no address with a host, no import, no font."""
    text = path.read_text(encoding="utf-8")  # type: ignore[attr-defined]
    addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.[a-z]{2,}[^\s\"')]*", text)) - {"http://www.w3.org/2000/svg"}
    assert addresses == set()
    assert "@import" not in text
    assert "@font-face" not in text
    assert "eval(" not in text
    assert "innerHTML" not in text
