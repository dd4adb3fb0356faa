"""
Messages that say Mallory and hold something that was really signed about Alice; and readers too naive to notice.

Each attack has a reader here that falls for it, so that a test which finds the attack refused has something to find.
"""

import base64
import copy
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import xmlsec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from lxml import etree

from broker.wire.saml import signature, xml
from broker.wire.saml.refused import XmlRefused
from tests.wire import saml_stage as stage

Element = etree._Element
SIGNATURE = xml.name(xml.DS, "Signature")
ASSERTION = xml.name(xml.SAML, "Assertion")
ISSUER = xml.name(xml.SAML, "Issuer")


@dataclass(frozen=True)
class Kind:
    """One kind of signed message: how it is made for a person, which element is signed, what is read of it."""

    make: Callable[[str, str], str]
    """Person and ID -> the element that gets signed."""
    envelope: Callable[[str], str]
    """That element -> the document it stands in."""
    signed: Callable[[Element], list[Element]]
    """Root -> what has to be signed."""
    said: Callable[[Element], list[str]]
    """Any element -> the people that something in it names."""


def _names(root: Element) -> list[str]:
    return [each.text or "" for each in root.iter(xml.name(xml.SAML, "NameID"))]


def _response(person: str, identifier: str) -> str:
    return stage.response(stage.assertion(person, f"{identifier}.a"), identifier).decode()


def _assertion(person: str, identifier: str) -> str:
    return stage.assertion(person, identifier)


def _request(person: str, identifier: str) -> str:
    return (
        f'<samlp:AuthnRequest xmlns:samlp="{xml.SAMLP}" xmlns:saml="{xml.SAML}" ID="{identifier}" Version="2.0" '
        f'IssueInstant="2026-11-22T07:00:00Z" ProviderName="{person}"><saml:Issuer>{stage.SP}</saml:Issuer>'
        f'<samlp:Extensions><x xmlns="urn:x"/></samlp:Extensions><samlp:NameIDPolicy/></samlp:AuthnRequest>'
    )


KINDS = {
    "response": Kind(_response, lambda inner: inner, lambda root: [root], _names),
    "assertion": Kind(
        _assertion, lambda inner: stage.response(inner).decode(), lambda root: root.findall(ASSERTION), _names
    ),
    "request": Kind(
        _request,
        lambda inner: inner,
        lambda root: [root],
        lambda root: [each.get("ProviderName", "") for each in root.iter(xml.name(xml.SAMLP, "AuthnRequest"))],
    ),
}


def genuine(kind: str, identifier: str = "_good") -> Element:
    """The element about Alice with the sender's signature in it, by itself."""
    root = etree.fromstring(KINDS[kind].make("alice", identifier).encode())
    signature.sign(root, stage.signer())
    return etree.fromstring(etree.tostring(root))


def rich(kind: str, identifier: str = "_evil") -> Element:
    """A document about Mallory with something in every place where the schema lets anything stand."""
    root = etree.fromstring(KINDS[kind].envelope(KINDS[kind].make("mallory", identifier)).encode())
    if kind != "request":
        status = root.find(xml.name(xml.SAMLP, "Status"))
        status.append(etree.fromstring(f'<p:StatusDetail xmlns:p="{xml.SAMLP}"><x xmlns="urn:x"/></p:StatusDetail>'))
        status.addprevious(etree.fromstring(f'<p:Extensions xmlns:p="{xml.SAMLP}"><x xmlns="urn:x"/></p:Extensions>'))
        subject = root.find(f".//{xml.name(xml.SAML, 'Subject')}")
        confirmation = etree.SubElement(subject, xml.name(xml.SAML, "SubjectConfirmation"), Method="urn:m")
        etree.SubElement(confirmation, xml.name(xml.SAML, "SubjectConfirmationData"))
        subject.addnext(etree.fromstring(f'<a:Advice xmlns:a="{xml.SAML}"/>'))
    return root


def evil_element(kind: str, root: Element) -> Element:
    """The element in *root* that a reader is to take for the signed one."""
    return KINDS[kind].signed(root)[0]


def put_signature(element: Element, given: Element) -> None:
    """*given* as the direct child of *element*, where the schema has it."""
    element.insert(1 if len(element) and element[0].tag == ISSUER else 0, given)


def detached(element: Element) -> tuple[Element, Element]:
    """The element without its signature, and the signature."""
    own = element.find(SIGNATURE)
    element.remove(own)
    return element, own


def clone(element: Element) -> Element:
    """A copy with nothing around it."""
    return copy.deepcopy(element)


def octets(root: Element) -> bytes:
    """As it is sent."""
    return etree.tostring(root)


# --- the eight of "On Breaking SAML: Be Whoever You Want to Be" (USENIX Security 2012) ----------------------


def xsw1() -> Element:
    """The forged response holds the signature, which holds the genuine response."""
    good, own = detached(genuine("response"))
    evil = rich("response")
    own.append(good)
    put_signature(evil, own)
    return evil


def xsw2() -> Element:
    """The genuine response stands before the signature, which is beside it."""
    good, own = detached(genuine("response"))
    evil = rich("response")
    put_signature(evil, own)
    own.addprevious(good)
    return evil


def xsw3() -> Element:
    """The forged assertion comes before the genuine one."""
    root = rich("assertion")
    root.append(genuine("assertion"))
    return root


def xsw4() -> Element:
    """The forged assertion holds the genuine one."""
    root = rich("assertion")
    root.find(ASSERTION).append(genuine("assertion"))
    return root


def xsw5() -> Element:
    """The forged assertion has the genuine signature, the genuine assertion is at the end without it."""
    good, own = detached(genuine("assertion"))
    root = rich("assertion")
    put_signature(root.find(ASSERTION), own)
    root.append(good)
    return root


def xsw6() -> Element:
    """The same, the genuine assertion inside the signature."""
    good, own = detached(genuine("assertion"))
    root = rich("assertion")
    put_signature(root.find(ASSERTION), own)
    own.append(good)
    return root


def xsw7() -> Element:
    """The forged assertion with the ID of the genuine one, in Extensions before it."""
    root = etree.fromstring(KINDS["assertion"].envelope("").encode())
    extensions = etree.fromstring(f'<p:Extensions xmlns:p="{xml.SAMLP}"/>')
    extensions.append(etree.fromstring(stage.assertion("mallory", "_good").encode()))
    root.insert(1, extensions)
    root.append(genuine("assertion"))
    return root


def xsw8() -> Element:
    """The genuine assertion in an Object of the signature that the forged one has."""
    good, own = detached(genuine("assertion"))
    root = rich("assertion", "_good")
    holder = etree.SubElement(own, xml.name(xml.DS, "Object"))
    holder.append(good)
    put_signature(root.find(ASSERTION), own)
    return root


XSW: dict[str, tuple[str, Callable[[], Element]]] = {
    "1": ("response", xsw1),
    "2": ("response", xsw2),
    "3": ("assertion", xsw3),
    "4": ("assertion", xsw4),
    "5": ("assertion", xsw5),
    "6": ("assertion", xsw6),
    "7": ("assertion", xsw7),
    "8": ("assertion", xsw8),
}


# --- signature placement: every place but the one -----------------------------------------------------------


def places(root: Element) -> Iterator[tuple[int, int]]:
    """
    Every place where one more child could stand: number of the parent in document order, and position in it.

    SignedInfo is left out: what stands there breaks the signature, and deceives nobody.
    """
    within = {each for info in root.iter(xml.name(xml.DS, "SignedInfo")) for each in info.iter()}
    for number, parent in enumerate(root.iter()):
        if parent in within:
            continue
        for position in range(len(parent) + 1):
            yield number, position


def insert(root: Element, place: tuple[int, int], what: Element) -> None:
    """*what* at *place* of *root*, as `places` counted."""
    list(root.iter())[place[0]].insert(place[1], what)


DECOYS = ("none", "own", "copied", "empty")
"""What stands where the forged element's signature belongs: nothing, one by a key of the attacker, a copy of the
genuine one, an element that is a signature by name."""


def decoyed(kind: str, identifier: str, decoy: str) -> Element:
    """A document about Mallory, with *decoy*."""
    root = rich(kind, identifier)
    element = evil_element(kind, root)
    if decoy == "own":
        signature.sign(element, stage.signer(which=1))
    elif decoy == "copied":
        put_signature(element, genuine(kind).find(SIGNATURE))
    elif decoy == "empty":
        put_signature(element, etree.Element(SIGNATURE, nsmap={"ds": xml.DS}))
    return root


def whole_placed(kind: str, identifier: str, decoy: str) -> Iterator[Element]:
    """The genuine element with its signature, at every place."""
    base, good = decoyed(kind, identifier, decoy), genuine(kind)
    for place in places(base):
        root = clone(base)
        insert(root, place, clone(good))
        yield root


def apart_placed(kind: str, identifier: str) -> Iterator[Element]:
    """The genuine signature at every place, what it signed at every third place of what results, each in its turn."""
    base = rich(kind, identifier)
    good, own = detached(genuine(kind))
    for turn, of_signature in enumerate(places(base)):
        with_signature = clone(base)
        insert(with_signature, of_signature, clone(own))
        for of_element in list(places(with_signature))[turn % 3 :: 3]:
            root = clone(with_signature)
            insert(root, of_element, clone(good))
            yield root


# --- reading ------------------------------------------------------------------------------------------------


def take(sent: bytes, kind: str, *, by_schema: bool = True) -> list[str]:
    """Who is named, as this room is used: parsed, verified, and read from what was verified."""
    root = xml.parse(sent)
    if by_schema:
        xml.schema_check(root)
    return take_parsed(root, kind)


def take_parsed(root: Element, kind: str) -> list[str]:
    """The second half of `take`, which has to hold by itself: whatever parsed *root*."""
    elements = KINDS[kind].signed(root)
    if not elements:
        raise XmlRefused("wrong_element")
    read = [xml.parse(signature.verified(each, [stage.verifier()])) for each in elements]
    return [name for each in read for name in KINDS[kind].said(each)]


def naive(sent: bytes, kind: str) -> list[str]:
    """Who is named, to a reader that is content with some valid signature somewhere, and then reads everything."""
    root = etree.fromstring(sent)
    if not any(naively_signed(root, each) for each in root.iter(SIGNATURE)):
        return []
    return KINDS[kind].said(root)


def naively_signed(root: Element, own: Element) -> bool:
    """Whether *own* is a genuine signature of anything in *root*."""
    reference = own.find(f"{xml.name(xml.DS, 'SignedInfo')}/{xml.name(xml.DS, 'Reference')}")
    if reference is None:
        return False
    digest = base64.b64decode(reference.findtext(xml.name(xml.DS, "DigestValue")))
    targets = [each for each in root.iter("*") if each.get("ID") == reference.get("URI")[1:]]
    return any(_digest_without_signature(each) == digest for each in targets) and _info_signed(own)


def _digest_without_signature(element: Element) -> bytes:
    alone = etree.fromstring(etree.tostring(element, with_tail=False))
    for own in alone.findall(SIGNATURE):
        alone.remove(own)
    return hashlib.sha256(xml.canonical(alone)).digest()


def _info_signed(own: Element) -> bool:
    value = base64.b64decode(own.findtext(xml.name(xml.DS, "SignatureValue")))
    info = xml.canonical(own.find(xml.name(xml.DS, "SignedInfo")))
    try:
        stage.verifier().public.verify(value, info, padding.PKCS1v15(), hashes.SHA256())  # type: ignore[call-arg]
    except InvalidSignature:
        return False
    return True


def credulous(sent: bytes, *, key_from_message: bool = False) -> bool:
    """Whether a verifier says yes that takes the first signature at its word, whatever it says it is and is for."""
    root = etree.fromstring(sent, etree.XMLParser(resolve_entities=False))
    xmlsec.tree.add_ids(root, ["ID"])
    own = root.find(f".//{SIGNATURE}")
    context = xmlsec.SignatureContext()
    context.key = stage.verifier().xmlsec_key
    if key_from_message:
        carried = base64.b64decode(own.findtext(f".//{xml.name(xml.DS, 'X509Certificate')}"))
        public = x509.load_der_x509_certificate(carried).public_key()
        context.key = xmlsec.Key.from_memory(stage.public_pem(public), xmlsec.constants.KeyDataFormatPem)
    try:
        context.verify(own)
    except xmlsec.Error:
        return False
    return True
