"""XML signatures as SAML has them: what we sign is verified, and what is read is what was signed."""

import itertools
from typing import Any

import pytest
import xmlsec
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as some
from lxml import etree
from signxml import DigestAlgorithm, SignatureConfiguration, SignatureMethod, XMLSigner, XMLVerifier
from signxml.algorithms import CanonicalizationMethod, SignatureConstructionMethod

from broker.wire.saml import signature, xml
from broker.wire.saml.algorithms import EXCLUSIVE, Digest, Signature
from broker.wire.saml.refused import XmlRefused
from tests.wire import saml_attacks as attacks
from tests.wire import saml_stage as stage

KINDS = [
    "rsa",
    "rsa3072",
    "secp256r1",
    "secp384r1",
    "secp521r1",
    "brainpoolP256r1",
    "brainpoolP384r1",
    "brainpoolP512r1",
]
PAIRS = [
    (kind, algorithm, digest)
    for kind, algorithm, digest in itertools.product(KINDS, Signature, Digest)
    if stage.signer(kind).fits(algorithm)
]
NAMED = [f"{kind}-{algorithm.name}-{digest.name}" for kind, algorithm, digest in PAIRS]


def signed_response(kind: str = "rsa", **how: Any) -> bytes:
    root = xml.parse(stage.response())
    signature.sign(root, stage.signer(kind), **how)
    return xml.serialized(root)


def taken(sent: bytes, kind: str = "rsa") -> etree._Element:
    return xml.parse(signature.verified(xml.parse(sent), [stage.verifier(kind)]))


def test_what_we_sign_is_verified_and_read_from_the_octets() -> None:
    """The octets are the element without its signature, and the document follows the schema with it."""
    root = xml.parse(signed_response())
    xml.schema_check(root)
    before = xml.serialized(root)
    octets = signature.verified(root, [stage.verifier()])
    read = xml.parse(octets)
    assert read.findtext(".//{*}NameID") == "alice"
    assert not signature.is_signed(read)
    assert xml.serialized(root) == before  # verifying leaves the document as it was


@pytest.mark.parametrize(("kind", "algorithm", "digest"), PAIRS, ids=NAMED)
def test_every_algorithm_with_every_key_it_fits(kind: str, algorithm: Signature, digest: Digest) -> None:
    """
    RSA, RSA-PSS and ECDSA; NIST and Brainpool curves; the certificate being long out of date. libxmlsec verifies it, so that its
    canonical form of SignedInfo is the text that we signed.
    """
    sent = signed_response(kind, algorithm=algorithm, digest=digest)
    assert taken(sent, kind).findtext(".//{*}NameID") == "alice"
    assert algorithm.encode() in sent
    assert digest.encode() in sent


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_usual_with_a_key(kind: str) -> None:
    """A hash as strong as the curve."""
    usual = stage.signer(kind).default_algorithm
    expected = {"rsa": "sha256", "rsa3072": "sha256", "secp256r1": "sha256", "brainpoolP256r1": "sha256"}
    expected |= {"secp384r1": "sha384", "brainpoolP384r1": "sha384"}
    assert usual.endswith(expected.get(kind, "sha512"))
    assert usual.encode() in signed_response(kind)


def test_an_algorithm_that_does_not_fit_the_key() -> None:
    """Neither made nor verified."""
    with pytest.raises(XmlRefused) as refused:
        signed_response("rsa", algorithm=Signature.ECDSA_SHA256)
    assert refused.value.code == "saml.signature_algorithm"
    with pytest.raises(XmlRefused) as refused:
        taken(signed_response("secp256r1"), "rsa")
    assert refused.value.code == "saml.signature_invalid"


def test_several_keys_of_a_peer() -> None:
    """While it changes them, any may have signed (saml2int SDP-IDP32)."""
    root = xml.parse(signed_response())
    keys = [stage.verifier("secp256r1"), stage.verifier(which=1), stage.verifier(), stage.verifier("rsa3072")]
    assert signature.verified(root, keys)


def test_inner_first_then_outer() -> None:
    """Both signatures hold: the assertion's inside what the response's covers."""
    root = xml.parse(stage.response())
    signature.sign(root.find(attacks.ASSERTION), stage.signer("secp256r1"))
    signature.sign(root, stage.signer())
    outer = taken(xml.serialized(root))
    octets = signature.verified(outer.find(attacks.ASSERTION), [stage.verifier("secp256r1")])
    assert xml.parse(octets).findtext(".//{*}NameID") == "alice"


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "not listed"])
def test_prefixes_that_only_values_use(listed: bool) -> None:
    """A sender may list them, so that they are signed and kept; another does not, and they are lost without harm."""
    root = etree.fromstring(stage.response().replace(b"<samlp:Response ", b'<samlp:Response xmlns:xs="urn:xs" '))
    assertion = root.find(attacks.ASSERTION)
    signature.sign(assertion, stage.signer())
    own = assertion.find(attacks.SIGNATURE)
    if listed:
        exclusive = own.findall(f".//{xml.name(xml.DS, 'Transform')}")[1]
        etree.SubElement(exclusive, xml.name(EXCLUSIVE, "InclusiveNamespaces"), PrefixList="xs saml")
        context = xmlsec.SignatureContext()
        context.key = stage.xmlsec_signer()
        context.register_id(assertion, "ID")
        context.sign(own)
    element = xml.parse(etree.tostring(root)).find(attacks.ASSERTION)
    octets = signature.verified(element, [stage.verifier()])
    assert (b"xmlns:xs" in octets) == listed
    assert xml.parse(octets).findtext(".//{*}NameID") == "alice"


# --- with another library -----------------------------------------------------------------------------------

OTHERS = {
    Signature.RSA_SHA256: SignatureMethod.RSA_SHA256,
    Signature.RSA_SHA384: SignatureMethod.RSA_SHA384,
    Signature.RSA_SHA512: SignatureMethod.RSA_SHA512,
    Signature.RSA_PSS_SHA256: SignatureMethod.SHA256_RSA_MGF1,
    Signature.RSA_PSS_SHA384: SignatureMethod.SHA384_RSA_MGF1,
    Signature.RSA_PSS_SHA512: SignatureMethod.SHA512_RSA_MGF1,
    Signature.ECDSA_SHA256: SignatureMethod.ECDSA_SHA256,
    Signature.ECDSA_SHA384: SignatureMethod.ECDSA_SHA384,
    Signature.ECDSA_SHA512: SignatureMethod.ECDSA_SHA512,
}
DIGESTS = {
    Digest.SHA256: DigestAlgorithm.SHA256,
    Digest.SHA384: DigestAlgorithm.SHA384,
    Digest.SHA512: DigestAlgorithm.SHA512,
}
SHARED = [(kind, algorithm, digest) for kind, algorithm, digest in PAIRS if not kind.startswith("brainpool")]
SHARED_NAMED = [f"{kind}-{algorithm.name}-{digest.name}" for kind, algorithm, digest in SHARED]


@pytest.mark.parametrize(("kind", "algorithm", "digest"), SHARED, ids=SHARED_NAMED)
def test_signxml_verifies_what_we_sign(kind: str, algorithm: Signature, digest: Digest) -> None:
    """An independent implementation, told nothing but the key and what to expect."""
    sent = signed_response(kind, algorithm=algorithm, digest=digest)
    expected = SignatureConfiguration(
        signature_methods=frozenset({OTHERS[algorithm]}), digest_algorithms=frozenset({DIGESTS[digest]})
    )
    in_date = x509.load_der_x509_certificate(stage.in_date(stage.private(kind)))
    result = XMLVerifier().verify(sent, id_attribute="ID", expect_config=expected, x509_cert=in_date)
    assert not isinstance(result, list)
    assert result.signed_xml is not None
    assert result.signed_xml.findtext(".//{*}NameID") == "alice"


@pytest.mark.parametrize(("kind", "algorithm", "digest"), SHARED, ids=SHARED_NAMED)
def test_we_verify_what_signxml_signs(kind: str, algorithm: Signature, digest: Digest) -> None:
    """And the other way round."""
    signer = XMLSigner(
        method=SignatureConstructionMethod.enveloped,
        signature_algorithm=OTHERS[algorithm],
        digest_algorithm=DIGESTS[digest],
        c14n_algorithm=CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
    )
    root = signer.sign(
        etree.fromstring(stage.response()),
        key=stage.private(kind),
        cert=[x509.load_der_x509_certificate(stage.cert(kind))],
        reference_uri="_r1",
        id_attribute="ID",
    )
    assert taken(etree.tostring(root), kind).findtext(".//{*}NameID") == "alice"


# --- properties ---------------------------------------------------------------------------------------------

TEXT = some.text(some.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=40)
PREFIXES: dict[str | None, str] = {"p": "urn:x", "q": "urn:z", "saml": xml.SAML, "r": "urn:y"}
NAME = some.sampled_from(["{urn:x}a", "{urn:x}b", "{urn:y}c", "{urn:z}d", xml.name(xml.SAML, "e")])


@some.composite
def trees(draw: some.DrawFn, depth: int = 3) -> etree._Element:
    """Any element, with attributes, text, tails and namespaces; lxml gives one prefix two meanings unless it is told."""
    element = etree.Element(draw(NAME), nsmap=draw(some.sampled_from([PREFIXES, PREFIXES | {None: "urn:y"}])))
    for name in draw(some.lists(some.sampled_from(["m", "n", "{urn:x}o"]), unique=True, max_size=3)):
        element.set(name, draw(TEXT))
    element.text = draw(TEXT)
    for _ in range(draw(some.integers(0, 3 if depth else 0))):
        child = draw(trees(depth - 1))
        child.tail = draw(TEXT)
        element.append(child)
    return element


@settings(max_examples=60, deadline=None)
@given(tree=trees(), kind=some.sampled_from(["rsa", "secp256r1"]))
def test_any_document_there_and_back(tree: etree._Element, kind: str) -> None:
    """Signed, sent, verified: what is read has the canonical form of what was signed."""
    tree.set("ID", "_tree")
    root = etree.fromstring(etree.tostring(tree))
    before = xml.canonical(root)
    signature.sign(root, stage.signer(kind))
    assert signature.verified(xml.parse(xml.serialized(root)), [stage.verifier(kind)]) == before
    assert xml.canonical(xml.parse(before)) == before


ONCE = {kind: attacks.octets(attacks.genuine(kind)) for kind in attacks.KINDS}


@settings(max_examples=400, deadline=None)
@given(data=some.data(), kind=some.sampled_from(sorted(ONCE)))
def test_any_octet_changed(data: some.DataObject, kind: str) -> None:
    """A changed octet is refused, or changes nothing of what is read; no error but ours."""
    sent = ONCE[kind]
    at = data.draw(some.integers(0, len(sent) - 1))
    changed = bytearray(sent)
    changed[at] ^= data.draw(some.integers(1, 255))
    original = signature.verified(xml.parse(sent), [stage.verifier()])
    assert verified_or_none(bytes(changed)) in (None, original)


def verified_or_none(sent: bytes) -> bytes | None:
    try:
        return signature.verified(xml.parse(sent), [stage.verifier()])
    except XmlRefused:
        return None


def test_any_letter_of_the_content_changed() -> None:
    """Every letter outside the signature, each by itself: refused, but where it belongs to a prefix nobody uses."""
    sent = ONCE["response"]
    begin, end = sent.index(b"<ds:Signature"), sent.index(b"</ds:Signature>")
    letters = [at for at, octet in enumerate(sent) if not begin <= at < end and chr(octet).isalnum()]
    assert len(letters) > 300
    changed = [sent[:at] + (b"y" if sent[at] == ord("x") else b"x") + sent[at + 1 :] for at in letters]
    found = [verified_or_none(each) for each in changed]
    assert set(found) == {None, verified_or_none(sent)}
    assert found.count(None) >= len(letters) - len("saml")
