"""
Keys of SAML: our own that sign and decrypt, peers' that verify and are encrypted to. Parsed once per content.

A certificate is a wrapping for a public key and nothing more: its dates, names and issuer carry no meaning, as trust
comes from the metadata it stands in (SAML V2.0 Metadata Interoperability Profile, section 2.6.1). RSA from 2048 to
8192 bits, EC on the NIST and Brainpool curves from 256 bits. Keys may be used by several threads at once.
"""

import hashlib
import warnings
from dataclasses import dataclass, field
from functools import lru_cache

import xmlsec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from broker.core.discreet import Discreet
from broker.wire.saml.algorithms import METHODS, Signature
from broker.wire.saml.refused import XmlRefused

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

_RSA_BITS = range(2048, 8193)
CURVES = (
    ec.SECP256R1,
    ec.SECP384R1,
    ec.SECP521R1,
    ec.BrainpoolP256R1,
    ec.BrainpoolP384R1,
    ec.BrainpoolP512R1,
)


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key of a peer: signatures are verified with it, content keys encrypted to it."""

    public: PublicKey
    fingerprint: str
    """SHA-256 of its SubjectPublicKeyInfo, hexadecimal."""
    xmlsec_key: xmlsec.Key = field(repr=False, compare=False)

    def fits(self, algorithm: Signature) -> bool:
        """Whether *algorithm* is one for this kind of key."""
        return _fits(self.public, algorithm)


class SigningKey(Discreet, frozen=True):
    """Our private key, and the certificate (DER) in which peers know its public half."""

    UNSPOKEN = frozenset({"private"})

    private: PrivateKey
    certificate: bytes

    @property
    def default_algorithm(self) -> Signature:
        """RSA-SHA256, or ECDSA with the hash that fits the curve."""
        if isinstance(self.private, rsa.RSAPrivateKey):
            return Signature.RSA_SHA256
        size = self.private.curve.key_size
        by_size = ((256, Signature.ECDSA_SHA256), (384, Signature.ECDSA_SHA384))
        return next((algorithm for bits, algorithm in by_size if size <= bits), Signature.ECDSA_SHA512)

    def fits(self, algorithm: Signature) -> bool:
        """Whether *algorithm* is one for this kind of key."""
        return _fits(self.private.public_key(), algorithm)


class DecryptingKey(Discreet, frozen=True):
    """Our private key that opens what was encrypted to it."""

    UNSPOKEN = frozenset({"private"})

    private: PrivateKey


@lru_cache(maxsize=8192)
def verifying_key(certificate: bytes) -> VerifyingKey:
    """
    The key in *certificate*, which is a certificate or a SubjectPublicKeyInfo, DER or PEM.

    Raises: XmlRefused: key_unreadable, key_weak.
    """
    public = _strong(_public(certificate))
    spki = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    # security: the bare key goes to libxmlsec, never the certificate, so that it has nothing else to look at.
    return VerifyingKey(public, hashlib.sha256(spki).hexdigest(), _for_xmlsec(_pem(public)))


@lru_cache(maxsize=64)
def signing_key(private: bytes, certificate: bytes) -> SigningKey:
    """
    Our key pair: PKCS#8 and a certificate of the same key, each PEM or DER.

    Raises: XmlRefused: key_unreadable (also when the two do not belong together), key_weak.
    """
    key = _private(private)
    if _public(certificate) != key.public_key():
        raise XmlRefused("key_unreadable", "the certificate is not for the private key")
    return SigningKey(key, _certificate(certificate).public_bytes(serialization.Encoding.DER))


@lru_cache(maxsize=64)
def decrypting_key(private: bytes) -> DecryptingKey:
    """Our key that decrypts: PKCS#8, PEM or DER. Raises: XmlRefused: key_unreadable, key_weak."""
    return DecryptingKey(_private(private))


def _private(given: bytes) -> PrivateKey:
    is_pem = given.lstrip().startswith(b"-----")
    load = serialization.load_pem_private_key if is_pem else serialization.load_der_private_key
    try:
        key = load(given, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise XmlRefused("key_unreadable") from None
    if not isinstance(key, PrivateKey):
        raise XmlRefused("key_weak", "neither RSA nor EC")
    _strong(key.public_key())
    return key


def _public(given: bytes) -> object:
    is_pem = given.lstrip().startswith(b"-----")
    try:
        if is_pem and b"PUBLIC KEY" in given:
            return serialization.load_pem_public_key(given)
        if is_pem or _is_certificate(given):
            return _certificate(given).public_key()
        return serialization.load_der_public_key(_wrapped(given) or given)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise XmlRefused("key_unreadable") from None


def _is_certificate(der: bytes) -> bool:
    try:
        _certificate(der)
    except ValueError:
        return False
    return True


def _wrapped(der: bytes) -> bytes | None:
    """
    The SubjectPublicKeyInfo in a certificate that is none for its names alone; None for anything but a certificate.

    Issuers there are, in federations' metadata too, whose names have characters (``*``, ``@``, ``&``) in strings that are not
    for them. As the names carry no meaning, they are stepped over (RFC 5280, section 4.1).
    """
    if (certificate := _element(der, 0x30)) is None or (signed := _element(certificate[0], 0x30)) is None:
        return None
    version = _element(signed[0], 0xA0)
    rest = signed[0] if version is None else version[1]
    for tag in (0x02, 0x30, 0x30, 0x30, 0x30):
        if (stepped := _element(rest, tag)) is None:
            return None
        rest = stepped[1]
    key = _element(rest, 0x30)
    return None if key is None else rest[: len(rest) - len(key[1])]


def _element(octets: bytes, tag: int) -> tuple[bytes, bytes] | None:
    """What is in the element of DER that *octets* begin with, and what follows it; None unless it is a whole *tag*."""
    if len(octets) < 2 or octets[0] != tag:
        return None
    start, length = 2, octets[1]
    if length >= 0x80:
        start, length = 2 + length - 0x80, int.from_bytes(octets[2 : 2 + length - 0x80])
    end = start + length
    return (octets[start:end], octets[end:]) if end <= len(octets) else None


def _certificate(given: bytes) -> x509.Certificate:
    is_pem = given.lstrip().startswith(b"-----")
    with warnings.catch_warnings():
        # Odd serial numbers and encodings in a wrapping that is not trusted for anything.
        warnings.simplefilter("ignore")
        return x509.load_pem_x509_certificate(given) if is_pem else x509.load_der_x509_certificate(given)


def _strong(key: object) -> PublicKey:
    match key:
        case rsa.RSAPublicKey() if key.key_size in _RSA_BITS and key.public_numbers().e in (3, 17, 65537):
            return key
        case ec.EllipticCurvePublicKey() if isinstance(key.curve, CURVES):
            return key
        case _:
            raise XmlRefused("key_weak")


def _fits(key: PublicKey, algorithm: Signature) -> bool:
    return isinstance(key, ec.EllipticCurvePublicKey) == (METHODS[algorithm].family == "ec")


def _pem(public: PublicKey) -> bytes:
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _for_xmlsec(pem: bytes) -> xmlsec.Key:
    try:
        return xmlsec.Key.from_memory(pem, xmlsec.constants.KeyDataFormatPem)
    except xmlsec.Error:
        raise XmlRefused("key_weak", "not a key that signatures are made with here") from None
