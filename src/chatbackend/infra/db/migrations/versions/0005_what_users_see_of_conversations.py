"""Titles, archiving, activity, search and a log of each conversation; what there was before is found too.

The index that goes made a list fast that is ordered otherwise now: the release before does without.
"""

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

from chatbackend.domain.conversations import title_of
from chatbackend.domain.finding import words
from chatbackend.domain.items import InputText, Message

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None
phase = "expand"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_PAGE = 200
_START = {"name": "", "turn": 0, "pk": 0}
_ADD = sa.text(
    "INSERT INTO conversation_words VALUES (:tenant, :owner, :conversation_id, :item_id, :words) ON CONFLICT DO NOTHING"
)
_NAME = sa.text("UPDATE conversations SET derived_title = :title WHERE id = :id AND derived_title IS NULL")


def upgrade() -> None:
    """Apply."""
    for column in (
        sa.Column("updated_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("archived", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("title", TEXT, nullable=True),
        sa.Column("derived_title", TEXT, nullable=True),
        sa.Column("branched_from", TEXT, nullable=True),
        sa.Column("next_event", sa.BigInteger(), server_default="0", nullable=False),
    ):
        op.add_column("conversations", column)
    op.execute("UPDATE conversations SET updated_at = created_at")
    op.drop_index("conversations_by_owner", table_name="conversations")
    op.create_index("conversations_by_activity", "conversations", ["tenant", "owner", "updated_at", "id"])
    _events()
    _words()


def downgrade() -> None:
    """Undo."""
    op.execute("DELETE FROM facts WHERE name = 'backfill 0005'")
    op.drop_table("conversation_words")
    op.drop_table("conversation_events")
    op.drop_index("conversations_by_activity", table_name="conversations")
    for name in ("next_event", "branched_from", "derived_title", "title", "archived", "updated_at"):
        op.drop_column("conversations", name)
    op.create_index("conversations_by_owner", "conversations", ["tenant", "owner", "created_at", "id"])


def _events() -> None:
    op.create_table(
        "conversation_events",
        sa.Column("conversation_id", TEXT, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("conversation_id", "number"),
        sqlite_with_rowid=False,
    )


def _words() -> None:
    op.create_table(
        "conversation_words",
        sa.Column("tenant", TEXT, nullable=False),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("conversation_id", TEXT, nullable=False),
        sa.Column("item_id", TEXT, nullable=False),
        sa.Column("words", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "owner", "conversation_id", "item_id"),
        sqlite_with_rowid=False,
    )


def backfill(connection: sa.Connection, place: str) -> str | None:
    """Take the words and titles of what was said before this release, a page of items from `place` on."""
    rows = _items(connection, json.loads(place) if place else _START)
    for row in rows:
        body = json.loads(row["body"])
        said = _said(body)
        if not said:
            continue
        own = {key: row[key] for key in ("tenant", "owner", "conversation_id")}
        if found := words(said):
            connection.execute(_ADD, {**own, "item_id": row["id"], "words": found})
        title = title_of([Message("", "user", [InputText(said)])]) if body["role"] == "user" else None
        if title:
            connection.execute(_NAME, {"id": row["conversation_id"], "title": title})
    if not rows:
        return None
    last = rows[-1]
    return json.dumps({"name": last["conversation_id"], "turn": last["turn"], "pk": last["pk"]})


def _items(connection: sa.Connection, place: dict[str, Any]) -> Sequence[sa.RowMapping]:
    """Return a page of the items of conversations, in their order."""
    query = sa.text(
        "SELECT pk, turn, id, tenant, owner, conversation_id, body FROM items WHERE conversation_id IS NOT NULL"
        " AND (conversation_id > :name OR (conversation_id = :name AND"
        " (turn > :turn OR (turn = :turn AND pk > :pk)))) ORDER BY conversation_id, turn, pk LIMIT :page"
    )
    return connection.execute(query, {**place, "page": _PAGE}).mappings().all()


def _said(body: dict[str, Any]) -> str:
    """Return the text of a stored message, "" of any other item."""
    if body.get("type") != "message":
        return ""
    parts = [part.get("text", part.get("refusal")) for part in body["content"]]
    return "\n".join(part for part in parts if isinstance(part, str))
