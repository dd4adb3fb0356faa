"""
The algorithms that are accepted and used; everything else is refused by name.

SHA-1, MD5, RSA 1.5, Triple DES and CBC are not on any list (saml2int SDP-ALG01, IIP-ALG; eIDAS Cryptographic
Requirements 1.4). The one SHA-1 that is left is inside OAEP, where it is a mask and no signature, and where
``rsa-oaep-mgf1p`` has no other by its definition (XML Encryption 1.1, section 5.5.2).
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

from cryptography.hazmat.primitives import hashes
from msgspec import Struct

EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
EXCLUSIVE_WITH_COMMENTS = "http://www.w3.org/2001/10/xml-exc-c14n#WithComments"
ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"


class Signature(StrEnum):
    """Signature algorithms (RFC 9231)."""

    RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
    RSA_SHA384 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha384"
    RSA_SHA512 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512"
    RSA_PSS_SHA256 = "http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1"
    RSA_PSS_SHA384 = "http://www.w3.org/2007/05/xmldsig-more#sha384-rsa-MGF1"
    RSA_PSS_SHA512 = "http://www.w3.org/2007/05/xmldsig-more#sha512-rsa-MGF1"
    ECDSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"
    ECDSA_SHA384 = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"
    ECDSA_SHA512 = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512"


class Digest(StrEnum):
    """Digest algorithms."""

    SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
    SHA384 = "http://www.w3.org/2001/04/xmldsig-more#sha384"
    SHA512 = "http://www.w3.org/2001/04/xmlenc#sha512"


class Content(StrEnum):
    """Content encryption: authenticated only, so that nothing is learnt by asking what decrypts."""

    AES128_GCM = "http://www.w3.org/2009/xmlenc11#aes128-gcm"
    AES256_GCM = "http://www.w3.org/2009/xmlenc11#aes256-gcm"

    @property
    def key_size(self) -> int:
        """Bytes of its key."""
        return 16 if self is Content.AES128_GCM else 32


class KeyTransport(StrEnum):
    """How a content key is encrypted to an RSA key."""

    OAEP_MGF1P = "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p"
    OAEP = "http://www.w3.org/2009/xmlenc11#rsa-oaep"


class KeyWrap(StrEnum):
    """How a content key is encrypted by an agreed one."""

    AES128 = "http://www.w3.org/2001/04/xmlenc#kw-aes128"
    AES256 = "http://www.w3.org/2001/04/xmlenc#kw-aes256"

    @property
    def key_size(self) -> int:
        """Bytes of its key."""
        return 16 if self is KeyWrap.AES128 else 32


ECDH_ES = "http://www.w3.org/2009/xmlenc11#ECDH-ES"
CONCAT_KDF = "http://www.w3.org/2009/xmlenc11#ConcatKDF"

SHA1 = "http://www.w3.org/2000/09/xmldsig#sha1"
"""Inside OAEP only."""

MASKS = {
    "http://www.w3.org/2009/xmlenc11#mgf1sha1": SHA1,
    "http://www.w3.org/2009/xmlenc11#mgf1sha256": Digest.SHA256.value,
    "http://www.w3.org/2009/xmlenc11#mgf1sha384": Digest.SHA384.value,
    "http://www.w3.org/2009/xmlenc11#mgf1sha512": Digest.SHA512.value,
}
"""Mask generation functions of OAEP, by their digest."""


class SignatureMethod(Struct, frozen=True):
    """What an algorithm name says: kind of key, padding and hash."""

    family: Literal["rsa", "rsa-pss", "ec"]
    hash: hashes.SHA256 | hashes.SHA384 | hashes.SHA512


_SHA256, _SHA384, _SHA512 = hashes.SHA256(), hashes.SHA384(), hashes.SHA512()

METHODS: Mapping[Signature, SignatureMethod] = {
    Signature.RSA_SHA256: SignatureMethod("rsa", _SHA256),
    Signature.RSA_SHA384: SignatureMethod("rsa", _SHA384),
    Signature.RSA_SHA512: SignatureMethod("rsa", _SHA512),
    Signature.RSA_PSS_SHA256: SignatureMethod("rsa-pss", _SHA256),
    Signature.RSA_PSS_SHA384: SignatureMethod("rsa-pss", _SHA384),
    Signature.RSA_PSS_SHA512: SignatureMethod("rsa-pss", _SHA512),
    Signature.ECDSA_SHA256: SignatureMethod("ec", _SHA256),
    Signature.ECDSA_SHA384: SignatureMethod("ec", _SHA384),
    Signature.ECDSA_SHA512: SignatureMethod("ec", _SHA512),
}

HASHLIB: Mapping[Digest, str] = {Digest.SHA256: "sha256", Digest.SHA384: "sha384", Digest.SHA512: "sha512"}
"""Names for `hashlib`."""

HASHES: Mapping[str, hashes.HashAlgorithm] = {
    SHA1: hashes.SHA1(),  # noqa: S303 - the mask of OAEP, see above
    Digest.SHA256: _SHA256,
    Digest.SHA384: _SHA384,
    Digest.SHA512: _SHA512,
}
"""Hashes of OAEP and of key derivation, by URI."""

SIGNATURES = frozenset(Signature)
"""What is accepted of a peer unless a profile is stricter."""

EIDAS_SIGNATURES = SIGNATURES - {Signature.RSA_SHA256, Signature.RSA_SHA384, Signature.RSA_SHA512}
"""eIDAS Cryptographic Requirements 1.4, section 3: RSA-PSS or ECDSA."""

ENCRYPTION = frozenset[str]({*Content, *KeyTransport, *KeyWrap, ECDH_ES})
"""What is accepted of a peer unless a profile is stricter."""

EIDAS_ENCRYPTION = ENCRYPTION - {KeyTransport.OAEP_MGF1P}
"""eIDAS Cryptographic Requirements 1.4, section 4."""
