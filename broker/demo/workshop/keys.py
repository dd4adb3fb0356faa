"""The workshop's own keys, and the certificates its partners know them by."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key


@dataclass(frozen=True)
class Keys:
    """One that signs, and another one that is encrypted to."""

    signing: rsa.RSAPrivateKey = field(repr=False)
    decryption: rsa.RSAPrivateKey = field(repr=False)


def keys_from(signing: str, decryption: str) -> Keys:
    """The keys of two PEM texts. Raises ValueError for anything but RSA keys."""
    return Keys(_rsa(signing), _rsa(decryption))


def certificate_of(key: rsa.RSAPrivateKey) -> bytes:
    """
    A certificate of *key*, DER: the same one whenever it is asked for, so that pinned metadata stays what it was.

    Its name and dates carry no meaning; it is a wrapping that metadata puts keys into.
    """
    public = key.public_key()
    digest = hashes.Hash(hashes.SHA256())
    digest.update(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tyre workshop")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(public)
    made = made.serial_number(int.from_bytes(digest.finalize()[:16]) >> 1 | 1)
    made = made.not_valid_before(datetime(2026, 1, 1, tzinfo=UTC)).not_valid_after(datetime(2046, 1, 1, tzinfo=UTC))
    return made.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def _rsa(pem: str) -> rsa.RSAPrivateKey:
    key = load_pem_private_key(pem.encode(), None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("not an RSA key")
    return key
