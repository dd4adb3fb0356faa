"""
What the simulated SAML provider writes: metadata and responses, as text; signed by signxml, encrypted by code of its own.

Nothing of it is the broker's, so that neither can be wrong in the other's way.
"""

import base64
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

from cryptography import x509
from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from lxml import etree
from signxml.algorithms import CanonicalizationMethod, DigestAlgorithm, SignatureConstructionMethod, SignatureMethod
from signxml.exceptions import InvalidDigest, InvalidInput, InvalidSignature
from signxml.signer import XMLSigner
from signxml.verifier import SignatureConfiguration, VerifyResult, XMLVerifier

DS: Final = "http://www.w3.org/2000/09/xmldsig#"
XENC: Final = "http://www.w3.org/2001/04/xmlenc#"
XENC11: Final = "http://www.w3.org/2009/xmlenc11#"
SUCCESS: Final = "urn:oasis:names:tc:SAML:2.0:status:Success"
BEARER: Final = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
URI: Final = "urn:oasis:names:tc:SAML:2.0:attrname-format:uri"
PSC: Final = "http://id.swedenconnect.se/authn/1.0/principal-selection/ns"
NATURAL: Final = "http://eidas.europa.eu/attributes/naturalperson"

_NAMESPACES: Final = (
    'xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion"'
    f' xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    f' xmlns:natural="{NATURAL}"'
)
_PLACE: Final = f'<ds:Signature xmlns:ds="{DS}" Id="placeholder"></ds:Signature>'
_KW256: Final = f"{XENC}kw-aes256"

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Attribute:
    """``values``: texts with ``LatinScript``, which is left out where it is None. ``type``: ``xsi:type``."""

    name: str
    values: tuple[tuple[str, bool | None], ...]
    type: str = "xs:string"


def plain(name: str, *values: str, type: str = "xs:string") -> Attribute:
    """An attribute of one script."""
    return Attribute(name, tuple((each, None) for each in values), type)


@dataclass(frozen=True, slots=True)
class Pair:
    """A private key and its certificate, DER."""

    private: PrivateKey
    certificate: bytes

    @classmethod
    def made(cls, private: PrivateKey, owner: str = "Simulated provider") -> "Pair":
        """With a certificate made for it now."""
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, owner)])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
            .not_valid_after(datetime(2120, 1, 1, tzinfo=UTC))
            .public_key(private.public_key())
            .sign(private, hashes.SHA256())
        )
        return cls(private, certificate.public_bytes(Encoding.DER))

    @property
    def certificate_pem(self) -> bytes:
        """The certificate as PEM."""
        return x509.load_der_x509_certificate(self.certificate).public_bytes(Encoding.PEM)

    @property
    def pem(self) -> bytes:
        """PKCS#8, in the clear."""
        return self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@dataclass(frozen=True, slots=True)
class Answer:
    """Everything a response says; whoever lies replaces a part."""

    issuer: str
    assertion_issuer: str
    destination: str
    recipient: str
    audience: str | None
    in_response_to: str | None
    confirmed_request: str | None
    issued_at: datetime
    not_before: datetime
    not_on_or_after: datetime
    authn_instant: datetime
    level: str | None
    name_id: str
    name_id_format: str
    assertion_id: str
    session_index: str
    attributes: tuple[Attribute, ...] = ()
    authorities: tuple[str, ...] = ()
    status: tuple[str, ...] = (SUCCESS,)
    method: str = BEARER
    assertions: int = 1
    signs_response: bool = True
    signs_assertion: bool = False
    encrypts: bool = True
    doctype: bool = False


def said(moment: datetime) -> str:
    """As SAML writes times."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def response(
    answer: Answer, *, signer: Pair, method: SignatureMethod, to: bytes | None, is_modern: bool = False
) -> bytes:
    """
    The response as it is posted.

    Args:
        to: the service's certificate that assertions are encrypted to. is_modern: by OAEP as in XML Encryption 1.1.
    """
    head = (
        f'{_NAMESPACES} ID="_{secrets.token_hex(16)}" Version="2.0" IssueInstant="{said(answer.issued_at)}"'
        f" Destination={quoteattr(answer.destination)}"
        + (f" InResponseTo={quoteattr(answer.in_response_to)}" if answer.in_response_to else "")
    )
    content = "".join(
        _assertion_sent(answer, index, signer, method, to, is_modern) for index in range(answer.assertions)
    )
    if answer.status[0] != SUCCESS:
        content = ""
    text = (
        f"<samlp:Response {head}><saml:Issuer>{escape(answer.issuer)}</saml:Issuer>{_PLACE if answer.signs_response else ''}"
        f"<samlp:Status>{_status(answer.status)}</samlp:Status>{content}</samlp:Response>"
    )
    octets = signed(text, signer, method) if answer.signs_response else text.encode()
    return b"<!DOCTYPE Response>" + octets if answer.doctype else octets


def signed(text: str, signer: Pair, method: SignatureMethod) -> bytes:
    """*text*, which has a place for it, signed as a whole."""
    root = etree.fromstring(text.encode())
    done = _signer(method).sign(
        root,
        key=signer.pem,
        cert=signer.certificate_pem.decode(),
        reference_uri=root.get("ID"),
        id_attribute="ID",
    )
    octets: bytes = etree.tostring(done)
    return octets


def verifies_inside(octets: bytes, certificate: bytes, method: str) -> bool:
    """Whether the document is signed as a whole by the key of *certificate*, by *method*."""
    settings = SignatureConfiguration(
        signature_methods=frozenset({SignatureMethod(method)}), digest_algorithms=frozenset({DigestAlgorithm.SHA256})
    )
    pem = x509.load_der_x509_certificate(certificate).public_bytes(Encoding.PEM).decode()
    try:
        done = XMLVerifier().verify(octets, x509_cert=pem, id_attribute="ID", expect_config=settings)
    except (InvalidSignature, InvalidDigest, InvalidInput, ValueError):
        return False
    return isinstance(done, VerifyResult) and done.signed_xml is not None and done.signed_xml.tag == parsed(octets).tag


def _signer(method: SignatureMethod) -> XMLSigner:
    signer = XMLSigner(
        method=SignatureConstructionMethod.enveloped,
        signature_algorithm=method,
        digest_algorithm=DigestAlgorithm.SHA256,
        c14n_algorithm=CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
    )
    signer.namespaces = {"ds": DS}
    return signer


def _status(codes: Sequence[str]) -> str:
    inner = _status(codes[1:]) if len(codes) > 1 else ""
    return f"<samlp:StatusCode Value={quoteattr(codes[0])}>{inner}</samlp:StatusCode>"


def _assertion_sent(
    answer: Answer, index: int, signer: Pair, method: SignatureMethod, to: bytes | None, is_modern: bool
) -> str:
    text = _assertion(answer, f"{answer.assertion_id}{index or ''}")
    octets = signed(text, signer, method) if answer.signs_assertion else text.encode()
    if not answer.encrypts or to is None:
        return octets.decode()
    return f"<saml:EncryptedAssertion>{encrypted(octets, to, is_modern=is_modern)}</saml:EncryptedAssertion>"


def _assertion(answer: Answer, identifier: str) -> str:
    confirmed = f" InResponseTo={quoteattr(answer.confirmed_request)}" if answer.confirmed_request else ""
    audience = (
        f"<saml:AudienceRestriction><saml:Audience>{escape(answer.audience)}</saml:Audience></saml:AudienceRestriction>"
        if answer.audience
        else ""
    )
    authorities = "".join(
        f"<saml:AuthenticatingAuthority>{escape(each)}</saml:AuthenticatingAuthority>" for each in answer.authorities
    )
    level = answer.level or "urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified"
    return (
        f'<saml:Assertion {_NAMESPACES} ID="{identifier}" Version="2.0" IssueInstant="{said(answer.issued_at)}">'
        f"<saml:Issuer>{escape(answer.assertion_issuer)}</saml:Issuer>{_PLACE if answer.signs_assertion else ''}"
        f"<saml:Subject><saml:NameID Format={quoteattr(answer.name_id_format)}>{escape(answer.name_id)}</saml:NameID>"
        f"<saml:SubjectConfirmation Method={quoteattr(answer.method)}><saml:SubjectConfirmationData"
        f" NotOnOrAfter={quoteattr(said(answer.not_on_or_after))} Recipient={quoteattr(answer.recipient)}{confirmed}/>"
        f"</saml:SubjectConfirmation></saml:Subject><saml:Conditions NotBefore={quoteattr(said(answer.not_before))}"
        f" NotOnOrAfter={quoteattr(said(answer.not_on_or_after))}>{audience}</saml:Conditions>"
        f"<saml:AuthnStatement AuthnInstant={quoteattr(said(answer.authn_instant))} SessionIndex="
        f'"{answer.session_index}"><saml:AuthnContext><saml:AuthnContextClassRef>{escape(level)}'
        f"</saml:AuthnContextClassRef>{authorities}</saml:AuthnContext></saml:AuthnStatement>"
        f"{_attributes(answer.attributes)}</saml:Assertion>"
    )


def _attributes(attributes: Sequence[Attribute]) -> str:
    if not attributes:
        return ""
    return f"<saml:AttributeStatement>{''.join(map(_attribute, attributes))}</saml:AttributeStatement>"


def _attribute(attribute: Attribute) -> str:
    values = "".join(
        f'<saml:AttributeValue xsi:type="{attribute.type}"'
        + ("" if is_latin is None else f' natural:LatinScript="{str(is_latin).lower()}"')
        + f">{escape(text)}</saml:AttributeValue>"
        for text, is_latin in attribute.values
    )
    return f'<saml:Attribute Name={quoteattr(attribute.name)} NameFormat="{URI}">{values}</saml:Attribute>'


# --- encryption ------------------------------------------------------------------------------------------------


def encrypted(octets: bytes, to: bytes, *, is_modern: bool) -> str:
    """``xenc:EncryptedData`` for the certificate *to*: AES-256-GCM, its key by RSA-OAEP or agreed on by ECDH-ES."""
    content_key, iv = secrets.token_bytes(32), secrets.token_bytes(12)
    public = x509.load_der_x509_certificate(to).public_key()
    if isinstance(public, rsa.RSAPublicKey):
        key = _by_oaep(public, content_key, is_modern=is_modern)
    elif isinstance(public, ec.EllipticCurvePublicKey):
        key = _by_agreement(public, content_key)
    else:
        raise ValueError("neither RSA nor EC")
    return (
        f'<xenc:EncryptedData xmlns:xenc="{XENC}" Type="{XENC}Element">'
        f'<xenc:EncryptionMethod Algorithm="{XENC11}aes256-gcm"/><ds:KeyInfo xmlns:ds="{DS}">'
        f"<xenc:EncryptedKey>{key}</xenc:EncryptedKey></ds:KeyInfo>"
        f"{_value(iv + AESGCM(content_key).encrypt(iv, octets, None))}</xenc:EncryptedData>"
    )


def _by_oaep(public: rsa.RSAPublicKey, content_key: bytes, *, is_modern: bool) -> str:
    digest: hashes.HashAlgorithm = hashes.SHA256() if is_modern else hashes.SHA1()  # noqa: S303 - what OAEP of 1.0 has
    sealed = public.encrypt(content_key, padding.OAEP(padding.MGF1(digest), digest, None))
    if not is_modern:
        return f'<xenc:EncryptionMethod Algorithm="{XENC}rsa-oaep-mgf1p"/>{_value(sealed)}'
    return (
        f'<xenc:EncryptionMethod Algorithm="{XENC11}rsa-oaep"><ds:DigestMethod Algorithm="{XENC}sha256"/>'
        f'<xenc11:MGF xmlns:xenc11="{XENC11}" Algorithm="{XENC11}mgf1sha256"/></xenc:EncryptionMethod>{_value(sealed)}'
    )


def _by_agreement(public: ec.EllipticCurvePublicKey, content_key: bytes) -> str:
    passing = ec.generate_private_key(public.curve)
    info = _KW256.encode()
    wrapping = ConcatKDFHash(hashes.SHA256(), 32, info).derive(passing.exchange(ec.ECDH(), public))
    point = passing.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    curves = {"secp256r1": "1.2.840.10045.3.1.7", "secp384r1": "1.3.132.0.34", "secp521r1": "1.3.132.0.35"}
    return (
        f'<xenc:EncryptionMethod Algorithm="{_KW256}"/><ds:KeyInfo><xenc:AgreementMethod Algorithm="{XENC11}ECDH-ES">'
        f'<xenc11:KeyDerivationMethod xmlns:xenc11="{XENC11}" Algorithm="{XENC11}ConcatKDF"><xenc11:ConcatKDFParams'
        f' AlgorithmID="00{info.hex()}" PartyUInfo="00" PartyVInfo="00"><ds:DigestMethod Algorithm="{XENC}sha256"/>'
        "</xenc11:ConcatKDFParams></xenc11:KeyDerivationMethod><xenc:OriginatorKeyInfo><ds:KeyValue>"
        '<dsig11:ECKeyValue xmlns:dsig11="http://www.w3.org/2009/xmldsig11#"><dsig11:NamedCurve'
        f' URI="urn:oid:{curves[public.curve.name]}"/><dsig11:PublicKey>{_text(point)}</dsig11:PublicKey>'
        "</dsig11:ECKeyValue></ds:KeyValue></xenc:OriginatorKeyInfo></xenc:AgreementMethod></ds:KeyInfo>"
        f"{_value(keywrap.aes_key_wrap(wrapping, content_key))}"
    )


def _value(octets: bytes) -> str:
    return f"<xenc:CipherData><xenc:CipherValue>{_text(octets)}</xenc:CipherValue></xenc:CipherData>"


def _text(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


# --- metadata ---------------------------------------------------------------------------------------------------


def metadata(
    entity_id: str,
    sso: Mapping[str, str],
    keys: Sequence[Pair],
    *,
    until: datetime,
    name: str,
    certified: Sequence[str] = (),
    country: str | None = None,
    expects: Sequence[str] = (),
    slo: Mapping[str, str] | None = None,
    sealed_to: Pair | None = None,
) -> str:
    """
    The provider's ``EntityDescriptor``, with a place for a signature.

    Args:
        sso, slo: by binding, where requests for logins, and messages of logging out go. sealed_to: what is encrypted to.
        expects: by which attributes it wants to be told whom to expect.
    """
    attribute = "urn:oasis:names:tc:SAML:attribute:assurance-certification"
    values = "".join(f"<saml:AttributeValue>{escape(each)}</saml:AttributeValue>" for each in certified)
    extensions = (
        f'<md:Extensions><mdattr:EntityAttributes xmlns:mdattr="urn:oasis:names:tc:SAML:metadata:attribute">'
        f'<saml:Attribute Name="{attribute}" NameFormat="{URI}">{values}</saml:Attribute></mdattr:EntityAttributes>'
        "</md:Extensions>"
    )
    node = f'<eidas:NodeCountry xmlns:eidas="http://eidas.europa.eu/saml-extensions">{country}</eidas:NodeCountry>'
    wanted = "".join(f"<psc:MatchValue Name={quoteattr(each)}/>" for each in expects)
    selection = f'<psc:RequestedPrincipalSelection xmlns:psc="{PSC}">{wanted}</psc:RequestedPrincipalSelection>'
    descriptors = "".join(
        f'<md:KeyDescriptor use="signing"><ds:KeyInfo><ds:X509Data><ds:X509Certificate>{_text(each.certificate)}'
        "</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>"
        for each in keys
    )
    return (
        '<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" '
        f'xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" xmlns:ds="{DS}" ID="_{secrets.token_hex(16)}"'
        f' entityID={quoteattr(entity_id)} validUntil="{said(until)}">{_PLACE}{extensions if certified else ""}'
        '<md:IDPSSODescriptor WantAuthnRequestsSigned="true"'
        ' protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"><md:Extensions>'
        '<mdui:UIInfo xmlns:mdui="urn:oasis:names:tc:SAML:metadata:ui">'
        f'<mdui:DisplayName xml:lang="en">{escape(name)}</mdui:DisplayName></mdui:UIInfo>{node if country else ""}'
        f"{selection if expects else ''}"
        f"</md:Extensions>{descriptors}{_sealing(sealed_to)}"
        f"{_endpoints('SingleLogoutService', slo or {})}{_endpoints('SingleSignOnService', sso)}"
        "</md:IDPSSODescriptor></md:EntityDescriptor>"
    )


def _sealing(pair: Pair | None) -> str:
    return (
        '<md:KeyDescriptor use="encryption"><ds:KeyInfo><ds:X509Data><ds:X509Certificate>'
        f"{_text(pair.certificate)}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>"
        if pair is not None
        else ""
    )


def _endpoints(name: str, locations: Mapping[str, str]) -> str:
    return "".join(
        f"<md:{name} Binding={quoteattr(binding)} Location={quoteattr(location)}/>"
        for binding, location in locations.items()
    )


def parsed(octets: bytes) -> Any:
    """What the service sent, by a parser that fetches and expands nothing."""
    return etree.fromstring(octets, etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False))
