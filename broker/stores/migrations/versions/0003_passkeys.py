"""Passkeys."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "passkeys",
        sa.Column("lookup", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("counter", sa.BigInteger(), nullable=False),
        sa.Column("is_backed_up", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["lookup"], ["identities.lookup"], name="fk_passkeys_lookup", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("lookup", name="pk_passkeys"),
    )
