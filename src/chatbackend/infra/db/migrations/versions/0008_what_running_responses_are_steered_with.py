"""Input that was accepted for responses while they ran."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None
phase = "expand"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "steers",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("tenant", TEXT, nullable=False),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("response_id", TEXT, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("lane", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("given", sa.LargeBinary(), nullable=False),
        sa.Column("successor_id", TEXT, nullable=True),
        sa.Column("failure", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("steers_by_response", "steers", ["response_id", "position"], unique=True)
    queued = sa.text("state = 'queued'")
    op.create_index("steers_queued", "steers", ["response_id"], sqlite_where=queued, postgresql_where=queued)


def downgrade() -> None:
    """Undo."""
    op.drop_table("steers")
