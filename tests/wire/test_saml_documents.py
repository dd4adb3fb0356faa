"""
Documents from strangers: nothing is expanded, fetched or guessed, and everything is bounded. Each case is one that an
ordinary parser takes.
"""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from lxml import etree

from broker.wire.saml import signature, xml
from broker.wire.saml.refused import CODES, XmlRefused
from tests.wire import saml_attacks as attacks
from tests.wire import saml_stage as stage


def code(sent: bytes, **more: int) -> str:
    with pytest.raises(XmlRefused) as refused:
        xml.parse(sent, **more)
    return refused.value.code.removeprefix("saml.")


def naive(sent: bytes) -> str:
    """All the text an ordinary parser finds, entities resolved as they come."""
    parser = etree.XMLParser(resolve_entities=True, load_dtd=True, huge_tree=True)
    return "".join(etree.fromstring(sent, parser).itertext())


def of(document_type: str, inside: str) -> bytes:
    return f"<!DOCTYPE a [{document_type}]><a>{inside}</a>".encode()


LAUGHS = "<!ENTITY a0 'ha'>" + "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 8}'>" for n in range(1, 5))
EXPANDING = {
    "entity": (of("<!ENTITY e 'expanded'>", "&e;"), 8),
    "billion laughs": (of(LAUGHS, "&a4;"), 8**4 * 2),
    "quadratic": (of(f"<!ENTITY e '{'x' * 1000}'>", "&e;" * 100), 100_000),
    "in an attribute": (b"<!DOCTYPE a [<!ENTITY e 'x'>]><a b='&e;'>y</a>", 1),
    "empty document type": (b"<!DOCTYPE a><a>y</a>", 1),
    "lower case in a comment": (b"<!DOCTYPE a [<!-- x -->]><a>y</a>", 1),
    "after a declaration": (b"<?xml version='1.0'?>\n<!DOCTYPE a SYSTEM 'a.dtd'><a>y</a>", 1),
}


@pytest.mark.parametrize("case", EXPANDING)
def test_no_document_type(case: str) -> None:
    """Whatever it would expand to; an ordinary parser builds it."""
    sent, size = EXPANDING[case]
    if "SYSTEM" not in sent.decode():
        assert len(naive(sent)) >= size
    assert code(sent) == "doctype"


def test_no_file_is_read(tmp_path: Path) -> None:
    """External entities: an ordinary parser reads the file into the document."""
    (tmp_path / "secret").write_text("secret")
    sent = of(f"<!ENTITY e SYSTEM 'file://{tmp_path}/secret'>", "&e;")
    assert naive(sent) == "secret"
    assert code(sent) == "doctype"


def test_another_encoding_hides_nothing() -> None:
    """What a filter of octets does not see, the parser must not either: it would read every one of these."""
    document = "<!DOCTYPE a [<!ENTITY e 'expanded'>]><a>&e;</a>"
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp037"):
        declared = {"cp037": "<?xml version='1.0' encoding='cp037'?>"}.get(encoding, "")
        assert code((declared + document).encode(encoding)) == "encoding"
    assert naive(document.encode("utf-16")) == "expanded"


@pytest.mark.parametrize(
    "declaration",
    [
        "<?xml version='1.0' encoding='utf-16'?>",
        "<?xml version='1.0' encoding='iso-8859-1'?>",
        "<?xml version='1.0' encoding='utf-7'?>",
        "<?xml version='1.0' encoding='EBCDIC-US'?>",
        "<?xml version='1.1'?>",
        "<?xml version='1.0' x='y'?>",
    ],
)
def test_utf_8_and_version_1_only(declaration: str) -> None:
    """Two readers of one declaration are two documents."""
    assert code(f"{declaration}<a/>".encode()) == "encoding"


@pytest.mark.parametrize(
    "declaration",
    ["", "\ufeff", "<?xml version='1.0'?>", '<?xml version="1.0" encoding="UTF-8" standalone="no"?>\n', "\n  "],
    ids=["none", "mark", "short", "long", "blank"],
)
def test_ordinary_declarations(declaration: str) -> None:
    """Senders write it in several ways."""
    assert xml.parse(f"{declaration}<a>å</a>".encode()).text == "å"


NOT_XML = [b"", b" ", b"alice", b"<a>", b"<a></b>", b"<a>\xff\xfe</a>", b"<a/><b/>", b"<a b='1' b='2'/>", b"<x:a/>"]
NOT_XML += [b"<a>&undefined;</a>", b"<a>&#0;</a>", b"<a>\x01</a>", b"<a b=1/>", b"<a/>more", b"{}", b"PHNhbWw+"]


@pytest.mark.parametrize("sent", NOT_XML, ids=range(len(NOT_XML)))
def test_not_well_formed(sent: bytes) -> None:
    """Nothing is repaired; and the error does not quote what came."""
    assert code(sent) in {"not_xml", "encoding"}


def test_instructions() -> None:
    """Some readers see them in the text of an element, some do not."""
    for sent in (b"<?pi?><a/>", b"<a/><?pi?>", b"<a>x<?pi y?>z</a>"):
        assert etree.fromstring(sent) is not None
        assert code(sent) == "instruction"


# --- text with something in it ------------------------------------------------------------------------------

INTERRUPTED = [
    "alice@example.com<!---->.attacker.example",
    "alice@example.com<!-- x -->.attacker.<!-- y -->example",
    "<![CDATA[alice@example.com]]>.attacker.example",
    "alice@example.com<![CDATA[.attacker]]>.example",
    "alice@example.com&#46;attacker.example",
]


@pytest.mark.parametrize("text", INTERRUPTED)
def test_the_text_is_all_of_the_text(text: str) -> None:
    """
    A name the attacker may have, cut short by a comment that no signature covers: it is read whole.

    An ordinary parser has the first part in ``text``.
    """
    root = etree.fromstring(stage.response(stage.assertion("alice@example.com.attacker.example")))
    signature.sign(root, stage.signer())
    signed = etree.tostring(root)
    sent = signed.replace(b"alice@example.com.attacker.example", text.encode())
    if "<!--" in text:
        assert etree.fromstring(sent).find(".//{*}NameID").text == "alice@example.com"
    assert attacks.take(sent, "response") == ["alice@example.com.attacker.example"]
    assert xml.parse(sent).find(".//{*}NameID").text == "alice@example.com.attacker.example"


@pytest.mark.parametrize(
    "text",
    ["alice<x xmlns='urn:x'/>.attacker", "<x xmlns='urn:x'>alice</x>", "alice<?x?>.attacker", "&alice;"],
    ids=["element", "inside", "instruction", "entity"],
)
def test_text_is_not_a_tree(text: str) -> None:
    """Other things in a name are not text, signed or not."""
    sent = stage.response(stage.assertion("NAME")).replace(b"NAME", text.encode())
    with pytest.raises(XmlRefused) as refused:
        xml.schema_check(xml.parse(sent))
    assert refused.value.code in {"saml.schema", "saml.instruction", "saml.not_xml"}


# --- namespaces ---------------------------------------------------------------------------------------------

FOREIGN = {
    "no namespace": (b"saml:NameID", b"NameID"),
    "another": (b"urn:oasis:names:tc:SAML:2.0:assertion", b"urn:oasis:names:tc:SAML:2.0:assertion/"),
    "saml 1.1": (b"urn:oasis:names:tc:SAML:2.0:assertion", b"urn:oasis:names:tc:SAML:1.0:assertion"),
    "case": (b"urn:oasis:names:tc:SAML:2.0:protocol", b"urn:oasis:names:tc:saml:2.0:protocol"),
    "case of a name": (b"NameID>", b"NameId>"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_names_are_compared_with_their_namespace(case: str) -> None:
    """What looks alike is something else."""
    old, new = FOREIGN[case]
    sent = stage.response().replace(old, new)
    assert sent != stage.response()
    with pytest.raises(XmlRefused) as refused:
        xml.schema_check(xml.parse(sent))
    assert refused.value.code == "saml.schema"


def test_what_has_no_canonical_form() -> None:
    """Relative namespace names; the parser takes them."""
    root = xml.parse(b'<a xmlns="relative"/>')
    with pytest.raises(XmlRefused) as refused:
        xml.canonical(root)
    assert refused.value.code == "saml.canonicalization"


def test_a_prefix_bound_anew() -> None:
    """The same letters for another namespace further in, inside what was signed or around it."""
    root = attacks.genuine("response")
    sent = etree.tostring(root)
    assertion = b'<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion"'
    plain = sent.replace(b"<saml:Assertion ", assertion + b" ", 1) if assertion not in sent else sent
    assert attacks.take(plain, "response") == ["alice"]
    bound = sent.replace(b"<saml:Subject>", b'<saml:Subject xmlns:saml="urn:x">')
    with pytest.raises(XmlRefused):
        attacks.take(bound, "response", by_schema=False)
    around = sent.replace(b"<samlp:Response ", b'<samlp:Response xmlns:unused="urn:x" ', 1)
    assert attacks.take(around, "response") == ["alice"]  # a declaration that nothing uses is no content


def test_a_default_for_attributes_is_not_applied() -> None:
    """An undeclared prefix, or a default namespace instead of one, is no other way of saying the same."""
    with pytest.raises(XmlRefused):
        xml.parse(stage.response().replace(b'xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion"', b""))


# --- IDs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attribute", ["ID", "Id", "id", "iD", "xml:id", "x:ID", "x:id"])
def test_one_value_once(attribute: str) -> None:
    """However the attribute is spelt: some reader takes it for an ID. An ordinary parser takes both."""
    sent = f'<a xmlns:x="urn:x" ID="_r1"><b {attribute}="_r1"/></a>'.encode()
    assert etree.fromstring(sent, etree.XMLParser(collect_ids=False)) is not None
    assert code(sent) == "duplicate_id"
    assert xml.parse(sent.replace(b'="_r1"/>', b'="_r2"/>')) is not None


def test_one_value_once_also_beside_a_signature() -> None:
    """The same on a signed message, where the second one is what is read."""
    sent = attacks.octets(attacks.genuine("response"))
    twice = sent.replace(b"<saml:Subject>", b"<saml:Subject xml:id='_good'>")
    with pytest.raises(XmlRefused) as refused:
        attacks.take(twice, "response", by_schema=False)
    assert refused.value.code == "saml.duplicate_id"


# --- size ---------------------------------------------------------------------------------------------------


def test_octets() -> None:
    """Counted before anything is looked at."""
    assert code(b"<a>" + b"x" * xml.MAX_MESSAGE + b"</a>") == "too_large"
    assert xml.parse(b"<a>" + b"x" * (xml.MAX_MESSAGE - 7) + b"</a>") is not None
    assert code(b"<a/>", max_bytes=3) == "too_large"


def test_depth() -> None:
    """An ordinary parser goes down as far as it is led."""
    for levels, fits in ((xml.MAX_DEPTH, True), (xml.MAX_DEPTH + 1, False), (200, False)):
        sent = b"<a>" * levels + b"</a>" * levels
        assert etree.fromstring(sent) is not None
        if fits:
            assert xml.parse(sent) is not None
        else:
            assert code(sent) == "too_deep"
    assert code(b"<a>" * 2000 + b"</a>" * 2000) in {"too_deep", "not_xml"}


def test_elements_and_attributes() -> None:
    """A message has some hundreds."""
    assert code(b"<a>" + b"<b/>" * 11_000 + b"</a>") == "too_many_nodes"
    attributes = "".join(f' a{n}="x"' for n in range(5_001))
    assert code(f"<a{attributes}/>".encode()) == "too_many_nodes"


def test_attributes_of_one_element() -> None:
    """Sorting them takes as long as their number squared: a small message would keep everybody waiting."""
    for count in (xml.MAX_ATTRIBUTES, xml.MAX_ATTRIBUTES + 1):
        attributes = "".join(f' a{each}="x"' for each in range(count))
        sent = f"<a><b{attributes}/></a>".encode()
        if count == xml.MAX_ATTRIBUTES:
            assert xml.parse(sent) is not None
        else:
            assert code(sent) == "too_many_nodes"


@pytest.mark.parametrize(
    "sent",
    [
        b"<a" + b"".join(b' xmlns:n%d="urn:u"' % n for n in range(9_000)) + b">" + b"<b/>" * 4_000 + b"</a>",
        b"<a" + b"".join(b' b%d="x"' % n for n in range(4_900)) + b"/>",
        b"<a>" + b"&amp;" * 50_000 + b"</a>",
        b"<a>" + b"<!---->" * 4_900 + b"</a>",
        b"<a b='" + b"x" * 250_000 + b"'/>",
        b"<" + b"a" * 250_000 + b"/>",
        b"<a>" * 300 + b"x",
    ],
    ids=["namespaces", "attributes", "references", "comments", "attribute", "name", "unfinished"],
)
def test_nothing_takes_long(sent: bytes) -> None:
    """A second of ours would cost its sender nothing."""
    began = time.process_time()
    try:
        root = xml.parse(sent)
    except XmlRefused:
        pass
    else:
        xml.canonical(root)
    assert time.process_time() - began < 1.0


def outcome(read: Callable[[], None]) -> str:
    """The code, or ``taken``; any other error comes through."""
    try:
        read()
    except XmlRefused as refused:
        return refused.code.removeprefix("saml.")
    return "taken"


@settings(max_examples=300, deadline=None)
@given(sent=some.binary(max_size=200) | some.text(alphabet="<>/a!?='\"&;[]-x: DOCTYPE", max_size=80).map(str.encode))
def test_anything_else(sent: bytes) -> None:
    """Whatever comes is a document or refused by name; never another error."""
    assert outcome(lambda: xml.schema_check(xml.parse(sent))) in {"taken", *CODES}


@settings(max_examples=200, deadline=None)
@given(data=some.data())
def test_a_spoiled_message(data: some.DataObject) -> None:
    """A signed message with anything cut out, doubled or exchanged is Alice's or refused by name."""
    sent = attacks.octets(attacks.genuine("response"))
    begin = data.draw(some.integers(0, len(sent)))
    end = data.draw(some.integers(begin, min(len(sent), begin + 200)))
    into = data.draw(some.sampled_from([b"", sent[begin:end] * 2, b"mallory", b"<", b"/>", b"<x/>", b"<!-- -->", b" "]))
    spoiled = sent[:begin] + into + sent[end:]
    said: list[str] = []
    found = outcome(lambda: said.extend(attacks.take(spoiled, "response", by_schema=False)))
    assert found in CODES or said == ["alice"]


def test_no_code_quotes_the_message() -> None:
    """Logs tell rules, not people."""
    for sent in (b"<Alice>", b"<a>&Alice;</a>", b"<a Alice='1' Alice='2'/>"):
        with pytest.raises(XmlRefused) as refused:
            xml.parse(sent)
        assert "Alice" not in f"{refused.value} {refused.value.detail} {refused.value.facts}"
        assert refused.value.__cause__ is None
        assert refused.value.__suppress_context__


# --- schemas ------------------------------------------------------------------------------------------------


def test_types_of_eidas_are_known() -> None:
    """Their attributes carry types of their own."""
    value = (
        '<saml:AttributeValue xmlns:p="http://eidas.europa.eu/attributes/naturalperson" '
        'xmlns:i="http://www.w3.org/2001/XMLSchema-instance" i:type="p:PersonIdentifierType">SE/NO/1</saml:AttributeValue>'
    )
    sent = stage.response().replace(
        "<saml:AttributeValue>Åsa &amp; Örjan</saml:AttributeValue>".encode(), value.encode()
    )
    assert b"PersonIdentifierType" in sent
    xml.schema_check(xml.parse(sent))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b' Version="2.0"', b""),
        (b"2026-11-22T07:00:00Z", b"yesterday"),
        (b"<saml:Issuer>https://idp.example.com/saml</saml:Issuer><samlp:Status>", b"<samlp:Status>"),
        (b"<samlp:StatusCode", b"<samlp:Other"),
        (b' InResponseTo="_q1"', b' InResponseTo="_q1" Admin="true"'),
        (b' ID="_r1"', b' ID="1"'),
        (b"</samlp:Status>", b"</samlp:Status><samlp:Status><samlp:StatusCode Value='urn:x'/></samlp:Status>"),
    ],
    ids=["version", "instant", "issuer is optional", "child", "attribute", "id", "twice"],
)
def test_the_schema_is_obeyed(old: bytes, new: bytes) -> None:
    """By the document as it came."""
    sent = stage.response().replace(old, new)
    assert sent != stage.response()
    if b"Issuer" in old:
        xml.schema_check(xml.parse(sent))
        return
    with pytest.raises(XmlRefused) as refused:
        xml.schema_check(xml.parse(sent))
    assert refused.value.code == "saml.schema"
