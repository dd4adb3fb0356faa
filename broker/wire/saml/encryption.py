"""
XML encryption, as far as SAML has it: one element, encrypted with AES-GCM, its key encrypted to the recipient.

Keys go by RSA-OAEP, in both of its spellings, or by ECDH-ES with ConcatKDF and AES key wrap (XML Encryption 1.1,
sections 5.4 to 5.6; eIDAS Cryptographic Requirements 1.4, section 4). What decrypts has still been signed by nobody in
particular, as anybody may encrypt to us: the signature of the message around it, or inside it, says whose it is.

Algorithms are looked at before a key is touched; whatever fails afterwards is ``undecryptable``, and nothing tells why.
"""

import base64
import binascii
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import keywrap
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from lxml import etree
from msgspec import Struct

from broker.core.saml import PeerKey
from broker.wire.saml import xml
from broker.wire.saml.algorithms import (
    CONCAT_KDF,
    ECDH_ES,
    ENCRYPTION,
    HASHES,
    MASKS,
    SHA1,
    Content,
    Digest,
    KeyTransport,
    KeyWrap,
)
from broker.wire.saml.keys import CURVES, DecryptingKey, VerifyingKey, verifying_key
from broker.wire.saml.refused import XmlRefused
from broker.wire.saml.xml import DS, XENC, XENC11, Element

DSIG11 = "http://www.w3.org/2009/xmldsig11#"
XS = "http://www.w3.org/2001/XMLSchema"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
ELEMENT = f"{XENC}Element"
_EIDAS = {f"http://eidas.europa.eu/attributes/{each}person" for each in ("natural", "legal")}
_WELL_KNOWN = {XS, XSI, xml.SAML, xml.SAMLP, DS, XENC, *_EIDAS}
_MAX_KEYS = 8
_IV, _TAG = 12, 16

_OIDS = {
    "urn:oid:1.2.840.10045.3.1.7": "secp256r1",
    "urn:oid:1.3.132.0.34": "secp384r1",
    "urn:oid:1.3.132.0.35": "secp521r1",
    "urn:oid:1.3.36.3.3.2.8.1.1.7": "brainpoolP256r1",
    "urn:oid:1.3.36.3.3.2.8.1.1.11": "brainpoolP384r1",
    "urn:oid:1.3.36.3.3.2.8.1.1.13": "brainpoolP512r1",
}
_URNS = {name: urn for urn, name in _OIDS.items()}
_BY_NAME = {curve.name: curve for curve in CURVES}


class Recipient(Struct, frozen=True):
    """Whom something is encrypted to, and how: *transport* of the content key for RSA, *wrap* of it for EC."""

    key: VerifyingKey
    certificate: bytes
    content: Content = Content.AES256_GCM
    transport: KeyTransport = KeyTransport.OAEP_MGF1P
    wrap: KeyWrap = KeyWrap.AES256


def recipient_of(keys: Iterable[PeerKey]) -> Recipient | None:
    """
    The first of a peer's *keys* that may be encrypted to, with the first algorithms that it lists and we have.

    Returns: None when it has no key for encryption.
    Raises: XmlRefused: encryption_algorithm when it lists algorithms and none is acceptable; key_unreadable, key_weak.
        Whoever has to encrypt sends nothing then.
    """
    given = [key for key in keys if key.encrypts]
    if not given:
        return None
    for each in given:
        if found := _recipient(each):
            return found
    raise XmlRefused("encryption_algorithm", "the peer lists no algorithm that is used here")


@lru_cache(maxsize=8192)
def _recipient(given: PeerKey) -> Recipient | None:
    key = verifying_key(given.certificate)
    listed = given.encryption_methods
    contents = [Content(each) for each in listed if each in set(Content)]
    transports = [KeyTransport(each) for each in listed if each in set(KeyTransport)]
    wraps = [KeyWrap(each) for each in listed if each in set(KeyWrap)]
    says_content = any(each.startswith((f"{XENC}aes", f"{XENC}tripledes", f"{XENC11}aes")) for each in listed)
    says_transport = any("rsa" in each for each in listed)
    if says_content and not contents:
        return None
    if isinstance(key.public, rsa.RSAPublicKey) and says_transport and not transports:
        return None
    return Recipient(
        key,
        given.certificate,
        content=contents[0] if contents else Content.AES256_GCM,
        transport=transports[0] if transports else KeyTransport.OAEP_MGF1P,
        wrap=wraps[0] if wraps else KeyWrap.AES256,
    )


# --- encrypting -------------------------------------------------------------------------------------------


def encrypt_element(
    element: Element, to: Recipient, *, wrapper: Literal["EncryptedAssertion", "EncryptedID"] = "EncryptedAssertion"
) -> Element:
    """
    ``saml:EncryptedAssertion`` (or *wrapper*) holding *element*, which is not changed; its signature, if any, stays good.

    Source: saml-core-2.0-os, section 2.3.4; XML Encryption 1.1, section 3.
    """
    content_key = AESGCM.generate_key(to.content.key_size * 8)
    iv = secrets.token_bytes(_IV)
    sealed = iv + AESGCM(content_key).encrypt(iv, xml.serialized(element), None)
    return etree.fromstring(
        f'<saml:{wrapper} xmlns:saml="{xml.SAML}"><xenc:EncryptedData xmlns:xenc="{XENC}" Type="{ELEMENT}">'
        f'<xenc:EncryptionMethod Algorithm="{to.content}"/><ds:KeyInfo xmlns:ds="{DS}"><xenc:EncryptedKey>'
        f"{_key_for(to, content_key)}</xenc:EncryptedKey></ds:KeyInfo>{_cipher_data(sealed)}</xenc:EncryptedData>"
        f"</saml:{wrapper}>"
    )


def _key_for(to: Recipient, content_key: bytes) -> str:
    if isinstance(to.key.public, rsa.RSAPublicKey):
        return _transported(to, to.key.public, content_key)
    return _agreed(to, to.key.public, content_key)


def _transported(to: Recipient, public: rsa.RSAPublicKey, content_key: bytes) -> str:
    modern = to.transport is KeyTransport.OAEP
    digest = Digest.SHA256.value if modern else SHA1
    mask = f'<xenc11:MGF xmlns:xenc11="{XENC11}" Algorithm="{XENC11}mgf1sha256"/>' if modern else ""
    return (
        f'<xenc:EncryptionMethod Algorithm="{to.transport}"><ds:DigestMethod Algorithm="{digest}"/>{mask}'
        f"</xenc:EncryptionMethod><ds:KeyInfo>{_x509(to.certificate)}</ds:KeyInfo>"
        f"{_cipher_data(public.encrypt(content_key, _oaep(digest, digest)))}"
    )


def _agreed(to: Recipient, public: ec.EllipticCurvePublicKey, content_key: bytes) -> str:
    ours = ec.generate_private_key(public.curve)
    # The wrapping algorithm is part of what the key is derived from; nobody has a name in it.
    info = to.wrap.encode()
    wrapped = keywrap.aes_key_wrap(_derived(ours, public, Digest.SHA256, to.wrap.key_size, info), content_key)
    point = ours.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return (
        f'<xenc:EncryptionMethod Algorithm="{to.wrap}"/><ds:KeyInfo><xenc:AgreementMethod Algorithm="{ECDH_ES}">'
        f'<xenc11:KeyDerivationMethod xmlns:xenc11="{XENC11}" Algorithm="{CONCAT_KDF}"><xenc11:ConcatKDFParams '
        f'AlgorithmID="00{info.hex()}" PartyUInfo="00" PartyVInfo="00"><ds:DigestMethod Algorithm="{Digest.SHA256}"/>'
        "</xenc11:ConcatKDFParams></xenc11:KeyDerivationMethod><xenc:OriginatorKeyInfo><ds:KeyValue>"
        f'<dsig11:ECKeyValue xmlns:dsig11="{DSIG11}"><dsig11:NamedCurve URI="{_URNS[public.curve.name]}"/>'
        f"<dsig11:PublicKey>{_text(point)}</dsig11:PublicKey></dsig11:ECKeyValue></ds:KeyValue>"
        f"</xenc:OriginatorKeyInfo><xenc:RecipientKeyInfo>{_x509(to.certificate)}</xenc:RecipientKeyInfo>"
        f"</xenc:AgreementMethod></ds:KeyInfo>{_cipher_data(wrapped)}"
    )


def _x509(certificate: bytes) -> str:
    encoded = _text(certificate)
    return f"<ds:X509Data><ds:X509Certificate>{encoded}</ds:X509Certificate></ds:X509Data>"


def _cipher_data(octets: bytes) -> str:
    return f"<xenc:CipherData><xenc:CipherValue>{_text(octets)}</xenc:CipherValue></xenc:CipherData>"


def _text(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


# --- decrypting -------------------------------------------------------------------------------------------


def decrypt_element(
    encrypted: Element,
    keys: Iterable[DecryptingKey],
    *,
    allowed: Collection[str] = ENCRYPTION,
    declared: Mapping[str | None, str] | None = None,
) -> Element:
    """
    The one element in *encrypted* (``saml:EncryptedAssertion``, ``EncryptedID``), as the root of its own document.

    It has passed `xml.parse`; whose it is, is not known yet.

    Args:
        keys: ours, each of which is tried.
        allowed: URIs of content encryption, key transport, key wrap and ECDH-ES that are accepted.
        declared: prefixes where *encrypted* stood in the document as it came. Senders exist that leave declarations
            outside of what they encrypt, and a canonical form has lost them; only names of XML and SAML are taken.
    Raises: XmlRefused: unencrypted, encryption_shape, encryption_algorithm, undecryptable, and those of `xml.parse`.
    """
    data = _only(encrypted, XENC, "EncryptedData", missing="unencrypted")
    if data.get("Type", ELEMENT) != ELEMENT:
        raise XmlRefused("encryption_shape", "not an element")
    content = Content(_accepted(data, set(Content) & set(allowed)))
    sealed = _cipher_value(data)
    wrapped = [_unwrapper(each, allowed) for each in _encrypted_keys(encrypted, data)]
    ours = tuple(keys)
    for plain in (_opened(sealed, content, each, key) for each in wrapped for key in ours):
        if plain is not None:
            return _standing_alone(plain, {**_well_known(declared or {}), **encrypted.nsmap})
    raise XmlRefused("undecryptable")


class _Transported(Struct, frozen=True):
    """A content key encrypted to an RSA key."""

    value: bytes
    digest: str
    mask: str

    def content_key(self, ours: DecryptingKey) -> bytes | None:
        if not isinstance(ours.private, rsa.RSAPrivateKey):
            return None
        return ours.private.decrypt(self.value, _oaep(self.digest, self.mask))


class _Agreed(Struct, frozen=True):
    """A content key wrapped by one that the sender's passing key and ours agree on."""

    value: bytes
    wrap: KeyWrap
    digest: str
    info: bytes
    originator: ec.EllipticCurvePublicKey

    def content_key(self, ours: DecryptingKey) -> bytes | None:
        if not isinstance(ours.private, ec.EllipticCurvePrivateKey):
            return None
        wrapping = _derived(ours.private, self.originator, self.digest, self.wrap.key_size, self.info)
        return keywrap.aes_key_unwrap(wrapping, self.value)


def _opened(sealed: bytes, content: Content, wrapped: _Transported | _Agreed, ours: DecryptingKey) -> bytes | None:
    """None for whatever goes wrong: wrong key, wrong tag and wrong padding look alike."""
    try:
        content_key = wrapped.content_key(ours)
        if content_key is None or len(content_key) != content.key_size or len(sealed) < _IV + _TAG:
            return None
        return AESGCM(content_key).decrypt(sealed[:_IV], sealed[_IV:], None)
    except (ValueError, InvalidTag, keywrap.InvalidUnwrap):
        return None


def _well_known(declared: Mapping[str | None, str]) -> dict[str | None, str]:
    # security: these declarations are covered by no signature; a prefix gets one of these meanings or none.
    known: dict[str | None, str] = {
        prefix: namespace for prefix, namespace in declared.items() if prefix and namespace in _WELL_KNOWN
    }
    return {"xs": XS, "xsi": XSI, **known}


def _standing_alone(plain: bytes, declared: Mapping[str | None, str]) -> Element:
    """*plain* as a document, with *declared* around it while it is parsed."""
    # security: without this the text could bring a declaration of its own, where only an element belongs.
    if not plain.lstrip().startswith(b"<") or plain.lstrip().startswith(b"<?"):
        raise XmlRefused("not_xml")
    outside = etree.Element("stafett", nsmap=dict(declared))
    start = etree.tostring(outside).removesuffix(b"/>")
    whole = xml.parse(start + b">" + plain + b"</stafett>", max_bytes=2 * xml.MAX_MESSAGE)
    if len(whole) != 1 or (whole.text or "").strip() or (whole[0].tail or "").strip():
        raise XmlRefused("encryption_shape", "not exactly one element")
    return xml.parse(xml.serialized(whole[0]))


def _encrypted_keys(encrypted: Element, data: Element) -> list[Element]:
    """Inside KeyInfo, or beside the data where RetrievalMethod points to: all are tried, so nothing is resolved."""
    info = data.find(xml.name(DS, "KeyInfo"))
    inside = [] if info is None else info.findall(xml.name(XENC, "EncryptedKey"))
    found = [*inside, *encrypted.findall(xml.name(XENC, "EncryptedKey"))]
    if not 0 < len(found) <= _MAX_KEYS:
        raise XmlRefused("encryption_shape", "no encrypted key, or too many")
    return found


def _unwrapper(key: Element, allowed: Collection[str]) -> _Transported | _Agreed:
    method = _accepted(key, (set(KeyTransport) | set(KeyWrap)) & set(allowed))
    if method in set(KeyTransport):
        return _transported_key(key, KeyTransport(method))
    if ECDH_ES not in allowed:
        raise XmlRefused("encryption_algorithm")
    return _agreed_key(key, KeyWrap(method))


def _transported_key(key: Element, method: KeyTransport) -> _Transported:
    parameters = {child.tag: child.get("Algorithm") for child in _only(key, XENC, "EncryptionMethod")}
    digest = parameters.pop(xml.name(DS, "DigestMethod"), SHA1)
    mask = parameters.pop(xml.name(XENC11, "MGF"), f"{XENC11}mgf1sha1")
    if parameters or (method is KeyTransport.OAEP_MGF1P and mask != f"{XENC11}mgf1sha1"):
        raise XmlRefused("encryption_algorithm", "parameters that are not known")
    if digest not in HASHES or mask not in MASKS:
        raise XmlRefused("encryption_algorithm")
    return _Transported(_cipher_value(key), str(digest), MASKS[str(mask)])


def _agreed_key(key: Element, wrap: KeyWrap) -> _Agreed:
    agreement = _only(_only(key, DS, "KeyInfo"), XENC, "AgreementMethod")
    derivation = _only(agreement, XENC11, "KeyDerivationMethod")
    if agreement.get("Algorithm") != ECDH_ES or derivation.get("Algorithm") != CONCAT_KDF:
        raise XmlRefused("encryption_algorithm")
    parameters = _only(derivation, XENC11, "ConcatKDFParams")
    digest = _only(parameters, DS, "DigestMethod").get("Algorithm")
    if digest not in set(Digest):
        raise XmlRefused("encryption_algorithm")
    return _Agreed(
        value=_cipher_value(key),
        wrap=wrap,
        digest=str(digest),
        info=b"".join(_bit_strings(parameters)),
        originator=_point(_only(_only(agreement, XENC, "OriginatorKeyInfo"), DS, "KeyValue")),
    )


def _bit_strings(parameters: Element) -> Iterator[bytes]:
    """The parts of OtherInfo: hexadecimal, the first octet being the number of bits that pad the last one."""
    for attribute in ("AlgorithmID", "PartyUInfo", "PartyVInfo", "SuppPubInfo", "SuppPrivInfo"):
        try:
            octets = bytes.fromhex(parameters.get(attribute) or "00")
        except ValueError:
            raise XmlRefused("encryption_shape") from None
        if octets[:1] != b"\0":
            raise XmlRefused("encryption_shape", "a bit string that is not whole octets")
        yield octets[1:]


def _point(value: Element) -> ec.EllipticCurvePublicKey:
    given = _only(value, DSIG11, "ECKeyValue")
    curve = _BY_NAME.get(_OIDS.get(_only(given, DSIG11, "NamedCurve").get("URI") or "", ""))
    if curve is None:
        raise XmlRefused("encryption_algorithm", "another curve")
    try:
        # cryptography refuses points that are not on the curve.
        return ec.EllipticCurvePublicKey.from_encoded_point(curve(), _octets(_only(given, DSIG11, "PublicKey")))
    except ValueError:
        raise XmlRefused("undecryptable") from None


def _derived(
    private: ec.EllipticCurvePrivateKey, public: ec.EllipticCurvePublicKey, digest: str, size: int, info: bytes
) -> bytes:
    shared = private.exchange(ec.ECDH(), public)
    return ConcatKDFHash(HASHES[digest], size, info).derive(shared)


def _oaep(digest: str, mask: str) -> padding.OAEP:
    return padding.OAEP(padding.MGF1(HASHES[mask]), HASHES[digest], None)


def _accepted(element: Element, allowed: Collection[str]) -> str:
    algorithm = _only(element, XENC, "EncryptionMethod").get("Algorithm")
    if algorithm not in allowed:
        raise XmlRefused("encryption_algorithm")
    return str(algorithm)


def _cipher_value(element: Element) -> bytes:
    return _octets(_only(_only(element, XENC, "CipherData"), XENC, "CipherValue"))


def _only(element: Element, namespace: str, local: str, *, missing: str = "encryption_shape") -> Element:
    found = element.findall(xml.name(namespace, local))
    if not found:
        raise XmlRefused(missing)
    if len(found) > 1:
        raise XmlRefused("encryption_shape")
    return found[0]


def _octets(element: Element) -> bytes:
    try:
        return base64.b64decode("".join((element.text or "").split()), validate=True)
    except (binascii.Error, ValueError):
        raise XmlRefused("encryption_shape") from None
