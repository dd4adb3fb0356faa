"""Passkeys: what one counts for, who may add one, and when there is a copy."""

from datetime import UTC, datetime, timedelta

import pytest

from broker.core.assurance import Assurance
from broker.core.changing import replace
from broker.core.device import Device
from broker.core.identity import Contact, ContactKind
from broker.core.passkey import (
    EnrolmentProof,
    Unfit,
    counts_as,
    first_name,
    given_name,
    is_stale,
    method_words,
    proof_of,
    unfit,
    went_back,
)
from broker.core.session import Profile, Session

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
MINUTES = timedelta(minutes=10)
DAYS = timedelta(days=400)
TICK = timedelta(microseconds=1)
SESSION = Session(
    customer="c1",
    upstream="email",
    assurance=Assurance.CONTACT,
    amr=("otp",),
    contact_proven=True,
    may_bootstrap=True,
    authenticated_at=NOW,
    created_at=NOW,
    seen_at=NOW,
    profile=Profile(email="maja@example.com", email_verified=True, phone_number="+46701740605"),
    way="w1",
)
EMAIL = Contact(ContactKind.EMAIL, "maja@example.com", True)


@pytest.mark.parametrize(
    ("mine", "operators", "age", "why"),
    [
        (True, True, timedelta(0), None),
        (True, True, MINUTES, None),
        (True, True, MINUTES + TICK, Unfit.STALE),
        (False, True, timedelta(0), Unfit.MAY_NOT),
        (True, False, timedelta(0), Unfit.MAY_NOT),
        (False, False, MINUTES + TICK, Unfit.MAY_NOT),
    ],
)
def test_who_may_add_one(mine: bool, operators: bool, age: timedelta, why: Unfit | None) -> None:
    """By a fresh login, by a way that might be used for it then and may be used for it now."""
    session = replace(SESSION, may_bootstrap=mine)
    assert unfit(session, may_bootstrap=operators, within=MINUTES, now=NOW + age) is why


def test_a_passkey_stands_for_what_was_verified() -> None:
    """The address, and not the number that nobody verified."""
    assert proof_of(SESSION) == EnrolmentProof("email", Assurance.CONTACT, ("otp",), (EMAIL,), NOW, "w1")


def test_an_older_contact_makes_an_older_proof() -> None:
    """What counts is when the address was proven."""
    before = NOW - timedelta(days=90)
    assert proof_of(replace(SESSION, contact_proven_at=before)).proven_at == before


@pytest.mark.parametrize("assurance", Assurance)
def test_what_it_counts_for(assurance: Assurance) -> None:
    """As much as then, up to the last moment; afterwards nothing but that she is the same, and never more."""
    proof = replace(proof_of(SESSION), assurance=assurance)
    assert counts_as(proof, lifetime=DAYS, now=NOW + DAYS) == (assurance, (EMAIL,))
    level, contacts = counts_as(proof, lifetime=DAYS, now=NOW + DAYS + TICK)
    assert level <= min(assurance, Assurance.SELF_ASSERTED, key=lambda each: each.rank)
    assert contacts == (replace(EMAIL, verified=False),)
    assert is_stale(proof, lifetime=DAYS, now=NOW + DAYS + TICK)


@pytest.mark.parametrize(
    ("known", "counter", "is_copy"),
    [(0, 0, False), (0, 1, False), (1, 2, False), (1, 1, True), (2, 1, True), (5, 0, True), (0, 2**32 - 1, False)],
)
def test_when_there_is_a_copy(known: int, counter: int, is_copy: bool) -> None:
    """A count that was once above nothing has to grow."""
    assert went_back(known=known, counter=counter) is is_copy


def test_how_it_is_told() -> None:
    """A key, where it is kept, that the user was there; never more than one factor in words (RFC 8176)."""
    assert method_words(is_synced=True) == ("swk", "pop", "user")
    assert method_words(is_synced=False) == ("hwk", "pop", "user")


@pytest.mark.parametrize(
    ("aaguid", "device", "name"),
    [
        ("ea9b8d66-4d01-1d21-3ce4-b6b48cb575d4", Device("Chrome", "Android"), "Google Password Manager"),
        ("00000000-0000-0000-0000-000000000000", Device("Firefox", "Windows"), "Firefox, Windows"),
        ("not one at all", Device(None, "iPhone"), "iPhone"),
        ("", Device(), ""),
    ],
)
def test_what_a_new_one_is_called(aaguid: str, device: Device, name: str) -> None:
    """By what keeps it, else by where it was made."""
    assert first_name(aaguid, device) == name


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("  Min   mobil ", "Min mobil"),
        ("a\nb\u202ec\u200bd", "a b c d"),
        ("\u200b", ""),
        ("x" * 100, "x" * 60),
        ("x" * 59 + " y", "x" * 59),
    ],
)
def test_what_she_calls_it(typed: str, name: str) -> None:
    """One line that nothing is hidden in."""
    assert given_name(typed) == name
