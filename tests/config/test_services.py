"""Partners without an OpenID Connect client: one way for each partner, and keys that can be used."""

import json
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, RSAKey

from .conftest import SECRET, Bench, Edit

SERVICE = """\
  depot:
    names: {en: Depot}
    home_uri: http://127.0.0.1:8799/
    guest_uri: http://127.0.0.1:8799/guest
    service:
      client_id: depot-service
      secret: file:secrets/depot
      arrive_uri: http://127.0.0.1:8799/arrive
"""
AGREEMENT = """\
  - from: tyre-shop
    to: depot
    purpose: storing
    purpose_texts: {en: Storing}
    types: [tyre-fitting/v1]
    claims: {required: [items]}
"""
KEY_FILE = "partners.depot.service.token.encrypt.jwks_file"


@pytest.fixture
def depot(bench: Bench) -> Bench:
    """The example with a service that holds together."""
    bench.edit(("\npartners:\n", f"\npartners:\n{SERVICE}"), ("\nagreements:\n", f"\nagreements:\n{AGREEMENT}"))
    bench.put("secrets/depot", SECRET)
    return bench


def jwks(*keys: Any, use: str | None = "enc") -> str:
    return json.dumps({"keys": [key.as_dict(private=False) | ({"use": use} if use else {}) for key in keys]})


def encrypting(bench: Bench, key_set: str) -> Bench:
    bench.put("depot.json", key_set)
    bench.edit(("      arrive_uri: http://127.0.0.1:8799/arrive\n",
                "      arrive_uri: http://127.0.0.1:8799/arrive\n      token: {encrypt: {jwks_file: depot.json}}\n"))  # fmt: skip
    return bench


def test_a_service_is_found_by_its_client(depot: Bench) -> None:
    """Its credentials count as those of any client; without more said, tokens are ES256 and not encrypted."""
    loaded = depot.load()
    partner = loaded.policy.partner("depot")
    assert loaded.policy.partner_of_client("depot-service") == "depot"
    assert loaded.policy.client_secrets["depot"] == SECRET
    assert partner is not None
    assert partner.service is not None
    assert (partner.service.token.alg, partner.service.token.encrypt) == ("ES256", None)
    assert not [warning for warning in loaded.warnings if "depot" in warning]


@pytest.mark.parametrize(
    ("edits", "at", "key", "advice"),
    [
        pytest.param(
            [("      arrive_uri: http://127.0.0.1:8799/arrive\n",
              "      arrive_uri: http://127.0.0.1:8799/arrive\n    oidc:\n      client_id: both\n"
              "      secret: file:secrets/depot\n      redirect_uris: [http://127.0.0.1:8799/cb]\n")],
            "  depot:",
            "partners.depot",
            "must have exactly one of oidc (an OpenID Connect client), saml and service (neither)",
            id="both-ways",
        ),
        pytest.param(
            [("    service:\n      client_id: depot-service\n      secret: file:secrets/depot\n"
              "      arrive_uri: http://127.0.0.1:8799/arrive\n", "")],
            "  depot:",
            "partners.depot",
            "must have exactly one of oidc (an OpenID Connect client), saml and service (neither)",
            id="neither-way",
        ),
        pytest.param(
            [("      secret: file:secrets/depot\n", "")],
            "    service:",
            "partners.depot.service.secret",
            "is missing, and auth: client_secret_basic needs it",
            id="no-secret",
        ),
        pytest.param(
            [("      secret: file:secrets/depot\n", "      auth: private_key_jwt\n")],
            "    service:",
            "partners.depot.service.jwks_file",
            "is missing, and auth: private_key_jwt needs it",
            id="no-keys",
        ),
        pytest.param(
            [("      secret: file:secrets/depot\n", "      auth: client_secret_post\n      secret: file:secrets/depot\n")],
            "auth: client_secret_post",
            "partners.depot.service.auth",
            "client_secret_post is for forms, and a service sends JSON; use client_secret_basic",
            id="form-authentication",
        ),
        pytest.param(
            [("client_id: depot-service", "client_id: nordhjul-web")],
            "client_id: nordhjul-web\n      auth",
            "partners.tyre-shop.oidc.client_id",
            "is already the client_id of partner depot; give each partner its own",
            id="client-id-twice",
        ),
        pytest.param(
            [("    service:\n", "    login: {upstreams: [google]}\n    service:\n")],
            "    login: {upstreams: [google]}",
            "partners.depot.login",
            "is for logins the partner starts, which need oidc; remove it, or register an OpenID Connect client",
            id="login-of-a-service",
        ),
        pytest.param(
            [("http://127.0.0.1:8799/arrive", "http://depot.example/arrive")],
            "arrive_uri",
            "partners.depot.service.arrive_uri",
            "http is only for this machine (127.0.0.1, localhost); use https://",
            id="arriving-without-tls",
        ),
        pytest.param(
            [("    guest_uri: http://127.0.0.1:8799/guest\n", "")],
            "  depot:",
            "partners.depot.guest_uri",
            "is missing; customers who continue without sharing arrive there",
            id="no-guest-page",
        ),
        pytest.param(
            [("      arrive_uri: http://127.0.0.1:8799/arrive\n",
              "      arrive_uri: http://127.0.0.1:8799/arrive\n      token: {alg: HS256}\n")],
            "token: {alg: HS256}",
            "partners.depot.service.token.alg",
            "must be one of RS256, ES256; did you mean 'RS256'?",
            id="shared-secret-signature",
        ),
    ],
)  # fmt: skip
def test_what_does_not_hold_together(depot: Bench, edits: list[Edit], at: str, key: str, advice: str) -> None:
    """Each mistake with its place and its remedy, and only that one."""
    depot.edit(*edits)
    line = depot.text[: depot.text.index(at)].count("\n") + 1
    problems = depot.problems()
    assert len(problems) == 1, problems
    assert problems[0].startswith(f"{depot.path}:{line} {key}: "), problems
    assert problems[0].endswith(advice), problems


def test_a_service_nobody_sends_to_is_a_warning(depot: Bench) -> None:
    """It can be reached in no other way."""
    depot.edit((AGREEMENT, ""))
    assert depot.load().warnings == (
        depot.sentence(
            "    service:", "partners.depot.service", "is reached by handoffs only, and no agreement leads here"
        ),
    )


def test_the_first_key_for_encryption_counts(depot: Bench) -> None:
    """A partner's published key set, with its keys for signatures, will do."""
    signs, first, second = (ECKey.generate_key("P-256", {"kid": kid}) for kid in ("sig", "enc-1", "enc-2"))
    keys = [signs.as_dict(private=False) | {"use": "sig"}]
    keys += [key.as_dict(private=False) | {"use": "enc"} for key in (first, second)]
    policy = encrypting(depot, json.dumps({"keys": keys})).load().policy
    assert policy.encryption_keys["depot"]["kid"] == "enc-1"


def test_another_key_is_another_config(depot: Bench) -> None:
    """Keys are parsed once per config version, so the version must tell."""
    encrypting(depot, jwks(ECKey.generate_key("P-256")))
    before = depot.load().policy.version
    depot.put("depot.json", jwks(ECKey.generate_key("P-256")))
    assert depot.load().policy.version != before


@pytest.mark.parametrize(
    ("key_set", "advice"),
    [
        ("{", "is not JSON"),
        ('{"keys": []}', 'is not a JWK Set: {"keys": [...]} with at least one key'),
        (
            jwks(ECKey.generate_key("P-256"), use=None),
            'has no key for encryption; ask the partner for one on P-256 with "use": "enc"',
        ),
        (
            jwks(ECKey.generate_key("P-256"), use="sig"),
            'has no key for encryption; ask the partner for one on P-256 with "use": "enc"',
        ),
        (jwks(ECKey.generate_key("P-384")), "key for encryption: must be RSA, EC on P-256, or Ed25519"),
        (jwks(RSAKey.generate_key(2048)), "key for encryption: must be EC on P-256 (ECDH-ES)"),
        (
            json.dumps({"keys": [OctKey.generate_key(256).as_dict(private=True) | {"use": "enc"}]}),
            "key for encryption: is a symmetric key; only public keys belong here",
        ),
        (
            json.dumps({"keys": [ECKey.generate_key("P-256").as_dict(private=True) | {"use": "enc"}]}),
            "key for encryption: has private members; ask the partner for a new key, and for its public part only",
        ),
    ],
    ids=["no-json", "empty", "no-use", "for-signatures", "p-384", "rsa", "symmetric", "private"],
)
def test_keys_that_cannot_be_encrypted_to(depot: Bench, key_set: str, advice: str) -> None:
    """Told when the file is read, never at a customer's arrival."""
    problems = encrypting(depot, key_set).problems()
    assert problems == (depot.sentence("token: {encrypt", KEY_FILE, advice),)


def test_a_key_file_that_is_missing(depot: Bench) -> None:
    """Named with its path."""
    encrypting(depot, "{}").put("depot.json", "{}").unlink()
    assert [each for each in depot.problems() if KEY_FILE in each and "does not exist" in each]
