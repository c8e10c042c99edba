"""Bring a truth to the newest schema; make the event log's tables."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event

from chatbackend.infra.db.sqlite import BUSY_TIMEOUT_S
from chatbackend.infra.db.tables.events import EVENTS_METADATA

_SCRIPTS = Path(__file__).parent / "migrations"


def migrate(path: Path) -> None:
    """Apply every migration that the SQLite truth at `path` lacks; made when it is missing."""
    engine = _engine(path)
    with engine.begin() as connection:  # one transaction: a kill in the middle leaves what was there before
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    engine.dispose()


def pending(path: Path) -> list[str]:
    """Return the migrations that a truth lacks, oldest first."""
    script = ScriptDirectory.from_config(_config())
    engine = _engine(path)
    with engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    engine.dispose()
    known = [revision.revision for revision in script.walk_revisions()]
    return list(reversed(known if current is None else known[: known.index(current)]))


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
