"""The JSON Schema for editors, and ``check-config`` for machines."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from typer.testing import CliRunner

from broker.cli import app
from broker.config.document import read
from broker.config.load import load
from broker.config.schema import config_schema
from broker.errors import ConfigError
from tests.conftest import Golden

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ROOT / "docs/schema/stafett.schema.json"
EXAMPLES = [ROOT / "config/stafett.example.yaml", ROOT / "helm/stafett/files/stafett.yaml"]
EXAMPLE = EXAMPLES[0].read_text("utf-8")
VALIDATOR = Draft7Validator(config_schema())


def mistakes(text: str) -> list[str]:
    """Where the schema says no: dotted paths."""
    document = read(text.encode(), "stafett.yaml")
    return [".".join(map(str, error.absolute_path)) for error in VALIDATOR.iter_errors(document.value)]


def spoiled(old: str, new: str) -> str:
    assert EXAMPLE.count(old) >= 1, f"the example no longer has {old!r}"
    return EXAMPLE.replace(old, new, 1)


def test_the_published_schema_is_made_from_the_models(golden: Golden) -> None:
    """Editors know exactly the keys the broker knows."""
    golden("../../docs/schema/stafett.schema.json", json.dumps(config_schema(), indent=2, ensure_ascii=False) + "\n")


def test_the_schema_is_itself_valid() -> None:
    """An editor ignores a schema it cannot read, without a word."""
    Draft7Validator.check_schema(config_schema())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_names_the_schema_and_holds_to_it(path: Path) -> None:
    """The header line leads an editor to the published file, and what we teach has no red lines in it."""
    text = path.read_text("utf-8")
    header = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
    assert header is not None
    assert (path.parent / header[1]).resolve() == PUBLISHED
    assert mistakes(text) == []


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("mode: development", "mode: testing", "mode"),
        ("  issuer: http://localhost:8700", "  issuer: localhost:8700", "broker.issuer"),
        ("    journey: 30m", "    journey: 30 minutes", "broker.lifetimes.journey"),
        ("    port: 8700", '    port: "8700"', "broker.listen.port"),
        ("languages: [sv, fi, pl, en]", "languages: [sv, de]", "broker.languages.1"),
        ("      - 127.0.0.0/8", "      - localhost", "broker.outbound.allow_private_networks.0"),
        ("    kind: oidc", "    kind: oauth", "upstreams.google.kind"),
        ("      client_key: file:bankid/rp.key\n", "", "upstreams.bankid.connect"),
        ("      api_url: https", "      scopes: [openid]\n      api_url: https", "upstreams.bankid.connect"),
        ("      prompt: select_account", "      prompt: login", "upstreams.google.connect.prompt"),
        ("    ceiling: contact", "    ceiling: strong", "upstreams.google.ceiling"),
        ("      secret: file:secrets/garage", "      secret: hunter2hunter2", "partners.garage.oidc.secret"),
        ("      redirect_uris:\n        - http://127.0.0.1:8702", "      redirects:\n        - http://127.0.0.1:8702",
         "partners.garage.oidc"),
        ("  tyre-fitting/v1:\n", "  tyre-fitting:\n", "payload_types"),
        ("    release_upstream_assurance: false", "    release_upstream_assurance: true",
         "agreements.0.release_upstream_assurance"),
        ("        - customer.name", "        - Customer name", "agreements.0.claims.required.0"),
    ],
)  # fmt: skip
def test_a_mistake_is_seen_while_typing(old: str, new: str, where: str) -> None:
    """The schema refuses it at its place (a missing or unknown key: at the block it is in)."""
    assert where in mistakes(spoiled(old, new))


def test_the_schema_refuses_nothing_that_the_broker_takes(tmp_path: Path) -> None:
    """A red line for something that works would teach operators not to look."""
    taken = """\
broker: {issuer: "https://[2001:db8::1]:8443", trusted_proxies: ["::1/128", 10.0.0.1], languages: [sv], default_language: sv}
accept_risks: [embedded_state, sqlite_records, generated_keys]
upstreams: {}
partners:
  p:
    names: {sv: P}
    home_uri: https://p.example:444/a@b?c=[d]&e='f'
    oidc: {client_id: P.p_1, secret: env:_P, redirect_uris: [https://p.example/]}
"""
    path = tmp_path / "stafett.yaml"
    path.write_text(taken)
    load(path, environment={"_P": "p" * 32})
    assert mistakes(taken) == []


# check-config --format json


def asked(path: Path) -> tuple[int, dict[str, Any]]:
    answer = CliRunner().invoke(app, ["check-config", "--format", "json", str(path)])
    return answer.exit_code, json.loads(answer.stdout)


def test_problems_are_told_by_file_line_key_and_message(tmp_path: Path) -> None:
    """What the text says, for a pipeline that puts it beside the line; nothing of it is repeated."""
    path = tmp_path / "stafett.yaml"
    path.write_text(spoiled("    journey: 30m", "    journey: 30x"), "utf-8")
    code, told = asked(path)
    line = path.read_text("utf-8").splitlines().index("    journey: 30x") + 1
    assert code == 1
    assert told == {
        "file": str(path),
        "good": False,
        "mode": None,
        "version": None,
        "problems": [
            {
                "file": str(path),
                "line": line,
                "key": "broker.lifetimes.journey",
                "message": "a duration is a whole number with a unit, such as 60s, 30m, 24h or 7d",
            }
        ],
        "warnings": [],
        "presets": [],
        "accepted_risks": [],
    }


def test_text_and_machines_are_told_the_same(tmp_path: Path) -> None:
    """The example without its secrets: each sentence of the text has its object."""
    path = tmp_path / "stafett.yaml"
    path.write_text(EXAMPLE, "utf-8")
    with pytest.raises(ConfigError) as refused:
        load(path)
    _, told = asked(path)
    sentences = [f"{each['file']}:{each['line']} {each['key']}: {each['message']}" for each in told["problems"]]
    assert sentences == list(refused.value.problems)


def test_a_good_file_tells_its_version_warnings_and_accepted_risks(tmp_path: Path) -> None:
    """Exit code 0, and the version that stands in logs and audit."""
    path = tmp_path / "stafett.yaml"
    path.write_text(
        "accept_risks: [embedded_state, sqlite_records, generated_keys, no_trusted_proxies, debug]\n"
        "broker: {issuer: https://login.example}\nupstreams: {}\npartners: {}\n"
    )
    code, told = asked(path)
    assert (code, told["good"], told["mode"]) == (0, True, "production")
    assert told["version"] == load(path).policy.version
    assert told["warnings"] == [
        {
            "file": str(path),
            "line": 1,
            "key": "accept_risks[4]",
            "message": "debug is accepted but nothing here needs it; remove it",
        }
    ]
    assert {"embedded_state", "sqlite_records", "generated_keys", "no_trusted_proxies"} == {
        risk["risk"] for risk in told["accepted_risks"]
    }


def test_a_file_that_is_not_there_is_told_too(tmp_path: Path) -> None:
    """JSON in every case: a pipeline need not guess."""
    code, told = asked(tmp_path / "none.yaml")
    assert code == 1
    assert [(each["line"], each["key"]) for each in told["problems"]] == [(None, "")]
