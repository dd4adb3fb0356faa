"""One suite for every `Records`: what customers, partners and auditors rely on."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone

import pytest

from broker.errors import StafettError
from broker.stores.ports import (
    GONE,
    AuditEvent,
    ConsentRecord,
    Customer,
    KnownCustomer,
    LinkedIdentity,
    ProofRecord,
    Records,
    Swept,
    Transfer,
)
from broker.stores.sql import SqlRecords
from tests.changing import replace

NOW = datetime(2026, 11, 21, 12, 30, 15, 123456, tzinfo=UTC)
SECOND = timedelta(seconds=1)
TICK = timedelta(microseconds=1)
DAY = timedelta(days=1)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"migrated_{request.param}"))


@pytest.fixture
async def records(url: str) -> AsyncIterator[Records]:
    """Migrated and empty; patient, as a test machine may be busy."""
    store = SqlRecords(url, timeout_s=30)
    yield store
    await store.close()


def identity(lookup: str, customer: str, used: datetime = NOW) -> LinkedIdentity:
    return LinkedIdentity(lookup, customer, "bankid", b"\x00sealed\xff", NOW, used)


async def customer(records: Records, name: str = "c1") -> str:
    await records.find_or_create_customer(identity(f"lookup-{name}", name), Customer(name, NOW, b"profile"))
    return name


def consent(name: str, owner: str = "c1", **changes: object) -> ConsentRecord:
    record = ConsentRecord(
        id=name,
        customer=owner,
        source="shop",
        recipient="garage",
        purpose="tyre-fitting",
        type="tyre-fitting/v1",
        granted=("vehicle.registration_number", "items"),
        refused=("customer.phone",),
        remember=True,
        policy_version="v7",
        created_at=NOW,
        expires_at=NOW + 30 * DAY,
    )
    return replace(record, **changes)  # type: ignore[arg-type]


def transfer(name: str, owner: str | None = "c1", **changes: object) -> Transfer:
    record = Transfer(
        id=name,
        customer=owner,
        source="shop",
        recipient="garage",
        purpose="tyre-fitting",
        type="tyre-fitting/v1",
        state="started",
        consent="k1",
        fields=("items",),
        payload=b"\x00sealed\xff",
        payload_sha256="ab" * 32,
        created_at=NOW,
    )
    return replace(record, **changes)  # type: ignore[arg-type]


def event(action: str, owner: str | None = "c1", at: datetime = NOW) -> AuditEvent:
    return AuditEvent(at, action, "ref-1", owner, "garage", '{"rule":"x"}')


# Customers and identities


async def test_a_first_login_makes_a_customer(records: Records) -> None:
    """New identity, new customer; both are stored as given, bytes and microseconds included."""
    given = identity("l1", "c1"), Customer("c1", NOW, b"\x00\xff")
    assert await records.find_or_create_customer(*given) == KnownCustomer(given[1], given[0], True, {})
    assert await records.get_customer("c1") == given[1]
    assert list(await records.identities_of("c1")) == [given[0]]


async def test_a_second_login_finds_the_customer_and_her_subjects(records: Records) -> None:
    """The stored customer counts, not the one proposed; the subjects her partners know come along."""
    await records.find_or_create_customer(identity("l1", "c1"), Customer("c1", NOW, b"old"))
    await customer(records, "c2")
    for owner, sector in (("c1", "shop"), ("c1", "garage"), ("c2", "shop")):
        await records.subject_for(owner, sector, f"{owner}-at-{sector}", NOW)
    later = replace(identity("l1", "c9", NOW + DAY), upstream="other", created_at=NOW + DAY)
    found = await records.find_or_create_customer(later, Customer("c9", NOW + DAY, b"new"))
    subjects = {"shop": "c1-at-shop", "garage": "c1-at-garage"}
    assert found == KnownCustomer(Customer("c1", NOW, b"old"), identity("l1", "c1"), False, subjects)
    assert await records.get_customer("c9") is None


async def test_an_identity_is_marked_used(records: Records) -> None:
    """Only last_used_at changes, and only that identity's; an unknown lookup changes nothing."""
    await records.find_or_create_customer(identity("l1", "c1"), Customer("c1", NOW, None))
    await records.mark_used("l1", NOW + DAY)
    await records.mark_used("l2", NOW + DAY)
    assert list(await records.identities_of("c1")) == [identity("l1", "c1", NOW + DAY)]


async def test_a_block_is_what_was_said_last(records: Records) -> None:
    """It comes along with the customer; an older word changes nothing, and what is gone stays gone."""
    await records.find_or_create_customer(identity("l1", "c1"), Customer("c1", NOW, None))

    async def blocked() -> str | None:
        known = await records.known_customer("l1")
        assert known is not None
        return known.blocked

    assert await blocked() is None
    assert await records.block_identity("l1", "blocked", NOW)
    assert await blocked() == "blocked"
    assert await records.block_identity("l1", None, NOW + DAY)
    assert not await records.block_identity("l1", "blocked", NOW)
    assert await blocked() is None
    assert await records.block_identity("l1", GONE, NOW + DAY)
    assert not await records.block_identity("l1", None, NOW + 2 * DAY)
    assert await blocked() == "gone"
    await records.find_or_create_customer(identity("l2", "c2"), Customer("c2", NOW, None))
    other = await records.known_customer("l2")
    assert other is not None
    assert other.blocked is None


async def test_a_block_is_of_the_identity_whoever_has_it(records: Records) -> None:
    """It is known of one that was taken out, and by whom; it is there still when it comes back."""
    await records.find_or_create_customer(identity("l1", "c1"), Customer("c1", NOW, None))
    await records.link_identity(identity("l2", "c1"), [])
    assert [await records.remover_of(each) for each in ("l1", "l3")] == [None, None]
    assert await records.remove_identity("l1", "c1", {"bankid", "google"}, NOW)
    assert await records.remover_of("l1") == "c1"
    assert await records.blocked("l1") is None
    assert await records.block_identity("l1", "blocked", NOW)
    assert await records.blocked("l1") == "blocked"
    assert await records.restore_identity("l1", "c1", NOW - DAY)
    known = await records.known_customer("l1")
    assert known is not None
    assert known.blocked == "blocked"
    assert await records.block_identity("l1", None, NOW)
    assert [await records.blocked(each) for each in ("l1", "l3")] == [None, None]


async def test_two_identities_do_not_become_one_customer(records: Records) -> None:
    """Another lookup is another person until somebody links them."""
    await customer(records, "c1")
    assert (await records.find_or_create_customer(identity("l2", "c2"), Customer("c2", NOW, None))).is_new
    assert [found.customer for found in await records.identities_of("c2")] == ["c2"]


async def test_first_logins_at_once_give_one_customer(records: Records) -> None:
    """Twenty at once: one is new, all get the same customer, and no orphan is left behind."""
    results = await asyncio.gather(
        *(records.find_or_create_customer(identity("l1", f"c{n}"), Customer(f"c{n}", NOW, None)) for n in range(20))
    )
    assert [each.is_new for each in results].count(True) == 1
    (winner,) = {each.customer.id for each in results}
    assert {each.identity.customer for each in results} == {winner}
    left = [await records.get_customer(f"c{n}") for n in range(20)]
    assert [found.id for found in left if found] == [winner]


async def test_unknown_customers_are_a_miss(records: Records) -> None:
    """None and empty lists, never an error."""
    assert await records.get_customer("nobody") is None
    assert list(await records.identities_of("nobody")) == []
    assert list(await records.live_consents("nobody", NOW)) == []
    assert list(await records.transfers_of("nobody", 10)) == []
    assert list(await records.audit_of("nobody", 10)) == []
    assert await records.get_consent("nothing") is None


async def test_a_profile_is_replaced_for_one_customer_only(records: Records) -> None:
    """Saving one profile leaves all others alone; saving nobody's changes nothing."""
    await customer(records, "c1")
    await customer(records, "c2")
    await records.save_profile("c1", b"\x00new")
    await records.save_profile("nobody", b"x")
    assert await records.get_customer("c1") == Customer("c1", NOW, b"\x00new")
    assert await records.get_customer("c2") == Customer("c2", NOW, b"profile")


# Pairwise subjects


async def test_a_subject_stays_what_it_first_was(records: Records) -> None:
    """A sector sees the same subject for ever, whatever is proposed later."""
    await customer(records)
    assert await records.subject_for("c1", "garage.example", "s1", NOW) == "s1"
    assert await records.subject_for("c1", "garage.example", "s2", NOW) == "s1"
    assert await records.customer_of_subject("garage.example", "s1") == "c1"


async def test_a_subject_means_nothing_elsewhere(records: Records) -> None:
    """Two sectors cannot compare notes, and a proposed subject that lost is nobody's."""
    await customer(records)
    await records.subject_for("c1", "garage.example", "s1", NOW)
    await records.subject_for("c1", "garage.example", "s2", NOW)
    assert await records.subject_for("c1", "shop.example", "s3", NOW) == "s3"
    assert await records.customer_of_subject("shop.example", "s1") is None
    assert await records.customer_of_subject("garage.example", "s2") is None


async def test_subjects_asked_for_at_once_agree(records: Records) -> None:
    """Fifty first visits at once get one subject."""
    await customer(records)
    answers = await asyncio.gather(*(records.subject_for("c1", "s", f"s{n}", NOW) for n in range(50)))
    assert len(set(answers)) == 1
    assert await records.customer_of_subject("s", answers[0]) == "c1"


async def test_a_subject_already_given_to_somebody_else_is_refused(records: Records) -> None:
    """One subject never names two people in a sector: that would hand one's account to the other."""
    await customer(records, "c1")
    await customer(records, "c2")
    await records.subject_for("c1", "s", "same", NOW)
    with pytest.raises(StafettError) as refused:
        await records.subject_for("c2", "s", "same", NOW)
    assert refused.value.code == "records_refused"
    assert "same" not in str(refused.value)


# Consents


async def test_a_consent_comes_back_as_given(records: Records) -> None:
    """Order of fields, letters of any language, no source, times to the microsecond."""
    await customer(records)
    for given in (
        consent("k1", granted=("b", "a", "å.ö"), refused=()),
        consent("k2", source=None, granted=(), remember=False, created_at=NOW + TICK),
    ):
        await records.add_consent(given)
        assert await records.get_consent(given.id) == given


async def test_live_consents_are_newest_first_and_only_ones_own(records: Records) -> None:
    """Others' consents are not listed."""
    await customer(records, "c1")
    await customer(records, "c2")
    for name, age in (("k1", 2), ("k3", 0), ("k2", 1)):
        await records.add_consent(consent(name, created_at=NOW - age * DAY))
    await records.add_consent(consent("other", owner="c2"))
    assert [found.id for found in await records.live_consents("c1", NOW)] == ["k3", "k2", "k1"]


async def test_a_consent_ends_at_its_very_moment(records: Records) -> None:
    """At expires_at it is over, a microsecond before it is not."""
    await customer(records)
    given = consent("k1")
    await records.add_consent(given)
    assert await records.live_consents("c1", given.expires_at - TICK) == [given]
    assert list(await records.live_consents("c1", given.expires_at)) == []


async def test_a_consent_ends_at_its_moment_however_it_is_written(records: Records) -> None:
    """Whole seconds, and the clocks of other places; a time of no place is refused and quoted to nobody."""
    await customer(records)
    whole = NOW.replace(microsecond=0)
    elsewhere = timezone(timedelta(hours=5, minutes=30))
    given = consent("k1", created_at=whole - DAY, expires_at=whole)
    await records.add_consent(given)
    for before, at in ((whole - TICK, whole), ((whole - TICK).astimezone(elsewhere), whole.astimezone(elsewhere))):
        assert list(await records.live_consents("c1", before)) == [given]
        assert list(await records.live_consents("c1", at)) == []
    with pytest.raises(StafettError) as refused:
        await records.live_consents("c1", whole.replace(tzinfo=None))
    assert str(whole.year) not in str(refused.value)


async def test_withdrawing_ends_a_consent_and_says_when(records: Records) -> None:
    """The record stays, marked; it is no longer live."""
    await customer(records)
    await records.add_consent(consent("k1"))
    withdrawn = consent("k1", withdrawn_at=NOW + SECOND)
    assert await records.withdraw_consent("k1", "c1", NOW + SECOND) == withdrawn
    assert await records.get_consent("k1") == withdrawn
    assert list(await records.live_consents("c1", NOW + SECOND)) == []


async def test_only_the_owner_of_a_live_consent_withdraws_it(records: Records) -> None:
    """Another customer, an unknown id, an expired or already withdrawn consent: None, and nothing changes."""
    await customer(records, "c1")
    await customer(records, "c2")
    await records.add_consent(consent("k1"))
    await records.add_consent(consent("old", expires_at=NOW))
    assert await records.withdraw_consent("k1", "c2", NOW) is None
    assert await records.withdraw_consent("k9", "c1", NOW) is None
    assert await records.withdraw_consent("old", "c1", NOW) is None
    assert await records.get_consent("k1") == consent("k1")
    assert await records.withdraw_consent("k1", "c1", NOW) is not None
    assert await records.withdraw_consent("k1", "c1", NOW + DAY) is None
    assert await records.get_consent("k1") == consent("k1", withdrawn_at=NOW)


async def test_fifty_withdrawals_at_once_have_one_effect(records: Records) -> None:
    """One gets the record (and tells the partners), the others know that they need not."""
    await customer(records)
    await records.add_consent(consent("k1"))
    results = await asyncio.gather(*(records.withdraw_consent("k1", "c1", NOW) for _ in range(50)))
    assert results.count(None) == 49


async def test_a_consent_of_nobody_is_refused(records: Records) -> None:
    """Records hang together; the error names no values."""
    with pytest.raises(StafettError) as refused:
        await records.add_consent(consent("k1", owner="secret-id"))
    assert refused.value.code == "records_refused"
    assert "secret-id" not in str(refused.value)


async def test_adding_again_changes_nothing(records: Records) -> None:
    """After StoreDown a caller may repeat itself: the first write counts."""
    await customer(records)
    await records.add_consent(consent("k1"))
    await records.withdraw_consent("k1", "c1", NOW)
    await records.add_consent(consent("k1"))
    assert (found := await records.get_consent("k1")) is not None
    assert found.withdrawn_at == NOW


# Transfers


async def test_a_transfer_comes_back_as_given(records: Records) -> None:
    """A fresh one and one with everything filled in."""
    await customer(records)
    full = transfer(
        "t2",
        created_at=NOW + SECOND,
        picked_up_at=NOW + DAY,
        acknowledged_at=NOW + 2 * DAY,
        result="booked",
        reference="B-1",
        payload=None,
        fields=("items", "order.reference"),
    )
    await records.save_transfers([transfer("t1")])
    await records.save_transfers([full])
    assert list(await records.transfers_of("c1", 10)) == [full, transfer("t1")]


async def test_a_transfer_of_nobody_known_is_in_nobodys_list(records: Records) -> None:
    """Without a customer it is kept, and appears in nobody's list."""
    await customer(records)
    await records.save_transfers([transfer("t1", owner=None, consent=None)])
    assert list(await records.transfers_of("c1", 10)) == []


async def test_a_transfer_saved_again_is_brought_up_to_date(records: Records) -> None:
    """State, times and what the recipient said move on; what nobody told again stays, and so does everything else."""
    await customer(records)
    await records.save_transfers([transfer("t1"), transfer("t2")])
    await records.save_transfers(
        [transfer("t1", state="redeemed", picked_up_at=NOW + DAY, fields=(), created_at=NOW + DAY)]
    )
    await records.save_transfers([transfer("t1", state="acknowledged", result="booked", reference="B-1")])
    found = {record.id: record for record in await records.transfers_of("c1", 10)}
    expected = transfer("t1", state="acknowledged", picked_up_at=NOW + DAY, result="booked", reference="B-1")
    assert found == {"t1": expected, "t2": transfer("t2")}


@pytest.mark.parametrize(
    ("later", "earlier"), [("redeemed", "started"), ("acknowledged", "redeemed"), ("revoked", "redeemed")]
)
async def test_what_is_written_late_does_not_take_a_state_back(records: Records, later: str, earlier: str) -> None:
    """A pick-up written after the acknowledgement adds its time, and leaves the later state."""
    await customer(records)
    await records.save_transfers([transfer("t1", state=later)])
    await records.save_transfers([transfer("t1", state=earlier, picked_up_at=NOW)])
    (found,) = await records.transfers_of("c1", 10)
    assert (found.state, found.picked_up_at) == (later, NOW)


async def test_of_two_acknowledgements_the_later_counts(records: Records) -> None:
    """Whichever of two processes writes last; and it counts as a whole."""
    await customer(records)
    for name in ("t1", "t2"):
        first = transfer(name, state="acknowledged", acknowledged_at=NOW, result="booked", reference="B-1")
        second = transfer(name, state="acknowledged", acknowledged_at=NOW + SECOND, result="linked")
        for written in [first, second] if name == "t1" else [second, first]:
            await records.save_transfers([written])
        assert second in await records.transfers_of("c1", 10)


async def test_a_payload_that_was_removed_does_not_come_back(records: Records) -> None:
    """Revoking removes it and keeps the receipt; nothing that is saved later brings it back."""
    await customer(records)
    await records.save_transfers([transfer("t1"), transfer("t2")])
    await records.revoke_transfers(["t1", "unknown"])
    await records.save_transfers([transfer("t1", state="revoked"), transfer("t2", state="revoked")])
    assert {each.id: (each.state, each.payload) for each in await records.transfers_of("c1", 9)} == {
        "t1": ("revoked", None),
        "t2": ("revoked", None),
    }


async def test_saving_or_revoking_nothing_is_fine(records: Records) -> None:
    """And touches nothing."""
    await records.save_transfers([])
    await records.revoke_transfers([])


async def test_more_transfers_than_a_statement_takes_are_revoked(records: Records) -> None:
    """A customer of many years withdraws."""
    await customer(records)
    many = [transfer(f"t{n}") for n in range(1100)]
    await records.save_transfers(many)
    await records.revoke_transfers([each.id for each in many])
    assert {each.state for each in await records.transfers_of("c1", 2000)} == {"revoked"}


async def test_a_transfer_of_somebody_erased_is_refused_as_a_whole(records: Records) -> None:
    """The database says so with a word of its own, not as if it were away: trying again would not help."""
    await customer(records)
    with pytest.raises(StafettError) as refused:
        await records.save_transfers([transfer("t1"), transfer("t2", owner="erased")])
    assert refused.value.code == "records_refused"
    assert list(await records.transfers_of("c1", 10)) == []


async def test_lists_are_cut_to_the_newest(records: Records) -> None:
    """A limit keeps the newest; equal times are told apart by id, so that pages are stable."""
    await customer(records)
    for name in ("t1", "t3", "t2"):
        await records.save_transfers([transfer(name)])
    assert [found.id for found in await records.transfers_of("c1", 2)] == ["t3", "t2"]


# Audit


async def test_audit_events_are_appended_and_read_newest_first(records: Records) -> None:
    """Equal times keep the order of writing."""
    events = [event("login"), event("consent"), event("later", at=NOW + SECOND), event("other", owner="c2")]
    await records.add_audit(events)
    assert list(await records.audit_of("c1", 10)) == [events[2], events[1], events[0]]
    assert list(await records.audit_of("c1", 1)) == [events[2]]


async def test_no_audit_events_is_fine(records: Records) -> None:
    """An empty batch writes nothing."""
    await records.add_audit([])
    assert list(await records.audit_of("c1", 10)) == []


async def test_an_audit_batch_is_written_whole_or_not_at_all(records: Records) -> None:
    """One bad row keeps all others out, so the trail never shows half a story."""
    broken = replace(event("broken"), facts=None)  # type: ignore[arg-type]
    with pytest.raises(StafettError):
        await records.add_audit([event("login"), broken])
    assert list(await records.audit_of("c1", 10)) == []


async def test_audit_needs_no_customer_row(records: Records) -> None:
    """The trail of a login that failed, or of a customer erased since, is kept."""
    await records.add_audit([event("refused", owner="erased"), event("refused", owner=None)])
    assert len(await records.audit_of("erased", 10)) == 1


# Sweeping


async def test_payloads_are_swept_days_after_pick_up(records: Records) -> None:
    """The very moment counts as past; pick-up counts before creation."""
    await customer(records)
    due = NOW - 7 * DAY
    await records.save_transfers([transfer("due", created_at=due - DAY, picked_up_at=due)])
    await records.save_transfers([transfer("almost", created_at=due - DAY, picked_up_at=due + TICK)])
    await records.save_transfers([transfer("never", created_at=due)])
    await records.save_transfers([transfer("young", created_at=due + TICK)])
    assert await records.sweep(NOW, payload_days=7, batch=100) == Swept(payloads=2, proofs=0, consents=0)
    left = {found.id for found in await records.transfers_of("c1", 10) if found.payload is not None}
    assert left == {"almost", "young"}
    assert await records.sweep(NOW, payload_days=7, batch=100) == Swept(0, 0, 0)


async def test_proofs_are_deleted_at_their_time(records: Records) -> None:
    """Evidence is kept as long as it must be and not longer."""
    await customer(records)
    for name, late in (("p1", 0 * TICK), ("p2", TICK)):
        await records.add_proof(ProofRecord(name, "c1", "bankid", b"sealed", NOW - DAY, NOW + late))
    assert await records.sweep(NOW - TICK, payload_days=7, batch=100) == Swept(0, 0, 0)
    assert await records.sweep(NOW, payload_days=7, batch=100) == Swept(0, 1, 0)
    assert await records.sweep(NOW + TICK, payload_days=7, batch=100) == Swept(0, 1, 0)


async def test_consents_are_deleted_a_year_after_they_ended(records: Records) -> None:
    """Withdrawn or expired, whichever came first; live ones are never touched."""
    await customer(records)
    ended = NOW - 365 * DAY
    old = {"created_at": ended - 30 * DAY}
    await records.add_consent(consent("expired", expires_at=ended, **old))
    await records.add_consent(consent("not-yet", expires_at=ended + TICK, **old))
    await records.add_consent(consent("withdrawn", expires_at=NOW + DAY, withdrawn_at=ended, **old))
    await records.add_consent(consent("not-yet-2", expires_at=NOW + DAY, withdrawn_at=ended + TICK, **old))
    await records.add_consent(consent("live", expires_at=NOW + DAY, **old))
    assert await records.sweep(NOW, payload_days=7, batch=100) == Swept(0, 0, 2)
    names = ("expired", "not-yet", "withdrawn", "not-yet-2", "live")
    left = [name for name in names if await records.get_consent(name) is not None]
    assert left == ["not-yet", "not-yet-2", "live"]


async def test_a_sweep_takes_at_most_a_batch_of_each(records: Records) -> None:
    """A big backlog is worked off in pieces, so that no statement holds the database."""
    await customer(records)
    for n in range(3):
        await records.save_transfers([transfer(f"t{n}", created_at=NOW - 10 * DAY)])
        await records.add_proof(ProofRecord(f"p{n}", "c1", "bankid", b"x", NOW - DAY, NOW))
        await records.add_consent(consent(f"k{n}", expires_at=NOW - 400 * DAY))
    assert await records.sweep(NOW, payload_days=7, batch=2) == Swept(2, 2, 2)
    assert await records.sweep(NOW, payload_days=7, batch=2) == Swept(1, 1, 1)
    assert await records.sweep(NOW, payload_days=7, batch=2) == Swept(0, 0, 0)


async def test_sweepers_at_once_do_not_disturb_each_other(records: Records) -> None:
    """Every pod may sweep; everything is swept once."""
    await customer(records)
    for n in range(20):
        await records.add_proof(ProofRecord(f"p{n}", "c1", "bankid", b"x", NOW - DAY, NOW))
    swept = await asyncio.gather(*(records.sweep(NOW, payload_days=7, batch=100) for _ in range(5)))
    assert sum(one.proofs for one in swept) == 20


# Times, load, health


async def test_times_of_any_zone_are_one_moment(records: Records) -> None:
    """What goes in with an offset comes out as the same moment in UTC."""
    await customer(records)
    abroad = NOW.astimezone(timezone(timedelta(hours=2)))
    await records.add_consent(consent("k1", created_at=abroad))
    assert (found := await records.get_consent("k1")) is not None
    assert found.created_at == NOW
    assert found.created_at.tzinfo is UTC


async def test_times_without_a_zone_are_refused(records: Records) -> None:
    """Nobody can tell which moment they mean."""
    await customer(records)
    with pytest.raises(StafettError) as refused:
        await records.add_consent(consent("k1", created_at=NOW.replace(tzinfo=None)))
    assert refused.value.code == "records_refused"
    assert await records.get_consent("k1") is None


async def test_hundreds_of_calls_at_once_all_work(records: Records) -> None:
    """More callers than connections wait their turn."""
    await customer(records)

    async def visit(n: int) -> None:
        await records.save_transfers([transfer(f"t{n}")])
        await records.add_audit([event("login")])
        await records.save_transfers([transfer(f"t{n}", state="redeemed")])

    await asyncio.gather(*(visit(n) for n in range(100)))
    assert len(await records.transfers_of("c1", 1000)) == 100
    assert len(await records.audit_of("c1", 1000)) == 100


async def test_ping_returns_when_the_database_answers(records: Records) -> None:
    """And says nothing."""
    await records.ping()


async def test_closing_twice_is_fine(records: Records) -> None:
    """Shutdown paths may meet."""
    await records.close()
    await records.close()
