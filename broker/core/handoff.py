"""
A handoff: data from one partner to another, about one customer, for one purpose.

    created -> opened -> bound -> consented -> started -> redeemed -> acknowledged
                           |                                 (data may be read while redeemed or acknowledged)
                           +----> declined  (nothing personal is shared; product data may go along with a guest)
    any of them -> expired | revoked

Every change is a pure function here, saved by compare-and-set in the flow, so that of many at once one wins and the
others are answered from what it stored. The link's handle finds a handoff; it never says who somebody is.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any

from msgspec import Struct

from broker.core.changing import replace
from broker.core.identity import same_mailbox
from broker.core.policy import Agreement, Policy
from broker.core.session import Session
from broker.errors import BadAsk, Denied, Gone, Spent, WrongCustomer


class State(StrEnum):
    """Where a handoff stands."""

    CREATED = "created"
    OPENED = "opened"
    BOUND = "bound"
    CONSENTED = "consented"
    DECLINED = "declined"
    STARTED = "started"
    REDEEMED = "redeemed"
    ACKNOWLEDGED = "acknowledged"
    EXPIRED = "expired"
    REVOKED = "revoked"


#: From here a customer may still decide; afterwards a reopened link is answered from the stored result.
UNDECIDED = frozenset({State.CREATED, State.OPENED, State.BOUND})
#: The customer said yes and the recipient has not fetched it yet.
UNDERWAY = frozenset({State.CONSENTED, State.STARTED})
#: The recipient has it.
TRANSFERRED = frozenset({State.REDEEMED, State.ACKNOWLEDGED})


class Result(StrEnum):
    """What the recipient did with it."""

    LINKED = "linked"
    CREATED = "created"
    BOOKED = "booked"


class Contact(Struct, frozen=True):
    """The order's contact, for binding a handoff without a known subject; never released by itself."""

    email: str | None = None
    phone: str | None = None


class Handoff(Struct, frozen=True, omit_defaults=True):
    """
    ``customer``: whom the source made it for (internal id), None for a guest order. ``bound_to``: who opened it and was
    found to be that customer. ``payload``: as the source gave it (``payload_sha256`` of it stays), cut down to what the customer
    agreed to once she decided; ``withheld``: names she or the agreement kept back.
    """

    id: str
    source: str
    recipient: str
    purpose: str
    type: str
    payload: Mapping[str, Any]
    payload_sha256: str
    return_uri: str
    language: str | None
    customer: str | None
    contact: Contact
    policy_version: str
    created_at: datetime
    expires_at: datetime
    state: State = State.CREATED
    bound_to: str | None = None
    consent: str | None = None
    withheld: tuple[str, ...] = ()
    decided_at: datetime | None = None
    redeemed_at: datetime | None = None
    acknowledged_at: datetime | None = None
    result: Result | None = None
    reference: str | None = None


class Offer(Struct, frozen=True):
    """What a source asks to hand over, as the edge parsed it; ``payload`` already fits its type's schema."""

    source: str
    recipient: str
    purpose: str
    type: str
    payload: Mapping[str, Any]
    return_uri: str
    language: str | None
    subject: str | None
    contact: Contact


def admit(offer: Offer, policy: Policy) -> Agreement:
    """
    Decide whether *offer* may be made at all.

    Returns: the agreement it rests on.
    Raises:
        Denied: no enabled agreement for that recipient and purpose, or its types do not include this one.
        BadAsk: the return address is not registered, or a required field is missing.
    """
    agreement = policy.agreement(offer.source, offer.recipient, offer.purpose)
    if agreement is None or offer.type not in agreement.types:
        # Only words of the config: whatever else a source wrote there may be anybody's, and details are logged.
        recipient = offer.recipient if policy.partner(offer.recipient) else "an unknown partner"
        purposes = {each.purpose for each in policy.config.agreements}
        purpose = offer.purpose if offer.purpose in purposes else "an unknown purpose"
        raise Denied(
            f"no agreement lets {offer.source} hand {offer.type} to {recipient} for {purpose}",
            code="handoff.no_agreement",
            config_version=policy.version,
        )
    source = policy.partner(offer.source)
    if source is None or offer.return_uri not in source.return_uris:
        raise BadAsk("return_uri is not one of the source's return_uris", code="handoff.return_uri")
    for name in agreement.claims.required:
        if lookup(offer.payload, name) is None:
            raise BadAsk(f"the agreement requires the field {name}", code="handoff.required_field", field=name)
    return agreement


def lookup(payload: Mapping[str, Any], name: str) -> Any:
    """The value at the dotted path *name*; None when any part is missing."""
    here: Any = payload
    for part in _path(name):
        # A dict first: whether something is any other mapping takes long to find out, and it hardly ever is.
        if here is None or (here.__class__ is not dict and not isinstance(here, Mapping)):
            return None
        here = here.get(part)
    return here


@lru_cache(maxsize=4096)
def _path(name: str) -> tuple[str, ...]:
    """The parts of a dotted path; the config has as many of them as its payload types have fields."""
    return tuple(name.split("."))


def place(target: dict[str, Any], name: str, value: Any) -> None:
    """Set *value* at the dotted path *name* in *target*, making the objects on the way."""
    *parents, leaf = _path(name)
    for parent in parents:
        target = target.setdefault(parent, {})
    target[leaf] = value


def is_expired(handoff: Handoff, now: datetime) -> bool:
    """Whether the link died before the recipient fetched it."""
    return handoff.state is State.EXPIRED or (handoff.state not in TRANSFERRED and now >= handoff.expires_at)


def belongs_to(handoff: Handoff, session: Session) -> bool:
    """
    Whether the logged-in customer is the one this handoff was made for.

    A guest order has no known customer: then the login must have **proven** the order's own e-mail address or phone
    number. Holding the link proves nothing.
    """
    if handoff.bound_to is not None:
        return handoff.bound_to == session.customer
    if handoff.customer is not None:
        return handoff.customer == session.customer
    profile, contact = session.profile, handoff.contact
    same_email = bool(
        contact.email and profile.email and profile.email_verified and same_mailbox(contact.email, profile.email)
    )
    same_phone = bool(contact.phone and profile.phone_number_verified and contact.phone == profile.phone_number)
    return same_email or same_phone


def open_link(handoff: Handoff, *, now: datetime) -> Handoff:
    """Somebody read where the link leads and went on; who it is, is not known yet. Later states stay as they are."""
    if handoff.state is not State.CREATED or is_expired(handoff, now):
        return handoff
    return replace(handoff, state=State.OPENED)


def bind(handoff: Handoff, session: Session) -> Handoff:
    """
    Tie *handoff* to the logged-in customer; unchanged when already tied to the same one.

    Raises: WrongCustomer.
    """
    if not belongs_to(handoff, session):
        raise WrongCustomer("the session's customer is not the one the handoff was made for")
    if handoff.state in {State.CREATED, State.OPENED}:
        return replace(handoff, state=State.BOUND, bound_to=session.customer)
    return handoff


def agree(
    handoff: Handoff, *, consent: str, payload: Mapping[str, Any], withheld: tuple[str, ...], now: datetime
) -> Handoff:
    """
    The customer said yes to exactly *payload*; what she kept back is forgotten, but for its names.

    Raises: Gone when it expired or was revoked, Spent when it was decided before.
    """
    may_go_on(handoff, now)
    if handoff.state is not State.BOUND:
        raise Spent("consent given to a handoff that is not waiting for it", state=handoff.state.value)
    return replace(handoff, state=State.CONSENTED, consent=consent, payload=payload, withheld=withheld, decided_at=now)


def decline(handoff: Handoff, *, product: Mapping[str, Any], now: datetime) -> Handoff:
    """
    The customer goes on without sharing; from now on there is only *product*, nothing personal. Repeating it changes nothing.
    """
    may_go_on(handoff, now)
    if handoff.state is State.DECLINED:
        return handoff
    if handoff.state not in UNDECIDED:
        raise Spent("declined after it was decided", state=handoff.state.value)
    return replace(handoff, state=State.DECLINED, payload=product, contact=Contact(), decided_at=now)


def start(handoff: Handoff, *, now: datetime) -> Handoff:
    """The customer is on the way to the recipient; repeating it changes nothing until it is redeemed."""
    may_go_on(handoff, now)
    if handoff.state not in UNDERWAY:
        raise Spent("started without consent", state=handoff.state.value)
    return replace(handoff, state=State.STARTED)


def redeem(handoff: Handoff, *, recipient: str, now: datetime) -> Handoff:
    """
    The recipient exchanged its code: from now on it may read the data.

    Raises:
        Spent: meant for another partner, redeemed before, or not started; one error, its detail tells which.
        Gone: expired or revoked.
    """
    if handoff.recipient != recipient:
        raise Spent("handoff is for another recipient", code="handoff.foreign")
    may_go_on(handoff, now)
    if handoff.state is not State.STARTED:
        raise Spent("handoff is not waiting to be redeemed", state=handoff.state.value)
    return replace(handoff, state=State.REDEEMED, redeemed_at=now)


def may_go_as_guest(handoff: Handoff, *, recipient: str, now: datetime) -> None:
    """
    Return if *recipient* may have the product data now: nobody needs to be known for that, and it changes nothing.

    Raises: Spent for another recipient, Gone when it expired or was revoked.
    """
    if handoff.recipient != recipient:
        raise Spent("handoff is for another recipient", code="handoff.foreign")
    may_go_on(handoff, now)


def may_read(handoff: Handoff, *, recipient: str) -> None:
    """
    Return if *recipient* may read the data now.

    Raises: Spent for a foreign or unredeemed one, Gone for a revoked one.
    """
    if handoff.recipient != recipient:
        raise Spent("handoff is for another recipient", code="handoff.foreign")
    if handoff.state is State.REVOKED:
        raise Gone("handoff was revoked")
    if handoff.state not in TRANSFERRED:
        raise Spent("handoff was not redeemed", state=handoff.state.value)


def readable(handoff: Handoff, agreement: Agreement) -> dict[str, Any]:
    """
    What of the payload *agreement* still lets the recipient have.

    security: what the operator took out of it since the customer agreed does not leave any more.
    """
    left: dict[str, Any] = {}
    for name in (*agreement.claims.required, *agreement.claims.optional):
        if (value := lookup(handoff.payload, name)) is not None:
            place(left, name, value)
    return left


def acknowledge(handoff: Handoff, *, recipient: str, result: Result, reference: str | None, now: datetime) -> Handoff:
    """The recipient says what it did; a repeat with the same words changes nothing, other words replace them."""
    may_read(handoff, recipient=recipient)
    told = replace(handoff, state=State.ACKNOWLEDGED, result=result, reference=reference)
    return handoff if told == handoff else replace(told, acknowledged_at=now)


def revoke(handoff: Handoff) -> Handoff:
    """Nobody may use or read it any more."""
    return replace(handoff, state=State.REVOKED, payload={})


def may_go_on(handoff: Handoff, now: datetime) -> None:
    """Return if *handoff* is neither over nor taken back. Raises: Gone."""
    if handoff.state is State.REVOKED:
        raise Gone("handoff was revoked")
    if is_expired(handoff, now):
        raise Gone("handoff expired", code="handoff.expired")
