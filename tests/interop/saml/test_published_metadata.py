"""Metadata that federations and nodes published: believed, read and used as it is, or refused for its own reason."""

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_der_x509_certificate, load_pem_x509_certificate
from lxml import etree

from broker.app import MetadataFetchers, build_peers
from broker.config.load import Loaded
from broker.core.assurance import Assurance
from broker.core.saml import POST, REDIRECT, TRANSIENT, Endpoint, SamlEntity, SamlProvider, SamlService
from broker.errors import UpstreamDown, UpstreamRefused
from broker.stores.memory import MemoryState
from broker.upstream.port import Begun, PostForm, Redirect
from broker.upstream.registry import KINDS
from broker.upstream.saml import SamlConnector
from broker.upstream.supplies import Supplies
from broker.wire.saml import posted, redirect, xml
from broker.wire.saml.aggregate import Demands, Metadata, read
from broker.wire.saml.encryption import recipient_of
from broker.wire.saml.keys import verifying_key
from broker.wire.saml.refused import XmlRefused
from broker.wire.saml.signature import verified
from tests.changing import replace
from tests.cli.test_metadata import metadata_server
from tests.config.conftest import Bench
from tests.interop.saml import spid
from tests.interop.saml.published import IN_TIME, octets
from tests.upstream.cases import offering
from tests.upstream.saml import CALLBACK, NAMES, Stored, connect_block, pem_of, rsa_pair
from tests.upstream.test_oidc import ASK

YEARS = timedelta(days=4000)
NOW = datetime(2026, 11, 22, tzinfo=UTC)
DS = "{http://www.w3.org/2000/09/xmldsig#}"

FR = "https://eidas.pp.dev-franceconnect.fr"
GR = "https://pre.eidas.gov.gr/EidasNode"
EDUID = "https://login.idp.eduid.se/idp.xml"
NORDUNET = "https://idp.nordu.net/idp/shibboleth"
LIBRARY = "https://app.comfact.se/pdss/metadata/d70a69a512a2418f"
BAILIFFS = (
    "https://auth.funktionstjanster.se/id/proxy/saml2/67cacd06db3b47c951eefdfa/idp/67cacbb7ef0f342709eefdf6"
    "/c/682f0e0f8dc75a89157ed724/authn"
)
LOA = "http://eidas.europa.eu/LoA"


def certificates(name: str) -> tuple[bytes, ...]:
    """By which the document of that name is known: of a list of countries, or as the federation gives it away, DER."""
    match name:
        case "wayf":
            # Published by WAYF for its metadata since 2016; here as it stands in the document, and pinned.
            (found,) = _written(octets("wayf"), f"{{*}}Signature//{DS}X509Certificate")
            assert _digest(found) == "9fb449527f690b54812385b0f1674ac661c5d93e93f29760af125efdc7a62e13"
            return (found,)
        case "incommon":
            certificate = load_pem_x509_certificate(octets("incommon-certificate"))
            return (certificate.public_bytes(Encoding.DER),)
        case _:
            return _written(octets(f"{name[:2]}-list"), f".//{DS}X509Certificate")


def _written(document: bytes, path: str) -> tuple[bytes, ...]:
    root = etree.fromstring(document, etree.XMLParser(huge_tree=True))
    return tuple(base64.b64decode(each.text) for each in root.iterfind(path))


def _digest(certificate: bytes) -> str:
    return hashlib.sha256(certificate).hexdigest()


@cache
def pinned(name: str) -> Metadata:
    """The document, at a time when it was good, as a file that an operator put there."""
    return read(octets(name), demands=Demands(), now=IN_TIME.get(name, NOW))


def entity(name: str, entity_id: str) -> SamlEntity:
    found = pinned(name).find(entity_id)
    assert found is not None
    return found


def provider(name: str, entity_id: str) -> SamlProvider:
    found = entity(name, entity_id).provider
    assert found is not None
    return found


def service(name: str, entity_id: str) -> SamlService:
    found = entity(name, entity_id).service
    assert found is not None
    return found


def refusal(name: str, *certificates: bytes, now: datetime, max_validity: timedelta = YEARS) -> str:
    """By which code the document is refused."""
    with pytest.raises(XmlRefused) as refused:
        read(octets(name), demands=Demands.of(certificates, max_validity), now=now)
    return refused.value.code.removeprefix("saml.")


# What is believed


SIGNED = ("fr-proxy", "fr-connector", "gr-proxy", "gr-connector", "wayf")


@pytest.mark.parametrize("name", SIGNED)
def test_a_signature_is_verified(name: str) -> None:
    """Nodes sign by RSA-PSS, for the document as a whole; WAYF by RSA-SHA256, for its ID."""
    found = read(octets(name), demands=Demands.of(certificates(name), YEARS), now=IN_TIME[name])
    assert list(found.entity_ids) == list(pinned(name).entity_ids)
    assert found.valid_until is not None


@pytest.mark.parametrize("name", SIGNED)
def test_a_signature_of_somebody_else(name: str) -> None:
    """Another's certificate does not do, whatever the one in the document says; nor the right one when something is changed."""
    other = certificates("gr-proxy" if name != "gr-proxy" and name != "gr-connector" else "fr-proxy")
    assert refusal(name, *other, now=IN_TIME[name]) == "signature_invalid"
    changed = octets(name).replace(b'Location="https://', b'Location="https://evil.', 1)
    assert changed != octets(name)
    with pytest.raises(XmlRefused) as refused:
        read(changed, demands=Demands.of(certificates(name), YEARS), now=IN_TIME[name])
    assert refused.value.code == "saml.digest_mismatch"


@pytest.mark.parametrize("name", [name for name in IN_TIME if name != "incommon"])
def test_what_ended_is_over(name: str) -> None:
    """Signed or not, its validUntil counts, and so does the horizon for what is signed."""
    assert refusal(name, now=NOW) == "metadata_expired"
    if name in SIGNED:
        assert refusal(name, *certificates(name), now=NOW) == "metadata_expired"
        early = IN_TIME[name] - timedelta(days=60)
        assert refusal(name, *certificates(name), now=early, max_validity=timedelta(days=14)) == "metadata_distant"


@pytest.mark.parametrize("name", ["swamid-2013", "swamid-1", "edugain-2014", "edugain-2013"])
def test_signed_by_sha1(name: str) -> None:
    """That was how federations signed then; no key makes it good now."""
    assert refusal(name, *certificates("wayf"), now=datetime(2013, 2, 1, tzinfo=UTC)) == "signature_algorithm"


def test_a_key_that_was_strong_once() -> None:
    """eduGAIN's first certificate is of RSA with 1024 bits: nothing is believed for it."""
    certificate = load_pem_x509_certificate(octets("edugain-certificate")).public_bytes(Encoding.DER)
    assert refusal("edugain-2014", certificate, now=datetime(2014, 5, 1, tzinfo=UTC)) == "key_weak"


def test_changed_after_it_was_signed() -> None:
    """InCommon's own certificate fits, its signature is by RSA-SHA256, and the document is no longer what was signed."""
    assert refusal("incommon", *certificates("incommon"), now=IN_TIME["incommon"]) == "digest_mismatch"


@pytest.mark.parametrize("name", ["edugain", "swamid-2014", "kronofogden", "abes", "aconet"])
def test_not_signed(name: str) -> None:
    """Where a certificate was given, what has no signature is nothing."""
    assert refusal(name, *certificates("wayf"), now=IN_TIME.get(name, NOW)) == "unsigned"


@pytest.mark.parametrize(("name", "code"), [("fr-list", "wrong_element"), ("stockholm", "canonicalization")])
def test_no_metadata(name: str, code: str) -> None:
    """A list of where metadata is, and a document with a namespace that is no absolute name (Canonical XML, section 1.3)."""
    assert refusal(name, now=NOW) == code


# What is read


@pytest.mark.parametrize(
    ("name", "entities", "services", "providers"),
    [
        ("edugain", 9509, 4125, 5403),
        ("swamid-2014", 990, 440, 534),
        ("wayf", 77, 16, 61),
        ("incommon", 1888, 1476, 323),
        ("switch", 172, 136, 32),
    ],
)
def test_everybody_of_a_federation_is_read(name: str, entities: int, services: int, providers: int) -> None:
    """Each entity on demand, and none spoils another. Those in neither role speak SAML 1 only, or tell attributes only."""
    kept = read(octets(name), demands=Demands(), now=datetime(2010, 1, 1, tzinfo=UTC))
    found = [kept.find(each) for each in kept.entity_ids]
    assert (len(found), None in found) == (entities, False)
    assert sum(each is not None and each.service is not None for each in found) == services
    assert sum(each is not None and each.provider is not None for each in found) == providers
    assert kept.size < len(octets(name)) * 1.3


@pytest.mark.parametrize(
    ("name", "entity_id", "country", "levels", "uses"),
    [
        ("fr-proxy", f"{FR}/EidasNodeProxy/ServiceMetadata", "FR", ["high", "substantial"], ["signing"]),
        ("gr-proxy", f"{GR}/ServiceMetadata", "EL", ["high", "substantial", "low"], ["signing", "encryption"]),
    ],
)
def test_an_eidas_node(name: str, entity_id: str, country: str, levels: list[str], uses: list[str]) -> None:
    """Its country as eIDAS spells it, what it is certified for, where requests go, and what it can verify."""
    node = provider(name, entity_id)
    assert node.node_country == country
    assert [each for each in node.loa_certification if each.startswith(LOA)] == [f"{LOA}/{each}" for each in levels]
    assert [each.binding for each in node.sso] == [POST, REDIRECT]
    assert {urlsplit(each.location).path.rpartition("/")[2] for each in node.sso} == {"ColleagueRequest"}
    assert [each.use for each in node.keys] == uses
    assert node.want_authn_requests_signed
    assert "http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1" in node.signing_methods
    assert node.valid_until == entity(name, entity_id).valid_until == pinned(name).valid_until


@pytest.mark.parametrize(
    ("name", "entity_id"),
    [
        ("fr-connector", f"{FR}/EidasNodeConnector/ConnectorMetadata"),
        ("gr-connector", f"{GR}/ConnectorMetadata"),
    ],
)
def test_an_eidas_connector(name: str, entity_id: str) -> None:
    """The other side of a node: where it takes answers, and what it can decrypt."""
    connector = service(name, entity_id)
    first, second = connector.acs
    assert (first.binding, first.is_default, second.binding) == (POST, True, REDIRECT)
    assert [each.use for each in connector.keys] == ["signing", "encryption"]
    assert len(connector.keys[1].encryption_methods) == 3
    assert connector.authn_requests_signed


def test_services_of_swedish_authorities() -> None:
    """The names of the authorities, the entity categories of Sweden Connect, and what one of them asks for."""
    library, bailiffs = service("kungliga-biblioteket", LIBRARY), service("kronofogden", BAILIFFS)
    assert library.names == {"sv": "Kungliga biblioteket", "en": "National Library of Sweden"}
    assert bailiffs.names == {"sv": "Kronofogdens e-tjänster", "en": "Swedish Enforcement Authority"}
    for each in (library, bailiffs):
        assert "http://id.elegnamnden.se/ec/1.0/loa3-pnr" in each.entity_categories
        assert [key.use for key in each.keys] == ["signing", "encryption"]
    assert [each.is_required for each in library.requested_attributes] == [False, False, False]
    assert library.acs == (Endpoint(POST, "https://app.comfact.se/pdss/mission/acs/d70a69a512a2418f", index=0),)
    assert (library.wants_assertions_signed, bailiffs.wants_assertions_signed) == (True, False)


def test_a_member_of_swamid() -> None:
    """eduID: who registered it, what it is certified for, and what it may speak for."""
    found = entity("edugain", EDUID)
    assert found.registration_authority == "http://www.swamid.se/"
    eduid = provider("edugain", EDUID)
    assert eduid.names == {"sv": "eduID Sverige", "en": "eduID Sweden"}
    assert "http://www.swamid.se/policy/assurance/al3" in eduid.loa_certification
    assert eduid.scopes == ("eduid.se",)
    assert [(each.binding, each.location) for each in eduid.sso] == [
        (REDIRECT, "https://login.idp.eduid.se/sso/redirect"),
        (POST, "https://login.idp.eduid.se/sso/post"),
    ]


def test_who_registered_whom() -> None:
    """Federations are told apart by that, in what eduGAIN puts together."""
    kept = pinned("edugain")
    some = [kept.find(each) for each in list(kept.entity_ids)[::40]]
    registrars = {each.registration_authority for each in some if each is not None}
    assert {"http://www.swamid.se/", "http://www.idem.garr.it/", "https://incommon.org"} <= registrars


def test_requested_attributes_of_a_service() -> None:
    """ACOnet's: which it cannot do without."""
    asked = service("skriptenforum", "https://skriptenforum.net/shibboleth").requested_attributes
    assert [(each.friendly_name, each.is_required) for each in asked] == [
        ("eduPersonTargetedID", True),
        ("eduPersonPrincipalName", False),
        ("eduPersonScopedAffiliation", False),
        ("displayName", False),
    ]


def test_keys_that_are_too_weak_are_left_out() -> None:
    """RSA of 1024 bits, as some had in 2014: the provider is known, and nothing it signs is believed."""
    found = provider("swamid-2014", "https://shibboleth.uhr.se/idp/shibboleth")
    assert found.sso
    assert found.keys == ()


def test_certificates_that_are_not_spelled_right() -> None:
    """Issuers put characters into the names of certificates that do not belong there: the key in it is read all the same."""
    assert len(service("incommon", "https://proxy.ohiolink.edu/shibboleth").keys) == 2
    assert [each.use for each in service("swamid-2014", "https://laife.lanet.lv/shibboleth").keys] == [
        "signing",
        "encryption",
    ]


# Services that log customers in at the broker


@pytest.mark.parametrize(
    ("name", "entity_id"),
    [
        ("kungliga-biblioteket", LIBRARY),
        ("kronofogden", BAILIFFS),
        ("skriptenforum", "https://skriptenforum.net/shibboleth"),
        ("edugain", "https://connect.eduid.se/eduidsp"),
    ],
)
async def test_a_service_as_a_partner(bench: Bench, name: str, entity_id: str) -> None:
    """Named in the config it passes check-config, and the running broker finds it where answers go."""
    bench.put("metadata/partner.xml", octets(name))
    block = f"""
  sample:
    names: {{sv: Prov, fi: Näyte, pl: Próbka, en: Sample}}
    home_uri: https://sample.example/
    saml: {{entity_id: "{entity_id}", metadata: metadata/partner.xml, require_signed_requests: true}}
    login: {{upstreams: [bankid], claims: [name]}}
"""
    bench.edit(("\npartners:\n", f"\npartners:{block}"))
    loaded = bench.load()
    known = await build_peers(loaded, MetadataFetchers.of(loaded)).service("metadata/partner.xml", entity_id)
    assert known == service(name, entity_id)
    assert any(each.binding == POST for each in known.acs)


def test_a_provider_is_no_partner(bench: Bench) -> None:
    """check-config says so, and names what is missing."""
    bench.put("metadata/partner.xml", octets("abes"))
    block = """
  sample:
    names: {sv: Prov, fi: Näyte, pl: Próbka, en: Sample}
    home_uri: https://sample.example/
    saml: {entity_id: "https://sharav.abes.fr/idp/shibboleth", metadata: metadata/partner.xml}
    login: {upstreams: [bankid], claims: [name]}
"""
    bench.edit(("\npartners:\n", f"\npartners:{block}"))
    (problem,) = bench.problems()
    assert "service provider" in problem


# Providers that customers are sent to


def upstream(bench: Bench, kind: str, document: bytes, signers: tuple[bytes, ...], **connect: Any) -> Loaded:
    """A config in which the provider stands as an operator writes it, its metadata held to *signers*."""
    pair = rsa_pair(0, 3072)
    bench.put("secrets/saml-up.pem", pair.pem)
    bench.put("secrets/saml-up.crt", pem_of(pair))
    bench.put("metadata/provider.xml", document)
    names = [f"metadata/signer-{number}.pem" for number in range(len(signers))]
    for name, each in zip(names, signers, strict=True):
        bench.put(name, load_der_x509_certificate(each).public_bytes(Encoding.PEM))
    given = connect_block(connect.pop("entity_id"), metadata="sample", **connect)
    block = (
        f"    kind: {kind}\n    titles: {{sv: eID, fi: eID, pl: eID, en: eID}}\n    ceiling: high\n"
        f"    may_bootstrap_other_methods: true\n    connect: {json.dumps(given)}\n"
    )
    bench.edit(*offering("eid", block).items())
    source = {"file": "metadata/provider.xml", "certificates": names, "max_validity": "28d"}
    bench.text += f"\nsaml:\n  metadata:\n    sample: {json.dumps(source if names else {'file': source['file']})}\n"
    return bench.load()


def connector(loaded: Loaded, kind: str, now: datetime) -> SamlConnector:
    """Built as the broker builds it, reading metadata as the broker reads it, at *now*."""
    peers = build_peers(loaded, MetadataFetchers.of(loaded), lambda: now)
    supplies = Supplies(loaded.references, None, context=Stored(MemoryState()), peers=peers, names=NAMES)  # type: ignore[arg-type]
    built = KINDS[kind].build("eid", loaded.connectors["eid"], supplies)
    assert isinstance(built, SamlConnector)
    return built


async def asked(made: SamlConnector, now: datetime, minimum: Assurance) -> tuple[str, Any]:
    """Where the customer goes, and the request she carries: signed by us, and as the schemas have it."""
    begun = await made.begin(replace(ASK, callback_url=CALLBACK, now=now, minimum=minimum))
    assert isinstance(begun, Begun)
    ours = verifying_key(rsa_pair(0, 3072).certificate)
    if isinstance(begun.prompt, Redirect):
        address, _, query = begun.prompt.url.partition("?")
        message = redirect.decode(query, max_relay_state=200)
        redirect.verify(message, [ours])
        root = xml.parse(message.octets)
    else:
        assert isinstance(begun.prompt, PostForm)
        address = begun.prompt.url
        root = xml.parse(posted.decode(begun.prompt.members["SAMLRequest"]))
        assert verified(root, [ours])
    xml.schema_check(root)
    assert root.get("Destination") == address
    return address, root


NODE = {"receiving_country": "SE"}
PERSON = {
    "subject": "urn:oid:1.3.6.1.4.1.5923.1.1.1.6",
    "name_id_format": TRANSIENT,
    "encrypted": False,
    "signs_assertion": True,
    "claims": {},
}
"""As members of federations of universities are known."""

PROVIDERS: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "france": ("eidas", "fr-proxy", f"{FR}/EidasNodeProxy/ServiceMetadata", NODE),
    "greece": ("eidas", "gr-proxy", f"{GR}/ServiceMetadata", NODE),
    "swamid": ("saml", "swamid-2014", NORDUNET, PERSON),
    "wayf": ("saml", "wayf", "https://birk.wayf.dk/birk.php/wayf.au.dk", PERSON),
    "edugain": ("saml", "edugain", EDUID, PERSON),
    "renater": ("saml", "abes", "https://sharav.abes.fr/idp/shibboleth", PERSON),
    "aconet": ("saml", "aconet", "https://idp.aco.net/idp/shibboleth", PERSON),
}


@pytest.mark.parametrize("case", PROVIDERS, ids=list(PROVIDERS))
async def test_customers_are_sent_to_a_provider(bench: Bench, case: str) -> None:
    """By the binding it offers, to the address it names, with a request that follows the schemas and is signed."""
    kind, name, entity_id, settings = PROVIDERS[case]
    now = IN_TIME.get(name, NOW)
    signers = certificates(name) if name in SIGNED else ()
    loaded = upstream(bench, kind, octets(name), signers, entity_id=entity_id, **settings)
    address, _ = await asked(connector(loaded, kind, now), now, Assurance.CONTACT)
    described = provider(name, entity_id)
    assert Endpoint(REDIRECT, address) in described.sso


@pytest.mark.parametrize("case", ["france", "greece", "edugain"])
async def test_customers_are_sent_by_a_form(bench: Bench, case: str) -> None:
    """Where the operator wants that, and the provider takes it; the signature is in the request then."""
    kind, name, entity_id, settings = PROVIDERS[case]
    now = IN_TIME.get(name, NOW)
    signers = certificates(name) if name in SIGNED else ()
    loaded = upstream(bench, kind, octets(name), signers, entity_id=entity_id, binding="post", **settings)
    address, root = await asked(connector(loaded, kind, now), now, Assurance.CONTACT)
    assert Endpoint(POST, address) in provider(name, entity_id).sso
    assert root.find(f"{DS}Signature") is not None


async def test_a_provider_that_takes_no_forms(bench: Bench) -> None:
    """The university has Redirect only: nobody is sent where nobody listens."""
    _, name, entity_id, settings = PROVIDERS["wayf"]
    now = IN_TIME[name]
    loaded = upstream(bench, "saml", octets(name), certificates(name), entity_id=entity_id, binding="post", **settings)
    with pytest.raises(UpstreamDown) as refused:
        await asked(connector(loaded, "saml", now), now, Assurance.CONTACT)
    assert refused.value.code == "saml.binding"


@pytest.mark.parametrize(
    ("name", "entity_id", "content"),
    [
        ("fr-connector", f"{FR}/EidasNodeConnector/ConnectorMetadata", "AES256_GCM"),
        ("gr-connector", f"{GR}/ConnectorMetadata", "AES128_GCM"),
        ("kungliga-biblioteket", LIBRARY, "AES256_GCM"),
        ("kronofogden", BAILIFFS, "AES256_GCM"),
    ],
)
def test_how_a_service_is_encrypted_to(name: str, entity_id: str, content: str) -> None:
    """By the first of its algorithms that is used here, to the key it has for that."""
    found = recipient_of(service(name, entity_id).keys)
    assert found is not None
    assert found.content.name == content


def test_a_service_that_knows_only_what_is_not_used() -> None:
    """AES-CBC is all that half of the services in eduGAIN list: nothing is sent to them that they could read."""
    with pytest.raises(XmlRefused) as refused:
        recipient_of(service("edugain", "http://sse.instructure.com/saml2").keys)
    assert refused.value.code == "saml.encryption_algorithm"


async def test_customers_are_sent_to_spid(bench: Bench) -> None:
    """Italy's, by the levels it has: all from the one that suffices, as SPID compares them."""
    levels = {
        f"https://www.spid.gov.it/SpidL{number}": word for number, word in enumerate(("low", "substantial", "high"), 1)
    }
    settings = {
        "subject": "spidCode",
        "name_id_format": TRANSIENT,
        "acr_levels": levels,
        "comparison": "minimum",
        "encrypted": False,
        "signs_response": True,
        "signs_assertion": True,
    }
    loaded = upstream(bench, "saml", spid.provider(), (), entity_id="https://localhost:8443", **settings)
    address, root = await asked(connector(loaded, "saml", NOW), NOW, Assurance.SUBSTANTIAL)
    assert address == "https://localhost:8443/samlsso"
    (context,) = root.iter("{*}RequestedAuthnContext")
    assert context.get("Comparison") == "minimum"
    assert [each.text for each in context] == ["https://www.spid.gov.it/SpidL2"]


@pytest.mark.parametrize(("minimum", "word"), [(Assurance.LOW, "low"), (Assurance.HIGH, "high")])
async def test_a_node_is_asked_for_the_least_that_does(bench: Bench, minimum: Assurance, word: str) -> None:
    """France's is certified for high and substantial: it answers better than low, and may be asked for high."""
    name, now = "fr-proxy", IN_TIME["fr-proxy"]
    entity_id = f"{FR}/EidasNodeProxy/ServiceMetadata"
    loaded = upstream(bench, "eidas", octets(name), certificates(name), entity_id=entity_id, **NODE)
    _, root = await asked(connector(loaded, "eidas", now), now, minimum)
    (context,) = root.iter("{*}RequestedAuthnContext")
    assert (context.get("Comparison"), [each.text for each in context]) == ("minimum", [f"{LOA}/{word}"])
    assert root.get("ForceAuthn") == "true"


async def test_a_provider_of_another_federation(bench: Bench) -> None:
    """Nobody certified a member of SWAMID for the levels of Sweden Connect, so nobody is sent there for one."""
    now = IN_TIME["swamid-2014"]
    loaded = upstream(bench, "sweden-connect", octets("swamid-2014"), (), entity_id=NORDUNET)
    with pytest.raises(UpstreamRefused) as refused:
        await asked(connector(loaded, "sweden-connect", now), now, Assurance.SUBSTANTIAL)
    assert refused.value.code == "saml.no_context"


async def test_a_federation_at_its_address(bench: Bench) -> None:
    """Fetched, verified and kept entity by entity; used until its end, and no longer."""
    bench.put("wayf.pem", load_der_x509_certificate(certificates("wayf")[0]).public_bytes(Encoding.PEM))
    _, _, entity_id, _ = PROVIDERS["wayf"]
    with metadata_server({"/wayf.xml": octets("wayf")}) as port:
        source = {"url": f"http://127.0.0.1:{port}/wayf.xml", "certificates": ["wayf.pem"], "max_validity": "14d"}
        bench.text += f"\nsaml:\n  metadata:\n    wayf: {json.dumps(source)}\n"
        loaded = bench.load()
        fetchers, moments = MetadataFetchers.of(loaded), [IN_TIME["wayf"]]
        peers = build_peers(loaded, fetchers, lambda: moments[-1])
        assert await peers.provider("wayf", entity_id) == provider("wayf", entity_id)
        moments.append(NOW)
        with pytest.raises(UpstreamDown):
            await peers.provider("wayf", entity_id)
        await peers.stop()
        await fetchers.close()


async def test_nobody_is_sent_to_a_node_whose_metadata_is_over(bench: Bench) -> None:
    """check-config warns of it, and the login says that this way in does not work now."""
    loaded = upstream(
        bench, "eidas", octets("gr-proxy"), certificates("gr-proxy"), entity_id=f"{GR}/ServiceMetadata", **NODE
    )
    assert any("saml.metadata.sample.file" in each and "valid until" in each for each in loaded.warnings)
    with pytest.raises(UpstreamDown):
        await asked(connector(loaded, "eidas", NOW), NOW, Assurance.LOW)
