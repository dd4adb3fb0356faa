"""
A broker session: one customer, logged in in one browser, and what that login is still good for.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from msgspec import Struct, field

from broker.core.assurance import STRONGEST_FIRST, Assurance, still_proven
from broker.core.changing import replace
from broker.core.consent import Consent
from broker.core.device import Device
from broker.core.discreet import Discreet
from broker.core.identity import Identity

_CLOCKS_DIFFER = timedelta(seconds=60)
"""How far a provider's clock may be behind ours."""

_UNKNOWN = Device()

_CONSENTS = 10
"""As many as a session keeps in mind; the others are on record."""


class Profile(Struct, frozen=True, omit_defaults=True):
    """
    What the broker can tell about the customer from this login; only released through `broker.core.release`.

    ``member_numbers``: partner -> her number there, linked by a code to the contact on file.
    """

    name: str | None = None
    given_name: str | None = None
    family_name: str | None = None
    birthdate: str | None = None
    email: str | None = None
    email_verified: bool = False
    phone_number: str | None = None
    phone_number_verified: bool = False
    personal_number: str | None = None
    locale: str | None = None
    member_numbers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_named(self) -> bool:
        """Whether it holds any part of a name."""
        return bool(self.name or self.given_name or self.family_name)


class Recognition(Struct, frozen=True):
    """
    What a partner's register of customers said. ``number``: the customer's there, None when nobody was found.

    ``until``: it is asked again afterwards (aware UTC).
    """

    number: str | None
    until: datetime


class Session(Discreet, frozen=True, omit_defaults=True):
    """
    One login in one browser.

    ``customer``: internal id. ``authenticated_at``: when the customer really authenticated, not when the session was
    reused (OpenID Connect Core section 2, ``auth_time``); ``is_time_proven``: False where the provider did not say, so that it
    is only when it answered. ``subjects``: sector -> pairwise subject, kept so that a
    re-login needs no database. ``sids``: partner -> session id told to that partner, different for each.
    ``consents``: remembered ones that were of use, for the same reason as ``subjects``. ``opened_for``: the partner she was
    heading to when she proved who she is; empty for our own pages. ``device``: where. ``upstream_sid``: the provider's own
    session, by the name it gave it. ``recognitions``: partner -> what its register of customers said of her.
    ``name_formats``: SAML partner -> the format it was told her name in. ``way``: which of her ways in it was opened by
    (`broker.core.linking.WayIn.name`). ``contact_proven_at``: when the address was proven, where that was not in this login.
    ``lent``: member of the profile -> the way in whose login proved that contact, for those that came along from another one;
    see `without_lent`. ``issuer``: the provider's own name; empty for sessions from before it was kept. ``authorities``: who
    authenticated her for the provider, ``leave``: what its connector needs to log her out there, as of
    `broker.core.identity.Evidence`.
    """

    UNSPOKEN = frozenset({"leave"})

    customer: str
    upstream: str
    assurance: Assurance
    amr: tuple[str, ...]
    contact_proven: bool
    may_bootstrap: bool
    authenticated_at: datetime
    created_at: datetime
    seen_at: datetime
    profile: Profile = Profile()
    subjects: Mapping[str, str] = field(default_factory=dict)
    sids: Mapping[str, str] = field(default_factory=dict)
    consents: tuple[Consent, ...] = ()
    is_time_proven: bool = True
    opened_for: str = ""
    device: Device = _UNKNOWN
    upstream_sid: str | None = None
    recognitions: Mapping[str, Recognition] = field(default_factory=dict)
    roles: tuple[str, ...] = ()
    way: str = ""
    contact_proven_at: datetime | None = None
    name_formats: Mapping[str, str] = field(default_factory=dict)
    issuer: str = ""
    lent: Mapping[str, str] = field(default_factory=dict)
    authorities: tuple[str, ...] = ()
    leave: bytes | None = None


class Need(Struct, frozen=True):
    """
    What an ask demands of a login.

    ``upstreams``: connectors that may serve it, by trust config. ``fresh_after``: authentication must be later than
    this (``max_age``); ``session_after``: the session must have been opened, by a login made anew, after this
    (``prompt=login``). ``opened_after``: it must have been opened after this, by whatever login. ``opened_for``: by a login
    for one of these partners; None for any.
    """

    minimum: Assurance
    upstreams: tuple[str, ...]
    fresh_after: datetime | None = None
    session_after: datetime | None = None
    opened_after: datetime | None = None
    opened_for: frozenset[str] | None = None


def open_session(
    identity: Identity, *, customer: str, language: str, now: datetime, opened_for: str = "", device: Device = _UNKNOWN
) -> Session:
    """The session that *identity* opens for *customer*."""
    linked = identity.membership
    return Session(
        customer=customer,
        upstream=identity.upstream,
        assurance=identity.assurance,
        amr=identity.amr,
        contact_proven=identity.contact_proven,
        may_bootstrap=identity.may_bootstrap,
        authenticated_at=identity.authenticated_at,
        created_at=now,
        seen_at=now,
        profile=Profile(
            name=identity.name,
            given_name=identity.given_name,
            family_name=identity.family_name,
            birthdate=identity.birthdate.isoformat() if identity.birthdate else None,
            email=identity.email,
            email_verified=identity.email_verified,
            phone_number=identity.phone_number,
            phone_number_verified=identity.phone_number_verified,
            personal_number=identity.personal_number,
            locale=language,
            member_numbers={linked.partner: linked.number} if linked is not None else {},
        ),
        is_time_proven=identity.is_time_proven,
        opened_for=opened_for,
        device=device,
        upstream_sid=identity.session,
        issuer=identity.issuer,
        roles=identity.roles,
        contact_proven_at=identity.contact_proven_at,
        authorities=identity.authorities,
        leave=identity.leave,
    )


def with_all_known(profile: Profile, known: Profile) -> Profile:
    """As `with_known_name`, and with the member numbers of *known*: none replaces another."""
    if known.member_numbers:
        profile = replace(profile, member_numbers={**profile.member_numbers, **known.member_numbers})
    return with_known_name(profile, known)


def without_lent(session: Session, ways: Collection[str]) -> Session:
    """
    *session* without the contacts that came along from *ways*, which are not hers any more, or not to be trusted.

    Nor with what registers said of her, who may have known her by those: they are asked again.
    """
    gone = {name for name, way in session.lent.items() if way in ways}
    if not gone:
        return session
    profile = session.profile
    if "email" in gone:
        profile = replace(profile, email=None, email_verified=False)
    if "phone_number" in gone:
        profile = replace(profile, phone_number=None, phone_number_verified=False)
    is_proven = profile.email_verified or profile.phone_number_verified
    return replace(
        session,
        profile=profile,
        contact_proven=is_proven,
        contact_proven_at=session.contact_proven_at if is_proven else None,
        recognitions={},
        lent={name: way for name, way in session.lent.items() if name not in gone},
    )


def with_known_name(profile: Profile, known: Profile) -> Profile:
    """*profile* of a login that told no name, with that of *known*: the same customer's, as told before."""
    if profile.is_named:
        return profile
    return replace(profile, name=known.name, given_name=known.given_name, family_name=known.family_name)


def is_alive(session: Session, *, now: datetime, idle: timedelta, absolute: timedelta) -> bool:
    """Whether *session* may be used at all: neither idle too long nor older than *absolute*."""
    return now < session.seen_at + idle and now < session.created_at + absolute


def standing(session: Session, limits: Mapping[Assurance, timedelta], now: datetime) -> Assurance:
    """
    What *session* proves at *now*: the level of its login, gone down step by step as far as that is too old.

    Args:
        limits: how long each level counts (``Policy.age_limits``).
    """
    if session.assurance <= Assurance.SELF_ASSERTED:
        return session.assurance
    since = dict.fromkeys(STRONGEST_FIRST, session.authenticated_at)
    if session.contact_proven_at is not None:
        since[Assurance.CONTACT] = session.contact_proven_at
    elif session.assurance > Assurance.CONTACT and not session.contact_proven:
        del since[Assurance.CONTACT]
    return still_proven(session.assurance, since, limits, now)


def shortfall(session: Session | None, need: Need, limits: Mapping[Assurance, timedelta], now: datetime) -> str | None:
    """
    Why *session* does not serve *need* at *now*; None when it does.

    Args:
        limits: how long each level counts (``Policy.age_limits``).
    Returns: one of ``no_session``, ``login_asked``, ``too_old``, ``session_too_old``, ``other_partners_login``,
    ``other_upstream``, ``too_weak``, ``aged`` (it proved enough once, and that is too long ago).
    """
    if session is None:
        return "no_session"
    if need.session_after is not None and session.created_at < need.session_after:
        return "login_asked"
    if (stale := staleness(session, need)) is not None:
        return stale
    if need.opened_after is not None and session.created_at < need.opened_after:
        return "session_too_old"
    if need.opened_for is not None and session.opened_for not in need.opened_for:
        return "other_partners_login"
    if session.upstream not in need.upstreams:
        return "other_upstream"
    if session.assurance < need.minimum:
        return "too_weak"
    return "aged" if standing(session, limits, now) < need.minimum else None


def staleness(login: Identity | Session, need: Need) -> str | None:
    """
    Why *login* is not as fresh as *need* says; None when it is: ``login_asked`` or ``too_old``, as for `shortfall`.

    security: a session opened a moment ago, for another partner say, may rest on a login at the provider weeks ago. Where
    the provider does not tell, freshness is refused rather than claimed.
    """
    if need.session_after is not None and not _was_after(login, need.session_after - _CLOCKS_DIFFER):
        return "login_asked"
    if need.fresh_after is not None and not _was_after(login, need.fresh_after):
        return "too_old"
    return None


def _was_after(login: Identity | Session, moment: datetime) -> bool:
    return login.is_time_proven and login.authenticated_at >= moment


def with_subject(session: Session, sector: str, subject: str) -> Session:
    """*session* remembering the pairwise *subject* of *sector*."""
    return replace(session, subjects={**session.subjects, sector: subject})


def with_consent(session: Session, withdrawn: Collection[Consent], found: Consent | None) -> Session:
    """*session* keeping the consent *found* in mind, so that the next time asks no database, and none of the *withdrawn*."""
    kept = tuple(each for each in session.consents if each not in withdrawn and each != found)
    consents = (*kept, found) if found is not None else kept
    return session if consents == session.consents else replace(session, consents=consents[-_CONSENTS:])


def with_sid(session: Session, partner: str, sid: str) -> Session:
    """*session* remembering the session id told to *partner*."""
    return replace(session, sids={**session.sids, partner: sid})


def with_recognition(session: Session, partner: str, recognition: Recognition) -> Session:
    """*session* remembering what *partner*'s register of customers said."""
    return replace(session, recognitions={**session.recognitions, partner: recognition})


def without_number(session: Session, partner: str) -> Session:
    """*session* without the member number linked at *partner* and what its register said; itself where it has neither."""
    numbers, known = session.profile.member_numbers, session.recognitions
    if partner not in numbers and partner not in known:
        return session
    left = {name: number for name, number in numbers.items() if name != partner}
    profile = replace(session.profile, member_numbers=left)
    return replace(
        session, profile=profile, recognitions={name: each for name, each in known.items() if name != partner}
    )
