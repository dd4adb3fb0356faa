"""
The ways in of customers in SQL: adding one, taking it out, bringing it back, and what their contacts are found by.

Whoever changes the ways of a customer holds her row until it is done, so that of two tabs that take out her last two ways
one is refused.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.stores.engine import Database
from broker.stores.ports import ContactRecord, FoundContact, LinkedIdentity, RemovedIdentity
from broker.stores.tables import blocked_identities, contacts, customers, identities, removed_identities

_IDENTITY = tuple(LinkedIdentity.__struct_fields__)
_CONTACT = tuple(ContactRecord.__struct_fields__)

blocked_lookups = select(blocked_identities.c.lookup).where(blocked_identities.c.reason.is_not(None))
"""Of ways in by which nobody may log in, whoever's they are; a block that was lifted leaves a row without a reason."""


class SqlWays:
    """`broker.stores.ports.Ways`."""

    _database: Database

    async def link_identity(self, identity: LinkedIdentity, contacts_: Sequence[ContactRecord]) -> str:
        """See `Ways.link_identity`."""
        async with self._database.transaction() as connection:
            await _hold(connection, identity.customer)
            if not await self._insert_identity(connection, identity):
                owner = select(identities.c.customer).where(identities.c.lookup == identity.lookup)
                return str((await connection.execute(owner)).scalar_one())
            await connection.execute(delete(removed_identities).where(_removed(identity.lookup, identity.customer)))
            await _replace_contacts(connection, identity.lookup, contacts_)
            return identity.customer

    async def remove_identity(self, lookup: str, customer: str, able: Collection[str], at: datetime) -> bool:
        """See `Ways.remove_identity`."""
        others = select(identities.c.lookup).where(
            identities.c.customer == customer,
            identities.c.lookup != lookup,
            identities.c.upstream.in_(sorted(able)),
            identities.c.lookup.not_in(blocked_lookups),
        )
        hers = select(*_columns(identities)).where(identities.c.lookup == lookup, identities.c.customer == customer)
        async with self._database.transaction() as connection:
            await _hold(connection, customer)
            row = (await connection.execute(hers)).mappings().first()
            if row is None or (await connection.execute(others.limit(1))).first() is None:
                return False
            await connection.execute(delete(contacts).where(contacts.c.identity == lookup))
            await connection.execute(delete(identities).where(identities.c.lookup == lookup))
            await connection.execute(delete(removed_identities).where(_removed(lookup, customer)))
            await connection.execute(insert(removed_identities).values(**row, removed_at=at))
            return True

    async def restore_identity(self, lookup: str, customer: str, since: datetime) -> bool:
        """See `Ways.restore_identity`."""
        kept = select(*_columns(removed_identities)).where(
            _removed(lookup, customer), removed_identities.c.removed_at > since
        )
        async with self._database.transaction() as connection:
            await _hold(connection, customer)
            row = (await connection.execute(kept)).mappings().first()
            if row is None or not await self._insert_identity(connection, LinkedIdentity(**row)):
                return False
            await connection.execute(delete(removed_identities).where(_removed(lookup, customer)))
            return True

    async def remover_of(self, lookup: str) -> str | None:
        """See `Ways.remover_of`."""
        table = removed_identities
        query = select(table.c.customer).where(table.c.lookup == lookup).order_by(table.c.removed_at.desc()).limit(1)
        async with self._database.connection() as connection:
            return (await connection.execute(query)).scalar()

    async def removed_of(self, customer: str, since: datetime) -> Sequence[RemovedIdentity]:
        """See `Ways.removed_of`."""
        table = removed_identities
        query = (
            select(*_columns(table), table.c.removed_at)
            .where(table.c.customer == customer, table.c.removed_at > since)
            .order_by(table.c.removed_at.desc(), table.c.lookup)
        )
        async with self._database.connection() as connection:
            rows = (await connection.execute(query)).all()
        return [RemovedIdentity(LinkedIdentity(*row[:-1]), row[-1]) for row in rows]

    async def save_contacts(self, lookup: str, contacts_: Sequence[ContactRecord]) -> None:
        """See `Ways.save_contacts`."""
        known = select(identities.c.lookup).where(identities.c.lookup == lookup)
        async with self._database.transaction() as connection:
            # An identity that was taken out meanwhile has no contacts.
            if (await connection.execute(known)).first() is not None:
                await _replace_contacts(connection, lookup, contacts_)

    async def contacts_of(self, customer: str) -> Sequence[ContactRecord]:
        """See `Ways.contacts_of`."""
        query = (
            select(*(contacts.c[name] for name in _CONTACT))
            .join(identities, identities.c.lookup == contacts.c.identity)
            .where(identities.c.customer == customer)
            .order_by(contacts.c.verified_at.desc(), contacts.c.digest)
        )
        async with self._database.connection() as connection:
            return [ContactRecord(*row) for row in (await connection.execute(query)).all()]

    async def find_contacts(self, digests: Collection[str]) -> Sequence[FoundContact]:
        """See `Ways.find_contacts`."""
        query = (
            select(identities.c.customer, identities.c.upstream, contacts.c.verified_at)
            .join(identities, identities.c.lookup == contacts.c.identity)
            .where(contacts.c.digest.in_(sorted(digests)))
            .order_by(contacts.c.verified_at.desc(), identities.c.lookup)
        )
        async with self._database.connection() as connection:
            return [FoundContact(*row) for row in (await connection.execute(query)).all()]

    async def _insert_identity(self, connection: AsyncConnection, identity: LinkedIdentity) -> bool:
        dialect = postgresql if self._database.dialect == "postgresql" else sqlite
        row = {name: getattr(identity, name) for name in _IDENTITY}
        add = dialect.insert(identities).values(row).on_conflict_do_nothing(index_elements=["lookup"])
        return (await connection.execute(add)).rowcount > 0


async def _hold(connection: AsyncConnection, customer: str) -> None:
    """From here on nobody else changes the ways of *customer*, until the transaction ends."""
    same = update(customers).where(customers.c.id == customer).values(created_at=customers.c.created_at)
    await connection.execute(same)


async def _replace_contacts(connection: AsyncConnection, lookup: str, new: Sequence[ContactRecord]) -> None:
    await connection.execute(delete(contacts).where(contacts.c.identity == lookup))
    if new:
        rows = [{name: getattr(each, name) for name in _CONTACT} for each in new]
        await connection.execute(insert(contacts), rows)


def _columns(table: Any) -> list[Any]:
    return [table.c[name] for name in _IDENTITY]


def _removed(lookup: str, customer: str) -> Any:
    return (removed_identities.c.lookup == lookup) & (removed_identities.c.customer == customer)
