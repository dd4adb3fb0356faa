"""Partners as SAML service providers, and the broker's own SAML keys: what holds together and what does not."""

from datetime import UTC, datetime

import pytest

from tests.downstream.saml_party import pair, pem

from .conftest import SECRET, Bench, Edit

PARTNER = """\
  depot:
    names: {en: Depot}
    home_uri: http://127.0.0.1:8799/
    guest_uri: http://127.0.0.1:8799/guest
    saml:
      entity_id: http://depot.example/saml
      acs: [http://127.0.0.1:8799/acs]
      certificates: [depot-saml.pem]
      start: {uri: "http://127.0.0.1:8799/login"}
      api: {client_id: depot-api, secret: file:secrets/depot}
    login: {upstreams: [google], claims: [email]}
"""
AGREEMENT = """\
  - from: tyre-shop
    to: depot
    purpose: storing
    purpose_texts: {en: Storing}
    types: [tyre-fitting/v1]
    claims: {required: [items]}
"""
KEYS = """
broker:
  saml:
    keys:
      - {key: file:secrets/saml.pem, certificate: saml.pem}
      - {key: file:secrets/saml-2.pem, certificate: saml-2.pem, signs_from: "2027-02-01T04:00:00Z"}
"""


@pytest.fixture
def depot(bench: Bench) -> Bench:
    """The example with a service provider that holds together."""
    bench.edit(("\npartners:\n", f"\npartners:\n{PARTNER}"), ("\nagreements:\n", f"\nagreements:\n{AGREEMENT}"))
    bench.put("secrets/depot", SECRET)
    bench.put("depot-saml.pem", pair("depot")[1].decode())
    return bench


@pytest.fixture
def keyed(depot: Bench) -> Bench:
    """And with keys for SAML messages."""
    depot.edit(("\nbroker:\n", KEYS))
    for file, name in (("saml", "broker"), ("saml-2", "broker-next")):
        depot.put(f"{file}.pem", pair(name)[1].decode())
        depot.put(f"secrets/{file}.pem", pem(pair(name)[0]).decode())
    return depot


def test_a_service_provider_is_found_by_its_name(depot: Bench) -> None:
    """Its entityID is compared exactly, and need not be an address that anybody calls."""
    policy = depot.load().policy
    assert policy.partner_of_entity("http://depot.example/saml") == "depot"
    assert policy.partner_of_entity("http://depot.example/SAML") is None
    assert policy.partner_of_client("depot-api") == "depot"
    assert len(policy.saml_certificates["depot"]) == 1
    assert policy.saml_entity_id == f"{policy.issuer}/saml/metadata"


def test_keys_and_when_they_sign(keyed: Bench) -> None:
    """In the order given; the second takes over at its time."""
    one, two = keyed.load().secrets.saml
    assert one.signs_from is None
    assert two.signs_from == datetime(2027, 2, 1, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("edits", "key", "advice"),
    [
        ([("      acs: [http://127.0.0.1:8799/acs]\n", "")], "metadata", "is missing; give it, or acs and certificates"),
        ([("      certificates: [depot-saml.pem]\n", "")], "certificates", "is missing: assertions are encrypted to it"),
        ([("depot-saml.pem", "nowhere.pem")], "certificates[0]", "does not exist"),
        ([("http://127.0.0.1:8799/acs", "http://depot.example/acs")], "acs[0]", "http is only for this machine"),
        ([("http://127.0.0.1:8799/acs", "http://127.0.0.1:8799/acs#x")], "acs[0]", "must have neither a fragment"),
        ([("http://depot.example/saml", "no spaces please")], "entity_id", "must be an entityID"),
        ([("http://depot.example/saml", "http://localhost:8700/saml/metadata")], "entity_id", "is this broker's own"),
        ([('      start: {uri: "http://127.0.0.1:8799/login"}\n', "")], "start", "arriving customers begin"),
        ([("      api: {client_id: depot-api, secret: file:secrets/depot}\n", "")], "api", "fetches the data"),
        ([("secret: file:secrets/depot", "auth: client_secret_post, secret: file:secrets/depot")], "api.auth", "is for forms"),
        ([("      acs:", "      tell_logout: true\n      acs:")], "slo_uri", "tell_logout sends customers there"),
        ([("      acs:", "      identifier: subject-id\n      acs:")], "identifier", "say with sector which they are"),
        ([("      acs:", "      name_id_formats: [email]\n      acs:"), ("claims: [email]", "claims: [name]")],
         "name_id_formats", "email needs email among login.claims"),
        ([("      acs:", "      name_id_formats: [kerberos]\n      acs:")], "name_id_formats[0]", "must be one of"),
        ([("      acs:", "      signature: rsa-sha1\n      acs:")], "signature", "must be one of"),
        ([("      acs:", "      encrypt: maybe\n      acs:")], "encrypt", "must be one of"),
        ([("      acs:", '      authn_contexts: {"http://id.elegnamnden.se/loa/1.0/eidas-nf-sub": substantial}\n      acs:')],
         "authn_contexts", "is for the Swedish eIDAS node alone"),
        ([("      acs:", '      attributes: {email: "two\\nlines"}\n      acs:')], "attributes.email", "on one line"),
        ([("      acs:", '      attributes: {email: "a\\ttab"}\n      acs:')], "attributes.email", "on one line"),
        ([("      acs:", '      authn_contexts: {"urn:x\\ny": low}\n      acs:')],
         "authn_contexts.urn:x\ny", "must be an entityID"),
        ([("      acs:", "      targets: {rooms: 'https://depot.example/'}\n      acs:")], "targets", "add unsolicited: true"),
        ([("      acs:", "      unsolicited: true\n      targets: {rooms: 'two words'}\n      acs:")],
         "targets.rooms", "of ASCII without blanks"),
        ([("      acs:", "      unsolicited: true\n      targets: {'No Name': 'x'}\n      acs:")],
         "targets.No Name", "lower-case"),
        ([("      acs:", "      unsolicited: true\n      require_signed_requests: true\n      acs:")],
         "unsolicited", "remove one of them"),
        ([("      acs:", "      unsolicited: true\n      acs:"),
          ("    login: {upstreams: [google], claims: [email]}\n", "")], "unsolicited", "needs login"),
    ],
)  # fmt: skip
def test_what_does_not_hold_together(depot: Bench, edits: list[Edit], key: str, advice: str) -> None:
    """Each mistake at its key, with its remedy, and only that one."""
    depot.edit(*edits)
    problems = depot.problems()
    assert len(problems) == 1, problems
    assert f" partners.depot.saml.{key}: " in problems[0], problems
    assert advice in problems[0], problems


def test_a_name_that_two_partners_have(depot: Bench) -> None:
    """Nobody could tell whose request it is."""
    twin = PARTNER.replace("  depot:\n", "  twin:\n").replace("depot-api", "twin-api")
    depot.edit(("\npartners:\n", f"\npartners:\n{twin}"))
    assert any("is already that of" in problem for problem in depot.problems())


def test_a_partner_is_one_thing(depot: Bench) -> None:
    """An OpenID Connect client of the same company is a partner of its own, in the same sector."""
    depot.edit(
        (
            "    saml:\n",
            "    service: {client_id: x, secret: file:secrets/depot, arrive_uri: 'http://127.0.0.1/'}\n    saml:\n",
        )
    )
    assert "must have exactly one of oidc" in depot.problems()[0]


def test_assertions_in_the_clear_are_a_warning(depot: Bench) -> None:
    """The operator may have to; it is said each time."""
    depot.edit(("      acs:", "      encrypt: never\n      acs:"))
    assert any("in the clear" in warning for warning in depot.load().warnings)


def test_a_name_for_what_is_never_told_is_a_warning(depot: Bench) -> None:
    """Another attribute was meant, or the claim was forgotten."""
    depot.edit(("      acs:", "      attributes: {email: epost, birthdate: dob}\n      acs:"))
    told = [each for each in depot.load().warnings if "never told" in each]
    assert [each.split()[1] for each in told] == ["partners.depot.saml.attributes.birthdate:"]


def test_unsolicited_responses_that_are_not_needed_are_a_warning(depot: Bench) -> None:
    """Where the partner has an address that begins a login, a link to that is safer."""
    depot.edit(("      acs:", "      unsolicited: true\n      acs:"))
    assert any("a link to http://127.0.0.1:8799/login" in warning for warning in depot.load().warnings)


@pytest.mark.parametrize(
    ("edit", "advice"),
    [
        ((", certificate: saml.pem}", ", certificate: saml-2.pem}"), "is not of this key"),
        ((", certificate: saml.pem}", ", certificate: secrets/saml.pem}"), "must be one certificate in PEM form"),
        (("key: file:secrets/saml.pem", "key: file:saml.pem"), "is not an unencrypted private key"),
        ((", certificate: saml.pem}", ', certificate: saml.pem, signs_from: "2027-01-01T00:00:00Z"}'),
         "none signs from the beginning"),
    ],
)  # fmt: skip
def test_keys_that_cannot_be_used(keyed: Bench, edit: Edit, advice: str) -> None:
    """A key without its certificate, or none that signs today."""
    keyed.edit(edit)
    assert any(advice in problem for problem in keyed.problems()), keyed.problems()
