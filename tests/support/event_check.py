"""Every event that a server logged, held against the types of the `openai` package: part of stopping any server."""

import sqlite3
from contextlib import closing
from pathlib import Path

from chatbackend.domain.kept_answers import is_kept_answer
from tests.support.openai_types import checked_event

SHOWN = 5


def check_events(path: Path) -> int:
    """Check the events of an `events.db` and return how many there are. Raises: AssertionError showing bad ones."""
    if not path.exists():
        return 0
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as log:
        kept = log.execute("SELECT response_id, number, type, data FROM events").fetchall()
    rows = [row for row in kept if not is_kept_answer(row[0])]  # those are bytes of other dialects
    problems = [f"{row[0]} {row[1]}: {problem}" for row in rows if (problem := _problem(row[1], row[2], row[3]))]
    shown = "\n".join(problems[:SHOWN])
    assert not problems, f"{len(problems)} of {len(rows)} events do not fit the SDK's types:\n{shown}"
    return len(rows)


def _problem(number: int, kind: str, data: bytes) -> str:
    try:
        event = checked_event(data)
    except (ValueError, KeyError) as error:  # pydantic's and msgspec's errors are ValueErrors
        return f"{error}\n{data[:400]!r}"
    if (event["type"], event["sequence_number"]) != (kind, number):
        return f"logged as {kind} {number}\n{data[:400]!r}"
    return ""
