"""
Writing what an identity provider is asked: ``samlp:AuthnRequest`` (saml-core-2.0-os, section 3.4.1), with the extensions of
eIDAS nodes (eIDAS SAML Message Format 1.4) and of Sweden Connect (Principal Selection in SAML Authentication Requests 1.0).
"""

from collections.abc import Mapping
from datetime import datetime

from lxml import etree
from msgspec import field

from broker.core.assurance import Comparison
from broker.core.discreet import Discreet
from broker.core.saml import POST, URI_NAMES, RequestedAttribute
from broker.wire.saml import xml
from broker.wire.saml.message import add, message
from broker.wire.saml.xml import SAML, SAMLP, Element

EIDAS = "http://eidas.europa.eu/saml-extensions"
PRINCIPAL = "http://id.swedenconnect.se/authn/1.0/principal-selection/ns"


class ToAsk(Discreet, frozen=True):
    """
    A request for a login. Times are aware UTC.

    ``acs``: where the answer is to be posted; None leaves it to our metadata. ``contexts``: AuthnContextClassRefs by
    ``comparison``, none to leave the choice to the provider. ``providers``: entityIDs it may pass the customer on to.
    ``requesters``: on whose behalf we ask. ``sp_type`` and ``attributes``: what eIDAS nodes are told. ``principal``: attributes
    of whom the login is expected to be, by name.
    """

    UNSPOKEN = frozenset({"principal"})

    id: str
    issuer: str
    destination: str
    issued_at: datetime
    acs: str | None = None
    forces_login: bool = False
    name_id_format: str | None = None
    contexts: tuple[str, ...] = ()
    comparison: Comparison = Comparison.EXACT
    providers: tuple[str, ...] = ()
    requesters: tuple[str, ...] = ()
    provider_name: str | None = None
    sp_type: str | None = None
    attributes: tuple[RequestedAttribute, ...] = ()
    principal: Mapping[str, str] = field(default_factory=dict)


def build_request(asked: ToAsk) -> bytes:
    """The request as XML, not signed: the Redirect binding signs the query (`broker.wire.saml.redirect.encode`)."""
    root = message("AuthnRequest", asked.id, asked.issuer, asked.issued_at, asked.destination)
    # Both are said although they are defaults: national schemes demand them in so many words.
    root.set("ForceAuthn", "true" if asked.forces_login else "false")
    root.set("IsPassive", "false")
    if asked.acs is not None:
        root.set("AssertionConsumerServiceURL", asked.acs)
        root.set("ProtocolBinding", POST)
    if asked.provider_name is not None:
        root.set("ProviderName", asked.provider_name)
    _extensions(root, asked)
    if asked.name_id_format is not None:
        add(root, SAMLP, "NameIDPolicy", Format=asked.name_id_format, AllowCreate="true")
    if asked.contexts:
        wanted = add(root, SAMLP, "RequestedAuthnContext", Comparison=asked.comparison.value)
        for each in asked.contexts:
            add(wanted, SAML, "AuthnContextClassRef", each)
    _scoping(root, asked)
    return xml.canonical(root)


def _extensions(root: Element, asked: ToAsk) -> None:
    if not (asked.sp_type or asked.attributes or asked.principal):
        return
    extensions = add(root, SAMLP, "Extensions")
    if asked.sp_type is not None:
        _own(extensions, EIDAS, "eidas", "SPType").text = asked.sp_type
    if asked.attributes:
        wanted = _own(extensions, EIDAS, "eidas", "RequestedAttributes")
        for each in asked.attributes:
            said = add(wanted, EIDAS, "RequestedAttribute", Name=each.name, NameFormat=each.name_format or URI_NAMES)
            if each.friendly_name is not None:
                said.set("FriendlyName", each.friendly_name)
            said.set("isRequired", "true" if each.is_required else "false")
            for value in each.values:
                add(said, EIDAS, "AttributeValue", value)
    if asked.principal:
        selection = _own(extensions, PRINCIPAL, "psc", "PrincipalSelection")
        for name, value in asked.principal.items():
            add(selection, PRINCIPAL, "MatchValue", value, Name=name)


def _scoping(root: Element, asked: ToAsk) -> None:
    if not (asked.providers or asked.requesters):
        return
    scoping = add(root, SAMLP, "Scoping")
    if asked.providers:
        listed = add(scoping, SAMLP, "IDPList")
        for each in asked.providers:
            add(listed, SAMLP, "IDPEntry", ProviderID=each)
    for each in asked.requesters:
        add(scoping, SAMLP, "RequesterID", each)


def _own(parent: Element, namespace: str, prefix: str, local: str) -> Element:
    """A new last child of *parent* that declares its own *prefix*."""
    return etree.SubElement(parent, xml.name(namespace, local), nsmap={prefix: namespace})
