"""
Leaving: who must be told that a session ended, and what the customer is told about it.

    browser --- broker session --+-- upstream session   (its provider, and the provider's sid where it told one)
                                 +-- partner: sid       (different for each, so that partners cannot compare)
                                 +-- partner: sid ...

A partner is told in the background (back channel, by its server), which is what counts; in her browser (front channel),
which today's browsers often keep from working and which is therefore only offered; or not at all, where it registered
neither. She reads the truth about each.

Spec: OpenID Connect Back-Channel Logout 1.0, Front-Channel Logout 1.0, RP-Initiated Logout 1.0.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum

from msgspec import Struct

from broker.core.discreet import Discreet
from broker.core.notice import State
from broker.core.policy import NameIdFormat, PartnerSaml, Policy
from broker.core.session import Session


class Change(StrEnum):
    """What a provider's server says that became of an account or a session there."""

    OVER = "over"
    """What rests on it here is over; she may log in again."""
    BLOCKED = "blocked"
    """The same, and nobody logs in by it until it is allowed."""
    ALLOWED = "allowed"
    GONE = "gone"
    """As blocked, for good."""
    NOTED = "noted"
    """Nothing that changes anything here."""


class Why(StrEnum):
    """What ended a session. Running out of time is not among them: no partner is told of it."""

    CUSTOMER = "customer"
    PARTNER = "partner"
    ELSEWHERE = "elsewhere"
    """From another of her browsers."""
    REPLACED = "replaced"
    """Another customer logged in on this browser."""
    UPSTREAM = "upstream"
    LINKED = "linked"
    """Another way in was added: whoever was in before has to come in anew."""
    WAY_REMOVED = "way_removed"
    """She gave up the way in that opened it, such as a passkey."""


class Party(Struct, frozen=True):
    """
    A partner that was logged in by a session. ``back``, ``front``: whether it can be told that way. ``asks``: whether she can be
    sent there to be logged out, by the name ``told_as`` (empty: the one of that session only); ``is_told``: she was.
    """

    partner: str
    sid: str
    subject: str
    back: bool
    front: bool
    asks: bool = False
    told_as: str = ""
    is_told: bool = False


class AtProvider(Discreet, frozen=True):
    """
    Her session at the provider ``upstream`` that she had logged in by. ``leave``: what its connector needs to end it. ``fate``:
    `Fate.REACHABLE` until she was sent there.
    """

    UNSPOKEN = frozenset({"leave"})

    upstream: str
    leave: bytes
    fate: "Fate"


class Farewell(Struct, frozen=True):
    """
    A session that ended, as long as the customer may ask how it went.

    ``token``: what she looks it up by. ``batch``: of its notices in the outbox. ``by``: the partner that asked for it, None
    when the customer did so here; ``is_proven``: it named this very session. ``target``: where she goes on to. ``provider``:
    where she is to be logged out besides; None for nowhere.
    """

    token: str
    batch: str
    parties: tuple[Party, ...]
    by: str | None = None
    is_proven: bool = False
    target: str | None = None
    provider: AtProvider | None = None


class Fate(StrEnum):
    """What a partner knows."""

    TOLD = "told"
    TELLING = "telling"
    """It did not answer yet and is told again."""
    UNTOLD = "untold"
    """It refused, or telling it was given up."""
    OFFERED = "offered"
    """Asked by way of her browser, which may not have worked."""
    REACHABLE = "reachable"
    """She can be sent there to be logged out."""
    UNREACHABLE = "unreachable"
    """It cannot be told."""
    PARTLY = "partly"
    """A provider: she is logged out there, and perhaps not everywhere she came by it."""


def parties_of(session: Session, policy: Policy) -> tuple[Party, ...]:
    """Everybody *session* logged in to, of those that are still partners; as in the session, by the order they came."""
    found = []
    for partner, sid in session.sids.items():
        known = policy.partner(partner)
        subject = session.subjects.get(policy.sector(partner))
        if known is not None and known.saml is not None and subject is not None:
            found.append(_service_provider(partner, sid, subject, session, known.saml))
        if known is None or known.oidc is None or subject is None:
            continue
        client = known.oidc
        back, front = client.backchannel_logout_uri is not None, client.frontchannel_logout_uri is not None
        found.append(Party(partner, sid, subject, back, front))
    return tuple(found)


def _service_provider(partner: str, sid: str, subject: str, session: Session, terms: PartnerSaml) -> Party:
    """As SAML has it she can only be sent there, one after the other; by the name it was told (SAML Core section 3.7.1)."""
    format_ = session.name_formats.get(partner, terms.name_id_formats[0])
    names = {NameIdFormat.PERSISTENT.value: subject, NameIdFormat.EMAIL.value: session.profile.email or ""}
    return Party(partner, sid, subject, back=False, front=False, asks=terms.tell_logout, told_as=names.get(format_, ""))


def fates(farewell: Farewell, states: Mapping[str, State]) -> dict[str, Fate]:
    """
    What each partner of *farewell* knows.

    Args:
        states: of the notices, by partner; one that is missing was not tried yet.
    """
    return {each.partner: _fate(each, farewell, states.get(each.partner, State.PENDING)) for each in farewell.parties}


def _fate(party: Party, farewell: Farewell, state: State) -> Fate:
    if party.partner == farewell.by and farewell.is_proven:
        # It ended its own session before it asked us to (RP-Initiated Logout section 2).
        return Fate.TOLD
    if party.asks:
        return Fate.TOLD if party.is_told else Fate.REACHABLE
    if not party.back:
        return Fate.OFFERED if party.front else Fate.UNREACHABLE
    match state:
        case State.DELIVERED:
            return Fate.TOLD
        case State.PENDING:
            return Fate.TELLING
        case State.REFUSED | State.GIVEN_UP:
            return Fate.UNTOLD


def may_go_straight_on(farewell: Farewell, known: Mapping[str, Fate]) -> bool:
    """Whether there is nothing to tell the customer, nor to do in her browser, before she goes on to ``target``."""
    if farewell.provider is not None and farewell.provider.fate is not Fate.TOLD:
        return False
    return all(fate is Fate.TOLD for fate in known.values()) and not any(each.front for each in farewell.parties)


def still_open(known: Mapping[str, Fate]) -> Sequence[str]:
    """The partners she must be told she may still be logged in at."""
    return [partner for partner, fate in known.items() if fate is not Fate.TOLD]
