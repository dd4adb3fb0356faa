"""Service providers by their metadata: what it asks for is done, and what it makes impossible is not done halfway."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from lxml import etree

from tests.conftest import Golden
from tests.downstream.saml_party import NS, POST, Party, Sp, open_party, pair
from tests.downstream.test_saml_refusals import shown_here
from tests.stage import Browser

pytestmark = pytest.mark.asyncio(loop_scope="module")

GCM128 = "http://www.w3.org/2009/xmlenc11#aes128-gcm"
GCM256 = "http://www.w3.org/2009/xmlenc11#aes256-gcm"
OAEP = "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p"
CBC = "http://www.w3.org/2001/04/xmlenc#aes256-cbc"
MAIL = "urn:oid:0.9.2342.19200300.100.1.3"
SUBJECT_ID_REQ = "urn:oasis:names:tc:SAML:profiles:subject-id:req"
NAMES = ("gallery", "museum", "cinema", "theatre", "opera")


def key(name: str, use: str = "", *methods: str) -> str:
    certificate = "".join(pair(name)[1].decode().splitlines()[1:-1])
    lists = "".join(f'<md:EncryptionMethod Algorithm="{each}"/>' for each in methods)
    data = f"<ds:X509Data><ds:X509Certificate>{certificate}</ds:X509Certificate></ds:X509Data>"
    said = f' use="{use}"' if use else ""
    return f"<md:KeyDescriptor{said}><ds:KeyInfo>{data}</ds:KeyInfo>{lists}</md:KeyDescriptor>"


def metadata(name: str, keys: str, *, flags: str = "", wants: str = "", head: str = "", slo: str = "") -> bytes:
    """What *name* says of itself; SAML has an order for it."""
    return (
        '<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" xmlns:ds="http://www.w3.org/2000/09/xmldsig#"'
        ' xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" xmlns:mdattr="urn:oasis:names:tc:SAML:metadata:attribute"'
        f' entityID="https://{name}.example/saml">{head}'
        f'<md:SPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol" {flags}>{keys}{slo}'
        f'<md:AssertionConsumerService Binding="{POST}" Location="https://{name}.example/other" index="0"/>'
        f'<md:AssertionConsumerService Binding="{POST}" Location="https://{name}.example/acs" index="1" isDefault="true"/>'
        f'<md:AssertionConsumerService Binding="urn:oasis:names:tc:SAML:2.0:bindings:PAOS"'
        f' Location="https://{name}.example/paos" index="2"/>{wants}</md:SPSSODescriptor></md:EntityDescriptor>'
    ).encode()


WANTS_MAIL = (
    '<md:AttributeConsumingService index="1"><md:ServiceName xml:lang="en">Gallery</md:ServiceName>'
    f'<md:RequestedAttribute Name="{MAIL}" isRequired="true"/></md:AttributeConsumingService>'
)


def needs(identifier: str) -> str:
    """The entity attribute by which a service provider says how customers are named to it."""
    return (
        f'<md:Extensions><mdattr:EntityAttributes><saml:Attribute Name="{SUBJECT_ID_REQ}"'
        ' NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:uri">'
        f"<saml:AttributeValue>{identifier}</saml:AttributeValue></saml:Attribute></mdattr:EntityAttributes></md:Extensions>"
    )


FILES = {
    "gallery.xml": metadata(
        "gallery",
        key("gallery-old", "signing") + key("gallery", "signing") + key("gallery", "encryption", GCM128, OAEP),
        flags='AuthnRequestsSigned="true" WantAssertionsSigned="true"',
        wants=WANTS_MAIL,
        slo=f'<md:SingleLogoutService Binding="{POST}" Location="https://gallery.example/slo"/>',
    ),
    "museum.xml": metadata("museum", key("museum", "signing")),
    "cinema.xml": metadata("cinema", key("cinema", "", CBC)),
    "theatre.xml": metadata("theatre", key("theatre")),
    "opera.xml": metadata("opera", key("opera"), head=needs("none")),
}
IDENTIFIERS = {"opera": "none"}
PARTNERS = "\npartners:\n" + "".join(
    f"""  {name}:
    names: {{en: {name.title()}}}
    home_uri: https://{name}.example/
    saml: {{entity_id: "https://{name}.example/saml", metadata: {name}.xml, identifier: {IDENTIFIERS.get(name, "pairwise-id")}}}
    login: {{upstreams: [google, bankid], claims: [name, email], consent: implied}}
"""
    for name in NAMES
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def known(prepared_stage: Path) -> AsyncIterator[Party]:
    """A broker that knows its service providers by their metadata."""
    async with open_party(
        prepared_stage, files=FILES, edit={"\npartners:\n": PARTNERS, "\nagreements:\n": "\nagreements:\n"}
    ) as opened:
        yield opened


def sp(party: Party, name: str) -> Sp:
    """The service provider of that name, the same one in all tests: its requests have IDs of their own."""
    where, content = f"https://{name}.example", GCM128 if name == "gallery" else GCM256
    fresh = Sp(party.stage, name, f"{where}/saml", f"{where}/acs", idp_certificate=pair("broker")[1], content=content)
    return party.others.setdefault(name, fresh)


async def in_at_gallery(party: Party, browser: Browser) -> tuple[Sp, str]:
    gallery = sp(party, "gallery")
    address = gallery.redirect(gallery.request(drop=("AssertionConsumerServiceURL",)), key=gallery.key)
    answer = await party.log_in(browser, address, "google")
    form = answer.form_post
    assert form is not None
    received = gallery.receive(answer)
    assert received.assertion_signed
    assert received.attributes.keys() == {"urn:oasis:names:tc:SAML:attribute:pairwise-id", MAIL}
    return gallery, received.session_index


async def test_what_it_asks_for_is_done(known: Party) -> None:
    """The default consumer, a signed assertion, the listed encryption, and no attribute that it does not request."""
    await in_at_gallery(known, known.stage.browser())


async def test_any_of_its_keys_verifies(known: Party) -> None:
    """saml2int SDP-IDP32: the one it is leaving as well as the new one."""
    gallery = sp(known, "gallery")
    for signer in ("gallery-old", "gallery"):
        answer = await known.stage.browser().get(gallery.redirect(key=pair(signer)[0]))
        assert answer.status == 303


async def test_its_wish_for_signed_requests_counts(known: Party, capsys: pytest.CaptureFixture[str]) -> None:
    """``AuthnRequestsSigned`` (saml2int SDP-IDP04)."""
    answer = await known.stage.browser().get(sp(known, "gallery").redirect())
    shown_here(answer, capsys, "saml.unsigned")


async def test_only_consumers_that_are_posted_to(known: Party, capsys: pytest.CaptureFixture[str]) -> None:
    """An address of another binding is none."""
    gallery = sp(known, "gallery")
    request = gallery.request(AssertionConsumerServiceURL="https://gallery.example/paos")
    answer = await known.stage.browser().get(gallery.redirect(request, key=gallery.key))
    shown_here(answer, capsys, "saml.acs")


@pytest.mark.parametrize("name", ["museum", "cinema"])
async def test_what_cannot_be_encrypted_is_not_sent(
    known: Party, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """saml2int SDP-IDP11, failing closed: no key for it, or none by a method we use; and nobody logs in for nothing."""
    party = sp(known, name)
    received = party.receive(await known.stage.browser().get(party.redirect()))
    assert (received.status, received.second) == ("Responder", "RequestDenied")
    assert "code=saml.no_encryption" in capsys.readouterr().out


async def test_an_identifier_it_needs_and_may_not_have(
    prepared_stage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """saml2int SDP-IDP15: no other one in its place, also where it began to need it after check-config had looked."""
    edit = {"\npartners:\n": PARTNERS, "\nagreements:\n": "\nagreements:\n"}
    async with open_party(prepared_stage, files=FILES, edit=edit) as party:
        for name, needed in (
            ("theatre", "subject-id"),
            ("opera", "pairwise-id"),
            ("opera", "any"),
            ("opera", "subject-id"),
        ):
            file = party.stage.loaded.path.parent / f"{name}.xml"
            file.write_bytes(metadata(name, key(name), head=needs(needed)))
            party.stage.clock.forward(minutes=5)
            received = sp(party, name).receive(await party.stage.browser().get(sp(party, name).redirect()))
            assert (received.status, received.second) == ("Responder", "RequestDenied")
            assert "code=saml.identifier" in capsys.readouterr().out


async def test_logout_by_post_where_it_has_nothing_else(known: Party) -> None:
    """The answer is posted to its single logout service, signed inside."""
    browser = known.stage.browser()
    gallery, index = await in_at_gallery(known, browser)
    again = gallery.request(IsPassive="true")
    received = gallery.receive(await browser.get(gallery.redirect(again, key=gallery.key)))
    assert received.session_index == index
    answer = await browser.get(gallery.log_out(gallery.logout_request(received)))
    form = answer.form_post
    assert form is not None
    assert form["action"] == "https://gallery.example/slo"
    members = dict(form["fields"])
    root = gallery.verified(base64.b64decode(members["SAMLResponse"]))
    assert root.find("samlp:Status/samlp:StatusCode", NS).get("Value").endswith(":Success")
    assert members["RelayState"] == "bye"


async def test_what_an_assertion_looks_like(known: Party, golden: Golden) -> None:
    """Byte for byte, but for what is random in it."""
    gallery = sp(known, "gallery")
    answer = await known.log_in(known.stage.browser(), gallery.redirect(key=gallery.key), "google")
    assertion = gallery.receive(answer).assertion
    assertion.set("ID", "...")
    for path in ("saml:Subject/saml:NameID", "saml:AttributeStatement/saml:Attribute[1]/saml:AttributeValue"):
        (each,) = assertion.xpath(path, namespaces=NS)
        each.text = "..."
    assertion.find("saml:AuthnStatement", NS).set("SessionIndex", "...")
    (data,) = assertion.xpath("saml:Subject/saml:SubjectConfirmation/saml:SubjectConfirmationData", namespaces=NS)
    data.set("InResponseTo", "...")
    etree.indent(assertion)
    golden("saml-assertion.xml", etree.tostring(assertion, encoding="unicode") + "\n")
