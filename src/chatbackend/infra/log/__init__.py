"""Event logs: the numbered events of a response, in memory, SQLite or Redis."""
