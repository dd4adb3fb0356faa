"""
Durable records in SQLite (embedded default) and PostgreSQL (production), through SQLAlchemy Core.

Adding a consent, transfer or proof again under the same id changes nothing, so that a caller may repeat
what got `StoreDown`.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Table,
    and_,
    bindparam,
    case,
    delete,
    insert,
    inspect,
    literal_column,
    null,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.functions import coalesce

from broker.stores import tables
from broker.stores.engine import Database
from broker.stores.outbox import NOTICES_KEPT, SqlOutbox
from broker.stores.passkeys import PASSKEY, SqlPasskeys
from broker.stores.ports import (
    GONE,
    AuditEvent,
    ConsentRecord,
    Customer,
    KnownCustomer,
    LinkedIdentity,
    ProofRecord,
    Swept,
    Transfer,
)
from broker.stores.ways import SqlWays, blocked_lookups

WAYS_KEPT = timedelta(days=90)
"""How long a removed way stays at most: longer than anybody may bring one back."""

CONSENTS_KEPT = timedelta(days=365)
"""How long an ended consent stays as evidence."""


class SqlRecords(SqlOutbox, SqlPasskeys, SqlWays):
    """`Records` in SQL. Arguments as `Database` describes them."""

    def __init__(self, url: str, *, timeout_s: float = 3.0, pool_size: int = 10, pgbouncer: bool = False) -> None:
        self._database = Database(url, timeout_s=timeout_s, pool_size=pool_size, pgbouncer=pgbouncer)
        self._behind = self._database.question(_BEHIND)
        self._owner = self._database.question(_OWNER)
        self._passkey = self._database.question(PASSKEY)
        self._told = self._database.question(_TOLD)
        self._agreed = self._database.question(_AGREED)
        upsert = _upsert_of_transfers(postgresql if self._database.dialect == "postgresql" else sqlite)
        self._save_transfers = self._database.rows(upsert, Transfer)
        self._add_audit = self._database.rows(insert(tables.audit), AuditEvent)

    async def find_or_create_customer(self, identity: LinkedIdentity, new: Customer) -> KnownCustomer:
        """See `Records.find_or_create_customer`."""
        if (found := await self._customer_behind(identity.lookup)) is not None:
            return found
        if await self._create_customer(identity, new):
            return KnownCustomer(new, identity, True, {})
        # Another first login was quicker between our look and our write; its rows are there now.
        if (found := await self._customer_behind(identity.lookup)) is None:
            raise self._database.down("identity neither found nor created")
        return found

    async def known_customer(self, lookup: str) -> KnownCustomer | None:
        """See `Records.known_customer`."""
        return await self._customer_behind(lookup)

    async def customer_of(self, lookup: str) -> str | None:
        """See `Records.customer_of`."""
        rows = await self._database.ask(self._owner, lookup=lookup)
        return str(rows[0][0]) if rows else None

    async def block_identity(self, lookup: str, reason: str | None, said_at: datetime) -> bool:
        """See `Records.block_identity`."""
        table = tables.blocked_identities
        dialect = postgresql if self._database.dialect == "postgresql" else sqlite
        said = dialect.insert(table).values(lookup=lookup, reason=reason, said_at=said_at)
        later = and_(table.c.said_at <= said.excluded.said_at, table.c.reason.is_distinct_from(GONE))
        saved = said.on_conflict_do_update(
            index_elements=["lookup"],
            set_={"reason": said.excluded.reason, "said_at": said.excluded.said_at},
            where=later,
        )
        async with self._database.connection() as connection:
            return await _changed(connection, saved) > 0

    async def blocked(self, lookup: str) -> str | None:
        """See `Records.blocked`."""
        table = tables.blocked_identities
        async with self._database.connection() as connection:
            return (await connection.execute(select(table.c.reason).where(table.c.lookup == lookup))).scalar()

    async def blocked_of(self, customer: str) -> Collection[str]:
        """See `Records.blocked_of`."""
        hers = tables.identities.c.lookup
        query = select(hers).where(tables.identities.c.customer == customer, hers.in_(blocked_lookups))
        async with self._database.connection() as connection:
            return frozenset((await connection.execute(query)).scalars())

    async def mark_used(self, lookup: str, at: datetime) -> None:
        """See `Records.mark_used`."""
        table = tables.identities
        async with self._database.connection() as connection:
            await connection.execute(update(table).where(table.c.lookup == lookup).values(last_used_at=at))

    async def get_customer(self, customer: str) -> Customer | None:
        """See `Records.get_customer`."""
        async with self._database.connection() as connection:
            return await _customer(connection, customer)

    async def save_profile(self, customer: str, profile: bytes) -> None:
        """See `Records.save_profile`."""
        table = tables.customers
        async with self._database.connection() as connection:
            await connection.execute(update(table).where(table.c.id == customer).values(profile=profile))

    async def identities_of(self, customer: str) -> Sequence[LinkedIdentity]:
        """See `Records.identities_of`; the oldest first."""
        table = tables.identities
        query = select(table).where(table.c.customer == customer).order_by(table.c.created_at, table.c.lookup)
        async with self._database.connection() as connection:
            return [LinkedIdentity(**row) for row in (await connection.execute(query)).mappings()]

    async def subject_for(self, customer: str, sector: str, new: str, now: datetime) -> str:
        """See `Records.subject_for`."""
        table = tables.subjects
        stored = select(table.c.subject).where(table.c.sector == sector, table.c.customer == customer)
        row = {"sector": sector, "customer": customer, "subject": new, "created_at": now}
        async with self._database.connection() as connection:
            if (subject := (await connection.execute(stored)).scalar()) is not None:
                return str(subject)
            await self._insert_once(connection, table, row, "sector", "customer")
            return str((await connection.execute(stored)).scalar_one())

    async def customer_of_subject(self, sector: str, subject: str) -> str | None:
        """See `Records.customer_of_subject`."""
        rows = await self._database.ask(self._told, sector=sector, subject=subject)
        return str(rows[0][0]) if rows else None

    async def add_consent(self, consent: ConsentRecord) -> None:
        """See `Records.add_consent`."""
        await self._add(tables.consents, consent)

    async def live_consents(self, customer: str, now: datetime) -> Sequence[ConsentRecord]:
        """See `Records.live_consents`."""
        rows = await self._database.ask(self._agreed, customer=customer, now=now)
        return [ConsentRecord(*row) for row in rows]

    async def get_consent(self, consent: str) -> ConsentRecord | None:
        """See `Records.get_consent`; also one that has ended."""
        query = select(tables.consents).where(tables.consents.c.id == consent)
        async with self._database.connection() as connection:
            row = (await connection.execute(query)).mappings().first()
        return None if row is None else ConsentRecord(**row)

    async def withdraw_consent(self, consent: str, customer: str, now: datetime) -> ConsentRecord | None:
        """See `Records.withdraw_consent`. Of several at once, one gets the record."""
        table = tables.consents
        withdraw = (
            update(table)
            .where(table.c.id == consent, table.c.customer == customer, *_live(now))
            .values(withdrawn_at=now)
            .returning(*table.c)
        )
        async with self._database.connection() as connection:
            row = (await connection.execute(withdraw)).mappings().first()
        return None if row is None else ConsentRecord(**row)

    async def save_transfers(self, transfers: Sequence[Transfer]) -> None:
        """See `Records.save_transfers`."""
        if transfers:
            async with self._database.transaction() as connection:
                await self._save_transfers.write(connection, transfers)

    async def revoke_transfers(self, ids: Sequence[str]) -> None:
        """See `Records.revoke_transfers`."""
        table = tables.transfers
        for start in range(0, len(ids), _IDS):
            some = table.c.id.in_(ids[start : start + _IDS])
            async with self._database.connection() as connection:
                await connection.execute(update(table).where(some).values(state=REVOKED, payload=None))

    async def transfers_of(self, customer: str, limit: int) -> Sequence[Transfer]:
        """See `Records.transfers_of`."""
        table = tables.transfers
        query = (
            select(table)
            .where(table.c.customer == customer)
            .order_by(table.c.created_at.desc(), table.c.id.desc())
            .limit(limit)
        )
        async with self._database.connection() as connection:
            return [Transfer(**row) for row in (await connection.execute(query)).mappings()]

    async def add_proof(self, proof: ProofRecord) -> None:
        """See `Records.add_proof`."""
        await self._add(tables.proofs, proof)

    async def add_audit(self, events: Sequence[AuditEvent]) -> None:
        """See `Records.add_audit`."""
        if events:
            async with self._database.transaction() as connection:
                await self._add_audit.write(connection, events)

    async def audit_of(self, customer: str, limit: int) -> Sequence[AuditEvent]:
        """See `Records.audit_of`."""
        table = tables.audit
        query = (
            select(*(column for column in table.c if column is not table.c.id))
            .where(table.c.customer == customer)
            .order_by(table.c.at.desc(), table.c.id.desc())
            .limit(limit)
        )
        async with self._database.connection() as connection:
            return [AuditEvent(**row) for row in (await connection.execute(query)).mappings()]

    async def sweep(self, now: datetime, payload_days: int, batch: int) -> Swept:
        """See `Records.sweep`."""
        transfers, consents, proofs = tables.transfers, tables.consents, tables.proofs
        picked, made = transfers.c.picked_up_at, transfers.c.created_at
        cutoff = now - timedelta(days=payload_days)
        stale = and_(
            transfers.c.payload.is_not(None),
            made <= cutoff,
            or_(picked.is_(None), picked <= cutoff),
        )
        ended = or_(
            consents.c.withdrawn_at <= now - CONSENTS_KEPT,
            consents.c.expires_at <= now - CONSENTS_KEPT,
        )
        notices = tables.outbox
        settled = notices.c.ended_at <= now - NOTICES_KEPT
        ways = tables.removed_identities
        left = ways.c.removed_at <= now - WAYS_KEPT
        some = ways.c.lookup.in_(select(ways.c.lookup).where(left).limit(batch))
        async with self._database.connection() as connection:
            return Swept(
                payloads=await _changed(
                    connection, update(transfers).where(_first(transfers, stale, batch)).values(payload=None)
                ),
                proofs=await _changed(
                    connection, delete(proofs).where(_first(proofs, proofs.c.delete_after <= now, batch))
                ),
                consents=await _changed(connection, delete(consents).where(_first(consents, ended, batch))),
                notices=await _changed(connection, delete(notices).where(_first(notices, settled, batch))),
                ways=await _changed(connection, delete(ways).where(some, left)),
            )

    async def schema_version(self) -> str | None:
        """See `Records.schema_version`."""
        async with self._database.connection() as connection:
            if not await connection.run_sync(lambda sync: inspect(sync).has_table("alembic_version")):
                return None
            return (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar()

    async def ping(self) -> None:
        """Return if the database answers and takes writes (a standby does not). Raises StoreDown."""
        postgres = self._database.dialect == "postgresql"
        ask = "SELECT current_setting('transaction_read_only')" if postgres else "SELECT 'off'"
        async with self._database.connection() as connection:
            if (await connection.execute(text(ask))).scalar() != "off":
                raise self._database.down("read-only")

    async def close(self) -> None:
        """Close the connections."""
        await self._database.close()

    async def _customer_behind(self, lookup: str) -> KnownCustomer | None:
        """Customer, identity and subjects in one statement, a row per subject; None when nobody has this lookup."""
        rows = await self._database.ask(self._behind, lookup=lookup)
        if not rows:
            return None
        identity, customer = rows[0][: len(_IDENTITY)], rows[0][len(_IDENTITY) : -3]
        subjects = {row[-2]: row[-1] for row in rows if row[-2] is not None}
        return KnownCustomer(Customer(*customer), LinkedIdentity(*identity), False, subjects, rows[0][-3])

    async def _create_customer(self, identity: LinkedIdentity, new: Customer) -> bool:
        """Store both or neither; False when somebody else has stored this lookup."""
        async with self._database.transaction() as connection:
            await connection.execute(insert(tables.customers).values(_columns(new)))
            won = await self._insert_once(connection, tables.identities, _columns(identity), "lookup")
            if not won:
                await connection.rollback()
            return won

    async def _add(self, table: Table, value: ConsentRecord | Transfer | ProofRecord) -> None:
        async with self._database.connection() as connection:
            await self._insert_once(connection, table, _columns(value), "id")

    async def _insert_once(self, connection: AsyncConnection, table: Table, row: dict[str, Any], *key: str) -> bool:
        """
        Insert unless a row with this key is there; waits for one that is just being written. True if
        inserted.
        """
        dialect = postgresql if self._database.dialect == "postgresql" else sqlite
        return (
            await _changed(
                connection, dialect.insert(table).values(row).on_conflict_do_nothing(index_elements=list(key))
            )
            > 0
        )


_IDENTITY = [tables.identities.c[name] for name in LinkedIdentity.__struct_fields__]
_CUSTOMER = [tables.customers.c[name] for name in Customer.__struct_fields__]

#: The one question of a login by somebody who was here before.
_BEHIND = (
    select(
        *_IDENTITY, *_CUSTOMER, tables.blocked_identities.c.reason, tables.subjects.c.sector, tables.subjects.c.subject
    )
    .join(tables.customers, tables.customers.c.id == tables.identities.c.customer)
    .outerjoin(tables.blocked_identities, tables.blocked_identities.c.lookup == tables.identities.c.lookup)
    .outerjoin(tables.subjects, tables.subjects.c.customer == tables.identities.c.customer)
    .where(tables.identities.c.lookup == bindparam("lookup"))
)


def _live(now: Any) -> tuple[ColumnElement[bool], ...]:
    """The conditions of consents that hold at *now*: an aware UTC time, or a bound parameter."""
    return tables.consents.c.withdrawn_at.is_(None), tables.consents.c.expires_at > now


#: What a login asks once more that counts only as long as its way in is there.
_OWNER = select(tables.identities.c.customer).where(tables.identities.c.lookup == bindparam("lookup"))

#: What a session asks the first time it needs a consent.
_AGREED = (
    select(*(tables.consents.c[name] for name in ConsentRecord.__struct_fields__))
    .where(tables.consents.c.customer == bindparam("customer"), *_live(bindparam("now")))
    .order_by(tables.consents.c.created_at.desc(), tables.consents.c.id.desc())
)


REVOKED = "revoked"
_STATES = ("started", "redeemed", "acknowledged", REVOKED)
_IDS = 500
"""As many ids a statement; databases bound the number of parameters."""


def _upsert_of_transfers(dialect: Any) -> Any:
    """Insert, or move on: see `Records.save_transfers`."""
    table = tables.transfers
    insertion = dialect.insert(table)
    new = insertion.excluded
    older, newer = _place(table.c.state), _place(new.state)
    # Two processes may each have heard another acknowledgement: the later one counts, whoever writes last.
    overtaken = new.acknowledged_at < table.c.acknowledged_at
    told = {
        name: case(
            (overtaken, table.c[name]),
            (new.acknowledged_at.is_not(None), new[name]),
            else_=coalesce(new[name], table.c[name]),
        )
        for name in ("acknowledged_at", "result", "reference")
    }
    return insertion.on_conflict_do_update(
        index_elements=["id"],
        set_={
            **told,
            "picked_up_at": coalesce(new.picked_up_at, table.c.picked_up_at),
            "state": case((newer >= older, new.state), else_=table.c.state),
            "payload": case((new.state == _written(REVOKED), null()), else_=table.c.payload),
        },
    )


#: To whom a partner's name for a customer was given.
_TOLD = select(tables.subjects.c.customer).where(
    tables.subjects.c.sector == bindparam("sector"), tables.subjects.c.subject == bindparam("subject")
)


def _place(state: ColumnElement[str]) -> ColumnElement[int]:
    """Where *state* stands among `_STATES`; nothing in it is bound, as `Rows` wants it."""
    places: list[tuple[ColumnElement[bool], ColumnElement[int]]] = [
        (state == _written(name), literal_column(str(index))) for index, name in enumerate(_STATES)
    ]
    return case(*places, else_=literal_column("-1"))


def _written(word: str) -> ColumnElement[str]:
    return literal_column(f"'{word}'")


def _columns(value: Any) -> dict[str, Any]:
    """A record as its row: the fields are named as the columns."""
    return {name: getattr(value, name) for name in value.__struct_fields__}


def _first(table: Table, condition: ColumnElement[bool], batch: int) -> ColumnElement[bool]:
    """
    At most *batch* rows that meet *condition*, and still do when written (another sweeper may be at
    work).
    """
    return and_(table.c.id.in_(select(table.c.id).where(condition).limit(batch)), condition)


async def _customer(connection: AsyncConnection, customer: str) -> Customer | None:
    query = select(tables.customers).where(tables.customers.c.id == customer)
    row = (await connection.execute(query)).mappings().first()
    return None if row is None else Customer(**row)


async def _changed(connection: AsyncConnection, statement: Any) -> int:
    """How many rows an insert, update or delete touched."""
    return (await connection.execute(statement)).rowcount
