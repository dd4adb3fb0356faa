"""Keys of SAML: parsed once, strong enough, used by several threads; a certificate is a wrapping."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from broker.wire.saml import keys, redirect, signature, xml
from broker.wire.saml.encryption import Recipient, decrypt_element, encrypt_element
from broker.wire.saml.refused import XmlRefused
from tests.wire import saml_stage as stage


def refused(load: object, *given: bytes) -> str:
    with pytest.raises(XmlRefused) as raised:
        load(*given)  # type: ignore[operator]
    return raised.value.code


def test_each_key_is_parsed_once() -> None:
    """However often a message needs it, and whichever copy of the octets is asked for."""
    octets = stage.cert("secp256r1", 7)
    first = keys.verifying_key(octets)
    parsed = keys.verifying_key.cache_info().misses
    assert keys.verifying_key(bytes(bytearray(octets))) is first
    assert keys.verifying_key.cache_info().misses == parsed
    assert stage.signer() is stage.signer()
    assert stage.opener() is stage.opener()


def test_however_it_is_wrapped() -> None:
    """Certificate or bare key, PEM or DER: one key, one fingerprint."""
    public = stage.private().public_key()
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    wrapped = [stage.cert(), stage.in_date(stage.private()), stage.public_pem(public), der]
    wrapped.append(keys.x509.load_der_x509_certificate(stage.cert()).public_bytes(serialization.Encoding.PEM))
    assert len({keys.verifying_key(each).fingerprint for each in wrapped}) == 1


def test_weak_keys() -> None:
    """Too short, another curve, another kind: ours and theirs."""
    weak = [
        rsa.generate_private_key(65537, 1024),
        ec.generate_private_key(ec.SECP224R1()),
        ec.generate_private_key(ec.SECP256K1()),
        ed25519.Ed25519PrivateKey.generate(),
    ]
    for private in weak:
        pem = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        public = private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        assert refused(keys.verifying_key, public) == "saml.key_weak"
        assert refused(keys.decrypting_key, pem) == "saml.key_weak"


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"x",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN PUBLIC KEY-----",
        b"0\x82",
    ],
    ids=["empty", "letter", "certificate", "key", "der"],
)
def test_unreadable_keys(given: bytes) -> None:
    """Metadata of strangers has anything in it."""
    assert refused(keys.verifying_key, given) == "saml.key_unreadable"
    assert refused(keys.decrypting_key, given) == "saml.key_unreadable"
    assert refused(keys.signing_key, stage.pem(stage.private()), given) == "saml.key_unreadable"


def test_a_cut_certificate() -> None:
    """At any place."""
    whole = stage.cert()
    for end in range(0, len(whole), 37):
        assert refused(keys.verifying_key, whole[:end]) == "saml.key_unreadable"


MISSPELLED = b"\x0c\x04Test", b"\x13\x04T*@&"
"""As an issuer spells it that takes every string for a PrintableString (X.680, section 41.4)."""


def test_names_that_are_not_spelled_right() -> None:
    """The key in such a certificate is the same key: names carry no meaning (MetaIOP 1.0, section 2.6.1)."""
    odd = stage.cert().replace(*MISSPELLED)
    with pytest.raises(ValueError, match="PrintableString"):
        keys.x509.load_der_x509_certificate(odd)
    assert keys.verifying_key(odd).fingerprint == keys.verifying_key(stage.cert()).fingerprint
    curve = stage.cert("secp256r1")
    assert keys.verifying_key(curve.replace(*MISSPELLED)).fingerprint == keys.verifying_key(curve).fingerprint


def test_a_cut_certificate_with_odd_names() -> None:
    """Stepping over names ends where the octets do, wherever that is, and whatever a length says."""
    odd = stage.cert().replace(*MISSPELLED)
    for end in range(0, len(odd), 7):
        assert refused(keys.verifying_key, odd[:end]) == "saml.key_unreadable"
    for length in (b"\x80", b"\x84\xff\xff\xff\xff", b"\xff"):
        assert refused(keys.verifying_key, b"0" + length + odd[2:]) == "saml.key_unreadable"


def test_a_weak_key_under_odd_names() -> None:
    """It is weak all the same."""
    small = stage.in_date(rsa.generate_private_key(65537, 1024))
    assert refused(keys.verifying_key, small.replace(*MISSPELLED)) == "saml.key_weak"


def test_a_pair_belongs_together() -> None:
    """Or peers would verify with another key than signs."""
    pem = stage.pem(stage.private())
    assert refused(keys.signing_key, pem, stage.cert(which=1)) == "saml.key_unreadable"
    assert refused(keys.signing_key, pem, stage.cert("secp256r1")) == "saml.key_unreadable"


def test_private_halves_are_not_shown() -> None:
    """Neither in a log nor in a traceback."""
    shown = f"{stage.signer()!r} {stage.opener()!r}"
    assert "private" not in shown
    assert "xmlsec" not in shown


def once_around(number: int) -> str:
    """Signed, encrypted, sent, decrypted, verified; and by query besides."""
    kind = ("rsa", "secp256r1", "secp384r1")[number % 3]
    name = f"person-{number}"
    root = xml.parse(stage.response(stage.assertion(name)))
    assertion = root.find(xml.name(xml.SAML, "Assertion"))
    signature.sign(assertion, stage.signer(kind))
    root.replace(assertion, encrypt_element(assertion, Recipient(stage.verifier(kind), stage.cert(kind))))
    signature.sign(root, stage.signer(kind))
    arrived = xml.parse(xml.serialized(root))
    xml.schema_check(arrived)
    response = xml.parse(signature.verified(arrived, [stage.verifier("rsa", 1), stage.verifier(kind)]))
    opened = decrypt_element(response.find(xml.name(xml.SAML, "EncryptedAssertion")), [stage.opener(kind)])
    read = xml.parse(signature.verified(opened, [stage.verifier(kind)])).findtext(".//{*}NameID")
    query = redirect.encode(name.encode(), field="SAMLRequest", key=stage.signer(kind))
    came = redirect.decode(query)
    redirect.verify(came, [stage.verifier(kind)])
    return f"{read} {came.octets.decode()}"


def test_many_threads_at_once() -> None:
    """The same keys, parsers and schemas in all of them: nobody reads anybody else's message."""
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(once_around, range(120)))
    assert read == [f"person-{number} person-{number}" for number in range(120)]


def test_a_document_may_change_threads() -> None:
    """Parsed in one, verified in another, read in a third."""
    root = xml.parse(stage.response())
    signature.sign(root, stage.signer())
    sent = xml.serialized(root)
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        for _ in range(50):
            parsed = one.submit(xml.parse, sent).result()
            octets = other.submit(signature.verified, parsed, [stage.verifier()]).result()
            assert xml.parse(octets).findtext(".//{*}NameID") == "alice"
