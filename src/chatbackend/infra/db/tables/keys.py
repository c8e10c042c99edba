"""Tables of API keys, of the secrets they made for browsers, and of facts about the installation."""

from sqlalchemy import Column, Index, Table

from chatbackend.infra.db.tables.schema import METADATA, TEXT, blob, integer, owned, text

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

CLIENT_SECRETS = Table(
    "client_secrets",
    METADATA,
    Column("hash", TEXT, primary_key=True),  # SHA-256 of the whole secret, hex
    *owned(),
    text("account"),
    text("key_id"),  # of the key that made it
    integer("expires_at"),  # seconds
    blob("models", null=True),  # JSON: the names it may ask by; NULL: any
    blob("terms", null=True),  # JSON: what its realtime sessions are held to; NULL: nothing
)
Index("client_secrets_by_end", CLIENT_SECRETS.c.expires_at)

FACTS = Table("facts", METADATA, Column("name", TEXT, primary_key=True), text("value"))
