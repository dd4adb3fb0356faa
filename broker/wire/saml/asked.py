"""
Reading what a service provider asks: ``samlp:AuthnRequest`` (saml-core-2.0-os, section 3.4.1).
"""

from datetime import datetime

from msgspec import Struct

from broker.core.assurance import Comparison
from broker.wire.saml import xml
from broker.wire.saml.message import Head, no_more_than, read_head, text_of, whole_number
from broker.wire.saml.refused import XmlRefused
from broker.wire.saml.xml import SAML, SAMLP, Element

_MAX_CONTEXTS = 20
_MAX_TEXT = 1024


class AuthnRequest(Struct, frozen=True):
    """
    A request as it was sent. ``acs_url`` and ``acs_index``: which consumer it names, None for the default one.
    ``attribute_set``: the index of the attributes it asks for, None for those it asks for usually. ``may_create``:
    what ``AllowCreate`` says, None when it says nothing. ``requesters``: on whose behalf. ``providers``: who alone may log the
    customer in, where it names somebody. ``proxies``: how many more parties may take part, None for any number.

    ``Conditions`` are wishes for the assertion, which a provider may leave aside (section 3.4.1): ours are our own.
    """

    head: Head
    acs_url: str | None
    acs_index: int | None
    attribute_set: int | None
    binding: str | None
    forces_login: bool
    is_passive: bool
    name_id_format: str | None
    name_qualifier: str | None
    may_create: bool | None
    contexts: tuple[str, ...]
    declarations: tuple[str, ...]
    comparison: Comparison
    names_subject: bool
    providers: tuple[str, ...]
    proxies: int | None

    @property
    def issued_at(self) -> datetime:
        """When it was made, aware UTC."""
        return self.head.issued_at


def read_authn_request(root: Element) -> AuthnRequest:
    """
    What *root* says, which follows the schema; read from octets that were verified where it is signed.

    Raises: XmlRefused: wrong_element, message_head, too_large.
    """
    head = read_head(root, "AuthnRequest")
    policy = root.find(xml.name(SAMLP, "NameIDPolicy"))
    wanted = root.find(xml.name(SAMLP, "RequestedAuthnContext"))
    scoping = root.find(xml.name(SAMLP, "Scoping"))
    return AuthnRequest(
        head=head,
        acs_url=root.get("AssertionConsumerServiceURL"),
        acs_index=whole_number(root.get("AssertionConsumerServiceIndex")),
        attribute_set=whole_number(root.get("AttributeConsumingServiceIndex")),
        binding=root.get("ProtocolBinding"),
        forces_login=_is_true(root.get("ForceAuthn")),
        is_passive=_is_true(root.get("IsPassive")),
        name_id_format=policy.get("Format") if policy is not None else None,
        name_qualifier=policy.get("SPNameQualifier") if policy is not None else None,
        may_create=_is_true(policy.get("AllowCreate"))
        if policy is not None and "AllowCreate" in policy.attrib
        else None,
        contexts=_texts(wanted, SAML, "AuthnContextClassRef"),
        declarations=_texts(wanted, SAML, "AuthnContextDeclRef"),
        comparison=Comparison(wanted.get("Comparison", "exact") if wanted is not None else "exact"),
        names_subject=root.find(xml.name(SAML, "Subject")) is not None,
        providers=_providers(scoping),
        proxies=whole_number(scoping.get("ProxyCount")) if scoping is not None else None,
    )


def _texts(parent: Element | None, namespace: str, local: str) -> tuple[str, ...]:
    if parent is None:
        return ()
    found = no_more_than(_MAX_CONTEXTS, parent.findall(xml.name(namespace, local)))
    return tuple(text_of(each, _MAX_TEXT) for each in found)


def _providers(scoping: Element | None) -> tuple[str, ...]:
    if scoping is None:
        return ()
    entries = scoping.findall(f"{xml.name(SAMLP, 'IDPList')}/{xml.name(SAMLP, 'IDPEntry')}")
    return tuple(each.get("ProviderID", "") for each in no_more_than(_MAX_CONTEXTS, entries))


def _is_true(text: str | None) -> bool:
    return text is not None and text.strip() in ("true", "1")


def unverified_issuer(root: Element) -> str:
    """
    Who *root* says it is from, before anything is verified: only for looking up by whose keys to verify it.

    Raises: XmlRefused: message_head.
    """
    issuer = root.find(xml.name(SAML, "Issuer"))
    if issuer is None:
        raise XmlRefused("message_head", "no Issuer")
    return text_of(issuer, 256)
