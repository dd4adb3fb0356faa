"""
What all messages to and from a SAML provider have in common: how they are sent, and by whose keys they are verified.
"""

from cryptography.hazmat.primitives.asymmetric import rsa

from broker.core.saml import POST, Endpoint, SamlProvider
from broker.upstream.port import PostForm, Redirect
from broker.wire.saml import posted, redirect
from broker.wire.saml.algorithms import Signature
from broker.wire.saml.keys import PublicKey, SigningKey, VerifyingKey, verifying_key
from broker.wire.saml.redirect import Field
from broker.wire.saml.refused import XmlRefused


def sent(
    message: bytes, field: Field, where: Endpoint, relay_state: str | None, *, key: SigningKey, algorithm: Signature
) -> Redirect | PostForm:
    """*message* to *where*, signed where its binding has the signature: in the query, or in the message."""
    if where.binding == POST:
        members: dict[str, str] = {field: posted.encode_signed(message, key, algorithm=algorithm)}
        return PostForm(where.location, members if relay_state is None else {**members, "RelayState": relay_state})
    query = redirect.encode(message, field=field, relay_state=relay_state, key=key, algorithm=algorithm)
    return Redirect(f"{where.location}{'&' if '?' in where.location else '?'}{query}")


def signing_keys(provider: SamlProvider, least_rsa_bits: int) -> tuple[VerifyingKey, ...]:
    """The provider's keys that can be used; one that cannot does not take the others along."""
    found: list[VerifyingKey] = []
    for key in provider.keys:
        if key.signs:
            try:
                found.append(verifying_key(key.certificate))
            except XmlRefused:
                continue
    return tuple(each for each in found if not is_short(each.public, least_rsa_bits))


def is_short(key: PublicKey, least_rsa_bits: int) -> bool:
    """Whether it is an RSA key of fewer bits."""
    return isinstance(key, rsa.RSAPublicKey) and key.key_size < least_rsa_bits
