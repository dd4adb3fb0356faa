"""XML signatures as SAML has them: what we sign is verified, and what is read is what was signed."""

import pytest

from broker.wire.saml import signature, xml
from broker.wire.saml.algorithms import Signature
from broker.wire.saml.refused import XmlRefused
from tests.wire import saml_stage as stage


def signed_response(algorithm: Signature | None = None, kind: str = "rsa") -> bytes:
    root = xml.parse(stage.response())
    signature.sign(root, stage.signer(kind), algorithm=algorithm)
    return xml.serialized(root)


def test_what_we_sign_is_verified_and_read_from_the_octets() -> None:
    """The octets are the element without its signature, and follow the schema with it."""
    root = xml.parse(signed_response())
    xml.schema_check(root)
    octets = signature.verified(root, [stage.verifier()])
    read = xml.parse(octets)
    assert read.findtext(".//{*}NameID") == "alice"
    assert not signature.is_signed(read)
    assert signature.is_signed(root)


def test_another_key_does_not_verify() -> None:
    """Only a key of the sender counts, though the message carries the certificate of the one that was used."""
    root = xml.parse(signed_response())
    with pytest.raises(XmlRefused) as refused:
        signature.verified(root, [stage.verifier(which=1)])
    assert refused.value.code == "saml.signature_invalid"
