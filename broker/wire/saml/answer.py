"""
Writing what a service provider is answered: ``samlp:Response``, signed, with one assertion, or with none and the reason.

saml-core-2.0-os, sections 2.3 to 2.7 and 3.3.3; saml-profiles-2.0-os, section 4.1.4; saml2int SDP-IDP08 to 11 and 18 to 20.
"""

from collections.abc import Mapping
from datetime import datetime

from lxml import etree
from msgspec import Struct, field

from broker.core.saml import URI_NAMES
from broker.wire.saml import xml
from broker.wire.saml.algorithms import Digest, Signature
from broker.wire.saml.encryption import Recipient, encrypt_element
from broker.wire.saml.keys import SigningKey
from broker.wire.saml.message import add, message, said, writable
from broker.wire.saml.signature import sign
from broker.wire.saml.xml import SAML, SAMLP, Element

BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
STATUS = "urn:oasis:names:tc:SAML:2.0:status:"
BASIC_NAMES = "urn:oasis:names:tc:SAML:2.0:attrname-format:basic"

_NAMES = {"saml": SAML}


class Status(Struct, frozen=True):
    """Top-level and second-level status (saml-core-2.0-os, section 3.2.2.2), without their common beginning."""

    code: str
    second: str | None = None
    message: str | None = None


SUCCESS = Status("Success")


class Envelope(Struct, frozen=True):
    """What a response is sent in. ``in_response_to``: None for one that nobody asked for. ``issued_at``: aware UTC."""

    id: str
    issuer: str
    destination: str
    issued_at: datetime
    in_response_to: str | None


class NameId(Struct, frozen=True):
    """The customer's name in an assertion. ``qualifier``: for whom it is made; None where it is no name of ours."""

    value: str
    format: str
    qualifier: str | None = None


class Attribute(Struct, frozen=True):
    """``is_uri``: whether its name is a URI. ``values``: one element each."""

    name: str
    values: tuple[str, ...]
    friendly: str | None = None
    is_uri: bool = True


class ToAssert(Struct, frozen=True):
    """
    What is asserted, all times aware UTC. ``audience``: the entityID it is for. ``authorities``: who else took part in the
    login, by entityID.
    """

    id: str
    name_id: NameId
    audience: str
    authenticated_at: datetime
    valid_from: datetime
    valid_until: datetime
    session_index: str
    session_until: datetime
    context: str
    attributes: tuple[Attribute, ...] = ()
    authorities: tuple[str, ...] = ()


class Protection(Struct, frozen=True):
    """
    How a response is protected. ``to``: whom the assertion is encrypted to; None for nobody. ``signs_assertion``: besides the
    response, which is signed in any case.
    """

    key: SigningKey
    to: Recipient | None
    signs_assertion: bool = False
    algorithm: Signature | None = None
    digest: Digest = field(default=Digest.SHA256)


def success(envelope: Envelope, content: ToAssert, protection: Protection) -> bytes:
    """
    The response that says who logged in.

    Raises: XmlRefused: signature_algorithm when it does not fit the key.
    """
    root = _response(envelope, SUCCESS)
    assertion = _assertion(envelope, content)
    if protection.signs_assertion:
        sign(assertion, protection.key, algorithm=protection.algorithm, digest=protection.digest)
    root.append(assertion if protection.to is None else encrypt_element(assertion, protection.to))
    return _signed(root, protection)


def failure(envelope: Envelope, status: Status, protection: Protection) -> bytes:
    """The response that says why nobody is asserted."""
    return _signed(_response(envelope, status), protection)


def _signed(root: Element, protection: Protection) -> bytes:
    sign(root, protection.key, algorithm=protection.algorithm, digest=protection.digest)
    return xml.serialized(root)


def _response(envelope: Envelope, status: Status) -> Element:
    asked = {"InResponseTo": envelope.in_response_to} if envelope.in_response_to is not None else {}
    root = message("Response", envelope.id, envelope.issuer, envelope.issued_at, envelope.destination, **asked)
    add_status(root, status)
    return root


def add_status(root: Element, status: Status) -> None:
    """``samlp:Status`` as the last child of *root*."""
    place = add(root, SAMLP, "Status")
    top = add(place, SAMLP, "StatusCode", Value=f"{STATUS}{status.code}")
    if status.second is not None:
        add(top, SAMLP, "StatusCode", Value=f"{STATUS}{status.second}")
    if status.message is not None:
        add(place, SAMLP, "StatusMessage", status.message)


def _assertion(envelope: Envelope, content: ToAssert) -> Element:
    root = _element("Assertion", ID=content.id, Version="2.0", IssueInstant=said(envelope.issued_at))
    add(root, SAML, "Issuer", envelope.issuer)
    _subject(root, envelope, content)
    conditions = add(
        root, SAML, "Conditions", NotBefore=said(content.valid_from), NotOnOrAfter=said(content.valid_until)
    )
    add(add(conditions, SAML, "AudienceRestriction"), SAML, "Audience", content.audience)
    _statement(root, content)
    if content.attributes:
        _attributes(add(root, SAML, "AttributeStatement"), content.attributes)
    return root


def _element(local: str, **attributes: str) -> Element:
    """A new root: what is encrypted stands for itself, and so declares its own namespaces."""
    return etree.Element(xml.name(SAML, local), attributes, nsmap=_NAMES)


def _subject(root: Element, envelope: Envelope, content: ToAssert) -> None:
    subject = add(root, SAML, "Subject")
    subject.append(name_id_element(content.name_id, envelope.issuer))
    confirmation = add(subject, SAML, "SubjectConfirmation", Method=BEARER)
    data = add(
        confirmation,
        SAML,
        "SubjectConfirmationData",
        NotOnOrAfter=said(content.valid_until),
        Recipient=envelope.destination,
    )
    if envelope.in_response_to is not None:
        data.set("InResponseTo", envelope.in_response_to)


def name_id_element(name_id: NameId, issuer: str) -> Element:
    """``saml:NameID``; one of ours says for whom and by whom it is (saml-core-2.0-os, sections 8.3.7 and 8.3.8)."""
    element = _element("NameID", Format=name_id.format)
    if name_id.qualifier is not None:
        element.set("NameQualifier", issuer)
        element.set("SPNameQualifier", name_id.qualifier)
    element.text = writable(name_id.value)
    return element


def _statement(root: Element, content: ToAssert) -> None:
    statement = add(
        root,
        SAML,
        "AuthnStatement",
        AuthnInstant=said(content.authenticated_at),
        SessionIndex=content.session_index,
        SessionNotOnOrAfter=said(content.session_until),
    )
    context = add(statement, SAML, "AuthnContext")
    add(context, SAML, "AuthnContextClassRef", content.context)
    for authority in content.authorities:
        add(context, SAML, "AuthenticatingAuthority", authority)


def _attributes(statement: Element, attributes: tuple[Attribute, ...]) -> None:
    for each in attributes:
        names: Mapping[str, str] = {"FriendlyName": each.friendly} if each.friendly and each.is_uri else {}
        format_ = URI_NAMES if each.is_uri else BASIC_NAMES
        element = add(statement, SAML, "Attribute", Name=each.name, NameFormat=format_, **names)
        for value in each.values:
            add(element, SAML, "AttributeValue", value)
