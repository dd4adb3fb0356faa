"""
Metadata documents of peers, from one entity to a federation of thousands: believed once, read entity by entity.

An aggregate is never a tree as a whole. It is parsed up to the end of one entity, this is canonicalised in its place,
added to the digest, kept as those octets and taken out of the tree; what the signature is for at the end is the digest over
exactly what was kept. An entity is parsed from its octets when somebody asks for it.

The rules a signed document is held to, in this order (saml-metadata-2.0-os, sections 2.3 and 3.1; saml2int SDP-MD03;
IIP-MD04):

1. no document type, entities, processing instructions, no other encoding than UTF-8 (`xml.check_octets`);
2. the signature is the first child of the root, of the form SAML has, with one reference, to the ID of the root, or to the
   document as a whole;
3. nothing else has the ID of the root;
4. a key that was given beforehand signed a digest, and that is the one of the canonical root;
5. there is a validUntil, it has not passed, and it is not further away than the horizon.
"""

import copy
import hashlib
import re
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from lxml import etree
from msgspec import Struct

from broker.core.saml import SamlEntity
from broker.core.saml_copies import SKEW
from broker.wire.saml import xml
from broker.wire.saml.algorithms import HASHLIB, SIGNATURES
from broker.wire.saml.keys import VerifyingKey, verifying_key
from broker.wire.saml.metadata import cache_duration, read_entity, valid_until
from broker.wire.saml.octets import is_signature
from broker.wire.saml.refused import XmlRefused
from broker.wire.saml.signature import Claim, claim_of, decoded, verified
from broker.wire.saml.xml import DS, MD, Element

MAX_DOCUMENT: Final = 256 * 1024 * 1024
"""Bytes of a metadata document."""
MAX_ENTITY: Final = 4 * 1024 * 1024
"""Bytes of one entity, or of one group of entities inside an aggregate."""
MAX_ENTITY_ELEMENTS: Final = 50_000
MAX_ENTITIES: Final = 100_000
"""Of one document; the largest there is, of all federations together, has some 10,000."""

_ONE: Final = xml.name(MD, "EntityDescriptor")
_MANY: Final = xml.name(MD, "EntitiesDescriptor")
_SIGNATURE: Final = xml.name(DS, "Signature")
_END: Final = re.compile(rb"</(?:[\w.-]{1,40}:)?(?:EntityDescriptor|Signature)\s{0,8}>")
_TAG_END: Final = re.compile(rb">")
_MAX_HEAD: Final = 64 * 1024


class Demands(Struct, frozen=True):
    """
    What a metadata document must be.

    ``keys``: one of them signed it; empty: it comes from a place that is believed, and no signature is looked at.
    ``max_validity``: how far away its end may be; None: it need not have one. ``max_bytes``: how large it may be.
    """

    keys: tuple[VerifyingKey, ...] = ()
    max_validity: timedelta | None = None
    max_bytes: int = MAX_DOCUMENT

    @classmethod
    def of(cls, certificates: Iterable[bytes], max_validity: timedelta) -> "Demands":
        """
        Signed by one of *certificates* (DER), and so for no longer than *max_validity*; without any, whatever there is.

        Raises: XmlRefused: key_unreadable, key_weak.
        """
        keys = tuple(verifying_key(each) for each in certificates)
        return cls(keys, max_validity if keys else None)


class _Frame(Struct, frozen=True):
    """What stands around the entities of a document in its canonical form."""

    head: bytes = b""
    tail: bytes = b""


class Metadata:
    """
    A document that was believed: entities by entityID, kept as the octets that were verified.

    ``valid_until``, ``cache_duration``: of the document. ``identifier``: its ID. ``size``: bytes that are kept.
    """

    def __init__(self, root: Element, frame: _Frame, kept: dict[str, bytes]) -> None:
        self.valid_until = valid_until(root)
        self.cache_duration = cache_duration(root)
        self.identifier: str | None = root.get("ID")
        self._frame = frame
        self._kept = kept

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def entity_ids(self) -> Collection[str]:
        """The names of all entities, in the order of the document."""
        return self._kept.keys()

    @property
    def size(self) -> int:
        """Bytes of all that is kept, a group of entities counted once."""
        return sum(len(octets) for octets in {id(each): each for each in self._kept.values()}.values())

    def find(self, entity_id: str) -> SamlEntity | None:
        """
        The entity of that name, parsed now; None when there is none.

        Raises: XmlRefused: whatever `xml.parse` and `read_entity` refuse in this one entity.
        """
        octets = self._kept.get(entity_id)
        if octets is None:
            return None
        root = xml.parse(
            self._frame.head + octets + self._frame.tail, max_bytes=2 * MAX_ENTITY, max_elements=MAX_ENTITY_ELEMENTS
        )
        found = next(each for each in _entities(root) if each.get("entityID") == entity_id)
        groups = [until for each in found.iterancestors() if (until := valid_until(each)) is not None]
        return read_entity(found, until=min(groups, default=None))


def read(octets: bytes, *, demands: Demands, now: datetime) -> Metadata:
    """
    The metadata document *octets*, which meets *demands*. Takes as long as it is big: not on the event loop.

    Raises: XmlRefused: whatever the rules above say, by its code; wrong_element for anything but metadata.
    """
    if len(octets) > demands.max_bytes:
        raise XmlRefused("too_large")
    if not octets or octets.isspace():
        raise XmlRefused("not_xml", "is empty")
    text = octets.removeprefix(b"\xef\xbb\xbf")
    xml.check_octets(text, demands.max_bytes // 16)
    if text.find(b"<?", 1) >= 0:
        raise XmlRefused("instruction")
    found = _Reading(text, demands).run()
    check_validity(found.valid_until, demands.max_validity, now)
    return found


def read_file(path: Path, *, demands: Demands, now: datetime) -> Metadata:
    """As `read`, of the file at *path*. Raises: as `read`; OSError."""
    with path.open("rb") as file:
        octets = file.read(demands.max_bytes + 1)
    return read(octets, demands=demands, now=now)


def check_validity(until: datetime | None, max_validity: timedelta | None, now: datetime) -> None:
    """
    Metadata that is valid *until* may be used *now*.

    Raises: XmlRefused: metadata_expired, metadata_endless, metadata_distant.
    """
    if until is not None and until <= now - SKEW:
        raise XmlRefused("metadata_expired", f"valid until {until:%Y-%m-%dT%H:%M:%SZ}")
    if max_validity is None:
        return
    if until is None:
        raise XmlRefused("metadata_endless")
    if until > now + max_validity + SKEW:
        raise XmlRefused(
            "metadata_distant", f"valid until {until:%Y-%m-%dT%H:%M:%SZ}, which is further away than is accepted"
        )


class _Reading:
    """One reading of one document."""

    def __init__(self, text: bytes, demands: Demands) -> None:
        self._text = text
        self._keys = demands.keys
        self._kept: dict[str, bytes] = {}

    def run(self) -> Metadata:
        pieces = _pieces(self._text)
        root = next(pieces)
        return self._one() if root.tag == _ONE else self._many(root, pieces)

    def _one(self) -> Metadata:
        root = xml.parse(self._text, max_bytes=MAX_ENTITY, max_elements=MAX_ENTITY_ELEMENTS)
        if not root.get("entityID"):
            raise XmlRefused("wrong_element", "an EntityDescriptor without entityID")
        octets = verified(root, self._keys, by_whole_document=True) if self._keys else xml.canonical(root)
        return Metadata(root, _Frame(), {root.get("entityID", ""): octets})

    def _many(self, root: Element, pieces: Iterator[Element]) -> Metadata:
        shell = copy.deepcopy(root)
        _empty(shell)
        promise = self._promise(root, pieces)
        prefixes = promise.prefixes if promise else ()
        frame = _frame(shell, prefixes)
        digest = hashlib.new(HASHLIB[promise.digest] if promise else "sha256", frame.head)
        own = root.get("ID", "")
        only_here = f'"{own}"'.encode()
        for count, _ in enumerate(_beginning_with_now(pieces)):
            if count > MAX_ENTITIES:
                raise XmlRefused("too_large", "has more entities than are read")
            inner = xml.canonical(root, prefixes)[len(frame.head) : -len(frame.tail)]
            # security: members write what they like; only an ID is one, or any of them could take the others along.
            if promise and own and only_here in inner and xml.ids_of(root).count(own) > 1:
                raise XmlRefused("duplicate_id")
            digest.update(inner)
            self._keep(root, inner)
            _empty(root)
        digest.update(frame.tail)
        if promise is not None and digest.digest() != promise.digest_value:
            raise XmlRefused("digest_mismatch")
        return Metadata(shell, frame, self._kept)

    def _promise(self, root: Element, pieces: Iterator[Element]) -> Claim | None:
        """
        What the signature, which is taken out as its transform demands, says of the rest; None where none is asked for.

        security: that one of the keys signed this is known before anything else is read, so that strangers cause no work.
        """
        next(pieces)
        if not self._keys:
            return None
        if not len(root) or root[0].tag != _SIGNATURE:
            raise XmlRefused("unsigned")
        signature = root[0]
        claim = claim_of(signature, root, by_whole_document=True)
        if claim.algorithm not in SIGNATURES:
            raise XmlRefused("signature_algorithm")
        info, value = xml.canonical(signature[0], claim.info_prefixes), decoded(signature[1])
        if not any(is_signature(value, info, key=key, algorithm=claim.algorithm) for key in self._keys):
            raise XmlRefused("signature_invalid")
        root.remove(signature)
        return claim

    def _keep(self, root: Element, inner: bytes) -> None:
        """What the first of a name says counts."""
        for child in root:
            if child.tag == _SIGNATURE and self._keys:
                raise XmlRefused("signature_count")
            for each in _entities(child):
                if entity_id := each.get("entityID"):
                    self._kept.setdefault(entity_id, inner)


def _entities(element: Element) -> Iterator[Element]:
    """
    The entities that *element* is, or is a group of.

    security: one that stands anywhere else, as in the extensions of another, was brought along by that one's owner.
    """
    if element.tag == _ONE:
        yield element
    elif element.tag == _MANY:
        for child in element:
            yield from _entities(child)


def _beginning_with_now(pieces: Iterator[Element]) -> Iterator[object]:
    yield None
    yield from pieces


def _pieces(text: bytes) -> Iterator[Element]:
    """
    The root of *text* as soon as it began, and then whenever all its children are whole: to be read, and taken out.

    Raises: XmlRefused: not_xml, wrong_element, too_large for a child that does not end.
    """
    parser = etree.XMLPullParser(events=("start", "end"), tag=(_ONE, _MANY, _SIGNATURE), **xml.HARDENED)
    try:
        root, fed = _root(parser, text)
        yield root
        ended, begun = None, fed
        for boundary in _END.finditer(text, fed):
            _check_piece(boundary.end() - begun)
            parser.feed(text[fed : boundary.end()])
            fed = boundary.end()
            ended = [element for event, element in parser.read_events() if event == "end"][-1:]
            if len(root) and ended == [root[-1]]:
                begun = fed
                yield root
        _check_piece(len(text) - begun)
        parser.feed(text[fed:])
        parser.close()
        yield root
    except etree.XMLSyntaxError:
        raise XmlRefused("not_xml") from None


def _check_piece(size: int) -> None:
    """security: before it is parsed, as a tree takes ten times as much, whatever its elements are called."""
    if size > MAX_ENTITY:
        raise XmlRefused("too_large", "one entity is larger than what is read")


def _root(parser: Any, text: bytes) -> tuple[Element, int]:
    """The root, fed so far that nothing of its content is; and how far that is."""
    fed = 0
    for tag_end in _TAG_END.finditer(text, 0, _MAX_HEAD):
        parser.feed(text[fed : tag_end.end()])
        fed = tag_end.end()
        for _, element in parser.read_events():
            if element.getparent() is not None:
                raise XmlRefused("wrong_element", "not SAML metadata")
            return element, fed
    raise XmlRefused("wrong_element", "not SAML metadata")


def _frame(shell: Element, prefixes: tuple[str, ...]) -> _Frame:
    octets = xml.canonical(shell, prefixes)
    tail = octets.rindex(b"</")
    return _Frame(octets[:tail], octets[tail:])


def _empty(root: Element) -> None:
    root.text = None
    del root[:]
