"""The models' refusals, as the operator reads them: file, line, key, what to do."""

import pytest

from broker.config.load import load
from broker.errors import ConfigError

from .conftest import WAYS_IN, Bench, Refused

SHOP_NAMES = "    names:\n      sv: Nordhjul\n      en: Nordhjul\n"


@pytest.mark.parametrize(
    ("old", "new", "at", "key", "advice"),
    [
        pytest.param(
            "        - http://127.0.0.1:8701/login/callback\n",
            "        - http://127.0.0.1:8701/login/callback\n      redirect_uri: http://127.0.0.1:8701/x\n",
            "redirect_uri:",
            "partners.tyre-shop.oidc.redirect_uri",
            "unknown key; did you mean 'redirect_uris'?",
            id="unknown-key",
        ),
        pytest.param(
            "broker:\n",
            "brokers: {}\nbroker:\n",
            "brokers:",
            "brokers",
            "unknown key; did you mean 'broker'?",
            id="unknown-key-at-the-top",
        ),
        pytest.param(
            "  listen:\n    host: 127.0.0.1\n",
            "  listen:\n    zzz: 1\n    host: 127.0.0.1\n",
            "zzz",
            "broker.listen.zzz",
            "unknown key; known here: host, port",
            id="unknown-key-far-from-all",
        ),
        pytest.param(
            "    home_uri: http://127.0.0.1:8701/\n",
            "",
            "  tyre-shop:",
            "partners.tyre-shop.home_uri",
            "is missing; add it",
            id="missing-key",
        ),
        pytest.param(
            "  - from: tyre-shop",
            "  - from: tyre-shop\n    source: tyre-shop",
            "    source: tyre-shop",
            "agreements[0].source",
            "unknown key; known here: claims, enabled, from, lifetime, minimum_assurance, purpose, purpose_texts,"
            " release_upstream_assurance, to, types, upstreams",
            id="key-by-its-inner-name",
        ),
        pytest.param(
            "    port: 8700",
            '    port: "8700"',
            "port:",
            "broker.listen.port",
            "must be a number; remove the quotes",
            id="quoted-number",
        ),
        pytest.param(
            "    port: 8700",
            "    port: 87000",
            "port:",
            "broker.listen.port",
            "must be at most 65535",
            id="port-too-high",
        ),
        pytest.param(
            "    enabled: true",
            '    enabled: "true"',
            "    enabled:",
            "agreements[0].enabled",
            "must be true or false, without quotes",
            id="quoted-truth",
        ),
        pytest.param(
            "    enabled: true",
            "    enabled: 1",
            "    enabled:",
            "agreements[0].enabled",
            "must be true or false",
            id="number-for-truth",
        ),
        pytest.param(
            "  name: Stafett",
            "  name: 1.5",
            "  name: 1.5",
            "broker.name",
            "must be text; quote it",
            id="number-for-text",
        ),
        pytest.param(
            "  name: Stafett",
            "  name: [Stafett]",
            "  name: [",
            "broker.name",
            "must be text; not a list or a block of keys",
            id="list-for-text",
        ),
        pytest.param(
            "  name: Stafett",
            '  name: ""',
            '  name: ""',
            "broker.name",
            "must have at least 1 characters",
            id="empty-text",
        ),
        pytest.param(
            "    return_uris:\n      - http://127.0.0.1:8701/booking-return\n",
            "    return_uris: http://127.0.0.1:8701/booking-return\n",
            "return_uris:",
            "partners.tyre-shop.return_uris",
            "must be a list: one line '- value' for each, or [a, b]",
            id="text-for-list",
        ),
        pytest.param(
            SHOP_NAMES,
            "    names: Nordhjul\n",
            "names: Nordhjul",
            "partners.tyre-shop.names",
            "must be a block of keys (key: value), indented under this one",
            id="text-for-block",
        ),
        pytest.param(
            f"      {WAYS_IN}",
            "      upstreams: []",
            "upstreams: []",
            "partners.tyre-shop.login.upstreams",
            "needs at least one entry",
            id="empty-list",
        ),
        pytest.param(
            "    ceiling: substantial",
            "    ceiling: substancial",
            "ceiling: substancial",
            "upstreams.bankid.ceiling",
            "must be one of soft, self-asserted, contact, low, substantial, high; did you mean 'substantial'?",
            id="unknown-level",
        ),
        pytest.param(
            "auth: client_secret_basic",
            "auth: basic",
            "auth: basic",
            "partners.tyre-shop.oidc.auth",
            "must be one of client_secret_basic, client_secret_post, private_key_jwt, none",
            id="unknown-method",
        ),
        pytest.param(
            "claims: [name, email]",
            "claims: [name, emial]",
            "emial",
            "partners.tyre-shop.login.claims[1]",
            "must be one of name, given_name, family_name, birthdate, email, phone_number, locale, personal_number,"
            " member_number; did you mean 'email'?",
            id="unknown-claim",
        ),
        pytest.param(
            "    journey: 30m",
            "    journey: 1800",
            "journey:",
            "broker.lifetimes.journey",
            "a duration is a whole number with a unit, such as 60s, 30m, 24h or 7d",
            id="duration-without-unit",
        ),
        pytest.param(
            "    journey: 30m",
            "    journey: 30 min",
            "journey:",
            "broker.lifetimes.journey",
            "a duration is a whole number with a unit, such as 60s, 30m, 24h or 7d",
            id="duration-with-wrong-unit",
        ),
        pytest.param(
            "    journey: 30m",
            "    code: 5m",
            "code: 5m",
            "broker.lifetimes.code",
            "must be at most 60s",
            id="duration-too-long",
        ),
        pytest.param(
            "      sv: Verkstan i Hammarby",
            "      de: Werkstatt",
            "de: Werkstatt",
            "partners.garage.names.de",
            "must be one of the languages sv, fi, pl, en",
            id="unknown-language",
        ),
        pytest.param(
            "\n  garage:\n    names:",
            "\n  Garage:\n    names:",
            "  Garage:",
            "partners.Garage",
            "must be lower-case letters, digits and hyphens, start with a letter, and have at most 63 characters",
            id="id-in-capitals",
        ),
        pytest.param(
            "  tyre-fitting/v1:",
            "  tyre-fitting:",
            "  tyre-fitting:",
            "payload_types.tyre-fitting",
            "must be a name and a version, such as tyre-fitting/v1",
            id="type-without-version",
        ),
        pytest.param(
            "        - customer.name",
            "        - customer.Name",
            "- customer.Name",
            "agreements[0].claims.required[0]",
            "must be the dotted name of a field of the payload, such as vehicle.registration_number",
            id="field-in-capitals",
        ),
        pytest.param(
            "client_id: nordhjul-web",
            'client_id: "nordhjul web"',
            "nordhjul web",
            "partners.tyre-shop.oidc.client_id",
            "must be 1 to 100 letters, digits, dots, underscores or hyphens",
            id="client-id-with-space",
        ),
        pytest.param(
            "      - 127.0.0.0/8",
            "      - 127.0.0.1/8",
            "- 127.0.0.1/8",
            "broker.outbound.allow_private_networks[0]",
            "must be a network in CIDR form, such as 10.0.0.0/8 or ::1/128 (bits behind the mask must be zero)",
            id="network-with-host-bits",
        ),
        pytest.param(
            "      - 127.0.0.0/8",
            "      - localhost",
            "- localhost",
            "broker.outbound.allow_private_networks[0]",
            "must be a network in CIDR form, such as 10.0.0.0/8 or ::1/128",
            id="name-for-network",
        ),
        pytest.param(
            "    release_upstream_assurance: false",
            "    release_upstream_assurance: true",
            "    release_upstream_assurance: true",
            "agreements[0].release_upstream_assurance",
            "must be false, or give the reason: release_upstream_assurance: {because: ...}",
            id="release-without-reason",
        ),
        pytest.param(
            "    release_upstream_assurance: false",
            '    release_upstream_assurance: {because: "yes"}',
            "    release_upstream_assurance: {because: ",
            "agreements[0].release_upstream_assurance.because",
            "must have at least 10 characters",
            id="release-with-an-empty-reason",
        ),
        pytest.param(
            "    release_upstream_assurance: false",
            "    release_upstream_assurance: {reason: we have an agreement of our own, because: we have one}",
            "    release_upstream_assurance: {reason",
            "agreements[0].release_upstream_assurance.reason",
            "unknown key; known here: because",
            id="unknown-key-inside-a-choice",
        ),
        pytest.param(
            "      api_url: https://127.0.0.1:8704/rp/v6.0/",
            "      api: https://127.0.0.1:8704/rp/v6.0/",
            "      api: ",
            "upstreams.bankid.connect.api",
            "unknown key; did you mean 'api_url'?",
            id="unknown-key-of-a-connector",
        ),
        pytest.param(
            "      api_url: https://127.0.0.1:8704/rp/v6.0/",
            "      api_url: http://127.0.0.1:8704/rp/v6.0/",
            "      api_url: http://127.0.0.1:8704",
            "upstreams.bankid.connect.api_url",
            "must be an https address ending with a slash, such as https://appapi2.bankid.com/rp/v6.0/",
            id="value-a-connector-refuses",
        ),
        pytest.param(
            "kind: bankid",
            "kind: bank-id",
            "kind: bank-id",
            "upstreams.bankid.kind",
            "there is no kind 'bank-id'; did you mean 'bankid'?",
            id="unknown-kind",
        ),
        pytest.param(
            "kind: bankid",
            "kind: BankID",
            "kind: BankID",
            "upstreams.bankid.kind",
            "there is no kind 'BankID'; did you mean 'bankid'?",
            id="kind-with-capitals",
        ),
    ],
)
def test_a_mistake_is_told_with_line_key_and_advice(
    refused: Refused, old: str, new: str, at: str, key: str, advice: str
) -> None:
    """Every value the models refuse is named where it stands, with what to do about it."""
    refused([(old, new)], at, key, advice)


@pytest.mark.parametrize(
    ("address", "advice"),
    [
        ("shop.example/callback", "must be a complete http or https address"),
        ("ftp://127.0.0.1/", "must be a complete http or https address"),
        ("javascript:alert(1)", "must be a complete http or https address"),
        ("https:///callback", "must be a complete http or https address"),
        ('"https://shop.example/#top"', "must have neither a fragment nor a user name"),
        ("https://shop.example@evil.example/", "must have neither a fragment nor a user name"),
        ('"https://shop.example/a b"', "must be plain ASCII without spaces or backslashes"),
        ("https://shop.example/bokning/å", "must be plain ASCII without spaces or backslashes"),
        ('"https://shop.example\\\\evil.example/"', "must be plain ASCII without spaces or backslashes"),
        ("https://[::1/", "is not an address: check brackets and port number"),
        ("https://shop.example:99999/", "is not an address: check brackets and port number"),
    ],
)
def test_addresses_of_partners_are_whole_and_plain(refused: Refused, address: str, advice: str) -> None:
    """Redirect targets are compared exactly, so nothing in them may be read in two ways."""
    old = "http://127.0.0.1:8701/login/callback"
    refused([(old, address)], f"- {address}", "partners.tyre-shop.oidc.redirect_uris[0]", advice)


@pytest.mark.parametrize(
    ("issuer", "advice"),
    [
        ("http://localhost:8700/", "must be scheme, host and port only, without a trailing slash"),
        ("http://localhost:8700/login", "must be scheme, host and port only, without a trailing slash"),
        ("http://localhost:8700?", "must be scheme, host and port only, without a trailing slash"),
        ("http://LOCALHOST:8700", "must be written as browsers do: host in lower case, no default port"),
        ("http://localhost:80", "must be written as browsers do: host in lower case, no default port"),
        ("localhost:8700", "must be a complete http or https address"),
    ],
)
def test_the_issuer_is_an_origin(refused: Refused, issuer: str, advice: str) -> None:
    """OpenID Connect Discovery section 4.3 compares the issuer as text: there is one way to write it."""
    refused([("issuer: http://localhost:8700", f"issuer: {issuer}")], f"issuer: {issuer}", "broker.issuer", advice)


def test_all_mistakes_of_a_file_are_told_at_once_in_its_order(bench: Bench) -> None:
    """Reader, models and connectors report together; a key the reader refused gets no second sentence."""
    bench.edit(
        ("  name: Stafett", "  name: NO"),
        ("    journey: 30m", "    journey: 30x"),
        ("      api_url: https", "      api: https"),
        ("      claims: [name, email]", "      claims: name"),
    )
    problems = bench.problems()
    assert [problem.split(" ")[1].rstrip(":") for problem in problems] == [
        "broker.name",
        "broker.lifetimes.journey",
        "upstreams.bankid.connect.api",
        "partners.tyre-shop.login.claims",
    ]
    lines = [int(problem.split(" ")[0].rsplit(":", 1)[1]) for problem in problems]
    assert lines == sorted(lines)


def test_a_file_full_of_mistakes_is_cut_short(bench: Bench) -> None:
    """A thousand sentences help nobody."""
    bench.text += "".join(f"zz{number}: 1\n" for number in range(300))
    problems = bench.problems()
    assert len(problems) == 201
    assert problems[-1] == f"{bench.path}: 100 more problems are not shown; mend these first"


def test_a_file_that_is_no_config(bench: Bench) -> None:
    """A list, a text or a missing file is a sentence too."""
    bench.text = "- a\n- b\n"
    assert bench.problems() == (f"{bench.path}:1: must be keys with values (broker: ...), not a list or a text",)
    bench.text = "hello"
    assert bench.problems() == (f"{bench.path}:1: must be keys with values (broker: ...), not a list or a text",)


def test_a_missing_file_is_a_sentence(bench: Bench) -> None:
    """No stack trace for a wrong path."""
    with pytest.raises(ConfigError) as caught:
        load(path := bench.folder / "nowhere.yaml")
    assert caught.value.problems == (
        f"{path}: cannot be read (No such file or directory); give the path of the config file",
    )
