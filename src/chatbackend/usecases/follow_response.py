"""A client of a response is a cursor on its log: read after the cursor, send, repeat."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence

from chatbackend.domain.errors import Conflict, Gone
from chatbackend.domain.identity import Principal
from chatbackend.domain.responses import TERMINAL_EVENTS, Response
from chatbackend.usecases.cancel_response import response_not_found
from chatbackend.usecases.live import Live
from chatbackend.usecases.ports import EventLog, Extent, LogEvent, Truth

FROM_THE_START = -1
PAGE = 256
Batches = AsyncGenerator[Sequence[LogEvent], None]


class FollowResponse:
    """Opens cursors. `idle_s`: after so many seconds without an event an empty batch says that we live."""

    def __init__(
        self, truth: Truth, live: Live, *, stored_log: EventLog, unstored_log: EventLog, idle_s: float = 10.0
    ) -> None:
        self._truth = truth
        self._live = live
        self._stored_log = stored_log
        self._unstored_log = unstored_log
        self._idle_s = idle_s

    async def __call__(
        self, principal: Principal, response_id: str, *, after: int = FROM_THE_START, known: Response | None = None
    ) -> Batches:
        """Return the events above `after` of a caller's own response, up to the terminal one.

        `known`: the response, where the caller has looked it up a moment ago.
        Raises: NotFound; Conflict `cursor_ahead`, Gone `cursor_expired` for a cursor that cannot be served exactly.
        """
        response = known or await self.find(principal, response_id)
        log = self._stored_log if response.store else self._unstored_log
        first = await log.read(response_id, after=after, limit=PAGE)
        if not first or first[0].number != after + 1:  # else the cursor is right: there is its next event
            extent = await log.extent(response_id)
            if extent is None and not response.ended:
                extent = Extent(0, 0, ended=False)  # its owner has not begun to write yet
            check_cursor(extent, after)
        return self._events(principal, response_id, store=response.store, after=after, first=first)

    async def find(self, principal: Principal, response_id: str) -> Response:
        """Return a caller's own response, stored or not. Raises: NotFound."""
        entry = self._live.unstored(principal, response_id)
        found = await self._truth.get(principal, response_id) if entry is None else entry.response
        if found is None:
            raise response_not_found(response_id)
        return found

    def begun(self, principal: Principal, response_id: str, *, store: bool) -> Batches:
        """Return the events of a response that this caller has created just now."""
        return self._events(principal, response_id, store=store, after=None)

    def _events(
        self,
        principal: Principal,
        response_id: str,
        *,
        store: bool,
        after: int | None,
        first: Sequence[LogEvent] = (),
    ) -> Batches:
        async def goes_on() -> bool:
            if store:
                found = await self._truth.get(principal, response_id)
                return found is not None and not found.ended
            return self._live.unstored(principal, response_id) is not None

        log = self._stored_log if store else self._unstored_log
        return follow(log, response_id, after=after, idle_s=self._idle_s, goes_on=goes_on, first=first)


def check_cursor(extent: Extent | None, after: int) -> None:
    """Refuse a cursor that this log cannot serve exactly. A log that lost all but its end serves that to everyone.

    Raises: Conflict `cursor_ahead` above the head, Gone `cursor_expired` below the floor.
    """
    if extent is None:
        raise Gone("The events of this response are no longer kept.", code="cursor_expired")
    if after >= extent.next and after != FROM_THE_START:
        message = f"starting_after is {after}, but the last event is number {extent.next - 1}."
        raise Conflict(message, param="starting_after", code="cursor_ahead")
    only_the_end = extent.ended and extent.floor == extent.next - 1  # the rest was lost: the one gap there may be
    if after + 1 < extent.floor and not only_the_end:
        message = f"The events before number {extent.floor} are no longer kept."
        raise Gone(message, param="starting_after", code="cursor_expired")


async def follow(
    log: EventLog,
    response_id: str,
    *,
    after: int | None,
    idle_s: float,
    goes_on: Callable[[], Awaitable[bool]],
    ends: Collection[str] = TERMINAL_EVENTS,
    first: Sequence[LogEvent] = (),
) -> Batches:
    """Yield events above `after` in order, in batches, up to and including the terminal one, whose type is in `ends`.

    `after` is None for a response that has only just begun: nothing is read before something was written. `first`: what
    was read behind it already.

    Yields an empty batch when nothing came for `idle_s` seconds. Ends early when the response is deleted, or has ended
    and its log is lost: `goes_on` is asked where the log knows nothing of it.
    """
    doubtful = after is not None  # nothing to read may mean that nothing will come
    if after is None:
        after = FROM_THE_START
        moved = await log.moved(response_id, after=after, timeout_s=idle_s)
        if not moved:
            yield ()
    while True:
        events, first = first or await log.read(response_id, after=after, limit=PAGE), ()
        if events:
            yield events
            after, doubtful = events[-1].number, False
            if events[-1].type in ends:
                return
            continue
        if doubtful and await _over(log, response_id, after, goes_on=goes_on):
            return
        doubtful = True
        moved = await log.moved(response_id, after=after, timeout_s=idle_s)
        if not moved:
            yield ()


async def _over(log: EventLog, response_id: str, after: int, *, goes_on: Callable[[], Awaitable[bool]]) -> bool:
    """Return whether nothing more will come: the end is behind the cursor, or nobody will tell it."""
    extent = await log.extent(response_id)
    if extent is None:
        return not await goes_on()
    return extent.ended and extent.next <= after + 1  # the end may have come since the cursor looked
