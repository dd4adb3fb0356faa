"""The HTTP-POST binding: a message as base64 in a form (saml-bindings-2.0-os, section 3.5.4)."""

import base64
import binascii

from broker.wire.saml.algorithms import Digest, Signature
from broker.wire.saml.keys import SigningKey
from broker.wire.saml.refused import XmlRefused
from broker.wire.saml.signature import sign
from broker.wire.saml.xml import MAX_MESSAGE, parse, serialized


def encode(octets: bytes) -> str:
    """The value of ``SAMLRequest`` or ``SAMLResponse``."""
    return base64.b64encode(octets).decode()


def encode_signed(
    octets: bytes, key: SigningKey, *, algorithm: Signature | None = None, digest: Digest = Digest.SHA256
) -> str:
    """
    As `encode`, with a signature inside the message, which is where this binding has it.

    Raises: XmlRefused: signature_algorithm when it does not fit the key.
    """
    root = parse(octets)
    sign(root, key, algorithm=algorithm, digest=digest)
    return encode(serialized(root))


def decode(field: str, *, max_bytes: int = MAX_MESSAGE) -> bytes:
    """
    The octets in the form field; lines may be broken. They are not inflated, whatever they look like.

    Raises: XmlRefused: too_large, base64.
    """
    if len(field) > max_bytes * 3 // 2:
        raise XmlRefused("too_large")
    try:
        octets = base64.b64decode("".join(field.split()), validate=True)
    except (binascii.Error, ValueError):
        raise XmlRefused("base64") from None
    if not octets:
        raise XmlRefused("base64")
    return octets
