"""
The assurance ladder as one: for every state of a session, ask of a partner and way in there is, the next step and its reason.

The table is to be read; what no table can hold is said by properties below it.
"""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from broker.core.assurance import Assurance, acr_of, level_of_acr
from broker.core.changing import replace
from broker.core.identity import ContactKind
from broker.core.journey import Answer, Login, Refuse, Step, login_release, next_step
from broker.core.policy import MaxAge, Policy
from broker.core.session import Need, Session, shortfall, standing
from broker.core.trust import Available, Choices, choices

from .world import LIMITS, NOW, ask, journey, later, login, policy, session

WAYS = {
    "meta": "self-asserted",
    "google": "contact",
    "email": "contact",
    "sms": "contact",
    "passkey": "contact",
    "freja": "substantial",
    "bankid": "substantial",
    "eid": "high",
}
COSTS = {"sms": 0.4, "freja": 0.6, "bankid": 0.25}
TAKES = {"email": ContactKind.EMAIL, "sms": ContactKind.PHONE}


def world(minimum: str = "self-asserted", **changed: Any) -> Policy:
    """The garage wants *minimum* and takes any way there is, in the order of `WAYS`."""
    terms = login(minimum_assurance=minimum, consent="implied", **{"upstreams": list(WAYS), **changed})
    return policy(garage_login=terms, upstreams=WAYS, costs=COSTS)


def proved(upstream: str, ago: timedelta = timedelta(minutes=5), **changed: Any) -> Session:
    """Maja's session, opened by *upstream* so long ago."""
    level = Assurance(WAYS[upstream])
    made = replace(session(), upstream=upstream, assurance=level, contact_proven=level is Assurance.CONTACT)
    return replace(made, authenticated_at=NOW - ago, created_at=NOW - ago, **changed)


def ways(*without: str, used: tuple[str, ...] = (), **back_at: Any) -> Available:
    """All ways but those that are down."""
    return Available(frozenset(WAYS) - set(without) - set(back_at), back_at, TAKES, used)


def due(at: Policy, visitor: Session | None, available: Available, **asked: Any) -> Step:
    it = journey(ask=ask("garage", **asked))
    return next_step(it, session=visitor, handoff=None, consents=(), policy=at, available=available, now=NOW)


def told(step: Step, at: Policy) -> str:
    """What is done next and why; of a choice the first way with its reason, then the others."""
    match step:
        case Answer(session=visitor):
            release = login_release(ask("garage"), visitor, at, handoff=None, agreed=None, now=NOW)
            return f"answer, told as {(release.acr or '').rpartition('/')[2]}"
        case Login(reason=why, choices=found):
            first, *others = [*found.may, None]
            rest = " ".join(each.upstream for each in others if each is not None)
            return f"{why}: {first or 'no way'}{f' | {rest}' if rest else ''}"
        case Refuse():
            return step.error
        case _:
            return type(step).__name__


H, D = timedelta(hours=1), timedelta(days=1)
META, MAIL, GOOGLE, BANKID, EID = (proved(name) for name in ("meta", "email", "google", "bankid", "eid"))
FOUND_AGAIN = proved("passkey", contact_proven_at=later(days=-200))
WITH_ADDRESS = proved("bankid", 13 * H, contact_proven=True)
ALL_UP = ways()
NO_CODES = ways("email", "sms")

# All ways that are enough for an ask, in order, where all are up and none was used here.
ANY = "meta sufficient:self-asserted | google email passkey eid bankid sms freja"
ADDRESS = "google sufficient:contact | email passkey sms eid bankid freja"
PERSON = "bankid sufficient:substantial | freja eid"
CODE = "email adds:email | sms google passkey eid bankid freja"

TABLE: list[tuple[str, Session | None, str, Available, str]] = [
    # Nobody is logged in: what proves no more than is needed, cheapest first; then the others, cheapest first.
    ("nobody", None, "soft", ALL_UP, f"no_session: {ANY}"),
    ("nobody", None, "self-asserted", ALL_UP, f"no_session: {ANY}"),
    ("nobody", None, "contact", ALL_UP, f"no_session: {ADDRESS}"),
    ("nobody", None, "low", ALL_UP, f"no_session: {PERSON}"),
    ("nobody", None, "substantial", ALL_UP, f"no_session: {PERSON}"),
    ("nobody", None, "high", ALL_UP, "no_session: eid sufficient:high"),
    # Some are down: the next best, and where none is left, none that is weaker.
    ("nobody, Google down", None, "contact", ways("google"),
     "no_session: email sufficient:contact | passkey sms eid bankid freja"),
    ("nobody, few up", None, "contact", ways("google", "email", "passkey", "eid"),
     "no_session: sms sufficient:contact | bankid freja"),
    ("nobody, BankID down", None, "substantial", ways("bankid"), "no_session: freja sufficient:substantial | eid"),
    ("nobody, eID down", None, "high", ways("eid"), "no_session: no way"),
    ("nobody, all down", None, "contact", ways(*WAYS), "no_session: no way"),
    # What was used in this browser decides among equals only ...
    ("nobody, mail, Google used", None, "contact", ways(used=("email", "google")),
     "no_session: email sufficient:contact | google passkey sms eid bankid freja"),
    ("nobody, BankID, Google used", None, "contact", ways(used=("bankid", "google")), f"no_session: {ADDRESS}"),
    ("nobody, SMS, passkey used", None, "contact", ways(used=("sms", "passkey")),
     "no_session: passkey sufficient:contact | google email sms eid bankid freja"),
    ("nobody, Freja, BankID used", None, "substantial", ways(used=("freja", "bankid")), f"no_session: {PERSON}"),
    # ... unless it is the only one she has used here: the cheaper ones follow.
    ("nobody, only BankID used", None, "contact", ways(used=("bankid",)),
     "no_session: bankid sufficient:substantial | google email passkey sms eid freja"),
    ("nobody, Google and Freja used", None, "substantial", ways(used=("google", "freja")),
     "no_session: freja sufficient:substantial | bankid eid"),
    ("nobody, Google used", None, "substantial", ways(used=("google",)), f"no_session: {PERSON}"),
    ("nobody, Freja used and down", None, "substantial", ways("freja", used=("freja",)),
     "no_session: bankid sufficient:substantial | eid"),
    # A session that is enough needs nothing, and is told as what it is.
    ("Meta", META, "self-asserted", ALL_UP, "answer, told as self-asserted"),
    ("e-mail code", MAIL, "contact", ALL_UP, "answer, told as contact"),
    ("Google", GOOGLE, "self-asserted", ALL_UP, "answer, told as contact"),
    ("BankID", BANKID, "contact", ALL_UP, "answer, told as substantial"),
    ("eID", EID, "high", ALL_UP, "answer, told as high"),
    ("all ways down", EID, "high", ways(*WAYS), "answer, told as high"),
    # A proven address is all that lacks: a code first, before any whole login.
    ("Meta", META, "contact", ALL_UP, f"too_weak: {CODE}"),
    ("Meta, no mail", META, "contact", ways("email"), "too_weak: sms adds:phone | google passkey eid bankid freja"),
    ("Meta, no codes", META, "contact", NO_CODES, "too_weak: google sufficient:contact | passkey eid bankid freja"),
    ("Meta, SMS and e-mail used", META, "contact", ways(used=("sms", "email")), f"too_weak: {CODE}"),
    ("Meta, only BankID used", META, "contact", ways(used=("bankid",)), f"too_weak: {CODE}"),
    ("a passkey, address proven long ago", FOUND_AGAIN, "contact", ALL_UP, f"aged: {CODE}"),
    # More is needed: the cheapest way to it.
    ("Meta", META, "substantial", ALL_UP, f"too_weak: {PERSON}"),
    ("Google", GOOGLE, "low", ALL_UP, f"too_weak: {PERSON}"),
    ("BankID", BANKID, "high", ALL_UP, "too_weak: eid sufficient:high"),
    ("BankID, eID down", BANKID, "high", ways("eid"), "too_weak: no way"),
    # Proofs age, step by step.
    ("BankID 11 h ago", proved("bankid", 11 * H), "substantial", ALL_UP, "answer, told as substantial"),
    ("BankID 12 h ago", proved("bankid", 12 * H), "substantial", ALL_UP, f"aged: {PERSON}"),
    ("BankID 12 h ago", proved("bankid", 12 * H), "low", ALL_UP, "answer, told as low"),
    ("eID 13 h ago", proved("eid", 13 * H), "high", ALL_UP, "aged: eid sufficient:high"),
    ("eID 13 h ago", proved("eid", 13 * H), "low", ALL_UP, "answer, told as low"),
    ("eID 25 h ago, no address", proved("eid", 25 * H), "contact", ALL_UP, f"aged: {CODE}"),
    ("eID 25 h ago, no address", proved("eid", 25 * H), "self-asserted", ALL_UP, "answer, told as self-asserted"),
    ("BankID 13 h ago, and an address", WITH_ADDRESS, "contact", ALL_UP, "answer, told as low"),
    ("Google 179 days ago", proved("google", 179 * D), "contact", ALL_UP, "answer, told as contact"),
    ("Google 180 days ago", proved("google", 180 * D), "contact", ALL_UP, f"aged: {CODE}"),
    ("Google 180 days ago", proved("google", 180 * D), "self-asserted", ALL_UP, "answer, told as self-asserted"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("visitor", "minimum", "available", "expected"),
    [row[1:] for row in TABLE],
    ids=[f"{row[0]} -> {row[2]}" for row in TABLE],
)
def test_the_next_step_and_its_reason(
    visitor: Session | None, minimum: str, available: Available, expected: str
) -> None:
    """A session that is enough needs nothing; else the cheapest step that is enough comes first."""
    at = world(minimum)
    assert told(due(at, visitor, available), at) == expected


ASKS: list[tuple[str, dict[str, Any], Session | None, str]] = [
    ("a wish for substantial", {"acr_values": ("substantial",)}, GOOGLE, f"too_weak: {PERSON}"),
    ("a fresh login", {"max_age_s": 60}, GOOGLE, f"too_old: {ANY}"),
    ("a login anew", {"prompt": ("login",)}, BANKID, f"login_asked: {ANY}"),
    ("a number as hint", {"login_hint": "+46701234567"}, None, f"no_session: {ANY}"),
    ("an address as hint", {"login_hint": "m@example.com", "acr_values": ("contact",)}, None,
     "no_session: email sufficient:contact | google passkey sms eid bankid freja"),
    ("a hint that says nothing", {"login_hint": "maja", "acr_values": ("contact",)}, None, f"no_session: {ADDRESS}"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "visitor", "expected"), [row[1:] for row in ASKS], ids=[row[0] for row in ASKS])
def test_hints_and_freshness(asked: dict[str, Any], visitor: Session | None, expected: str) -> None:
    """A wish raises the level; a fresh login is the cheapest that is enough; a hint decides among equals only."""
    at = world()
    assert told(due(at, visitor, ALL_UP, **asked), at) == expected


def test_the_partners_own_order_decides_among_equals() -> None:
    """Level and cost go before it; the config's order counts where the partner's is the same."""
    at = world("contact", upstreams=["bankid", "passkey", "sms", "email", "google"])
    assert told(due(at, None, ALL_UP), at) == "no_session: passkey sufficient:contact | email google sms bankid"


def test_every_way_has_a_reason() -> None:
    """Those that are offered and those that are not; what a customer used last is marked once."""
    at = world("contact", upstreams=["meta", "google", "email", "bankid"])
    step = due(at, None, ways(used=("bankid", "meta"), google=later(seconds=30)))
    assert isinstance(step, Login)
    assert [str(each) for each in step.choices.may] == ["bankid sufficient:substantial", "email sufficient:contact"]
    assert {each.upstream: each.reason for each in step.choices.may_not} == {
        "meta": "too_weak",
        "google": "unavailable",
        "sms": "not_allowed_for_partner",
        "passkey": "not_allowed_for_partner",
        "freja": "not_allowed_for_partner",
        "eid": "not_allowed_for_partner",
    }
    assert [each.upstream for each in step.choices.may if each.is_last_used] == ["bankid"]
    assert step.choices.ill == ("google",)
    assert step.choices.back_at is None, "there is another way: nobody need wait"


def test_with_no_way_left_it_is_said_when_to_try_again() -> None:
    """The first of those that would do, not of those that would not."""
    at = world("contact", upstreams=["meta", "google", "bankid"])
    step = due(at, None, ways(meta=later(seconds=1), bankid=later(seconds=20), google=later(seconds=30)))
    assert isinstance(step, Login)
    assert step.choices.may == ()
    assert set(step.choices.ill) == {"google", "bankid"}
    assert step.choices.back_at == later(seconds=20)


LEVELS = st.sampled_from(Assurance)
NAMES = [f"way-{number}" for number in range(6)]


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Policy, Available]:
    """Any ways, at any price, of which any are up, used here, or take an address."""
    ceilings = {name: draw(LEVELS).value for name in NAMES}
    costs = {name: draw(st.sampled_from([0.1, 0.25, 3.0])) for name in NAMES if draw(st.booleans())}
    used = tuple(draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=3)))
    takes = {name: draw(st.sampled_from(ContactKind)) for name in NAMES if ceilings[name] == "contact"}
    ready = draw(st.frozensets(st.sampled_from(NAMES)))
    terms = login(upstreams=draw(st.permutations(NAMES)))
    return policy(garage_login=terms, upstreams=ceilings, costs=costs), Available(ready, {}, takes, used)


WORLDS = worlds()
ALLOWED = st.lists(st.sampled_from(NAMES), unique=True, min_size=1).map(tuple)
LACKING = st.sampled_from(["no_session", "too_weak", "aged", "too_old", "login_asked"])


def level(at: Policy, name: str) -> Assurance:
    return at.config.upstreams[name].ceiling


def found(at: Policy, available: Available, allowed: tuple[str, ...], minimum: Assurance, lacking: str) -> Choices:
    return choices(at, Need(minimum, allowed), available, lacking=lacking)


@given(WORLDS, ALLOWED, LEVELS, LACKING)
def test_never_a_stronger_step_than_needed_where_a_weaker_one_is_enough(
    drawn: tuple[Policy, Available], allowed: tuple[str, ...], minimum: Assurance, lacking: str
) -> None:
    """Nor a costlier one of the same level; but for the only way she has used here, and then these follow at once."""
    at, available = drawn
    may = [each.upstream for each in found(at, available, allowed, minimum, lacking).may]
    assume(may)
    new_here = replace(available, used=())
    would_be_first = found(at, new_here, allowed, minimum, lacking).may[0].upstream
    if len([name for name in available.used if name in may]) == 1 and may[0] != would_be_first:
        assert may[0] in available.used
        may = may[1:]
        assert may[0] == would_be_first
    steps = {each.upstream for each in found(at, available, allowed, minimum, lacking).steps}
    first = may[0]
    assert all(level(at, name) >= level(at, first) for name in may)
    for name in may:
        if level(at, name) == level(at, first) and (name in steps or not steps):
            assert at.config.upstreams[name].price >= at.config.upstreams[first].price


@given(WORLDS, ALLOWED, LEVELS, LACKING)
def test_what_is_not_allowed_or_enough_or_up_is_never_offered(
    drawn: tuple[Policy, Available], allowed: tuple[str, ...], minimum: Assurance, lacking: str
) -> None:
    """Whatever was used before and whatever it costs; every way stands on one side, once."""
    at, available = drawn
    result = found(at, available, allowed, minimum, lacking)
    for each in result.may:
        assert each.upstream in allowed
        assert each.upstream in available.ready
        assert level(at, each.upstream) >= minimum
    assert sorted(each.upstream for each in (*result.may, *result.may_not)) == sorted(NAMES)


@given(WORLDS, ALLOWED, LEVELS, LEVELS)
def test_a_weaker_ask_never_makes_the_least_step_stronger(
    drawn: tuple[Policy, Available], allowed: tuple[str, ...], one: Assurance, other: Assurance
) -> None:
    """Asking for less offers all that asking for more does, and begins at most as strong."""
    at, available = drawn
    weaker, stronger = sorted((one, other))
    less = found(at, available, allowed, weaker, "no_session").may
    more = found(at, available, allowed, stronger, "no_session").may
    assert {each.upstream for each in more} <= {each.upstream for each in less}
    if more:
        least = min(level(at, each.upstream) for each in less)
        assert least <= min(level(at, each.upstream) for each in more)


@given(WORLDS, ALLOWED, LEVELS, LACKING)
def test_the_order_is_stable(
    drawn: tuple[Policy, Available], allowed: tuple[str, ...], minimum: Assurance, lacking: str
) -> None:
    """The same every time; and one way less moves none of the others, as long as the least they prove stays the same."""
    at, available = drawn
    new_here = replace(available, used=())
    before = [each.upstream for each in found(at, new_here, allowed, minimum, lacking).may]
    assert before == [each.upstream for each in found(at, new_here, allowed, minimum, lacking).may]
    least = min((level(at, name) for name in before), default=minimum)
    for gone in before:
        rest = [name for name in before if name != gone]
        if rest and min(level(at, name) for name in rest) == least:
            less = replace(new_here, ready=new_here.ready - {gone})
            assert [each.upstream for each in found(at, less, allowed, minimum, lacking).may] == rest


SESSIONS = st.builds(
    lambda level, hours, contact, since: replace(
        session(),
        upstream=NAMES[0],
        assurance=level,
        contact_proven=contact,
        authenticated_at=later(hours=-hours),
        contact_proven_at=since,
    ),
    LEVELS,
    st.sampled_from([0, 1, 11.9, 12, 23.9, 24, 200, 24 * 180 - 1, 24 * 180, 24 * 400]),
    st.booleans(),
    st.sampled_from([None, later(days=-1), later(days=-179), later(days=-181)]),
)


@given(SESSIONS, st.sampled_from([(), tuple(acr_of(each) for each in Assurance)]))
def test_no_acr_is_above_what_was_proven_and_still_counts(visitor: Session, acr: tuple[str, ...]) -> None:
    """Whatever is asked for: never above the login itself, nor above what its age leaves of it."""
    at = world()
    asked = ask("garage", acr_values=acr)
    release = login_release(asked, visitor, at, handoff=None, agreed=None, now=NOW)
    told_as = level_of_acr(release.acr or "")
    assert told_as is not None
    assert told_as <= visitor.assurance
    limit = LIMITS.get(told_as)
    since = visitor.authenticated_at
    if told_as is Assurance.CONTACT and visitor.contact_proven_at is not None:
        since = visitor.contact_proven_at
    assert limit is None or NOW - since < limit


@given(SESSIONS, LEVELS)
def test_a_session_serves_exactly_what_it_still_proves(visitor: Session, minimum: Assurance) -> None:
    """The reason tells whether it never was enough or is no longer."""
    lacking = shortfall(visitor, Need(minimum, (NAMES[0],)), LIMITS, NOW)
    assert (lacking is None) is (standing(visitor, LIMITS, NOW) >= minimum)
    assert (lacking == "too_weak") is (visitor.assurance < minimum)


@given(SESSIONS, st.sampled_from([0, 1, 13, 500, 5000]))
def test_a_proof_only_ever_sinks(visitor: Session, hours: float) -> None:
    """Time makes no session stronger."""
    assert standing(visitor, LIMITS, later(hours=hours)) <= standing(visitor, LIMITS, NOW) <= visitor.assurance


@pytest.mark.parametrize(
    "limits",
    [{"contact": "1h"}, {"low": "11h"}, {"substantial": "25h"}, {"high": "13h"}, {"soft": "1h"}],
)
def test_limits_that_make_no_sense_are_refused(limits: dict[str, str]) -> None:
    """A stronger proof never counts longer than a weaker one, and what proves nothing does not age."""
    with pytest.raises(ValueError):
        MaxAge.model_validate(limits)
