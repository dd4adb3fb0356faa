"""Metadata of one entity: what is read from a peer's, and what we write of our own."""

from datetime import UTC, datetime, timedelta

import pytest
from lxml import etree

from broker.core.changing import replace
from broker.core.saml import (
    POST,
    REDIRECT,
    TRANSIENT,
    Endpoint,
    PeerKey,
    RequestedAttribute,
    SamlEntity,
    SamlProvider,
    SamlService,
)
from broker.wire.saml import metadata, xml
from broker.wire.saml.aggregate import Demands, read
from broker.wire.saml.metadata import Described, Logo, ProviderRole, ServiceRole
from broker.wire.saml.refused import XmlRefused
from broker.wire.saml.signature import verified
from tests.wire.federation import NOW, UNTIL, alone, key, provider, service
from tests.wire.saml_stage import cert, signer, verifier

SP1 = "https://sp1.example.org"


def entity(document: str) -> SamlEntity:
    return metadata.read_entity(xml.parse(document.encode()))


def as_service(document: str) -> SamlService:
    found = entity(document).service
    assert found is not None
    return found


def as_provider(document: str) -> SamlProvider:
    found = entity(document).provider
    assert found is not None
    return found


class TestService:
    def test_all_it_says(self) -> None:
        """Endpoints, keys, wishes and names, as the standard has them."""
        read = as_service(service(1))
        assert read.acs == (Endpoint(POST, f"{SP1}/acs", index=1),)
        assert read.slo == (Endpoint(REDIRECT, f"{SP1}/slo", response_location=f"{SP1}/slo/done"),)
        assert [each.use for each in read.keys] == ["signing", "encryption"]
        assert read.keys[0].certificate == cert()
        assert read.authn_requests_signed
        assert read.wants_assertions_signed
        assert [each.is_required for each in read.requested_attributes] == [True, False]
        assert read.requested_attributes[0].friendly_name == "givenName"
        assert read.name_id_formats == (TRANSIENT,)
        assert read.subject_id_req == "pairwise-id"
        assert read.names == {language: f"Service 1 ({language})" for language in ("sv", "fi", "pl", "en")}
        assert read.logo == "https://logo.example/64.png"
        assert read.entity_categories == ("http://refeds.org/category/code-of-conduct/v2",)

    def test_a_key_without_use_is_for_both(self) -> None:
        """saml-metadata-2.0-os, section 2.4.1.1; IIP-MD11."""
        (found,) = as_service(service(keys_=key(None))).keys
        assert found.signs
        assert found.encrypts

    def test_a_use_nobody_knows(self) -> None:
        """A key for something else signs nothing here."""
        assert as_service(service(keys_=key("mystery"))).keys == ()

    def test_encryption_methods(self) -> None:
        """Content and key transport, as listed."""
        methods = "".join(
            f'<md:EncryptionMethod Algorithm="{each}"/>'
            for each in ("http://www.w3.org/2009/xmlenc11#aes256-gcm", "http://www.w3.org/2009/xmlenc11#rsa-oaep")
        )
        (found,) = as_service(service(keys_=key("encryption", more=methods))).keys
        assert found.encryption_methods == (
            "http://www.w3.org/2009/xmlenc11#aes256-gcm",
            "http://www.w3.org/2009/xmlenc11#rsa-oaep",
        )

    def test_certificates_that_ran_out_are_keys(self) -> None:
        """The dates of a certificate carry no meaning (MetaIOP 1.0, section 2.6.1; IIP-MD12): those here ended in 2021."""
        assert len(as_service(service()).keys) == 2

    @pytest.mark.parametrize("content", ["", "AAAA", "!", "MIIB" * 30], ids=["empty", "no-der", "no-base64", "cut"])
    def test_a_broken_key_is_left_out(self, content: str) -> None:
        """One that cannot be read does not spoil those that can."""
        broken = (
            f"<md:KeyDescriptor><ds:KeyInfo><ds:X509Data><ds:X509Certificate>{content}</ds:X509Certificate>"
            "</ds:X509Data></ds:KeyInfo></md:KeyDescriptor>"
        )
        assert [each.certificate for each in as_service(service(keys_=broken + key("signing"))).keys] == [cert()]

    def test_only_the_first_certificate_of_a_descriptor(self) -> None:
        """security: what follows may be whoever issued it, whose other certificates are none of the peer's."""
        chain = key("signing").replace(
            "</ds:X509Data>", key("signing", which=5).split("<ds:X509Data>")[1].split("</ds:K")[0]
        )
        assert [each.certificate for each in as_service(service(keys_=chain)).keys] == [cert()]

    @pytest.mark.parametrize(
        "location",
        [
            "javascript:alert(1)",
            "data:text/html,x",
            "http://sp1.example.org/acs",
            "https://user@sp1.example.org/",
            "https:///acs",
            "/acs",
            "",
            "https://sp1.example.org/a b",
            "https://sp1.example.org/&quot;&gt;",
            "https://sp1.example.org/#x",
            "https://[sp1/",
            "https://sp1.example.org:99999/acs",
            "https://sp1.example.org:x/acs",
            "https://*/acs",
            "https://sp1.example.org;script-src/acs",
            "https://sp1.example.org,sp2/acs",
            "https://sp1%2eexample.org/acs",
            "HTTPS:sp1.example.org/acs",
            "https://sp1.example.org/" + "x" * 2048,
        ],
    )
    def test_an_address_that_is_none_is_left_out(self, location: str) -> None:
        """security: answers are posted there, and it stands in our pages."""
        more = f'<md:AssertionConsumerService Binding="{POST}" Location="{location}" index="0" isDefault="true"/>'
        assert [each.location for each in as_service(service(acs=more)).acs] == [f"{SP1}/acs"]

    def test_this_machine_may_be_reached_by_http(self) -> None:
        """For development."""
        more = f'<md:AssertionConsumerService Binding="{POST}" Location="http://127.0.0.1:8701/acs" index="2"/>'
        assert len(as_service(service(acs=more)).acs) == 2

    def test_the_default_set_of_attributes(self) -> None:
        """Of several consuming services the default counts, whatever comes first."""
        other = (
            '<md:AttributeConsumingService index="7" isDefault="true"><md:ServiceName xml:lang="en">B</md:ServiceName>'
            '<md:RequestedAttribute Name="urn:b"/><md:RequestedAttribute/></md:AttributeConsumingService>'
            "</md:SPSSODescriptor>"
        )
        document = service().replace("</md:SPSSODescriptor>", other)
        assert as_service(document).requested_attributes == (RequestedAttribute("urn:b"),)

    def test_sets_of_attributes_by_their_indexes(self) -> None:
        """A request may name any of them; of two with one index the first is meant, and none is without an index."""
        head = '<md:AttributeConsumingService{}><md:ServiceName xml:lang="en">B</md:ServiceName>'
        tail = '<md:RequestedAttribute Name="urn:{}"/></md:AttributeConsumingService>'
        others = [(' index="7"', "b"), (' index="7"', "c"), (' index="x"', "d"), ("", "e")]
        more = "".join(head.format(index) + tail.format(name) for index, name in others)
        read = as_service(service().replace("</md:SPSSODescriptor>", f"{more}</md:SPSSODescriptor>"))
        assert set(read.attribute_sets) == {1, 7}
        chosen = read.asking_for(7)
        assert chosen is not None
        assert chosen.requested_attributes == (RequestedAttribute("urn:b"),)
        assert read.asking_for(2) is None

    def test_names_are_for_people(self) -> None:
        """Only languages of our pages, only text that can be printed, and not more than a line."""
        bad = "x" * 300
        document = (
            service().replace("Service 1 (sv)", bad).replace("Service 1 (fi)", "a&#x202e;b").replace('"pl"', '"de"')
        )
        assert as_service(document).names == {"en": "Service 1 (en)"}

    def test_the_organization_where_the_service_has_no_name(self) -> None:
        """Better than none."""
        name = '<md:OrganizationDisplayName xml:lang="sv-SE">Firman</md:OrganizationDisplayName>'
        people = f"<md:Organization>{name}</md:Organization>"
        document = (
            service()
            .replace("mdui:DisplayName", "mdui:Keywords")
            .replace("</md:EntityDescriptor>", people + "</md:EntityDescriptor>")
        )
        assert as_service(document).names == {"sv": "Firman"}

    def test_other_protocols_are_none_of_ours(self) -> None:
        """A role for SAML 1.1 only is no role."""
        document = service().replace("urn:oasis:names:tc:SAML:2.0:protocol", "urn:oasis:names:tc:SAML:1.1:protocol")
        assert entity(document).service is None


class TestProvider:
    def test_all_it_says(self) -> None:
        """Endpoints of every binding, algorithms, scopes that are names."""
        read = as_provider(provider(1))
        assert next(each.binding for each in read.sso) == REDIRECT
        assert read.want_authn_requests_signed
        assert read.scopes == ("idp1.example.org",)
        assert read.signing_methods == ("http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",)
        assert read.digest_methods == ("http://www.w3.org/2001/04/xmlenc#sha256",)
        assert [each.use for each in read.keys] == ["both"]

    def test_an_eidas_node(self) -> None:
        """Its country, and the levels it is certified for (eIDAS Message Format 1.4, section 2)."""
        certified = (
            '<mdattr:EntityAttributes><saml:Attribute Name="urn:oasis:names:tc:SAML:attribute:assurance-certification">'
            "<saml:AttributeValue>http://eidas.europa.eu/LoA/high</saml:AttributeValue>"
            "<saml:AttributeValue>http://eidas.europa.eu/NotNotified/LoA/low</saml:AttributeValue></saml:Attribute>"
            "</mdattr:EntityAttributes>"
        )
        country = '<e:NodeCountry xmlns:e="http://eidas.europa.eu/saml-extensions"> EL </e:NodeCountry>'
        read = as_provider(provider(1, more=certified, role=country))
        assert read.node_country == "EL"
        assert read.loa_certification == (
            "http://eidas.europa.eu/LoA/high",
            "http://eidas.europa.eu/NotNotified/LoA/low",
        )

    def test_what_the_role_says_goes_first(self) -> None:
        """sstc-saml-metadata-algsupport-v1.0, section 2.3."""
        role = '<alg:SigningMethod Algorithm="urn:of-the-role"/>'
        assert as_provider(provider(1, role=role)).signing_methods == ("urn:of-the-role",)


class TestEntity:
    @pytest.mark.parametrize(
        "root", ["<a/>", alone(service(1)).replace("entityID", "entityId"), "<EntityDescriptor entityID='x'/>"]
    )
    def test_nothing_of_ours(self, root: str) -> None:
        """Only an EntityDescriptor with a name is one."""
        with pytest.raises(XmlRefused, match="not an EntityDescriptor"):
            entity(root)

    def test_who_registered_it(self) -> None:
        """The federation, where it says so (saml-metadata-rpi-v1.0, section 2.1)."""
        said = '<r:RegistrationInfo xmlns:r="urn:oasis:names:tc:SAML:metadata:rpi" registrationAuthority="https://f.example"/>'
        assert entity(service(more=said)).registration_authority == "https://f.example"
        assert entity(service()).registration_authority is None

    def test_the_earliest_end_counts(self) -> None:
        """Of what surrounds it, its own and its role's."""
        role = service().replace("<md:SPSSODescriptor ", '<md:SPSSODescriptor validUntil="2026-11-23T00:00:00+02:00" ')
        read = entity(alone(role))
        assert read.valid_until == UNTIL
        assert read.service is not None
        assert read.service.valid_until == datetime(2026, 11, 22, 22, tzinfo=UTC)
        earlier = metadata.read_entity(xml.parse(service().encode()), until=NOW)
        assert earlier.valid_until == NOW

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("PT6H", timedelta(hours=6)),
            ("P1DT12H30M5.5S", timedelta(days=1, hours=12, minutes=30, seconds=5)),
            ("P1M", timedelta(days=30)),
            ("P", None),
            ("PT0S", None),
            ("-PT6H", None),
            ("6h", None),
            ("P99999999999D", None),
        ],
    )
    def test_cache_duration(self, text: str, expected: timedelta | None) -> None:
        """A wish that cannot be read is none."""
        assert entity(alone(service(), more=f' cacheDuration="{text}"')).cache_duration == expected


ABOUT = Described(
    entity_id="https://login.example.com/saml/metadata",
    keys=(
        PeerKey(cert(which=1), "signing"),
        PeerKey(cert(which=2), "signing"),
        PeerKey(cert(which=3), "encryption", ("http://www.w3.org/2009/xmlenc11#aes256-gcm",)),
    ),
    valid_until=UNTIL,
    cache_duration=timedelta(hours=6),
    names={"sv": "Inloggning & mer", "fi": "Kirjautuminen", "pl": "Logowanie", "en": "Login"},
    descriptions={"en": "Logs in."},
    privacy={"en": "https://login.example.com/privacy"},
    logo=Logo("https://login.example.com/logo.png", 64, 64),
    contact="ops@example.com",
    organization="https://example.com",
    slo=(Endpoint(REDIRECT, "https://login.example.com/saml/slo"),),
    name_id_formats=(TRANSIENT,),
    entity_attributes={metadata.ENTITY_CATEGORY: ("http://id.elegnamnden.se/st/1.0/private-sector-sp",)},
)
PROVIDER = ProviderRole(
    sso=(Endpoint(REDIRECT, "https://login.example.com/saml/sso"),),
    scopes=("login.example.com",),
    error_url="https://login.example.com/problem",
    attributes={"givenName": "urn:oid:2.5.4.42"},
)
SERVICE = ServiceRole(
    acs=(Endpoint(POST, "https://login.example.com/upstream/x/acs", is_default=True),),
    requested_attributes=(
        RequestedAttribute("urn:oid:2.5.4.42", friendly_name="givenName", is_required=True, values=("x",)),
    ),
    sp_type="private",
)


class TestOurs:
    @pytest.mark.parametrize("role", [PROVIDER, SERVICE], ids=["provider", "service"])
    def test_is_signed_and_follows_the_schema(self, role: ProviderRole | ServiceRole) -> None:
        """What we publish, a strict peer accepts."""
        octets = metadata.write(ABOUT, role, signer())
        root = xml.parse(octets)
        xml.schema_check(root)
        assert verified(root, [verifier()])
        assert read(octets, demands=Demands((verifier(),), timedelta(days=14)), now=NOW).valid_until == UNTIL

    def test_provider_is_read_as_it_was_meant(self) -> None:
        """By the same reading that peers get: every key, old and new, with its use."""
        own = as_provider(metadata.write(ABOUT, PROVIDER, signer()).decode())
        assert own.entity_id == ABOUT.entity_id
        assert own.sso == PROVIDER.sso
        assert own.slo == ABOUT.slo
        assert own.keys == ABOUT.keys
        assert own.names == ABOUT.names
        assert own.scopes == PROVIDER.scopes
        assert not own.want_authn_requests_signed

    def test_service_is_read_as_it_was_meant(self) -> None:
        """Likewise."""
        own = as_service(metadata.write(ABOUT, SERVICE, signer()).decode())
        assert own.acs == (replace(SERVICE.acs[0], index=1),)
        assert [each.name for each in own.requested_attributes] == ["urn:oid:2.5.4.42"]
        assert own.requested_attributes[0].values == ("x",)
        assert own.authn_requests_signed
        assert own.entity_categories == ("http://id.elegnamnden.se/st/1.0/private-sector-sp",)

    def test_the_same_for_the_same(self) -> None:
        """Every process publishes the same octets; another end is another document with another ID."""
        once, again = (metadata.write(ABOUT, PROVIDER, signer()) for _ in range(2))
        later = metadata.write(replace(ABOUT, valid_until=UNTIL + timedelta(hours=1)), PROVIDER, signer())
        assert once == again
        assert etree.fromstring(once).get("ID") != etree.fromstring(later).get("ID")

    def test_a_small_one(self) -> None:
        """Without texts, people and algorithms it is still one."""
        bare = Described(
            "https://a.example",
            (PeerKey(cert(), "both"),),
            UNTIL,
            timedelta(hours=1),
            {"en": "A"},
            signing_methods=(),
            digest_methods=(),
        )
        octets = metadata.write(bare, ServiceRole(SERVICE.acs), signer("secp256r1"))
        xml.schema_check(xml.parse(octets))
        assert as_service(octets.decode()).keys == bare.keys
