"""Who owns what: servers with their leases, and the fence under which responses, calls and jobs are held."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None
phase = "expand"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
OWNED = ("responses", "ledger", "jobs")


def _whole(name: str) -> "sa.Column[int]":
    return sa.Column(name, sa.BigInteger(), nullable=False, server_default="0")


def upgrade() -> None:
    """Apply. What is there was owned by the one server, which knew in which boot of the machine its log was whole."""
    op.create_table(
        "servers",
        sa.Column("fence", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("lease_until", sa.BigInteger(), nullable=False),
        sa.Column("steady_since", sa.BigInteger(), nullable=False),
        sa.Column("log", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("fence"),
    )
    op.execute("INSERT INTO servers SELECT 0, 'earlier', 0, 0, value FROM facts WHERE name = 'boot'")
    for table in OWNED:
        op.add_column(table, _whole("fence"))
    op.add_column("responses", _whole("takeovers"))


def downgrade() -> None:
    """Undo."""
    op.drop_column("responses", "takeovers")
    for table in OWNED:
        op.drop_column(table, "fence")
    op.drop_table("servers")
