"""One suite for every `Outbox`: nothing is lost, and no two tell the same at once."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from broker.stores.ports import Notice, Records, Swept
from broker.stores.sql import SqlRecords
from tests.changing import replace

NOW = datetime(2026, 11, 21, 12, 30, 15, 123456, tzinfo=UTC)
LEASE = timedelta(seconds=30)
DAY = timedelta(days=1)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"migrated_{request.param}"))


@pytest.fixture
async def records(url: str) -> AsyncIterator[Records]:
    store = SqlRecords(url, timeout_s=30)
    yield store
    await store.close()


def notice(name: str, **changes: object) -> Notice:
    made = Notice(
        id=name,
        kind="logout",
        batch="b1",
        partner="garage",
        customer=None,
        sealed=b"\x00sealed\xff",
        state="pending",
        attempts=0,
        created_at=NOW,
        due_at=NOW,
        give_up_at=NOW + DAY,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


async def settle(records: Records, claimed: Notice, state: str, at: datetime = NOW) -> bool:
    ended = None if state == "pending" else at
    return await records.settle_notice(claimed, state=state, result="503", due_at=at, ended_at=ended)


async def test_what_was_added_comes_back_as_it_was(records: Records) -> None:
    """Byte for byte, to the microsecond; adding it again changes nothing."""
    kept = notice("n1", customer="c1", due_at=NOW + LEASE, attempts=1)
    await records.add_notices([kept])
    await records.add_notices([replace(kept, partner="other")])
    await records.add_notices([])
    assert list(await records.notices_of("b1")) == [kept]
    assert await records.notices_of("b2") == []


async def test_what_is_not_due_is_not_given_out(records: Records) -> None:
    """Born with a lease, it belongs to whoever wrote it; a microsecond early is early."""
    await records.add_notices([notice("n1", due_at=NOW + LEASE)])
    assert await records.claim_notices(NOW + LEASE - timedelta(microseconds=1), NOW + DAY, 10) == []
    (claimed,) = await records.claim_notices(NOW + LEASE, NOW + 2 * LEASE, 10)
    assert (claimed.attempts, claimed.due_at, claimed.sealed) == (1, NOW + 2 * LEASE, b"\x00sealed\xff")


async def test_what_waits_longest_comes_first(records: Records) -> None:
    """And never more than asked for."""
    await records.add_notices([notice(f"n{age}", due_at=NOW - timedelta(seconds=age)) for age in range(5)])
    claimed = await records.claim_notices(NOW, NOW + LEASE, 2)
    assert {each.id for each in claimed} == {"n4", "n3"}
    assert len(await records.claim_notices(NOW, NOW + LEASE, 10)) == 3


async def test_of_many_claiming_at_once_each_gets_others(url: str, records: Records) -> None:
    """Two processes, several askers in each: every notice once."""
    other = SqlRecords(url, timeout_s=30)
    await records.add_notices([notice(f"n{number}") for number in range(40)])
    asks = [store.claim_notices(NOW, NOW + LEASE, 7) for store in (records, other) for _ in range(6)]
    claimed = [each.id for got in await asyncio.gather(*asks) for each in got]
    claimed += [each.id for each in await records.claim_notices(NOW, NOW + LEASE, 40)]
    await other.close()
    assert len(claimed) == 40
    assert len(set(claimed)) == 40


async def test_a_process_that_died_leaves_its_work_to_others(records: Records) -> None:
    """When the lease is over, and not before."""
    await records.add_notices([notice("n1")])
    await records.claim_notices(NOW, NOW + LEASE, 1)
    assert await records.claim_notices(NOW + LEASE / 2, NOW + DAY, 1) == []
    (again,) = await records.claim_notices(NOW + LEASE, NOW + DAY, 1)
    assert again.attempts == 2


async def test_who_lost_its_lease_settles_nothing(records: Records) -> None:
    """The slow one's answer comes after somebody else's attempt began: that one decides."""
    await records.add_notices([notice("n1")])
    (slow,) = await records.claim_notices(NOW, NOW + LEASE, 1)
    (quick,) = await records.claim_notices(NOW + LEASE, NOW + 2 * LEASE, 1)
    assert not await settle(records, slow, "given_up")
    assert await settle(records, quick, "delivered")
    assert not await settle(records, quick, "refused")
    (kept,) = await records.notices_of("b1")
    assert kept.state == "delivered"


@pytest.mark.parametrize("state", ["delivered", "refused", "given_up"])
async def test_what_is_settled_is_not_given_out_again(records: Records, state: str) -> None:
    """And what was told is forgotten; what was not stays, so that an operator can have it told."""
    await records.add_notices([notice("n1")])
    (claimed,) = await records.claim_notices(NOW, NOW + LEASE, 1)
    assert await settle(records, claimed, state)
    assert await records.claim_notices(NOW + DAY, NOW + 2 * DAY, 10) == []
    (kept,) = await records.notices_of("b1")
    assert (kept.state, kept.result, kept.ended_at) == (state, "503", NOW)
    assert (kept.sealed is None) == (state == "delivered")


async def test_a_failed_attempt_comes_back_when_it_is_due(records: Records) -> None:
    """With what it is about."""
    await records.add_notices([notice("n1")])
    (claimed,) = await records.claim_notices(NOW, NOW + LEASE, 1)
    assert await settle(records, claimed, "pending", NOW + timedelta(seconds=5))
    assert await records.claim_notices(NOW + timedelta(seconds=4), NOW + DAY, 1) == []
    (again,) = await records.claim_notices(NOW + timedelta(seconds=5), NOW + DAY, 1)
    assert (again.attempts, again.sealed, again.result) == (2, b"\x00sealed\xff", "503")


async def test_an_operator_revives_what_was_given_up(records: Records) -> None:
    """By partner, by id or all; what was told stays told."""
    for name, partner, state in (("n1", "garage", "given_up"), ("n2", "shop", "refused"), ("n3", "shop", "delivered")):
        await records.add_notices([notice(name, partner=partner)])
        (claimed,) = await records.claim_notices(NOW, NOW + LEASE, 1)
        await settle(records, claimed, state)
    later, bound = NOW + DAY, NOW + 2 * DAY
    assert await records.revive_notices(later, bound, notice="n3") == 0
    assert await records.revive_notices(later, bound, partner="nobody") == 0
    assert await records.revive_notices(later, bound, partner="garage") == 1
    assert await records.revive_notices(later, bound, notice="n2") == 1
    revived = await records.claim_notices(later, later + LEASE, 10)
    assert {each.id for each in revived} == {"n1", "n2"}
    assert {(each.give_up_at, each.ended_at) for each in revived} == {(bound, None)}


async def test_lists_by_state_and_partner_newest_first(records: Records) -> None:
    """What the operator looks at."""
    await records.add_notices(
        [
            notice("n1", created_at=NOW - DAY),
            notice("n2", partner="shop"),
            notice("n3", state="refused", created_at=NOW - LEASE, ended_at=NOW),
        ]
    )
    assert [each.id for each in await records.list_notices(("pending", "refused"), None, 10)] == ["n2", "n3", "n1"]
    assert [each.id for each in await records.list_notices(("pending",), "garage", 10)] == ["n1"]
    assert [each.id for each in await records.list_notices(("pending", "refused"), None, 1)] == ["n2"]
    assert await records.list_notices(("given_up",), None, 10) == []


async def test_tells_how_long_the_queue_is_and_how_old(records: Records) -> None:
    """Only what still waits counts."""
    assert await records.notices_waiting() == (0, None)
    await records.add_notices([notice("n1", created_at=NOW - DAY, state="refused", ended_at=NOW), notice("n2")])
    assert await records.notices_waiting() == (1, NOW)


async def test_what_became_of_a_notice_is_forgotten_after_thirty_days(records: Records) -> None:
    """The exact moment included; what waits is never swept."""
    old = NOW - 30 * DAY
    await records.add_notices(
        [
            notice("gone", state="delivered", ended_at=old),
            notice("kept", state="delivered", ended_at=old + timedelta(microseconds=1)),
            notice("waits", created_at=old - DAY),
        ]
    )
    assert await records.sweep(NOW, 7, 100) == Swept(0, 0, 0, 1)
    assert {each.id for each in await records.notices_of("b1")} == {"kept", "waits"}
