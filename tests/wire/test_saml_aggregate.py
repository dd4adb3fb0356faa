"""Metadata documents that are believed, and the many that are not."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from lxml import etree
from signxml.algorithms import CanonicalizationMethod, SignatureMethod

from broker.wire.saml.aggregate import MAX_ENTITIES, MAX_ENTITY, Demands, Metadata, read
from broker.wire.saml.refused import XmlRefused
from tests.wire.federation import (
    MD,
    NOW,
    UNTIL,
    alone,
    federation,
    provider,
    said,
    service,
    signed,
    trusted,
)
from tests.wire.federation import aggregate as document

MONTH = timedelta(days=28)
SIGNED = Demands(trusted(), MONTH)


def believed(octets: bytes, demands: Demands = SIGNED, now: datetime = NOW) -> Metadata:
    return read(octets, demands=demands, now=now)


def refusal(octets: bytes, demands: Demands = SIGNED, now: datetime = NOW) -> str:
    with pytest.raises(XmlRefused) as refused:
        read(octets, demands=demands, now=now)
    return refused.value.code.removeprefix("saml.")


def signed_tree(octets: bytes) -> etree._Element:
    return etree.fromstring(octets)


class TestBelieved:
    def test_every_entity_is_found_by_its_name(self) -> None:
        """A signed federation is read once, and each of its entities afterwards."""
        found = believed(signed(federation(12)))
        assert len(found) == 12
        assert found.valid_until == UNTIL
        assert all(found.find(each) is not None for each in found.entity_ids)
        assert (entity := found.find("https://idp3.example.org/saml")) is not None
        assert entity.provider is not None
        assert entity.service is None

    @pytest.mark.parametrize(
        "wrap", ["<x:a xmlns:x='urn:x'>{}</x:a>", "{}", "<md:EntitiesDescriptor>{}</md:EntitiesDescriptor>"]
    )
    @pytest.mark.parametrize("is_alone", [False, True], ids=["aggregate", "alone"])
    def test_one_entity_does_not_speak_for_another(self, wrap: str, is_alone: bool) -> None:
        """Federations sign what members bring along: an entity inside another's extensions is nobody."""
        planted = service(2).replace("https://sp2.example.org/acs", "https://evil.example/acs")
        wolf = service(1, more=wrap.format(planted))
        if is_alone:
            assert believed(signed(alone(wolf))).find("https://sp2.example.org/saml") is None
            return
        found = believed(signed(document([wolf, service(2), service(3)])))
        assert list(found.entity_ids) == [f"https://sp{each}.example.org/saml" for each in (1, 2, 3)]
        entity = found.find("https://sp2.example.org/saml")
        assert entity is not None
        assert entity.service is not None
        assert all("evil" not in each.location for each in entity.service.acs)
        assert believed(signed(document([wolf]))).find("https://sp2.example.org/saml") is None

    def test_whom_nobody_knows_is_not_found(self) -> None:
        """The name is compared exactly, letter by letter."""
        found = believed(signed(federation(3)))
        assert found.find("https://sp1.example.org/SAML") is None
        assert found.find("") is None

    @pytest.mark.parametrize(
        ("kind", "method"),
        [
            ("rsa", SignatureMethod.RSA_SHA256),
            ("rsa", SignatureMethod.RSA_SHA512),
            ("rsa", SignatureMethod.SHA256_RSA_MGF1),
            ("secp256r1", SignatureMethod.ECDSA_SHA256),
            ("secp384r1", SignatureMethod.ECDSA_SHA384),
        ],
        ids=lambda value: value if isinstance(value, str) else value.name,
    )
    def test_by_every_algorithm(self, kind: str, method: SignatureMethod) -> None:
        """Federations sign by RSA, RSA-PSS and ECDSA; another library's signature of each is verified."""
        octets = signed(federation(4), kind=kind, method=method)
        assert len(believed(octets, Demands(trusted(kind), MONTH))) == 4

    def test_one_of_several_keys(self) -> None:
        """While a federation changes its key, both are given."""
        both = Demands((*trusted("rsa", 8), *trusted("secp256r1"), *trusted()), MONTH)
        assert len(believed(signed(federation(2)), both)) == 2

    @pytest.mark.parametrize(
        "edit",
        [
            lambda text: text.replace("\n  ", "\r\n\t  ").replace("\r", "&#13;"),
            lambda text: text.replace("\n  ", " <!-- </md:EntityDescriptor> --> text &amp; more <![CDATA[<x>]]>\n"),
            lambda text: text.replace("</md:EntityDescriptor>", "</md:EntityDescriptor  \n>"),
            lambda text: text.replace("<md:Extensions/>", ""),
            lambda text: re.sub(r"\bxmlns:md=", "xmlns=", re.sub(r"(?<=[</])md:", "", text)),
            lambda text: text.replace("\n  ", "").replace("\n", ""),
            lambda text: text.replace(' Name="urn:f', ' xmlns:u="urn:u" u:x="&quot;å&#9;" Name="urn:f'),
        ],
        ids=["line-ends", "comments", "spaces-in-tags", "no-extensions", "default-namespace", "one-line", "attributes"],
    )
    def test_however_it_is_written(self, edit: Callable[[str], str]) -> None:
        """The digest is over the canonical form, piece by piece the same as of the whole."""
        found = believed(signed(edit(federation(5))))
        assert len(found) == 5
        assert all(found.find(each) for each in found.entity_ids)

    def test_groups_within_groups(self) -> None:
        """An aggregate may contain aggregates; the earliest end of all that surrounds an entity counts."""
        soon = NOW + timedelta(hours=2)
        inner = document([service(1), provider(2)], until=soon).replace(' ID="_federation"', "")
        found = believed(signed(document([service(3), inner])))
        assert list(found.entity_ids) == [
            "https://sp3.example.org/saml",
            "https://sp1.example.org/saml",
            "https://idp2.example.org/saml",
        ]
        assert (entity := found.find("https://sp1.example.org/saml")) is not None
        assert entity.valid_until == soon

    def test_entities_with_signatures_of_their_own(self) -> None:
        """What an entity brings along as a signature is part of what the federation signed, and nothing else."""
        own = signed(alone(service(1), until=None), which=3).decode()
        found = believed(signed(document([own, provider(2)])))
        assert len(found) == 2
        assert found.find("https://sp1.example.org/saml") is not None

    def test_the_first_of_a_name_counts(self) -> None:
        """Two entities with one name are the federation's mistake, and not a second chance for the later one."""
        later = service(1, acs=f"{'<!-- -->'}").replace("Service 1", "Impostor")
        found = believed(signed(document([service(1), later])))
        assert (entity := found.find("https://sp1.example.org/saml")) is not None
        assert entity.service is not None
        assert entity.service.names["en"] == "Service 1 (en)"

    def test_a_single_entity(self) -> None:
        """As MDQ and single providers publish it."""
        found = believed(signed(alone(provider(1))))
        assert list(found.entity_ids) == ["https://idp1.example.org/saml"]
        assert found.find("https://idp1.example.org/saml") is not None

    @pytest.mark.parametrize("whole", [True, False], ids=["aggregate", "entity"])
    def test_a_reference_to_the_whole_document(self, whole: bool) -> None:
        """As eIDAS nodes sign theirs: no ID, and the empty reference; of the root it means the same."""
        text = document([service(1)]) if whole else alone(service(1))
        text = text.replace(' ID="_federation"', "").replace(' ID="_alone"', "")
        octets = signed(text)
        assert b'URI=""' in octets
        assert believed(octets).find("https://sp1.example.org/saml") is not None
        assert refusal(octets.replace(b"sp1.example.org/acs", b"sp1.example.com/acs")) == "digest_mismatch"
        assert refusal(signed(text, which=8)) == "signature_invalid"

    def test_a_clock_that_is_late(self) -> None:
        """Three minutes are forgiven (saml2int SDP-G01)."""
        assert believed(signed(federation(1)), now=UNTIL + timedelta(minutes=2))
        assert believed(signed(federation(1)), now=UNTIL - MONTH - timedelta(minutes=2))

    def test_a_pinned_document_needs_neither_signature_nor_end(self) -> None:
        """Whoever put the file there vouches for it."""
        found = believed(document([service(1)], until=None).encode(), Demands())
        assert found.valid_until is None
        assert found.find("https://sp1.example.org/saml") is not None

    def test_bounded_memory(self) -> None:
        """What is kept is the octets of the entities, and hardly anything besides."""
        octets = signed(federation(40))
        assert believed(octets).size <= len(octets)


class TestSignature:
    def test_none(self) -> None:
        """Unsigned metadata is refused where a key is given, and is not merely "not verified"."""
        assert refusal(federation(3).encode()) == "unsigned"
        assert refusal(alone(service(1)).encode()) == "unsigned"

    def test_somebody_elses(self) -> None:
        """The key in the document is not looked at: only given ones count."""
        assert refusal(signed(federation(3), which=8)) == "signature_invalid"
        assert refusal(signed(alone(service(1)), which=8)) == "signature_invalid"

    def test_a_key_of_another_kind(self) -> None:
        """An elliptic key verifies no RSA signature."""
        assert refusal(signed(federation(3)), Demands(trusted("secp256r1"), MONTH)) == "signature_invalid"

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (b"sp1.example.org/acs", b"sp1.example.com/acs"),
            (b'Name="urn:federation"', b'Name="urn:federatiom"'),
            (b'validUntil="2026-11-29', b'validUntil="2026-11-30'),
            (b"</md:EntitiesDescriptor>", b" </md:EntitiesDescriptor>"),
            (b"</md:EntityDescriptor>\n", b"</md:EntityDescriptor>x\n"),
            (b"<md:Extensions/>", b""),
        ],
        ids=["endpoint", "name", "end", "last-space", "text-between", "extensions"],
    )
    def test_changed_afterwards(self, old: bytes, new: bytes) -> None:
        """Whatever of the document changes, also between and after the entities, its digest is another."""
        octets = signed(federation(3))
        assert old in octets
        assert refusal(octets.replace(old, new, 1)) == "digest_mismatch"

    def test_an_entity_added_or_taken_out(self) -> None:
        """The signature is for the whole document."""
        octets = signed(federation(3)).decode()
        assert refusal(
            octets.replace("</md:EntitiesDescriptor>", service(9) + "</md:EntitiesDescriptor>").encode()
        ) == ("digest_mismatch")
        first, last = octets.index("<md:EntityDescriptor"), octets.index("</md:EntityDescriptor>") + 22
        assert refusal((octets[:first] + octets[last:]).encode()) == "digest_mismatch"

    def test_changed_digest(self) -> None:
        """A digest that fits what is there, under a signature that was made for another."""
        genuine, forged = signed(federation(3)), signed(federation(4), which=8)
        value = re.compile(rb"(?<=<ds:SignatureValue>)[^<]+")
        taken = value.search(genuine)
        assert taken is not None
        assert refusal(value.sub(taken[0], forged)) == "signature_invalid"

    def test_of_one_entity_is_not_of_the_document(self) -> None:
        """security: an unsigned aggregate around a signed entity."""
        inside = signed(alone(service(1), until=None)).decode()
        assert refusal(document([inside, service(2)]).encode()) == "unsigned"

    def test_moved_from_an_entity_to_the_root(self) -> None:
        """security: a genuine signature whose reference is another element."""
        inside = signed(alone(service(1), until=None))
        tree = etree.fromstring(document([inside.decode(), service(2)]).encode())
        signature = tree.find(".//{http://www.w3.org/2000/09/xmldsig#}Signature")
        tree.insert(0, signature)
        assert refusal(etree.tostring(tree)) == "reference_target"

    def test_a_whole_document_that_became_a_part(self) -> None:
        """security: the empty reference is for the root, wherever the signature has been carried."""
        inside = signed(alone(service(1)).replace(' ID="_alone"', ""))
        tree = etree.fromstring(document([inside.decode(), service(2)]).encode())
        tree.insert(0, tree.find(".//{http://www.w3.org/2000/09/xmldsig#}Signature"))
        assert refusal(etree.tostring(tree)) == "digest_mismatch"
        assert refusal(document([inside.decode()]).encode()) == "unsigned"

    def test_another_element_with_the_id_of_the_root(self) -> None:
        """security: what the reference leads to must be beyond doubt."""
        twin = service(1).replace("<md:EntityDescriptor ", '<md:EntityDescriptor ID="_federation" ', 1)
        octets = signed(document([service(2)])).decode()
        assert refusal(octets.replace("<md:Extensions/>", twin, 1).encode()) == "duplicate_id"

    @pytest.mark.parametrize("where", ["Name", "en"])
    def test_a_member_that_only_says_it(self, where: str) -> None:
        """security: what a member writes into its own entry must not take the whole federation away."""
        said = service(1)
        said = (
            said.replace("<md:EntityDescriptor ", '<md:EntityDescriptor xmlns:u="urn:u" u:x="_federation" ', 1)
            if where == "Name"
            else said.replace("Service 1 (en)", 'Known as "_federation" here')
        )
        found = believed(signed(document([said, service(2)])))
        assert found.find("https://sp2.example.org/saml") is not None

    def test_where_the_root_has_none_any_word_may_be_said(self) -> None:
        """As a whole document is signed: there is no ID that could be somebody else's."""
        said = service(1).replace("Service 1 (en)", 'This is "None" of ours')
        text = document([said]).replace(' ID="_federation"', "")
        assert believed(signed(text)).find("https://sp1.example.org/saml") is not None

    def test_not_first(self) -> None:
        """The schema has it first; anywhere else it is not looked for."""
        tree = signed_tree(signed(federation(2)))
        tree.append(tree[0])
        assert refusal(etree.tostring(tree)) == "unsigned"

    def test_twice(self) -> None:
        """One document, one signature."""
        tree = signed_tree(signed(federation(2)))
        again = etree.fromstring(etree.tostring(tree[0]))
        tree.insert(2, again)
        assert refusal(etree.tostring(tree)) == "signature_count"

    def test_weak_algorithm(self) -> None:
        """SHA-1 is on no list, whoever signed."""
        octets = signed(federation(2)).replace(b"2001/04/xmldsig-more#rsa-sha256", b"2000/09/xmldsig#rsa-sha1")
        assert refusal(octets) == "signature_algorithm"

    def test_other_canonicalization(self) -> None:
        """Only the exclusive one, as SAML has it."""
        octets = signed(federation(2), canonicalization=CanonicalizationMethod.CANONICAL_XML_1_1)
        assert refusal(octets) == "transform"


class TestValidity:
    @pytest.mark.parametrize("whole", [True, False], ids=["aggregate", "entity"])
    def test_past(self, whole: bool) -> None:
        """Old metadata is not used, however well it is signed."""
        octets = signed(federation(2) if whole else alone(service(1)))
        assert refusal(octets, now=UNTIL + timedelta(minutes=4)) == "metadata_expired"

    @pytest.mark.parametrize("whole", [True, False], ids=["aggregate", "entity"])
    def test_none(self, whole: bool) -> None:
        """Without an end, whoever stops our fetching could keep a key alive that was withdrawn."""
        octets = signed(document([service(1)], until=None) if whole else alone(service(1), until=None))
        assert refusal(octets) == "metadata_endless"

    def test_too_distant(self) -> None:
        """An end in a year is as good as none."""
        octets = signed(document([service(1)], until=NOW + timedelta(days=29)))
        assert refusal(octets) == "metadata_distant"

    @pytest.mark.parametrize("text", ["tomorrow", "", "2026-13-01T00:00:00Z", "9999"])
    def test_no_time(self, text: str) -> None:
        """An end that cannot be read is not "no end"."""
        octets = signed(federation(1).replace(said(UNTIL), text))
        assert refusal(octets) == "metadata_time"

    def test_of_a_pinned_file(self) -> None:
        """What says that it is over is over, signed or not."""
        assert refusal(document([service(1)], until=NOW - timedelta(days=1)).encode(), Demands()) == "metadata_expired"

    def test_entities_may_end_earlier(self) -> None:
        """Each tells its own end."""
        earlier = NOW + timedelta(days=1)
        found = believed(signed(document([service(1, attributes=f' validUntil="{said(earlier)}"')])))
        assert (entity := found.find("https://sp1.example.org/saml")) is not None
        assert entity.service is not None
        assert entity.valid_until == entity.service.valid_until == earlier


class TestForm:
    @pytest.mark.parametrize(
        ("octets", "code"),
        [
            (b"", "not_xml"),
            (b" \n", "not_xml"),
            (b"{}", "encoding"),
            (b"<html><body>502</body></html>", "wrong_element"),
            (b"<html>" + federation(1).encode() + b"</html>", "wrong_element"),
            (f'<md:EntitiesDescriptor xmlns:md="{MD}">'.encode(), "not_xml"),
            (federation(2).encode()[:-100], "not_xml"),
            (federation(2).encode() + b"<x/>", "not_xml"),
            (b'<!DOCTYPE x [<!ENTITY a "b">]>' + federation(1).encode(), "doctype"),
            (federation(1).encode().replace(b"Service", b"&xxe;"), "not_xml"),
            (federation(1).replace("<md:Extensions/>", "<?php x?>").encode(), "instruction"),
            (('<?xml version="1.0" encoding="UTF-16"?>' + federation(1)).encode(), "encoding"),
            (federation(1).encode("utf-16"), "encoding"),
            (f'<md:EntityDescriptor xmlns:md="{MD}"/>'.encode(), "wrong_element"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_refused(self, octets: bytes, code: str) -> None:
        """What is no metadata, or more than metadata, is refused before anything is made of it."""
        assert refusal(octets, Demands()) == code

    def test_oversize(self) -> None:
        """No document, and no entity in it, is larger than what is read."""
        octets = federation(2).encode()
        assert refusal(octets, Demands(max_bytes=len(octets) - 1)) == "too_large"
        grown = federation(3).replace("Service 2 (en)", "x" * MAX_ENTITY)
        assert refusal(grown.encode(), Demands()) == "too_large"
        assert refusal(alone(service(1)).replace("Service 1 (en)", "x" * MAX_ENTITY).encode(), Demands()) == "too_large"

    @pytest.mark.parametrize(
        "content",
        [
            "<md:a/>",
            "x" * 20,
            f'<md:EntityDescriptor entityID="a" xmlns:md="{MD}"/>',
            "<!-- </md:EntityDescriptor> -->",
        ],
        ids=["elements", "text", "without-end-tags", "ends-that-are-none"],
    )
    def test_what_has_no_entities_is_not_made_a_tree(self, content: str) -> None:
        """security: a document of 256 MB would become one of gigabytes. It is refused before it is parsed."""
        times = MAX_ENTITY // len(content) + 1
        octets = f'<md:EntitiesDescriptor xmlns:md="{MD}">{content * times}</md:EntitiesDescriptor>'.encode()
        assert refusal(octets, Demands()) == "too_large"
        after = octets.replace(b">", b"><md:EntityDescriptor></md:EntityDescriptor>", 1)
        assert refusal(after, Demands()) == "too_large"

    def test_more_entities_than_any_federation_has(self) -> None:
        """security: each costs time, however small it is."""
        content = '<md:EntityDescriptor entityID="a"></md:EntityDescriptor>' * (MAX_ENTITIES + 1)
        octets = f'<md:EntitiesDescriptor xmlns:md="{MD}">{content}</md:EntitiesDescriptor>'.encode()
        assert refusal(octets, Demands()) == "too_large"

    def test_strangers_cause_no_work(self) -> None:
        """security: what no known key signed is refused before it is read, so that nothing else in it is looked at."""
        octets = signed(federation(3), which=8)
        beyond = octets.index(b"</ds:Signature>") + 200
        assert refusal(octets[:beyond] + b"<" * 50) == "signature_invalid"

    def test_depth(self) -> None:
        """An entity nested beyond reason spoils itself, and not the others."""
        deep = service(1, more="<x>" * 60 + "</x>" * 60)
        found = believed(signed(document([deep, service(2)])))
        assert found.find("https://sp2.example.org/saml") is not None
        with pytest.raises(XmlRefused):
            found.find("https://sp1.example.org/saml")
