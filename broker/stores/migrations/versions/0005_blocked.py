"""What providers' servers say of accounts: which may not log in."""

import sqlalchemy as sa
from alembic import op

from broker.stores.tables import Moment

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "blocked_identities",
        sa.Column("lookup", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("said_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("lookup", name="pk_blocked_identities"),
    )
