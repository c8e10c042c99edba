"""Recovery of responses on a stage, and what dead owners leave on it."""

from collections.abc import Sequence

import anyio

from chatbackend.adapters.api.response_events import ResponseEvents
from chatbackend.adapters.api.responses import read_stored
from chatbackend.domain.answer import Answer, AnswerEvent
from chatbackend.domain.events import Finished, ModelEvent, TextDelta
from chatbackend.domain.items import Item, text_of
from chatbackend.domain.responses import Response
from chatbackend.usecases.known_log import KnownLog
from chatbackend.usecases.ports import LastingLog
from chatbackend.usecases.recover_responses import RecoverResponses
from tests.support.fakes import Stage, Step
from tests.support.model_events import numbered

AGAIN: list[Step] = [TextDelta("again"), Finished("stop")]
EVENTS = ResponseEvents()


def recovery(on: Stage, *, log: LastingLog | None = None, known: KnownLog | None = None) -> RecoverResponses:
    return RecoverResponses(
        on.ports,
        on.run,
        read_stored,
        log=log or on.log,
        fences=on.fences,
        known=known or KnownLog(on.live),
        steers=on.truth.steers,
        succeed=on.succeed,
        live=on.live,
        turns=on.turns,
        spawn=on.spawn,
        retry_s=0.001,
    )


async def recovered(on: Stage, *, lost_tail: bool = False) -> None:
    """Recover, and wait until everything has settled."""
    if lost_tail:
        on.log.name = "another"
    await recovery(on)()
    with anyio.fail_after(10):
        await anyio.wait_all_tasks_blocked()
        for entry in on.live.all_running():
            await entry.done.wait()
        await anyio.wait_all_tasks_blocked()


async def logged(on: Stage, found: Response, *said: ModelEvent, begun: bool = True) -> None:
    """Write what a dead owner, whose fence was 0, had brought into the log."""
    await on.log.open(found.id, fence=0)
    answer = Answer(numbered())
    steps: list[AnswerEvent] = [step for event in said for step in answer.feed(event)]
    events = [EVENTS.lifecycle("response.created", found, 0)] if begun else []
    if said:
        events.append(EVENTS.lifecycle("response.in_progress", found, 1))
    for step in steps:
        events.append(EVENTS.step(step, len(events)))
    if events:
        await on.log.append(found.id, fence=0, expected=0, events=events, ended=False)


def truth(on: Stage, found: Response) -> Response:
    return on.truth.rows[found.id].response


def texts(items: Sequence[Item]) -> list[str]:
    return [text_of(item) for item in items]
