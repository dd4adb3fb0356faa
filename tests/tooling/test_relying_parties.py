"""What docs/relying-parties.md shows is what the tests of ``make interop`` run."""

import re
from pathlib import Path

import pytest

from broker.config.load import load
from broker.config.render import example_text
from tests.interop.clients.mod_auth_openidc import ModAuthOpenidc
from tests.stage import SECRET, prepare

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/relying-parties.md").read_text("utf-8")
INTEROP = ROOT / "tests/interop"


@pytest.mark.parametrize(
    ("language", "file"),
    [
        ("yaml", "partner.yaml"),
        ("python", "clients/authlib_starlette/app.py"),
        ("js", "clients/openid_client/app.mjs"),
        ("go", "clients/go_oidc/main.go"),
    ],
)
def test_the_page_shows_the_very_file(language: str, file: str) -> None:
    """Each language occurs once, and nothing is left out of it."""
    shown = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert shown == [(INTEROP / file).read_text("utf-8")]


def test_the_lines_for_apache_are_those_of_the_test() -> None:
    """With values in place of what the test fills in."""
    (shown,) = re.findall(r"^```apache\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    tested = (INTEROP / "clients/mod_auth_openidc/httpd.conf").read_text("utf-8")
    tested = tested.replace("{settings}", ModAuthOpenidc.settings)
    values = {"{issuer}": "https://login.example", "{client_id}": "bookshop", "{secret}": "…"}
    for name, value in {**values, "{site}": "https://bookshop.example"}.items():
        tested = tested.replace(name, value)
    settings = [line for line in shown.splitlines() if line.startswith("OIDC")]
    assert settings
    assert [line for line in settings if line not in tested.splitlines()] == []


def test_the_entry_fits_into_the_example(tmp_path: Path) -> None:
    """Put under ``partners:`` it makes a config the broker accepts, with the secret the page suggests."""
    folder = prepare(tmp_path / "config")
    entry = (INTEROP / "partner.yaml").read_text("utf-8")
    (folder / "stafett.yaml").write_text(example_text().replace("\npartners:\n", f"\npartners:\n{entry}\n", 1), "utf-8")
    (secret,) = set(re.findall(r"_SECRET=(\S+)", PAGE))
    loaded = load(folder / "stafett.yaml", environment={"BOOKSHOP_SECRET": secret})
    assert loaded.policy.partner_of_client("bookshop") == "bookshop"
    assert secret != SECRET
