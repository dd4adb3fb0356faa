"""
One person, several ways in: whether a login that was just proven is another way of a customer we know.

    proven login, whose is it?
      the session's customer's ------> Same
      nobody's, both sides proven ---> Offer    "is this also yours?"; a side that was proven too long ago is renewed first
      anything else -----------------> Apart    with the rule that says why

Nothing is ever linked silently, and never because two e-mail addresses are equal: an address only makes us ask, and only one
that was verified, not long ago, by somebody who may vouch for other methods. What is linked needs a proof of both sides, made
in one browser within minutes, and a yes. An upstream that may not bootstrap other methods (the Swedish BankID agreement,
"ID-växling") is on neither side of a link.

The attacks behind the rules are those of Sudhodanan and Paverd, "Pre-hijacked accounts" (USENIX Security 2022).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from broker.core.assurance import Assurance
from broker.core.changing import replace
from broker.core.identity import ContactKind, Identity
from broker.core.policy import Linking, Policy
from broker.core.session import Profile, Session


class Rule(StrEnum):
    """What a decision rests on."""

    ALREADY_HERS = "already_hers"
    BOTH_PROVEN = "both_proven"
    CONTACT_SEEN = "contact_seen"
    """She proved a contact that a customer we know has proven before."""
    OFF = "off"
    NO_SESSION = "no_session"
    NO_BOOTSTRAP = "no_bootstrap"
    """One of the two may not enrol, recover or raise another method."""
    TOO_SOFT = "too_soft"
    """Recognised only, such as by a newsletter's link: that proves nobody."""
    STALE_PROOF = "stale_proof"
    ANOTHER_PERSON = "another_person"
    """The two name different people: another personal number or date of birth."""
    ANOTHER_ACCOUNT = "another_account"
    """Two accounts at one provider are two people until she asks to add one."""
    SWITCH_WANTED = "switch_wanted"
    """The partner asked her to choose another account."""
    BELONGS_TO_ANOTHER = "belongs_to_another"
    ANOTHER_NUMBER = "another_number"
    """Whose contact a member number has on file is a customer with another number at that partner."""
    CONTACT_NOT_VERIFIED = "contact_not_verified"
    CONTACT_UNKNOWN = "contact_unknown"
    CONTACT_TOO_OLD = "contact_too_old"
    CONTACT_RECYCLED = "contact_recycled"
    """The same provider gave the address to another account: then it changed hands."""
    SEVERAL_CUSTOMERS = "several_customers"


class Same(Struct, frozen=True):
    """The login is one of the session's customer's own."""

    rule: Rule = Rule.ALREADY_HERS


class Offer(Struct, frozen=True):
    """
    Ask whether it is also hers, of ``customer``.

    ``renew``: upstreams at one of which she must log in once more before; empty when both sides are proven. ``fresh``: anew,
    whatever session she has there.
    """

    rule: Rule
    customer: str
    renew: tuple[str, ...] = ()
    fresh: bool = False


class Apart(Struct, frozen=True):
    """Two customers they stay, because of ``rule``."""

    rule: Rule


Decision = Same | Offer | Apart


class Question(Struct, frozen=True):
    """
    What a journey waits for her to answer. ``id``: of the proof that is kept meanwhile.

    ``customer``: whose account it would join, or whose session runs. ``upstream``, ``contact``: of the login that was just
    proven. ``until``: the proof is kept no longer. ``renew``, ``fresh``: as in `Offer`. ``is_confirmed``: she said yes, and now
    logs in at one of ``renew``.
    """

    id: str
    rule: Rule
    customer: str
    upstream: str
    until: datetime
    contact: str | None = None
    renew: tuple[str, ...] = ()
    fresh: bool = False
    is_confirmed: bool = False

    @property
    def may_join(self) -> bool:
        """Whether yes is an answer."""
        return self.rule in {Rule.BOTH_PROVEN, Rule.STALE_PROOF, Rule.CONTACT_SEEN}


class KnownContact(Struct, frozen=True):
    """That a customer has proven a contact: by which upstream, and when last (aware UTC)."""

    customer: str
    upstream: str
    verified_at: datetime


class WayIn(Struct, frozen=True):
    """
    One of a customer's ways to log in. ``name``: what it is looked up by. ``is_shut``: its provider said not to trust it, and
    nobody gets in by it.
    """

    name: str
    upstream: str
    is_shut: bool = False


def decide(
    session: Session | None,
    identity: Identity,
    owner: str | None,
    policy: Policy,
    now: datetime,
    *,
    is_adding: bool = False,
    wants_switch: bool = False,
) -> Decision:
    """
    Decide what a newly proven *identity* is to the customer of the running *session*.

    Args:
        owner: whose customer the identity is; None: nobody's.
        is_adding: she asked to add a way to log in.
        wants_switch: the partner asked her to choose an account (``prompt=select_account``).
    """
    if session is None:
        return Apart(Rule.NO_SESSION)
    if owner == session.customer:
        return Same()
    if (refused := _refusal(session, identity, policy, is_adding=is_adding, wants_switch=wants_switch)) is not None:
        return Apart(refused)
    if owner is not None:
        return Apart(Rule.BELONGS_TO_ANOTHER)
    return _with_fresh_proofs(session, identity, policy.broker.linking, now)


def _refusal(
    session: Session, identity: Identity, policy: Policy, *, is_adding: bool, wants_switch: bool
) -> Rule | None:
    if not policy.broker.linking.enabled:
        return Rule.OFF
    if wants_switch and not is_adding:
        return Rule.SWITCH_WANTED
    if session.upstream == identity.upstream and not is_adding:
        return Rule.ANOTHER_ACCOUNT
    if not (session.may_bootstrap and identity.may_bootstrap):
        return Rule.NO_BOOTSTRAP
    if not (may_bootstrap(session.upstream, policy) and may_bootstrap(identity.upstream, policy)):
        # What the config says now counts for logins that were made before.
        return Rule.NO_BOOTSTRAP
    if min(session.assurance, identity.assurance, key=lambda level: level.rank) <= Assurance.SOFT:
        return Rule.TOO_SOFT
    return Rule.ANOTHER_PERSON if _are_two_people(session.profile, identity) else None


def _with_fresh_proofs(session: Session, identity: Identity, terms: Linking, now: datetime) -> Offer:
    """An offer; where one side was proven too long ago, after a new proof of it."""
    oldest = now - terms.proof_age
    if identity.is_time_proven and identity.authenticated_at < oldest:
        return Offer(Rule.STALE_PROOF, session.customer, (identity.upstream,), fresh=True)
    if proven_at(session) < oldest:
        return Offer(Rule.STALE_PROOF, session.customer, (session.upstream,), fresh=session.is_time_proven)
    return Offer(Rule.BOTH_PROVEN, session.customer)


def proven_at(session: Session) -> datetime:
    """When the session's customer proved who she is: as her provider says, else when it answered."""
    return session.authenticated_at if session.is_time_proven else session.created_at


def is_fresh(session: Session, terms: Linking, now: datetime) -> bool:
    """Whether *session* was proven recently enough to change how she logs in."""
    return proven_at(session) >= now - terms.proof_age


def _are_two_people(profile: Profile, identity: Identity) -> bool:
    birthdate = identity.birthdate.isoformat() if identity.birthdate else None
    pairs = ((profile.personal_number, identity.personal_number), (profile.birthdate, birthdate))
    return any(one is not None and other is not None and one != other for one, other in pairs)


def may_bootstrap(upstream: str, policy: Policy) -> bool:
    """Whether logins of *upstream* may enrol, recover or raise another method; no for one that is not in the config."""
    known = policy.config.upstreams.get(upstream)
    return known is not None and known.may_bootstrap_other_methods


def match(identity: Identity, known: Iterable[KnownContact], policy: Policy, now: datetime) -> Offer | Apart:
    """
    Decide whether somebody who is not logged in, whose login is nobody's, was here before by another way.

    Args:
        known: who has proven the contacts that *identity* proves, and how.
    Returns: an offer to log in that other way once, which proves it; never more than a question.
    """
    terms = policy.broker.linking
    if not terms.enabled:
        return Apart(Rule.OFF)
    if not identity.contact_proven:
        return Apart(Rule.CONTACT_NOT_VERIFIED)
    if not identity.may_bootstrap:
        return Apart(Rule.NO_BOOTSTRAP)
    contacts = list(known)
    if not contacts:
        return Apart(Rule.CONTACT_UNKNOWN)
    if len({each.customer for each in contacts}) > 1:
        return Apart(Rule.SEVERAL_CUSTOMERS)
    if any(each.upstream == identity.upstream for each in contacts):
        return Apart(Rule.CONTACT_RECYCLED)
    trusted = [each for each in contacts if may_bootstrap(each.upstream, policy) and _can_log_in(each.upstream, policy)]
    if not trusted:
        return Apart(Rule.NO_BOOTSTRAP)
    recent = [each for each in trusted if each.verified_at > now - terms.contact_age]
    if not recent:
        return Apart(Rule.CONTACT_TOO_OLD)
    upstreams = tuple(dict.fromkeys(each.upstream for each in recent))
    return Offer(Rule.CONTACT_SEEN, recent[0].customer, upstreams)


def proven_contacts(identity: Identity) -> tuple[tuple[ContactKind, str], ...]:
    """
    The contacts that *identity* may be found by: verified, and in the one form they are compared in.

    An upstream that may not bootstrap vouches for none.
    """
    if not identity.may_bootstrap:
        return ()
    found: list[tuple[ContactKind, str]] = []
    if identity.email is not None and identity.email_verified:
        found.append((ContactKind.EMAIL, identity.email))
    if identity.phone_number is not None and identity.phone_number_verified:
        found.append((ContactKind.PHONE, identity.phone_number))
    return tuple(found)


def joined(new: Session, old: Session | None, *, strongest: bool) -> Session:
    """
    The session after a link: that of one login, with what the other proved besides.

    Never the level of one login with the methods or the time of the other: acr, amr and auth_time stay those of one proof.
    Verified contacts of the other come along, as both were proven in this browser a moment ago.

    Args:
        new: opened by the login that was linked. old: the session that ran, of the same customer.
        strongest: take the stronger of the two; else *new*, which was made for what a partner asks.
    """
    if old is None:
        return new
    base, other = (old, new) if strongest and old.assurance > new.assurance else (new, old)
    lent = _lent(base, other) if new.may_bootstrap and old.may_bootstrap else {}
    with_contacts = _with_contacts(base.profile, other.profile, lent)
    contact_proven_at = base.contact_proven_at
    if not base.contact_proven:
        # security: a contact that comes along is as old as its own proof, which a passkey gave long ago
        contact_proven_at = other.contact_proven_at or other.authenticated_at
    return replace(
        base,
        seen_at=new.seen_at,
        opened_for=new.opened_for,
        device=new.device,
        profile=with_contacts,
        contact_proven=with_contacts.email_verified or with_contacts.phone_number_verified,
        contact_proven_at=contact_proven_at,
        lent={**base.lent, **lent},
        subjects={**old.subjects, **new.subjects},
        sids=old.sids,
        name_formats=old.name_formats,
    )


def _lent(base: Session, other: Session) -> Mapping[str, str]:
    """
    Whose contacts that are missing or unverified in *base* give way to verified ones of *other*, and which way in proved those.

    security: they go with it when it goes (`broker.core.session.without_lent`).
    """
    mine, others = base.profile, other.profile
    lent = {}
    if others.email_verified and not mine.email_verified:
        lent["email"] = other.lent.get("email", other.way)
    if others.phone_number_verified and not mine.phone_number_verified:
        lent["phone_number"] = other.lent.get("phone_number", other.way)
    return lent


def _with_contacts(profile: Profile, other: Profile, lent: Collection[str]) -> Profile:
    if "email" in lent:
        profile = replace(profile, email=other.email, email_verified=True)
    if "phone_number" in lent:
        profile = replace(profile, phone_number=other.phone_number, phone_number_verified=True)
    return profile


def without_unverified(profile: Profile) -> Profile:
    """*profile* without contacts nobody verified: what somebody else may have left there goes at a link."""
    if not profile.email_verified:
        profile = replace(profile, email=None)
    return profile if profile.phone_number_verified else replace(profile, phone_number=None)


def can_log_in(way: WayIn, policy: Policy) -> bool:
    """Whether *way* is enough by itself."""
    return not way.is_shut and _can_log_in(way.upstream, policy)


def able(policy: Policy) -> frozenset[str]:
    """The upstreams at which one can log in with nothing else."""
    return frozenset(name for name in policy.config.upstreams if _can_log_in(name, policy))


def _can_log_in(upstream: str, policy: Policy) -> bool:
    known = policy.config.upstreams.get(upstream)
    # A passkey falls with the way in it was added by (docs/passkeys.md).
    return known is not None and known.ceiling > Assurance.SOFT and known.kind != "passkey"


def may_remove(ways: Sequence[WayIn], name: str, policy: Policy) -> bool:
    """Whether the way called *name* may go: it is hers, and one that can log in alone remains."""
    return any(way.name == name for way in ways) and any(way.name != name and can_log_in(way, policy) for way in ways)


def may_restore(session: Session, way: WayIn, removed_at: datetime, policy: Policy, now: datetime) -> Rule | None:
    """Why a way that was removed does not come back; None when it may. Bringing it back is a link as any other."""
    terms = policy.broker.linking
    if not terms.enabled:
        return Rule.OFF
    if not (session.may_bootstrap and may_bootstrap(session.upstream, policy) and may_bootstrap(way.upstream, policy)):
        return Rule.NO_BOOTSTRAP
    if now >= removed_at + terms.undo or not is_fresh(session, terms, now):
        return Rule.STALE_PROOF
    return None
