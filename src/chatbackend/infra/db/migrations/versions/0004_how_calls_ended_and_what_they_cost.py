"""How an upstream call ended, and what it cost."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None
phase = "expand"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Apply."""
    op.add_column("ledger", sa.Column("outcome", TEXT, nullable=True))
    op.add_column("ledger", sa.Column("cost_nano_usd", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Undo."""
    op.drop_column("ledger", "cost_nano_usd")
    op.drop_column("ledger", "outcome")
