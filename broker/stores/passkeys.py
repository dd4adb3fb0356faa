"""
Passkeys in SQL: each is a linked identity, with a row of its own for what only passkeys have.

So a login by one finds its customer as any other login does, and whatever becomes of the identity becomes of the passkey.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from broker.stores.engine import Database, Question
from broker.stores.ports import LinkedIdentity, PasskeyRecord
from broker.stores.tables import customers, identities, passkeys

_IDENTITY = tuple(LinkedIdentity.__struct_fields__)
_WHOLE = select(
    *(identities.c[name] for name in _IDENTITY), passkeys.c.sealed, passkeys.c.counter, passkeys.c.is_backed_up
).join(identities, identities.c.lookup == passkeys.c.lookup)

PASSKEY = _WHOLE.where(passkeys.c.lookup == bindparam("lookup"))
"""What a login by passkey asks first."""


class SqlPasskeys:
    """`broker.stores.ports.Passkeys`. ``_passkey``: `PASSKEY`."""

    _database: Database
    _passkey: Question

    async def add_passkey(self, passkey: PasskeyRecord, most: int) -> bool:
        """See `Passkeys.add_passkey`."""
        owner, lookup = passkey.identity.customer, passkey.identity.lookup
        held = (
            select(func.count())
            .select_from(passkeys)
            .join(identities, identities.c.lookup == passkeys.c.lookup)
            .where(identities.c.customer == owner)
        )
        dialect = postgresql if self._database.dialect == "postgresql" else sqlite
        row = {name: getattr(passkey.identity, name) for name in _IDENTITY}
        link = dialect.insert(identities).values(row).on_conflict_do_nothing(index_elements=["lookup"])
        # One at a time per customer, so that many at once do not all see room for one more. SQLite has one writer, and is
        # made to be it by a write that changes nothing.
        alone = update(customers).where(customers.c.id == owner).values(id=owner)
        async with self._database.transaction() as connection:
            is_there = (await connection.execute(alone)).rowcount > 0
            if not is_there or (await connection.execute(held)).scalar_one() >= most:
                return False
            if (await connection.execute(link)).rowcount == 0:
                return False
            kept = {name: getattr(passkey, name) for name in ("sealed", "counter", "is_backed_up")}
            await connection.execute(insert(passkeys).values(lookup=lookup, **kept))
            return True

    async def get_passkey(self, lookup: str) -> PasskeyRecord | None:
        """See `Passkeys.get_passkey`."""
        rows = await self._database.ask(self._passkey, lookup=lookup)
        return _record(rows[0]) if rows else None

    async def passkeys_of(self, customer: str) -> Sequence[PasskeyRecord]:
        """See `Passkeys.passkeys_of`."""
        query = _WHOLE.where(identities.c.customer == customer)
        query = query.order_by(identities.c.created_at, identities.c.lookup)
        async with self._database.connection() as connection:
            return [_record(row) for row in await connection.execute(query)]

    async def count_passkey(self, lookup: str, *, known: int, counter: int, is_backed_up: bool) -> bool:
        """See `Passkeys.count_passkey`."""
        is_it = (passkeys.c.lookup == lookup, passkeys.c.counter == known)
        count = update(passkeys).where(*is_it).values(counter=counter, is_backed_up=is_backed_up)
        async with self._database.connection() as connection:
            return (await connection.execute(count)).rowcount > 0

    async def reseal_passkey(self, lookup: str, customer: str, sealed: bytes) -> bool:
        """See `Passkeys.reseal_passkey`."""
        hers = select(identities.c.lookup).where(identities.c.lookup == lookup, identities.c.customer == customer)
        change = update(passkeys).where(passkeys.c.lookup.in_(hers)).values(sealed=sealed)
        async with self._database.connection() as connection:
            return (await connection.execute(change)).rowcount > 0

    async def remove_passkey(self, lookup: str, customer: str) -> bool:
        """See `Passkeys.remove_passkey`."""
        is_passkey = identities.c.lookup.in_(select(passkeys.c.lookup).where(passkeys.c.lookup == lookup))
        remove = delete(identities).where(is_passkey, identities.c.customer == customer)
        async with self._database.connection() as connection:
            return (await connection.execute(remove)).rowcount > 0


def _record(row: Any) -> PasskeyRecord:
    *identity, sealed, counter, is_backed_up = row
    return PasskeyRecord(LinkedIdentity(*identity), sealed, counter, is_backed_up)
