"""
The outbox in SQL: a row for each thing a partner must be told.

Claiming moves ``due_at`` on in the same statement that finds the row, so that of many processes one gets it and a process
that dies leaves it to the others when that time has come. Settling compares ``attempts``, which each claim counts: who was
too slow and lost the row to somebody else changes nothing any more.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import and_, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from broker.core.notice import State
from broker.stores.engine import Database
from broker.stores.ports import Notice
from broker.stores.tables import outbox

NOTICES_KEPT = timedelta(days=30)
"""How long it stays known what became of a notice."""

_REVIVED = (State.PENDING, State.REFUSED, State.GIVEN_UP)


class SqlOutbox:
    """`broker.stores.ports.Outbox`."""

    _database: Database

    async def add_notices(self, notices: Sequence[Notice]) -> None:
        """See `Outbox.add_notices`."""
        if not notices:
            return
        dialect = postgresql if self._database.dialect == "postgresql" else sqlite
        rows = [{name: getattr(each, name) for name in Notice.__struct_fields__} for each in notices]
        add = dialect.insert(outbox).values(rows).on_conflict_do_nothing(index_elements=["id"])
        async with self._database.connection() as connection:
            await connection.execute(add)

    async def claim_notices(self, now: datetime, until: datetime, limit: int) -> Sequence[Notice]:
        """See `Outbox.claim_notices`."""
        due = and_(outbox.c.state == State.PENDING, outbox.c.due_at <= now)
        # Rows that another process is just claiming are passed over, not waited for. SQLite has one writer and ignores it.
        first = select(outbox.c.id).where(due).order_by(outbox.c.due_at).limit(limit).with_for_update(skip_locked=True)
        # As an expression of its own it is carried out once; PostgreSQL may repeat a subquery, and then takes too many.
        chosen = first.cte("chosen").prefix_with("MATERIALIZED", dialect="postgresql")
        claim = (
            update(outbox)
            .where(outbox.c.id.in_(select(chosen.c.id)), due)
            .values(due_at=until, attempts=outbox.c.attempts + 1)
            .returning(*outbox.c)
        )
        async with self._database.connection() as connection:
            return [Notice(**row) for row in (await connection.execute(claim)).mappings()]

    async def settle_notice(
        self, notice: Notice, *, state: str, result: str, due_at: datetime, ended_at: datetime | None
    ) -> bool:
        """See `Outbox.settle_notice`."""
        mine = and_(
            outbox.c.id == notice.id, outbox.c.attempts == notice.attempts, outbox.c.state == State.PENDING.value
        )
        changes = {"state": state, "result": result, "due_at": due_at, "ended_at": ended_at}
        if state == State.DELIVERED:
            changes["sealed"] = None
        async with self._database.connection() as connection:
            return (await connection.execute(update(outbox).where(mine).values(**changes))).rowcount > 0

    async def notices_of(self, batch: str) -> Sequence[Notice]:
        """See `Outbox.notices_of`."""
        query = select(outbox).where(outbox.c.batch == batch).order_by(outbox.c.partner)
        async with self._database.connection() as connection:
            return [Notice(**row) for row in (await connection.execute(query)).mappings()]

    async def list_notices(self, states: Sequence[str], partner: str | None, limit: int) -> Sequence[Notice]:
        """See `Outbox.list_notices`."""
        query = select(outbox).where(outbox.c.state.in_(states))
        if partner is not None:
            query = query.where(outbox.c.partner == partner)
        async with self._database.connection() as connection:
            rows = await connection.execute(query.order_by(outbox.c.created_at.desc(), outbox.c.id).limit(limit))
            return [Notice(**row) for row in rows.mappings()]

    async def revive_notices(
        self, now: datetime, give_up_at: datetime, *, partner: str | None = None, notice: str | None = None
    ) -> int:
        """See `Outbox.revive_notices`."""
        revive = update(outbox).where(outbox.c.state.in_(_REVIVED))
        if partner is not None:
            revive = revive.where(outbox.c.partner == partner)
        if notice is not None:
            revive = revive.where(outbox.c.id == notice)
        changed = revive.values(state=State.PENDING.value, due_at=now, give_up_at=give_up_at, ended_at=None)
        async with self._database.connection() as connection:
            return (await connection.execute(changed)).rowcount

    async def notices_waiting(self) -> tuple[int, datetime | None]:
        """See `Outbox.notices_waiting`."""
        query = select(func.count(), func.min(outbox.c.created_at)).where(outbox.c.state == State.PENDING)
        async with self._database.connection() as connection:
            count, oldest = (await connection.execute(query)).one()
        return count, oldest
