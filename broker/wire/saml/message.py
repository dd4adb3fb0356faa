"""
What every protocol message begins with: its ID, version, time, destination and issuer (saml-core-2.0-os, section 3.2).
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeVar

from lxml import etree
from msgspec import Struct

from broker.wire.saml import xml
from broker.wire.saml.refused import XmlRefused
from broker.wire.saml.xml import SAML, SAMLP, Element

T = TypeVar("T")

ENTITY = "urn:oasis:names:tc:SAML:2.0:nameid-format:entity"
_BLANKS = " \t\r\n"
_NCNAME = re.compile(r"[A-Za-z_][\w.-]{0,255}", re.ASCII)
_UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)?", re.ASCII)


class Head(Struct, frozen=True):
    """
    ``issued_at``: aware UTC. ``destination``: None where the sender names none. ``in_response_to``: of responses.
    """

    id: str
    issuer: str
    issued_at: datetime
    destination: str | None
    in_response_to: str | None = None


def read_head(root: Element, local: str) -> Head:
    """
    The head of *root*, which must be a ``samlp:``*local* of version 2.0.

    Raises: XmlRefused: wrong_element, message_head.
    """
    if root.tag != xml.name(SAMLP, local):
        raise XmlRefused("wrong_element", f"not a {local}")
    if root.get("Version") != "2.0":
        raise XmlRefused("message_head", "not of version 2.0")
    issuer = root.find(xml.name(SAML, "Issuer"))
    if issuer is None or issuer.get("Format", ENTITY) != ENTITY:
        raise XmlRefused("message_head", "no Issuer, or one that is no entity")
    identifier = root.get("ID", "")
    if not _NCNAME.fullmatch(identifier):
        raise XmlRefused("message_head", "no usable ID")
    return Head(
        id=identifier,
        issuer=text_of(issuer, 256),
        issued_at=time_of(root.get("IssueInstant")),
        destination=root.get("Destination"),
        in_response_to=root.get("InResponseTo"),
    )


def time_of(text: str | None) -> datetime:
    """An ``xs:dateTime``, which is UTC in SAML (section 1.3.3). Raises: XmlRefused: message_head."""
    if text is None or not _TIME.fullmatch(text.strip()):
        raise XmlRefused("message_head", "a time that cannot be read")
    try:
        found = datetime.fromisoformat(text.strip())
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise XmlRefused("message_head", "a time that cannot be read") from None


def text_of(element: Element, most: int) -> str:
    """
    Its text, without the blanks around it. Raises: XmlRefused: too_large; message_head when it has elements inside.

    security: blanks are those of XML (section 2.3). Others are letters, and who has one in her name is somebody else.
    """
    text = (element.text or "").strip(_BLANKS)
    if len(element):
        raise XmlRefused("message_head", "an element where text belongs")
    if len(text) > most:
        raise XmlRefused("too_large", "a text is longer than it may be")
    return text


def no_more_than(most: int, found: Sequence[T]) -> Sequence[T]:
    """*found*. Raises: XmlRefused: too_large."""
    if len(found) > most:
        raise XmlRefused("too_large", "more of one kind than anybody needs")
    return found


def whole_number(text: str | None) -> int | None:
    """A number from 0 to 65535; None where there is none. Raises: XmlRefused: message_head."""
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,5}", text.strip()) or int(text) > 0xFFFF:
        raise XmlRefused("message_head", "a number that cannot be read")
    return int(text)


def said(at: datetime) -> str:
    """A time as SAML writes it."""
    return f"{at.astimezone(UTC).isoformat()[:19]}Z"


def message(local: str, identifier: str, issuer: str, issued_at: datetime, destination: str, **more: str) -> Element:
    """A ``samlp:``*local* with its head; *more* are further attributes."""
    head = {"ID": identifier, "Version": "2.0", "IssueInstant": said(issued_at), "Destination": destination}
    root = etree.Element(xml.name(SAMLP, local), head | more, nsmap={"samlp": SAMLP, "saml": SAML})
    add(root, SAML, "Issuer", issuer)
    return root


def writable(text: str) -> str:
    """
    *text* as XML can say it (XML 1.0 section 2.2), with a mark in place of what it cannot.

    security: nothing is left out, for the rest could be another value than was meant.
    """
    return _UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def add(parent: Element, namespace: str, local: str, text: str | None = None, **attributes: str) -> Element:
    """A new last child of *parent*."""
    child = etree.SubElement(parent, xml.name(namespace, local), attributes)
    child.text = writable(text) if text is not None else None
    return child
