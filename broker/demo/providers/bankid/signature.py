"""
What a completed order carries as proof: an XML signature and an OCSP answer, both under the test CA.

The XML is written in canonical form (no comments, no empty-element tags, attributes in order, default
namespaces declared where canonicalisation would print them), so that what is hashed is what is sent.
Source: XML Signature Syntax and Processing 1.1; the member names are BankID's.
"""

import base64
import hashlib
from datetime import datetime, timedelta
from xml.sax.saxutils import escape

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from broker.demo.providers.bankid.certificates import Certificates, issue
from broker.demo.providers.bankid.people import Person

_DSIG = "http://www.w3.org/2000/09/xmldsig#"
_C14N = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
_RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
_SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
_TYPES = "http://www.bankid.com/signature/v1.0.0/types"


class Signer:
    """Signs for the test persons; certificates are issued when a person first signs."""

    def __init__(self, certificates: Certificates) -> None:
        ca_key = serialization.load_pem_private_key(certificates.ca_key.read_bytes(), password=None)
        key = serialization.load_pem_private_key(certificates.person_key.read_bytes(), password=None)
        if not isinstance(ca_key, ec.EllipticCurvePrivateKey) or not isinstance(key, rsa.RSAPrivateKey):
            raise TypeError("the simulator's keys are of the wrong kind")
        self._ca = x509.load_pem_x509_certificate(certificates.ca_cert.read_bytes())
        self._ca_key = ca_key
        self._key = key
        self._issued: dict[str, x509.Certificate] = {}

    def certificate_of(self, person: Person, now: datetime) -> x509.Certificate:
        """The person's BankID certificate: common name, names, and the personal number as serial number."""
        if person.personal_number not in self._issued:
            subject = x509.Name(
                [
                    x509.NameAttribute(NameOID.COUNTRY_NAME, "SE"),
                    x509.NameAttribute(NameOID.SURNAME, person.surname),
                    x509.NameAttribute(NameOID.GIVEN_NAME, person.given_name),
                    x509.NameAttribute(NameOID.SERIAL_NUMBER, person.personal_number),
                    x509.NameAttribute(NameOID.COMMON_NAME, person.name),
                ]
            )
            usage = ExtendedKeyUsageOID.CLIENT_AUTH
            self._issued[person.personal_number] = issue(
                subject, self._key.public_key(), self._ca, self._ca_key, now=now, usage=usage
            )
        return self._issued[person.personal_number]

    def sign(
        self,
        person: Person,
        *,
        visible: str,
        non_visible: str,
        rp_name: str,
        nonce: str,
        purpose: str,
        now: datetime,
    ) -> str:
        """
        The signature document, base64.

        Args:
            visible, non_visible: base64 as the relying party sent them; empty when it sent none.
            nonce: ties the document to the order.
            purpose: ``Identification`` or ``Signing``.
        """
        data = _signed_data(visible, non_visible, rp_name, nonce, purpose)
        key_info = self._key_info(person, now)
        info = _signed_info(data, key_info)
        value = base64.b64encode(self._key.sign(info.encode(), padding.PKCS1v15(), hashes.SHA256())).decode()
        document = (
            f'<?xml version="1.0" encoding="UTF-8" standalone="no"?><Signature xmlns="{_DSIG}">{info}'
            f"<SignatureValue>{value}</SignatureValue>{key_info}<Object>{data}</Object></Signature>"
        )
        return base64.b64encode(document.encode()).decode()

    def ocsp_response(self, person: Person, *, signature: str, now: datetime) -> str:
        """
        A good OCSP answer for the person's certificate, base64 DER; its nonce begins with SHA-1 of
        *signature*.
        """
        nonce = hashlib.sha1(signature.encode(), usedforsecurity=False).digest()
        answer = (
            ocsp.OCSPResponseBuilder()
            .add_response(
                cert=self.certificate_of(person, now),
                issuer=self._ca,
                algorithm=hashes.SHA256(),
                cert_status=ocsp.OCSPCertStatus.GOOD,
                this_update=now,
                next_update=now + timedelta(minutes=5),
                revocation_time=None,
                revocation_reason=None,
            )
            .responder_id(ocsp.OCSPResponderEncoding.HASH, self._ca)
            .certificates([self._ca])
            .add_extension(x509.OCSPNonce(nonce + b"\x00" * 12), critical=False)
            .sign(self._ca_key, hashes.SHA256())
        )
        return base64.b64encode(answer.public_bytes(serialization.Encoding.DER)).decode()

    def _key_info(self, person: Person, now: datetime) -> str:
        chain = (self.certificate_of(person, now), self._ca)
        certificates = "".join(f"<X509Certificate>{_der64(certificate)}</X509Certificate>" for certificate in chain)
        return f'<KeyInfo xmlns="{_DSIG}" Id="bidKeyInfo"><X509Data>{certificates}</X509Data></KeyInfo>'


def _signed_data(visible: str, non_visible: str, rp_name: str, nonce: str, purpose: str) -> str:
    name = base64.b64encode(f"cn={rp_name}".encode()).decode()
    display = base64.b64encode(rp_name.encode()).decode()
    shown = f'<usrVisibleData charset="UTF-8" visible="wysiwys">{escape(visible)}</usrVisibleData>' if visible else ""
    hidden = f"<usrNonVisibleData>{escape(non_visible)}</usrNonVisibleData>" if non_visible else ""
    return (
        f'<bankIdSignedData xmlns="{_TYPES}" Id="bidSignedData">{shown}{hidden}'
        f"<srvInfo><name>{name}</name><nonce>{nonce}</nonce><displayName>{display}</displayName></srvInfo>"
        f"<clientInfo><funcId>{purpose}</funcId><version>U0lNVUxBVE9S</version>"
        f"<env><ai><type>U0lNVUxBVE9S</type></ai></env></clientInfo></bankIdSignedData>"
    )


def _signed_info(data: str, key_info: str) -> str:
    references = "".join(
        f'<Reference{kind} URI="#{name}"><Transforms><Transform Algorithm="{_C14N}"></Transform></Transforms>'
        f'<DigestMethod Algorithm="{_SHA256}"></DigestMethod>'
        f"<DigestValue>{_digest(part)}</DigestValue></Reference>"
        for name, part, kind in (
            ("bidSignedData", data, f' Type="{_TYPES}"'),
            ("bidKeyInfo", key_info, ""),
        )
    )
    return (
        f'<SignedInfo xmlns="{_DSIG}"><CanonicalizationMethod Algorithm="{_C14N}"></CanonicalizationMethod>'
        f'<SignatureMethod Algorithm="{_RSA_SHA256}"></SignatureMethod>{references}</SignedInfo>'
    )


def _digest(canonical: str) -> str:
    return base64.b64encode(hashlib.sha256(canonical.encode()).digest()).decode()


def _der64(certificate: x509.Certificate) -> str:
    return base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()
