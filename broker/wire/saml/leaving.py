"""
Logging out: ``samlp:LogoutRequest`` and ``samlp:LogoutResponse``, read and written (saml-core-2.0-os, section 3.7).
"""

from collections.abc import Collection, Iterable
from datetime import datetime

from lxml import etree
from msgspec import Struct

from broker.core.discreet import Discreet
from broker.wire.saml import xml
from broker.wire.saml.algorithms import ENCRYPTION
from broker.wire.saml.answer import STATUS, NameId, Status, add_status, name_id_element
from broker.wire.saml.encryption import Recipient, decrypt_element, encrypt_element
from broker.wire.saml.keys import DecryptingKey
from broker.wire.saml.message import Head, add, message, no_more_than, read_head, said, text_of, time_of, writable
from broker.wire.saml.refused import XmlRefused
from broker.wire.saml.xml import SAML, SAMLP, Element

_MAX_INDEXES = 20


class LogoutRequest(Discreet, frozen=True):
    """
    ``name_id``, ``name_id_format``: who is to be logged out, as the sender knows her. ``until``: it is void afterwards (aware
    UTC).
    """

    UNSPOKEN = frozenset({"name_id"})

    head: Head
    name_id: str
    name_id_format: str | None
    session_indexes: tuple[str, ...]
    until: datetime | None


class TheirName(Discreet, frozen=True):
    """A NameID that a provider gave us: to be said back exactly as it was (section 3.7.1)."""

    UNSPOKEN = frozenset({"value"})

    value: str
    format: str | None = None
    qualifier: str | None = None
    sp_qualifier: str | None = None


def read_logout_request(
    root: Element, decrypting: Iterable[DecryptingKey] = (), *, allowed: Collection[str] = ENCRYPTION
) -> LogoutRequest:
    """
    What *root* says, read from octets that were verified.

    Args:
        decrypting: our keys, where names may be encrypted to us; without, in the clear only (saml2int SDP-IDP27).
        allowed: how they may be encrypted.
    Raises: XmlRefused: wrong_element, message_head, too_large, and those of `decrypt_element`.
    """
    head = read_head(root, "LogoutRequest")
    name_id = root.find(xml.name(SAML, "NameID"))
    sealed, keys = root.find(xml.name(SAML, "EncryptedID")), tuple(decrypting)
    if name_id is None and sealed is not None and keys:
        name_id = decrypt_element(sealed, keys, allowed=allowed)
    if name_id is None or name_id.tag != xml.name(SAML, "NameID"):
        raise XmlRefused("message_head", "no NameID that we can read")
    until = root.get("NotOnOrAfter")
    indexes = no_more_than(_MAX_INDEXES, root.findall(xml.name(SAMLP, "SessionIndex")))
    return LogoutRequest(
        head=head,
        name_id=text_of(name_id, 1024),
        name_id_format=name_id.get("Format"),
        session_indexes=tuple(text_of(each, 256) for each in indexes),
        until=time_of(until) if until is not None else None,
    )


class LogoutAnswer(Struct, frozen=True):
    """
    What became of our request: ``is_done`` when the customer's session there is over; ``is_partial``: but perhaps not everywhere
    she came by it.
    """

    head: Head
    is_done: bool
    is_partial: bool = False


def read_logout_response(root: Element) -> LogoutAnswer:
    """What *root* says, read from octets that were verified. Raises: XmlRefused: wrong_element, message_head."""
    head = read_head(root, "LogoutResponse")
    code = root.find(f"{xml.name(SAMLP, 'Status')}/{xml.name(SAMLP, 'StatusCode')}")
    is_done = code is not None and code.get("Value") == f"{STATUS}Success"
    inner = code.find(xml.name(SAMLP, "StatusCode")) if code is not None else None
    is_partial = is_done and inner is not None and inner.get("Value") == f"{STATUS}PartialLogout"
    return LogoutAnswer(head, is_done, is_partial)


def logout_request(
    head: Head, name_id: NameId | TheirName, session_index: str | None, until: datetime, *, to: Recipient | None = None
) -> bytes:
    """Our request; it is signed by its binding (SDP-IDP26). *to*: whom the name is encrypted to; None for nobody."""
    root = message(
        "LogoutRequest", head.id, head.issuer, head.issued_at, head.destination or "", NotOnOrAfter=said(until)
    )
    name = name_id_element(name_id, head.issuer) if isinstance(name_id, NameId) else _said_back(name_id)
    root.append(name if to is None else encrypt_element(name, to, wrapper="EncryptedID"))
    if session_index is not None:
        add(root, SAMLP, "SessionIndex", session_index)
    return xml.serialized(root)


def _said_back(name: TheirName) -> Element:
    element = etree.Element(xml.name(SAML, "NameID"), nsmap={"saml": SAML})
    given = {"Format": name.format, "NameQualifier": name.qualifier, "SPNameQualifier": name.sp_qualifier}
    for attribute, value in given.items():
        if value is not None:
            element.set(attribute, value)
    element.text = writable(name.value)
    return element


def logout_response(head: Head, status: Status) -> bytes:
    """Our answer; it is signed by its binding (SDP-IDP30)."""
    root = message(
        "LogoutResponse",
        head.id,
        head.issuer,
        head.issued_at,
        head.destination or "",
        InResponseTo=head.in_response_to or "",
    )
    add_status(root, status)
    return xml.serialized(root)
