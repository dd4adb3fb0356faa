"""One suite for every `Passkeys`: what a login by a passkey, and its owner, rely on."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from broker.stores.ports import Customer, LinkedIdentity, PasskeyRecord, Records
from broker.stores.sql import SqlRecords
from tests.changing import replace

NOW = datetime(2026, 11, 21, 12, 30, 15, 123456, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"migrated_{request.param}"))


@pytest.fixture
async def records(url: str) -> AsyncIterator[Records]:
    """Migrated; Maja and Karl are customers."""
    store = SqlRecords(url, timeout_s=30)
    for name in ("maja", "karl"):
        linked = LinkedIdentity(f"mail-{name}", name, "email", b"sealed", NOW, NOW)
        await store.find_or_create_customer(linked, Customer(name, NOW, b"profile"))
    yield store
    await store.close()


def passkey(name: str, owner: str = "maja", counter: int = 0) -> PasskeyRecord:
    linked = LinkedIdentity(name, owner, "passkey", b"\x00subject\xff", NOW, NOW)
    return PasskeyRecord(linked, b"\x00sealed\xff", counter, False)


async def test_a_passkey_is_kept_as_it_was_given(records: Records) -> None:
    """Found by its lookup and with its customer."""
    assert await records.add_passkey(passkey("p1", counter=2**32 - 1), 10)
    assert await records.get_passkey("p1") == passkey("p1", counter=2**32 - 1)
    assert list(await records.passkeys_of("maja")) == [passkey("p1", counter=2**32 - 1)]


async def test_an_unknown_passkey_is_a_miss(records: Records) -> None:
    """So is an identity that is no passkey."""
    assert await records.get_passkey("p1") is None
    assert await records.get_passkey("mail-maja") is None
    assert list(await records.passkeys_of("maja")) == []


async def test_passkeys_are_listed_oldest_first(records: Records) -> None:
    """And only those of this customer."""
    for name, days in (("p2", 2), ("p1", 1), ("p3", 3)):
        each = passkey(name)
        later = replace(each.identity, created_at=NOW + timedelta(days=days))
        await records.add_passkey(replace(each, identity=later), 10)
    await records.add_passkey(passkey("p4", "karl"), 10)
    assert [each.identity.lookup for each in await records.passkeys_of("maja")] == ["p1", "p2", "p3"]


async def test_a_passkey_leads_to_its_customer(records: Records) -> None:
    """As every linked identity does, with the subjects partners know her by."""
    await records.add_passkey(passkey("p1"), 10)
    await records.subject_for("maja", "shop.example", "subject-1", NOW)
    known = await records.known_customer("p1")
    assert known is not None
    assert (known.customer.id, known.is_new, known.subjects) == ("maja", False, {"shop.example": "subject-1"})


async def test_nobody_is_made_a_customer_by_looking(records: Records) -> None:
    """A lookup that nobody has stays unknown."""
    assert await records.known_customer("p1") is None
    assert await records.customer_of("p1") is None


async def test_a_passkey_of_nobody_is_not_kept(records: Records) -> None:
    """Whoever was erased meanwhile gets none."""
    assert not await records.add_passkey(passkey("p1", "erased"), 10)
    assert await records.get_passkey("p1") is None


async def test_nobody_takes_over_anothers_passkey(records: Records) -> None:
    """The first who has it keeps it; a linked identity is not turned into one either."""
    assert await records.add_passkey(passkey("p1"), 10)
    assert not await records.add_passkey(passkey("p1", "karl"), 10)
    assert not await records.add_passkey(passkey("mail-karl", "maja"), 10)
    found = await records.get_passkey("p1")
    assert found is not None
    assert found.identity.customer == "maja"
    assert await records.customer_of("mail-karl") == "karl"


async def test_no_more_than_allowed(records: Records) -> None:
    """The limit counts per customer, and makes room again."""
    assert await records.add_passkey(passkey("p1"), 2)
    assert await records.add_passkey(passkey("p2"), 2)
    assert not await records.add_passkey(passkey("p3"), 2)
    assert await records.add_passkey(passkey("p4", "karl"), 2)
    assert await records.remove_passkey("p1", "maja")
    assert await records.add_passkey(passkey("p3"), 2)


async def test_no_more_than_allowed_of_many_at_once(records: Records) -> None:
    """Many tabs do not squeeze one more in."""
    await asyncio.gather(*(records.add_passkey(passkey(f"p{n}"), 3) for n in range(8)))
    assert len(await records.passkeys_of("maja")) == 3


async def test_the_counter_moves_on_for_one_of_many(records: Records) -> None:
    """Two that come with the same counter at once are not both believed."""
    await records.add_passkey(passkey("p1", counter=4), 10)
    won = await asyncio.gather(*(records.count_passkey("p1", known=4, counter=5, is_backed_up=True) for _ in range(5)))
    assert sorted(won) == [False, False, False, False, True]
    found = await records.get_passkey("p1")
    assert found is not None
    assert (found.counter, found.is_backed_up) == (5, True)


async def test_what_is_sealed_is_changed_by_its_owner_only(records: Records) -> None:
    """Not by another customer who knows its lookup."""
    await records.add_passkey(passkey("p1"), 10)
    assert not await records.reseal_passkey("p1", "karl", b"his")
    assert await records.reseal_passkey("p1", "maja", b"hers")
    assert not await records.reseal_passkey("p2", "maja", b"hers")
    found = await records.get_passkey("p1")
    assert found is not None
    assert found.sealed == b"hers"


async def test_a_passkey_is_removed_by_its_owner_only_and_once(records: Records) -> None:
    """With the identity it was; other ways in are no passkeys and stay."""
    await records.add_passkey(passkey("p1"), 10)
    assert not await records.remove_passkey("p1", "karl")
    assert not await records.remove_passkey("mail-maja", "maja")
    gone = await asyncio.gather(*(records.remove_passkey("p1", "maja") for _ in range(3)))
    assert sorted(gone) == [False, False, True]
    assert await records.known_customer("p1") is None
    assert await records.customer_of("mail-maja") == "maja"
