"""Tables of API keys and of facts about the installation."""

from sqlalchemy import Column, Table

from chatbackend.infra.db.tables.schema import METADATA, TEXT, integer, text

API_KEYS = Table(
    "api_keys",
    METADATA,
    Column("id", TEXT, primary_key=True),
    text("tenant"),
    text("account"),
    text("name"),
    Column("hash", TEXT, nullable=False, unique=True),  # SHA-256 of the whole token, hex
    integer("created_at"),
    integer("revoked_at", null=True),
)

FACTS = Table("facts", METADATA, Column("name", TEXT, primary_key=True), text("value"))
