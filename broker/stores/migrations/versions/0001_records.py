"""The first tables. Revisions only go forward: what was erased on the way up cannot be brought back down."""

import sqlalchemy as sa
from alembic import op

from broker.stores.tables import Moment, Names

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("customer", sa.Text(), nullable=True),
        sa.Column("partner", sa.Text(), nullable=True),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_index("ix_audit_at", "audit", ["at"])
    op.create_index("ix_audit_customer_at", "audit", ["customer", "at"])
    op.create_table(
        "customers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("profile", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_customers"),
    )
    op.create_table(
        "consents",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("customer", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("granted", Names(), nullable=False),
        sa.Column("refused", Names(), nullable=False),
        sa.Column("remember", sa.Boolean(), nullable=False),
        sa.Column("policy_version", sa.Text(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("expires_at", Moment(), nullable=False),
        sa.Column("withdrawn_at", Moment(), nullable=True),
        sa.ForeignKeyConstraint(["customer"], ["customers.id"], name="fk_consents_customer"),
        sa.PrimaryKeyConstraint("id", name="pk_consents"),
    )
    op.create_index("ix_consents_customer_created_at", "consents", ["customer", "created_at"])
    op.create_index("ix_consents_expires_at", "consents", ["expires_at"])
    op.create_index("ix_consents_withdrawn_at", "consents", ["withdrawn_at"])
    op.create_table(
        "identities",
        sa.Column("lookup", sa.Text(), nullable=False),
        sa.Column("customer", sa.Text(), nullable=False),
        sa.Column("upstream", sa.Text(), nullable=False),
        sa.Column("sealed_subject", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("last_used_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(["customer"], ["customers.id"], name="fk_identities_customer"),
        sa.PrimaryKeyConstraint("lookup", name="pk_identities"),
    )
    op.create_index("ix_identities_customer", "identities", ["customer"])
    op.create_table(
        "proofs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("customer", sa.Text(), nullable=False),
        sa.Column("upstream", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("delete_after", Moment(), nullable=False),
        sa.ForeignKeyConstraint(["customer"], ["customers.id"], name="fk_proofs_customer"),
        sa.PrimaryKeyConstraint("id", name="pk_proofs"),
    )
    op.create_index("ix_proofs_customer", "proofs", ["customer"])
    op.create_index("ix_proofs_delete_after", "proofs", ["delete_after"])
    op.create_table(
        "subjects",
        sa.Column("sector", sa.Text(), nullable=False),
        sa.Column("customer", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(["customer"], ["customers.id"], name="fk_subjects_customer"),
        sa.PrimaryKeyConstraint("sector", "customer", name="pk_subjects"),
        sa.UniqueConstraint("sector", "subject", name="uq_subjects_sector_subject"),
    )
    op.create_index("ix_subjects_customer", "subjects", ["customer"])
    op.create_table(
        "transfers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("customer", sa.Text(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("consent", sa.Text(), nullable=True),
        sa.Column("fields", Names(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=True),
        sa.Column("payload_sha256", sa.Text(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("picked_up_at", Moment(), nullable=True),
        sa.Column("acknowledged_at", Moment(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["customer"], ["customers.id"], name="fk_transfers_customer"),
        sa.PrimaryKeyConstraint("id", name="pk_transfers"),
    )
    op.create_index("ix_transfers_customer_created_at", "transfers", ["customer", "created_at"])
    unswept = sa.text("payload IS NOT NULL")
    op.create_index("ix_transfers_unswept", "transfers", ["created_at"], sqlite_where=unswept, postgresql_where=unswept)
