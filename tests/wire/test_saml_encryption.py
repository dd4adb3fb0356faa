"""XML encryption as SAML has it: AES-GCM only, keys by OAEP or agreement, and one answer to whatever does not open."""

import base64
from typing import Any

import pytest
import xmlsec
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as some
from lxml import etree

from broker.core.saml import PeerKey
from broker.wire.saml import encryption, signature, xml
from broker.wire.saml.algorithms import (
    ECDH_ES,
    EIDAS_ENCRYPTION,
    ENCRYPTION,
    Content,
    KeyTransport,
    KeyWrap,
)
from broker.wire.saml.encryption import Recipient, decrypt_element, encrypt_element, recipient_of
from broker.wire.saml.refused import XmlRefused
from tests.wire import saml_stage as stage

NS = {"xenc": xml.XENC, "ds": xml.DS, "xenc11": xml.XENC11, "saml": xml.SAML}
CURVES = ["secp256r1", "secp384r1", "secp521r1", "brainpoolP256r1", "brainpoolP384r1", "brainpoolP512r1"]


def recipient(kind: str = "rsa", **choice: object) -> Recipient:
    return Recipient(stage.verifier(kind), stage.cert(kind), **choice)  # type: ignore[arg-type]


def encrypted(kind: str = "rsa", text: str = "alice", **choice: object) -> etree._Element:
    """As it arrives: made by one side, serialised, parsed by the other."""
    made = encrypt_element(xml.parse(stage.assertion(text).encode()), recipient(kind, **choice))
    return xml.parse(xml.serialized(made))


def refused(element: etree._Element, kind: str = "rsa", **more: object) -> str:
    with pytest.raises(XmlRefused) as raised:
        decrypt_element(element, [stage.opener(kind)], **more)  # type: ignore[arg-type]
    return raised.value.code


@pytest.mark.parametrize("content", Content, ids=lambda each: each.name)
@pytest.mark.parametrize("transport", KeyTransport, ids=lambda each: each.name)
@pytest.mark.parametrize("kind", ["rsa", "rsa3072"])
def test_to_an_rsa_key_and_back(kind: str, transport: KeyTransport, content: Content) -> None:
    """Both spellings of OAEP, both lengths of AES."""
    opened = decrypt_element(encrypted(kind, content=content, transport=transport), [stage.opener(kind)])
    assert opened.findtext(".//{*}NameID") == "alice"


@pytest.mark.parametrize("content", Content, ids=lambda each: each.name)
@pytest.mark.parametrize("wrap", KeyWrap, ids=lambda each: each.name)
@pytest.mark.parametrize("curve", CURVES)
def test_to_an_ec_key_and_back(curve: str, wrap: KeyWrap, content: Content) -> None:
    """Agreement on every curve that eIDAS nodes use, as strict as their list."""
    opened = decrypt_element(
        encrypted(curve, content=content, wrap=wrap), [stage.opener(curve)], allowed=EIDAS_ENCRYPTION
    )
    assert opened.findtext(".//{*}NameID") == "alice"


@settings(max_examples=30, deadline=None)
@given(text=some.text(some.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=300))
def test_any_text_comes_back(text: str) -> None:
    """Whatever a name is."""
    element = etree.fromstring(f'<saml:NameID xmlns:saml="{xml.SAML}"/>')
    element.text = text
    there = xml.parse(xml.serialized(encrypt_element(element, recipient(), wrapper="EncryptedID")))
    assert (decrypt_element(there, [stage.opener()]).text or "") == text


def test_a_signature_inside_survives() -> None:
    """An assertion is signed, then encrypted, by this library or another; it is verified once it is open."""
    root = xml.parse(stage.response())
    assertion = root.find("saml:Assertion", NS)
    signature.sign(assertion, stage.signer())
    root.replace(assertion, encrypt_element(assertion, recipient("secp256r1")))
    arrived = xml.parse(xml.serialized(root))
    xml.schema_check(arrived)
    opened = decrypt_element(arrived.find("saml:EncryptedAssertion", NS), [stage.opener("secp256r1")])
    assert xml.parse(signature.verified(opened, [stage.verifier()])).findtext(".//{*}NameID") == "alice"


def test_each_of_our_keys_is_tried() -> None:
    """While keys are exchanged, and of either kind."""
    keys = [stage.opener("secp256r1"), stage.opener(which=1), stage.opener()]
    assert decrypt_element(encrypted(), keys).findtext(".//{*}NameID") == "alice"


@pytest.mark.parametrize("beside", [True, False], ids=["beside", "inside"])
def test_the_key_may_stand_beside_the_data(beside: bool) -> None:
    """Both places are used; RetrievalMethod is not resolved, as all keys are tried anyway."""
    there = encrypted()
    if beside:
        key = there.find(".//xenc:EncryptedKey", NS)
        info = key.getparent()
        there.append(key)
        etree.SubElement(info, xml.name(xml.DS, "RetrievalMethod"), URI="#elsewhere")
    assert decrypt_element(there, [stage.opener()]).findtext(".//{*}NameID") == "alice"


def test_prefixes_declared_outside() -> None:
    """Some senders encrypt an element without the declarations it stood under."""
    bare = b"<saml:NameID>alice</saml:NameID>"
    there = stage.encrypted_text(bare)
    assert decrypt_element(there, [stage.opener()]).text == "alice"


def test_prefixes_declared_far_outside() -> None:
    """The response was verified, and its canonical form has lost what only the encrypted text uses."""
    bare = b'<a:NameID i:type="x:string" own:b="c">alice</a:NameID>'
    there = stage.encrypted_text(bare)
    outside = {"a": xml.SAML, "i": encryption.XSI, "x": encryption.XS, "own": "urn:own", None: xml.SAML}
    with pytest.raises(XmlRefused) as raised:
        decrypt_element(there, [stage.opener()])
    assert raised.value.code == "saml.not_xml"
    with pytest.raises(XmlRefused):
        decrypt_element(there, [stage.opener()], declared=outside)  # anybody's namespace is nobody's here
    known = stage.encrypted_text(bare.replace(b' own:b="c"', b""))
    assert decrypt_element(known, [stage.opener()], declared=outside).tag == xml.name(xml.SAML, "NameID")


def test_what_was_verified_declares_first() -> None:
    """A prefix that has a meaning keeps it."""
    there = stage.encrypted_text(b"<saml:NameID>alice</saml:NameID>")
    opened = decrypt_element(there, [stage.opener()], declared={"saml": xml.SAMLP})
    assert opened.tag == xml.name(xml.SAML, "NameID")


# --- between libraries ------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["Aes128Gcm", "Aes256Gcm"])
def test_what_libxmlsec_encrypts_we_decrypt(content: str) -> None:
    """An independent implementation writes, we read."""
    there = by_libxmlsec(getattr(xmlsec.Transform, content.upper().replace("GCM", "_GCM")), xmlsec.Transform.RSA_OAEP)
    assert decrypt_element(there, [stage.opener()]).findtext(".//{*}NameID") == "alice"


@pytest.mark.parametrize("content", Content, ids=lambda each: each.name)
@pytest.mark.parametrize("transport", KeyTransport, ids=lambda each: each.name)
def test_what_we_encrypt_libxmlsec_decrypts(transport: KeyTransport, content: Content) -> None:
    """And the other way round."""
    there = encrypted(transport=transport, content=content)
    assert naive_decrypt(there).findtext(".//{*}NameID") == "alice"


def by_libxmlsec(content: Any, transport: Any) -> etree._Element:
    """An EncryptedAssertion made by libxmlsec with any algorithms it has."""
    manager = xmlsec.KeysManager()
    manager.add_key(stage.verifier().xmlsec_key)
    whole = etree.fromstring(
        f'<saml:EncryptedAssertion xmlns:saml="{xml.SAML}">{stage.assertion()}</saml:EncryptedAssertion>'
    )
    template = xmlsec.template.encrypted_data_create(whole, content, type=xmlsec.constants.TypeEncElement, ns="xenc")
    xmlsec.template.encrypted_data_ensure_cipher_value(template)
    info = xmlsec.template.encrypted_data_ensure_key_info(template, ns="ds")
    key = xmlsec.template.add_encrypted_key(info, transport)
    xmlsec.template.encrypted_data_ensure_cipher_value(key)
    context = xmlsec.EncryptionContext(manager)
    size = 192 if "des" in content.name else 128 if "128" in content.name else 256
    data = xmlsec.KeyData.DES if "des" in content.name else xmlsec.KeyData.AES
    context.key = xmlsec.Key.generate(data, size, xmlsec.constants.KeyDataTypeSession)
    context.encrypt_xml(template, whole[0])
    return xml.parse(xml.serialized(whole))


def naive_decrypt(there: etree._Element) -> etree._Element:
    """Decrypts whatever it is given."""
    whole = etree.fromstring(xml.serialized(there))
    manager = xmlsec.KeysManager()
    manager.add_key(xmlsec.Key.from_memory(stage.pem(stage.private()), xmlsec.constants.KeyDataFormatPem))
    xmlsec.EncryptionContext(manager).decrypt(whole.find("xenc:EncryptedData", NS))
    return whole


# --- refusals ---------------------------------------------------------------------------------------------

OLD = {
    "aes128-cbc": (xmlsec.Transform.AES128, xmlsec.Transform.RSA_OAEP),
    "aes256-cbc": (xmlsec.Transform.AES256, xmlsec.Transform.RSA_OAEP),
    "3des-cbc": (xmlsec.Transform.DES3, xmlsec.Transform.RSA_OAEP),
    "rsa-1.5": (xmlsec.Transform.AES256_GCM, xmlsec.Transform.RSA_PKCS1),
}


@pytest.mark.parametrize("old", OLD)
def test_old_algorithms_are_refused_unopened(old: str) -> None:
    """Padding tells; a decryptor that asks nothing opens each of them."""
    there = by_libxmlsec(*OLD[old])
    assert naive_decrypt(there).findtext(".//{*}NameID") == "alice"
    assert refused(there) == "saml.encryption_algorithm"


def test_a_profile_can_be_stricter() -> None:
    """eIDAS has no rsa-oaep-mgf1p; a peer without agreement is not agreed with."""
    assert refused(encrypted(), allowed=EIDAS_ENCRYPTION) == "saml.encryption_algorithm"
    there = encrypted("secp256r1")
    assert refused(there, "secp256r1", allowed=ENCRYPTION - {ECDH_ES}) == "saml.encryption_algorithm"
    assert refused(encrypted(content=Content.AES128_GCM), allowed=ENCRYPTION - {Content.AES128_GCM}) == (
        "saml.encryption_algorithm"
    )


@pytest.mark.parametrize("tag", [0, 4, 8, 12, 15])
def test_a_shortened_tag_is_no_tag(tag: int) -> None:
    """Short tags can be guessed; a decryptor that takes the length it finds is content with four octets."""
    there = encrypted()
    sealed = base64.b64decode(stage.content_value(there).text)
    short = sealed[: len(sealed) - 16 + tag]
    if tag >= 4:
        cipher = Cipher(
            algorithms.AES(stage.content_key(there)),
            modes.GCM(sealed[:12], short[len(short) - tag :], min_tag_length=4),
        )
        naive = cipher.decryptor()
        assert b"alice" in naive.update(short[12:-tag]) + naive.finalize()
    stage.content_value(there).text = base64.b64encode(short).decode()
    assert refused(there) == "saml.undecryptable"


def test_another_messages_key_is_of_no_use() -> None:
    """Keys exchanged between two messages to us: a decryptor that checks no tag reads something all the same."""
    one, other = encrypted(text="alice"), encrypted(text="bob")
    stage.key_value(one).text = stage.key_value(other).text
    sealed = base64.b64decode(stage.content_value(one).text)
    naive = Cipher(algorithms.AES(stage.content_key(one)), modes.CTR(sealed[:12] + b"\0\0\0\2")).decryptor()
    assert naive.update(sealed[12:-16])
    assert refused(one) == "saml.undecryptable"


@settings(max_examples=60, deadline=None)
@given(data=some.data(), kind=some.sampled_from(["rsa", "secp256r1"]))
def test_a_changed_octet_does_not_open(data: some.DataObject, kind: str) -> None:
    """In the content or in the key: and both look the same."""
    there = encrypted(kind)
    value = stage.content_value(there) if data.draw(some.booleans()) else stage.key_value(there)
    octets = bytearray(base64.b64decode(value.text))
    octets[data.draw(some.integers(0, len(octets) - 1))] ^= data.draw(some.integers(1, 255))
    value.text = base64.b64encode(octets).decode()
    assert refused(there, kind) == "saml.undecryptable"


def test_to_somebody_else() -> None:
    """Also when we have a key of another kind only."""
    assert refused(encrypted("rsa3072")) == "saml.undecryptable"
    assert refused(encrypted("secp256r1")) == "saml.undecryptable"
    assert refused(encrypted(), "secp256r1") == "saml.undecryptable"
    assert refused(encrypted("secp256r1"), "secp384r1") == "saml.undecryptable"


INSIDE = {
    b"": "saml.not_xml",
    b"alice": "saml.not_xml",
    b"<a/><b/>": "saml.encryption_shape",
    b"<a/>and": "saml.encryption_shape",
    b"<a/></stafett><stafett>": "saml.not_xml",
    b"<?xml version='1.0'?><a/>": "saml.not_xml",
    b"<!DOCTYPE a [<!ENTITY e 'x'>]><a>&e;</a>": "saml.doctype",
    b"<a><?pi?></a>": "saml.instruction",
    b"<a>\xff</a>": "saml.not_xml",
    b"<a ID='x'><b Id='x'/></a>": "saml.duplicate_id",
    b"<a>" * 100 + b"</a>" * 100: "saml.too_deep",
    stage.assertion(
        more=f"<saml:Advice>{stage.assertion(identifier='_b')}</saml:Advice>"
    ).encode(): "saml.nested_message",
}


@pytest.mark.parametrize("plain", INSIDE, ids=range(len(INSIDE)))
def test_what_is_inside_is_a_document_from_outside(plain: bytes) -> None:
    """Anybody can encrypt to us, so the same parser looks at what comes out."""
    assert refused(stage.encrypted_text(plain)) == INSIDE[plain]


def edit(there: etree._Element, path: str, **attributes: str) -> etree._Element:
    found = there.find(path, NS)
    for name, value in attributes.items():
        found.set(name, value)
    return there


def without(there: etree._Element, path: str) -> etree._Element:
    found = there.find(path, NS)
    found.getparent().remove(found)
    return there


def doubled(there: etree._Element, path: str) -> etree._Element:
    found = there.find(path, NS)
    found.addnext(etree.fromstring(etree.tostring(found)))
    return there


AGREEMENT = ".//xenc:AgreementMethod"
METHOD = ".//xenc:EncryptedKey/xenc:EncryptionMethod"
SHAPES = {
    "no data": lambda: (without(encrypted(), "xenc:EncryptedData"), "unencrypted"),
    "plain": lambda: (xml.parse(stage.assertion().encode()), "unencrypted"),
    "two data": lambda: (doubled(encrypted(), "xenc:EncryptedData"), "encryption_shape"),
    "content only": lambda: (edit(encrypted(), "xenc:EncryptedData", Type=f"{xml.XENC}Content"), "encryption_shape"),
    "no method": lambda: (without(encrypted(), "xenc:EncryptedData/xenc:EncryptionMethod"), "encryption_shape"),
    "no key": lambda: (without(encrypted(), ".//xenc:EncryptedKey"), "encryption_shape"),
    "no key info": lambda: (without(encrypted(), ".//ds:KeyInfo"), "encryption_shape"),
    "no value": lambda: (without(encrypted(), ".//xenc:CipherValue"), "encryption_shape"),
    "unknown content": lambda: (edit(encrypted(), ".//xenc:EncryptionMethod", Algorithm="urn:x"), "encryption_algorithm"),
    "unknown transport": lambda: (
        edit(encrypted(), ".//xenc:EncryptedKey/xenc:EncryptionMethod", Algorithm="urn:x"),
        "encryption_algorithm",
    ),
    "unknown digest": lambda: (
        edit(encrypted(), ".//ds:DigestMethod", Algorithm="http://www.w3.org/2001/04/xmldsig-more#md5"),
        "encryption_algorithm",
    ),
    "unknown mask": lambda: (
        edit(encrypted(transport=KeyTransport.OAEP), ".//xenc11:MGF", Algorithm="urn:x"),
        "encryption_algorithm",
    ),
    "another mask where none may be": lambda: (
        edit(encrypted(transport=KeyTransport.OAEP), METHOD, Algorithm=KeyTransport.OAEP_MGF1P),
        "encryption_algorithm",
    ),
    "unknown agreement": lambda: (edit(encrypted("secp256r1"), AGREEMENT, Algorithm="urn:x"), "encryption_algorithm"),
    "unknown derivation": lambda: (
        edit(encrypted("secp256r1"), ".//xenc11:KeyDerivationMethod", Algorithm="urn:x"),
        "encryption_algorithm",
    ),
    "unknown curve": lambda: (
        edit(encrypted("secp256r1"), ".//{*}NamedCurve", URI="urn:oid:1.3.132.0.10"),
        "encryption_algorithm",
    ),
    "another curve": lambda: (
        edit(encrypted("secp256r1"), ".//{*}NamedCurve", URI="urn:oid:1.3.132.0.34"),
        "undecryptable",
    ),
    "odd bits": lambda: (
        edit(encrypted("secp256r1"), ".//xenc11:ConcatKDFParams", AlgorithmID="01ff"),
        "encryption_shape",
    ),
    "no hexadecimal": lambda: (
        edit(encrypted("secp256r1"), ".//xenc11:ConcatKDFParams", PartyUInfo="zz"),
        "encryption_shape",
    ),
    "other information": lambda: (
        edit(encrypted("secp256r1"), ".//xenc11:ConcatKDFParams", PartyUInfo="00ff"),
        "undecryptable",
    ),
    "old derivation digest": lambda: (
        edit(encrypted("secp256r1"), ".//ds:DigestMethod", Algorithm="http://www.w3.org/2000/09/xmldsig#sha1"),
        "encryption_algorithm",
    ),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_other_shapes(shape: str) -> None:
    """What is not said exactly as expected is not guessed at."""
    there, code = SHAPES[shape]()
    assert refused(there, "secp256r1" if there.find(AGREEMENT, NS) is not None else "rsa") == f"saml.{code}"


def test_no_base64() -> None:
    """Not even nearly."""
    there = encrypted()
    stage.content_value(there).text = "****"
    assert refused(there) == "saml.encryption_shape"


def test_a_crowd_of_keys() -> None:
    """Each costs a private key operation."""
    there = encrypted()
    for _ in range(8):
        doubled(there, ".//xenc:EncryptedKey")
    assert refused(there) == "saml.encryption_shape"


def test_a_point_off_the_curve() -> None:
    """Otherwise what the agreement yields would tell about our key."""
    there = encrypted("secp256r1")
    point = there.find(".//{*}ECKeyValue/{*}PublicKey")
    point.text = base64.b64encode(b"\x04" + bytes(63) + b"\x01").decode()
    assert refused(there, "secp256r1") == "saml.undecryptable"


# --- whom to encrypt to, and how --------------------------------------------------------------------------


def peer(use: str = "encryption", methods: tuple[str, ...] = (), kind: str = "rsa") -> PeerKey:
    return PeerKey(stage.cert(kind), use, methods)  # type: ignore[arg-type]


def test_the_first_of_the_peers_methods_that_we_have() -> None:
    """In the order in which it lists them; what it does not say is as usual."""
    cbc = f"{xml.XENC}aes256-cbc"
    chosen = recipient_of([peer("signing"), peer("both", (cbc, Content.AES128_GCM, KeyTransport.OAEP))])
    assert chosen is not None
    assert (chosen.content, chosen.transport) == (Content.AES128_GCM, KeyTransport.OAEP)
    usual = recipient_of([peer(kind="secp256r1")])
    assert usual is not None
    assert (usual.content, usual.wrap) == (Content.AES256_GCM, KeyWrap.AES256)


def test_no_key_is_no_recipient() -> None:
    """A key for signatures is not encrypted to."""
    assert recipient_of([]) is None
    assert recipient_of([peer("signing")]) is None


@pytest.mark.parametrize(
    "methods",
    [(f"{xml.XENC}aes256-cbc",), (f"{xml.XENC}tripledes-cbc", KeyTransport.OAEP), (f"{xml.XENC}rsa-1_5",)],
    ids=["cbc", "3des", "rsa-1.5"],
)
def test_a_peer_that_accepts_old_algorithms_only_gets_nothing(methods: tuple[str, ...]) -> None:
    """Fail closed: neither what it cannot read nor what others can."""
    with pytest.raises(XmlRefused) as raised:
        recipient_of([peer(methods=methods)])
    assert raised.value.code == "saml.encryption_algorithm"


def test_padding_is_what_the_standard_says() -> None:
    """rsa-oaep-mgf1p has SHA-1 inside by its definition; the other spelling is made with SHA-256 throughout."""
    there = encrypted(transport=KeyTransport.OAEP)
    assert there.find(".//ds:DigestMethod", NS).get("Algorithm").endswith("#sha256")
    assert there.find(".//xenc11:MGF", NS).get("Algorithm").endswith("#mgf1sha256")
    sha256 = encryption.HASHES[encryption.Digest.SHA256]
    plain = stage.private().decrypt(
        base64.b64decode(stage.key_value(there).text), padding.OAEP(padding.MGF1(sha256), sha256, None)
    )
    assert len(plain) == 32
