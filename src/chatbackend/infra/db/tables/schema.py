"""The one `MetaData` and the column kinds that every table uses.

Times are whole microseconds since the epoch, UTC, as integers: no driver disagrees about those.
JSON is kept as the encoded bytes.
"""

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, Text

METADATA = MetaData()
MICROS = 1_000_000  # times are kept in microseconds
# Bytewise everywhere: ids and terms are ordered alike on both databases, whatever locale one was made with.
TEXT = Text().with_variant(Text(collation="C"), "postgresql")
BIG = BigInteger().with_variant(Integer, "sqlite")  # SQLite autoincrements INTEGER PRIMARY KEY only


def text(name: str, *, null: bool = False) -> "Column[str]":
    """Return a text column."""
    return Column(name, TEXT, nullable=null)


def integer(name: str, *, null: bool = False, default: str | None = None) -> "Column[int]":
    """Return a 64-bit integer column; `default` is the server's."""
    return Column(name, BigInteger, nullable=null, server_default=default)


def blob(name: str, *, null: bool = False) -> "Column[bytes]":
    """Return a bytes column."""
    return Column(name, LargeBinary, nullable=null)


def owned() -> "tuple[Column[str], Column[str]]":
    """Return the tenant and owner columns that every row carries."""
    return text("tenant"), text("owner")
