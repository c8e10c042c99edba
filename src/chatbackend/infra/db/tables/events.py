"""Tables of the event log, in a database file of their own."""

from sqlalchemy import Column, Integer, LargeBinary, MetaData, Table, Text

EVENTS_METADATA = MetaData()

STREAMS = Table(
    "streams",
    EVENTS_METADATA,
    Column("response_id", Text, primary_key=True),
    Column("fence", Integer, nullable=False),
    Column("next", Integer, nullable=False),  # the number that the next event takes
    Column("ended_at", Integer),  # whole seconds; NULL until the terminal event is in
    sqlite_with_rowid=False,
)

EVENTS = Table(
    "events",
    EVENTS_METADATA,
    Column("response_id", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("type", Text, nullable=False),
    Column("data", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
