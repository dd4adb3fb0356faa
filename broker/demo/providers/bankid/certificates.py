"""
The simulator's own public key infrastructure: a test CA, the API's server certificate, a relying party's
client certificate, and the key that signs for the test persons. Nothing in it is trusted outside the demo.
"""

import ipaddress
import os
import ssl
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFE = timedelta(days=730)
_MARGIN = timedelta(days=30)
_Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class Certificates:
    """Where the PEM files lie. Keys have mode 0600; ``ca_cert`` is what the relying party pins."""

    directory: Path

    @property
    def ca_cert(self) -> Path:
        """The test CA's certificate."""
        return self.directory / "ca.pem"

    @property
    def ca_key(self) -> Path:
        """The test CA's key; only the simulator reads it."""
        return self.directory / "ca.key"

    @property
    def server_cert(self) -> Path:
        """The RP API's certificate, for loopback addresses."""
        return self.directory / "server.pem"

    @property
    def server_key(self) -> Path:
        """Key of `server_cert`."""
        return self.directory / "server.key"

    @property
    def rp_cert(self) -> Path:
        """The relying party's client certificate; its common name is what the app shows."""
        return self.directory / "rp.pem"

    @property
    def rp_key(self) -> Path:
        """Key of `rp_cert`."""
        return self.directory / "rp.key"

    @property
    def person_key(self) -> Path:
        """RSA key that signs for all test persons."""
        return self.directory / "person.key"

    def complete(self) -> bool:
        """True when every file is there."""
        keys = (self.ca_key, self.server_key, self.rp_key, self.person_key)
        return all(file.is_file() for file in (self.ca_cert, self.server_cert, self.rp_cert, *keys))

    def rp_name(self) -> str:
        """The relying party's display name, as the app shows it."""
        return common_name(_load(self.rp_cert))


def make_certificates(directory: Path, *, now: datetime, rp_name: str = "Stafett") -> Certificates:
    """
    Make what is missing in *directory* (created with mode 0700); a good set made earlier is kept.

    Args:
        now: aware UTC; certificates live two years from then.
        rp_name: the relying party's display name.
    """
    files = Certificates(directory)
    if files.complete() and _is_good(files, rp_name, now):
        return files
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = _ca_certificate(ca_key, now)
    _write_key(files.ca_key, ca_key)
    _write_certificate(files.ca_cert, ca)
    for cert_file, key_file, name, usage in (
        (files.server_cert, files.server_key, "BankID simulator", ExtendedKeyUsageOID.SERVER_AUTH),
        (files.rp_cert, files.rp_key, rp_name, ExtendedKeyUsageOID.CLIENT_AUTH),
    ):
        key = ec.generate_private_key(ec.SECP256R1())
        _write_key(key_file, key)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        _write_certificate(cert_file, issue(subject, key.public_key(), ca, ca_key, now=now, usage=usage))
    _write_key(files.person_key, rsa.generate_private_key(public_exponent=65537, key_size=2048))
    return files


def tls_options(certificates: Certificates) -> dict[str, Any]:
    """Keyword arguments for ``uvicorn.Config``: TLS that demands a client certificate of the test CA."""
    return {
        "ssl_certfile": str(certificates.server_cert),
        "ssl_keyfile": str(certificates.server_key),
        "ssl_ca_certs": str(certificates.ca_cert),
        "ssl_cert_reqs": ssl.CERT_REQUIRED,
    }


def issue(
    subject: x509.Name,
    public_key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    *,
    now: datetime,
    usage: x509.ObjectIdentifier,
) -> x509.Certificate:
    """A leaf certificate of the test CA, good for loopback names and for *usage*."""
    names: list[x509.GeneralName] = [x509.DNSName("localhost")]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1")]
    builder = _builder(subject, ca.subject, public_key, now)
    return (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(is_ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def common_name(certificate: x509.Certificate) -> str:
    """The subject's common name."""
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def _ca_certificate(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "BankID simulator test CA")])
    builder = _builder(name, name, key.public_key(), now)
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(is_ca=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    now: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _LIFE)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _key_usage(*, is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=not is_ca,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )


def _is_good(files: Certificates, rp_name: str, now: datetime) -> bool:
    rp = _load(files.rp_cert)
    return common_name(rp) == rp_name and rp.not_valid_after_utc - _MARGIN > now > rp.not_valid_before_utc


def _load(file: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(file.read_bytes())


def _write_certificate(file: Path, certificate: x509.Certificate) -> None:
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _write_key(file: Path, key: _Key) -> None:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(pem)
