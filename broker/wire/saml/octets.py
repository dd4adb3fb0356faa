"""Signatures over octets, where no document has to be canonicalised by a library (RFC 9231, section 2.3)."""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from broker.wire.saml.algorithms import METHODS, Signature, SignatureMethod
from broker.wire.saml.keys import SigningKey, VerifyingKey


def signature_of(octets: bytes, *, key: SigningKey, algorithm: Signature) -> bytes:
    """*key*'s signature of *octets* by *algorithm*, which fits it."""
    method = METHODS[algorithm]
    if isinstance(key.private, rsa.RSAPrivateKey):
        return key.private.sign(octets, _padding(method), method.hash)
    return side_by_side(key.private.sign(octets, ec.ECDSA(method.hash)), key.private.curve)


def side_by_side(der: bytes, curve: ec.EllipticCurve) -> bytes:
    """r and s as XML Signature writes them. Raises: ValueError: not DER, or too large for *curve*."""
    r, s = decode_dss_signature(der)
    if max(r, s).bit_length() > curve.key_size:
        raise ValueError("a number too large for the curve")
    return r.to_bytes(_half(curve), "big") + s.to_bytes(_half(curve), "big")


def is_signature(value: bytes, octets: bytes, *, key: VerifyingKey, algorithm: Signature) -> bool:
    """Whether *value* is *key*'s signature of *octets* by *algorithm*; False also when the two do not fit."""
    if not key.fits(algorithm):
        return False
    method = METHODS[algorithm]
    try:
        if isinstance(key.public, rsa.RSAPublicKey):
            key.public.verify(value, octets, _padding(method), method.hash)
        else:
            key.public.verify(_der(value, key.public.curve), octets, ec.ECDSA(method.hash))
    except InvalidSignature:
        return False
    return True


def _padding(method: SignatureMethod) -> padding.PSS | padding.PKCS1v15:
    if method.family == "rsa-pss":
        # RFC 9231, section 2.3.10: the salt is as long as the hash.
        return padding.PSS(padding.MGF1(method.hash), padding.PSS.DIGEST_LENGTH)
    return padding.PKCS1v15()


def _der(value: bytes, curve: ec.EllipticCurve) -> bytes:
    half = _half(curve)
    if len(value) != 2 * half:
        raise InvalidSignature
    return encode_dss_signature(int.from_bytes(value[:half], "big"), int.from_bytes(value[half:], "big"))


def _half(curve: ec.EllipticCurve) -> int:
    return (curve.key_size + 7) // 8
