"""
Reading what an identity provider answers: ``samlp:Response``, to a request of ours and to nothing else.

The checks, in this order (saml-profiles-2.0-os, section 4.1.4.3; saml-core-2.0-os, sections 2.3 to 2.7; saml2int SDP-SP):

1. a document by all rules of `xml.parse`, and by the schema as it came;
2. what is signed verifies, what has to be signed is, and everything below is read from the octets that were signed;
3. issuer, address, request, version and time of the response are those expected;
4. a status other than success ends it: the reason is returned, and nobody is logged in;
5. exactly one assertion, encrypted where it has to be, which is decrypted and held to 1 and 2 again;
6. its issuer; a bearer confirmation for this address and request, in time; conditions in time, for us, all understood;
7. one statement of authentication, at most one of attributes.

That a response is used once, and only by who asked for it, is for the caller to remember.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta

from msgspec import Struct

from broker.core.discreet import Discreet
from broker.wire.saml import xml
from broker.wire.saml.algorithms import ENCRYPTION, SIGNATURES, Signature
from broker.wire.saml.encryption import decrypt_element
from broker.wire.saml.keys import DecryptingKey, VerifyingKey
from broker.wire.saml.message import ENTITY, Head, no_more_than, read_head, text_of, time_of
from broker.wire.saml.refused import XmlRefused
from broker.wire.saml.signature import is_signed, verified
from broker.wire.saml.xml import SAML, SAMLP, Element

SUCCESS = "urn:oasis:names:tc:SAML:2.0:status:Success"
BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"

MAX_AGE = timedelta(minutes=5)
SKEW = timedelta(minutes=3)
"""How far a peer's clock may be from ours (saml2int SDP-G01)."""

_MAX_VALUES = 500
_MAX_TEXT = 32 * 1024
_LATIN = tuple(f"{{http://eidas.europa.eu/attributes/{each}person}}LatinScript" for each in ("natural", "legal"))
_NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"
_CONDITIONS = {xml.name(SAML, each) for each in ("AudienceRestriction", "OneTimeUse", "ProxyRestriction")}


class Expected(Struct, frozen=True):
    """
    What a response has to fit: the request it answers, and the provider that was asked.

    Args:
        issuer: entityID of the provider that the customer was sent to, and no other's.
        audience: our own entityID.
        acs: the address it came to, as registered.
        in_response_to: ID of our request.
        keys: the provider's, from its metadata.
        decrypting: ours.
        signs_response, signs_assertion: which of the two has to be signed; with neither, at least one.
        encrypted: whether the assertion has to be.
        signatures, encryption: algorithms accepted of this provider.
    """

    issuer: str
    audience: str
    acs: str
    in_response_to: str
    keys: tuple[VerifyingKey, ...]
    decrypting: tuple[DecryptingKey, ...] = ()
    signs_response: bool = False
    signs_assertion: bool = False
    encrypted: bool = False
    signatures: Collection[Signature] = SIGNATURES
    encryption: Collection[str] = ENCRYPTION
    skew: timedelta = SKEW


class Value(Struct, frozen=True):
    """One ``AttributeValue``. ``is_latin``: False where an eIDAS node says that it is in another script."""

    text: str
    is_latin: bool = True


class Status(Discreet, frozen=True):
    """``samlp:Status``: its codes from the top down, as URIs; the message is for logs of the sender's own words."""

    UNSPOKEN = frozenset({"message"})

    codes: tuple[str, ...]
    message: str | None = None

    @property
    def is_success(self) -> bool:
        """Whether somebody logged in."""
        return self.codes[:1] == (SUCCESS,)


class Refusal(Struct, frozen=True):
    """The provider says no. ``is_signed``: whether it is sure that it was the provider."""

    status: Status
    is_signed: bool


class ReadResponse(Discreet, frozen=True):
    """
    Who logged in, says the provider; all of it signed by it. Times are aware UTC.

    ``attributes``: by name as sent, values in their order. ``assertion_id`` is to be remembered until ``not_on_or_after``.
    ``is_anothers``: the NameID was made by another party, or for another (section 8.3.7), and says who somebody is only there.
    """

    UNSPOKEN = frozenset({"name_id", "attributes"})

    issuer: str
    in_response_to: str
    destination: str
    name_id: str | None
    name_id_format: str | None
    session_index: str | None
    session_until: datetime | None
    authn_context: str | None
    authn_instant: datetime
    authenticating_authorities: tuple[str, ...]
    assertion_id: str
    not_on_or_after: datetime
    attributes: Mapping[str, tuple[Value, ...]]
    name_qualifier: str | None = None
    name_sp_qualifier: str | None = None
    is_anothers: bool = False


def read_response(octets: bytes, *, expected: Expected, now: datetime) -> ReadResponse | Refusal:
    """
    What the response *octets* says, which came to us by POST.

    Raises: XmlRefused: whatever of the list above it breaks, by its code.
    """
    original = xml.parse(octets)
    xml.schema_check(original)
    if original.tag != xml.name(SAMLP, "Response"):
        raise XmlRefused("wrong_element", "not a Response")
    root, response_is_signed = _verified(original, expected, needed=expected.signs_response)
    head = read_head(root, "Response")
    _check_head(head, expected, now)
    status = read_status(root)
    if not status.is_success:
        return Refusal(status, response_is_signed)
    assertion = _assertion(root, original, expected, covered=response_is_signed)
    return _read_assertion(assertion, expected, now)


def read_status(root: Element) -> Status:
    """The status of a response that follows the schema. Raises: XmlRefused: message_head."""
    status = root.find(xml.name(SAMLP, "Status"))
    if status is None:
        raise XmlRefused("message_head", "no Status")
    codes = no_more_than(5, list(status.iter(xml.name(SAMLP, "StatusCode"))))
    message = status.find(xml.name(SAMLP, "StatusMessage"))
    text = text_of(message, _MAX_TEXT) if message is not None else None
    return Status(tuple(each.get("Value", "") for each in codes), text)


# --- signed, and for us -------------------------------------------------------------------------------------


def _verified(element: Element, expected: Expected, *, needed: bool) -> tuple[Element, bool]:
    """*element* as it was signed, if it is; whether it is."""
    if is_signed(element):
        octets = verified(element, expected.keys, allowed=expected.signatures)
        return xml.parse(octets), True
    if needed:
        raise XmlRefused("unsigned")
    return element, False


def _check_head(head: Head, expected: Expected, now: datetime) -> None:
    if head.issuer != expected.issuer:
        raise XmlRefused("issuer")
    if head.destination != expected.acs:
        raise XmlRefused("destination")
    if head.in_response_to != expected.in_response_to:
        raise XmlRefused("in_response_to")
    if not now - MAX_AGE - expected.skew <= head.issued_at <= now + expected.skew:
        raise XmlRefused("time")


def _assertion(root: Element, original: Element, expected: Expected, *, covered: bool) -> Element:
    """The one assertion: signed itself, or *covered* by the signature of the response."""
    plain, sealed = root.findall(xml.name(SAML, "Assertion")), root.findall(xml.name(SAML, "EncryptedAssertion"))
    if len(plain) + len(sealed) != 1:
        raise XmlRefused("assertion_count")
    if expected.encrypted and not sealed:
        raise XmlRefused("unencrypted")
    found = _opened(sealed[0], original, expected) if sealed else plain[0]
    assertion, _ = _verified(found, expected, needed=expected.signs_assertion or not covered)
    return assertion


def _opened(sealed: Element, original: Element, expected: Expected) -> Element:
    outside = original.find(xml.name(SAML, "EncryptedAssertion"))
    opened = decrypt_element(sealed, expected.decrypting, allowed=expected.encryption, declared=dict(outside.nsmap))
    if opened.tag != xml.name(SAML, "Assertion"):
        raise XmlRefused("wrong_element", "something else than an assertion was encrypted")
    xml.schema_check(opened)
    return opened


# --- the assertion ------------------------------------------------------------------------------------------


def _read_assertion(assertion: Element, expected: Expected, now: datetime) -> ReadResponse:
    if assertion.get("Version") != "2.0":
        raise XmlRefused("assertion_shape", "not of version 2.0")
    issuer = assertion.find(xml.name(SAML, "Issuer"))
    if issuer is None or text_of(issuer, 256) != expected.issuer or issuer.get("Format", ENTITY) != ENTITY:
        raise XmlRefused("issuer", "of the assertion")
    if not now - MAX_AGE - expected.skew <= time_of(assertion.get("IssueInstant")) <= now + expected.skew:
        raise XmlRefused("assertion_time", "made long ago, or in the future")
    subject = _one(assertion, "Subject")
    until = _confirmed_until(subject, expected, now)
    _check_conditions(_one(assertion, "Conditions"), expected, now)
    name_id = _name_id(subject)
    statement = _one(assertion, "AuthnStatement")
    context = _one(statement, "AuthnContext")
    session_until = _optional_time(statement.get("SessionNotOnOrAfter"))
    if session_until is not None and session_until <= now - expected.skew:
        raise XmlRefused("assertion_time", "the session is over")
    authn_instant = time_of(statement.get("AuthnInstant"))
    if authn_instant > now + expected.skew:
        raise XmlRefused("assertion_time", "authenticated in the future")
    return ReadResponse(
        issuer=expected.issuer,
        in_response_to=expected.in_response_to,
        destination=expected.acs,
        name_id=text_of(name_id, 1024) if name_id is not None else None,
        name_id_format=name_id.get("Format") if name_id is not None else None,
        session_index=statement.get("SessionIndex"),
        session_until=session_until,
        authn_context=_text_in(context, "AuthnContextClassRef"),
        authn_instant=authn_instant,
        authenticating_authorities=_texts_in(context, "AuthenticatingAuthority"),
        assertion_id=assertion.get("ID", ""),
        not_on_or_after=until,
        attributes=_attributes(assertion),
        name_qualifier=name_id.get("NameQualifier") if name_id is not None else None,
        name_sp_qualifier=name_id.get("SPNameQualifier") if name_id is not None else None,
        is_anothers=name_id is not None and _is_anothers(name_id, expected),
    )


def _one(parent: Element, local: str) -> Element:
    found = parent.findall(xml.name(SAML, local))
    if len(found) != 1:
        raise XmlRefused("assertion_shape", f"not exactly one {local}")
    return found[0]


def _name_id(subject: Element) -> Element | None:
    if subject.find(xml.name(SAML, "EncryptedID")) is not None or subject.find(xml.name(SAML, "BaseID")) is not None:
        raise XmlRefused("assertion_shape", "a subject without a plain NameID")
    return subject.find(xml.name(SAML, "NameID"))


def _is_anothers(name_id: Element, expected: Expected) -> bool:
    by, for_ = name_id.get("NameQualifier") or expected.issuer, name_id.get("SPNameQualifier") or expected.audience
    return (by, for_) != (expected.issuer, expected.audience)


def _confirmed_until(subject: Element, expected: Expected, now: datetime) -> datetime:
    """Until when the first confirmation holds that is for us: bearer, this address, this request, in time."""
    for each in no_more_than(10, subject.findall(xml.name(SAML, "SubjectConfirmation"))):
        data = each.find(xml.name(SAML, "SubjectConfirmationData"))
        if each.get("Method") != BEARER or data is None:
            continue
        until = _optional_time(data.get("NotOnOrAfter"))
        if (
            until is not None
            and until > now - expected.skew
            # security: a bearer confirmation has no NotBefore (saml-profiles-2.0-os, section 4.1.4.2).
            and data.get("NotBefore") is None
            and data.get("Recipient") == expected.acs
            and data.get("InResponseTo") == expected.in_response_to
        ):
            return until
    raise XmlRefused("confirmation")


def _check_conditions(conditions: Element, expected: Expected, now: datetime) -> None:
    begin, end = _optional_time(conditions.get("NotBefore")), _optional_time(conditions.get("NotOnOrAfter"))
    if begin is not None and begin > now + expected.skew:
        raise XmlRefused("assertion_time", "not valid yet")
    if end is not None and end <= now - expected.skew:
        raise XmlRefused("assertion_time", "not valid any more")
    if any(each.tag not in _CONDITIONS for each in conditions):
        # Section 2.5.1: whoever does not understand a condition must not take the assertion for valid.
        raise XmlRefused("assertion_shape", "a condition that is not known")
    for proxying in conditions.findall(xml.name(SAML, "ProxyRestriction")):
        # Section 2.5.1.6: what we say to partners is based on it; for none of them, or for some, is for none here.
        if proxying.get("Count") == "0" or len(proxying):
            raise XmlRefused("assertion_shape", "it may not be passed on")
    restrictions = conditions.findall(xml.name(SAML, "AudienceRestriction"))
    if not restrictions or any(expected.audience not in _texts_in(each, "Audience") for each in restrictions):
        raise XmlRefused("audience")


def _attributes(assertion: Element) -> Mapping[str, tuple[Value, ...]]:
    statements = assertion.findall(xml.name(SAML, "AttributeStatement"))
    if len(statements) > 1:
        raise XmlRefused("assertion_shape", "more than one AttributeStatement")
    if not statements:
        return {}
    if statements[0].find(xml.name(SAML, "EncryptedAttribute")) is not None:
        raise XmlRefused("assertion_shape", "an encrypted attribute")
    found: dict[str, tuple[Value, ...]] = {}
    for each in no_more_than(_MAX_VALUES, statements[0].findall(xml.name(SAML, "Attribute"))):
        name = each.get("Name", "")
        found[name] = found.get(name, ()) + tuple(_values(each))
    return found


def _values(attribute: Element) -> Iterable[Value]:
    """The values that are text; a NameID inside counts as its text, anything else inside as no value."""
    for each in no_more_than(_MAX_VALUES, attribute.findall(xml.name(SAML, "AttributeValue"))):
        inside = each.find(xml.name(SAML, "NameID"))
        source = each if inside is None else inside
        if len(source) or each.get(_NIL) in ("true", "1"):
            continue
        scripts = [each.get(name, "true").strip() for name in _LATIN]
        yield Value(text_of(source, _MAX_TEXT), all(said in ("true", "1") for said in scripts))


def _texts_in(parent: Element, local: str) -> tuple[str, ...]:
    found = no_more_than(50, parent.findall(xml.name(SAML, local)))
    return tuple(text_of(each, 1024) for each in found)


def _text_in(parent: Element, local: str) -> str | None:
    return next(iter(_texts_in(parent, local)), None)


def _optional_time(text: str | None) -> datetime | None:
    return None if text is None else time_of(text)
