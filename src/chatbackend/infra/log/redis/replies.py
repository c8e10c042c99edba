"""What our scripts and Redis' streams answer, as the port tells it."""

from typing import cast

from chatbackend.domain.errors import Gone
from chatbackend.usecases.ports import Behind, Fenced, LogEvent


def read(reply: object) -> tuple[bytes, *tuple[int, ...]]:
    """Return the word and the numbers of a script's reply."""
    word, *numbers = cast("list[bytes | int]", reply)
    return cast("bytes", word), *cast("list[int]", numbers)


def failure(reply: tuple[bytes, *tuple[int, ...]]) -> Exception:
    """Return the error that a script's reply stands for."""
    match reply:
        case b"behind", following:
            return Behind(following)
        case (b"gone",):
            return Gone("This response was deleted.")
        case (b"fenced",):
            return Fenced()
        case _:
            return AssertionError(f"a script answered {reply!r}")


def events(reply: object) -> list[LogEvent]:
    """Return the events of an XRANGE reply: `[[b"n-0", [b"t", type, b"d", data]], ...]`."""
    entries = cast("list[tuple[bytes, tuple[bytes, bytes, bytes, bytes]]]", reply)
    return [LogEvent(int(id_.partition(b"-")[0]) - 1, fields[1].decode(), fields[3]) for id_, fields in entries]
