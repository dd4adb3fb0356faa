"""Responses of identity providers: to our request, for us, in time, signed, and read from what was signed; or refused."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from lxml import etree

from broker.core.changing import replace
from broker.wire.saml import response, signature, xml
from broker.wire.saml.algorithms import EIDAS_ENCRYPTION, EIDAS_SIGNATURES, Signature
from broker.wire.saml.encryption import Recipient, encrypt_element
from broker.wire.saml.refused import CODES, XmlRefused
from broker.wire.saml.response import Expected, ReadResponse, Refusal, Value, read_response
from tests.wire import saml_attacks as attacks
from tests.wire import saml_stage as stage

NOW = datetime(2026, 11, 22, 7, 0, 30, tzinfo=UTC)
US = "https://broker.example/saml"
ACS = "https://broker.example/saml/acs"
EXPECTED = Expected(
    issuer=stage.IDP,
    audience=US,
    acs=ACS,
    in_response_to="_q1",
    keys=(stage.verifier(),),
    decrypting=(stage.opener("secp256r1"), stage.opener("rsa", 5)),
)

GOOD = f"""<samlp:Response xmlns:samlp="{xml.SAMLP}" xmlns:saml="{xml.SAML}" xmlns:xs="http://www.w3.org/2001/XMLSchema"
 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:n="http://eidas.europa.eu/attributes/naturalperson"
 ID="_r1" Version="2.0" IssueInstant="2026-11-22T07:00:00Z" InResponseTo="_q1" Destination="{ACS}">
<saml:Issuer>{stage.IDP}</saml:Issuer>
<samlp:Status><samlp:StatusCode Value="{response.SUCCESS}"/></samlp:Status>
<saml:Assertion ID="_a1" Version="2.0" IssueInstant="2026-11-22T07:00:00Z">
<saml:Issuer>{stage.IDP}</saml:Issuer>
<saml:Subject>
<saml:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">alice</saml:NameID>
<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer">
<saml:SubjectConfirmationData NotOnOrAfter="2026-11-22T07:05:00Z" Recipient="{ACS}" InResponseTo="_q1"/>
</saml:SubjectConfirmation>
</saml:Subject>
<saml:Conditions NotBefore="2026-11-22T06:59:00Z" NotOnOrAfter="2026-11-22T07:05:00Z">
<saml:AudienceRestriction><saml:Audience>{US}</saml:Audience></saml:AudienceRestriction>
</saml:Conditions>
<saml:AuthnStatement AuthnInstant="2026-11-22T06:59:50.123Z" SessionIndex="_s1" SessionNotOnOrAfter="2026-11-22T15:00:00Z">
<saml:AuthnContext>
<saml:AuthnContextClassRef>http://eidas.europa.eu/LoA/substantial</saml:AuthnContextClassRef>
<saml:AuthenticatingAuthority>https://node.example</saml:AuthenticatingAuthority>
</saml:AuthnContext>
</saml:AuthnStatement>
<saml:AttributeStatement>
<saml:Attribute Name="http://eidas.europa.eu/attributes/naturalperson/CurrentGivenName"
 NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:uri">
<saml:AttributeValue xsi:type="n:CurrentGivenNameType">Alice</saml:AttributeValue>
<saml:AttributeValue xsi:type="n:CurrentGivenNameType" n:LatinScript="false">Αλίκη</saml:AttributeValue>
</saml:Attribute>
<saml:Attribute Name="urn:oid:0.9.2342.19200300.100.1.3">
<saml:AttributeValue xsi:type="xs:string">alice@example.com</saml:AttributeValue>
<saml:AttributeValue xsi:nil="true"/>
</saml:Attribute>
</saml:AttributeStatement>
</saml:Assertion>
</samlp:Response>"""

Sign = str
"""Which elements are signed: r, a, ra or none."""


def sent(
    text: str = GOOD, *, sign: Sign = "r", to: str | None = None, algorithm: Signature | None = None, which: int = 0
) -> bytes:
    """*text* as it comes: assertion signed, then encrypted, then the response signed, as far as wanted."""
    root = etree.fromstring(text.encode())
    assertion = root.find(attacks.ASSERTION)
    if "a" in sign:
        signature.sign(assertion, stage.signer(which=which), algorithm=algorithm)
    if to is not None:
        recipient = Recipient(stage.verifier(to, 5 if to == "rsa" else 0), stage.cert(to, 5 if to == "rsa" else 0))
        root.replace(assertion, encrypt_element(assertion, recipient))
    if "r" in sign:
        signature.sign(root, stage.signer(which=which), algorithm=algorithm)
    return etree.tostring(root)


def read(octets: bytes, *, now: datetime = NOW, **change: Any) -> ReadResponse:
    found = read_response(octets, expected=replace(EXPECTED, **change), now=now)
    assert isinstance(found, ReadResponse)
    return found


def code(octets: bytes, *, now: datetime = NOW, **change: Any) -> str:
    with pytest.raises(XmlRefused) as refused:
        read_response(octets, expected=replace(EXPECTED, **change), now=now)
    found = refused.value.code.removeprefix("saml.")
    assert found in CODES
    return found


@pytest.mark.parametrize("to", [None, "rsa", "secp256r1"], ids=["plain", "to rsa", "to ec"])
@pytest.mark.parametrize("sign", ["r", "a", "ra"])
def test_what_a_response_says(sign: Sign, to: str | None) -> None:
    """The same, whichever element is signed, encrypted or not."""
    found = read(sent(sign=sign, to=to))
    assert found == ReadResponse(
        issuer=stage.IDP,
        in_response_to="_q1",
        destination=ACS,
        name_id="alice",
        name_id_format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent",
        session_index="_s1",
        session_until=datetime(2026, 11, 22, 15, 0, tzinfo=UTC),
        authn_context="http://eidas.europa.eu/LoA/substantial",
        authn_instant=datetime(2026, 11, 22, 6, 59, 50, 123000, tzinfo=UTC),
        authenticating_authorities=("https://node.example",),
        assertion_id="_a1",
        not_on_or_after=datetime(2026, 11, 22, 7, 5, tzinfo=UTC),
        attributes={
            "http://eidas.europa.eu/attributes/naturalperson/CurrentGivenName": (
                Value("Alice"),
                Value("Αλίκη", is_latin=False),
            ),
            "urn:oid:0.9.2342.19200300.100.1.3": (Value("alice@example.com"),),
        },
    )
    assert "alice" not in repr(found)


def test_declarations_that_a_sender_leaves_outside() -> None:
    """The encrypted text is what a sender cut out of its document, prefixes declared around it."""
    root = etree.fromstring(GOOD.encode())
    root.replace(root.find(attacks.ASSERTION), stage.encrypted_text(ASSERTION.strip().encode()))
    signature.sign(root, stage.signer())
    assert read(etree.tostring(root), decrypting=(stage.opener(),)).name_id == "alice"


NO = GOOD[: GOOD.index("<saml:Assertion")].replace(
    f'<samlp:StatusCode Value="{response.SUCCESS}"/>',
    '<samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Responder"><samlp:StatusCode Value="urn:x:cancel"/>'
    "</samlp:StatusCode><samlp:StatusMessage>no</samlp:StatusMessage>",
)


@pytest.mark.parametrize("sign", ["r", ""], ids=["signed", "unsigned"])
def test_a_provider_may_say_no(sign: Sign) -> None:
    """With its codes; whether it was the provider is said too."""
    found = read_response(sent(f"{NO}</samlp:Response>", sign=sign), expected=EXPECTED, now=NOW)
    assert isinstance(found, Refusal)
    assert found.status.codes == ("urn:oasis:names:tc:SAML:2.0:status:Responder", "urn:x:cancel")
    assert found.status.message == "no"
    assert found.is_signed == (sign == "r")
    assert code(sent(f"{NO}</samlp:Response>", sign=""), signs_response=True) == "unsigned"


def test_a_no_is_a_no_whoever_is_in_it() -> None:
    """An assertion beside another status is not read."""
    found = read_response(sent(NO + GOOD[GOOD.index("<saml:Assertion") :]), expected=EXPECTED, now=NOW)
    assert isinstance(found, Refusal)


ALIEN = "https://attacker.example"
ISSUER = f"<saml:Issuer>{stage.IDP}</saml:Issuer>"
RESTRICTION = f"<saml:AudienceRestriction><saml:Audience>{US}</saml:Audience></saml:AudienceRestriction>"


def second(text: str, old: str, new: str) -> str:
    """With the second *old* replaced."""
    first = text.index(old) + len(old)
    return text[:first] + text[first:].replace(old, new, 1)


def change(old: str, new: str, count: int = 1) -> Callable[[], str]:
    def changed() -> str:
        assert old in GOOD
        return GOOD.replace(old, new, count)

    return changed


CONFIRMATION = GOOD[GOOD.index("<saml:SubjectConfirmation ") : GOOD.index("</saml:Subject>")]
STATEMENT = GOOD[GOOD.index("<saml:AuthnStatement") : GOOD.index("<saml:AttributeStatement")]
ATTRIBUTES = GOOD[GOOD.index("<saml:AttributeStatement") : GOOD.index("</saml:Assertion>")]
ASSERTION = GOOD[GOOD.index("<saml:Assertion") : GOOD.index("</samlp:Response>")]
ENCRYPTED_ID = "<saml:EncryptedID><xenc:EncryptedData xmlns:xenc='http://www.w3.org/2001/04/xmlenc#'><xenc:CipherData>"
ENCRYPTED_ID += "<xenc:CipherValue>AAAA</xenc:CipherValue></xenc:CipherData></xenc:EncryptedData></saml:EncryptedID>"
UNTIL = 'NotOnOrAfter="2026-11-22T07:05:00Z"'
NAME = GOOD[GOOD.index("<saml:NameID") : GOOD.index("<saml:SubjectConfirmation ")]

WRONG: dict[str, tuple[Callable[[], str], str]] = {
    "another issuer": (change(ISSUER, f"<saml:Issuer>{ALIEN}</saml:Issuer>"), "issuer"),
    "another issuer inside": (lambda: second(GOOD, ISSUER, f"<saml:Issuer>{ALIEN}</saml:Issuer>"), "issuer"),
    "no issuer": (change(ISSUER, ""), "message_head"),
    "issuer of another format": (change("<saml:Issuer>", '<saml:Issuer Format="urn:x">'), "message_head"),
    "another destination": (change(f'Destination="{ACS}"', f'Destination="{ALIEN}"'), "destination"),
    "a longer destination": (change(f'Destination="{ACS}"', f'Destination="{ACS}/"'), "destination"),
    "no destination": (change(f'Destination="{ACS}"', ""), "destination"),
    "another request": (change('InResponseTo="_q1"', 'InResponseTo="_q2"'), "in_response_to"),
    "no request": (change('InResponseTo="_q1"', ""), "in_response_to"),
    "another version": (change('Version="2.0"', 'Version="1.1"'), "message_head"),
    "stale": (change('"2026-11-22T07:00:00Z"', '"2026-11-22T06:50:00Z"'), "time"),
    "from the future": (change('"2026-11-22T07:00:00Z"', '"2026-11-22T07:05:00Z"'), "time"),
    "no assertion": (change(ASSERTION, ""), "assertion_count"),
    "two assertions": (change(ASSERTION, ASSERTION + ASSERTION.replace("_a1", "_a2")), "assertion_count"),
    "no subject": (change(GOOD[GOOD.index("<saml:Subject>") : GOOD.index("<saml:Conditions")], ""), "assertion_shape"),
    "encrypted id": (change(NAME, ENCRYPTED_ID), "assertion_shape"),
    "no confirmation": (change(CONFIRMATION, ""), "confirmation"),
    "another method": (change("cm:bearer", "cm:sender-vouches"), "confirmation"),
    "confirmed for another address": (change(f'Recipient="{ACS}"', f'Recipient="{ALIEN}"'), "confirmation"),
    "confirmed for no address": (change(f'Recipient="{ACS}"', ""), "confirmation"),
    "confirmed for another request": (lambda: second(GOOD, 'InResponseTo="_q1"', 'InResponseTo="_q2"'), "confirmation"),
    "confirmed for no request": (lambda: second(GOOD, 'InResponseTo="_q1"', ""), "confirmation"),
    "confirmed until then": (
        change('Data NotOnOrAfter="2026-11-22T07:05:00Z"', 'Data NotOnOrAfter="2026-11-22T06:57:30Z"'),
        "confirmation",
    ),
    "confirmed for ever": (change('Data NotOnOrAfter="2026-11-22T07:05:00Z"', "Data"), "confirmation"),
    "confirmed from then": (
        change("<saml:SubjectConfirmationData", '<saml:SubjectConfirmationData NotBefore="2026-11-22T06:00:00Z"'),
        "confirmation",
    ),
    "no data": (
        change(GOOD[GOOD.index("<saml:SubjectConfirmationData") : GOOD.index("</saml:SubjectConfirmation>")], ""),
        "confirmation",
    ),
    "no conditions": (
        change(GOOD[GOOD.index("<saml:Conditions") : GOOD.index("<saml:AuthnStatement")], ""),
        "assertion_shape",
    ),
    "not yet": (change("06:59:00Z", "07:04:00Z"), "assertion_time"),
    "not any more": (change(f'06:59:00Z" {UNTIL}', f'06:00:00Z" {UNTIL.replace("07:05:00", "06:57:30")}'), "assertion_time"),
    "another audience": (change(f"<saml:Audience>{US}<", f"<saml:Audience>{ALIEN}<"), "audience"),
    "a longer audience": (change(f"<saml:Audience>{US}<", f"<saml:Audience>{US}/<"), "audience"),
    "no audience": (change(RESTRICTION, ""), "audience"),
    "a second restriction": (change(RESTRICTION, RESTRICTION + RESTRICTION.replace(US, ALIEN)), "audience"),
    "an unknown condition": (
        change(RESTRICTION, RESTRICTION + '<saml:Condition xmlns:c="urn:c" xsi:type="xs:string"/>'),
        "schema",
    ),
    "not to be passed on": (
        change(RESTRICTION, RESTRICTION + '<saml:ProxyRestriction Count="0"/>'),
        "assertion_shape",
    ),
    "to be passed on to some": (
        change(RESTRICTION, RESTRICTION + RESTRICTION.replace("AudienceRestriction", "ProxyRestriction")),
        "assertion_shape",
    ),
    "issuer inside of another format": (
        lambda: second(GOOD, "<saml:Issuer>", '<saml:Issuer Format="urn:x">'),
        "issuer",
    ),
    "made long ago": (lambda: second(GOOD, '"2026-11-22T07:00:00Z"', '"2026-11-22T06:50:00Z"'), "assertion_time"),
    "made in the future": (lambda: second(GOOD, '"2026-11-22T07:00:00Z"', '"2026-11-22T07:05:00Z"'), "assertion_time"),
    "another version inside": (change('ID="_a1" Version="2.0"', 'ID="_a1" Version="2.1"'), "assertion_shape"),
    "no statement": (change(STATEMENT, ""), "assertion_shape"),
    "two statements": (change(STATEMENT, STATEMENT * 2), "assertion_shape"),
    "two attribute statements": (change(ATTRIBUTES, ATTRIBUTES * 2), "assertion_shape"),
    "an encrypted attribute": (
        change(ATTRIBUTES[:25], ATTRIBUTES[:25] + ENCRYPTED_ID.replace("EncryptedID", "EncryptedAttribute")),
        "assertion_shape",
    ),
    "a session that is over": (change("T15:00:00Z", "T06:00:00Z"), "assertion_time"),
    "authenticated in the future": (change("06:59:50.123Z", "07:10:00Z"), "assertion_time"),
    "an element in a name": (change(">alice<", "><x xmlns='urn:x'/>alice<"), "schema"),
    "a time of nobody's": (change('"2026-11-22T06:59:50.123Z"', '"2026-02-30T00:00:00Z"'), "schema"),
    "a request": (lambda: attacks.KINDS["request"].make("alice", "_r1"), "wrong_element"),
}  # fmt: skip


@pytest.mark.parametrize("to", [None, "rsa"], ids=["plain", "encrypted"])
@pytest.mark.parametrize("case", WRONG)
def test_what_is_not_taken(case: str, to: str | None) -> None:
    """Signed by the provider, every one."""
    make, expected = WRONG[case]
    if to and (case.endswith("request") or "assertion" in case):
        to = None  # nothing there to encrypt, or two
    assert code(sent(make(), to=to)) == expected


def test_which_signature_is_needed() -> None:
    """One of them always, and each where it is asked for."""
    assert code(sent(sign="")) == "unsigned"
    assert code(sent(sign="", to="rsa")) == "unsigned"
    assert code(sent(sign="a"), signs_response=True) == "unsigned"
    assert code(sent(sign="r"), signs_assertion=True) == "unsigned"
    assert read(sent(sign="ra"), signs_response=True, signs_assertion=True).name_id == "alice"


def test_every_signature_that_is_there_must_verify() -> None:
    """Needed or not: the assertion's by somebody else inside a response of the provider's, and the other way round."""
    root = etree.fromstring(GOOD.encode())
    signature.sign(root.find(attacks.ASSERTION), stage.signer(which=1))
    signature.sign(root, stage.signer())
    assert code(etree.tostring(root)) == "signature_invalid"
    root = etree.fromstring(GOOD.encode())
    signature.sign(root.find(attacks.ASSERTION), stage.signer())
    signature.sign(root, stage.signer(which=1))
    assert code(etree.tostring(root)) == "signature_invalid"


def test_mixed_up_providers() -> None:
    """A response of one provider, good in itself, where another one was asked: neither its keys nor its name fit."""
    assert code(sent(which=1)) == "signature_invalid"
    assert code(sent(), issuer=ALIEN) == "issuer"


def test_unencrypted_where_it_has_to_be() -> None:
    """However well it is signed."""
    assert code(sent(sign="ra"), encrypted=True) == "unencrypted"
    assert read(sent(to="rsa"), encrypted=True).name_id == "alice"
    assert code(sent(to="rsa"), decrypting=()) == "undecryptable"


def test_a_strict_node() -> None:
    """Signed with PSS, encrypted by agreement; and nothing less than that."""
    strict = {"signatures": EIDAS_SIGNATURES, "encryption": EIDAS_ENCRYPTION, "encrypted": True, "signs_response": True}
    assert read(sent(to="secp256r1", algorithm=Signature.RSA_PSS_SHA256), **strict).name_id == "alice"
    assert code(sent(to="secp256r1"), **strict) == "signature_algorithm"
    assert code(sent(to="rsa", algorithm=Signature.RSA_PSS_SHA256), **strict) == "encryption_algorithm"


def test_something_else_was_encrypted() -> None:
    """An element that is no assertion, or one and something beside it."""
    root = etree.fromstring(GOOD.encode())
    recipient = Recipient(stage.verifier("rsa", 5), stage.cert("rsa", 5))
    name = etree.fromstring(f'<saml:NameID xmlns:saml="{xml.SAML}">alice</saml:NameID>')
    root.replace(root.find(attacks.ASSERTION), encrypt_element(name, recipient))
    signature.sign(root, stage.signer())
    assert code(etree.tostring(root)) == "wrong_element"


def test_plain_and_encrypted_at_once() -> None:
    """One of them would be read, and the other is what was meant."""
    root = etree.fromstring(GOOD.encode())
    assertion = root.find(attacks.ASSERTION)
    root.append(encrypt_element(assertion, Recipient(stage.verifier("rsa", 5), stage.cert("rsa", 5))))
    signature.sign(root, stage.signer())
    assert code(etree.tostring(root)) == "assertion_count"


@pytest.mark.parametrize("ahead", [timedelta(seconds=20), timedelta(minutes=2), timedelta(seconds=-20)], ids=str)
def test_a_clock_that_differs(ahead: timedelta) -> None:
    """A provider's clock 20 seconds ahead of ours is no failure, nor is one two minutes ahead."""
    assert read(sent(), now=datetime(2026, 11, 22, 7, 0, tzinfo=UTC) - ahead).name_id == "alice"


def test_the_skew_is_the_profiles() -> None:
    """Sweden Connect allows one minute."""
    assert code(sent(), now=NOW - timedelta(minutes=2), skew=timedelta(minutes=1)) == "time"
    assert code(sent(), now=NOW + timedelta(minutes=6), skew=timedelta(minutes=1)) == "time"


def test_conditions_that_are_understood() -> None:
    """It is used once anyway, and we are the last to pass it on."""
    more = '<saml:OneTimeUse/><saml:ProxyRestriction Count="1"/>'
    assert read(sent(GOOD.replace(RESTRICTION, RESTRICTION + more))).name_id == "alice"


def test_several_confirmations() -> None:
    """One that is for us is enough, wherever it stands."""
    other = CONFIRMATION.replace(ACS, ALIEN)
    assert read(sent(GOOD.replace(CONFIRMATION, other + CONFIRMATION))).name_id == "alice"


@pytest.mark.parametrize("variant", attacks.XSW)
def test_wrapped(variant: str) -> None:
    """The published variants, at this door too."""
    kind, make = attacks.XSW[variant]
    assert kind in ("response", "assertion")
    refusals = {"schema", "nested_message", "signature_position", "duplicate_id", "assertion_count"}
    assert code(attacks.octets(make()), acs=stage.SP) in refusals


GENUINE = [sent(sign=sign, to=to) for sign in ("r", "a", "ra") for to in (None, "rsa")]
FORGED = [sent(GOOD.replace("alice", "mallory"), sign=sign, which=1) for sign in ("r", "a", "ra", "")]


@settings(max_examples=150, deadline=None)
@given(chance=some.randoms(use_true_random=False))
def test_rearranged(chance: Random) -> None:
    """Parts of genuine and forged responses in any order and number: Alice, a no, or refused by name; never Mallory."""
    root, other = (etree.fromstring(chance.choice(GENUINE + FORGED)) for _ in range(2))
    for _ in range(chance.randint(1, 4)):
        rearrange(root, other, chance)
    try:
        found = read_response(etree.tostring(root), expected=EXPECTED, now=NOW)
    except XmlRefused as refused:
        found = refused
    assert not isinstance(found, ReadResponse) or found.name_id == "alice"


def rearrange(root: etree._Element, other: etree._Element, chance: Random) -> None:
    """One change: something of *other*, or of *root* itself, put in, in place of something, or as an attribute."""
    place = chance.choice(list(root.iter("*")))
    piece = chance.choice(list(chance.choice((root, other)).iter("*")))
    match chance.randrange(4):
        case 0:
            place.insert(chance.randint(0, len(place)), attacks.clone(piece))
        case 1 if place.getparent() is not None:
            place.getparent().replace(place, attacks.clone(piece))
        case 2 if place.getparent() is not None:
            place.getparent().remove(place)
        case _ if piece.attrib:
            name = chance.choice(sorted(piece.attrib))
            place.set(name, piece.get(name))
        case _:
            place.text = piece.text
