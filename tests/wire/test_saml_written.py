"""What we write and sign, whatever is in it: two libraries that we do not sign by verify it and read what was meant."""

import base64
from datetime import UTC, datetime

import xmlsec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as some
from lxml import etree
from signxml import SignatureConfiguration, XMLVerifier

from broker.wire.saml import answer, leaving, posted, request, xml
from broker.wire.saml.encryption import Recipient, decrypt_element
from broker.wire.saml.message import Head, writable
from tests.wire import saml_stage as stage

NOW = datetime(2026, 11, 22, 7, tzinfo=UTC)
IN_DATE = datetime(2020, 6, 1, tzinfo=UTC)
ODD = (
    "", "]]>", "<![CDATA[x]]>", "<!--x-->", "<?x y?>", 'xmlns:ds="urn:x"', "ds:Signature", "{urn:x}y", "&#13;&amp;&lt;",
    "a\r\nb\tc ", "\x00\x1b\x7f\x85\u2028", "\ufffe\uffff\ud800", "\U0001d11e\U0010ffff\U0001fffe", "e\u0301 \u202e",
    "x" * 20_000,
)  # fmt: skip
TEXT = some.one_of(
    some.sampled_from(ODD), some.text(max_size=20), some.text("\r\n\t <>&\"']\x85\x00\ufffe", max_size=8)
)
SAID = TEXT.map(writable)
"""In attributes there is only what came in XML, or stands in config."""
KIND = some.sampled_from(["rsa", "secp256r1"])


@settings(max_examples=60, deadline=None)
@given(
    texts=some.lists(TEXT, min_size=5, max_size=5),
    said=some.lists(SAID, min_size=6, max_size=6),
    both=some.booleans(),
    kind=KIND,
)
def test_a_response(texts: list[str], said: list[str], both: bool, kind: str) -> None:
    """Signed once or twice, in the clear or encrypted: strangers verify it, and every value is the one that was written."""
    name, first, second, context, audience = texts
    acs, asked, index, attribute, friendly, qualifier = said
    envelope = answer.Envelope("_r1", stage.IDP, acs, NOW, asked)
    named = answer.NameId(name, "urn:f", qualifier)
    told = answer.Attribute(attribute, (first, second), friendly)
    content = answer.ToAssert("_a1", named, audience, NOW, NOW, NOW, index, NOW, context, (told,))
    for to in (None, Recipient(stage.verifier(), stage.cert())):
        root = verified(answer.success(envelope, content, answer.Protection(stage.signer(kind), to, both)), kind)
        assert (root.get("Destination"), root.get("InResponseTo")) == (acs, asked)
        sealed = root.find(f"{{{xml.SAML}}}EncryptedAssertion")
        inside = root if sealed is None else decrypt_element(sealed, [stage.opener()])
        if both and sealed is not None:
            inside = verified(etree.tostring(inside), kind)
        assert told_in(inside, "AttributeValue") == [writable(first), writable(second)]
        assert told_in(inside, "NameID") == [writable(name)]
        assert told_in(inside, "AuthnContextClassRef") == [writable(context)]
        (found,) = inside.iter(f"{{{xml.SAML}}}Attribute")
        assert (found.get("Name"), found.get("FriendlyName")) == (attribute, friendly or None)


@settings(max_examples=40, deadline=None)
@given(texts=some.lists(TEXT, min_size=3, max_size=3), said=some.lists(SAID, min_size=3, max_size=3), kind=KIND)
def test_other_messages(texts: list[str], said: list[str], kind: str) -> None:
    """The same of requests, refusals and logouts, as they are posted."""
    (name, index, text), (where, format_, word) = texts, said
    head = Head("_x", stage.IDP, NOW, where, word)
    asked = request.ToAsk(
        "_q", stage.SP, where, NOW, where, contexts=(text,), provider_name=word, principal={word: name}
    )
    for message in (
        leaving.logout_request(head, leaving.TheirName(name, format_, word), index, NOW),
        leaving.logout_response(head, answer.Status("Success", "PartialLogout", text)),
        request.build_request(asked),
    ):
        root = verified(base64.b64decode(posted.encode_signed(message, stage.signer(kind))), kind)
        assert root.get("Destination") == where
    refused = answer.Envelope("_r", stage.IDP, where, NOW, word)
    verified(
        answer.failure(refused, answer.Status("Responder", None, text), answer.Protection(stage.signer(kind), None)),
        kind,
    )


def verified(sent: bytes, kind: str) -> etree._Element:
    """What libxmlsec and signxml both verify, as signxml gives it."""
    root = etree.fromstring(sent)
    for signature in root.iter(f"{{{xml.DS}}}Signature"):
        context = xmlsec.SignatureContext()
        pem = stage.public_pem(stage.private(kind).public_key())
        context.key = xmlsec.Key.from_memory(pem, xmlsec.constants.KeyDataFormatPem)
        context.register_id(signature.getparent(), "ID")
        context.verify(signature)
    certificate = x509.load_der_x509_certificate(stage.cert(kind)).public_bytes(Encoding.PEM).decode()
    config = SignatureConfiguration(location="./", expect_references=1, verification_time=IN_DATE)
    found = XMLVerifier().verify(sent, x509_cert=certificate, id_attribute="ID", expect_config=config)
    assert not isinstance(found, list)
    assert found.signed_xml is not None
    return found.signed_xml


def told_in(root: etree._Element, local: str) -> list[str]:
    return [each.text or "" for each in root.iter(f"{{{xml.SAML}}}{local}")]
