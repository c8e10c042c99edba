"""How long to wait for a store that is away: for ever, but never twice in the same instant."""

from collections.abc import Awaitable, Callable, Iterator
from itertools import chain, repeat
from typing import TypeVar

import anyio

from chatbackend.domain.errors import Gone, Unavailable
from chatbackend.usecases.ports import Fenced, Report

T = TypeVar("T")


def waits() -> Iterator[float]:
    """Return the seconds to wait between attempts, without an end."""
    return chain((0.05, 0.2, 1.0, 2.0), repeat(5.0))


async def recovered(
    step: Callable[[], Awaitable[T]], report: Report, *, waiting: str, failed: str, retry_s: float
) -> T | None:
    """Take a step of recovery until the store lets it happen: the others must not go without an end for one of them.

    None where somebody else has it, where it was deleted, and where it cannot be helped. `waiting` and `failed` are
    what is reported.
    """
    while True:
        try:
            return await step()
        except (Fenced, Gone):
            return None
        except Unavailable as error:
            report(waiting, error)
            await anyio.sleep(retry_s)
        except Exception as error:  # the edge of recovery: one that cannot be helped must not harm the others
            report(failed, error)
            return None
