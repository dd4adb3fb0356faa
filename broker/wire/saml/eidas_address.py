"""
``CurrentAddress`` of eIDAS: a fragment of XML inside base64 inside an attribute (eIDAS SAML Attribute Profile 1.4, section 2.2).
"""

import base64
import binascii
from collections.abc import Mapping

from broker.wire.saml import xml
from broker.wire.saml.message import text_of
from broker.wire.saml.refused import XmlRefused

NATURAL = "http://eidas.europa.eu/attributes/naturalperson"
PARTS = (
    "PoBox",
    "LocatorDesignator",
    "LocatorName",
    "CvaddressArea",
    "Thoroughfare",
    "PostName",
    "AdminunitFirstline",
    "AdminunitSecondline",
    "PostCode",
)

_MOST = 8 * 1024
_PREFIXES = ("eidas-natural", "eidas", "natural")
"""What nodes write in the fragment without saying there what it means."""


def read_address(text: str) -> Mapping[str, str]:
    """
    The parts of the address, by the names in `PARTS`.

    Raises: XmlRefused: base64, and those of `xml.parse`; assertion_shape for what is no part of an address.
    """
    try:
        fragment = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise XmlRefused("base64") from None
    if len(fragment) > _MOST:
        raise XmlRefused("too_large")
    if fragment.lstrip()[:1] != b"<" or fragment.lstrip()[:2] in (b"<?", b"<!", b"</"):
        raise XmlRefused("not_xml")
    declared = "".join(f' xmlns:{prefix}="{NATURAL}"' for prefix in _PREFIXES)
    root = xml.parse(b"<address%s>%s</address>" % (declared.encode(), fragment))
    found: dict[str, str] = {}
    for part in root:
        local = str(part.tag).rpartition("}")[2]
        if local not in PARTS or local in found:
            raise XmlRefused("assertion_shape", "an address with something else in it")
        found[local] = text_of(part, 500)
    return found
