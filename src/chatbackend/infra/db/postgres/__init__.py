"""The truth on PostgreSQL (15 and later) over asyncpg."""

from chatbackend.infra.db.postgres.database import PostgresDatabase

__all__ = ["PostgresDatabase"]
