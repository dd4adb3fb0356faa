"""
A journey: one login attempt or one handoff, in one browser, from its beginning to the way out.

    (authorize) --> Login --> [upstream] --> AskConsent --> Answer            a partner's own login
                                  \\-> AskLink                                 ... that may be another way in of hers
    (link)  --> Welcome --> Login --> [upstream] --> AskConsent --> Deliver   a handoff
                                                        (arrive) --> Arrive   ... to a partner without a login of ours
                                  \\-> WrongCustomer        \\-> guest, cancel

`next_step` looks at what is true now (session, handoff, consents) instead of remembering where the customer was, so
reload, back button, many tabs and an interrupted login all land on the step that is due. A finished journey leads on, an
expired one to a fresh start; none is a dead end.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, assert_never

from msgspec import Struct

from broker.core import handoff as handoffs
from broker.core.assurance import Assurance
from broker.core.changing import replace
from broker.core.claims_request import NOTHING, ClaimsRequest
from broker.core.consent import Consent, Wish, covering
from broker.core.discreet import Discreet
from broker.core.handoff import Handoff
from broker.core.identity import ContactKind, contact_kind
from broker.core.linking import Question, Rule, may_bootstrap
from broker.core.policy import Agreement, Policy, is_loopback
from broker.core.redirects import is_private_use
from broker.core.release import MEMBER_NUMBER, HandoffTerms, LoginTerms, Release, decide_release
from broker.core.saml_login import SamlAsk, context_of_acr, demanded, entity_of, fitting_levels
from broker.core.session import Need, Session, shortfall, standing
from broker.core.trust import (
    Available,
    Choices,
    at_least,
    choices,
    freshness,
    is_out_of_reach,
    need_of_handoff,
    need_of_login,
)
from broker.errors import Denied


class Ask(Struct, frozen=True, omit_defaults=True):
    """
    A partner's authorization request, checked by the downstream edge (client and redirect URI are proven).

    ``saml``: what a SAML request says besides; None for OpenID Connect's. Its assertion consumer is ``redirect_uri``, its
    RelayState ``state``, IsPassive and ForceAuthn are ``prompt``, the attributes it wants ``claims``.
    ``handoff``: id of the handoff its ``login_hint`` refers to. ``hinted_subject``: the pairwise subject of a verified
    ``id_token_hint``, ``hinted_customer`` whose it is (None: nobody's any more). ``max_age_s``: seconds.
    ``pushed``: name of the pushed request it came from, which is gone once answered. ``claims``: asked for by name.
    ``response_mode``: how the answer travels, ``query`` or ``form_post``.
    """

    partner: str
    redirect_uri: str
    state: str | None
    nonce: str | None
    scopes: tuple[str, ...]
    code_challenge: str | None
    prompt: tuple[str, ...] = ()
    max_age_s: int | None = None
    acr_values: tuple[str, ...] = ()
    login_hint: str | None = None
    hinted_subject: str | None = None
    hinted_customer: str | None = None
    handoff: str | None = None
    pushed: str | None = None
    claims: ClaimsRequest = NOTHING
    response_mode: str = "query"
    saml: SamlAsk | None = None

    @property
    def essential_acr(self) -> tuple[str, ...]:
        """The acr values of which the partner needs one."""
        return self.claims.essential_acr


class Away(Discreet, frozen=True):
    """The way to a provider by a form: ``members`` that the browser posts to ``url``."""

    UNSPOKEN = frozenset({"members"})

    url: str
    members: Mapping[str, str]


class Attempt(Struct, frozen=True, omit_defaults=True):
    """
    A login opened at an upstream. ``state``: the connector's own. ``token``: what a callback must bring (one use).

    ``waits``: the customer waits on our page (else at the provider's, and may come back to choose another way).
    ``busy_until``: a worker is asking the provider right now; the others answer from what is known. ``brought``: what the
    provider's app brought back meanwhile, by parameter; whoever asks next takes it along. ``away``: how her browser gets there,
    where that is by a form.
    """

    upstream: str
    state: bytes
    token: str
    opened_at: datetime
    waits: bool = False
    busy_until: datetime | None = None
    brought: Mapping[str, str] | None = None
    away: Away | None = None


class Ending(StrEnum):
    """How a journey was left."""

    ANSWERED = "answered"
    CANCELLED = "cancelled"


class Errand(StrEnum):
    """What somebody wants of the broker itself, who is not on the way to a partner."""

    LOOK = "look"
    """To see what she shares, and how she logs in."""
    ADD = "add"
    """To add a way to log in, by logging in by it."""
    VOUCH = "vouch"
    """To prove anew who she is, by a way that may be used to add others."""
    RENEW = "renew"
    """To prove anew who she is, by any way."""
    STAFF = "staff"
    """To work: a member of staff, on the pages of customer service."""


class Journey(Struct, frozen=True, omit_defaults=True):
    """
    ``browser``: hash of the browser cookie it is bound to. ``csrf``: token its forms carry. ``partner``: where the
    customer is heading, empty for the broker's own pages; then neither ``ask`` (a partner's login, asked at
    ``created_at``) nor ``handoff`` (its id) is set, else one of them. ``errand``: what she is on the way to our own pages for,
    ``back``: the path of the page of ours where she goes on then, empty for the one that all have. ``notice``: a message key to
    show on the next page (why the last attempt failed). ``challenge``: what the recipient's server bound this browser by when
    the customer arrived there; None before, and for recipients with a login of ours. ``link``: a login that was proven meanwhile
    and waits for her answer whether it is hers as well.
    """

    id: str
    browser: str
    csrf: str
    partner: str
    language: str
    created_at: datetime
    expires_at: datetime
    ask: Ask | None = None
    handoff: str | None = None
    welcomed: bool = False
    attempt: Attempt | None = None
    notice: str | None = None
    ended: Ending | None = None
    challenge: str | None = None
    errand: Errand = Errand.LOOK
    back: str = ""
    link: Question | None = None

    @property
    def is_adding(self) -> bool:
        """Whether she wants to add a way to log in."""
        return self.errand is Errand.ADD


class Welcome(Struct, frozen=True):
    """Tell the customer where the link leads before anything happens. ``known``: somebody is logged in here already."""

    handoff: Handoff


class Login(Struct, frozen=True):
    """
    Log in by one of ``choices``. ``reason``: why the session (if any) is not enough. ``missing``: claims that the partner
    requires and that it lacks, where that is why.
    """

    choices: Choices
    need: Need
    reason: str
    missing: tuple[str, ...] = ()


class Wait(Struct, frozen=True):
    """A login is open at ``upstream`` and the customer waits on our page."""

    upstream: str
    attempt: Attempt


class AskLink(Struct, frozen=True):
    """A login was proven that is not the running session's customer's, or that somebody may know her by: ask."""

    question: Question


class WrongCustomer(Struct, frozen=True):
    """Somebody else is logged in than the handoff was made for."""

    handoff: Handoff


class AskConsent(Struct, frozen=True):
    """
    Show exactly ``release`` and ask. ``wish``: the same as names. ``agreement``: None for a plain login. ``missing``: claims that
    the partner says it needs, and does not get whatever the customer answers.
    """

    wish: Wish
    release: Release
    agreement: Agreement | None
    missing: tuple[str, ...] = ()


class Answer(Struct, frozen=True):
    """Answer the partner's request. ``consent``: what it rests on, None when implied or nothing is shared."""

    session: Session
    consent: Consent | None


class Refuse(Struct, frozen=True):
    """
    Answer the partner's request with ``error`` (Core section 3.1.2.6). ``reason``: for the operator. ``missing``: claims for want
    of which it is refused.
    """

    error: str
    reason: str
    missing: tuple[str, ...] = ()


class Agreed(Struct, frozen=True):
    """What is to be shared under ``consent``: ``release`` if she kept everything, ``wish`` the same as names."""

    wish: Wish
    release: Release
    consent: Consent


class Deliver(Struct, frozen=True):
    """Send the customer to the recipient. ``agreed``: what starts the handoff, None when it is underway already."""

    handoff: Handoff
    agreed: Agreed | None


class Arrive(Struct, frozen=True):
    """The recipient has no login of ours: name the account the customer arrives with, and let her confirm it."""

    handoff: Handoff
    challenge: str


class HandoffOver(Struct, frozen=True):
    """
    The handoff cannot go on: ``why`` is ``already``, ``declined``, ``withdrawn``, ``expired`` or ``unavailable``.

    ``handoff`` is None when even its record is gone.
    """

    why: str
    handoff: Handoff | None


class Ended(Struct, frozen=True):
    """The journey was left before; lead the customer on."""

    ending: Ending


class Late(Struct, frozen=True):
    """The journey ran out of time; offer a fresh start."""


class OwnPage(Struct, frozen=True):
    """She logged in as her errand needs it: on to the broker's own pages."""


Step = (
    OwnPage
    | Welcome
    | Login
    | Wait
    | AskLink
    | WrongCustomer
    | AskConsent
    | Answer
    | Refuse
    | Deliver
    | Arrive
    | HandoffOver
    | Ended
    | Late
)


def next_step(
    journey: Journey,
    *,
    session: Session | None,
    handoff: Handoff | None,
    consents: Iterable[Consent],
    policy: Policy,
    available: Available,
    now: datetime,
) -> Step:
    """
    Decide what is due.

    Args:
        session: the browser's live session, None when there is none.
        handoff: the journey's or ask's handoff as stored; None when it has none or the record is gone.
        consents: the session customer's live consents.
        available: connectors that can be used right now, and which were used in this browser.
    Raises:
        Denied: the trust config no longer allows it.
    """
    if journey.ended is not None:
        return Ended(journey.ended)
    if now >= journey.expires_at:
        return Late()
    if (question := open_question(journey, session, now)) is not None:
        return _link_step(journey, question, policy, available)
    if journey.handoff is not None:
        return _handoff_step(journey, session, handoff, consents, policy, available, now)
    return _login_step(journey, session, handoff, consents, policy, available, now)


def open_question(journey: Journey, session: Session | None, now: datetime) -> Question | None:
    """The question the journey waits for, while it is for who is logged in, and its proof is kept."""
    question = journey.link
    if question is None or now >= question.until:
        return None
    if session is None:
        return question if question.rule in {Rule.CONTACT_SEEN, Rule.ANOTHER_NUMBER} else None
    return question if session.customer == question.customer else None


def _link_step(journey: Journey, question: Question, policy: Policy, available: Available) -> Step:
    if not question.is_confirmed:
        return AskLink(question)
    need = Need(minimum=Assurance.SELF_ASSERTED, upstreams=question.renew)
    return _login_or_wait(journey, policy, need, available, "renew_anew" if question.fresh else "renew")


def _handoff_step(
    journey: Journey,
    session: Session | None,
    handoff: Handoff | None,
    consents: Iterable[Consent],
    policy: Policy,
    available: Available,
    now: datetime,
) -> Step:
    over = handoff_over(handoff, now)
    is_hers = handoff is not None and session is not None and handoffs.belongs_to(handoff, session)
    if handoff is not None and handoff.state is handoffs.State.REVOKED and is_hers:
        return HandoffOver("withdrawn", handoff)
    if handoff is None or (over is not None and handoff.state is not handoffs.State.DECLINED):
        return over or HandoffOver("expired", None)
    agreement = policy.agreement(handoff.source, handoff.recipient, handoff.purpose)
    if agreement is None or handoff.type not in policy.fields:
        return HandoffOver("unavailable", handoff)
    need = need_of_handoff(policy, agreement)
    lacking = shortfall(session, need, policy.age_limits, now)
    if session is None or lacking is not None:
        if not journey.welcomed:
            return Welcome(handoff)
        return _login_or_wait(journey, policy, need, available, lacking or "no_session")
    if not is_hers:
        return WrongCustomer(handoff)
    if over is not None:
        # security: that she said no is told to her alone; whoever made the offer has the link too, and is not to know
        return over
    if handoff.state in handoffs.UNDERWAY:
        if journey.challenge is not None and _has_no_login(handoff.recipient, policy):
            return Arrive(handoff, journey.challenge)
        return Deliver(handoff, None)
    wish, release = handoff_wish(handoff, agreement, session, policy, now)
    return by_consents(AskConsent(wish, release, agreement), journey, session, handoff, consents, now)


def by_consents(
    step: AskConsent,
    journey: Journey,
    session: Session,
    handoff: Handoff | None,
    consents: Iterable[Consent],
    now: datetime,
) -> AskConsent | Answer | Deliver:
    """
    What follows where one of the customer's live *consents* covers what is to be asked: nothing is asked then.

    Args:
        step: as `next_step` gave it for this *journey*, *session* and *handoff*.
    """
    if journey.ask is not None and "consent" in journey.ask.prompt:
        return step
    consent = covering(consents, step.wish, now)
    if consent is None:
        return step
    if step.agreement is None or handoff is None:
        return Answer(session, consent)
    return Deliver(handoff, Agreed(step.wish, step.release, consent))


def narrowed(step: Step, kept: frozenset[str]) -> Step:
    """*step*, by which nothing goes out but what is required and *kept*, whatever its consent grants."""
    match step:
        case Answer(consent=Consent() as consent):
            return replace(step, consent=_cut(consent, kept))
        case Deliver(agreed=Agreed() as agreed):
            return replace(step, agreed=replace(agreed, consent=_cut(agreed.consent, kept.union(agreed.wish.required))))
        case _:
            return step


def _cut(consent: Consent, kept: frozenset[str]) -> Consent:
    return replace(consent, granted=tuple(name for name in consent.granted if name in kept))


def _has_no_login(recipient: str, policy: Policy) -> bool:
    partner = policy.partner(recipient)
    return partner is not None and partner.service is not None


def handoff_over(handoff: Handoff | None, now: datetime) -> HandoffOver | None:
    """Why *handoff* cannot go on, None while it can. A reopened link is answered from the stored state, never as an error."""
    if handoff is None:
        return HandoffOver("expired", None)
    if handoff.state in handoffs.TRANSFERRED:
        return HandoffOver("already", handoff)
    if handoff.state is handoffs.State.REVOKED:
        # security: that she took it back is told to her alone, as that she said no
        return HandoffOver("expired", handoff)
    if handoffs.is_expired(handoff, now):
        return HandoffOver("expired", handoff)
    if handoff.state is handoffs.State.DECLINED:
        return HandoffOver("declined", handoff)
    return None


def handoff_wish(
    handoff: Handoff, agreement: Agreement, session: Session, policy: Policy, now: datetime
) -> tuple[Wish, Release]:
    """What of *handoff* would be shared if the customer keeps everything: as names and with values."""
    terms = HandoffTerms(agreement, policy.fields[handoff.type], handoff.payload)
    proven = standing(session, policy.age_limits, now)
    release = decide_release(terms, session, standing=proven, policy_version=policy.version)
    given, demanded = release.given, agreement.claims.required
    required = tuple([name for name in given if name in demanded])
    optional = tuple([name for name in given if name not in demanded])
    wish = Wish(handoff.source, handoff.recipient, handoff.purpose, handoff.type, required, optional)
    return wish, release


def _login_step(
    journey: Journey,
    session: Session | None,
    handoff: Handoff | None,
    consents: Iterable[Consent],
    policy: Policy,
    available: Available,
    now: datetime,
) -> Step:
    ask = journey.ask
    if ask is None:
        return _own_step(journey, session, policy, available, now)
    need = need_of_ask(ask, handoff, policy, journey.created_at)
    if is_out_of_reach(policy, need.upstreams, ask.essential_acr) or (ask.saml is not None and not need.upstreams):
        return _UNMET
    lacking = shortfall(session, need, policy.age_limits, now)
    if session is None or lacking is not None:
        return _login_or_wait(journey, policy, need, available, lacking or "no_session")
    if ask.hinted_subject is not None and session.customer != ask.hinted_customer:
        # Never switch silently (Core section 3.1.2.1), whether she was logged in before or came in just now.
        return Refuse("login_required", "id_token_hint names another customer")
    if ask.essential_acr and login_release(ask, session, policy, handoff=handoff, agreed=None, now=now).acr is None:
        return _UNMET
    if ask.saml is not None and _told_context(ask, ask.saml, session, policy, handoff, now) is None:
        return _UNMET
    if handoff is not None:
        if not handoffs.belongs_to(handoff, session):
            return WrongCustomer(handoff)
        return Answer(session, None)
    return _login_consent(journey, ask, session, consents, need, policy, available, now)


def _told_context(
    ask: Ask, saml: SamlAsk, session: Session, policy: Policy, handoff: Handoff | None, now: datetime
) -> str | None:
    """The class the login would be told as; None where that is none the partner asks for."""
    terms = entity_of(policy, ask.partner)
    release = login_release(ask, session, policy, handoff=handoff, agreed=None, now=now)
    return context_of_acr(saml, release.acr, terms.authn_contexts if terms is not None else {})


#: Never a login that is told as less than the partner needs (OpenID Connect Core section 5.5.1.1, OpenID Connect Core Error
#: Code unmet_authentication_requirements).
_UNMET = Refuse("unmet_authentication_requirements", "no login allowed here is one of the essential acr values")


def redeemable(handoff: Handoff | None, policy: Policy, now: datetime) -> Handoff | None:
    """
    *handoff* if the recipient may still redeem it, else None: then a request that refers to it is an ordinary login.

    A hint decides only what to offer, so a second visit after the transfer is not an error.
    """
    if handoff is None or handoff.state not in handoffs.UNDERWAY or handoffs.is_expired(handoff, now):
        return None
    return handoff if policy.agreement(handoff.source, handoff.recipient, handoff.purpose) else None


def _own_step(journey: Journey, session: Session | None, policy: Policy, available: Available, now: datetime) -> Step:
    match journey.errand:
        case Errand.STAFF:
            return _staff_step(journey, session, policy, available, now)
        case Errand.VOUCH | Errand.RENEW:
            return _renewal_step(journey, session, policy, available, now)
        case Errand.LOOK | Errand.ADD:
            return _customers_step(journey, session, policy, available, now)
    assert_never(journey.errand)


def _customers_step(
    journey: Journey, session: Session | None, policy: Policy, available: Available, now: datetime
) -> Step:
    need = Need(minimum=Assurance.SELF_ASSERTED, upstreams=policy.config.customers_upstreams)
    lacking = shortfall(session, need, policy.age_limits, now)
    if lacking is None and session is not None and journey.is_adding and may_add(session, policy):
        # A passkey is made here and not proven elsewhere: it is added in its own way.
        ways = tuple(
            name
            for name, each in policy.config.upstreams.items()
            if may_bootstrap(name, policy) and each.kind != "passkey"
        )
        return _login_or_wait(journey, policy, replace(need, upstreams=ways), available, "adding")
    return OwnPage() if lacking is None else _login_or_wait(journey, policy, need, available, lacking)


def _staff_step(journey: Journey, session: Session | None, policy: Policy, available: Available, now: datetime) -> Step:
    """A login by a member of staff, whose ways in are nobody else's."""
    desk = policy.config.service_desk
    if desk is None:
        raise Denied("there is no service desk", code="desk.none", config_version=policy.version)
    need = Need(minimum=Assurance.SELF_ASSERTED, upstreams=desk.upstreams)
    lacking = shortfall(session, need, policy.age_limits, now)
    return OwnPage() if lacking is None else _login_or_wait(journey, policy, need, available, lacking)


def _renewal_step(
    journey: Journey, session: Session | None, policy: Policy, available: Available, now: datetime
) -> Step:
    """
    A login later than *journey* began, by a way that may be used to add others where she is to vouch for one.

    What counts is that she logged in here anew: providers that do not tell when she proved who she is are not left out.
    """
    ways = policy.config.customers_upstreams
    if journey.errand is Errand.VOUCH:
        ways = tuple(name for name in ways if policy.config.upstreams[name].may_bootstrap_other_methods)
    need = Need(minimum=Assurance.SELF_ASSERTED, upstreams=ways, opened_after=journey.created_at)
    if shortfall(session, need, policy.age_limits, now) is None:
        return OwnPage()
    return _login_or_wait(journey, policy, need, available, "renewal")


def may_add(session: Session, policy: Policy) -> bool:
    """Whether the session's customer may add a way to log in."""
    return policy.broker.linking.enabled and session.may_bootstrap and may_bootstrap(session.upstream, policy)


def need_of_ask(ask: Ask, handoff: Handoff | None, policy: Policy, asked_at: datetime) -> Need:
    """
    What *ask* demands of a login: the agreement's terms when it redeems a handoff, else the partner's own; as fresh as
    it says in either case.
    """
    if handoff is not None:
        agreement = policy.agreement(handoff.source, handoff.recipient, handoff.purpose)
        if agreement is not None:
            fresh_after, session_after = freshness(ask.max_age_s, ask.prompt, asked_at)
            terms = need_of_handoff(policy, agreement)
            minimum = at_least(terms.minimum, ask.essential_acr)
            return _in_context(
                ask, replace(terms, minimum=minimum, fresh_after=fresh_after, session_after=session_after), policy
            )
    need = need_of_login(
        policy,
        ask.partner,
        acr_values=ask.acr_values,
        essential_acr=ask.essential_acr,
        max_age_s=ask.max_age_s,
        prompt=ask.prompt,
        now=asked_at,
    )
    # security: another app on her device can have the same address, and must get no code without her doing anything
    return _in_context(ask, replace(need, opened_after=asked_at) if _is_an_apps_own(ask, policy) else need, policy)


def _in_context(ask: Ask, need: Need, policy: Policy) -> Need:
    """
    *need*, as far as the classes a SAML partner asks for narrow it: no weaker than the weakest of them, and where that leaves
    ways whose logins fit, only by those. No ways at all where nobody's login fits.
    """
    if ask.saml is None or not ask.saml.contexts:
        return need
    terms, known = entity_of(policy, ask.partner), policy.config.upstreams
    levels = fitting_levels(ask.saml, terms.authn_contexts if terms is not None else {})
    least = max(need.minimum, levels[0], key=lambda level: level.rank) if levels else need.minimum
    able = tuple(name for name in need.upstreams if levels and name in known and known[name].ceiling >= least)
    exact = tuple(name for name in able if known[name].ceiling in levels)
    return replace(need, minimum=least, upstreams=exact or able)


def _is_an_apps_own(ask: Ask, policy: Policy) -> bool:
    """Whether the answer goes to an address that does not prove which app is there (RFC 8252 section 8.6)."""
    partner = policy.partner(ask.partner)
    is_public = partner is not None and partner.rules.is_public
    return is_public and (is_private_use(ask.redirect_uri) or is_loopback(ask.redirect_uri))


def _login_consent(
    journey: Journey,
    ask: Ask,
    session: Session,
    consents: Iterable[Consent],
    need: Need,
    policy: Policy,
    available: Available,
    now: datetime,
) -> Step:
    partner = policy.partner(ask.partner)
    login = partner.login if partner else None
    if partner is None or login is None:
        return Answer(session, None)
    needed = demanded(ask.saml, ask.partner, policy)
    if login.consent == "implied" and not needed:
        return Answer(session, None)
    release = login_release(ask, session, policy, handoff=None, agreed=None, now=now)
    if missing := release.lacking(needed):
        if (other := _bringing(missing, journey, session, need, policy, available)) is not None:
            return other
        return Refuse("access_denied", "the partner requires what cannot be told of this customer", missing)
    if login.consent == "implied":
        return Answer(session, None)
    shared = tuple(name for name in release.given if name != MEMBER_NUMBER and not name.endswith("_verified"))
    if not shared:
        return Answer(session, None)
    required = tuple(name for name in shared if name in needed)
    optional = tuple(name for name in shared if name not in needed) if needed else shared
    wish = Wish(None, ask.partner, LOGIN_PURPOSE, LOGIN_TYPE, required, optional)
    missing = release.lacking(ask.saml.required) if ask.saml is not None else ()
    return by_consents(AskConsent(wish, release, None, missing), journey, session, None, consents, now)


def _bringing(
    missing: tuple[str, ...], journey: Journey, session: Session, need: Need, policy: Policy, available: Available
) -> Login | Wait | None:
    """
    A login by another way that can tell all that is *missing*; None where there is none, and where she just came by one: it did
    not tell, and she is not to be sent round in circles.
    """
    wanted = frozenset(missing)
    if session.created_at >= journey.created_at and wanted <= available.brings.get(session.upstream, frozenset()):
        return None
    others = tuple(name for name in need.upstreams if name != session.upstream)
    able = tuple(name for name in others if wanted <= available.brings.get(name, frozenset()))
    step = _login_or_wait(journey, policy, replace(need, upstreams=able), available, "lacks_required")
    if isinstance(step, Wait):
        return step
    return replace(step, missing=missing) if step.choices.may or step.choices.ill else None


def login_release(
    ask: Ask,
    session: Session,
    policy: Policy,
    *,
    handoff: Handoff | None,
    agreed: frozenset[str] | None,
    now: datetime,
) -> Release:
    """
    What *ask* gets of *session*: of the customer's profile for a login, only who it is when it redeems *handoff*.

    Args:
        agreed: what the customer kept; None where nothing needs asking, or nothing was asked yet.
    Raises:
        Denied: the trust config does not allow it any more.
    """
    proven = standing(session, policy.age_limits, now)
    if handoff is not None:
        agreement = policy.agreement(handoff.source, handoff.recipient, handoff.purpose)
        if agreement is None:
            raise Denied("agreement is gone", code="handoff.no_agreement", config_version=policy.version)
        handed = HandoffTerms(agreement, (), {}, ask.essential_acr)
        return decide_release(handed, session, standing=proven, policy_version=policy.version)
    partner = policy.partner(ask.partner)
    login = partner.login if partner else None
    if partner is None or login is None:
        raise Denied("partner may not start logins itself", code="partner.no_login", config_version=policy.version)
    may_stay = partner.refresh_tokens is not None
    recognition = session.recognitions.get(ask.partner)
    linked = session.profile.member_numbers.get(ask.partner) if partner.members is not None else None
    terms = LoginTerms(
        ask.partner,
        login.claims,
        frozenset(ask.scopes),
        agreed,
        may_stay=may_stay,
        claims=ask.claims,
        member_number=linked or (recognition.number if recognition else None),
    )
    return decide_release(terms, session, standing=proven, policy_version=policy.version)


LOGIN_PURPOSE = "login"
LOGIN_TYPE = "login"


def _login_or_wait(journey: Journey, policy: Policy, need: Need, available: Available, reason: str) -> Login | Wait:
    if journey.attempt is not None and journey.attempt.waits:
        return Wait(journey.attempt.upstream, journey.attempt)
    hinted = _hinted_kind(journey.ask)
    return Login(choices(policy, need, available, lacking=reason, hinted=hinted), need, reason)


def _hinted_kind(ask: Ask | None) -> ContactKind | None:
    """The kind of address the partner's ``login_hint`` looks like; what it says is for the connectors to judge."""
    hint = ask.login_hint if ask is not None and ask.handoff is None else None
    if hint is None or not (("@" in hint) or (hint.startswith("+") and hint[1:].isdigit())):
        return None
    return contact_kind(hint)


def describe(step: Step) -> dict[str, Any]:
    """The step for the log: its name and reason, nothing personal."""
    facts: dict[str, Any] = {"step": type(step).__name__}
    match step:
        case Login():
            offered = step.choices
            facts |= {"reason": step.reason, "may": [str(each) for each in offered.may]}
            facts |= {"may_not": [str(each) for each in offered.may_not]}
        case AskLink():
            facts["reason"] = step.question.rule.value
        case HandoffOver():
            facts["reason"] = step.why
        case Refuse():
            facts["reason"] = step.reason
        case _:
            pass
    return facts
