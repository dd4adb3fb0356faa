"""Blocks of SAML providers as `check-config` reads them: what the guide shows is accepted, what could not work is told."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_der_x509_certificate

from broker.core.assurance import Assurance
from broker.demo.providers.saml_documents import Pair
from broker.upstream.claims import reaches
from broker.upstream.saml import SamlConnect
from broker.upstream.sweden_connect import CEILINGS
from tests.config.conftest import Bench
from tests.wire.federation import alone, provider

GUIDE = Path(__file__).parents[2] / "docs" / "saml-upstreams.md"
LOA = "http://id.elegnamnden.se/loa/1.0"


def shown() -> Iterator[tuple[str, str]]:
    """Every upstream of the guide: its name, and its lines."""
    for block in re.findall(r"```yaml\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL):
        yield from re.findall(r"^  (\w+):\n((?:    .*\n)+)", block, re.MULTILINE)


SHOWN = dict(shown())


def connected(bench: Bench, name: str, *edits: tuple[str, str]) -> None:
    """Put the guide's upstream of that name into the example, with keys and metadata where it says they are."""
    lines = SHOWN[name]
    pair = Pair.made(ec.generate_private_key(ec.SECP256R1()))
    for path in re.findall(r"key: file:(\S+?)[,}\s]", lines):
        bench.put(path, pair.pem)
    certificate = load_der_x509_certificate(pair.certificate).public_bytes(Encoding.PEM)
    for path in re.findall(r"certificate: ([^\s},]+)", lines):
        bench.put(path, certificate)
    entity_id = re.findall(r"entity_id: (\S+)", lines)[0]
    (source,) = re.findall(r"metadata: (\S+)", lines)
    described = alone(provider(1), until=None).replace("https://idp1.example.org/saml", entity_id)
    bench.put(source if "/" in source else f"{source}.xml", described)
    if "/" not in source:
        bench.text += f"\nsaml:\n  metadata:\n    {source}: {{file: {source}.xml}}\n"
    bench.edit(("\nupstreams:\n", f"\nupstreams:\n  {name}:\n{lines}"), *edits)


def connect(bench: Bench, name: str) -> SamlConnect:
    """What it comes to."""
    found = bench.load().connectors[name]
    assert isinstance(found, SamlConnect)
    return found


@pytest.mark.parametrize("name", sorted(SHOWN))
def test_what_the_guide_shows_is_accepted(bench: Bench, name: str) -> None:
    """Copied as it stands, with one's own files, it is a config that starts."""
    connected(bench, name)
    assert connect(bench, name).acr_levels


def test_the_guide_shows_each_scheme() -> None:
    """A country's proxy needs no kind of its own: Suomi.fi is kind `saml`."""
    kinds = {name: re.findall(r"kind: (\S+)", lines)[0] for name, lines in SHOWN.items()}
    assert kinds["suomi"] == "saml"
    assert set(kinds.values()) == {"saml", "eidas", "sweden-connect"}


def test_what_suomi_fi_comes_to(bench: Bench) -> None:
    """Known by the Finnish identity code, since the NameID is another one each time; the response is signed, levels are exact."""
    connected(bench, "suomi")
    found = connect(bench, "suomi")
    assert (found.subject, found.personal_number_country) == ("urn:oid:1.2.246.21", "FI")
    assert found.claims[found.subject] == "personal_number"
    assert (found.comparison, found.encrypted, found.signs_response) == ("exact", True, True)
    assert reaches(found) is Assurance.HIGH


def test_what_sweden_connect_comes_to(bench: Bench) -> None:
    """A resident's level counts for what it says."""
    connected(bench, "swedish")
    assert connect(bench, "swedish").acr_levels == {f"{LOA}/loa3": CEILINGS[f"{LOA}/loa3"]}


@pytest.mark.parametrize(
    ("name", "old", "new", "advice"),
    [
        ("suomi", "subject: urn:oid:1.2.246.21 ", "subject: NameID ", "only a NameID of a lasting format"),
        ("suomi", "signs_response: true", "skew: 6m", "skew"),
        ("suomi", "idp1\n", "idp2\n", "idp2"),
        ("swedish", "loa3: substantial", "loa3: high", "counts for substantial at most"),
        ("swedish", "loa/1.0/loa3:", "loa/1.0/loa5:", "is no level of Sweden Connect"),
        ("swedish", "connect:\n", "connect:\n      skew: 2m\n", "skew"),
        ("swedish", "connect:\n", "connect:\n      encrypted: false\n", "encrypted: is always true for this kind"),
        ("swedish", "connect:\n", "connect:\n      comparison: minimum\n", "comparison"),
        ("swedish", "connect:\n", "connect:\n      services: [loa9-pnr]\n", "services"),
        ("abroad", "services: [eidas-naturalperson]", "services: [loa3-pnr]", "eidas-naturalperson"),
        ("abroad", "eidas-nf-sub: substantial", "eidas-sub: high", "counts for substantial at most"),
        ("europe", "receiving_country: SE", "receiving_country: Sweden", "receiving_country"),
    ],
)  # fmt: skip
def test_what_could_not_work_is_told(bench: Bench, name: str, old: str, new: str, advice: str) -> None:
    """At the start, before any customer meets it."""
    assert old in SHOWN[name]
    changed = SHOWN[name].replace(old, new, 1)
    connected(bench, name, (SHOWN[name], changed))
    assert any(advice in each and f"upstreams.{name}" in each for each in bench.problems()), bench.problems()


def test_a_simulator_in_production(production: Bench) -> None:
    """Also where only its metadata says that it is on this machine; whoever means that, says so."""
    connected(production, "suomi")
    described = production.folder / re.findall(r"metadata: (\S+)", SHOWN["suomi"])[0]
    described.write_text(described.read_text().replace("https://idp1.example.org/", "https://localhost:8799/"))
    (problem,) = production.problems()
    assert "upstreams.suomi.connect.metadata: sends customers to https://localhost:8799/sso, on this machine" in problem
    production.edit(("\nbroker:\n", "\naccept_risks: [loopback_upstream]\nbroker:\n"))
    assert production.load()


def test_a_simulator_is_told_once(production: Bench) -> None:
    """It has an address for each binding, and is one mistake, or one risk."""
    connected(production, "suomi")
    described = production.folder / re.findall(r"metadata: (\S+)", SHOWN["suomi"])[0]
    text = described.read_text().replace("https://idp1.example.org/", "https://localhost:8799/")
    (first,) = re.findall(r"<md:SingleSignOnService[^>]*/>", text)[:1]
    other = first.replace("HTTP-Redirect", "HTTP-POST").replace("/sso", "/sso/post")
    assert other != first
    described.write_text(text.replace(first, first + other))
    (problem,) = production.problems()
    assert problem.count("on this machine") == 1
    production.edit(("\nbroker:\n", "\naccept_risks: [loopback_upstream]\nbroker:\n"))
    assert len(production.load().accepted_risks) == 1


def test_a_provider_without_a_key(bench: Bench) -> None:
    """It could prove nothing it says: told before a customer meets it."""
    connected(bench, "suomi")
    words = "upstreams.suomi.connect.metadata: https://testi.apro.tunnistus.fi/idp1 has no key to sign by"
    assert not any(words in each for each in bench.load().warnings)
    described = bench.folder / re.findall(r"metadata: (\S+)", SHOWN["suomi"])[0]
    described.write_text(re.sub(r"<md:KeyDescriptor.*?</md:KeyDescriptor>", "", described.read_text(), flags=re.DOTALL))
    assert any(words in each for each in bench.load().warnings)


def test_texts_of_more_than_one_line(bench: Bench) -> None:
    """What is compared as it stands in XML stands on one line there: also where it is the name of a key."""
    connected(bench, "suomi", ("      claims:\n", '      claims:\n        "urn:a\\tb": name\n'))
    assert any("write it on one line" in each for each in bench.problems()), bench.problems()


def test_a_name_of_more_than_one_line(bench: Bench) -> None:
    """It is said in our metadata."""
    bench.edit(("  name: Stafett\n", '  name: "Sta\\nfett"\n'))
    assert any("broker.name: has a line break or a tab" in each for each in bench.problems()), bench.problems()


NATURAL = "http://eidas.europa.eu/attributes/naturalperson"


@pytest.mark.parametrize(
    ("name", "lines", "advice"),
    [
        ("suomi", "required_claims: [urn:oid:2.5.4.43]", "did you mean 'urn:oid:2.5.4.4"),
        ("swedish", "required_claims: [urn:oid:1.2.752.29.4.31]", "did you mean 'urn:oid:1.2.752.29.4.13'?"),
        ("europe", f"required_claims: ['{NATURAL}/DateOfBrith']", f"did you mean '{NATURAL}/DateOfBirth'?"),
        ("europe", f"required_claims: ['{NATURAL}/Gender']", f"{NATURAL}/Gender is nothing that"),
        ("europe", f"required_claims: ['{NATURAL}/CurrentAddress.PostCode']", "is nothing that"),
        ("europe", f"attributes: [CurrentAddress]\n      required_claims: ['{NATURAL}/CurrentAddress']", "CurrentAddress."),
    ],
)  # fmt: skip
def test_what_no_login_comes_with_is_not_required(bench: Bench, name: str, lines: str, advice: str) -> None:
    """It would refuse everybody: told, with what was meant perhaps. The operator may know better, so it is no refusal."""
    connected(bench, name, (SHOWN[name], SHOWN[name].replace("connect:\n", f"connect:\n      {lines}\n", 1)))
    (warning,) = [each for each in bench.load().warnings if f"upstreams.{name}.connect.required_claims: " in each]
    assert advice in warning


@pytest.mark.parametrize(
    ("lines", "warnings"),
    [
        ("receiving_country: SE", []),
        ("receiving_country: EL\n      countries: [FI, EL, LI, 'NO', IS]", []),
        ("receiving_country: GR", ["receiving_country: GR is no country of the EU or the EEA as PersonIdentifiers have them; "
                                   "Greece is EL there"]),
        ("receiving_country: SE\n      countries: [FI, XX, UK]", ["countries: XX is no country", "countries: UK is no country"]),
    ],
    ids=["sweden", "as-written-there", "greece", "nowhere"],
)  # fmt: skip
def test_letters_that_no_person_identifier_begins_with(bench: Bench, lines: str, warnings: list[str]) -> None:
    """Greece is EL there, whatever ISO 3166 says."""
    connected(bench, "europe", (SHOWN["europe"], SHOWN["europe"].replace("receiving_country: SE", lines, 1)))
    told = [each for each in bench.load().warnings if "upstreams.europe.connect." in each and "countr" in each]
    assert len(told) == len(warnings)
    assert all(wanted in warning for wanted, warning in zip(warnings, told, strict=True)), told


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("suomi", "required_claims: [urn:oid:1.2.246.21, auth_time]"),
        ("suomi", "ignored_claims: [urn:x]\n      required_claims: [urn:x]"),
        ("suomi", "required_values: {urn:y: [a]}\n      required_claims: [urn:y]"),
        ("swedish", "required_claims: [urn:oid:1.2.752.201.3.4]"),
        ("europe", "connect"),
        ("europe", f"attributes: [CurrentAddress, Gender]\n"
                   f"      required_claims: ['{NATURAL}/Gender', '{NATURAL}/CurrentAddress.PostCode']"),
    ],
)  # fmt: skip
def test_what_may_be_required(bench: Bench, name: str, lines: str) -> None:
    """Whatever the block has another use for, asks for, or names as known; and the minimum of eIDAS, unasked."""
    given = "" if lines == "connect" else f"      {lines}\n"
    connected(bench, name, (SHOWN[name], SHOWN[name].replace("connect:\n", f"connect:\n{given}", 1)))
    assert not [each for each in bench.load().warnings if "required_claims" in each]
