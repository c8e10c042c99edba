"""A client of a response is a cursor on its log: read after the cursor, send, repeat."""

from collections.abc import AsyncGenerator, Sequence

from chatbackend.domain.errors import Conflict, Gone
from chatbackend.domain.responses import TERMINAL_EVENTS
from chatbackend.usecases.ports import EventLog, Extent, LogEvent

FROM_THE_START = -1
PAGE = 256


def check_cursor(extent: Extent | None, after: int) -> None:
    """Refuse a cursor that this log cannot serve exactly.

    Raises: Conflict `cursor_ahead` above the head, Gone `cursor_expired` below the floor.
    """
    if extent is None:
        raise Gone("The events of this response are no longer kept.", code="cursor_expired")
    if after >= extent.next and after != FROM_THE_START:
        message = f"starting_after is {after}, but the last event is number {extent.next - 1}."
        raise Conflict(message, param="starting_after", code="cursor_ahead")
    if after + 1 < extent.floor:
        message = f"The events before number {extent.floor} are no longer kept."
        raise Gone(message, param="starting_after", code="cursor_expired")


async def follow_response(
    log: EventLog, response_id: str, *, after: int = FROM_THE_START, idle_s: float = 10.0
) -> AsyncGenerator[Sequence[LogEvent], None]:
    """Yield events above `after` in order, in batches, up to and including the terminal one.

    Yields an empty batch when nothing came for `idle_s` seconds (time for a sign of life). Ends early when
    the stream is deleted.
    """
    while True:
        events = await log.read(response_id, after=after, limit=PAGE)
        if events:
            yield events
            after = events[-1].number
            if events[-1].type in TERMINAL_EVENTS:
                return
        elif not await log.moved(response_id, after=after, timeout_s=idle_s):
            yield ()
            if await log.extent(response_id) is None:
                return
        elif not await log.read(response_id, after=after, limit=1) and await log.extent(response_id) is None:
            return
