"""Alembic migrations of the truth, for SQLite and PostgreSQL from one schema."""
