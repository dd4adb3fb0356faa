"""
Writing what an identity provider is asked: ``samlp:AuthnRequest`` (saml-core-2.0-os, section 3.4.1), with the extensions of
eIDAS nodes (eIDAS SAML Message Format 1.4, section 3) and of Sweden Connect (Principal Selection in SAML).

Reading them, on the other side, is `asked`.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from lxml import etree

from broker.core.assurance import Comparison
from broker.core.saml import POST, URI_NAMES, RequestedAttribute
from broker.wire.saml import xml
from broker.wire.saml.algorithms import Digest, Signature
from broker.wire.saml.keys import SigningKey
from broker.wire.saml.message import add, message
from broker.wire.saml.signature import sign
from broker.wire.saml.xml import SAML, SAMLP, Element

EIDAS = "http://eidas.europa.eu/saml-extensions"
PRINCIPAL = "http://id.swedenconnect.se/authn/1.0/principal-selection/ns"
ENTITY = "urn:oasis:names:tc:SAML:2.0:nameid-format:entity"


@dataclass(frozen=True, slots=True)
class ToAsk:
    """
    What is asked of an identity provider. None and empty leave the part out.

    Args:
        id: a fresh one, that the response has to name.
        issuer: our entityID; *issuer_qualifier* with it where a scheme wants ``NameQualifier`` and ``Format``.
        destination: the address of the provider it is sent to.
        issued_at: aware UTC.
        acs_url: where the response is to go; eIDAS nodes take it from our metadata instead.
        attribute_index: ``AttributeConsumingServiceIndex`` of our metadata.
        forces_login, is_passive: said when they are not None.
        name_id_format, may_create: of ``NameIDPolicy``.
        contexts, comparison: of ``RequestedAuthnContext``, URIs in our order of preference.
        provider_name: how people know us.
        sp_type: of eIDAS, here or in our metadata, never in both.
        attributes: of eIDAS, those asked for.
        principal: of Sweden Connect, who is expected: attribute names and values.
        providers: ``IDPList``, who alone may log her in; *requesters*: on whose behalf; *proxies*: ``ProxyCount``.
    """

    id: str
    issuer: str
    destination: str
    issued_at: datetime
    issuer_qualifier: str | None = None
    acs_url: str | None = None
    attribute_index: int | None = None
    forces_login: bool | None = None
    is_passive: bool | None = None
    name_id_format: str | None = None
    may_create: bool | None = None
    contexts: tuple[str, ...] = ()
    comparison: Comparison = Comparison.EXACT
    provider_name: str | None = None
    sp_type: Literal["public", "private"] | None = None
    attributes: tuple[RequestedAttribute, ...] = ()
    principal: tuple[tuple[str, str], ...] = ()
    providers: tuple[str, ...] = ()
    requesters: tuple[str, ...] = ()
    proxies: int | None = None


def build_authn_request(
    ask: ToAsk,
    *,
    key: SigningKey | None = None,
    algorithm: Signature | None = None,
    digest: Digest = Digest.SHA256,
) -> bytes:
    """
    The request, signed when there is a *key*: for POST. For Redirect it is the query that gets signed (`redirect.encode`).

    Raises: XmlRefused: signature_algorithm when it does not fit the key.
    """
    root = message("AuthnRequest", ask.id, ask.issuer, ask.issued_at, ask.destination, **_attributes(ask))
    if ask.issuer_qualifier is not None:
        root[0].set("NameQualifier", ask.issuer_qualifier)
        root[0].set("Format", ENTITY)
    _extensions(root, ask)
    _name_id_policy(root, ask)
    _contexts(root, ask)
    _scoping(root, ask)
    if key is not None:
        sign(root, key, algorithm=algorithm, digest=digest)
    return xml.serialized(root)


def _attributes(ask: ToAsk) -> dict[str, str]:
    said = {
        "ForceAuthn": _truth(ask.forces_login),
        "IsPassive": _truth(ask.is_passive),
        "ProviderName": ask.provider_name,
        "AssertionConsumerServiceURL": ask.acs_url,
        "ProtocolBinding": POST if ask.acs_url is not None else None,
        "AttributeConsumingServiceIndex": None if ask.attribute_index is None else str(ask.attribute_index),
    }
    return {name: value for name, value in said.items() if value is not None}


def _extensions(root: Element, ask: ToAsk) -> None:
    if not (ask.sp_type or ask.attributes or ask.principal):
        return
    place = add(root, SAMLP, "Extensions")
    if ask.sp_type is not None:
        _foreign(place, EIDAS, "eidas", "SPType").text = ask.sp_type
    if ask.attributes:
        wanted = _foreign(place, EIDAS, "eidas", "RequestedAttributes")
        for each in ask.attributes:
            _requested(wanted, each)
    if ask.principal:
        selection = _foreign(place, PRINCIPAL, "psc", "PrincipalSelection")
        for name, value in ask.principal:
            add(selection, PRINCIPAL, "MatchValue", value, Name=name)


def _foreign(parent: Element, namespace: str, prefix: str, local: str) -> Element:
    return etree.SubElement(parent, xml.name(namespace, local), nsmap={prefix: namespace})


def _requested(wanted: Element, attribute: RequestedAttribute) -> None:
    names = {"FriendlyName": attribute.friendly_name} if attribute.friendly_name else {}
    element = add(
        wanted,
        EIDAS,
        "RequestedAttribute",
        Name=attribute.name,
        NameFormat=attribute.name_format or URI_NAMES,
        isRequired="true" if attribute.is_required else "false",
        **names,
    )
    for value in attribute.values:
        add(element, EIDAS, "AttributeValue", value)


def _name_id_policy(root: Element, ask: ToAsk) -> None:
    if ask.name_id_format is None and ask.may_create is None:
        return
    policy = add(root, SAMLP, "NameIDPolicy")
    if ask.name_id_format is not None:
        policy.set("Format", ask.name_id_format)
    if ask.may_create is not None:
        policy.set("AllowCreate", "true" if ask.may_create else "false")


def _contexts(root: Element, ask: ToAsk) -> None:
    if not ask.contexts:
        return
    wanted = add(root, SAMLP, "RequestedAuthnContext", Comparison=ask.comparison)
    for context in ask.contexts:
        add(wanted, SAML, "AuthnContextClassRef", context)


def _scoping(root: Element, ask: ToAsk) -> None:
    if not (ask.providers or ask.requesters) and ask.proxies is None:
        return
    scoping = add(root, SAMLP, "Scoping")
    if ask.proxies is not None:
        scoping.set("ProxyCount", str(ask.proxies))
    if ask.providers:
        listed = add(scoping, SAMLP, "IDPList")
        for provider in ask.providers:
            add(listed, SAMLP, "IDPEntry", ProviderID=provider)
    for requester in ask.requesters:
        add(scoping, SAMLP, "RequesterID", requester)


def _truth(value: bool | None) -> str | None:
    return None if value is None else "true" if value else "false"
