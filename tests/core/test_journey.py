"""Where a journey stands: the step that is due, for every situation a customer can be in."""

from typing import Any, get_args

import pytest

from broker.core.assurance import Assurance, acr_values
from broker.core.changing import replace
from broker.core.consent import Consent
from broker.core.handoff import Handoff, State
from broker.core.journey import (
    Answer,
    AskConsent,
    AskLink,
    Attempt,
    Deliver,
    Ended,
    Ending,
    Errand,
    HandoffOver,
    Journey,
    Login,
    Refuse,
    Step,
    Wait,
    Welcome,
    describe,
    handoff_wish,
    next_step,
    redeemable,
)
from broker.core.linking import Question, Rule
from broker.core.policy import Policy
from broker.core.session import Session
from broker.core.trust import Available
from broker.errors import Denied

from .world import (
    ALL,
    FIELDS,
    NOW,
    OPTIONAL,
    REQUIRED,
    agreement,
    ask,
    attempt,
    consent,
    guest_order,
    handoff,
    journey,
    later,
    login,
    login_consent,
    partner,
    policy,
    profile,
    session,
    up,
)

WORLD = policy()


def due(
    at: Journey,
    visitor: Session | None = None,
    it: Handoff | None = None,
    consents: tuple[Consent, ...] = (),
    *,
    world: Policy = WORLD,
    available: Available = ALL,
) -> Step:
    return next_step(at, session=visitor, handoff=it, consents=consents, policy=world, available=available, now=NOW)


def told(step: Step) -> str:
    """The step in a few words: its kind, and what distinguishes it."""
    match step:
        case Login():
            return f"Login {step.reason}: {' '.join(choice.upstream for choice in step.choices.may) or '-'}"
        case Wait():
            return f"Wait {step.upstream}"
        case HandoffOver():
            return f"HandoffOver {step.why}"
        case Ended():
            return f"Ended {step.ending}"
        case Answer():
            return f"Answer {step.consent.id if step.consent else '-'}"
        case Deliver():
            return f"Deliver {step.agreed.consent.id if step.agreed else '-'}"
        case Refuse():
            return f"Refuse {step.error}"
        case AskLink():
            return f"AskLink {step.question.rule}"
        case AskConsent():
            return f"AskConsent {step.agreement.id if step.agreement else 'login'}"
        case _:
            return type(step).__name__


def by_link(**changed: Any) -> Journey:
    return journey(handoff="h1", welcomed=True, **changed)


def asked(partner: str = "garage", **changed: Any) -> Journey:
    more = {name: changed.pop(name) for name in ("attempt", "ended", "expires_at") if name in changed}
    return journey(partner=partner, ask=ask(partner, **changed), **more)


def with_hint(**changed: Any) -> Journey:
    return asked(handoff="h1", **changed)


WAITING = attempt("bankid", waits=True)
AWAY = attempt("google", waits=False)
KARL = session("google", customer="karl")
GUEST = guest_order(email="maja@example.com")
OTHERS = consent(recipient="other-garage")
LONG_DEAD = handoff(State.ACKNOWLEDGED, expires_at=later(days=-2))
ON_ITS_WAY = handoff(State.STARTED)
HINTED_AT_KARL = {"hinted_subject": "s", "hinted_customer": "karl"}
WEAK = session("letter")
S = State

FOR_DEPOT = handoff(S.STARTED, recipient="depot")
FETCHED = handoff(S.REDEEMED, recipient="depot")


def at_depot(**changed: Any) -> Journey:
    return by_link(partner="depot", challenge="c", **changed)


HANDOFFS: list[tuple[str, Journey, Session | None, Handoff | None, tuple[Consent, ...], str]] = [
    ("a stranger reads first", journey(handoff="h1"), None, handoff(), (), "Welcome"),
    ("too weak a login reads first", journey(handoff="h1"), WEAK, handoff(), (), "Welcome"),
    ("then logs in", by_link(), None, handoff(), (), "Login no_session: google bankid eid"),
    ("a weak login is not enough", by_link(), WEAK, handoff(), (), "Login other_upstream: google bankid eid"),
    (
        "nor a weak way of a good connector",
        by_link(),
        session("bankid", assurance=Assurance.SOFT),
        handoff(),
        (),
        "Login too_weak: google bankid eid",
    ),
    ("waits on our page", by_link(attempt=WAITING), None, handoff(), (), "Wait bankid"),
    ("chooses anew after the provider's", by_link(attempt=AWAY), None, handoff(), (), "Login no_session: google bankid eid"),
    ("an old attempt does not hold her up", by_link(attempt=WAITING), session(), handoff(), (), "AskConsent shop>garage:fitting"),
    ("known already: no welcome", journey(handoff="h1"), session(), handoff(), (), "AskConsent shop>garage:fitting"),
    ("somebody else", by_link(), KARL, handoff(), (), "WrongCustomer"),
    ("somebody else with a consent of his own", by_link(), KARL, handoff(), (consent(),), "WrongCustomer"),
    ("somebody else on a way begun", by_link(), KARL, handoff(S.STARTED), (), "WrongCustomer"),
    ("a guest's order, contact proven", by_link(), session(customer="x"), GUEST, (), "AskConsent shop>garage:fitting"),
    ("a guest's order, contact typed", by_link(), session(profile=profile(email_verified=False)), GUEST, (), "WrongCustomer"),
    ("remembered", by_link(), session(), handoff(), (consent(),), "Deliver c1"),
    ("remembered and bound before", by_link(), session(), handoff(S.BOUND), (consent(),), "Deliver c1"),
    ("remembered, but over", by_link(), session(), handoff(), (consent(expires_at=NOW),), "AskConsent shop>garage:fitting"),
    ("remembered for another garage", by_link(), session(), handoff(), (OTHERS,), "AskConsent shop>garage:fitting"),
    ("agreed already", by_link(), session(), handoff(S.CONSENTED), (), "Deliver -"),
    ("on the way already", by_link(), session(), handoff(S.STARTED), (), "Deliver -"),
    ("arrives at a depot", at_depot(), session(), FOR_DEPOT, (), "Arrive"),
    ("arrives there, reloads", at_depot(), session(), FOR_DEPOT, (), "Arrive"),
    ("on the way to a depot", by_link(partner="depot"), session(), FOR_DEPOT, (), "Deliver -"),
    ("arrives there, logged out since", at_depot(), None, FOR_DEPOT, (), "Login no_session: google bankid eid"),
    ("somebody else arrives there", at_depot(), KARL, FOR_DEPOT, (), "WrongCustomer"),
    ("arrives there before she agreed", at_depot(), session(), handoff(recipient="depot"), (), "AskConsent shop>depot:fitting"),
    ("arrives there after it was fetched", at_depot(), session(), FETCHED, (), "HandoffOver already"),
    ("a challenge where there is a login", by_link(challenge="c"), session(), handoff(S.STARTED), (), "Deliver -"),
    ("on the way, logged out since", by_link(), None, handoff(S.STARTED), (), "Login no_session: google bankid eid"),
    ("fetched", by_link(), session(), handoff(S.REDEEMED), (), "HandoffOver already"),
    ("fetched, link long dead, nobody here", by_link(), None, LONG_DEAD, (), "HandoffOver already"),
    ("declined", by_link(), session(), handoff(S.DECLINED), (consent(),), "HandoffOver declined"),
    ("declined, for whom nobody knows", journey(handoff="h1"), None, handoff(S.DECLINED), (), "Welcome"),
    ("declined, for a stranger", by_link(), None, handoff(S.DECLINED), (), "Login no_session: google bankid eid"),
    ("declined, for somebody else", by_link(), KARL, handoff(S.DECLINED), (), "WrongCustomer"),
    ("declined and too late", by_link(), session(), handoff(S.DECLINED, expires_at=NOW), (), "HandoffOver expired"),
    ("too late", by_link(), session(), handoff(expires_at=NOW), (consent(),), "HandoffOver expired"),
    ("too late on the way", by_link(), session(), handoff(S.STARTED, expires_at=NOW), (), "HandoffOver expired"),
    ("withdrawn", by_link(), session(), handoff(S.REVOKED), (consent(),), "HandoffOver withdrawn"),
    ("withdrawn, for whom nobody knows", journey(handoff="h1"), None, handoff(S.REVOKED), (), "HandoffOver expired"),
    ("withdrawn, for somebody else", by_link(), KARL, handoff(S.REVOKED), (), "HandoffOver expired"),
    ("withdrawn after it was fetched", by_link(), session(), handoff(S.REVOKED, expires_at=NOW), (), "HandoffOver withdrawn"),
    ("no record any more", by_link(), session(), None, (consent(),), "HandoffOver expired"),
    ("an agreement that is no more", by_link(), session(), handoff(purpose="insurance"), (consent(),), "HandoffOver unavailable"),
    ("a type that is no more", by_link(), session(), handoff(type="fitting/v9"), (consent(),), "HandoffOver unavailable"),
    ("left before", by_link(ended=Ending.CANCELLED), session(), handoff(), (consent(),), "Ended cancelled"),
    ("out of time", by_link(expires_at=NOW), session(), handoff(), (consent(),), "Late"),
]  # fmt: skip

LOGINS: list[tuple[str, Journey, Session | None, Handoff | None, tuple[Consent, ...], str]] = [
    ("a stranger", asked(), None, None, (), "Login no_session: google bankid eid"),
    ("waits", asked(attempt=WAITING), None, None, (), "Wait bankid"),
    ("back from the provider without a login", asked(attempt=AWAY), None, None, (), "Login no_session: google bankid eid"),
    ("known: asked once", asked(), session(), None, (), "AskConsent login"),
    ("asked before", asked(), session(), None, (login_consent(),), "Answer c2"),
    ("asked before, prompt=consent", asked(prompt=("consent",)), session(), None, (login_consent(),), "AskConsent login"),
    ("a handoff's consent is no consent to a login", asked(), session(), None, (consent(),), "AskConsent login"),
    ("asked for less", asked(scopes=("openid",)), session(), None, (), "Answer -"),
    ("nothing to share", asked(), session(profile=profile(name=None, email=None)), None, (), "Answer -"),
    ("implied", asked("shop"), session(), None, (), "Answer -"),
    ("implied, prompt=consent", asked("shop", prompt=("consent",)), session(), None, (), "Answer -"),
    ("prompt=login", asked("shop", prompt=("login",)), session(), None, (), "Login login_asked: google bankid eid"),
    ("prompt=login, done", asked("shop", prompt=("login",)), session(created_at=NOW, authenticated_at=NOW), None, (), "Answer -"),
    ("max_age=0", asked("shop", max_age_s=0), session(), None, (), "Login login_asked: google bankid eid"),
    ("max_age passed", asked("shop", max_age_s=60), session(), None, (), "Login too_old: google bankid eid"),
    ("max_age not passed", asked("shop", max_age_s=600), session(), None, (), "Answer -"),
    ("more is wished and can be had", asked("shop", acr_values=("high",)), session(), None, (), "Login too_weak: eid"),
    ("all is wished, little will do", asked("shop", acr_values=acr_values()), session(), None, (), "Answer -"),
    ("a login that does not count here", asked("shop"), WEAK, None, (), "Login other_upstream: google bankid eid"),
    ("left before", asked(ended=Ending.ANSWERED), session(), None, (), "Ended answered"),
    ("out of time", asked(expires_at=NOW), session(), None, (), "Late"),
    ("out of time while waiting", asked(expires_at=NOW, attempt=WAITING), None, None, (), "Late"),
    ("left, and out of time", asked(expires_at=NOW, ended=Ending.CANCELLED), None, None, (), "Ended cancelled"),
    ("hinted at herself", asked("shop", hinted_subject="s", hinted_customer="maja"), session(), None, (), "Answer -"),
    ("hinted at somebody else", asked("shop", **HINTED_AT_KARL), session(), None, (), "Refuse login_required"),
    ("hinted at nobody we know", asked("shop", hinted_subject="s"), session(), None, (), "Refuse login_required"),
    ("hinted, nobody here", asked("shop", **HINTED_AT_KARL), None, None, (), "Login no_session: google bankid eid"),
    ("hinted at another, with a handoff", with_hint(**HINTED_AT_KARL), session(), ON_ITS_WAY, (), "Refuse login_required"),
    ("arrives with a handoff", with_hint(), session(), handoff(S.STARTED), (), "Answer -"),
    ("arrives with somebody else's", with_hint(), KARL, handoff(S.STARTED), (), "WrongCustomer"),
    ("arrives with one, logged out since", with_hint(), None, handoff(S.STARTED), (), "Login no_session: google bankid eid"),
    ("arrives with one, too weak", with_hint(), WEAK, handoff(S.STARTED), (), "Login other_upstream: google bankid eid"),
    ("arrives with one whose record is gone", with_hint(), session(), None, (), "AskConsent login"),
]  # fmt: skip

OWN: list[tuple[str, Journey, Session | None, Handoff | None, tuple[Consent, ...], str]] = [
    ("own pages, stranger", journey(partner=""), None, None, (), "Login no_session: google bankid eid"),
    ("own pages, waits", journey(partner="", attempt=WAITING), None, None, (), "Wait bankid"),
    ("own pages, recognised only", journey(partner=""), WEAK, None, (), "Login too_weak: google bankid eid"),
    ("own pages, known", journey(partner=""), session(), None, (), "OwnPage"),
]

ASKED = Question("q1", Rule.BOTH_PROVEN, "maja", "eid", later(minutes=5))
OF_ANOTHER = replace(ASKED, rule=Rule.BELONGS_TO_ANOTHER)
SEEN = replace(ASKED, rule=Rule.CONTACT_SEEN, renew=("google",))
SAID_YES = replace(ASKED, rule=Rule.STALE_PROOF, renew=("google",), is_confirmed=True)
ANEW = replace(SAID_YES, fresh=True)
TOO_LATE = replace(ASKED, until=NOW)


def linking(question: Question, **changed: Any) -> Journey:
    return replace(asked("shop"), link=question, **changed)


def adding(**changed: Any) -> Journey:
    return journey(partner="", errand=Errand.ADD, **changed)


LINKS: list[tuple[str, Journey, Session | None, Handoff | None, tuple[Consent, ...], str]] = [
    ("also hers?", linking(ASKED), session(), None, (), "AskLink both_proven"),
    ("somebody else's", linking(OF_ANOTHER), session(), None, (), "AskLink belongs_to_another"),
    ("also hers, on a handoff", by_link(link=ASKED), session(), handoff(), (), "AskLink both_proven"),
    ("was she here before?", linking(SEEN), None, None, (), "AskLink contact_seen"),
    ("yes, she was, and proves it", linking(replace(SEEN, is_confirmed=True)), None, None, (), "Login renew: google"),
    ("yes, after a new proof", linking(SAID_YES), session(), None, (), "Login renew: google"),
    ("yes, after a new proof made anew", linking(ANEW), session(), None, (), "Login renew_anew: google"),
    ("while she proves it", linking(SAID_YES, attempt=WAITING), session(), None, (), "Wait bankid"),
    ("answered too late", linking(TOO_LATE), session(), None, (), "Answer -"),
    ("logged out meanwhile", linking(ASKED), None, None, (), "Login no_session: google bankid eid"),
    ("somebody else logged in meanwhile", linking(ASKED), KARL, None, (), "Answer -"),
    ("somebody else, while she was to prove it", linking(SAID_YES), KARL, None, (), "Answer -"),
    ("left before", linking(ASKED, ended=Ending.CANCELLED), session(), None, (), "Ended cancelled"),
    ("out of time", linking(ASKED, expires_at=NOW), session(), None, (), "Late"),
    ("adds a way", adding(), session(), None, (), "Login adding: google eid"),
    ("adds a way, waits", adding(attempt=WAITING), session(), None, (), "Wait bankid"),
    ("adds a way, asked", adding(link=ASKED), session(), None, (), "AskLink both_proven"),
    ("adds a way, nobody here", adding(), None, None, (), "Login no_session: google bankid eid"),
    ("adds a way to a login that may not vouch", adding(), session("bankid"), None, (), "OwnPage"),
]  # fmt: skip

CASES = HANDOFFS + LOGINS + OWN + LINKS


@pytest.mark.parametrize(
    ("at", "visitor", "it", "consents", "step"), [row[1:] for row in CASES], ids=[r[0] for r in CASES]
)
def test_the_step_that_is_due(
    at: Journey, visitor: Session | None, it: Handoff | None, consents: tuple[Consent, ...], step: str
) -> None:
    """What is true now decides, not where the customer was: so reload, back button and many tabs end well."""
    assert told(due(at, visitor, it, consents)) == step


def test_every_kind_of_step_is_due_some_time() -> None:
    """No page without a way to it."""
    met = {type(due(at, visitor, it, consents)) for _, at, visitor, it, consents, _ in CASES}
    assert met == set(get_args(Step))


@pytest.mark.parametrize("visitor", [None, session(), KARL])
@pytest.mark.parametrize("state", [S.REDEEMED, S.ACKNOWLEDGED, S.REVOKED, S.EXPIRED])
def test_a_link_opened_again_is_answered_from_its_state(visitor: Session | None, state: State) -> None:
    """No second transfer, no error, no login for it, whoever opens it."""
    assert isinstance(due(by_link(), visitor, handoff(state), (consent(),)), HandoffOver)


@pytest.mark.parametrize("ended", Ending)
def test_an_ended_journey_does_nothing_more(ended: Ending) -> None:
    """A finished journey leads on; it never asks, answers or delivers again."""
    assert due(by_link(ended=ended), session(), handoff(), (consent(),)) == Ended(ended)


def test_a_strong_login_at_a_partner_does_not_count_where_it_is_not_allowed() -> None:
    """The agreement's own list of connectors goes before the recipient's."""
    world = policy(agreements=[agreement(upstreams=["eid"])])
    assert told(due(by_link(), session("bankid"), handoff(), world=world)) == "Login other_upstream: eid"
    assert told(due(by_link(), session("eid"), handoff(), world=world)) == "AskConsent shop>garage:fitting"


def test_arriving_with_a_handoff_rests_on_the_agreement() -> None:
    """The login that redeems a handoff needs what the agreement needs, whatever the partner's own logins need."""
    world = policy(agreements=[agreement(minimum_assurance="high")])
    assert told(due(with_hint(), session("bankid"), handoff(S.STARTED), world=world)) == "Login too_weak: eid"
    assert told(due(with_hint(), session("eid"), handoff(S.STARTED), world=world)) == "Answer -"
    for anew in ({"max_age_s": 0}, {"prompt": ("login",)}, {"max_age_s": 60}):
        assert told(due(with_hint(**anew), session("eid"), handoff(S.STARTED), world=world)).startswith("Login")


@pytest.mark.parametrize("state", State)
def test_only_a_handoff_on_its_way_is_redeemed(state: State) -> None:
    """Whatever else a request refers to, it is an ordinary login: a second visit after the transfer is no error."""
    found = redeemable(handoff(state), WORLD, NOW)
    assert (found is not None) is (state in {S.CONSENTED, S.STARTED})
    assert redeemable(handoff(state, expires_at=NOW), WORLD, NOW) is None
    assert redeemable(handoff(state), policy(agreements=[]), NOW) is None
    assert redeemable(None, WORLD, NOW) is None


def test_with_no_way_in_the_choice_is_empty_and_says_why() -> None:
    """All providers ill: still a page, with every reason for the operator."""
    step = due(asked(), available=up())
    assert isinstance(step, Login)
    assert step.choices.may == ()
    assert {choice.upstream: choice.reason for choice in step.choices.may_not} == {
        "letter": "not_allowed_for_partner",
        "google": "unavailable",
        "bankid": "unavailable",
        "eid": "unavailable",
    }


@pytest.mark.parametrize("world", [policy(garage_login=login()), policy(agreements=[])])
def test_a_partner_without_logins_is_denied(world: Policy) -> None:
    """A config that no longer allows it is an error for the partner, not a page for the customer."""
    with pytest.raises(Denied):
        due(asked("silent"), session(), world=world)


def test_what_is_asked_is_what_exists_and_is_agreed_between_the_partners() -> None:
    """The question names each field with a value, required apart from optional, and shows exactly these values."""
    it = handoff(
        payload={"vehicle": {"plate": "ABC 12D"}, "items": [], "customer": {"name": "Maja", "email": "m@x.test"}}
    )
    step = due(by_link(), session(), it)
    assert isinstance(step, AskConsent)
    assert step.wish.required == ("vehicle.plate", "items")
    assert step.wish.optional == ("customer.email",)
    assert step.release.nested() == {"vehicle": {"plate": "ABC 12D"}, "items": [], "customer": {"email": "m@x.test"}}


def test_a_new_optional_field_is_asked_although_the_rest_is_remembered() -> None:
    """What she never saw she never agreed to."""
    earlier = consent(granted=(*REQUIRED, *OPTIONAL[:2]))
    assert told(due(by_link(), session(), handoff(), (earlier,))) == "AskConsent shop>garage:fitting"
    without = handoff(payload={name: handoff().payload[name] for name in ("vehicle", "items", "order")})
    assert told(due(by_link(), session(), without, (earlier,))) == "Deliver c1"


def test_the_flags_of_an_address_are_no_question_of_their_own() -> None:
    """Whether an address is proven goes with the address; nobody is asked about it apart."""
    step = due(asked(), session())
    assert isinstance(step, AskConsent)
    assert step.wish.optional == ("name", "email")
    assert step.wish.required == ()
    assert step.release.nested() == {"name": "Maja Lind", "email": "maja@example.com", "email_verified": True}


def test_the_wish_of_a_handoff_under_way_is_what_was_agreed_to() -> None:
    """After the decision only the agreed part is left to show or send."""
    world = WORLD
    rule = world.agreement("shop", "garage", "fitting")
    assert rule is not None
    cut = handoff(S.CONSENTED, payload={"vehicle": {"plate": "ABC 12D"}, "items": []}, withheld=("customer.email",))
    wish, release = handoff_wish(cut, rule, session(), world, NOW)
    assert wish.optional == ()
    assert release.given == ("vehicle.plate", "items")


def test_a_step_in_the_log_names_nobody() -> None:
    """The log gets the step, its reason and the connectors; no customer, no value of any field."""
    step = due(by_link(), session(), handoff())
    assert describe(step) == {"step": "AskConsent"}
    assert describe(due(asked())) == {
        "step": "Login",
        "reason": "no_session",
        "may": ["google sufficient:contact", "bankid sufficient:substantial", "eid sufficient:high"],
        "may_not": ["letter not_allowed_for_partner"],
    }
    assert describe(due(by_link(), None, None)) == {"step": "HandoffOver", "reason": "expired"}
    assert describe(due(by_link(attempt=WAITING), None, handoff())) == {"step": "Wait"}
    assert describe(Refuse("login_required", "why")) == {"step": "Refuse", "reason": "why"}
    assert describe(Welcome(handoff())) == {"step": "Welcome"}


def test_the_world_of_these_tables_holds_together() -> None:
    """The fields of the agreement are fields of the type; a partner's defaults are what the tables assume."""
    assert {*REQUIRED, *OPTIONAL} < {field.name for field in FIELDS}
    assert partner("x")["oidc"]["client_id"] == "x"
    assert isinstance(WAITING, Attempt)
