"""The schema of the truth: one `MetaData`, on SQLite and PostgreSQL alike."""
