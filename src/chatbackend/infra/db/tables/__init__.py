"""The schema of the truth: one `MetaData`, on SQLite and PostgreSQL alike."""

from chatbackend.infra.db.tables import files, keys, responses, servers
from chatbackend.infra.db.tables.schema import METADATA

__all__ = ["METADATA", "files", "keys", "responses", "servers"]
