"""Titles, archiving, activity, search and a log of each conversation; what there was before is found too."""

import json
from collections.abc import Iterator
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

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_PAGE = 200


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
    _look_back()


def downgrade() -> None:
    """Undo."""
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


def _look_back() -> None:
    """Take the words and titles of what was said before this release."""
    connection = op.get_bind()
    add = sa.text("INSERT INTO conversation_words VALUES (:tenant, :owner, :conversation_id, :item_id, :words)")
    name = sa.text("UPDATE conversations SET derived_title = :title WHERE id = :id AND derived_title IS NULL")
    for row in _items(connection):
        body = json.loads(row["body"])
        said = _said(body)
        if not said:
            continue
        own = {key: row[key] for key in ("tenant", "owner", "conversation_id")}
        if found := words(said):
            connection.execute(add, {**own, "item_id": row["id"], "words": found})
        title = title_of([Message("", "user", [InputText(said)])]) if body["role"] == "user" else None
        if title:
            connection.execute(name, {"id": row["conversation_id"], "title": title})


def _items(connection: sa.Connection) -> Iterator[sa.RowMapping]:
    """Return all items of conversations in their order, a few at a time."""
    query = sa.text(
        "SELECT pk, turn, id, tenant, owner, conversation_id, body FROM items WHERE conversation_id IS NOT NULL"
        " AND (conversation_id > :name OR (conversation_id = :name AND"
        " (turn > :turn OR (turn = :turn AND pk > :pk)))) ORDER BY conversation_id, turn, pk LIMIT :page"
    )
    place: dict[str, Any] = {"name": "", "turn": 0, "pk": 0}
    while rows := connection.execute(query, {**place, "page": _PAGE}).mappings().all():
        yield from rows
        place = {"name": rows[-1]["conversation_id"], "turn": rows[-1]["turn"], "pk": rows[-1]["pk"]}


def _said(body: dict[str, Any]) -> str:
    """Return the text of a stored message, "" of any other item."""
    if body.get("type") != "message":
        return ""
    parts = [part.get("text", part.get("refusal")) for part in body["content"]]
    return "\n".join(part for part in parts if isinstance(part, str))
