"""Whose an answer under an Idempotency-Key is, until it has ended."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None
phase = "expand"

OWNED = sa.text("fence > 0")


def upgrade() -> None:
    """Apply. What is there is nobody's: its server was alone, and ends at its start what it finds without an end."""
    op.add_column("requests", sa.Column("fence", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_index("requests_owned", "requests", ["object_id"], sqlite_where=OWNED, postgresql_where=OWNED)


def downgrade() -> None:
    """Undo."""
    op.drop_index("requests_owned", "requests")
    op.drop_column("requests", "fence")
