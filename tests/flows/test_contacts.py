"""Whose a contact is: of exactly one customer who has proven it, not too long ago, by a way that may vouch for it."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from broker.core.identity import ContactKind
from broker.flows.contacts import ContactsOnFile, contact_digest
from broker.stores.ports import ContactRecord
from tests.stage import Stage, open_stage

MAJA = "maja@example.com"


@pytest_asyncio.fixture
async def staged(stage_folder: Path) -> AsyncIterator[Stage]:
    async with open_stage(stage_folder) as stage:
        yield stage


async def proven(stage: Stage, who: str, way: str = "google", ago: timedelta = timedelta(), to: str = MAJA) -> str:
    """*who* has proven *to* by *way*; her internal id."""
    context = stage.broker.context
    await stage.shop_login(stage.browser(), way, who)
    lookup = context.lookup.digest(f"https://{way}.test", f"subject-of-{who}")
    customer = await stage.records.customer_of(lookup)
    assert customer is not None
    digest = contact_digest(context.lookup, ContactKind.EMAIL, to)
    await stage.records.save_contacts(lookup, [ContactRecord(digest, lookup, "email", b"", stage.clock() - ago)])
    return customer


async def owner(stage: Stage, address: str = MAJA, kind: ContactKind = ContactKind.EMAIL) -> str | None:
    return await ContactsOnFile(stage.broker.context).owner(kind, address)


async def test_of_one_customer_it_is_hers(staged: Stage) -> None:
    """By the address she proved, and by no other, nor by the same text as a number."""
    customer = await proven(staged, "maja")
    assert await owner(staged) == customer
    assert await owner(staged, "karl@example.org") is None
    assert await owner(staged, MAJA, ContactKind.PHONE) is None


async def test_of_two_customers_it_is_nobodys(staged: Stage) -> None:
    """Even if one of them proved it long ago."""
    await proven(staged, "maja", ago=timedelta(days=200))
    await proven(staged, "karl")
    assert await owner(staged) is None


@pytest.mark.parametrize(("days", "counts"), [(179, True), (180, False), (400, False)])
async def test_addresses_change_hands(staged: Stage, days: int, counts: bool) -> None:
    """What was proven longer ago than ``linking.contact_age`` is nobody's."""
    customer = await proven(staged, "maja", ago=timedelta(days=days))
    assert await owner(staged) == (customer if counts else None)


async def test_a_way_that_may_not_vouch_is_not_believed(staged: Stage) -> None:
    """An upstream that may not bootstrap other methods makes a contact nobody's."""
    await proven(staged, "maja", "bankid")
    assert await owner(staged) is None
