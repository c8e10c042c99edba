"""Wishes that a response be cancelled, for whichever process runs it."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None
phase = "expand"

WISHED = sa.text("cancel_requested = 1 AND status IN ('queued', 'in_progress')")


def upgrade() -> None:
    """Apply."""
    op.add_column("responses", sa.Column("cancel_requested", sa.BigInteger(), server_default="0", nullable=False))
    op.create_index("responses_wished", "responses", ["id"], sqlite_where=WISHED, postgresql_where=WISHED)


def downgrade() -> None:
    """Undo."""
    op.drop_index("responses_wished", "responses")
    op.drop_column("responses", "cancel_requested")
