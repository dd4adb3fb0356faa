"""
Passkeys: what one counts for, who may add one, and when its counter betrays a copy.

A passkey proves that the customer is the one who enrolled it, and no more: it counts as the proof she had brought then, for as
long as such a proof counts.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct

from broker.core.assurance import Assurance
from broker.core.changing import replace
from broker.core.device import Device
from broker.core.identity import Contact, ContactKind
from broker.core.session import Session

MOST = 10
"""Passkeys of one customer; more than anybody has devices and password managers."""

_LONGEST_NAME = 60


class EnrolmentProof(Struct, frozen=True):
    """
    What a customer had proven when she enrolled a passkey.

    ``upstream``: by which way in. ``assurance``, ``amr``: of that login. ``contacts``: what was verified of hers.
    ``proven_at``: when she proved it (aware UTC). ``way``: which of her ways in it was (`broker.core.linking.WayIn.name`); empty
    where that is not known.
    """

    upstream: str
    assurance: Assurance
    amr: tuple[str, ...]
    contacts: tuple[Contact, ...]
    proven_at: datetime
    way: str = ""


class Passkey(Struct, frozen=True):
    """
    A passkey as it is kept, sealed. ``id``: its credential id; ``public_key``: COSE (RFC 9052); ``user_handle``: random, the
    same for all of one customer's passkeys.

    ``transports``: hints for browsers on how to reach it. ``aaguid``: which product made it, as it says itself.
    ``is_synced``: it may be copied between devices (WebAuthn section 6.1.3, "backup eligible"). ``name``: the customer's own,
    or made up by `first_name`.
    """

    id: bytes
    public_key: bytes
    user_handle: bytes
    transports: tuple[str, ...]
    aaguid: str
    is_synced: bool
    name: str
    proof: EnrolmentProof


class OwnPasskey(Struct, frozen=True):
    """
    One of a customer's passkeys as she sees it. ``id``: what forms call it; it opens nothing.

    ``used_at``: to the day. ``is_stale``: what she had proven when she added it counts no more. ``is_here``: it opened the
    session she is looking from.
    """

    id: str
    name: str
    added_at: datetime
    used_at: datetime
    is_synced: bool
    is_stale: bool
    is_here: bool


class Unfit(StrEnum):
    """Why nobody may add a passkey in a session; the words are the catalogue's ``passkeys.unfit.<value>``."""

    MAY_NOT = "may_not"
    """The way she logged in may not be used to add another one, by agreement (BankID) or by the operator's choice."""
    STALE = "stale"
    """She proved who she is too long ago."""


def unfit(session: Session, *, may_bootstrap: bool, within: timedelta, now: datetime) -> Unfit | None:
    """
    Why *session* may not add a passkey; None when it may.

    A provider that does not tell when she proved who she is counts from when it answered: the passkey it gives her counts for
    no more than a login there.

    Args:
        may_bootstrap: what the operator says of the session's way in today. within: how fresh the proof must be.
    """
    if not (session.may_bootstrap and may_bootstrap):
        return Unfit.MAY_NOT
    return None if now - session.authenticated_at <= within else Unfit.STALE


def proof_of(session: Session) -> EnrolmentProof:
    """
    What a passkey counts for that is added in *session*, which was opened by another way in: that login, without the contacts
    that came along from others.
    """
    profile = session.profile
    said = (
        (ContactKind.EMAIL, profile.email, profile.email_verified and "email" not in session.lent),
        (ContactKind.PHONE, profile.phone_number, profile.phone_number_verified and "phone_number" not in session.lent),
    )
    contacts = tuple(Contact(kind, value, True) for kind, value, verified in said if value and verified)
    proven_at = (session.contact_proven_at if contacts else None) or session.authenticated_at
    return EnrolmentProof(session.upstream, session.assurance, session.amr, contacts, proven_at, session.way)


def is_stale(proof: EnrolmentProof, *, lifetime: timedelta, now: datetime) -> bool:
    """Whether *proof* is so old that it counts for nothing: addresses and numbers change hands."""
    return now - proof.proven_at > lifetime


def counts_as(proof: EnrolmentProof, *, lifetime: timedelta, now: datetime) -> tuple[Assurance, tuple[Contact, ...]]:
    """What a login by a passkey proves now: what it was enrolled with; when that is stale, only that she is the same."""
    if not is_stale(proof, lifetime=lifetime, now=now):
        return proof.assurance, proof.contacts
    weakest = min(proof.assurance, Assurance.SELF_ASSERTED, key=lambda level: level.rank)
    return weakest, tuple(replace(contact, verified=False) for contact in proof.contacts)


def method_words(*, is_synced: bool) -> tuple[str, ...]:
    """
    The ``amr`` of a login by a passkey (RFC 8176 section 2): a key, where it is kept, and that the user was there.

    Where it is kept is what the authenticator says: one that can be copied is software to us. There is no attestation.
    """
    return ("swk" if is_synced else "hwk", "pop", "user")


def went_back(*, known: int, counter: int) -> bool:
    """
    Whether *counter* says that there is another copy of the key (WebAuthn section 6.1.1).

    Most passkeys do not count and always say 0, so 0 after 0 is fine.
    """
    return known > 0 and counter <= known


_MAKERS: Mapping[str, str] = {
    "fbfc3007-154e-4ecc-8c0b-6e020557d7bd": "iCloud Keychain",
    "dd4ec289-e01d-41c9-bb89-70fa845d4bf2": "iCloud Keychain",
    "ea9b8d66-4d01-1d21-3ce4-b6b48cb575d4": "Google Password Manager",
    "adce0002-35bc-c60a-648b-0b25f1f05503": "Chrome, Mac",
    "08987058-cadc-4b81-b6e1-30de50dcbe96": "Windows Hello",
    "9ddd1817-af5a-4672-a2b9-3e3dd95000a9": "Windows Hello",
    "6028b017-b1d4-4c02-b4b3-afcdafc96bb2": "Windows Hello",
    "53414d53-554e-4700-0000-000000000000": "Samsung Pass",
    "bada5566-a7aa-401f-bd96-45619a55120d": "1Password",
    "d548826e-79b4-db40-a3d8-11116f7e8349": "Bitwarden",
    "531126d6-e717-415c-9320-3d9aa6981239": "Dashlane",
}


def first_name(aaguid: str, device: Device) -> str:
    """What a new passkey is called: the product that keeps it, else the device it was made on; empty if neither is known."""
    made_on = ", ".join(part for part in (device.browser, device.system) if part)
    return _MAKERS.get(aaguid, made_on)


def given_name(typed: str) -> str:
    """What a customer *typed* as a passkey's name: one line, at most 60 characters; empty when nothing is left."""
    shown = "".join(letter if letter.isprintable() else " " for letter in typed)
    return " ".join(shown.split())[:_LONGEST_NAME].strip()
