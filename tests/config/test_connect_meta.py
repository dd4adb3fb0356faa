"""The connect block of an upstream of kind `meta`, as `check-config` reads it."""

import pytest

from broker.upstream.meta import MetaConfig
from tests.config.conftest import Bench

GOOD = {"app_id": "'1234567890'", "app_secret": "file:secrets/google"}


def connect(bench: Bench, **changed: str) -> None:
    """Make the second upstream of the example one of kind `meta`."""
    start = bench.text.index("    kind: oidc")
    block = bench.text.index("    connect:", start)
    members = "".join(f"      {name}: {value}\n" for name, value in {**GOOD, **changed}.items())
    before = bench.text[start:block].replace("kind: oidc", "kind: meta")
    end = bench.text.index("\n\n", block)
    bench.text = f"{bench.text[:start]}{before}    connect:\n{members}{bench.text[end:]}"
    bench.edit(("    ceiling: contact", "    ceiling: self-asserted"))


def test_app_and_secret_suffice(bench: Bench) -> None:
    """Nothing else needs saying."""
    connect(bench)
    assert bench.load().connectors["google"] == MetaConfig(app_id="1234567890", app_secret="file:secrets/google")


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("app_id", "my-app", "must be the number Meta gave the app, 5 to 20 digits"),
        ("app_id", "1234567890", "must be text; quote it"),
        ("app_secret", "0123456789abcdef0123456789abcdef", "secrets are never written here"),
        ("app_secret", "file:secrets/none", "does not exist; create it or correct the path"),
        ("graph_version", "v20.0", "v20.0 has ended; choose v25.0"),
        ("graph_version", "latest", "must be a version of the Graph API, such as v25.0"),
        ("scopes", "[email]", "must hold public_profile"),
        ("graph_origin", "https://graph.facebook.com/", "must be scheme and host only"),
    ],
)
def test_a_mistake_is_told_by_its_key(bench: Bench, key: str, value: str, says: str) -> None:
    """File, line, key, and what to do."""
    connect(bench, **{key: value})
    (found,) = [each for each in bench.problems() if ".connect." in each]
    assert f" upstreams.google.connect.{key}: " in found
    assert says in found


@pytest.mark.parametrize("origin", ["http://127.0.0.1:8703", "http://graph.example"])
def test_production_talks_to_no_simulator(production: Bench, origin: str) -> None:
    """Neither on this machine nor in the clear."""
    connect(production, graph_origin=origin)
    assert any(" upstreams.google.connect.graph_origin: " in each for each in production.problems())
