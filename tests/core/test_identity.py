"""What the broker accepts of what an upstream proved."""

import pytest

from broker.core.assurance import Assurance
from broker.core.identity import Contact, ContactKind, accept, normal_email, same_mailbox

from .world import evidence

EMAIL, PHONE = ContactKind.EMAIL, ContactKind.PHONE


@pytest.mark.parametrize("claimed", Assurance)
@pytest.mark.parametrize("ceiling", Assurance)
def test_no_login_counts_for_more_than_its_ceiling(claimed: Assurance, ceiling: Assurance) -> None:
    """The operator's ceiling holds whatever the provider claims, and a weak login is not lifted to it (A13)."""
    accepted = accept(evidence(assurance=claimed), ceiling=ceiling, may_bootstrap=True).assurance
    assert accepted <= ceiling
    assert accepted <= claimed
    assert accepted in {claimed, ceiling}


@pytest.mark.parametrize("may", [True, False])
def test_bootstrapping_is_the_operators_word(may: bool) -> None:
    """Whether a login may raise other methods is config, not something an upstream can say."""
    assert accept(evidence(), ceiling=Assurance.HIGH, may_bootstrap=may).may_bootstrap is may


@pytest.mark.parametrize(
    ("contacts", "email", "verified", "proven"),
    [
        ((), None, False, False),
        ((Contact(EMAIL, "a@x.test", False),), "a@x.test", False, False),
        ((Contact(EMAIL, "a@x.test", True),), "a@x.test", True, True),
        ((Contact(EMAIL, "a@x.test", False), Contact(EMAIL, "b@x.test", True)), "b@x.test", True, True),
        ((Contact(EMAIL, "a@x.test", False), Contact(EMAIL, "b@x.test", False)), "a@x.test", False, False),
        ((Contact(EMAIL, "a@x.test", False), Contact(PHONE, "+46701234567", True)), "a@x.test", False, True),
        ((Contact(EMAIL, "a\x00@x.test", True),), None, False, False),
        ((Contact(EMAIL, "a@x.test\x1f", True), Contact(EMAIL, "b@x.test", False)), "b@x.test", False, False),
        ((Contact(EMAIL, "a\ufffe@x.test", True), Contact(PHONE, "+4670\x01", True)), None, False, False),
    ],
)
def test_only_a_verified_contact_is_proven(
    contacts: tuple[Contact, ...], email: str | None, verified: bool, proven: bool
) -> None:
    """An address somebody merely typed never counts as theirs; a verified one goes before."""
    accepted = accept(evidence(*contacts), ceiling=Assurance.HIGH, may_bootstrap=True)
    assert (accepted.email, accepted.email_verified, accepted.contact_proven) == (email, verified, proven)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"name": "  Maja \t Lind\n"}, "Maja Lind"),
        ({"name": "Bjo\u0308rn"}, "Björn"),
        ({"name": "Ma\x00ja\x1b \ud800Lind\uffff"}, "Maja Lind"),
        ({"name": "\x01"}, "Maja Lind"),
        ({"name": "   "}, "Maja Lind"),
        ({"name": None}, "Maja Lind"),
        ({"name": None, "family_name": None}, "Maja"),
        ({"name": None, "given_name": " ", "family_name": None}, None),
    ],
)
def test_names_have_one_form(given: dict[str, str | None], name: str | None) -> None:
    """NFC, single blanks, nothing that is no text, and no name rather than an empty one."""
    assert accept(evidence(**given), ceiling=Assurance.HIGH, may_bootstrap=True).name == name


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("maja@example.com", "maja@example.com"),
        ("  maja@example.com\n", "maja@example.com"),
        ("Maja@EXAMPLE.Com", "Maja@example.com"),
        ("maja@BÜCHER.example", "maja@xn--bcher-kva.example"),
        ("maja@XN--BCHER-KVA.example", "maja@xn--bcher-kva.example"),
        ("maja@bu\u0308cher.example", "maja@xn--bcher-kva.example"),
        ("maja@straße.example", "maja@xn--strae-oqa.example"),
        ("a@b@example.com", "a@b@example.com"),
        (f"maja@{'x' * 70}.example", f"maja@{'x' * 70}.example"),
        ("maja@a..b", "maja@a..b"),
        (f"maja@{'x' * 63}.bücher.example", f"maja@{'x' * 63}.xn--bcher-kva.example"),
        (f"maja@{'x' * 64}.bücher.example", f"maja@{'x' * 64}.bücher.example"),
        ("no-address", "no-address"),
        ("", ""),
    ],
)
def test_addresses_have_one_form(written: str, normal: str) -> None:
    """Domains are the same however they are written; the local part stays as typed; odd input comes back, nothing raises."""
    assert normal_email(written) == normal
    assert normal_email(normal) == normal


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("maja@example.com", "MAJA@Example.COM", True),
        ("åsa@example.com", "A\u030aSA@example.com", True),
        ("maja@bücher.example", "maja@xn--bcher-kva.example", True),
        ("maja@example.com", "maja@example.org", False),
        ("maja@example.com", "maja@sub.example.com", False),
        ("maja@example.com", "maja+x@example.com", False),
        ("maja@example.com", "maja@example.com.", False),
        ("strasse@example.com", "straße@example.com", False),
        ("maja@strasse.example", "maja@straße.example", False),
        ("sofia@example.com", "\u017fofia@example.com", False),
        ("mail@example.com", "ma\u0131l@example.com", False),
        ("maja@example.com", "\uff4daja@example.com", False),
    ],
)
def test_look_alikes_are_other_mailboxes(one: str, other: str, same: bool) -> None:
    """security: letters that Unicode folds together belong to different people at a mail server or registry."""
    assert same_mailbox(one, other) is same
    assert same_mailbox(other, one) is same
