"""Production's refusals: each by key and reason, each lifted by its own name and by no other."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from broker.core.policy import Mode, Risk

from ..stage import MAIL_BLOCK, SMS_BLOCK
from .conftest import Bench, Edit

GATEWAY = SMS_BLOCK[SMS_BLOCK.index("      - driver:") : SMS_BLOCK.index("    # Text messages")].replace(
    "        api_url: http://127.0.0.1:8712/a1/sms\n", ""
)
"""Who sends text messages in a config that production takes."""

KEYS = '  keys: {signing: ["file:rsa.pem", "file:ec.pem"], secret: "env:STAFETT_KEY"}\n'

REFUSALS: list[tuple[Risk, list[Edit], dict[str, str], str, str]] = [
    (
        Risk.HTTP_ISSUER,
        [("issuer: https://login.example.com", "issuer: http://login.example.com")],
        {},
        "broker.issuer",
        "must begin with https:// in production",
    ),
    (
        Risk.MEMORY_STATE,
        [('state: {url: "env:REDIS_URL"}', "state: {embedded: memory}")],
        {},
        "broker.state.url",
        "is missing, so logins in progress live in this process's memory and end with it;"
        " give a reference to a Redis URL",
    ),
    (
        Risk.EMBEDDED_STATE,
        [('  state: {url: "env:REDIS_URL"}\n', "")],
        {},
        "broker.state.url",
        "is missing, so logins in progress live in an embedded server and end with it; give a reference to a Redis URL",
    ),
    (
        Risk.SQLITE_RECORDS,
        [('  records: {url: "env:DATABASE_URL"}\n', "")],
        {},
        "broker.records.url",
        "SQLite serves one process on one disk; give a reference to a postgresql+asyncpg:// URL",
    ),
    (
        Risk.SQLITE_RECORDS,
        [],
        {"DATABASE_URL": "sqlite+aiosqlite:////var/lib/stafett.db"},
        "broker.records.url",
        "SQLite serves one process on one disk; give a reference to a postgresql+asyncpg:// URL",
    ),
    (
        Risk.GENERATED_KEYS,
        [(KEYS, KEYS.replace(', secret: "env:STAFETT_KEY"', ""))],
        {},
        "broker.keys.secret",
        "is missing, and production does not make its own keys; make one and refer to it",
    ),
    (
        Risk.GENERATED_KEYS,
        [(KEYS, '  keys: {secret: "env:STAFETT_KEY"}\n')],
        {},
        "broker.keys.signing",
        "is missing, and production does not make its own keys; make one and refer to it, or give broker.keys.folder,"
        " where stafett keys makes them",
    ),
    (
        Risk.LOOPBACK_UPSTREAM,
        [("issuer: https://accounts.google.com", "issuer: http://127.0.0.1:8703")],
        {},
        "upstreams.google.connect.issuer",
        "is an address of this machine, so the provider is a simulator; give the real one",
    ),
    (
        Risk.LOOPBACK_UPSTREAM,
        [("      client_certificate:", "      launch_url: http://localhost:8705/\n      client_certificate:")],
        {},
        "upstreams.bankid.connect.launch_url",
        "is an address of this machine, so the provider is a simulator; give the real one",
    ),
    (
        Risk.LOOPBACK_UPSTREAM,
        [
            (
                "      client_certificate:",
                '      api_url: "https://[::ffff:127.0.0.1]/rp/v6.0/"\n      client_certificate:',
            )
        ],
        {},
        "upstreams.bankid.connect.api_url",
        "is an address of this machine, so the provider is a simulator; give the real one",
    ),
    (
        Risk.LOOPBACK_UPSTREAM,
        [("      - 10.1.0.0/16", "      - 127.0.0.1/32")],
        {},
        "broker.outbound.allow_private_networks[0]",
        "lets the broker call this machine, where only simulators are; remove it in production",
    ),
    (
        Risk.BANKID_TEST_ENVIRONMENT,
        [
            (
                "      client_certificate:",
                "      api_url: https://appapi2.test.bankid.com/rp/v6.0/\n      client_certificate:",
            )
        ],
        {},
        "upstreams.bankid.connect.api_url",
        "is BankID's test environment; remove the key to use the real one",
    ),
    (
        Risk.OUTBOX_NOTIFIER,
        [(MAIL_BLOCK, "  mail: {driver: outbox}\n")],
        {},
        "broker.mail.driver",
        "outbox keeps messages in memory instead of sending them; name who sends them in production",
    ),
    (
        Risk.OUTBOX_NOTIFIER,
        [(GATEWAY, "      - driver: outbox\n")],
        {},
        "broker.sms.gateways[0].driver",
        "outbox keeps messages in memory instead of sending them; name who sends them in production",
    ),
    (
        Risk.PLAIN_MAIL,
        [
            (
                MAIL_BLOCK,
                "  mail: {driver: smtp, host: relay.example, tls: none, from: a@example.com}\n",
            )
        ],
        {},
        "broker.mail.tls",
        "none sends codes and links in the clear; use starttls or implicit",
    ),
    (
        Risk.LOOPBACK_UPSTREAM,
        [
            (
                GATEWAY,
                "      - driver: http\n        url: http://127.0.0.1:8710/send\n        form: {to: '{to}', text: '{text}'}\n",
            )
        ],
        {},
        "broker.sms.gateways[0].url",
        "is an address of this machine, so the gateway is a simulator; give the real one",
    ),
    (
        Risk.DEBUG,
        [("  outbound:\n", "  debug: true\n  outbound:\n")],
        {},
        "broker.debug",
        "shows inner workings to strangers; remove it in production",
    ),
    (
        Risk.NO_TRUSTED_PROXIES,
        [("  trusted_proxies: [10.0.0.0/8]\n", "")],
        {},
        "broker.trusted_proxies",
        "is empty, so no client address can be believed; list the networks your proxies connect from",
    ),
]
IDS = [f"{risk}-{number}" for number, (risk, *_) in enumerate(REFUSALS)]


def test_a_production_config_is_taken_as_it_is(production: Bench) -> None:
    """Production is the default, and what it wants is possible."""
    loaded = production.load()
    assert loaded.policy.config.mode is Mode.PRODUCTION
    assert (loaded.warnings, loaded.accepted_risks) == ((), ())


@pytest.mark.parametrize(("risk", "edits", "environment", "key", "advice"), REFUSALS, ids=IDS)
def test_production_refuses_by_key_and_reason(
    production: Bench, risk: Risk, edits: list[Edit], environment: dict[str, str], key: str, advice: str
) -> None:
    """Nothing a demo takes for granted gets into production by accident."""
    production.edit(*edits)
    production.environment |= environment
    (found,) = production.problems()
    assert found.endswith(f" {key}: {advice} (to accept it while staging: accept_risks: [{risk}])")
    assert found.startswith(f"{production.path}:")


@pytest.mark.parametrize(("risk", "edits", "environment", "key", "advice"), REFUSALS, ids=IDS)
def test_a_refusal_is_lifted_by_its_name(
    production: Bench, risk: Risk, edits: list[Edit], environment: dict[str, str], key: str, advice: str
) -> None:
    """For staging; what was lifted is kept, to be repeated wherever somebody looks."""
    production.edit(*edits)
    production.environment |= environment
    production.text = f"accept_risks: [{risk}]\n{production.text}"
    loaded = production.load()
    assert [(each.risk, each.key, each.advice) for each in loaded.accepted_risks] == [(risk, key, advice)]
    assert str(loaded.accepted_risks[0]) == f"accepted risk {risk}: {key}: {advice}"
    assert loaded.warnings == ()


@pytest.mark.parametrize(("risk", "edits", "environment", "key", "advice"), REFUSALS, ids=IDS)
def test_a_refusal_is_not_lifted_by_other_names(
    production: Bench, risk: Risk, edits: list[Edit], environment: dict[str, str], key: str, advice: str
) -> None:
    """Accepting everything but this one does not accept this one."""
    production.edit(*edits)
    production.environment |= environment
    others = [other.value for other in Risk if other is not risk]
    production.text = f"accept_risks: [{', '.join(others)}]\n{production.text}"
    assert len(production.problems()) == 1


def test_every_risk_has_its_refusal() -> None:
    """No name in accept_risks that nothing stands behind."""
    assert {risk for risk, *_ in REFUSALS} == set(Risk)


def test_the_public_test_certificate_is_refused(production: Bench) -> None:
    """BankID's test certificate and its key are on the web; whoever has them is everybody."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "FP Testcert 5")])
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Testbank A RP CA v1 for BankID Test")])
    now = datetime.now(UTC)
    certificate = (x509.CertificateBuilder(issuer, name, key.public_key(), 1, now, now + timedelta(days=1))).sign(
        key, hashes.SHA256()
    )
    production.put("bankid/rp.pem", certificate.public_bytes(serialization.Encoding.PEM))
    production.put(
        "bankid/rp.key",
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
    assert production.problems() == (
        production.sentence(
            "client_certificate:",
            "upstreams.bankid.connect.client_certificate",
            "is BankID's public test certificate; use the one your bank issued"
            " (to accept it while staging: accept_risks: [bankid_test_environment])",
        ),
    )


def test_the_example_as_it_is_would_not_do_for_production(bench: Bench) -> None:
    """Taking the demo's file to a server ends with a list of what to change, not with a running demo."""
    bench.edit(("mode: development\n", ""))
    risks = {risk for risk in Risk if any(f"[{risk}]" in problem for problem in bench.problems())}
    assert risks == {
        Risk.HTTP_ISSUER,
        Risk.EMBEDDED_STATE,
        Risk.SQLITE_RECORDS,
        Risk.GENERATED_KEYS,
        Risk.LOOPBACK_UPSTREAM,
        Risk.NO_TRUSTED_PROXIES,
    }


@pytest.mark.parametrize("key", ["redirect_uris", "post_logout_redirect_uris", "home_uri", "return_uris", "guest_uri"])
def test_partners_are_reached_by_https_in_production(production: Bench, key: str) -> None:
    """Codes and customers never travel in the clear; no accepted risk lifts this."""
    at = production.text.index("https://", production.text.index(f"{key}:"))
    production.text = production.text[:at] + "http://" + production.text[at + len("https://") :]
    production.text = f"accept_risks: [{', '.join(Risk)}]\n{production.text}"
    (found,) = production.problems()
    assert f".{key}" in found
    assert found.endswith(": must begin with https:// in production")


def test_development_cannot_be_accepted_elsewhere(bench: Bench) -> None:
    """Development away from this machine is no risk one may take."""
    bench.edit(("issuer: http://localhost:8700", "issuer: https://login.example.com"))
    bench.text = f"accept_risks: [{', '.join(Risk)}]\n{bench.text}"
    (found,) = bench.problems()
    assert found.startswith(f"{bench.path}:{bench.line('mode: development')} mode: development is only")


def test_unneeded_accepted_risks_are_pointed_at(production: Bench) -> None:
    """A lifted refusal that refuses nothing would hide a later mistake."""
    production.text = f"accept_risks: [debug, http_issuer]\n{production.text}"
    assert production.load().warnings == tuple(
        f"{production.path}:1 accept_risks[{index}]: {risk} is accepted but nothing here needs it; remove it"
        for index, risk in enumerate(["debug", "http_issuer"])
    )


def test_unknown_accepted_risks_are_a_warning(production: Bench) -> None:
    """A name from another version lifts nothing, and is no reason to stand still."""
    production.text = f"accept_risks: [http_isuer]\n{production.text}"
    assert production.load().warnings == (
        f"{production.path}:1 accept_risks[0]: there is no such risk; did you mean 'http_issuer'?",
    )


def test_development_needs_no_accepted_risks(bench: Bench) -> None:
    """What development takes for granted is not an accepted risk."""
    bench.text = f"accept_risks: [http_issuer]\n{bench.text}"
    loaded = bench.load()
    assert (len(loaded.warnings), loaded.accepted_risks) == (1, ())


def test_secrets_open_to_all_are_refused_in_production(production: Bench, keys: Mapping[str, str]) -> None:
    """A private key every user of the machine can read is no private key."""
    production.put("rsa.pem", keys["rsa"], mode=0o644)
    assert production.problems() == (
        production.sentence(
            "keys: {signing", "broker.keys.signing[0]", "every user of this machine can read rsa.pem; chmod 600 it"
        ),
    )
