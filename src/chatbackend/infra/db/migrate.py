"""Bring a truth to the newest schema; make the event log's tables.

The functions that take a path are for SQLite; `upgrade` and `missing` are what both databases share.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event

from chatbackend.infra.db.sqlite import BUSY_TIMEOUT_S
from chatbackend.infra.db.tables.events import EVENTS_METADATA

_SCRIPTS = Path(__file__).parent / "migrations"


class NewerDatabase(Exception):
    """The database was migrated by a newer release; the message names the migration."""


def upgrade(connection: Connection) -> list[str]:
    """Apply what a database lacks, in the transaction that has begun, and return it. Raises: NewerDatabase."""
    lacking = missing(connection)
    if lacking:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return lacking


def missing(connection: Connection) -> list[str]:
    """Return the migrations that a database lacks, oldest first. Raises: NewerDatabase."""
    current = MigrationContext.configure(connection).get_current_revision()
    newest_first = [revision.revision for revision in ScriptDirectory.from_config(_config()).walk_revisions()]
    if current is not None and current not in newest_first:
        raise NewerDatabase(current)
    return list(reversed(newest_first if current is None else newest_first[: newest_first.index(current)]))


def migrate(path: Path) -> list[str]:
    """Apply every migration that the SQLite truth at `path` lacks, and return them; made when it is missing.

    Raises: NewerDatabase.
    """
    engine = _engine(path)
    try:
        with engine.begin() as connection:  # one transaction: a kill in the middle leaves what was there before
            return upgrade(connection)
    finally:
        engine.dispose()


def pending(path: Path) -> list[str]:
    """Return the migrations that a truth lacks, oldest first. Raises: NewerDatabase."""
    engine = _engine(path)
    try:
        with engine.connect() as connection:
            return missing(connection)
    finally:
        engine.dispose()


def make_event_log(path: Path) -> None:
    """Make the event log's tables where they are missing: it is a replaceable copy, without history of its own."""
    engine = _engine(path)
    EVENTS_METADATA.create_all(engine)
    engine.dispose()


def _engine(path: Path) -> Engine:
    """Return an engine whose transactions hold DDL too: the driver by itself begins none before it."""
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_TIMEOUT_S, "isolation_level": None})
    event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    return config
