"""
SAML metadata of one entity: an ``EntityDescriptor`` read into frozen values, and our own written and signed.

Reading is generous with what is missing and strict with what would be used: an endpoint that is no web address, a key that
is too weak and a scope that is a pattern are left out as if they were not there. Whether to believe the document is not
decided here (`aggregate.read`).

saml-metadata-2.0-os; its extensions for texts and logos (sstc-saml-metadata-ui-v1.0), algorithms (-algsupport-v1.0),
registration (saml-metadata-rpi-v1.0) and entity attributes (sstc-metadata-attr-cs-01); MetaIOP 1.0 for keys; SAML subject
identifier attributes 1.0, section 4; eIDAS Message Format 1.4, section 2; Shibboleth's Scope.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, Literal
from urllib.parse import urlsplit

from lxml import etree
from msgspec import Struct, field

from broker.core.policy import LANGUAGES, is_loopback
from broker.core.saml import (
    URI_NAMES,
    Endpoint,
    PeerKey,
    RequestedAttribute,
    SamlEntity,
    SamlProvider,
    SamlService,
)
from broker.wire.saml import xml
from broker.wire.saml.algorithms import Digest, Signature
from broker.wire.saml.keys import SigningKey, verifying_key
from broker.wire.saml.refused import XmlRefused
from broker.wire.saml.signature import sign
from broker.wire.saml.xml import DS, MD, SAML, SAMLP, Element

MEDIA_TYPE: Final = "application/samlmetadata+xml"

MDUI: Final = "urn:oasis:names:tc:SAML:metadata:ui"
ALG: Final = "urn:oasis:names:tc:SAML:metadata:algsupport"
MDATTR: Final = "urn:oasis:names:tc:SAML:metadata:attribute"
MDRPI: Final = "urn:oasis:names:tc:SAML:metadata:rpi"
SHIBMD: Final = "urn:mace:shibboleth:metadata:1.0"
EIDAS: Final = "http://eidas.europa.eu/saml-extensions"
PSC: Final = "http://id.swedenconnect.se/authn/1.0/principal-selection/ns"
XML: Final = "http://www.w3.org/XML/1998/namespace"

SUBJECT_ID_REQ: Final = "urn:oasis:names:tc:SAML:profiles:subject-id:req"
ASSURANCE_CERTIFICATION: Final = "urn:oasis:names:tc:SAML:attribute:assurance-certification"
ENTITY_CATEGORY: Final = "http://macedir.org/entity-category"

_PREFIXES: Final = {
    "md": MD,
    "ds": DS,
    "saml": SAML,
    "mdui": MDUI,
    "alg": ALG,
    "mdattr": MDATTR,
    "mdrpi": MDRPI,
    "shibmd": SHIBMD,
    "eidas": EIDAS,
    "psc": PSC,
}
_MAX_URL: Final = 2048
_MAX_TEXT: Final = 256
_DURATION: Final = re.compile(
    r"P(?:(\d{1,4})Y)?(?:(\d{1,4})M)?(?:(\d{1,5})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,7})M)?(?:(\d{1,9})(?:\.\d+)?S)?)?",
    re.ASCII,
)
_DURATION_S: Final = (365 * 86400, 30 * 86400, 86400, 3600, 60, 1)


# Reading


def read_entity(entity: Element, *, until: datetime | None = None) -> SamlEntity:
    """
    What *entity*, an ``md:EntityDescriptor``, says.

    Args:
        until: validUntil of whatever surrounds it; the earliest counts.
    Raises: XmlRefused: wrong_element for anything else or one without a name, metadata_time.
    """
    entity_id = entity.get("entityID", "")
    if entity.tag != _name("md:EntityDescriptor") or not 0 < len(entity_id) <= 1024:
        raise XmlRefused("wrong_element", "not an EntityDescriptor with an entityID")
    until = _earliest(until, valid_until(entity))
    attributes = _entity_attributes(entity)
    service, provider = _role(entity, "md:SPSSODescriptor"), _role(entity, "md:IDPSSODescriptor")
    return SamlEntity(
        entity_id,
        None if service is None else _service(entity_id, entity, service, attributes, until),
        None if provider is None else _provider(entity_id, entity, provider, attributes, until),
        until,
        cache_duration(entity),
        _registrar(entity),
    )


def valid_until(element: Element) -> datetime | None:
    """Its ``validUntil`` (UTC, as all times of SAML are); None when it has none. Raises: XmlRefused: metadata_time."""
    text = element.get("validUntil")
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text.strip())
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise XmlRefused("metadata_time", "validUntil is not a time") from None


def cache_duration(element: Element) -> timedelta | None:
    """Its ``cacheDuration`` (xs:duration; months of 30 days); None when it has none, or none that makes sense."""
    found = _DURATION.fullmatch(element.get("cacheDuration", "").strip())
    seconds = sum(int(part or 0) * unit for part, unit in zip(found.groups(), _DURATION_S, strict=True)) if found else 0
    return timedelta(seconds=seconds) if seconds else None


def _service(
    entity_id: str, entity: Element, role: Element, attributes: Mapping[str, tuple[str, ...]], until: datetime | None
) -> SamlService:
    return SamlService(
        entity_id=entity_id,
        acs=_endpoints(role, "md:AssertionConsumerService"),
        slo=_endpoints(role, "md:SingleLogoutService"),
        keys=_keys(role),
        authn_requests_signed=_is_true(role.get("AuthnRequestsSigned")),
        wants_assertions_signed=_is_true(role.get("WantAssertionsSigned")),
        requested_attributes=_requested_attributes(role),
        attribute_sets=_attribute_sets(role),
        name_id_formats=_texts(role, "md:NameIDFormat"),
        subject_id_req=next(iter(attributes.get(SUBJECT_ID_REQ, ())), None),
        names=_names(entity, role),
        logo=_logo(role),
        entity_categories=attributes.get(ENTITY_CATEGORY, ()),
        signing_methods=_methods(entity, role, "alg:SigningMethod"),
        digest_methods=_methods(entity, role, "alg:DigestMethod"),
        valid_until=_earliest(until, valid_until(role)),
    )


def _provider(
    entity_id: str, entity: Element, role: Element, attributes: Mapping[str, tuple[str, ...]], until: datetime | None
) -> SamlProvider:
    return SamlProvider(
        entity_id=entity_id,
        sso=_endpoints(role, "md:SingleSignOnService"),
        slo=_endpoints(role, "md:SingleLogoutService"),
        keys=_keys(role),
        want_authn_requests_signed=_is_true(role.get("WantAuthnRequestsSigned")),
        name_id_formats=_texts(role, "md:NameIDFormat"),
        loa_certification=attributes.get(ASSURANCE_CERTIFICATION, ()),
        node_country=next(iter(_texts(role, "md:Extensions/eidas:NodeCountry")), None),
        names=_names(entity, role),
        logo=_logo(role),
        entity_categories=attributes.get(ENTITY_CATEGORY, ()),
        scopes=_scopes(entity, role),
        principal_attributes=_principal_attributes(role),
        signing_methods=_methods(entity, role, "alg:SigningMethod"),
        digest_methods=_methods(entity, role, "alg:DigestMethod"),
        valid_until=_earliest(until, valid_until(role)),
    )


def _principal_attributes(role: Element) -> tuple[str, ...]:
    """Principal Selection in SAML Authentication Requests 1.0, section 2.2."""
    found = _all(role, "md:Extensions/psc:RequestedPrincipalSelection/psc:MatchValue")
    return tuple(each.get("Name", "") for each in found)


def _role(entity: Element, path: str) -> Element | None:
    """The first role of its kind that speaks SAML 2.0 (saml-metadata-2.0-os, section 2.4.1)."""
    return next(
        (each for each in _all(entity, path) if SAMLP in each.get("protocolSupportEnumeration", "").split()), None
    )


def _endpoints(role: Element, path: str) -> tuple[Endpoint, ...]:
    return tuple(
        Endpoint(
            binding=each.get("Binding", ""),
            location=each.get("Location", ""),
            index=_index(each.get("index")),
            is_default=_is_true(each.get("isDefault")) if "isDefault" in each.attrib else None,
            response_location=each.get("ResponseLocation"),
        )
        for each in _all(role, path)
        if all(
            _is_web(each.get(name))
            for name in ("Location", "ResponseLocation")
            if each.get(name, "") or name == "Location"
        )
    )


def _is_web(address: str | None) -> bool:
    """security: customers and their data are sent there, and it stands in pages: https, or this very machine."""
    if not address or len(address) > _MAX_URL or re.search(r"[^\x21-\x7e]|[\"'<>\\]", address):
        return False
    try:
        parts = urlsplit(address)
        # A port that is no number is told only when it is looked at.
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    is_secure = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(address))
    is_host = re.fullmatch(r"[a-z0-9._-]+|[0-9a-f:.]+", host) is not None
    return is_secure and is_host and parts.username is None and not parts.fragment


def _index(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"[0-9]{1,5}", text) else None


def _keys(role: Element) -> tuple[PeerKey, ...]:
    """A descriptor without ``use`` is for both (saml-metadata-2.0-os, section 2.4.1.1)."""
    uses: Mapping[str, Literal["signing", "encryption", "both"]] = {"signing": "signing", "encryption": "encryption"}
    return tuple(
        PeerKey(certificate, uses.get(each.get("use", ""), "both"), _algorithms(each, "md:EncryptionMethod"))
        for each in _all(role, "md:KeyDescriptor")
        if each.get("use") in (None, "signing", "encryption") and (certificate := _certificate(each)) is not None
    )


def _certificate(descriptor: Element) -> bytes | None:
    """Its first certificate; what stands beside it is another form of the same key (MetaIOP 1.0, section 2.6.1)."""
    for text in _texts(descriptor, "ds:KeyInfo/ds:X509Data/ds:X509Certificate")[:1]:
        try:
            der = base64.b64decode("".join(text.split()), validate=True)
            verifying_key(der)
        except (binascii.Error, ValueError, XmlRefused):
            return None
        return der
    return None


def _requested_attributes(role: Element) -> tuple[RequestedAttribute, ...]:
    """Of the default attribute consuming service, else of the one with the lowest index (section 2.4.4.2)."""
    services = _all(role, "md:AttributeConsumingService")
    chosen = [each for each in services if _is_true(each.get("isDefault"))] or services
    return _attributes_of(min(chosen, key=lambda one: _index(one.get("index")) or 0)) if chosen else ()


def _attribute_sets(role: Element) -> dict[int, tuple[RequestedAttribute, ...]]:
    """
    By their indexes; of several with one index the first counts.

    security: one that names nothing is none (section 2.4.4.1 demands an attribute): asking for nothing is not asking for all.
    """
    found: dict[int, tuple[RequestedAttribute, ...]] = {}
    for each in _all(role, "md:AttributeConsumingService"):
        if (index := _index(each.get("index"))) is not None and (named := _attributes_of(each)):
            found.setdefault(index, named)
    return found


def _attributes_of(consuming: Element) -> tuple[RequestedAttribute, ...]:
    return tuple(
        RequestedAttribute(
            name=each.get("Name", ""),
            name_format=each.get("NameFormat"),
            friendly_name=each.get("FriendlyName"),
            is_required=_is_true(each.get("isRequired")),
            values=_texts(each, "saml:AttributeValue"),
        )
        for each in _all(consuming, "md:RequestedAttribute")
        if each.get("Name")
    )


def _registrar(entity: Element) -> str | None:
    return next(
        (each.get("registrationAuthority") for each in _all(entity, "md:Extensions/mdrpi:RegistrationInfo")), None
    )


def _entity_attributes(entity: Element) -> Mapping[str, tuple[str, ...]]:
    """Values by name; several attributes of one name count as one."""
    found: dict[str, tuple[str, ...]] = {}
    for each in _all(entity, "md:Extensions/mdattr:EntityAttributes/saml:Attribute"):
        name = each.get("Name", "")
        found[name] = found.get(name, ()) + _texts(each, "saml:AttributeValue")
    return found


def _names(entity: Element, role: Element) -> Mapping[str, str]:
    """In the languages of our pages: as the role is called, else the organization."""
    own = _by_language(_all(role, "md:Extensions/mdui:UIInfo/mdui:DisplayName"))
    return own or _by_language(_all(entity, "md:Organization/md:OrganizationDisplayName"))


def _by_language(elements: Iterable[Element]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for each in elements:
        language = each.get(f"{{{XML}}}lang", "").partition("-")[0].lower()
        if language in LANGUAGES and (text := _text(each)) and len(text) <= _MAX_TEXT and text.isprintable():
            found.setdefault(language, text)
    return found


def _logo(role: Element) -> str | None:
    return next((each for each in _texts(role, "md:Extensions/mdui:UIInfo/mdui:Logo") if _is_web(each)), None)


def _scopes(entity: Element, role: Element) -> tuple[str, ...]:
    """Those that are a name: patterns are not followed (saml2int SDP-IDP14)."""
    found = [*_all(role, "md:Extensions/shibmd:Scope"), *_all(entity, "md:Extensions/shibmd:Scope")]
    return tuple(dict.fromkeys(_text(each).lower() for each in found if not _is_true(each.get("regexp"))))


def _methods(entity: Element, role: Element, path: str) -> tuple[str, ...]:
    """What the role says goes before what the entity says (sstc-saml-metadata-algsupport-v1.0, section 2.3)."""
    return _algorithms(role, f"md:Extensions/{path}") or _algorithms(entity, f"md:Extensions/{path}")


def _algorithms(element: Element, path: str) -> tuple[str, ...]:
    return tuple(each.get("Algorithm") for each in _all(element, path) if each.get("Algorithm"))


def _all(element: Element, path: str) -> list[Element]:
    found: list[Element] = element.findall(path, _PREFIXES)
    return found


def _texts(element: Element, path: str) -> tuple[str, ...]:
    return tuple(text for each in _all(element, path) if (text := _text(each)))


def _text(element: Element) -> str:
    return " ".join((element.text or "").split())


def _is_true(text: str | None) -> bool:
    return text is not None and text.strip() in ("true", "1")


def _earliest(*times: datetime | None) -> datetime | None:
    return min((each for each in times if each is not None), default=None)


def _name(prefixed: str) -> str:
    prefix, _, local = prefixed.partition(":")
    return xml.name(_PREFIXES[prefix], local)


# Writing


class Logo(Struct, frozen=True):
    """Where a picture is, and its size in pixels."""

    url: str
    width: int
    height: int


class Described(Struct, frozen=True):
    """
    What we say of ourselves, whichever role.

    ``keys``: all that peers shall know, also those that sign later: a new one is published beside the old for longer than
    copies are kept, and only then signs (saml2int SDP-MD04). ``names``, ``descriptions``, ``privacy``: by language.
    ``contact``: mail address of the technical contact. ``organization``: its address on the web, under our names.
    ``signing_methods``, ``digest_methods``: what we can verify.
    """

    entity_id: str
    keys: tuple[PeerKey, ...]
    valid_until: datetime
    cache_duration: timedelta
    names: Mapping[str, str]
    descriptions: Mapping[str, str] = field(default_factory=dict)
    privacy: Mapping[str, str] = field(default_factory=dict)
    logo: Logo | None = None
    contact: str | None = None
    organization: str | None = None
    slo: tuple[Endpoint, ...] = ()
    name_id_formats: tuple[str, ...] = ()
    entity_attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    signing_methods: tuple[str, ...] = tuple(Signature)
    digest_methods: tuple[str, ...] = tuple(Digest)


class ProviderRole(Struct, frozen=True):
    """What an identity provider says besides; ``attributes``: names of what it may tell, by friendly name."""

    sso: tuple[Endpoint, ...]
    scopes: tuple[str, ...] = ()
    error_url: str | None = None
    want_authn_requests_signed: bool = False
    attributes: Mapping[str, str] = field(default_factory=dict)


class ServiceRole(Struct, frozen=True):
    """What a service provider says besides; ``sp_type``: public or private, where an eIDAS node wants it here."""

    acs: tuple[Endpoint, ...]
    requested_attributes: tuple[RequestedAttribute, ...] = ()
    authn_requests_signed: bool = True
    wants_assertions_signed: bool = False
    sp_type: Literal["public", "private"] | None = None


def write(
    about: Described, role: ProviderRole | ServiceRole, key: SigningKey, *, algorithm: Signature | None = None
) -> bytes:
    """
    Our own metadata in one role, signed by *key*: the same octets for the same values where the algorithm allows it.

    Its ID is a digest of what it says, so that every process that says the same gives the same.
    """
    entity = etree.Element(_name("md:EntityDescriptor"), nsmap=dict(_PREFIXES))
    entity.set("entityID", about.entity_id)
    entity.set("validUntil", f"{about.valid_until.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}")
    entity.set("cacheDuration", f"PT{int(about.cache_duration.total_seconds())}S")
    _write_extensions(entity, about, role)
    if isinstance(role, ProviderRole):
        _write_provider(entity, about, role)
    else:
        _write_service(entity, about, role)
    _write_people(entity, about)
    etree.cleanup_namespaces(entity, keep_ns_prefixes=["md"])
    entity.set("ID", "_" + hashlib.sha256(xml.canonical(entity)).hexdigest()[:40])
    sign(entity, key, algorithm=algorithm)
    return xml.serialized(entity)


def _write_extensions(entity: Element, about: Described, role: ProviderRole | ServiceRole) -> None:
    extensions = _add(entity, "md:Extensions")
    if isinstance(role, ServiceRole) and role.sp_type is not None:
        _add(extensions, "eidas:SPType", role.sp_type)
    if about.entity_attributes:
        attributes = _add(extensions, "mdattr:EntityAttributes")
        for name, values in about.entity_attributes.items():
            attribute = _add(attributes, "saml:Attribute", Name=name, NameFormat=URI_NAMES)
            for value in values:
                _add(attribute, "saml:AttributeValue", value)
    for method in about.digest_methods:
        _add(extensions, "alg:DigestMethod", Algorithm=method)
    for method in about.signing_methods:
        _add(extensions, "alg:SigningMethod", Algorithm=method)
    if not len(extensions):
        entity.remove(extensions)


def _write_provider(entity: Element, about: Described, role: ProviderRole) -> None:
    element = _add(entity, "md:IDPSSODescriptor", WantAuthnRequestsSigned=_said(role.want_authn_requests_signed))
    if role.error_url is not None:
        element.set("errorURL", role.error_url)
    _write_role(element, about, role.scopes)
    for endpoint in role.sso:
        _write_endpoint(element, "md:SingleSignOnService", endpoint)
    for friendly, name in role.attributes.items():
        _add(element, "saml:Attribute", Name=name, NameFormat=URI_NAMES, FriendlyName=friendly)


def _write_service(entity: Element, about: Described, role: ServiceRole) -> None:
    element = _add(
        entity,
        "md:SPSSODescriptor",
        AuthnRequestsSigned=_said(role.authn_requests_signed),
        WantAssertionsSigned=_said(role.wants_assertions_signed),
    )
    _write_role(element, about, ())
    for index, endpoint in enumerate(role.acs, 1):
        place = _write_endpoint(element, "md:AssertionConsumerService", endpoint)
        place.set("index", str(index if endpoint.index is None else endpoint.index))
        if endpoint.is_default:
            place.set("isDefault", "true")
    if role.requested_attributes:
        consuming = _add(element, "md:AttributeConsumingService", index="1", isDefault="true")
        _write_texts(consuming, "md:ServiceName", about.names)
        for wanted in role.requested_attributes:
            _write_wanted(consuming, wanted)


def _write_role(element: Element, about: Described, scopes: tuple[str, ...]) -> None:
    element.set("protocolSupportEnumeration", SAMLP)
    extensions = _add(element, "md:Extensions")
    for scope in scopes:
        _add(extensions, "shibmd:Scope", scope, regexp="false")
    texts = _add(extensions, "mdui:UIInfo")
    _write_texts(texts, "mdui:DisplayName", about.names)
    _write_texts(texts, "mdui:Description", about.descriptions)
    if about.logo is not None:
        _add(texts, "mdui:Logo", about.logo.url, width=str(about.logo.width), height=str(about.logo.height))
    _write_texts(texts, "mdui:PrivacyStatementURL", about.privacy)
    for key in about.keys:
        _write_key(element, key)
    for endpoint in about.slo:
        _write_endpoint(element, "md:SingleLogoutService", endpoint)
    for name_id_format in about.name_id_formats:
        _add(element, "md:NameIDFormat", name_id_format)


def _write_key(role: Element, key: PeerKey) -> None:
    descriptor = _add(role, "md:KeyDescriptor")
    if key.use != "both":
        descriptor.set("use", key.use)
    data = _add(_add(descriptor, "ds:KeyInfo"), "ds:X509Data")
    _add(data, "ds:X509Certificate", base64.b64encode(key.certificate).decode())
    for method in key.encryption_methods:
        _add(descriptor, "md:EncryptionMethod", Algorithm=method)


def _write_endpoint(role: Element, name: str, endpoint: Endpoint) -> Element:
    element = _add(role, name, Binding=endpoint.binding, Location=endpoint.location)
    if endpoint.response_location is not None:
        element.set("ResponseLocation", endpoint.response_location)
    return element


def _write_wanted(consuming: Element, wanted: RequestedAttribute) -> None:
    element = _add(
        consuming,
        "md:RequestedAttribute",
        Name=wanted.name,
        NameFormat=wanted.name_format or URI_NAMES,
        isRequired=_said(wanted.is_required),
    )
    if wanted.friendly_name is not None:
        element.set("FriendlyName", wanted.friendly_name)
    for value in wanted.values:
        _add(element, "saml:AttributeValue", value)


def _write_people(entity: Element, about: Described) -> None:
    if about.organization is not None:
        organization = _add(entity, "md:Organization")
        _write_texts(organization, "md:OrganizationName", about.names)
        _write_texts(organization, "md:OrganizationDisplayName", about.names)
        _write_texts(organization, "md:OrganizationURL", dict.fromkeys(about.names, about.organization))
    if about.contact is not None:
        person = _add(entity, "md:ContactPerson", contactType="technical")
        _add(person, "md:EmailAddress", f"mailto:{about.contact}")


def _write_texts(parent: Element, name: str, texts: Mapping[str, str]) -> None:
    for language, text in texts.items():
        _add(parent, name, text).set(f"{{{XML}}}lang", language)


def _add(parent: Element, name: str, text: str | None = None, **attributes: str) -> Element:
    element = etree.SubElement(parent, _name(name), attributes)
    element.text = text
    return element


def _said(truth: bool) -> str:
    return "true" if truth else "false"
