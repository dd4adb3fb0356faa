"""Our own metadata: signed, for a while, with all keys; and which of them signs when."""

import base64
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from lxml import etree
from signxml import SignatureConfiguration, XMLVerifier

from tests.conftest import Golden
from tests.downstream.saml_party import IDP, NS, THEN, Party, open_party, pair
from tests.stage import ISSUER, Answer, Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

MD = {**NS, "md": "urn:oasis:names:tc:SAML:2.0:metadata", "shibmd": "urn:mace:shibboleth:metadata:1.0"}
ROLL = """
broker:
  saml:
    keys:
      - {key: file:secrets/saml.pem, certificate: broker.pem}
      - {key: file:secrets/saml-next.pem, certificate: broker-next.pem, signs_from: "2026-11-21T14:00:00Z"}
"""


async def fetched(party: Party) -> Answer:
    return Answer(await party.stage.client.get("/saml/metadata"))


def verified(octets: str, certificate: bytes) -> etree._Element:
    config = SignatureConfiguration(location="./", expect_references=1, verification_time=THEN)
    found = (
        XMLVerifier()
        .verify(octets.encode(), x509_cert=certificate.decode(), id_attribute="ID", expect_config=config)
        .signed_xml
    )
    assert found is not None
    return found


async def test_what_it_says(party: Party, golden: Golden) -> None:
    """What partners load, but for keys and signature (saml2int SDP-IDP33)."""
    answer = await fetched(party)
    assert answer.headers["content-type"] == "application/samlmetadata+xml"
    root = verified(answer.text, pair("broker")[1])
    assert root.get("entityID") == IDP
    root.attrib.pop("ID")
    for each in root.iter(f"{{{NS['ds']}}}X509Certificate"):
        each.text = "..."
    for each in root.findall("ds:Signature", NS):
        root.remove(each)
    etree.indent(root)
    golden("saml-metadata.xml", etree.tostring(root, encoding="unicode") + "\n")


async def test_it_is_the_same_for_an_hour(party: Party) -> None:
    """Signed once in a while, not on every request; and then again, with a later end."""
    first, again = await fetched(party), await fetched(party)
    assert first.text == again.text
    party.stage.clock.forward(hours=1)
    later = verified((await fetched(party)).text, pair("broker")[1])
    assert later.get("validUntil") > verified(first.text, pair("broker")[1]).get("validUntil")


async def test_only_what_there_is_is_advertised(party: Party) -> None:
    """saml2int SDP-MD04: no artifacts, no SOAP; and every address is one of ours."""
    root = verified((await fetched(party)).text, pair("broker")[1])
    assert root.find("md:IDPSSODescriptor/md:ArtifactResolutionService", MD) is None
    endpoints = [*root.iter(f"{{{MD['md']}}}SingleSignOnService"), *root.iter(f"{{{MD['md']}}}SingleLogoutService")]
    assert {each.get("Binding").rpartition(":")[2] for each in endpoints} == {"HTTP-Redirect", "HTTP-POST"}
    assert all(each.get("Location").startswith(f"{ISSUER}/saml/") for each in endpoints)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rolling(prepared_stage: Path) -> AsyncIterator[Party]:
    """A broker with a key that signs from two hours on."""
    async with open_party(prepared_stage, keys=ROLL) as opened:
        yield opened


class TestRenewingAKey:
    async def test_it_is_published_before_it_signs(self, rolling: Party) -> None:
        """saml2int SDP-MD02: partners have it before they need it."""
        root = verified((await fetched(rolling)).text, pair("broker")[1])
        told = [base64.b64decode(re.sub(r"\s", "", each.text)) for each in root.iter(f"{{{NS['ds']}}}X509Certificate")]
        assert len(root.findall("md:IDPSSODescriptor/md:KeyDescriptor", MD)) == 2
        assert len(set(told)) == 2

    async def test_it_signs_from_its_time_on(self, rolling: Party) -> None:
        """Until then the old one does; nobody restarts anything in between."""
        before = await rolling.log_in(rolling.stage.browser(), rolling.hotel.redirect())
        assert rolling.hotel.receive(before).status == "Success"
        rolling.stage.clock.forward(hours=2)
        rolling.hotel.idp_certificate = pair("broker-next")[1]
        after = await rolling.log_in(rolling.stage.browser(), rolling.hotel.redirect())
        assert rolling.hotel.receive(after).status == "Success"
        assert verified((await fetched(rolling)).text, pair("broker-next")[1]).get("entityID") == IDP


async def test_a_broker_without_service_providers_has_none(staged: Stage) -> None:
    """Nothing is advertised that nobody uses, and no key is made for it."""
    answer = Answer(await staged.client.get("/saml/metadata"))
    assert answer.status == 404
    assert not (staged.loaded.data_dir / "keys" / "saml.pem").exists()
