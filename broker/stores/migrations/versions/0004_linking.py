"""What proven contacts are found by, and ways in that were removed."""

import sqlalchemy as sa
from alembic import op

from broker.stores.tables import Moment

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "contacts",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("verified_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(["identity"], ["identities.lookup"], name="fk_contacts_identity", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("digest", "identity", name="pk_contacts"),
    )
    op.create_index("ix_contacts_identity", "contacts", ["identity"])
    op.create_table(
        "removed_identities",
        sa.Column("lookup", sa.Text(), nullable=False),
        sa.Column("customer", sa.Text(), nullable=False),
        sa.Column("upstream", sa.Text(), nullable=False),
        sa.Column("sealed_subject", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("last_used_at", Moment(), nullable=False),
        sa.Column("removed_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(["customer"], ["customers.id"], name="fk_removed_identities_customer"),
        sa.PrimaryKeyConstraint("lookup", "customer", name="pk_removed_identities"),
    )
    op.create_index("ix_removed_identities_customer", "removed_identities", ["customer"])
    op.create_index("ix_removed_identities_removed_at", "removed_identities", ["removed_at"])
