"""
The key pair that development makes for itself, once, so that a restart changes no metadata. Production gets its own by reference.
"""

import os
import secrets
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

_BITS = 3072
"""saml2int SDP-MD07."""
_YEARS = timedelta(days=3650)


def own_pair(folder: Path, *, name: str, now: datetime) -> tuple[bytes, bytes]:
    """
    A private key (PKCS#8, PEM) and its certificate (PEM) kept in *folder*, made now if they are not there yet.

    Several processes may do this at once: the first to finish the file wins, the others read it.

    Args:
        name: the certificate's common name, for people.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "saml.pem"
    if not path.exists():
        fresh = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(_made(name, now))
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass  # another process was first; its file is read below
        finally:
            fresh.unlink()
    pem = path.read_bytes()
    return pem, pem


def _made(name: str, now: datetime) -> bytes:
    key = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name[:64])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _YEARS)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)
