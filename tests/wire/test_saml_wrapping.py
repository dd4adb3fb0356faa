"""
Wrapped and misplaced signatures: a message that says Mallory and holds a genuine signature about Alice is refused, by
name, by each layer alone; and a reader that is content with any valid signature falls for every one of them.
"""

from collections.abc import Callable, Iterator

import pytest
from lxml import etree

from broker.wire.saml.refused import XmlRefused
from tests.wire import saml_attacks as attacks

OF_VERIFYING = {
    "saml.unsigned",
    "saml.signature_count",
    "saml.signature_shape",
    "saml.reference_target",
    "saml.digest_mismatch",
    "saml.signature_invalid",
    "saml.wrong_element",
}
OF_PARSING = {"saml.nested_message", "saml.signature_position", "saml.duplicate_id"}
REFUSED = OF_VERIFYING | OF_PARSING | {"saml.schema"}


def outcome(read: Callable[..., list[str]], *args: object, **kwargs: object) -> str:
    """The code *read* refuses with, or whom it takes the message to name. Anything but `XmlRefused` comes through."""
    try:
        return "+".join(read(*args, **kwargs))
    except XmlRefused as refused:
        return refused.code


def refusals(root: etree._Element, kind: str) -> set[str]:
    """What reading says, with the schema and without. Each step holds alone: verifying what another parser made too."""
    sent = attacks.octets(root)
    careless = outcome(attacks.take_parsed, etree.fromstring(sent), kind)
    assert "mallory" not in careless
    return {outcome(attacks.take, sent, kind), outcome(attacks.take, sent, kind, by_schema=False)}


def test_the_genuine_message_is_taken() -> None:
    """Otherwise refusing would be no art."""
    for kind, of in attacks.KINDS.items():
        sent = of.envelope(attacks.octets(attacks.genuine(kind)).decode()).encode()
        assert attacks.take(sent, kind) == attacks.naive(sent, kind) == ["alice"]


@pytest.mark.parametrize("variant", attacks.XSW)
def test_published_variants_are_refused(variant: str) -> None:
    """XSW1 to XSW8."""
    kind, make = attacks.XSW[variant]
    assert refusals(make(), kind) <= REFUSED


@pytest.mark.parametrize("variant", attacks.XSW)
def test_published_variants_get_past_a_naive_reader(variant: str) -> None:
    """So there is something to refuse."""
    kind, make = attacks.XSW[variant]
    assert "mallory" in attacks.naive(attacks.octets(make()), kind)


FAMILIES = [(kind, same, decoy) for kind in attacks.KINDS for same in (True, False) for decoy in attacks.DECOYS]
NAMED = [f"{kind}-{'same' if same else 'other'}-id-{decoy}" for kind, same, decoy in FAMILIES]


@pytest.mark.parametrize(("kind", "same", "decoy"), FAMILIES, ids=NAMED)
def test_placement_of_what_was_signed(kind: str, same: bool, decoy: str) -> None:
    """A signed element at every place of a forged document, whatever stands where its own signature belongs."""
    every(
        attacks.whole_placed(kind, "_good" if same else "_evil", decoy), kind, at_least=9 if kind == "request" else 35
    )


@pytest.mark.parametrize("same", [True, False], ids=["same-id", "other-id"])
@pytest.mark.parametrize("kind", attacks.KINDS)
def test_placement_of_the_signature_apart(kind: str, same: bool) -> None:
    """The signature at every place, and what it signed at every place."""
    every(attacks.apart_placed(kind, "_good" if same else "_evil"), kind, at_least=60 if kind == "request" else 500)


def every(cases: Iterator[etree._Element], kind: str, *, at_least: int) -> None:
    """Each of *cases* is refused by every way of reading, and gets past the naive one."""
    tried = 0
    for root in cases:
        assert refusals(root, kind) <= REFUSED, attacks.octets(root)
        assert "mallory" in attacks.naive(attacks.octets(root), kind), attacks.octets(root)
        tried += 1
    assert tried >= at_least


def test_two_signatures_of_one_element() -> None:
    """Whichever came first in the eyes of the reader."""
    root = attacks.genuine("response")
    own = root.find(attacks.SIGNATURE)
    own.addnext(attacks.clone(own))
    assert refusals(root, "response") == {"saml.signature_count", "saml.schema"}


def test_a_message_beside_or_below_another() -> None:
    """Whether signed or not: one message at a time."""
    for kind in ("response", "request"):
        root = attacks.genuine(kind)
        root.append(attacks.genuine(kind, "_second"))
        assert outcome(attacks.take, attacks.octets(root), kind, by_schema=False) == "saml.nested_message"
