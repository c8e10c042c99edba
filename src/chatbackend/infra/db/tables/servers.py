"""The table of owners: which fences were given to which server, and until when each is held."""

from sqlalchemy import BigInteger, Column, Table

from chatbackend.infra.db.tables.schema import METADATA, integer, text

# A fence without a row, or whose lease is over by the database's clock, has no living owner.
SERVERS = Table(
    "servers",
    METADATA,
    Column("fence", BigInteger, primary_key=True, autoincrement=False),
    text("name"),  # of the process: it may hold several
    integer("lease_until"),
    integer("steady_since"),  # from when on the lease has been renewed in time, again and again
    text("log"),  # the identity of the event log, as this owner knew it to hold all that it had written
)
