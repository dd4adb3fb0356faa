"""
The tables of the durable records, the same in SQLite and PostgreSQL.

Names and columns follow the frozen values of `ports.py`, so that a row becomes a value by its column
names. A change here needs a revision in ``migrations/versions``; a test compares the two. Texts have no
length here: what is too long is refused where it enters, in words, and not by a database at the end of a
login.
"""

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    literal_column,
)


class Moment(TypeDecorator[datetime]):
    """
    An aware UTC time: ``timestamptz`` in PostgreSQL, ISO text in UTC in SQLite, which has no time zones.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Raises ValueError for a naive time: nobody can tell which moment it means."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("times are aware UTC")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Names(TypeDecorator[tuple[str, ...]]):
    """An ordered tuple of names, as a JSON list."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: tuple[str, ...] | None, dialect: Dialect) -> str | None:
        return None if value is None else json.dumps(value, ensure_ascii=False)

    def process_result_value(self, value: Any, dialect: Dialect) -> tuple[str, ...] | None:
        return None if value is None else tuple(json.loads(value))


NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}

metadata = MetaData(naming_convention=NAMING)


def _customer(*, nullable: bool = False) -> Column[str]:
    return Column("customer", Text, ForeignKey("customers.id"), nullable=nullable)


customers = Table(
    "customers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("created_at", Moment, nullable=False),
    Column("profile", LargeBinary),
)

identities = Table(
    "identities",
    metadata,
    Column("lookup", Text, primary_key=True),
    _customer(),
    Column("upstream", Text, nullable=False),
    Column("sealed_subject", LargeBinary, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("last_used_at", Moment, nullable=False),
    Index(None, "customer"),
)

# What a linked identity has besides when it is a passkey; whose it is and when it was used stands there.
passkeys = Table(
    "passkeys",
    metadata,
    Column("lookup", Text, ForeignKey("identities.lookup", ondelete="CASCADE"), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("counter", BigInteger, nullable=False),
    Column("is_backed_up", Boolean, nullable=False),
)

# What proven contacts are found by: a keyed digest, so that the table alone tells nobody's address.
contacts = Table(
    "contacts",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("identity", Text, ForeignKey("identities.lookup", ondelete="CASCADE"), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("verified_at", Moment, nullable=False),
    Index(None, "identity"),
)

# Ways in that customers took out, as long as they may bring them back.
removed_identities = Table(
    "removed_identities",
    metadata,
    Column("lookup", Text, primary_key=True),
    Column("customer", Text, ForeignKey("customers.id"), primary_key=True),
    Column("upstream", Text, nullable=False),
    Column("sealed_subject", LargeBinary, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("last_used_at", Moment, nullable=False),
    Column("removed_at", Moment, nullable=False),
    Index(None, "customer"),
    Index(None, "removed_at"),
)

# What a provider's server said of one of its accounts: reason None once it may log in again. Whoever's it is or was.
blocked_identities = Table(
    "blocked_identities",
    metadata,
    Column("lookup", Text, primary_key=True),
    Column("reason", Text),
    Column("said_at", Moment, nullable=False),
)

subjects = Table(
    "subjects",
    metadata,
    Column("sector", Text, primary_key=True),
    Column("customer", Text, ForeignKey("customers.id"), primary_key=True),
    Column("subject", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    UniqueConstraint("sector", "subject"),
    Index(None, "customer"),
)

consents = Table(
    "consents",
    metadata,
    Column("id", Text, primary_key=True),
    _customer(),
    Column("source", Text),
    Column("recipient", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("granted", Names, nullable=False),
    Column("refused", Names, nullable=False),
    Column("remember", Boolean, nullable=False),
    Column("policy_version", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("withdrawn_at", Moment),
    Index(None, "customer", "created_at"),
    Index(None, "expires_at"),
    Index(None, "withdrawn_at"),
)

transfers = Table(
    "transfers",
    metadata,
    Column("id", Text, primary_key=True),
    _customer(nullable=True),
    Column("source", Text, nullable=False),
    Column("recipient", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("state", Text, nullable=False),
    # The receipt outlives the consent it rests on, so this is no foreign key.
    Column("consent", Text),
    Column("fields", Names, nullable=False),
    Column("payload", LargeBinary),
    Column("payload_sha256", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("picked_up_at", Moment),
    Column("acknowledged_at", Moment),
    Column("result", Text),
    Column("reference", Text),
    Index(None, "customer", "created_at"),
)

# Sweeping looks only at what still holds data, however long the history grows.
Index(
    "ix_transfers_unswept",
    transfers.c.created_at,
    sqlite_where=transfers.c.payload.is_not(None),
    postgresql_where=transfers.c.payload.is_not(None),
)

audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("at", Moment, nullable=False),
    Column("action", Text, nullable=False),
    Column("reference", Text, nullable=False),
    # No foreign key: the trail stays when a customer is erased.
    Column("customer", Text),
    Column("partner", Text),
    Column("facts", Text, nullable=False),
    Index(None, "customer", "at"),
    Index(None, "at"),
)

proofs = Table(
    "proofs",
    metadata,
    Column("id", Text, primary_key=True),
    _customer(),
    Column("upstream", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("delete_after", Moment, nullable=False),
    Index(None, "customer"),
    Index(None, "delete_after"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("batch", Text, nullable=False),
    Column("partner", Text, nullable=False),
    # No foreign key: an erased customer's partners are told all the same.
    Column("customer", Text),
    Column("sealed", LargeBinary),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("due_at", Moment, nullable=False),
    Column("give_up_at", Moment, nullable=False),
    Column("ended_at", Moment),
    Column("result", Text),
    Index(None, "batch"),
    Index(None, "ended_at"),
)

# Looking for work costs the same however much was done before.
Index(
    "ix_outbox_pending",
    outbox.c.due_at,
    sqlite_where=outbox.c.state == literal_column("'pending'"),
    postgresql_where=outbox.c.state == literal_column("'pending'"),
)
