"""
A SAML partner, a customer's data or somebody in between tries something: nothing of it gives a 5xx, tells anybody what is not
for them, or leaves for an address that was not proven.
"""

import pytest
from lxml import etree

from broker.wire.saml.answer import NameId, name_id_element
from broker.wire.saml.message import add
from tests.downstream.saml_party import SAML, Party
from tests.downstream.test_saml_sso import MAIL, NAME
from tests.stage import PEOPLE

pytestmark = pytest.mark.asyncio(loop_scope="module")

UNWRITABLE = "\N{REPLACEMENT CHARACTER}"


class TestWhatCustomersAreCalled:
    @pytest.mark.parametrize(
        ("name", "told"),
        [
            ('<b>Maja</b> & "Co" ]]> \'', '<b>Maja</b> & "Co" ]]> \''),
            ("</saml:AttributeValue><saml:AttributeValue>x", "</saml:AttributeValue><saml:AttributeValue>x"),
            ("&#x0;&nul;<!-- --><![CDATA[x]]>", "&#x0;&nul;<!-- --><![CDATA[x]]>"),
            ("مايا \u202eLind", "مايا \u202eLind"),
            ("Maja\N{MUSICAL SYMBOL G CLEF}", "Maja\N{MUSICAL SYMBOL G CLEF}"),
            ("Ma\x00ja", None),
            ("Ma\x01ja\x1b[31m", None),
            ("Ma\ufffeja\uffff", None),
            ("Ma\x7f\x85ja", None),
            ("M" * 20_000, "M" * 20_000),
        ],
        ids=["markup", "closing", "entities", "rtl", "astral", "nul", "control", "noncharacter", "delete", "long"],
    )
    async def test_reads_as_it_was_or_not_at_all(
        self, party: Party, monkeypatch: pytest.MonkeyPatch, name: str, told: str | None
    ) -> None:
        """XML cannot say everything that a provider can: whoever has such a name still logs in."""
        monkeypatch.setitem(PEOPLE, "odd", {"name": name, "email": "odd@example.com"})
        answer = await party.log_in(party.stage.browser(), party.hotel.redirect(), "google", "odd")
        received = party.hotel.receive(answer)
        assert received.status == "Success"
        values = received.attributes.get(NAME, [])
        assert values == [told] if told is not None else not {"\x00", "\x01", "\x1b"} & set("".join(values))

    @pytest.mark.parametrize("email", ["ma\x01ja@example.com", "maja\x00@example.com", "ma\ufffeja@example.com"])
    async def test_an_address_that_cannot_be_written_is_nobody_elses(
        self, party: Party, monkeypatch: pytest.MonkeyPatch, email: str
    ) -> None:
        """security: what is left out of a name must not make it another customer's."""
        monkeypatch.setitem(PEOPLE, "odd", {"name": "Odd", "email": email})
        answer = await party.log_in(party.stage.browser(), party.hotel.redirect(), "google", "odd")
        assert answer.status < 500
        told = party.hotel.receive(answer).attributes.get(MAIL, [])
        assert not told

    @pytest.mark.parametrize("odd", ["a\x00b", "a\x1fb", "a\ud800b", "a\uffffb"])
    async def test_whatever_else_cannot_be_written_is_marked(self, odd: str) -> None:
        """Left out, it could make another value of it: another member's number, another customer's name."""
        for told in (
            add(etree.Element("a"), SAML, "AttributeValue", odd),
            name_id_element(NameId(odd, "urn:f"), "urn:i"),
        ):
            assert etree.fromstring(etree.tostring(told)).text == f"a{UNWRITABLE}b"
