"""
XML signatures, as far as SAML has them: one enveloped signature, right below the element it is for.

The rules of verification, in the order they are asked (saml-core-2.0-os, section 5.4; XML Signature Best Practices):

1. the signature is the one ``ds:Signature`` that is a direct child of the element; no search anywhere else;
2. it has SignedInfo, SignatureValue and perhaps KeyInfo, no Object; one Reference, to the ID of the element;
3. its transforms are enveloped-signature and exclusive canonicalization, in this order, and nothing else;
4. algorithms are on our lists, and fit the key;
5. the digest of *our own* canonical form of the element is the one that is signed;
6. libxmlsec, given that one ID and one of the sender's known keys, verifies the signature; KeyInfo is not looked at.

`verified` returns the octets of 5. The message is parsed from them, so nothing is read that was not signed.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Collection, Iterable

import xmlsec
from lxml import etree
from msgspec import Struct

from broker.wire.saml import xml
from broker.wire.saml.algorithms import (
    ENVELOPED,
    EXCLUSIVE,
    EXCLUSIVE_WITH_COMMENTS,
    HASHLIB,
    SIGNATURES,
    Digest,
    Signature,
)
from broker.wire.saml.keys import SigningKey, VerifyingKey
from broker.wire.saml.octets import signature_of
from broker.wire.saml.refused import XmlRefused
from broker.wire.saml.xml import DS, Element

_SIGNATURE = xml.name(DS, "Signature")
_INCLUSIVE = xml.name("http://www.w3.org/2001/10/xml-exc-c14n#", "InclusiveNamespaces")
_MAX_PREFIXES = 32
_NCNAME = re.compile(r"[A-Za-z_][\w.-]{0,255}", re.ASCII)


class Claim(Struct, frozen=True):
    """
    What a signature says it is: nothing of it is believed yet.

    ``prefixes``, ``info_prefixes``: to be kept in the canonical form of what is signed, and of SignedInfo.
    """

    algorithm: Signature
    digest: Digest
    digest_value: bytes
    prefixes: tuple[str, ...]
    info_prefixes: tuple[str, ...]


def is_signed(element: Element) -> bool:
    """Whether *element* has a signature of its own: if so, it must verify, wanted or not (saml2int SDP-IDP05)."""
    return element.find(_SIGNATURE) is not None


def verified(
    element: Element,
    keys: Iterable[VerifyingKey],
    *,
    allowed: Collection[Signature] = SIGNATURES,
    by_whole_document: bool = False,
) -> bytes:
    """
    The octets of *element* that were signed by one of *keys*: to be parsed, and the message read from that alone.

    Args:
        element: of a document from `xml.parse`; left as it was.
        keys: all that the sender's metadata has for signing.
        allowed: the signature algorithms that are accepted of this sender.
        by_whole_document: as in `claim_of`.
    Raises: XmlRefused: unsigned, signature_count, signature_shape, reference_count, reference_target, transform,
        canonicalization, signature_algorithm, digest_algorithm, digest_mismatch, no_keys, signature_invalid.
    """
    signature = _own_signature(element)
    claim = claim_of(signature, element, by_whole_document=by_whole_document)
    if claim.algorithm not in allowed:
        raise XmlRefused("signature_algorithm")
    octets = _signed_octets(element, signature, claim)
    if hashlib.new(HASHLIB[claim.digest], octets).digest() != claim.digest_value:
        raise XmlRefused("digest_mismatch")
    _one_key_verifies(element, signature, claim.algorithm, tuple(keys))
    return octets


def sign(
    element: Element,
    key: SigningKey,
    *,
    algorithm: Signature | None = None,
    digest: Digest = Digest.SHA256,
) -> None:
    """
    Put a signature of *key* into *element*, after its Issuer, else first (saml-core-2.0-os, schema).

    Inner elements are signed before outer ones, and nothing is changed afterwards. Digest and signature are made of octets here:
    libxmlsec, asked to do the same, works on sets of nodes and takes as long for that as RSA does.

    Args:
        element: has an ``ID``, and no signature yet; of a parsed document, since one that lxml put together in memory
            may have two meanings of one prefix, and would be sent as something else than was signed.
        algorithm: fits the key; None for what is usual with it.
    Raises: XmlRefused: signature_algorithm when it does not fit the key, reference_target without an ID.
    """
    chosen = algorithm or key.default_algorithm
    if not key.fits(chosen):
        raise XmlRefused("signature_algorithm", "does not fit the key")
    digested = hashlib.new(HASHLIB[digest], xml.canonical(element)).digest()
    info = _signed_info(_id_of(element), chosen, digest, digested)
    value = signature_of(info.encode(), key=key, algorithm=chosen)
    made = etree.fromstring(
        f'<ds:Signature xmlns:ds="{DS}">{info}<ds:SignatureValue>{_text(value)}</ds:SignatureValue><ds:KeyInfo><ds:X509Data>'
        f"<ds:X509Certificate>{_text(key.certificate)}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></ds:Signature>"
    )
    issuer = element.find(xml.name(xml.SAML, "Issuer"))
    element.insert(0 if issuer is None else element.index(issuer) + 1, made)


# --- verifying, step by step ------------------------------------------------------------------------------


def _own_signature(element: Element) -> Element:
    own = element.findall(_SIGNATURE)
    if not own:
        raise XmlRefused("unsigned")
    if len(own) > 1:
        raise XmlRefused("signature_count")
    return own[0]


def _id_of(element: Element) -> str:
    # security: a value such as "xpointer(/)" would be more than a name to whoever resolves the reference.
    value = element.get("ID") or ""
    if not _NCNAME.fullmatch(value):
        raise XmlRefused("reference_target", "the element has no usable ID")
    return value


def claim_of(signature: Element, element: Element, *, by_whole_document: bool = False) -> Claim:
    """
    What *signature* says it is of *element*: rules 2 to 4, none of which looks at what was signed.

    Args:
        by_whole_document: the reference may also be the empty one, which means the document, where *element* is its root
            (XML Signature 1.1, section 4.4.3.2): metadata of eIDAS nodes is signed so, messages never are.
    Raises: XmlRefused: signature_shape, reference_count, reference_target, transform, canonicalization,
        signature_algorithm, digest_algorithm.
    """
    info = _parts(signature, "SignedInfo SignatureValue", "KeyInfo")[0]
    if len(info.findall(xml.name(DS, "Reference"))) != 1:
        raise XmlRefused("reference_count")
    canonicalization, method, reference = _parts(info, "CanonicalizationMethod SignatureMethod Reference")
    is_document = by_whole_document and reference.get("URI") == "" and element.getparent() is None
    if not is_document and reference.get("URI") != f"#{_id_of(element)}":
        raise XmlRefused("reference_target")
    transforms, digest_method, digest_value = _parts(reference, "Transforms DigestMethod DigestValue")
    return Claim(
        algorithm=_signature_algorithm(method),
        digest=_digest_algorithm(digest_method),
        digest_value=decoded(digest_value),
        prefixes=_prefixes(transforms),
        info_prefixes=_exclusive(canonicalization),
    )


def _parts(element: Element, names: str, optional: str = "") -> list[Element]:
    """The children of *element*, which are exactly *names* in that order, then perhaps *optional*."""
    expected = [xml.name(DS, each) for each in names.split()]
    more = [xml.name(DS, each) for each in optional.split()]
    found = [child.tag for child in element]
    if found not in (expected, expected + more):
        raise XmlRefused("signature_shape")
    return list(element)


def _signature_algorithm(method: Element) -> Signature:
    try:
        found = Signature(method.get("Algorithm", ""))
    except ValueError:
        raise XmlRefused("signature_algorithm") from None
    if len(method):
        raise XmlRefused("signature_algorithm", "parameters of the algorithm are not accepted")
    return found


def _digest_algorithm(method: Element) -> Digest:
    try:
        found = Digest(method.get("Algorithm", ""))
    except ValueError:
        raise XmlRefused("digest_algorithm") from None
    if len(method):
        raise XmlRefused("digest_algorithm", "parameters of the algorithm are not accepted")
    return found


def _prefixes(transforms: Element) -> tuple[str, ...]:
    """The prefix list of the exclusive canonicalization that has to be the second and last transform."""
    if any(each.tag != xml.name(DS, "Transform") for each in transforms):
        raise XmlRefused("signature_shape")
    named = [each.get("Algorithm") for each in transforms]
    if named[:1] != [ENVELOPED] or len(named) != 2 or len(transforms[0]):
        raise XmlRefused("transform")
    if named[1] not in (EXCLUSIVE, EXCLUSIVE_WITH_COMMENTS):
        raise XmlRefused("transform")
    return _exclusive(transforms[1])


def _exclusive(method: Element) -> tuple[str, ...]:
    # With or without comments is the same here: a reference to an ID leaves comments out (XML Signature 1.1,
    # section 4.4.3.3), and the parser has already dropped them.
    if method.get("Algorithm") not in (EXCLUSIVE, EXCLUSIVE_WITH_COMMENTS):
        raise XmlRefused("canonicalization")
    if [child.tag for child in method] not in ([], [_INCLUSIVE]):
        raise XmlRefused("canonicalization", "parameters that are not known")
    prefixes = tuple((method[0].get("PrefixList") or "").split()) if len(method) else ()
    if len(prefixes) > _MAX_PREFIXES:
        # security: each is looked for at each element.
        raise XmlRefused("canonicalization", "a long list of prefixes")
    return prefixes


def decoded(element: Element) -> bytes:
    """The octets that *element* holds as base64. Raises: XmlRefused: signature_shape."""
    try:
        return base64.b64decode("".join((element.text or "").split()), validate=True)
    except (binascii.Error, ValueError):
        raise XmlRefused("signature_shape") from None


def _signed_octets(element: Element, signature: Element, claim: Claim) -> bytes:
    """The canonical form of *element* without its *signature*, which is put back."""
    place = etree.Comment()
    place.tail = signature.tail
    element.replace(signature, place)
    try:
        return xml.canonical(element, claim.prefixes)
    finally:
        place.tail = None
        element.replace(place, signature)


def _one_key_verifies(
    element: Element, signature: Element, algorithm: Signature, keys: tuple[VerifyingKey, ...]
) -> None:
    if not keys:
        raise XmlRefused("no_keys")
    for key in keys:
        if key.fits(algorithm) and _verifies(element, signature, key):
            return
    raise XmlRefused("signature_invalid")


def _verifies(element: Element, signature: Element, key: VerifyingKey) -> bool:
    context = xmlsec.SignatureContext()
    context.key = key.xmlsec_key
    try:
        if element.get("ID"):
            context.register_id(element, "ID")
        context.verify(signature)
    except xmlsec.Error:
        return False
    return True


# --- signing ------------------------------------------------------------------------------------------------


def _signed_info(identifier: str, algorithm: Signature, digest: Digest, digested: bytes) -> str:
    """``ds:SignedInfo``, written as its own exclusive canonical form: these octets are the ones to sign."""
    return (
        f'<ds:SignedInfo xmlns:ds="{DS}"><ds:CanonicalizationMethod Algorithm="{EXCLUSIVE}"></ds:CanonicalizationMethod>'
        f'<ds:SignatureMethod Algorithm="{algorithm}"></ds:SignatureMethod><ds:Reference URI="#{identifier}">'
        f'<ds:Transforms><ds:Transform Algorithm="{ENVELOPED}"></ds:Transform><ds:Transform Algorithm="{EXCLUSIVE}">'
        f'</ds:Transform></ds:Transforms><ds:DigestMethod Algorithm="{digest}"></ds:DigestMethod>'
        f"<ds:DigestValue>{_text(digested)}</ds:DigestValue></ds:Reference></ds:SignedInfo>"
    )


def _text(octets: bytes) -> str:
    return base64.b64encode(octets).decode()
