"""Go along a route until somebody answers; and keep an answer within its time."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from math import inf
from typing import TypeVar

import anyio

from chatbackend.domain.errors import ChatError, UpstreamTimeout
from chatbackend.domain.routing import Journey, Step

T = TypeVar("T")
_TOO_LONG = "The provider's answer took too long."


async def travel(journey: Journey, dial: Callable[[Step], Awaitable[T]], now: Callable[[], float]) -> T:
    """Return the first answer that `dial` gets; `now` reads a monotonic clock.

    Raises: ChatError, once nobody is left to ask.
    """
    while True:
        step = journey.next(now())
        if step.wait_s:
            await anyio.sleep(step.wait_s)
        try:
            answer = await dial(step)
        except ChatError as error:
            journey.failed(step.deployment, error, now())
        else:
            journey.answered(step.deployment)
            return answer


def within(seconds: float) -> AbstractContextManager[object]:
    """Raise TimeoutError in what takes longer. Without an end this costs nothing."""
    return nullcontext() if seconds == inf else anyio.fail_after(seconds)


async def until(parts: AsyncGenerator[T, None], ends_at: float, gap_s: float = inf) -> AsyncGenerator[T, None]:
    """Yield parts. Raises: UpstreamTimeout when the loop's clock reads `ends_at`, or none has come for `gap_s`."""
    while True:
        left_s = ends_at - anyio.current_time()
        if left_s <= 0:  # looked at for every part: one that is there already is taken without a wait to cut short
            raise UpstreamTimeout(_TOO_LONG)
        try:
            with anyio.fail_after(min(gap_s, left_s)):
                part = await anext(parts)
        except TimeoutError as error:
            raise UpstreamTimeout(_TOO_LONG) from error
        except StopAsyncIteration:
            return
        yield part
