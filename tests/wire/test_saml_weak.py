"""
Signatures that are valid and still not taken: weak algorithms, transforms that sign something else, several or strange
references, keys from the message. A verifier that takes each signature at its word says yes to them.
"""

from pathlib import Path
from typing import Any

import pytest
import xmlsec
from lxml import etree

from broker.wire.saml import signature, xml
from broker.wire.saml.algorithms import EIDAS_SIGNATURES, ENVELOPED, EXCLUSIVE, Digest, Signature
from broker.wire.saml.refused import XmlRefused
from tests.wire import saml_attacks as attacks
from tests.wire import saml_stage as stage

MORE = "http://www.w3.org/2001/04/xmldsig-more#"
PSS = "http://www.w3.org/2007/05/xmldsig-more#"
INCLUSIVE = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"


def transform(algorithm: str, inside: str = "") -> str:
    return f'<ds:Transform Algorithm="{algorithm}">{inside}</ds:Transform>'


USUAL = transform(ENVELOPED) + transform(EXCLUSIVE)
XPATH = transform(
    "http://www.w3.org/TR/1999/REC-xpath-19991116",
    f'<ds:XPath xmlns:saml="{xml.SAML}">not(ancestor-or-self::saml:Subject)</ds:XPath>',
)
FILTER = transform(
    "http://www.w3.org/2002/06/xmldsig-filter2",
    f'<f:XPath xmlns:f="http://www.w3.org/2002/06/xmldsig-filter2" xmlns:saml="{xml.SAML}" Filter="subtract">'
    "//saml:Subject</f:XPath>",
)
XSLT = transform(
    "http://www.w3.org/TR/1999/REC-xslt-19991116",
    '<t:stylesheet xmlns:t="http://www.w3.org/1999/XSL/Transform" version="1.0"><t:template match="/"><ok/></t:template>'
    "</t:stylesheet>",
)


def crafted(
    *,
    method: str = Signature.RSA_SHA256,
    digest: str = Digest.SHA256,
    transforms: str = USUAL,
    uri: str = "#_r1",
    canonicalization: str = EXCLUSIVE,
    references: int = 1,
    key: Any = None,
    made: bool = True,
) -> bytes:
    """A response whose signature is made to order; *made* False leaves it empty, for what cannot be made."""
    root = etree.fromstring(stage.response())
    reference = (
        f'<ds:Reference URI="{uri}"><ds:Transforms>{transforms}</ds:Transforms>'
        f'<ds:DigestMethod Algorithm="{digest}"/><ds:DigestValue/></ds:Reference>'
    )
    template = etree.fromstring(
        f'<ds:Signature xmlns:ds="{xml.DS}"><ds:SignedInfo><ds:CanonicalizationMethod Algorithm="{canonicalization}"/>'
        f'<ds:SignatureMethod Algorithm="{method}"/>{reference * references}</ds:SignedInfo><ds:SignatureValue/>'
        "</ds:Signature>"
    )
    root.insert(1, template)
    if made:
        context = xmlsec.SignatureContext()
        context.key = key or stage.xmlsec_signer()
        context.register_id(root, "ID")
        context.sign(template)
    return etree.tostring(root)


def code(sent: bytes, **more: Any) -> str:
    root = xml.parse(sent)
    with pytest.raises(XmlRefused) as refused:
        signature.verified(root, [stage.verifier()], **more)
    return refused.value.code.removeprefix("saml.")


VALID_BUT: dict[str, tuple[dict[str, Any], str]] = {
    "rsa-sha1": ({"method": f"{xml.DS}rsa-sha1"}, "signature_algorithm"),
    "rsa-md5": ({"method": f"{MORE}rsa-md5"}, "signature_algorithm"),
    "rsa-ripemd160": ({"method": f"{MORE}rsa-ripemd160"}, "signature_algorithm"),
    "rsa-sha224": ({"method": f"{MORE}rsa-sha224"}, "signature_algorithm"),
    "pss-sha1": ({"method": f"{PSS}sha1-rsa-MGF1"}, "signature_algorithm"),
    "sha1": ({"digest": f"{xml.DS}sha1"}, "digest_algorithm"),
    "md5": ({"digest": f"{MORE}md5"}, "digest_algorithm"),
    "sha3": ({"digest": f"{PSS}sha3-256"}, "digest_algorithm"),
    "xpath": ({"transforms": transform(ENVELOPED) + XPATH + transform(EXCLUSIVE)}, "transform"),
    "xpath filter": ({"transforms": transform(ENVELOPED) + FILTER + transform(EXCLUSIVE)}, "transform"),
    "xslt": ({"transforms": transform(ENVELOPED) + XSLT}, "transform"),
    "enveloped only": ({"transforms": transform(ENVELOPED)}, "transform"),
    "canonical twice": ({"transforms": USUAL + transform(EXCLUSIVE)}, "transform"),
    "inclusive": ({"transforms": transform(ENVELOPED) + transform(INCLUSIVE)}, "transform"),
    "inclusive info": ({"canonicalization": INCLUSIVE}, "canonicalization"),
    "two references": ({"references": 2}, "reference_count"),
    "whole document": ({"uri": ""}, "reference_target"),
    "pointer to the document": ({"uri": "#xpointer(/)"}, "reference_target"),
    "pointer to the id": ({"uri": "#xpointer(id('_r1'))"}, "reference_target"),
}


@pytest.mark.parametrize("case", VALID_BUT)
def test_valid_but_not_taken(case: str) -> None:
    """By its own code each; a credulous verifier verifies it with the sender's key."""
    how, expected = VALID_BUT[case]
    sent = crafted(**how)
    assert attacks.credulous(sent)
    assert code(sent) == expected


def test_a_reference_to_a_file_is_not_followed(tmp_path: Path) -> None:
    """A credulous verifier opens it, and says yes while the file is as it was."""
    (tmp_path / "file").write_bytes(b"signed")
    sent = _of_a_file(tmp_path)
    assert attacks.credulous(sent)
    assert code(sent) == "reference_target"
    (tmp_path / "file").unlink()
    assert code(sent) == "reference_target"


def _of_a_file(tmp_path: Path) -> bytes:
    root = etree.fromstring(crafted(made=False, uri=f"file://{tmp_path}/file"))
    template = root.find(attacks.SIGNATURE)
    transforms = template.find(f".//{xml.name(xml.DS, 'Transforms')}")
    transforms.getparent().remove(transforms)
    context = xmlsec.SignatureContext()
    context.key = stage.xmlsec_signer()
    context.sign(template)
    return etree.tostring(root)


NEVER_MADE: dict[str, tuple[dict[str, Any], str]] = {
    "no transforms": ({"transforms": ""}, "transform"),
    "canonical before enveloped": ({"transforms": transform(EXCLUSIVE) + transform(ENVELOPED)}, "transform"),
    "canonical only": ({"transforms": transform(EXCLUSIVE)}, "transform"),
    "base64": ({"transforms": USUAL + transform(f"{xml.DS}base64")}, "transform"),
    "no such algorithm": ({"method": "urn:x"}, "signature_algorithm"),
    "no algorithm": ({"method": ""}, "signature_algorithm"),
    "dsa": ({"method": "http://www.w3.org/2009/xmldsig11#dsa-sha256"}, "signature_algorithm"),
    "no such digest": ({"digest": "urn:x"}, "digest_algorithm"),
    "no reference": ({"references": 0}, "reference_count"),
    "a crowd of references": ({"references": 500}, "reference_count"),
    "elsewhere": ({"uri": "https://attacker.example/"}, "reference_target"),
    "another element": ({"uri": "#_a1"}, "reference_target"),
    "case": ({"uri": "#_R1"}, "reference_target"),
    "encoded": ({"uri": "#%5Fr1"}, "reference_target"),
    "parameters of exclusion": (
        {"transforms": transform(ENVELOPED) + transform(EXCLUSIVE, "<x/>")},
        "canonicalization",
    ),
    "a long list of prefixes": (
        {
            "transforms": transform(ENVELOPED)
            + transform(EXCLUSIVE, f'<InclusiveNamespaces xmlns="{EXCLUSIVE}" PrefixList="{"saml " * 33}"/>')
        },
        "canonicalization",
    ),
    "parameters of enveloped": ({"transforms": transform(ENVELOPED, "<x/>") + transform(EXCLUSIVE)}, "transform"),
    "nothing signed": ({}, "digest_mismatch"),
}


@pytest.mark.parametrize("case", NEVER_MADE)
def test_refused_before_anything_is_computed(case: str) -> None:
    """What a signature says of itself is enough."""
    how, expected = NEVER_MADE[case]
    assert code(crafted(made=False, **how)) == expected


def test_a_public_key_is_no_shared_secret() -> None:
    """HMAC with what everybody knows of the sender: a verifier that lets the message choose would compute the same."""
    public = stage.public_pem(stage.private().public_key())
    secret = xmlsec.Key.from_binary_data(xmlsec.KeyData.HMAC, public)
    sent = crafted(method=f"{MORE}hmac-sha256", key=secret)
    root = etree.fromstring(sent)
    context = xmlsec.SignatureContext()
    context.key = secret
    context.register_id(root, "ID")
    context.verify(root.find(attacks.SIGNATURE))
    assert code(sent) == "signature_algorithm"


SHAPES = {
    "an object": "<ds:Object/>",
    "two key infos": "<ds:KeyInfo/><ds:KeyInfo/>",
    "something else": "<x xmlns='urn:x'/>",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_else_in_a_signature(shape: str) -> None:
    """What nobody needs is where things are hidden."""
    root = etree.fromstring(crafted())
    own = root.find(attacks.SIGNATURE)
    for each in etree.fromstring(f"<w xmlns:ds='{xml.DS}'>{SHAPES[shape]}</w>"):
        own.append(each)
    assert code(etree.tostring(root)) == "signature_shape"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("SignedInfo", "signature_shape"),
        ("SignatureValue", "signature_shape"),
        ("SignedInfo/CanonicalizationMethod", "signature_shape"),
        ("SignedInfo/SignatureMethod", "signature_shape"),
        ("SignedInfo/Reference", "reference_count"),
        ("SignedInfo/Reference/Transforms", "signature_shape"),
        ("SignedInfo/Reference/DigestMethod", "signature_shape"),
        ("SignedInfo/Reference/DigestValue", "signature_shape"),
    ],
)
@pytest.mark.parametrize("twice", [True, False], ids=["twice", "missing"])
def test_each_part_once(path: str, expected: str, twice: bool) -> None:
    """What is there twice is read by each as he likes."""
    root = etree.fromstring(crafted())
    part = root.find(attacks.SIGNATURE + "/" + "/".join(xml.name(xml.DS, each) for each in path.split("/")))
    if twice:
        part.addnext(attacks.clone(part))
    else:
        part.getparent().remove(part)
    assert code(etree.tostring(root)) == expected


def test_parameters_of_algorithms_are_not_known() -> None:
    """A hash or a length inside the method is another algorithm."""
    for part, expected in (("SignatureMethod", "signature_algorithm"), ("DigestMethod", "digest_algorithm")):
        root = etree.fromstring(crafted())
        etree.SubElement(root.find(f".//{xml.name(xml.DS, part)}"), xml.name(xml.DS, "HMACOutputLength")).text = "8"
        assert code(etree.tostring(root)) == expected


# --- whose key ----------------------------------------------------------------------------------------------


def signed_by(which: int) -> bytes:
    root = etree.fromstring(stage.response(stage.assertion("mallory")))
    signature.sign(root, stage.signer(which=which))
    return etree.tostring(root)


def test_a_key_from_the_message_is_not_used() -> None:
    """It carries the certificate that verifies it; a verifier that takes it from there says yes."""
    sent = signed_by(1)
    assert attacks.credulous(sent, key_from_message=True)
    assert code(sent) == "signature_invalid"


@pytest.mark.parametrize("inside", ["KeyValue", "X509Data", "KeyName", "RetrievalMethod"])
def test_whatever_key_info_says(inside: str) -> None:
    """Nothing of it counts, neither against the message nor for it."""
    public = stage.verifier(which=1).public.public_numbers()
    key_value = f"<ds:RSAKeyValue><ds:Modulus>{public.n}</ds:Modulus></ds:RSAKeyValue>"  # type: ignore[union-attr]
    infos = {
        "KeyValue": f"<ds:KeyValue>{key_value}</ds:KeyValue>",
        "X509Data": "<ds:X509Data><ds:X509Certificate>AAAA</ds:X509Certificate></ds:X509Data>",
        "KeyName": "<ds:KeyName>another</ds:KeyName>",
        "RetrievalMethod": "<ds:RetrievalMethod URI='https://attacker.example/key'/>",
    }
    root = etree.fromstring(crafted())
    info = etree.fromstring(f"<ds:KeyInfo xmlns:ds='{xml.DS}'>{infos[inside]}</ds:KeyInfo>")
    root.find(attacks.SIGNATURE).append(info)
    assert attacks.take_parsed(root, "response") == ["alice"]
    foreign = etree.fromstring(signed_by(1))
    old = foreign.find(f".//{xml.name(xml.DS, 'KeyInfo')}")
    old.getparent().replace(old, attacks.clone(info))
    assert code(etree.tostring(foreign)) == "signature_invalid"


def test_removed_signatures() -> None:
    """A reader that verifies what is there finds nothing to object to."""
    root = attacks.genuine("response")
    attacks.detached(root)
    sent = etree.tostring(root)
    assert not etree.fromstring(sent).findall(f".//{attacks.SIGNATURE}")
    assert code(sent) == "unsigned"


def test_by_somebody_else_or_nobody_we_know() -> None:
    """Foreign keys, keys of another kind, no key."""
    root = attacks.genuine("response")
    for keys in ([stage.verifier(which=1)], [stage.verifier("secp256r1")], [stage.verifier("rsa3072")]):
        with pytest.raises(XmlRefused) as refused:
            signature.verified(root, keys)
        assert refused.value.code == "saml.signature_invalid"
    with pytest.raises(XmlRefused) as refused:
        signature.verified(root, [])
    assert refused.value.code == "saml.no_keys"


def test_a_profile_can_be_stricter() -> None:
    """eIDAS nodes sign with PSS or ECDSA; anything else is refused though the signature is good."""
    assert code(crafted(), allowed=EIDAS_SIGNATURES) == "signature_algorithm"


@pytest.mark.parametrize("identifier", ["", "xpointer(/)", "a b", "1", "x" * 300, "a'b"])
def test_an_id_is_a_name(identifier: str) -> None:
    """It becomes part of a pointer, which is a language of its own."""
    root = etree.fromstring(stage.response(identifier=identifier))
    attacks.put_signature(root, attacks.genuine("response", "_good").find(attacks.SIGNATURE))
    root.find(f".//{xml.name(xml.DS, 'Reference')}").set("URI", f"#{identifier}")
    assert code(etree.tostring(root)) == "reference_target"
    with pytest.raises(XmlRefused):
        signature.sign(etree.fromstring(stage.response(identifier=identifier)), stage.signer())
