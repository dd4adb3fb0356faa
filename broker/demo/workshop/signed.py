"""
What is believed: XML that signxml verified, read from the octets that were signed, and queries signed as they came.
"""

import base64
import binascii
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import unquote_plus, urlencode

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from lxml import etree
from signxml.algorithms import DigestAlgorithm, SignatureMethod
from signxml.exceptions import SignXMLException
from signxml.verifier import SignatureConfiguration, XMLVerifier

SAML = "urn:oasis:names:tc:SAML:2.0:assertion"
SAMLP = "urn:oasis:names:tc:SAML:2.0:protocol"
MD = "urn:oasis:names:tc:SAML:2.0:metadata"
DS = "http://www.w3.org/2000/09/xmldsig#"
XENC = "http://www.w3.org/2001/04/xmlenc#"
XENC11 = "http://www.w3.org/2009/xmlenc11#"
NS = {"saml": SAML, "samlp": SAMLP, "md": MD, "ds": DS, "xenc": XENC, "xenc11": XENC11}

AES256_GCM = f"{XENC11}aes256-gcm"
RSA_OAEP = f"{XENC11}rsa-oaep"
SHA256 = f"{XENC}sha256"
RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
ECDSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"

Element: TypeAlias = Any
"""An element of lxml, which has no types."""

_LONGEST = 256 * 1024
_IV = 12


class NotBelieved(Exception):
    """A message that is not to be believed; ``code`` says which check failed."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def parsed(octets: bytes) -> Element:
    """The root of *octets*. Raises NotBelieved (`xml`) for what is no XML, too long, or brings a document type."""
    if len(octets) > _LONGEST:
        raise NotBelieved("xml")
    try:
        root = etree.fromstring(octets, etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True))
    except etree.XMLSyntaxError as error:
        raise NotBelieved("xml") from error
    if root.getroottree().docinfo.doctype:
        raise NotBelieved("xml")
    return root


def unpacked(text: str) -> bytes:
    """Base64 as it is posted. Raises NotBelieved (`xml`)."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise NotBelieved("xml") from error


def verified(octets: bytes, certificates: Iterable[x509.Certificate]) -> Element:
    """
    The root element of *octets*, parsed anew from what was signed by one of *certificates*: nothing beside it is ever looked at.

    Raises: NotBelieved (`xml`, `signature`).
    """
    root = parsed(octets)
    for certificate in certificates:
        try:
            found = XMLVerifier().verify(
                octets, x509_cert=certificate, id_attribute="ID", expect_config=_expected(certificate)
            )
        except (SignXMLException, InvalidSignature, etree.LxmlError, ValueError):
            continue
        signed = found[0].signed_xml if isinstance(found, list) else found.signed_xml
        # security: a signature of some other element in the document says nothing about the whole.
        if signed is not None and signed.tag == root.tag and signed.get("ID") == root.get("ID"):
            return signed
    raise NotBelieved("signature")


def _expected(certificate: x509.Certificate) -> SignatureConfiguration:
    """One signature, right below the root, by what a careful site takes. A certificate's dates carry no meaning in SAML."""
    return SignatureConfiguration(
        location="./",
        expect_references=1,
        signature_methods=frozenset({SignatureMethod.RSA_SHA256, SignatureMethod.ECDSA_SHA256}),
        digest_algorithms=frozenset({DigestAlgorithm.SHA256}),
        verification_time=certificate.not_valid_before_utc,
    )


def decrypted(encrypted: Element, key: rsa.RSAPrivateKey) -> bytes:
    """
    What is inside an EncryptedAssertion, by the algorithms that our metadata lists and no others.

    Raises: NotBelieved (`encryption`), the same for whatever is wrong.
    """
    try:
        (data,) = encrypted.findall("xenc:EncryptedData", NS)
        (method,) = data.findall("xenc:EncryptionMethod", NS)
        (wrapped,) = data.findall("ds:KeyInfo/xenc:EncryptedKey", NS)
        (transport,) = wrapped.findall("xenc:EncryptionMethod", NS)
        if (method.get("Algorithm"), transport.get("Algorithm")) != (AES256_GCM, RSA_OAEP):
            raise NotBelieved("encryption")
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
        content_key = key.decrypt(_cipher(wrapped), oaep)
        sealed = _cipher(data)
        return AESGCM(content_key).decrypt(sealed[:_IV], sealed[_IV:], None)
    except Exception as error:
        # security: which step failed would help whoever tries.
        raise NotBelieved("encryption") from error


def _cipher(element: Element) -> bytes:
    (value,) = element.findall("xenc:CipherData/xenc:CipherValue", NS)
    return base64.b64decode(value.text or "")


@dataclass(frozen=True)
class Carried:
    """A message by HTTP-Redirect. ``field``: SAMLRequest or SAMLResponse."""

    field: str
    octets: bytes
    relay_state: str


def signed_query(field: str, message: bytes, relay_state: str, key: rsa.RSAPrivateKey) -> str:
    """The query that carries *message*, signed (saml-bindings-2.0-os, section 3.4.4.1)."""
    packed = zlib.compress(message, wbits=-15)
    members = {field: base64.b64encode(packed).decode()} | ({"RelayState": relay_state} if relay_state else {})
    query = urlencode({**members, "SigAlg": RSA_SHA256})
    signature = key.sign(query.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{query}&{urlencode({'Signature': base64.b64encode(signature).decode()})}"


def verified_query(query: str, certificates: Sequence[x509.Certificate]) -> Carried:
    """
    The message in *query*, which is the raw text of an address: what was signed are its octets.

    Raises: NotBelieved (`xml`, `signature`).
    """
    raw: dict[str, str] = {}
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name in raw:
            raise NotBelieved("xml")
        raw[name] = value
    fields = raw.keys() & {"SAMLRequest", "SAMLResponse"}
    if len(fields) != 1 or "Signature" not in raw:
        raise NotBelieved("signature")
    (field,) = fields
    signed = "&".join(f"{name}={raw[name]}" for name in (field, "RelayState", "SigAlg") if name in raw)
    signature = unpacked(unquote_plus(raw["Signature"]))
    algorithm = unquote_plus(raw.get("SigAlg", ""))
    if not any(_signed_by(each, algorithm, signature, signed.encode()) for each in certificates):
        raise NotBelieved("signature")
    return Carried(field, _inflated(unpacked(unquote_plus(raw[field]))), unquote_plus(raw.get("RelayState", "")))


def _signed_by(certificate: x509.Certificate, algorithm: str, signature: bytes, signed: bytes) -> bool:
    key = certificate.public_key()
    try:
        if isinstance(key, rsa.RSAPublicKey) and algorithm == RSA_SHA256:
            key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
            return True
        if isinstance(key, ec.EllipticCurvePublicKey) and algorithm == ECDSA_SHA256:
            half = len(signature) // 2
            pair = (int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))
            key.verify(utils.encode_dss_signature(*pair), signed, ec.ECDSA(hashes.SHA256()))
            return True
    except InvalidSignature:
        pass
    return False


def _inflated(packed: bytes) -> bytes:
    inflating = zlib.decompressobj(-15)
    try:
        octets = inflating.decompress(packed, _LONGEST)
    except zlib.error as error:
        raise NotBelieved("xml") from error
    if not inflating.eof:
        raise NotBelieved("xml")
    return octets
