"""Secrets and keys by reference: where they lead, what is wrong there, and that they never show."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .conftest import SECRET, Bench

REFERENCE = "secret: file:secrets/tyre-shop"
KEY = "partners.tyre-shop.oidc.secret"


def test_a_secret_file_loses_its_last_newline_only(bench: Bench) -> None:
    """Editors add a newline; whatever else is there is the secret."""
    bench.put("secrets/tyre-shop", f" {SECRET}-end \r\n")
    assert bench.load().policy.client_secrets["tyre-shop"] == f" {SECRET}-end "


def test_a_secret_from_the_environment(bench: Bench) -> None:
    """env:NAME takes the variable as it is."""
    bench.edit((REFERENCE, "secret: env:SHOP_SECRET"))
    bench.environment["SHOP_SECRET"] = SECRET
    assert bench.load().policy.client_secrets["tyre-shop"] == SECRET


@pytest.mark.parametrize(
    "inline", ["geheim-geheim-geheim-geheim-geheim", "https://vault.example/x", "ENV:X", "env:", "env:1X", "file:"]
)
def test_an_inline_secret_is_refused_and_not_repeated(bench: Bench, inline: str) -> None:
    """What is in this file ends up in version control and tickets."""
    bench.edit((REFERENCE, f'secret: "{inline}"'))
    (found,) = bench.problems()
    assert found == bench.sentence(
        f'"{inline}"',
        KEY,
        "secrets are never written here: put it in an environment variable and write env:NAME, or in a file and write"
        " file:PATH (relative to this config file)",
    )
    assert "geheim" not in found


def test_an_inline_secret_of_digits_is_not_repeated_either(bench: Bench) -> None:
    """The reader's own refusals do not quote values."""
    bench.edit((REFERENCE, "secret: 0123456789"))
    (found,) = bench.problems()
    assert "0123456789" not in found


@pytest.mark.parametrize(
    ("reference", "advice"),
    [
        ("env:SHOP_SECRET", "the environment variable SHOP_SECRET is not set; set it where the broker is started"),
        ("env:EMPTY", "env:EMPTY is empty; put the secret there"),
        ("file:secrets/empty", "file:secrets/empty is empty; put the secret there"),
        ("file:secrets", "the file {folder}/secrets cannot be read (Is a directory)"),
        (
            "file:secrets/none",
            "the file {folder}/secrets/none does not exist; create it or correct the path",
        ),
        ("file:secrets/large", "the file {folder}/secrets/large is larger than 64 KiB; is it the right one?"),
        ("file:secrets/binary", "secrets/binary is not UTF-8 text"),
    ],
)
def test_a_reference_that_leads_nowhere(bench: Bench, reference: str, advice: str) -> None:
    """Known before the first customer comes, with what to do."""
    bench.put("secrets/empty", "\n")
    bench.put("secrets/large", "x" * 70_000)
    bench.put("secrets/binary", b"\xff\xfe\x00")
    bench.environment["EMPTY"] = "  "
    bench.edit((REFERENCE, f"secret: {reference}"))
    expected = advice.format(folder=bench.folder)
    assert bench.problems() == (bench.sentence(f" secret: {reference}", KEY, expected),)


def test_a_secret_open_to_all_is_a_warning_in_development(bench: Bench) -> None:
    """The demo runs; the operator learns."""
    bench.put("secrets/tyre-shop", SECRET, mode=0o644)
    assert bench.load().warnings == (
        bench.sentence(REFERENCE, KEY, "every user of this machine can read secrets/tyre-shop; chmod 600 it"),
    )


def test_a_short_client_secret(bench: Bench, production: Bench) -> None:
    """Guessable secrets are refused in production (OpenID Connect Core section 16.19)."""
    production.put("secrets/tyre-shop", "summer2026")
    assert production.problems() == (
        production.sentence(REFERENCE, KEY, "is shorter than 32 characters; make it with: openssl rand -hex 32"),
    )


def test_secrets_of_connectors_are_looked_up(bench: Bench) -> None:
    """A provider's secret that is missing is found at start, not at the first login."""
    (bench.folder / "secrets/google").unlink()
    assert bench.problems() == (
        bench.sentence(
            "client_secret: file:secrets/google",
            "upstreams.google.connect.client_secret",
            f"the file {bench.folder}/secrets/google does not exist; create it or correct the path",
        ),
    )


def test_a_certificate_that_is_none(bench: Bench) -> None:
    """BankID's certificate, key and root are loaded once to see that they fit."""
    bench.put("bankid/rp.pem", "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    assert bench.problems() == (
        bench.sentence(
            "client_certificate:",
            "upstreams.bankid.connect.client_certificate",
            "cannot be used: client_certificate, client_key and ca must be PEM files, and the key that of the"
            " certificate (client_key_passphrase, if it has one)",
        ),
    )


def test_a_provider_key_that_is_none(bench: Bench, keys: Mapping[str, str]) -> None:
    """The key for private_key_jwt towards a provider is looked at as well."""
    bench.edit(
        ("client_secret: file:secrets/google", "client_auth: private_key_jwt\n      client_key: file:google.pem")
    )
    bench.put("google.pem", keys["p384"])
    assert bench.problems() == (
        bench.sentence(
            "client_key: file:google.pem",
            "upstreams.google.connect.client_key",
            "must be a private key in PEM form: RSA of 2048 bits or more, or EC P-256",
        ),
    )
    bench.put("google.pem", keys["ec"])
    assert bench.load().warnings == ()


def test_no_secret_shows_when_a_loaded_config_is_printed(production: Bench) -> None:
    """Objects end up in logs and debuggers."""
    loaded = production.load()
    shown = f"{loaded!r} {loaded.policy!r}"
    assert SECRET not in shown
    assert "PRIVATE KEY" not in shown
    assert not any(value in shown for value in production.environment.values())


# The broker's own keys


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("small", "is RSA with 1024 bits; make one with at least 2048"),
        ("p384", "must be RSA with at least 2048 bits, or EC on the curve P-256"),
        ("none", "is not an unencrypted private key in PEM form (-----BEGIN PRIVATE KEY-----)"),
    ],
)
def test_a_signing_key_that_cannot_be_used(production: Bench, keys: Mapping[str, str], name: str, advice: str) -> None:
    """Weak or foreign keys are refused where they are named."""
    production.put("rsa.pem", keys.get(name, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"))
    assert production.sentence("keys: {signing", "broker.keys.signing[0]", advice) in production.problems()


def test_one_signing_key_of_each_kind(production: Bench) -> None:
    """Partners may ask for RS256 or ES256; both must be there from the start."""
    production.edit(('["file:rsa.pem", "file:ec.pem"]', '["file:rsa.pem"]'))
    assert production.problems() == (
        production.sentence(
            "keys: {signing",
            "broker.keys.signing",
            "needs at least one RSA and one EC P-256 key; add EC P-256",
        ),
    )


@pytest.mark.parametrize(
    ("secret", "advice"),
    [
        ("A" * 20, "has 15 bytes; it needs at least 32 random ones"),
        ("not base64!", "is not base64url; make it with: openssl rand -base64 32 | tr '+/' '-_'"),
    ],
)
def test_the_secret_keys_are_derived_from(production: Bench, secret: str, advice: str) -> None:
    """32 random bytes, or pairwise subjects can be guessed."""
    production.environment["STAFETT_KEY"] = secret
    assert production.problems() == (production.sentence("keys: {signing", "broker.keys.secret", advice),)


def test_resolved_keys_and_addresses(production: Bench, keys: Mapping[str, str]) -> None:
    """What the broker is built from arrives resolved."""
    secrets = production.load().secrets
    assert secrets.signing == (keys["rsa"].rstrip().encode(), keys["ec"].rstrip().encode())
    assert secrets.secret == base64.urlsafe_b64decode("A" * 43 + "=")
    assert secrets.state_url == production.environment["REDIS_URL"]
    assert secrets.records_url == production.environment["DATABASE_URL"]


@pytest.mark.parametrize(
    ("variable", "value", "key", "schemes"),
    [
        ("REDIS_URL", "http://redis.example", "broker.state.url", "redis://, rediss://, unix://"),
        (
            "DATABASE_URL",
            "postgres://db/x",
            "broker.records.url",
            "postgresql://, postgresql+asyncpg://, sqlite://, sqlite+aiosqlite://",
        ),
    ],
)
def test_addresses_of_stores(production: Bench, variable: str, value: str, key: str, schemes: str) -> None:
    """An address nobody here speaks is refused; the address, which may hold a password, is not repeated."""
    production.environment[variable] = value
    (found,) = production.problems()
    assert found.endswith(f" {key}: the address behind env:{variable} must begin with one of {schemes}")


# Partners' public keys


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def integer(number: int) -> str:
    return b64(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def rsa_key(bits: int = 2048) -> dict[str, Any]:
    numbers = rsa.generate_private_key(65537, bits).public_key().public_numbers()
    return {"kty": "RSA", "kid": "r", "n": integer(numbers.n), "e": integer(numbers.e)}


def ec_key(kid: str = "e") -> dict[str, Any]:
    numbers = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
    x, y = (b64(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": "P-256", "kid": kid, "x": x, "y": y}


def ed_key() -> dict[str, Any]:
    raw = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return {"kty": "OKP", "crv": "Ed25519", "kid": "o", "x": b64(raw)}


@pytest.fixture
def by_key(bench: Bench) -> Bench:
    bench.edit(
        (
            "auth: client_secret_basic\n      secret: file:secrets/tyre-shop",
            "auth: private_key_jwt\n      jwks_file: shop.json",
        )
    )
    return bench


def test_a_key_set_of_public_keys(by_key: Bench) -> None:
    """RSA, P-256 and Ed25519, each with its kid."""
    keys = [rsa_key(), ec_key(), ed_key()]
    by_key.put("shop.json", json.dumps({"keys": keys}))
    assert by_key.load().policy.client_jwks["tyre-shop"] == {"keys": keys}


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        ("not json", "is not JSON"),
        ("[]", 'is not a JWK Set: {"keys": [...]} with at least one key'),
        ('{"keys": []}', 'is not a JWK Set: {"keys": [...]} with at least one key'),
        (ec_key(), 'is not a JWK Set: {"keys": [...]} with at least one key'),
        ([{"kty": "oct", "k": "c2VjcmV0"}], "key 1: is a symmetric key; only public keys belong here"),
        (
            [{**ec_key(), "d": "x"}],
            "key 1: has private members; ask the partner for a new key, and for its public part only",
        ),
        ([rsa_key(1024)], "key 1: is RSA with 1024 bits; at least 2048 are needed"),
        ([{**ec_key(), "crv": "P-384"}], "key 1: must be RSA, EC on P-256, or Ed25519"),
        ([{**ec_key(), "x": b64(b"\x01" * 32)}], "key 1: cannot be read; ask the partner for it again"),
        ([{"kty": "RSA", "n": "AQAB"}], "key 1: cannot be read; ask the partner for it again"),
        ([{**ec_key(), "use": "enc"}], 'key 1: is not for signatures ("use" must be "sig")'),
        ([{}], "key 1: must be RSA, EC on P-256, or Ed25519"),
        ([ec_key(), ec_key()], "two keys have the same kid; give each its own"),
        ([ec_key(), {**ec_key(), "kid": None}], "several keys need a kid each, so that it is clear which one signed"),
    ],
)
def test_a_key_set_that_cannot_be_trusted(by_key: Bench, content: Any, advice: str) -> None:
    """Only public keys of known strength prove who a partner is (RFC 7523; RFC 8725 section 3.5)."""
    text = (
        content if isinstance(content, str) else json.dumps({"keys": content} if isinstance(content, list) else content)
    )
    by_key.put("shop.json", text)
    assert by_key.problems() == (by_key.sentence("jwks_file:", "partners.tyre-shop.oidc.jwks_file", advice),)


def test_a_key_set_that_is_missing(by_key: Bench) -> None:
    """The file is named with the place it was looked for."""
    assert by_key.problems() == (
        by_key.sentence(
            "jwks_file:",
            "partners.tyre-shop.oidc.jwks_file",
            f"the file {by_key.folder}/shop.json does not exist; create it or correct the path",
        ),
    )


FOLLOWING = 'next: [{key: "file:next.pem", signs_from: "2027-01-31T04:00:00+01:00"}], secret'


def test_a_key_that_takes_over(production: Bench, keys: Mapping[str, str]) -> None:
    """Read and looked at like those that sign, with its hour in UTC."""
    production.put("next.pem", keys["ec"])
    production.edit((" secret: ", f" {FOLLOWING}: "))
    ((pem, signs_from),) = production.load().secrets.next_signing
    assert pem == keys["ec"].rstrip().encode()
    assert signs_from.isoformat() == "2027-01-31T03:00:00+00:00"


def test_a_key_that_could_not_take_over(production: Bench, keys: Mapping[str, str]) -> None:
    """Is known at once, not at its hour."""
    production.put("next.pem", keys["p384"])
    production.edit((" secret: ", f" {FOLLOWING}: "))
    (found,) = production.problems()
    assert "broker.keys.next[0].key: must be RSA with at least 2048 bits, or EC on the curve P-256" in found


@pytest.mark.parametrize(
    ("keys_", "key"),
    [
        ('folder: keys, next: [{key: "file:ec.pem", signs_from: "2027-01-31T04:00:00Z"}]', "broker.keys.next"),
        ('signing: ["file:rsa.pem", "file:ec.pem"], rotate_every: 90d', "broker.keys.rotate_every"),
    ],
)
def test_who_looks_after_keys_is_one_of_both(production: Bench, keys_: str, key: str) -> None:
    """A folder that the broker keeps, or files that the operator keeps; what belongs to the other is refused."""
    production.edit(('keys: {signing: ["file:rsa.pem", "file:ec.pem"]', f"keys: {{{keys_}"))
    (found,) = production.problems()
    assert f"{key}: " in found


def test_a_folder_will_do_in_production(production: Bench) -> None:
    """With a secret of the operator's that it is sealed with."""
    production.edit(('keys: {signing: ["file:rsa.pem", "file:ec.pem"]', "keys: {folder: keys"))
    assert production.load().accepted_risks == ()
