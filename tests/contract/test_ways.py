"""The ways in of customers, in every `Records`: linked once, taken out, brought back, and found by proven contacts."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from broker.errors import StafettError
from broker.stores.ports import ContactRecord, Customer, FoundContact, LinkedIdentity, Records, RemovedIdentity
from broker.stores.sql import SqlRecords
from tests.changing import replace

NOW = datetime(2026, 11, 21, 12, 30, 15, 123456, tzinfo=UTC)
DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)
ABLE = ("google", "mail")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"migrated_{request.param}"))


@pytest.fixture
async def records(url: str) -> AsyncIterator[Records]:
    """Two customers with one way in each; patient, as a test machine may be busy."""
    store = SqlRecords(url, timeout_s=30)
    for name in ("c1", "c2"):
        await store.find_or_create_customer(way(f"first-{name}", name), Customer(name, NOW, b"profile"))
    yield store
    await store.close()


def way(lookup: str, customer: str = "c1", upstream: str = "google") -> LinkedIdentity:
    return LinkedIdentity(lookup, customer, upstream, b"\x00sealed\xff", NOW, NOW)


def contact(digest: str, lookup: str, at: datetime = NOW) -> ContactRecord:
    return ContactRecord(digest, lookup, "email", b"\x00sealed\xff", at)


async def test_a_linked_identity_finds_its_customer(records: Records) -> None:
    """From then on a login by it is hers; its contacts come with it."""
    added = way("second", upstream="mail")
    assert await records.link_identity(added, [contact("d1", "second")]) == "c1"
    found = await records.known_customer("second")
    assert found is not None
    assert (found.customer.id, found.identity) == ("c1", added)
    assert [each.lookup for each in await records.identities_of("c1")] == ["first-c1", "second"]
    assert await records.find_contacts(["d1"]) == [FoundContact("c1", "mail", NOW)]
    assert await records.contacts_of("c1") == [contact("d1", "second")]


async def test_what_somebody_has_stays_his(records: Records) -> None:
    """Neither another customer's way nor its contacts move; the answer says whose it is."""
    await records.save_contacts("first-c2", [contact("d2", "first-c2")])
    assert await records.link_identity(way("first-c2"), [contact("d1", "first-c2")]) == "c2"
    assert await records.customer_of("first-c2") == "c2"
    assert await records.find_contacts(["d1", "d2"]) == [FoundContact("c2", "google", NOW)]


async def test_linked_by_two_at_once_one_has_it(records: Records) -> None:
    """Two browsers, two customers, one identity: all are told the same one."""
    offers = [way("second", customer) for customer in ("c1", "c2") * 8]
    owners = set(await asyncio.gather(*(records.link_identity(each, []) for each in offers)))
    assert len(owners) == 1
    assert await records.customer_of("second") in owners


async def test_a_link_to_nobody_is_refused(records: Records) -> None:
    """A customer that is not there gets nothing, and no row stays behind."""
    with pytest.raises(StafettError):
        await records.link_identity(way("second", "nobody"), [])
    assert await records.customer_of("second") is None


async def test_a_way_is_taken_out_and_kept_as_removed(records: Records) -> None:
    """It is nobody's then, and its contacts find nobody."""
    await records.link_identity(way("second"), [contact("d1", "second")])
    assert await records.remove_identity("second", "c1", ABLE, NOW + DAY)
    assert await records.customer_of("second") is None
    assert await records.find_contacts(["d1"]) == []
    assert await records.removed_of("c1", NOW) == [RemovedIdentity(way("second"), NOW + DAY)]
    assert await records.removed_of("c1", NOW + DAY) == []
    assert await records.removed_of("c2", NOW) == []
    assert (await records.find_or_create_customer(way("second", "c3"), Customer("c3", NOW, None))).is_new


async def test_the_last_way_in_stays(records: Records) -> None:
    """One that cannot log in alone does not count."""
    assert not await records.remove_identity("first-c1", "c1", ABLE, NOW)
    await records.link_identity(way("letter", upstream="newsletter"), [])
    assert not await records.remove_identity("first-c1", "c1", ABLE, NOW)
    assert await records.remove_identity("letter", "c1", ABLE, NOW)
    assert await records.customer_of("first-c1") == "c1"


async def test_a_blocked_way_is_no_other_way(records: Records) -> None:
    """Nobody gets in by it; once that is lifted it counts again. Another customer's is not hers."""
    await records.link_identity(way("second", upstream="mail"), [])
    for lookup in ("second", "first-c2"):
        await records.block_identity(lookup, "blocked", NOW)
    assert set(await records.blocked_of("c1")) == {"second"}
    assert not await records.remove_identity("first-c1", "c1", ABLE, NOW)
    await records.block_identity("second", None, NOW + TICK)
    assert set(await records.blocked_of("c1")) == set()
    assert await records.remove_identity("first-c1", "c1", ABLE, NOW)


async def test_nobody_takes_out_another_customers(records: Records) -> None:
    """Nor one that is not there."""
    await records.link_identity(way("second"), [])
    for lookup in ("second", "first-c1", "nothing"):
        assert not await records.remove_identity(lookup, "c2", ABLE, NOW)
    assert len(await records.identities_of("c1")) == 2


async def test_two_ways_taken_out_at_once_leave_one(records: Records) -> None:
    """Two tabs, each of which takes out the other's last way: one is refused."""
    for _ in range(5):
        await records.link_identity(way("second"), [])
        done = await asyncio.gather(
            *(records.remove_identity(lookup, "c1", ABLE, NOW) for lookup in ("first-c1", "second"))
        )
        assert sorted(done) == [False, True]
        (left,) = await records.identities_of("c1")
        await records.link_identity(way({"second": "first-c1"}.get(left.lookup, "second")), [])


async def test_a_removed_way_is_brought_back_once(records: Records) -> None:
    """As it was, within the time, and only by whoever had it."""
    await records.link_identity(way("second"), [])
    await records.remove_identity("second", "c1", ABLE, NOW)
    assert not await records.restore_identity("second", "c2", NOW - DAY)
    assert not await records.restore_identity("second", "c1", NOW)
    assert await records.restore_identity("second", "c1", NOW - TICK)
    assert not await records.restore_identity("second", "c1", NOW - TICK)
    assert (await records.identities_of("c1"))[-1] == way("second")
    assert await records.removed_of("c1", NOW - DAY) == []


async def test_what_became_somebody_elses_does_not_come_back(records: Records) -> None:
    """Its next login made a customer: both stay as they are."""
    await records.link_identity(way("second"), [])
    await records.remove_identity("second", "c1", ABLE, NOW)
    await records.find_or_create_customer(way("second", "c3"), Customer("c3", NOW, None))
    assert not await records.restore_identity("second", "c1", NOW - DAY)
    assert await records.customer_of("second") == "c3"


async def test_contacts_are_those_of_the_last_login(records: Records) -> None:
    """A changed address replaces the old one; where there is no identity nothing is kept."""
    await records.save_contacts("first-c1", [contact("d1", "first-c1"), contact("d2", "first-c1")])
    await records.save_contacts("first-c1", [contact("d3", "first-c1", NOW + DAY)])
    assert await records.find_contacts(["d1", "d2"]) == []
    assert await records.find_contacts(["d3"]) == [FoundContact("c1", "google", NOW + DAY)]
    await records.save_contacts("nothing", [contact("d4", "nothing")])
    assert await records.find_contacts(["d4"]) == []
    await records.save_contacts("first-c1", [])
    assert await records.contacts_of("c1") == []


async def test_two_customers_may_prove_one_contact(records: Records) -> None:
    """Then both are found, the latest proof first."""
    await records.save_contacts("first-c1", [contact("d1", "first-c1")])
    await records.save_contacts("first-c2", [contact("d1", "first-c2", NOW + DAY)])
    assert [each.customer for each in await records.find_contacts(["d1"])] == ["c2", "c1"]


async def test_removed_ways_are_swept_after_ninety_days(records: Records) -> None:
    """The exact moment included, and nothing earlier."""
    await records.link_identity(way("second"), [])
    await records.link_identity(replace(way("third"), upstream="mail"), [])
    await records.remove_identity("second", "c1", ABLE, NOW)
    await records.remove_identity("third", "c1", ABLE, NOW + TICK)
    assert (await records.sweep(NOW + 90 * DAY - TICK, 7, 100)).ways == 0
    assert (await records.sweep(NOW + 90 * DAY, 7, 100)).ways == 1
    assert [each.identity.lookup for each in await records.removed_of("c1", NOW - DAY)] == ["third"]
