"""Sources of SAML metadata in the config: what check-config says of them, before any customer meets a mistake."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from broker.config.load import Loaded
from tests.config.conftest import Bench
from tests.wire.federation import aggregate, alone, key, provider, service, signed
from tests.wire.saml_stage import cert

SP1 = "https://sp1.example.org/saml"
AES128_CBC = '<md:EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#aes128-cbc"/>'
WEEK = timedelta(days=7)


def pem(which: int = 9) -> bytes:
    return x509.load_der_x509_certificate(cert("rsa", which)).public_bytes(Encoding.PEM)


def soon(delta: timedelta = WEEK) -> datetime:
    """check-config lives in the present."""
    return datetime.now(UTC) + delta


def source(bench: Bench, *lines: str) -> None:
    bench.put("signer.pem", pem())
    bench.text += "\nsaml:\n  metadata:\n    federation:\n" + "".join(f"      {line}\n" for line in lines)


def partner(bench: Bench, metadata: str, entity_id: str = SP1) -> None:
    """A partner that speaks SAML, beside those of the example."""
    block = f"""
  fitter:
    names: {{sv: Montören, fi: Asentaja, pl: Monter, en: The fitter}}
    home_uri: https://sp1.example.org/
    saml: {{entity_id: "{entity_id}", metadata: {metadata}}}
    login: {{upstreams: [bankid], claims: [name]}}
"""
    bench.edit(("\npartners:\n", f"\npartners:{block}"))


class TestSources:
    def test_all_three(self, bench: Bench) -> None:
        """A file, an address and a server, with their times."""
        bench.put("signer.pem", pem())
        bench.put("peers.xml", aggregate([service(1)], until=soon()))
        bench.text += """
saml:
  metadata:
    pinned: {file: peers.xml}
    federation: {url: "https://metadata.example/all.xml", certificates: [signer.pem], max_validity: 14d, refresh: 30m}
    asked: {mdq: "https://mdq.example", certificates: [signer.pem], by_hash: true}
"""
        loaded = bench.load()
        sources = loaded.policy.config.saml.metadata
        assert sources["federation"].max_validity == timedelta(days=14)
        assert sources["asked"].refresh == timedelta(hours=1)
        assert loaded.metadata_certificates == {
            "pinned": (),
            "federation": (cert("rsa", 9),),
            "asked": (cert("rsa", 9),),
        }

    @pytest.mark.parametrize(
        ("lines", "key", "words"),
        [
            (["url: https://metadata.example/all.xml"], "certificates", "is missing"),
            (["mdq: https://mdq.example"], "certificates", "is missing"),
            (["refresh: 1h"], "federation", "exactly one of file, url and mdq"),
            (["url: https://a.example", "mdq: https://b.example"], "federation", "exactly one"),
            (["mdq: https://b.example", "certificates: [nowhere.pem]"], "certificates[0]", "nowhere.pem"),
            (["mdq: https://b.example", "certificates: [stafett.yaml]"], "certificates[0]", "PEM"),
            (["url: https://b.example", "certificates: [signer.pem]", "by_hash: true"], "by_hash", "is for mdq"),
            (["url: https://b.example", "certificates: [signer.pem]", "refresh: 1m"], "refresh", ""),
            (["url: https://b.example", "certificates: [signer.pem]", "max_validity: 365d"], "max_validity", ""),
            (["url: 'file:///etc/passwd'", "certificates: [signer.pem]"], "url", "http"),
            (["file: nowhere.xml"], "file", "cannot be read"),
            (["file: stafett.yaml"], "file", "cannot be used"),
        ],
    )
    def test_mistakes(self, bench: Bench, lines: list[str], key: str, words: str) -> None:
        """Each is one sentence at its key."""
        source(bench, *lines)
        (problem,) = bench.problems()
        assert key in problem
        assert words in problem

    def test_a_file_that_must_be_signed(self, bench: Bench) -> None:
        """Where certificates are given, the file is held to them."""
        source(bench, "file: peers.xml", "certificates: [signer.pem]")
        bench.put("peers.xml", aggregate([service(1)], until=soon()))
        (problem,) = bench.problems()
        assert "cannot be used: not signed" in problem
        bench.put("peers.xml", signed(aggregate([service(1)], until=soon()), which=8))
        (problem,) = bench.problems()
        assert "no key of the sender verifies" in problem
        bench.put("peers.xml", signed(aggregate([service(1)], until=soon(10 * WEEK))))
        (problem,) = bench.problems()
        assert "further away" in problem or "valid until" in problem
        bench.put("peers.xml", signed(aggregate([service(1)], until=soon())))
        assert isinstance(bench.load(), Loaded)

    def test_one_that_is_over_is_a_warning(self, bench: Bench) -> None:
        """A peer whose metadata ran out does not keep the broker from starting for all the others."""
        source(bench, "file: peers.xml")
        bench.put("peers.xml", aggregate([service(1)], until=soon(-WEEK)))
        assert any("saml.metadata.federation.file" in each for each in bench.load().warnings)

    def test_plain_http(self, production: Bench) -> None:
        """In production the way there is protected, besides what comes along it."""
        source(production, "url: http://metadata.example/all.xml", "certificates: [signer.pem]")
        assert any("saml.metadata.federation.url" in each for each in production.problems())


class TestPartners:
    def test_by_a_source(self, bench: Bench) -> None:
        """A partner is found in the file that the source names."""
        source(bench, "file: peers.xml")
        bench.put("peers.xml", aggregate([service(1), provider(2)], until=soon()))
        partner(bench, "federation")
        assert bench.load().policy.config.partners["fitter"].saml is not None

    def test_by_a_file_of_its_own(self, bench: Bench) -> None:
        """Without any source."""
        bench.put("fitter.xml", alone(service(1), until=None))
        partner(bench, "fitter.xml")
        assert bench.load().policy.config.partners["fitter"].saml is not None

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (aggregate([service(2)], until=None), "says nothing of https://sp1.example.org/saml; did you mean"),
            (
                alone(provider(1), until=None).replace("idp1.example.org/saml", "sp1.example.org/saml"),
                "service provider",
            ),
            (alone(service(1), until=None).replace("HTTP-POST", "x").replace("https://sp1", "ldap://sp1", 9), ""),
            (alone(service(1), until=None).replace("HTTP-POST", "HTTP-Artifact"), "takes answers by POST"),
            ("<html/>", "not SAML metadata"),
            ('<!DOCTYPE a [<!ENTITY b "c">]>' + alone(service(1), until=None), "document type"),
        ],
        ids=["somebody-else", "another-role", "no-endpoints", "artifacts", "no-metadata", "doctype"],
    )
    def test_mistakes(self, bench: Bench, content: str, words: str) -> None:
        """Metadata that is not the partner's is told now."""
        bench.put("fitter.xml", content)
        partner(bench, "fitter.xml")
        (problem,) = bench.problems()
        assert "partners.fitter.saml.metadata" in problem
        assert words in problem

    @pytest.mark.parametrize(
        ("keys", "words"),
        [
            (key("signing"), "has no key to encrypt to"),
            (key("encryption", more=AES128_CBC), "lists only ways to encrypt that are not used here"),
        ],
        ids=["no-key", "cbc"],
    )
    def test_one_that_nothing_can_be_encrypted_to(self, bench: Bench, keys: str, words: str) -> None:
        """Told before a customer meets it; it stops nobody else from logging in, and is no news where it is meant."""
        bench.put("fitter.xml", alone(service(1, keys_=keys), until=None))
        partner(bench, "fitter.xml")
        assert any("partners.fitter.saml.metadata" in each and words in each for each in bench.load().warnings)
        bench.edit(("metadata: fitter.xml}", "metadata: fitter.xml, encrypt: never}"))
        assert not any(words in each for each in bench.load().warnings)

    def test_neither_source_nor_file(self, bench: Bench) -> None:
        """A source that was misspelt is looked for as a file."""
        partner(bench, "federatoin")
        (problem,) = bench.problems()
        assert "federatoin cannot be read" in problem

    def test_a_source_that_was_misspelt(self, bench: Bench) -> None:
        """What may be a source's name is compared with those there are; a path is not."""
        source(bench, "file: peers.xml")
        bench.put("peers.xml", aggregate([service(1)], until=soon()))
        partner(bench, "federatoin")
        (problem,) = bench.problems()
        assert problem.endswith("; did you mean 'federation'?")
        bench.edit(("metadata: federatoin", "metadata: federatoin.xml"))
        (problem,) = bench.problems()
        assert problem.endswith("(No such file or directory)")

    def test_one_that_would_always_be_refused(self, bench: Bench) -> None:
        """It requires a given name and may never have one; that is no news where the login goes on without."""
        bench.put("fitter.xml", alone(service(1), until=None))
        partner(bench, "fitter.xml, missing_required: refuse")
        words = "partners.fitter.saml.missing_required: refuse refuses every login: its metadata requires given_name,"
        assert any(words in each for each in bench.load().warnings)
        bench.edit(("claims: [name]}\n", "claims: [name, given_name]}\n"))
        assert not any(words in each for each in bench.load().warnings)
        bench.edit(("claims: [name, given_name]}\n", "claims: [name]}\n"), (", missing_required: refuse", ""))
        assert not any("requires given_name" in each for each in bench.load().warnings)

    def test_what_comes_over_the_network_is_not_asked_for_now(self, bench: Bench) -> None:
        """check-config needs no network."""
        source(bench, "url: https://metadata.example/all.xml", "certificates: [signer.pem]")
        partner(bench, "federation")
        assert bench.load().warnings is not None


class TestAddressesInFiles:
    """They obey the same rules as those in the config."""

    def test_this_machine_in_production(self, production: Bench) -> None:
        """A partner on this machine is one of a demo; each of its addresses is named."""
        here = alone(service(1), until=None).replace(f"{SP}/", f"{HERE}/").replace(f"{HERE}/saml", SP1)
        production.put("fitter.xml", here)
        partner(production, "fitter.xml")
        problems = production.problems()
        assert len(problems) == 3
        assert all("partners.fitter.saml.metadata: sends customers to" in each for each in problems)
        for part in ("acs", "slo", "slo/done"):
            assert any(f" {HERE}/{part}, which must begin with https:// in production" in each for each in problems)

    def test_this_machine_in_development(self, bench: Bench) -> None:
        """There a demo is what is wanted."""
        here = alone(service(1), until=None).replace(f"{SP}/", f"{HERE}/").replace(f"{HERE}/saml", SP1)
        bench.put("fitter.xml", here)
        partner(bench, "fitter.xml")
        assert bench.load()

    def test_plain_http_elsewhere_is_no_address(self, bench: Bench) -> None:
        """Not read at all, so that nobody is ever sent there: what is left must do."""
        plain = alone(service(1), until=None).replace(f"{SP}/acs", "http://sp1.example.org/acs")
        bench.put("fitter.xml", plain)
        partner(bench, "fitter.xml")
        (problem,) = bench.problems()
        assert "does not describe" in problem

    def test_what_nobody_is_sent_to(self, production: Bench) -> None:
        """Bindings that we do not speak may be anywhere."""
        described = alone(service(1), until=None).replace(
            "<md:AttributeConsumingService", f"{PAOS}<md:AttributeConsumingService"
        )
        production.put("fitter.xml", described)
        partner(production, "fitter.xml")
        assert production.load()


SP = "https://sp1.example.org"
HERE = "http://127.0.0.1:8799"
PAOS = f'<md:AssertionConsumerService Binding="urn:oasis:names:tc:SAML:2.0:bindings:PAOS" Location="{HERE}/paos" index="77"/>'


@pytest.mark.parametrize(
    ("requires", "may_have", "words"),
    [
        ("pairwise-id", "none", "none is not enough: its metadata requires pairwise-id"),
        ("any", "none", "none is not enough: its metadata requires pairwise-id"),
        ("subject-id", "none", "none is not enough: its metadata requires subject-id"),
        ("subject-id", "pairwise-id", "pairwise-id is not enough: its metadata requires subject-id"),
        ("none", "none", None),
        ("none", "pairwise-id", None),
        ("any", "pairwise-id", None),
    ],
)
def test_the_identifier_a_partner_requires(bench: Bench, requires: str, may_have: str, words: str | None) -> None:
    """SAML Subject Identifier Attributes Profile, section 3.3.1: told now, and not at the first login."""
    asked = '<saml:AttributeValue xsi:type="xs:string">pairwise-id<'
    bench.put("fitter.xml", alone(service(1), until=None).replace(asked, asked.replace("pairwise-id", requires)))
    partner(bench, f"fitter.xml, identifier: {may_have}")
    if words is None:
        assert bench.load()
        return
    (problem,) = bench.problems()
    assert f"partners.fitter.saml.identifier: {words}" in problem
