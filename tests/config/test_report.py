"""What ``check-config`` and the environment say."""

from pathlib import Path

import pytest

from broker.config.report import check_file
from broker.config.settings import read_settings
from broker.errors import ConfigError

from .conftest import Bench


def test_a_good_file_is_summed_up(bench: Bench) -> None:
    """One line an operator can compare with what was meant."""
    loaded = bench.load()
    report = check_file(bench.path)
    *presets, summary = report.text().splitlines()
    assert all(line.startswith("upstreams.ftn.connect.") and line.endswith(" (preset ftn)") for line in presets)
    assert summary == (
        f"{bench.path}: good (development, version {loaded.policy.version};"
        f" {len(loaded.policy.config.upstreams)} upstreams, 4 partners, 2 payload types, 3 agreements)"
    )
    assert report.exit_code == 0


def test_a_bad_file_lists_its_problems_and_the_consequence(bench: Bench) -> None:
    """All problems, then what follows from them."""
    bench.edit(("    to: garage", "    to: garages"), ("secret: file:secrets/garage", "secret: file:secrets/none"))
    bench.path.write_text(bench.text)
    report = check_file(bench.path)
    assert report.text().splitlines() == [
        bench.sentence(
            "secret: file:secrets/none",
            "partners.garage.oidc.secret",
            f"the file {bench.folder}/secrets/none does not exist; create it or correct the path",
        ),
        bench.sentence("to: garages", "agreements[0].to", "there is no partner 'garages'; did you mean 'garage'?"),
        f"{bench.path}: 2 problems; the broker will not start with this file",
    ]
    assert (report.exit_code, report.loaded) == (1, None)


def test_warnings_and_accepted_risks_are_shown(production: Bench) -> None:
    """What was let through is said every time."""
    production.edit(("  outbound:\n", "  debug: true\n  outbound:\n"))
    production.text = f"accept_risks: [debug, http_issuer]\n{production.text}"
    production.path.write_text(production.text)
    report = check_file(production.path, environment=production.environment)
    assert report.text().splitlines()[:2] == [
        f"warning: {production.path}:1 accept_risks[1]: http_issuer is accepted but nothing here needs it; remove it",
        "accepted risk debug: broker.debug: shows inner workings to strangers; remove it in production",
    ]
    assert report.exit_code == 0


def test_a_missing_file_is_a_report_too(tmp_path: Path) -> None:
    """No stack trace for a user's mistake."""
    report = check_file(tmp_path / "x.yaml")
    assert report.text().splitlines()[-1] == f"{tmp_path}/x.yaml: 1 problem; the broker will not start with this file"


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few, all with the prefix STAFETT_."""
    monkeypatch.setenv("STAFETT_CONFIG", "/etc/stafett/stafett.yaml")
    monkeypatch.setenv("STAFETT_DATA_DIR", "/var/lib/stafett")
    monkeypatch.setenv("STAFETT_LOG_LEVEL", "")
    settings = read_settings()
    assert settings.config == Path("/etc/stafett/stafett.yaml")
    assert settings.data_dir == Path("/var/lib/stafett")
    assert (settings.log_level, settings.log_format) == ("info", "json")


def test_a_wrong_setting_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is named, with what it may be."""
    monkeypatch.setenv("STAFETT_LOG_LEVEL", "loud")
    with pytest.raises(ConfigError) as caught:
        read_settings()
    assert caught.value.problems == (
        "environment variable STAFETT_LOG_LEVEL: input should be 'debug', 'info', 'warning' or 'error'",
    )
