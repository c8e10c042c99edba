"""Short-lived secrets that keys make for browsers."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None
phase = "expand"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "client_secrets",
        sa.Column("hash", TEXT, nullable=False),
        sa.Column("tenant", TEXT, nullable=False),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("account", TEXT, nullable=False),
        sa.Column("key_id", TEXT, nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("models", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("hash"),
    )
    op.create_index("client_secrets_by_end", "client_secrets", ["expires_at"])


def downgrade() -> None:
    """Undo."""
    op.drop_table("client_secrets")
