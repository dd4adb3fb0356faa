"""
XML from strangers: parsed once, strictly, by one parser; canonicalised; checked by SAML's own schemas.

Comments are dropped while parsing, so that the text of an element is all of its text. Document types, entities and
processing instructions are refused (saml2int SDP-G03), as is every encoding but UTF-8. ID values are unique over the
whole document, however the attribute is spelt.
"""

import re
import threading
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any, Final, TypeAlias

from lxml import etree

from broker.wire.saml.refused import XmlRefused

Element: TypeAlias = Any
"""An element of lxml, which has no types of its own."""

SAMLP = "urn:oasis:names:tc:SAML:2.0:protocol"
SAML = "urn:oasis:names:tc:SAML:2.0:assertion"
MD = "urn:oasis:names:tc:SAML:2.0:metadata"
DS = "http://www.w3.org/2000/09/xmldsig#"
XENC = "http://www.w3.org/2001/04/xmlenc#"
XENC11 = "http://www.w3.org/2009/xmlenc11#"
NAMESPACES = {"samlp": SAMLP, "saml": SAML, "md": MD, "ds": DS, "xenc": XENC, "xenc11": XENC11}

MAX_MESSAGE = 256 * 1024
"""Bytes of a protocol message."""
MAX_DEPTH = 48
MAX_ELEMENTS = 5_000
MAX_ATTRIBUTES = 100
"""Of one element: a canonical form has them sorted, one by one."""

HARDENED: Final = {
    "resolve_entities": False,
    "no_network": True,
    "load_dtd": False,
    "dtd_validation": False,
    "attribute_defaults": False,
    "huge_tree": False,
    "recover": False,
    "remove_comments": True,
    "strip_cdata": True,
    "collect_ids": False,
}
"""How every parser here is set."""

_DECLARATION = re.compile(
    rb"""<\?xml\s+version\s*=\s*["']1\.0["'](?:\s+encoding\s*=\s*["'](?P<encoding>[\w.-]+)["'])?"""
    rb"""(?:\s+standalone\s*=\s*["'](?:yes|no)["'])?\s*\?>"""
)
_ENCODINGS = {b"utf-8", b"us-ascii", b"ascii"}
_MARKUP = re.compile(rb"<!(?!--|\[CDATA\[)")
_BOM = b"\xef\xbb\xbf"


class _Own(threading.local):
    """What lxml would otherwise lock: each thread has its own."""

    def __init__(self) -> None:
        self.parser = etree.XMLParser(**HARDENED)
        self.too_deep = _xpath(f"boolean({'/*' * (MAX_DEPTH + 1)})")
        self.attributes = _xpath("count(//@*)")
        self.crowded = _xpath(f"boolean(//*[@*[{MAX_ATTRIBUTES + 1}]])")
        self.instructions = _xpath("boolean(//processing-instruction())")
        # Of names with two letters only: comparing all of them takes twice as long.
        self.ids = _xpath("//@*[string-length(local-name()) = 2][translate(local-name(), 'ID', 'id') = 'id']")
        self.nested = _xpath(
            "boolean(/*//samlp:*[@IssueInstant] | /saml:*//saml:Assertion | /saml:*//saml:EncryptedAssertion"
            " | /samlp:*/*//saml:Assertion | /samlp:*/*//saml:EncryptedAssertion)"
        )
        self.stray_signature = _xpath(
            "boolean(/ds:Signature | /*/*[not(self::saml:Assertion)]//ds:Signature | /*/*/*//ds:Signature)"
        )


def _xpath(expression: str) -> Callable[[Element], Any]:
    compiled: Callable[[Element], Any] = etree.XPath(expression, namespaces=NAMESPACES, smart_strings=False)
    return compiled


_own = _Own()


def parse(octets: bytes, *, max_bytes: int = MAX_MESSAGE, max_elements: int = MAX_ELEMENTS) -> Element:
    """
    The root element of *octets*, a whole document from outside.

    Of a protocol message or an assertion it is also sure that no second message, and no signature, stands anywhere but
    where SAML has them: assertions right below the response, signatures right below what they sign.

    Raises: XmlRefused: too_large, encoding, doctype, not_xml, too_deep, too_many_nodes, instruction, duplicate_id,
        nested_message, signature_position.
    """
    if len(octets) > max_bytes:
        raise XmlRefused("too_large")
    text = octets.removeprefix(_BOM)
    check_octets(text, max_elements)
    try:
        root = etree.fromstring(text, _own.parser)
    except (etree.XMLSyntaxError, ValueError):
        # The parser's own message quotes the document.
        raise XmlRefused("not_xml") from None
    _check_tree(root, max_elements)
    return root


def check_octets(text: bytes, max_elements: int) -> None:
    """
    *text* has nothing that could make the parser see another document than we do, or build a big one from a small one.

    Raises: XmlRefused: encoding, doctype, too_many_nodes.
    """
    if b"\0" in text or not text.lstrip().startswith(b"<"):
        # security: without a NUL and with this first letter the parser cannot take it for UTF-16 or EBCDIC.
        raise XmlRefused("encoding")
    if text.startswith(b"<?xml"):
        declared = _DECLARATION.match(text)
        if not declared or (declared["encoding"] or b"utf-8").lower() not in _ENCODINGS:
            raise XmlRefused("encoding")
    if _MARKUP.search(text):
        raise XmlRefused("doctype")
    if text.count(b"<") > 2 * max_elements + 100:
        raise XmlRefused("too_many_nodes")


def _check_tree(root: Element, max_elements: int) -> None:
    if root.getroottree().docinfo.internalDTD is not None:
        raise XmlRefused("doctype")
    if _own.instructions(root):
        raise XmlRefused("instruction")
    if _own.too_deep(root):
        raise XmlRefused("too_deep")
    attributes = _own.attributes(root)
    if attributes > max_elements or (attributes > MAX_ATTRIBUTES and _own.crowded(root)):
        raise XmlRefused("too_many_nodes")
    ids = ids_of(root)
    if len(ids) != len(set(ids)):
        raise XmlRefused("duplicate_id")
    if namespace_of(root) in (SAMLP, SAML):
        if _own.nested(root):
            raise XmlRefused("nested_message")
        if _own.stray_signature(root):
            raise XmlRefused("signature_position")


def ids_of(root: Element) -> list[str]:
    """The values of all its attributes that may be taken for an ID, however they are spelt."""
    found: list[str] = _own.ids(root)
    return found


def namespace_of(element: Element) -> str:
    """Its namespace name; empty when it has none."""
    tag: str = element.tag
    return tag[1:].partition("}")[0] if tag.startswith("{") else ""


def name(namespace: str, local: str) -> str:
    """The way lxml writes a name: ``{namespace}local``."""
    return f"{{{namespace}}}{local}"


def canonical(element: Element, inclusive_prefixes: tuple[str, ...] = ()) -> bytes:
    """
    *element* by Exclusive XML Canonicalization 1.0 without comments: one octet string per meaning, in UTF-8.

    Raises: XmlRefused: canonicalization for what has no canonical form, such as relative namespace names.
    """
    try:
        octets: bytes = etree.tostring(
            element,
            method="c14n",
            exclusive=True,
            with_comments=False,
            inclusive_ns_prefixes=list(inclusive_prefixes) or None,
        )
    except (etree.C14NError, ValueError):
        raise XmlRefused("canonicalization", "has no canonical form") from None
    return octets


def serialized(root: Element) -> bytes:
    """*root* as it stands, in UTF-8, without an XML declaration: what signatures were made over survives."""
    octets: bytes = etree.tostring(root, encoding="utf-8", xml_declaration=False, with_tail=False)
    return octets


def schema_check(root: Element) -> None:
    """
    *root* follows the schemas of SAML 2.0, its metadata extensions, XML Signature, XML Encryption and eIDAS.

    To be asked of the document as it came: what a canonical form leaves out (declarations of prefixes that only
    ``xsi:type`` uses) is needed here. Raises: XmlRefused: schema.
    """
    if not _schema().validate(root):
        raise XmlRefused("schema")


SCHEMAS = (
    "saml-schema-protocol-2.0.xsd",
    "saml-schema-metadata-2.0.xsd",
    "xenc-schema-11.xsd",
    "sstc-metadata-attr.xsd",
    "sstc-req-attr-ext.xsd",
    "sstc-saml-attribute-ext.xsd",
    "sstc-saml-metadata-algsupport-v1.0.xsd",
    "sstc-saml-metadata-ui-v1.0.xsd",
    "saml-subject-id-attr-v1.0.xsd",
    "eidas-schema-saml-extensions.xsd",
    "eidas-schema-attribute-naturalperson.xsd",
    "eidas-schema-attribute-legalperson.xsd",
    "eidas-schema-metadata-servicelist.xsd",
)
"""pysaml2's schema files that a document may need; they import the rest."""


class _Shipped(etree.Resolver):  # type: ignore[misc]  # lxml has no types
    """Schemas name each other by addresses on the network; the files that pysaml2 ships are taken instead."""

    def resolve(self, url: str, public_id: str | None, context: Any) -> Any:
        if url.endswith(".dtd"):
            return self.resolve_empty(context)
        return self.resolve_string(_schema_file(url.rpartition("/")[2]), context, base_url=url)


def _schema_file(file: str) -> bytes:
    return files("saml2.data.schemas").joinpath(file).read_bytes()


_compiling = threading.Lock()


def _schema() -> Any:
    with _compiling:
        return _compiled()


@cache
def _compiled() -> Any:
    imports = "".join(
        f'<import namespace="{etree.fromstring(_schema_file(file), _trusting()).get("targetNamespace")}"'
        f' schemaLocation="{file}"/>'
        for file in SCHEMAS
    )
    whole = f'<schema xmlns="http://www.w3.org/2001/XMLSchema">{imports}</schema>'
    return etree.XMLSchema(etree.fromstring(whole.encode(), _trusting(), base_url="saml:schemas"))


def _trusting() -> Any:
    # The schemas of XML Signature and XML Encryption have document types of their own.
    parser = etree.XMLParser(no_network=True, load_dtd=False)
    parser.resolvers.add(_Shipped())
    return parser
