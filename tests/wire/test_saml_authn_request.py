"""Requests to identity providers: as the schema and the schemes have them, and read back by the other side."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from lxml import etree

from broker.core.assurance import Comparison
from broker.core.saml import PERSISTENT, RequestedAttribute
from broker.wire.saml import redirect, signature, xml
from broker.wire.saml.algorithms import EIDAS_SIGNATURES, Signature
from broker.wire.saml.asked import read_authn_request
from broker.wire.saml.authn_request import EIDAS, PRINCIPAL, ToAsk, build_authn_request
from broker.wire.saml.refused import XmlRefused
from tests.wire import saml_stage as stage

PLAIN = ToAsk(
    id="_q1",
    issuer="https://broker.example/saml",
    destination="https://idp.example/sso",
    issued_at=datetime(2026, 11, 22, 7, 0, tzinfo=UTC),
)
FULL = replace(
    PLAIN,
    acs_url="https://broker.example/saml/acs",
    forces_login=True,
    is_passive=False,
    name_id_format=PERSISTENT,
    may_create=True,
    contexts=("http://eidas.europa.eu/LoA/substantial", "http://eidas.europa.eu/LoA/high"),
    comparison=Comparison.MINIMUM,
    provider_name="Däck & Co",
    sp_type="private",
    attributes=(
        RequestedAttribute("http://eidas.europa.eu/attributes/naturalperson/PersonIdentifier", is_required=True),
        RequestedAttribute("urn:x", friendly_name="X", values=("one", "two")),
    ),
    principal=(("urn:oid:1.2.752.29.4.13", "197001011234"),),
    providers=("https://country.example/SE",),
    requesters=("https://shop.example",),
    proxies=1,
)


def root_of(octets: bytes) -> etree._Element:
    """As the other side parses it."""
    root = xml.parse(octets)
    xml.schema_check(root)
    return root


def test_a_plain_one() -> None:
    """What is not wanted is not there: no default is spelt out."""
    root = root_of(build_authn_request(PLAIN))
    assert [each.tag for each in root] == [xml.name(xml.SAML, "Issuer")]
    assert set(root.attrib) == {"ID", "Version", "IssueInstant", "Destination"}


def test_a_full_one_is_read_back() -> None:
    """By what reads the requests that come to us."""
    read = read_authn_request(root_of(build_authn_request(FULL)))
    assert (read.head.id, read.head.issuer, read.head.issued_at) == (FULL.id, FULL.issuer, FULL.issued_at)
    assert read.head.destination == FULL.destination
    assert read.acs_url == FULL.acs_url
    assert (read.forces_login, read.is_passive) == (True, False)
    assert (read.name_id_format, read.may_create) == (PERSISTENT, True)
    assert (read.contexts, read.comparison) == (FULL.contexts, Comparison.MINIMUM)
    assert (read.providers, read.proxies) == (FULL.providers, 1)


def test_extensions() -> None:
    """Of eIDAS in its order, and of Sweden Connect; values are text, whatever is in them."""
    root = root_of(build_authn_request(FULL))
    extensions = root.find(xml.name(xml.SAMLP, "Extensions"))
    assert [each.tag for each in extensions] == [
        xml.name(EIDAS, "SPType"),
        xml.name(EIDAS, "RequestedAttributes"),
        xml.name(PRINCIPAL, "PrincipalSelection"),
    ]
    requested = extensions[1][0]
    assert requested.get("isRequired") == "true"
    assert requested.get("NameFormat") == "urn:oasis:names:tc:SAML:2.0:attrname-format:uri"
    assert [each.text for each in extensions[1][1]] == ["one", "two"]
    assert (extensions[2][0].get("Name"), extensions[2][0].text) == FULL.principal[0]
    assert root.get("ProviderName") == "Däck & Co"


@pytest.mark.parametrize("ask", [PLAIN, FULL], ids=["plain", "full"])
@pytest.mark.parametrize("kind", ["rsa", "secp256r1"])
def test_signed_for_a_form(ask: ToAsk, kind: str) -> None:
    """With the algorithms of strict nodes."""
    algorithm = Signature.RSA_PSS_SHA256 if kind == "rsa" else None
    root = root_of(build_authn_request(ask, key=stage.signer(kind), algorithm=algorithm))
    octets = signature.verified(root, [stage.verifier(kind)], allowed=EIDAS_SIGNATURES)
    assert read_authn_request(xml.parse(octets)).head.id == "_q1"


def test_signed_for_a_query() -> None:
    """The query is signed, the message is not."""
    query = redirect.encode(build_authn_request(FULL), field="SAMLRequest", relay_state="r", key=stage.signer())
    came = redirect.decode(query)
    redirect.verify(came, [stage.verifier()])
    root = root_of(came.octets)
    assert not signature.is_signed(root)
    assert read_authn_request(root).head.id == "_q1"


def test_a_qualified_issuer() -> None:
    """As some schemes want it."""
    root = root_of(build_authn_request(replace(PLAIN, issuer_qualifier="https://broker.example")))
    assert root[0].get("NameQualifier") == "https://broker.example"
    assert read_authn_request(root).head.issuer == PLAIN.issuer


def test_an_algorithm_that_does_not_fit() -> None:
    """Nothing is sent then."""
    with pytest.raises(XmlRefused) as refused:
        build_authn_request(PLAIN, key=stage.signer(), algorithm=Signature.ECDSA_SHA256)
    assert refused.value.code == "saml.signature_algorithm"


@pytest.mark.parametrize("text", ["</saml:Issuer><x/>", "<!-- -->", "&amp;", "]]>", '"quoted"'])
def test_text_stays_text(text: str) -> None:
    """Whatever configuration and customers bring along."""
    ask = replace(FULL, provider_name=text, principal=(("urn:x", text),))
    root = root_of(build_authn_request(ask))
    assert root.get("ProviderName") == text
    assert root.findtext(f".//{xml.name(PRINCIPAL, 'MatchValue')}") == text
