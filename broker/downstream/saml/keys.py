"""
The keys that our SAML messages are signed by: all are in the metadata, one signs.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from msgspec import Struct

from broker.core.policy import PartnerSaml, SamlSignature
from broker.core.saml import PeerKey, SamlService
from broker.wire.saml.algorithms import Digest, Signature
from broker.wire.saml.keys import SigningKey

_ALWAYS = datetime.min.replace(tzinfo=UTC)

SIGNATURES = {
    SamlSignature.RSA_SHA256: Signature.RSA_SHA256,
    SamlSignature.RSA_SHA384: Signature.RSA_SHA384,
    SamlSignature.RSA_SHA512: Signature.RSA_SHA512,
    SamlSignature.RSA_PSS_SHA256: Signature.RSA_PSS_SHA256,
    SamlSignature.ECDSA_SHA256: Signature.ECDSA_SHA256,
    SamlSignature.ECDSA_SHA384: Signature.ECDSA_SHA384,
}


class TimedKey(Struct, frozen=True):
    """``signs_from``: aware UTC; None for a key that signs from the beginning."""

    key: SigningKey
    signs_from: datetime | None = None

    @property
    def since(self) -> datetime:
        """When it takes over."""
        return self.signs_from or _ALWAYS


class SamlKeys:
    """
    Our keys, by their times: a new one is in the metadata before it signs, and the old one stays there (saml2int SDP-MD04).
    """

    def __init__(self, keys: Sequence[TimedKey]) -> None:
        self._keys = tuple(keys)

    def signing(self, now: datetime) -> SigningKey:
        """The one that signs at *now*: of those whose time has come, the last."""
        due = [each for each in self._keys if each.since <= now]
        return max(due or self._keys, key=lambda each: each.since).key

    @property
    def published(self) -> tuple[PeerKey, ...]:
        """All of them, as partners know them."""
        return tuple(PeerKey(each.key.certificate, "signing") for each in self._keys)


def algorithms(key: SigningKey, terms: PartnerSaml, service: SamlService) -> tuple[Signature, Digest]:
    """
    What a partner's messages are signed by: what the operator says, else the usual one, else what its metadata lists
    (sstc-saml-metadata-algsupport-v1.0). What it lists and we do not have is not used.
    """
    digests = [each for each in Digest if each in service.digest_methods]
    digest = Digest.SHA256 if Digest.SHA256 in digests or not digests else digests[0]
    if terms.signature is not None:
        return SIGNATURES[terms.signature], digest
    usual = key.default_algorithm
    listed = [each for each in Signature if each in service.signing_methods and key.fits(each)]
    return usual if usual in listed or not listed else listed[0], digest
