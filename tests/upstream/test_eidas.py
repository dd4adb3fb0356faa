"""eIDAS nodes: what they demand of requests, what their answers may say, and who is known by them (eIDAS SAML 1.4)."""

import base64
from contextlib import AbstractAsyncContextManager
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from broker.core.assurance import Assurance
from broker.demo.providers.saml_idp import EIDAS, GENERIC, LOA, NOT_NOTIFIED, Fault
from broker.errors import UpstreamDown, UpstreamRefused
from broker.upstream.eidas import NATURAL, EidasConnect
from broker.upstream.port import KeyPublisher
from broker.wire.saml.eidas_address import read_address
from broker.wire.saml.refused import XmlRefused
from tests.changing import replace
from tests.upstream.cases import Case, Play
from tests.upstream.saml import ADDRESS, CALLBACK, LIES, Provider, connect_block, ec_pair, play, rsa_pair
from tests.upstream.test_oidc import code_of

SETTINGS: dict[str, Any] = {"receiving_country": "SE", "attributes": ["Gender", "CurrentAddress"]}
OWN_LIES = (
    Fault.ONLY_ASSERTION_SIGNED, Fault.REPRESENTATIVE, Fault.LEGAL_PERSON, Fault.OTHER_RECEIVER, Fault.NO_BIRTHDATE,
    Fault.NON_NOTIFIED, Fault.OLD_LOGIN,
)  # fmt: skip


def signer() -> Any:
    """The node's: strict nodes have no shorter RSA keys."""
    return rsa_pair(8, 3072)


def cases() -> list[Case]:
    """For the contract suite: with keys on curves, as strict nodes like them."""
    return [Case("eidas", opened, (*LIES, *OWN_LIES))]


def opened(folder: Path) -> AbstractAsyncContextManager[Play]:
    """Keys are made when they are needed."""
    return play(folder, "eidas", EIDAS, own=ec_pair(), signer=signer(), **SETTINGS)


@pytest.fixture
def node() -> Provider:
    return Provider("eidas", EIDAS, ec_pair(), signer=signer(), **SETTINGS)


def with_mode(**changes: Any) -> Provider:
    """A node that is otherwise."""
    return Provider("eidas", replace(EIDAS, **changes), ec_pair(), signer=signer(), **SETTINGS)


async def refused(node: Provider, *faults: Fault, **asked: Any) -> str:
    """Why nobody is logged in."""
    node.simulator.switch(*faults)
    with pytest.raises(UpstreamRefused) as error:
        await node.login(**asked)
    return code_of(error)


async def test_a_person_from_abroad(node: Provider) -> None:
    """Known by her PersonIdentifier, at the level that was delivered, named in Latin letters."""
    evidence = await node.login("eleni")
    assert (evidence.given_name, evidence.family_name) == ("Eleni", "Onasi")
    assert (evidence.birthdate, evidence.assurance) == (date(1984, 2, 11), Assurance.LOW)
    assert evidence.subject.startswith("ES/SE/")
    assert evidence.signals == ()
    assert (await node.login("eleni")).subject == evidence.subject


async def test_keys_of_rsa(node: Provider) -> None:
    """Signed by RSA-PSS, encrypted by OAEP of XML Encryption 1.1: the node takes it, and so do we."""
    other = Provider("eidas", EIDAS, rsa_pair(7, 3072), signer=signer(), **SETTINGS)
    assert (await other.login()).given_name == "Maja"
    assert "sha256-rsa-MGF1" in (await other.begin())[1]


async def test_a_changed_identifier_is_another_person(node: Provider) -> None:
    """Identifiers may change over time; nothing but them says that it is the same person."""
    first = await node.login()
    node.simulator.generation = 2
    assert (await node.login()).subject != first.subject


async def test_what_is_asked_for(node: Provider) -> None:
    """A new login, one notified level as the minimum, kind of service, minimum data set; no address, which the metadata has."""
    await node.login(minimum=Assurance.SUBSTANTIAL)
    request = node.simulator.requests[0]
    names = {"saml": "urn:oasis:names:tc:SAML:2.0:assertion", "e": "http://eidas.europa.eu/saml-extensions"}
    assert (request.get("ForceAuthn"), request.get("IsPassive")) == ("true", "false")
    assert request.get("AssertionConsumerServiceURL") is None
    assert request.xpath("//saml:AuthnContextClassRef/text()", namespaces=names) == [f"{LOA}/substantial"]
    assert request.xpath("//e:SPType/text()", namespaces=names) == ["private"]
    required = request.xpath("//e:RequestedAttribute[@isRequired='true']/@Name", namespaces=names)
    optional = request.xpath("//e:RequestedAttribute[@isRequired='false']/@Name", namespaces=names)
    assert [each.rpartition("/")[2] for each in required] == [
        "PersonIdentifier", "CurrentFamilyName", "CurrentGivenName", "DateOfBirth",
    ]  # fmt: skip
    assert [each.rpartition("/")[2] for each in optional] == ["Gender", "CurrentAddress"]


async def test_on_whose_behalf(node: Provider) -> None:
    """Nodes that charge private services want to know them; the callback is named only where a node wants that."""
    node.connector = node.connect(requester_id="https://shop.example", provider_name="Shop", names_callback=True)
    await node.login()
    request = node.simulator.requests[0]
    assert (request.get("ProviderName"), request.get("AssertionConsumerServiceURL")) == ("Shop", CALLBACK)
    assert request.xpath("//*[local-name()='RequesterID']/text()") == ["https://shop.example"]


@pytest.mark.parametrize("place", ["request", "metadata"])
async def test_the_kind_of_service_is_said_once(node: Provider, place: str) -> None:
    """In each request, or in the metadata, and never in both (Message Format 1.4)."""
    connector = node.connect(sp_type_in=place)
    assert isinstance(connector, KeyPublisher)
    document = connector.published("metadata", address=ADDRESS, now=node.clock.now)
    assert document is not None
    assert (b"SPType" in document.content) is (place == "metadata")


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault.REPRESENTATIVE, "eidas.representative"),
        (Fault.LEGAL_PERSON, "eidas.legal_person"),
        (Fault.OTHER_RECEIVER, "eidas.identifier"),
        (Fault.NO_BIRTHDATE, "eidas.attribute"),
        (Fault.NON_NOTIFIED, "upstream.acr"),
        (Fault.UNKNOWN_LEVEL, "upstream.acr"),
        (Fault.NOBODY, "saml.subject"),
        (Fault.OLD_LOGIN, "saml.not_fresh"),
        (Fault.NOT_ENCRYPTED, "saml.unencrypted"),
        (Fault.ONLY_ASSERTION_SIGNED, "saml.unsigned"),
        (Fault.TWO_ASSERTIONS, "saml.assertion_count"),
        (Fault.UNSOLICITED, "saml.in_response_to"),
    ],
    ids=lambda each: str(each),
)
async def test_what_a_node_may_not_say(node: Provider, fault: Fault, code: str) -> None:
    """Nobody acts for another, identifiers are for our country, the minimum data set is whole, the level is notified."""
    assert await refused(node, fault) == code


async def test_a_lower_level_than_asked(node: Provider) -> None:
    """``minimum`` is what it says."""
    assert await refused(node, Fault.LOWEST_LEVEL, minimum=Assurance.SUBSTANTIAL) == "upstream.acr"


async def test_levels_that_are_not_notified() -> None:
    """They count only where the config says so, asked for one by one, and what was not asked for counts for nothing."""
    node = with_mode(levels=(*EIDAS.levels, f"{NOT_NOTIFIED}/high"))
    levels = {f"{LOA}/high": "high", f"{NOT_NOTIFIED}/high": "substantial"}
    node.connector = node.connect(acr_levels=levels, comparison="exact")
    node.simulator.switch(Fault.NON_NOTIFIED)
    assert (await node.login()).assurance is Assurance.SUBSTANTIAL
    assert await refused(node, Fault.NON_NOTIFIED, minimum=Assurance.HIGH) == "upstream.acr"


async def test_a_country_that_is_not_accepted(node: Provider) -> None:
    """Where only some are let in."""
    node.connector = node.connect(countries=["NO", "FI"])
    assert await refused(node) == "eidas.country"
    node.connector = node.connect(countries=["ES"])
    node.simulator.switch()
    assert (await node.login()).given_name == "Maja"


async def test_a_node_that_is_certified_for_less() -> None:
    """Its metadata says how far it goes; beyond that nobody is sent there."""
    node = with_mode(levels=(f"{LOA}/low",))
    assert (await node.login()).assurance is Assurance.LOW
    with pytest.raises(UpstreamRefused) as error:
        await node.begin(minimum=Assurance.HIGH)
    assert code_of(error) == "saml.no_context"


async def test_strict_nodes_have_strong_keys() -> None:
    """RSA of 2048 bits signs nothing here (Cryptographic Requirements 1.4), and is no key of ours either."""
    node = Provider("eidas", EIDAS, ec_pair(), signer=rsa_pair(9), **SETTINGS)
    assert await refused(node) == "saml.no_keys"
    lenient = Provider("eidas", EIDAS, ec_pair(), signer=rsa_pair(9), strict_crypto=False, **SETTINGS)
    assert (await lenient.login()).given_name == "Maja"


async def test_older_algorithms_are_an_option() -> None:
    """PKCS#1 v1.5 and OAEP of 1.0 are refused of a strict node, and taken where the config says so."""
    node = with_mode(method=GENERIC.method)
    assert await refused(node) == "saml.signature_algorithm"
    node.connector = node.connect(strict_crypto=False)
    node.simulator.switch()
    assert (await node.login()).given_name == "Maja"


async def test_an_expired_node_is_away(node: Provider) -> None:
    """Without metadata nobody is sent there, nor believed."""
    state, url = await node.begin()
    members = await node.answered(url)
    node.peers.is_gone = True
    for attempt in (node.begin(), node.resume(state, members)):
        with pytest.raises(UpstreamDown) as error:
            await attempt
        assert code_of(error) == "saml.metadata"


async def test_keys_that_roll(node: Provider) -> None:
    """Signed by a new key that the metadata has beside the old one."""
    node.simulator.roll(rsa_pair(6, 3072))
    assert (await node.login()).given_name == "Maja"


@pytest.mark.parametrize(("part", "accepted"), [("PostName", True), ("PostCode", False)], ids=["told", "not told"])
async def test_parts_of_the_address(node: Provider, part: str, accepted: bool) -> None:
    """May be demanded, under the name of the attribute and a dot."""
    node.connector = node.connect(required_values={f"{NATURAL}/CurrentAddress.{part}": ["Umeå"]})
    if accepted:
        assert (await node.login()).given_name == "Maja"
    else:
        assert await refused(node) == "claims.value"


def encoded(fragment: str) -> str:
    return base64.b64encode(fragment.encode()).decode()


def test_an_address() -> None:
    """Prefixes that the fragment declares, or that everybody knows; in any order, each part once."""
    text = "<eidas-natural:PostCode>903 26</eidas-natural:PostCode>\n<eidas:PostName>Umeå</eidas:PostName>"
    assert read_address(encoded(text)) == {"PostCode": "903 26", "PostName": "Umeå"}


@pytest.mark.parametrize(
    "fragment",
    [
        "<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><PostName>&b;</PostName>",
        "<PostName>&b;</PostName>",
        "<?xml version='1.0'?><PostName>a</PostName>",
        "</address><address>",
        "<PostName>a</PostName></address><address><PostName>b</PostName>",
        "<PostName>a</PostName><PostName>b</PostName>",
        "<PostName><b/></PostName>",
        "<Mayor>a</Mayor>",
        "<other:PostName>a</other:PostName>",
        "text",
        "",
        "<PostName>" + "a" * 9000 + "</PostName>",
    ],
    ids=range(12),
)
def test_no_address(fragment: str) -> None:
    """Entities, documents, ends that belong to others, unknown or repeated parts, and too much of it."""
    with pytest.raises(XmlRefused):
        read_address(encoded(fragment))
    with pytest.raises(XmlRefused):
        read_address("not base64!")


@pytest.mark.parametrize(
    "changes",
    [
        {"receiving_country": "SWE"},
        {"acr_levels": {}},
        {"acr_levels": {"https://refeds.org/profile/mfa": "low"}},
        {"acr_levels": {f"{LOA}/low": "high"}},
        {"acr_levels": {f"{NOT_NOTIFIED}/high": "high"}},
        {"encrypted": False},
        {"signs_response": False},
        {"subject": "NameID"},
        {"level_claim": "level"},
        {"attributes": ["representative/DateOfBirth"]},
    ],
    ids=lambda each: next(iter(each)) + str(len(str(each))),
)
def test_what_cannot_be_configured(changes: dict[str, Any]) -> None:
    """No level counts for more than it says, and the scheme's own rules are nobody's to lift."""
    with pytest.raises(ValidationError):
        EidasConnect.model_validate(connect_block("https://node.example", **SETTINGS | changes))
