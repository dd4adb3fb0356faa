"""Whatever comes together: a step is due, and nothing leaves without a login that serves it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.assurance import Assurance
from broker.core.changing import replace
from broker.core.consent import Consent
from broker.core.handoff import UNDECIDED, UNDERWAY, Contact, Handoff, State, belongs_to
from broker.core.journey import (
    Answer,
    AskConsent,
    Attempt,
    Deliver,
    Ending,
    Journey,
    Step,
    need_of_ask,
    next_step,
    redeemable,
)
from broker.core.session import Session, shortfall
from broker.core.trust import Available, need_of_handoff
from broker.errors import Denied

from .world import (
    ALL,
    CEILINGS,
    LIMITS,
    NOW,
    OPTIONAL,
    PAYLOAD,
    REQUIRED,
    TYPE,
    ask,
    handoff,
    journey,
    later,
    policy,
    session,
    up,
)

WORLD = policy()
times = st.sampled_from([later(hours=-2), later(minutes=-1), NOW, later(microseconds=1), later(minutes=29)])
maybe = st.booleans()


@st.composite
def sessions(draw: st.DrawFn) -> Session:
    upstream = draw(st.sampled_from([*CEILINGS]))
    return session(
        upstream,
        customer=draw(st.sampled_from(["maja", "karl"])),
        assurance=draw(st.sampled_from(list(Assurance))),
        created_at=draw(times),
        authenticated_at=draw(times),
        may_bootstrap=draw(maybe),
    )


@st.composite
def handoffs(draw: st.DrawFn) -> Handoff:
    return handoff(
        draw(st.sampled_from(list(State))),
        payload=draw(
            st.sampled_from([PAYLOAD, {}, {"items": []}, {"vehicle": "odd", "customer": {"email": "m@x.test"}}])
        ),
        customer=draw(st.sampled_from(["maja", "karl", None])),
        bound_to=draw(st.sampled_from(["maja", "karl", None])),
        contact=draw(st.sampled_from([Contact(), Contact(email="maja@example.com"), Contact(email="x")])),
        expires_at=draw(times),
        purpose=draw(st.sampled_from(["fitting", "fitting", "insurance"])),
        type=draw(st.sampled_from([TYPE, TYPE, "fitting/v9"])),
    )


@st.composite
def consents(draw: st.DrawFn) -> Consent:
    names = st.lists(st.sampled_from([*REQUIRED, *OPTIONAL, "name", "email"]), unique=True)
    source, type_ = draw(st.sampled_from([("shop", TYPE), (None, "login")]))
    granted = draw(st.one_of(names, st.just([*REQUIRED, *OPTIONAL, "name", "email"])))
    purpose = "fitting" if source else "login"
    return Consent("c", source, "garage", purpose, type_, tuple(granted), tuple(draw(names)), draw(maybe), draw(times))


@st.composite
def journeys(draw: st.DrawFn) -> Journey:
    made = journey(
        expires_at=draw(times),
        created_at=draw(times),
        welcomed=draw(maybe),
        ended=draw(st.sampled_from([None, None, None, *Ending])),
        attempt=draw(st.sampled_from([None, Attempt("bankid", b"", "t", NOW, True), Attempt("gone", b"", "t", NOW)])),
    )
    match draw(st.sampled_from(["link", "ask", "ask", "own"])):
        case "link":
            return replace(made, handoff="h1")
        case "ask":
            partner = draw(st.sampled_from(["garage", "shop", "silent"]))
            asked = ask(
                partner,
                prompt=draw(st.sampled_from([(), ("login",), ("consent",), ("none",)])),
                max_age_s=draw(st.sampled_from([None, 0, 30, 10**9])),
                acr_values=draw(st.sampled_from([(), ("high",), ("urn:x",)])),
                handoff=draw(st.sampled_from([None, "h1"])),
                hinted_subject=draw(st.sampled_from([None, None, "s"])),
                hinted_customer=draw(st.sampled_from([None, "maja"])),
            )
            return replace(made, partner=partner, ask=asked)
        case _:
            return replace(made, partner="")


def step_of(
    at: Journey, visitor: Session | None, it: Handoff | None, earlier: list[Consent], available: Available
) -> Step | None:
    """The step that is due; None where the trust config forbids the partner to ask at all."""
    try:
        return next_step(at, session=visitor, handoff=it, consents=earlier, policy=WORLD, available=available, now=NOW)
    except Denied:
        assert at.partner == "silent"
        return None


situations = (
    journeys(),
    st.one_of(st.none(), sessions(), sessions()),
    st.one_of(st.none(), handoffs(), handoffs()),
    st.lists(consents(), max_size=2),
    st.sampled_from([ALL, up("bankid"), up()]),
)


def serves(visitor: Session | None, at: Journey, it: Handoff | None) -> bool:
    """Whether *visitor* is the right customer, by a login that meets what this journey demands."""
    if visitor is None or (it is not None and not belongs_to(it, visitor)):
        return False
    if at.ask is None:
        rule = WORLD.agreement(it.source, it.recipient, it.purpose) if it else None
        return rule is not None and shortfall(visitor, need_of_handoff(WORLD, rule), LIMITS, NOW) is None
    return shortfall(visitor, need_of_ask(at.ask, it, WORLD, at.created_at), LIMITS, NOW) is None


@settings(max_examples=200, deadline=None, derandomize=True)
@given(*situations)
def test_whatever_comes_together_a_step_is_due_and_nothing_leaves_too_early(
    at: Journey, visitor: Session | None, it: Handoff | None, earlier: list[Consent], available: Available
) -> None:
    """
    No situation raises (but a forbidden partner), and no answer or delivery is due without the right customer's session
    that serves the need, a journey that is alive and a handoff that may still go on.
    """
    if at.handoff is None:
        # As the flows do: a request has a handoff only where it names one that may still be redeemed.
        it = redeemable(it, WORLD, NOW) if at.ask is not None and at.ask.handoff is not None else None
    step = step_of(at, visitor, it, earlier, available)
    if isinstance(step, Answer | Deliver | AskConsent):
        assert at.ended is None
        assert at.expires_at > NOW
        assert serves(visitor, at, it)
    if isinstance(step, Answer):
        assert at.ask is not None
        assert step.session is visitor
        assert at.ask.hinted_subject is None or at.ask.hinted_customer == step.session.customer
        assert step.consent is None or step.consent in earlier
    if isinstance(step, Deliver):
        assert it is not None
        assert at.handoff is not None
        assert it.expires_at > NOW
        assert it.state in UNDERWAY if step.consent is None else it.state in UNDECIDED
        assert step.consent is None or (step.consent in earlier and step.consent.remember)
    if isinstance(step, AskConsent):
        assert {*step.wish.required, *step.wish.optional} <= set(step.release.given)
        assert "customer.name" not in step.release.given
