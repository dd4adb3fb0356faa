"""Keys, certificates and messages for the tests of `broker/wire/saml`: everything is invented here."""

import base64
from datetime import UTC, datetime
from functools import cache

import xmlsec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from lxml import etree

from broker.wire.saml import keys, xml
from broker.wire.saml.encryption import Recipient, encrypt_element

IDP = "https://idp.example.com/saml"
SP = "https://sp.example.org/saml"


def certificate(private: keys.PrivateKey) -> bytes:
    """A self-signed certificate, DER; out of date, which means nothing."""
    return _certificate(private, datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC))


def _certificate(private: keys.PrivateKey, begin: datetime, end: datetime) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Test")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(begin).not_valid_after(end).public_key(private.public_key())
    return builder.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def in_date(private: keys.PrivateKey) -> bytes:
    """The same for long, for a library that looks at dates."""
    return _certificate(private, datetime(2020, 1, 1, tzinfo=UTC), datetime(2120, 1, 1, tzinfo=UTC))


def pem(private: keys.PrivateKey) -> bytes:
    """PKCS#8, PEM, in the clear."""
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def private(kind: str = "rsa", which: int = 0) -> keys.PrivateKey:
    """A key pair: ``rsa``, ``rsa3072`` or the name of a curve; *which* tells several of one kind apart."""
    return _private(kind, which)


def cert(kind: str = "rsa", which: int = 0) -> bytes:
    """The certificate of `private`."""
    return _cert(kind, which)


def public_pem(public: object) -> bytes:
    """SubjectPublicKeyInfo, PEM."""
    assert isinstance(public, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@cache
def _private(kind: str, which: int) -> keys.PrivateKey:
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind[3:] or 2048))
    curves = {curve.name: curve for curve in keys.CURVES}
    return ec.generate_private_key(curves[kind]())


@cache
def _cert(kind: str, which: int) -> bytes:
    return certificate(private(kind, which))


def signer(kind: str = "rsa", which: int = 0) -> keys.SigningKey:
    """It signs."""
    return keys.signing_key(pem(private(kind, which)), cert(kind, which))


def xmlsec_signer(kind: str = "rsa", which: int = 0) -> xmlsec.Key:
    """The same for libxmlsec, which signs whatever it is told to."""
    return xmlsec.Key.from_memory(pem(private(kind, which)), xmlsec.constants.KeyDataFormatPem)


def verifier(kind: str = "rsa", which: int = 0) -> keys.VerifyingKey:
    """And the peer verifies."""
    return keys.verifying_key(cert(kind, which))


def opener(kind: str = "rsa", which: int = 0) -> keys.DecryptingKey:
    """It decrypts."""
    return keys.decrypting_key(pem(private(kind, which)))


def assertion(name_id: str = "alice", identifier: str = "_a1", more: str = "") -> str:
    """An assertion about *name_id*, not signed."""
    return (
        f'<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="{identifier}" Version="2.0" '
        f'IssueInstant="2026-11-22T07:00:00Z"><saml:Issuer>{IDP}</saml:Issuer><saml:Subject>'
        f"<saml:NameID>{name_id}</saml:NameID></saml:Subject><saml:AttributeStatement><saml:Attribute "
        f'Name="urn:oid:2.5.4.42"><saml:AttributeValue>Åsa &amp; Örjan</saml:AttributeValue></saml:Attribute>'
        f"</saml:AttributeStatement>{more}</saml:Assertion>"
    )


def response(content: str | None = None, identifier: str = "_r1") -> bytes:
    """A response with *content*, an assertion about Alice when it is None; not signed."""
    inner = assertion() if content is None else content
    return (
        '<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" '
        'xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" '
        f'ID="{identifier}" Version="2.0" IssueInstant="2026-11-22T07:00:00Z" InResponseTo="_q1" Destination="{SP}">'
        f"<saml:Issuer>{IDP}</saml:Issuer><samlp:Status>"
        '<samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>'
        f"{inner}</samlp:Response>"
    ).encode()


# --- encrypted to the key of `private()` --------------------------------------------------------------------


def content_value(encrypted: etree._Element) -> etree._Element:
    """The CipherValue of the content."""
    return encrypted.find(f"{{{xml.XENC}}}EncryptedData/{{{xml.XENC}}}CipherData/{{{xml.XENC}}}CipherValue")


def key_value(encrypted: etree._Element) -> etree._Element:
    """The CipherValue of the first key."""
    return encrypted.find(f".//{{{xml.XENC}}}EncryptedKey/{{{xml.XENC}}}CipherData/{{{xml.XENC}}}CipherValue")


def content_key(encrypted: etree._Element) -> bytes:
    """What only the recipient can know."""
    ours = private()
    assert isinstance(ours, rsa.RSAPrivateKey)
    sha1 = hashes.SHA1()
    return ours.decrypt(base64.b64decode(key_value(encrypted).text), padding.OAEP(padding.MGF1(sha1), sha1, None))


def encrypted_text(plain: bytes) -> etree._Element:
    """An EncryptedAssertion of anything, which need not be XML at all."""
    made = encrypt_element(etree.fromstring(b"<a/>"), Recipient(verifier(), cert()))
    iv = bytes(12)
    sealed = iv + AESGCM(content_key(made)).encrypt(iv, plain, None)
    content_value(made).text = base64.b64encode(sealed).decode()
    return made
