"""Indexes of conversations and of keys leave out the rows that have none: nobody looks for these there."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None
phase = "expand"

_INDEXES = (
    ("responses_by_conversation", "responses", ["conversation_id", "turn"], "conversation_id"),
    ("items_by_conversation", "items", ["conversation_id", "turn", "pk"], "conversation_id"),
    ("requests_by_key", "requests", ["tenant", "owner", "path", "key_hash"], "key_hash"),
)
_UNIQUE = "requests_by_key"


def upgrade() -> None:
    """Apply."""
    for name, table, columns, known in _INDEXES:
        where = sa.text(f"{known} IS NOT NULL")
        op.drop_index(name, table)
        op.create_index(name, table, columns, unique=name == _UNIQUE, sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    """Undo."""
    for name, table, columns, _ in _INDEXES:
        op.drop_index(name, table)
        op.create_index(name, table, columns, unique=name == _UNIQUE)
