"""
Logging out: ``samlp:LogoutRequest`` and ``samlp:LogoutResponse``, read and written (saml-core-2.0-os, section 3.7).
"""

from dataclasses import dataclass
from datetime import datetime

from broker.wire.saml import xml
from broker.wire.saml.answer import STATUS, NameId, Status, add_status, name_id_element
from broker.wire.saml.message import Head, add, message, no_more_than, read_head, said, text_of, time_of
from broker.wire.saml.refused import XmlRefused
from broker.wire.saml.xml import SAML, SAMLP, Element

_MAX_INDEXES = 20


@dataclass(frozen=True, slots=True)
class LogoutRequest:
    """``name_id``: who is to be logged out, as the sender knows her. ``until``: it is void afterwards (aware UTC)."""

    head: Head
    name_id: str
    session_indexes: tuple[str, ...]
    until: datetime | None


def read_logout_request(root: Element) -> LogoutRequest:
    """
    What *root* says, read from octets that were verified.

    Raises: XmlRefused: wrong_element, message_head, too_large; unencrypted names only (saml2int SDP-IDP27).
    """
    head = read_head(root, "LogoutRequest")
    name_id = root.find(xml.name(SAML, "NameID"))
    if name_id is None:
        raise XmlRefused("message_head", "no NameID in the clear")
    until = root.get("NotOnOrAfter")
    indexes = no_more_than(_MAX_INDEXES, root.findall(xml.name(SAMLP, "SessionIndex")))
    return LogoutRequest(
        head=head,
        name_id=text_of(name_id, 1024),
        session_indexes=tuple(text_of(each, 256) for each in indexes),
        until=time_of(until) if until is not None else None,
    )


@dataclass(frozen=True, slots=True)
class LogoutAnswer:
    """What became of our request: ``is_done`` when the customer's session there is over."""

    head: Head
    is_done: bool


def read_logout_response(root: Element) -> LogoutAnswer:
    """What *root* says, read from octets that were verified. Raises: XmlRefused: wrong_element, message_head."""
    head = read_head(root, "LogoutResponse")
    code = root.find(f"{xml.name(SAMLP, 'Status')}/{xml.name(SAMLP, 'StatusCode')}")
    is_done = code is not None and code.get("Value") == f"{STATUS}Success"
    return LogoutAnswer(head, is_done)


def logout_request(head: Head, name_id: NameId, session_index: str, until: datetime) -> bytes:
    """Our request; it is signed by its binding (SDP-IDP26)."""
    root = message(
        "LogoutRequest", head.id, head.issuer, head.issued_at, head.destination or "", NotOnOrAfter=said(until)
    )
    root.append(name_id_element(name_id, head.issuer))
    add(root, SAMLP, "SessionIndex", session_index)
    return xml.serialized(root)


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
