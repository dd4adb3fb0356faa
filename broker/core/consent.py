"""
Consent: what must be asked, and what an earlier answer covers.
"""

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct


class Consent(Struct, frozen=True):
    """
    What a customer agreed to, as the core sees it (`broker.stores.ports.ConsentRecord` without the bookkeeping).

    ``source``: None for a plain login. ``granted`` and ``refused``: field names the customer saw and answered.
    """

    id: str
    source: str | None
    recipient: str
    purpose: str
    type: str
    granted: tuple[str, ...]
    refused: tuple[str, ...]
    remember: bool
    expires_at: datetime


class Wish(Struct, frozen=True):
    """What is about to be shared: ``required`` and ``optional`` field names that really have a value now."""

    source: str | None
    recipient: str
    purpose: str
    type: str
    required: tuple[str, ...]
    optional: tuple[str, ...]


def covering(consents: Iterable[Consent], wish: Wish, now: datetime) -> Consent | None:
    """
    The remembered consent that answers *wish* without asking again; None when the customer must be asked.

    It must be for the same source, recipient, purpose and type version, still hold, include every required field, and
    say yes or no to every optional one: a new field is always asked.
    """
    for consent in consents:
        same = (consent.source, consent.recipient, consent.purpose, consent.type) == (
            wish.source,
            wish.recipient,
            wish.purpose,
            wish.type,
        )
        if not (same and consent.remember and now < consent.expires_at):
            continue
        answered = {*consent.granted, *consent.refused}
        if set(wish.required) <= set(consent.granted) and set(wish.optional) <= answered:
            return consent
    return None


def granted_of(wish: Wish, kept: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """
    Split *wish* by what the customer kept: required always, optional where named in *kept*.

    Returns: granted and refused names, in the order of the wish. Names outside the wish are ignored.
    """
    chosen = set(kept)
    granted = (*wish.required, *(name for name in wish.optional if name in chosen))
    return granted, tuple(name for name in wish.optional if name not in chosen)
