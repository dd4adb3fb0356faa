"""A handoff: who may offer it, whose it is, and what may happen in which state."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from broker.core import handoff as core
from broker.core.handoff import Handoff, Result, State
from broker.core.session import Session
from broker.errors import BadAsk, Denied, Gone, Spent, StafettError, WrongCustomer

from .world import NOW, PAYLOAD, agreement, guest_order, handoff, later, offer, policy, profile, session

S = State
Outcome = State | type[StafettError]

FUNCTIONS: Mapping[str, Callable[[Handoff], Handoff | None]] = {
    "bind": lambda it: core.bind(it, session()),
    "agree": lambda it: core.agree(it, consent="c1", payload={}, withheld=(), now=NOW),
    "decline": lambda it: core.decline(it, product={}, now=NOW),
    "start": lambda it: core.start(it, now=NOW),
    "redeem": lambda it: core.redeem(it, recipient="garage", now=NOW),
    "go_as_guest": lambda it: core.may_go_as_guest(it, recipient="garage", now=NOW),
    "read": lambda it: core.may_read(it, recipient="garage"),
    "acknowledge": lambda it: core.acknowledge(it, recipient="garage", result=Result.BOOKED, reference="B-1", now=NOW),
    "revoke": core.revoke,
}

# For each state, what each function above makes of it, in that order; a state for those that only look: unchanged.
LIFE: Mapping[State, tuple[Outcome, ...]] = {
    S.CREATED: (S.BOUND, Spent, S.DECLINED, Spent, Spent, S.CREATED, Spent, Spent, S.REVOKED),
    S.OPENED: (S.BOUND, Spent, S.DECLINED, Spent, Spent, S.OPENED, Spent, Spent, S.REVOKED),
    S.BOUND: (S.BOUND, S.CONSENTED, S.DECLINED, Spent, Spent, S.BOUND, Spent, Spent, S.REVOKED),
    S.CONSENTED: (S.CONSENTED, Spent, Spent, S.STARTED, Spent, S.CONSENTED, Spent, Spent, S.REVOKED),
    S.STARTED: (S.STARTED, Spent, Spent, S.STARTED, S.REDEEMED, S.STARTED, Spent, Spent, S.REVOKED),
    S.REDEEMED: (S.REDEEMED, Spent, Spent, Spent, Spent, S.REDEEMED, S.REDEEMED, S.ACKNOWLEDGED, S.REVOKED),
    S.ACKNOWLEDGED: (
        S.ACKNOWLEDGED, Spent, Spent, Spent, Spent, S.ACKNOWLEDGED, S.ACKNOWLEDGED, S.ACKNOWLEDGED, S.REVOKED,
    ),
    S.DECLINED: (S.DECLINED, Spent, S.DECLINED, Spent, Spent, S.DECLINED, Spent, Spent, S.REVOKED),
    S.EXPIRED: (S.EXPIRED, Gone, Gone, Gone, Gone, Gone, Spent, Spent, S.REVOKED),
    S.REVOKED: (S.REVOKED, Gone, Gone, Gone, Gone, Gone, Gone, Gone, S.REVOKED),
}  # fmt: skip
CASES = [(state, name, outcome) for state, row in LIFE.items() for name, outcome in zip(FUNCTIONS, row, strict=True)]


def outcome_of(call: Callable[[Handoff], Handoff | None], it: Handoff) -> Outcome:
    """The state *call* leads to, or the error it raises; that a refused or merely looked-at value never changes is a given."""
    try:
        return (call(it) or it).state
    except StafettError as refused:
        return type(refused)


def test_the_table_knows_every_state() -> None:
    """A new state needs its row."""
    assert set(LIFE) == set(State)


@pytest.mark.parametrize(("state", "name", "outcome"), CASES)
def test_each_state_allows_what_it_allows(state: State, name: str, outcome: Outcome) -> None:
    """The whole life of a handoff: what may follow what, and with which error the rest is refused."""
    assert outcome_of(FUNCTIONS[name], handoff(state)) is outcome


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("name", ["agree", "decline", "start", "redeem", "go_as_guest"])
def test_an_expired_link_gives_nothing(state: State, name: str) -> None:
    """At the moment the link dies, whatever was not fetched is gone; what was fetched is never fetched again."""
    over = handoff(state, expires_at=NOW)
    refused = outcome_of(FUNCTIONS[name], over)
    if state in core.TRANSFERRED:
        assert refused is outcome_of(FUNCTIONS[name], handoff(state))
    else:
        assert refused is Gone


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("call", ["redeem", "may_go_as_guest", "may_read", "acknowledge"])
def test_another_recipient_gets_one_answer_in_every_state(state: State, call: str) -> None:
    """A foreign partner learns nothing, not even whether the handoff was used or revoked."""
    more: dict[str, Any] = {"now": NOW} if call in {"redeem", "may_go_as_guest"} else {}
    if call == "acknowledge":
        more = {"result": Result.BOOKED, "reference": None, "now": NOW}
    with pytest.raises(Spent) as refused:
        getattr(core, call)(handoff(state), recipient="other-garage", **more)
    assert refused.value.code == "handoff.foreign"


@pytest.mark.parametrize(
    ("state", "expires_at", "expired"),
    [
        (S.CREATED, later(microseconds=1), False),
        (S.CREATED, NOW, True),
        (S.STARTED, later(hours=-1), True),
        (S.DECLINED, NOW, True),
        (S.REDEEMED, later(hours=-1), False),
        (S.ACKNOWLEDGED, later(hours=-1), False),
        (S.EXPIRED, later(hours=1), True),
    ],
)
def test_a_link_dies_unless_the_data_was_fetched(state: State, expires_at: Any, expired: bool) -> None:
    """Expiry is of the link; what the recipient has, it has."""
    assert core.is_expired(handoff(state, expires_at=expires_at), NOW) is expired


def test_agreeing_keeps_exactly_what_was_agreed_to() -> None:
    """The payload becomes what the customer agreed to; of the rest the names stay, and the proof of what was offered."""
    before = handoff(S.BOUND)
    after = core.agree(before, consent="c1", payload={"items": []}, withheld=("customer.email",), now=NOW)
    assert after.payload == {"items": []}
    assert after.withheld == ("customer.email",)
    assert after.consent == "c1"
    assert after.decided_at == NOW
    assert after.payload_sha256 == before.payload_sha256
    assert before.payload == PAYLOAD


def test_revoking_erases_the_payload() -> None:
    """Nothing is left to read, in any state."""
    assert all(core.revoke(handoff(state)).payload == {} for state in State)


def test_redeeming_and_acknowledging_leave_their_mark() -> None:
    """When it was fetched and what was done with it is known; later words replace earlier ones."""
    redeemed = core.redeem(handoff(S.STARTED), recipient="garage", now=NOW)
    assert redeemed.redeemed_at == NOW
    linked = core.acknowledge(redeemed, recipient="garage", result=Result.LINKED, reference=None, now=NOW)
    booked = core.acknowledge(linked, recipient="garage", result=Result.BOOKED, reference="B-1", now=NOW)
    assert (booked.result, booked.reference, booked.redeemed_at) == (Result.BOOKED, "B-1", NOW)
    assert core.acknowledge(booked, recipient="garage", result=Result.BOOKED, reference="B-1", now=NOW) == booked


@pytest.mark.parametrize("state", [S.CREATED, S.OPENED, S.BOUND])
def test_repeats_change_nothing(state: State) -> None:
    """Binding and declining twice is the same as once."""
    bound = core.bind(handoff(state), session())
    assert bound.bound_to == "maja"
    assert core.bind(bound, session()) == bound
    declined = core.decline(bound, product={"items": 1}, now=NOW)
    assert core.decline(declined, product={}, now=later(minutes=5)) == declined


HERS = {"email": "maja@example.com"}
PHONE = {"phone": "+46701234567"}


def knows(**changed: Any) -> Session:
    """A login of somebody the source does not know, with this profile."""
    nothing = {"name": None, "email": None, "email_verified": False}
    return session(customer="somebody", profile=profile(**nothing | changed))


@pytest.mark.parametrize(
    ("it", "visitor", "hers"),
    [
        (handoff(), session(customer="maja"), True),
        (handoff(), session(customer="karl"), False),
        (handoff(S.BOUND, bound_to="karl"), session(customer="maja"), False),
        (handoff(S.BOUND, bound_to="karl"), session(customer="karl"), True),
        (handoff(bound_to="karl", customer=None), knows(email="maja@example.com", email_verified=True), False),
        (handoff(contact=guest_order(**HERS).contact), knows(email="maja@example.com", email_verified=True), False),
        (guest_order(**HERS), knows(email="maja@example.com", email_verified=True), True),
        (guest_order(**HERS), knows(email="MAJA@Example.COM", email_verified=True), True),
        (guest_order(**HERS), knows(email="maja@example.com", email_verified=False), False),
        (guest_order(**HERS), knows(email="maja@example.org", email_verified=True), False),
        (guest_order(**HERS), knows(email=None, email_verified=True), False),
        (guest_order(**HERS), knows(name="maja@example.com", email_verified=True), False),
        (guest_order(email="maja@bücher.example"), knows(email="maja@xn--bcher-kva.example", email_verified=True), True),
        (guest_order(email="maja@strasse.example"), knows(email="maja@straße.example", email_verified=True), False),
        (guest_order(email="sofia@example.com"), knows(email="\u017fofia@example.com", email_verified=True), False),
        (guest_order(**PHONE), knows(phone_number="+46701234567", phone_number_verified=True), True),
        (guest_order(**PHONE), knows(phone_number="+46701234567", phone_number_verified=False), False),
        (guest_order(**PHONE), knows(phone_number="+46701234568", phone_number_verified=True), False),
        (guest_order(**PHONE), knows(phone_number=None, phone_number_verified=True), False),
        (guest_order(**HERS, **PHONE), knows(phone_number="+46701234567", phone_number_verified=True), True),
        (guest_order(**HERS), knows(phone_number="maja@example.com", phone_number_verified=True), False),
        (guest_order(), knows(email="maja@example.com", email_verified=True), False),
        (guest_order(), session(customer="maja"), False),
        (guest_order(email=""), knows(email="", email_verified=True), False),
        (guest_order(phone=""), knows(phone_number="", phone_number_verified=True), False),
    ],
)  # fmt: skip
def test_a_handoff_belongs_to_whom_it_was_made_for(it: Handoff, visitor: Session, hers: bool) -> None:
    """
    The known customer, or for a guest order whoever proved the order's own contact; who was bound once stays.

    Holding the link proves nothing, and neither does an unverified address.
    """
    assert core.belongs_to(it, visitor) is hers
    if not hers:
        with pytest.raises(WrongCustomer):
            core.bind(it, visitor)
    else:
        assert core.bind(it, visitor).bound_to == visitor.customer


def test_binding_names_nobody_in_its_refusal() -> None:
    """Error texts reach logs: no customer, no address."""
    with pytest.raises(WrongCustomer) as refused:
        core.bind(guest_order(**HERS), knows(email="karl@example.com", email_verified=True))
    assert "@" not in refused.value.detail
    assert refused.value.facts == {}


def test_an_offer_under_an_agreement_is_admitted() -> None:
    """The agreement it rests on is named; optional fields may be missing, and falsehood is a value."""
    assert core.admit(offer(), policy()).id == "shop>garage:fitting"
    needs_paid = policy(agreements=[agreement(claims={"required": ["order.paid"], "optional": []})])
    assert core.admit(offer(), needs_paid)
    assert core.admit(offer(payload={"vehicle": {"plate": "A"}, "items": []}), policy())


@pytest.mark.parametrize(
    ("changed", "error", "code"),
    [
        ({"recipient": "silent"}, Denied, "handoff.no_agreement"),
        ({"recipient": "nobody"}, Denied, "handoff.no_agreement"),
        ({"source": "garage", "recipient": "shop"}, Denied, "handoff.no_agreement"),
        ({"source": "silent"}, Denied, "handoff.no_agreement"),
        ({"recipient": "shop"}, Denied, "handoff.no_agreement"),
        ({"purpose": "insurance"}, Denied, "handoff.no_agreement"),
        ({"type": "fitting/v2"}, Denied, "handoff.no_agreement"),
        ({"return_uri": "https://shop.test/back/"}, BadAsk, "handoff.return_uri"),
        ({"return_uri": "https://shop.test/back?x=1"}, BadAsk, "handoff.return_uri"),
        ({"return_uri": "https://SHOP.test/back"}, BadAsk, "handoff.return_uri"),
        ({"return_uri": "https://shop.test/callback"}, BadAsk, "handoff.return_uri"),
        ({"return_uri": ""}, BadAsk, "handoff.return_uri"),
        ({"payload": {}}, BadAsk, "handoff.required_field"),
        ({"payload": PAYLOAD | {"items": None}}, BadAsk, "handoff.required_field"),
        ({"payload": PAYLOAD | {"vehicle": {"tyre_size": "x"}}}, BadAsk, "handoff.required_field"),
        ({"payload": PAYLOAD | {"vehicle": "ABC 12D"}}, BadAsk, "handoff.required_field"),
        ({"payload": PAYLOAD | {"vehicle": [{"plate": "A"}]}}, BadAsk, "handoff.required_field"),
    ],
)
def test_an_offer_without_ground_is_refused(changed: dict[str, Any], error: type[StafettError], code: str) -> None:
    """No agreement for exactly this edge, purpose and type; an address not registered; a required field missing."""
    with pytest.raises(error) as refused:
        core.admit(offer(**changed), policy())
    assert refused.value.code == code
    assert "ABC 12D" not in refused.value.detail


def test_a_disabled_agreement_is_none() -> None:
    """The kill switch of one edge, without removing it; an enabled one beside it holds."""
    off = agreement(enabled=False)
    with pytest.raises(Denied):
        core.admit(offer(), policy(agreements=[off]))
    assert core.admit(offer(), policy(agreements=[off, agreement()]))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("items", PAYLOAD["items"]),
        ("vehicle.plate", "ABC 12D"),
        ("order.paid", False),
        ("vehicle", PAYLOAD["vehicle"]),
        ("vehicle.colour", None),
        ("vehicle.plate.letters", None),
        ("items.0", None),
        ("items.sku", None),
        ("nothing.at.all", None),
        ("", None),
        ("vehicle.", None),
    ],
)
def test_a_field_is_found_by_its_whole_path(name: str, value: Any) -> None:
    """Dotted names reach leaves of objects; lists are one field; a wrong path is a miss and never an error."""
    assert core.lookup(PAYLOAD, name) == value


def test_fields_put_back_give_the_payload_again() -> None:
    """Unfolding names makes the objects on the way and disturbs no neighbour."""
    target: dict[str, Any] = {}
    for name in ("vehicle.plate", "vehicle.tyre_size", "items", "order.reference", "order.paid"):
        core.place(target, name, core.lookup(PAYLOAD, name))
    assert target == {name: PAYLOAD[name] for name in ("vehicle", "items", "order")}


def test_only_a_fresh_link_becomes_opened() -> None:
    """Going on from the first page is progress once; nothing later goes back, and an expired one stays as it is."""
    for state in State:
        expected = S.OPENED if state is S.CREATED else state
        assert core.open_link(handoff(state=state), now=NOW).state is expected
    fresh = handoff(state=S.CREATED)
    assert core.open_link(fresh, now=fresh.expires_at) == fresh
