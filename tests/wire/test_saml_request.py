"""What identity providers are asked: requests that follow the schema, and say all of it (saml-core-2.0-os, section 3.4.1)."""

from datetime import UTC, datetime

import pytest

from broker.core.assurance import Comparison
from broker.core.changing import replace
from broker.core.saml import PERSISTENT, URI_NAMES, RequestedAttribute
from broker.wire.saml import xml
from broker.wire.saml.asked import read_authn_request
from broker.wire.saml.request import ToAsk, build_request

PLAIN = ToAsk(
    id="_0123456789abcdef",
    issuer="https://broker.example/up/eid/metadata",
    destination="https://idp.example/sso?a=1&b=<",
    issued_at=datetime(2026, 11, 22, 8, 0, tzinfo=UTC),
)
FULL = replace(
    PLAIN,
    acs="https://broker.example/up/eid/callback",
    forces_login=True,
    name_id_format=PERSISTENT,
    contexts=("urn:x:low", "urn:x:high"),
    comparison=Comparison.MINIMUM,
    providers=("https://a.example", "https://b.example"),
    requesters=("https://shop.example",),
    provider_name='Åsa & Co "tyres" <1>',
    sp_type="private",
    attributes=(
        RequestedAttribute("urn:x:a", URI_NAMES, "A", is_required=True, values=("1", "2")),
        RequestedAttribute("urn:x:b"),
    ),
    principal={"urn:oid:2.5.4.6": "NO"},
)


@pytest.mark.parametrize("asked", [PLAIN, FULL], ids=["plain", "everything"])
def test_it_follows_the_schema(asked: ToAsk) -> None:
    """Parts in their order, texts escaped, and a parser as strict as ours reads it."""
    root = xml.parse(build_request(asked))
    xml.schema_check(root)
    found = read_authn_request(root)
    assert (found.head.id, found.head.issuer, found.head.destination) == (asked.id, asked.issuer, asked.destination)
    assert (root.get("ForceAuthn"), root.get("IsPassive")) == (str(asked.forces_login).lower(), "false")
    assert root.get("ProviderName") == asked.provider_name


def test_what_is_not_said_is_not_there() -> None:
    """No empty elements: Extensions, Scoping and RequestedAuthnContext may not be empty."""
    names = {str(each.tag).rpartition("}")[2] for each in xml.parse(build_request(PLAIN)).iter()}
    assert names == {"AuthnRequest", "Issuer"}


def test_everything_that_is_said() -> None:
    """Each value at its place, in its order."""
    root = xml.parse(build_request(FULL))
    texts = {name: root.xpath(f"//*[local-name()='{name}']/text()") for name in ("AuthnContextClassRef", "RequesterID")}
    assert texts == {"AuthnContextClassRef": ["urn:x:low", "urn:x:high"], "RequesterID": ["https://shop.example"]}
    assert root.xpath("//@ProviderID") == ["https://a.example", "https://b.example"]
    assert root.xpath("//@Comparison") == ["minimum"]
    assert root.xpath("//*[local-name()='RequestedAttribute']/@isRequired") == ["true", "false"]
    assert root.xpath("//*[local-name()='AttributeValue']/text()") == ["1", "2"]
    assert root.xpath("//*[local-name()='MatchValue']/text()") == ["NO"]
