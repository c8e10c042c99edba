"""Bring a truth to the newest schema; make the event log's tables.

Each migration says its `phase`. One that expands leaves what the release before it uses, so that both can run on the
database; one that contracts takes it away, and is applied only where that is asked for. A `backfill` of a migration
fills in what was there before, a batch a transaction, with its place kept in `facts`.

The functions that take a path are for SQLite; those that take a connection are what both databases share.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Literal

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, bindparam, create_engine, delete, event, insert, select

from chatbackend.infra.db.sqlite import BUSY_TIMEOUT_S
from chatbackend.infra.db.tables.events import EVENTS_METADATA
from chatbackend.infra.db.tables.keys import FACTS

Phase = Literal["expand", "contract"]
Step = Callable[
    [Connection, str], str | None
]  # does a batch from a place ("" at first); the next place, None at the end
SCRIPTS = Path(__file__).parent / "migrations"
CONTRACTED = "contracted"  # the fact that names the last contracting migration
_DONE = "done"

_FACT = select(FACTS.c.value).where(FACTS.c.name == bindparam("name"))
_FORGET = delete(FACTS).where(FACTS.c.name == bindparam("name"))
_KEEP = insert(FACTS)


class NewerDatabase(Exception):
    """A newer release took away what this one uses; the message names the migration."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One migration: its revision, whether it contracts, how it fills in what was there before."""

    revision: str
    phase: Phase
    backfill: Step | None


@cache
def chain(scripts: Path = SCRIPTS) -> tuple[Migration, ...]:
    """Return every migration, oldest first."""
    found = ScriptDirectory.from_config(_config(scripts)).walk_revisions()
    return tuple(
        Migration(script.revision, script.module.phase, getattr(script.module, "backfill", None))
        for script in reversed(list(found))
    )


def missing(connection: Connection, scripts: Path = SCRIPTS) -> list[Migration]:
    """Return the migrations that a database lacks, oldest first.

    None of one that newer releases have only expanded. Raises: NewerDatabase for one that they have contracted.
    """
    current = MigrationContext.configure(connection).get_current_revision()
    known = chain(scripts)
    names = [migration.revision for migration in known]
    if current is None:
        return list(known)
    if current in names:
        return list(known[names.index(current) + 1 :])
    contracted = _fact(connection, CONTRACTED)
    if contracted is not None and contracted not in names:
        raise NewerDatabase(contracted)
    return []


def needed(lacking: Sequence[Migration]) -> list[str]:
    """Return those of what is lacking that this release cannot do without: all but contracting ones at the end."""
    last = max((at for at, migration in enumerate(lacking) if migration.phase == "expand"), default=-1)
    return [migration.revision for migration in lacking[: last + 1]]


def advance(connection: Connection, *, contract: bool, scripts: Path = SCRIPTS) -> list[str] | None:
    """Do the next part of migrating in the transaction that has begun; return what was applied, None at the end.

    A part is all that expands, a batch of a backfill, or one migration that contracts: with `contract`, and in a new
    database, which no other release uses. Call it until it returns None. Raises: NewerDatabase.
    """
    lacking = missing(connection, scripts)
    new = len(lacking) == len(chain(scripts))
    part = lacking if new else list(takewhile(lambda migration: migration.phase == "expand", lacking))
    if not part and _fill_in(connection, lacking, scripts):
        return []
    if not part and contract:
        part = lacking[:1]
    if not part:
        return None
    _apply(connection, part, scripts)
    return [migration.revision for migration in part]


def _apply(connection: Connection, part: Sequence[Migration], scripts: Path) -> None:
    config = _config(scripts)
    config.attributes["connection"] = connection
    command.upgrade(config, part[-1].revision)
    contracting = [migration.revision for migration in part if migration.phase == "contract"]
    if contracting:
        _keep(connection, CONTRACTED, contracting[-1])


def _fill_in(connection: Connection, lacking: Sequence[Migration], scripts: Path) -> bool:
    """Do a batch of the first backfill that is not done; return whether there was one."""
    for migration in chain(scripts):
        if migration.backfill is None or migration in lacking:
            continue
        name = f"backfill {migration.revision}"
        place = _fact(connection, name)
        if place != _DONE:
            _keep(connection, name, migration.backfill(connection, place or "") or _DONE)
            return True
    return False


def _fact(connection: Connection, name: str) -> str | None:
    return connection.execute(_FACT, {"name": name}).scalar()


def _keep(connection: Connection, name: str, value: str) -> None:
    connection.execute(_FORGET, {"name": name})
    connection.execute(_KEEP, {"name": name, "value": value})


def migrate(path: Path, *, contract: bool = False, scripts: Path = SCRIPTS) -> list[str]:
    """Apply what the SQLite truth at `path` lacks, and return it; made when it is missing. See `advance`.

    Raises: NewerDatabase.
    """
    engine, applied = _engine(path), list[str]()
    try:
        while True:
            with engine.begin() as connection:  # a kill in the middle leaves what was there before
                part = advance(connection, contract=contract, scripts=scripts)
            if part is None:
                return applied
            applied += part
    finally:
        engine.dispose()


def look(path: Path, scripts: Path = SCRIPTS) -> list[Migration]:
    """Return the migrations that a SQLite truth lacks, oldest first. Raises: NewerDatabase."""
    engine = _engine(path)
    try:
        with engine.connect() as connection:
            return missing(connection, scripts)
    finally:
        engine.dispose()


def pending(path: Path, scripts: Path = SCRIPTS) -> list[str]:
    """Return what this release needs and a SQLite truth lacks, oldest first. Raises: NewerDatabase."""
    return needed(look(path, scripts))


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


def _config(scripts: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(scripts))
    return config
