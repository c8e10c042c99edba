"""The server with one bug planted, to show that the checker sees it: `python tests/faults/planted.py BUG serve`."""

# Planting a bug means reaching into privates and replacing methods: pyright is told so for this file alone.
# pyright: reportPrivateUsage=false, reportAttributeAccessIssue=false, reportArgumentType=false

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import anyio

from chatbackend import cli
from chatbackend.domain.identity import Principal
from chatbackend.domain.responses import Ask, Outcome, Response
from chatbackend.domain.usage import Usage
from chatbackend.infra.db import requests
from chatbackend.infra.db.spool import Spool
from chatbackend.infra.db.transaction import Transaction
from chatbackend.infra.log.unwritten import Unwritten
from chatbackend.usecases import create_response, recover_responses, run_response
from chatbackend.usecases.journal import Journal
from chatbackend.usecases.ports import Begun, Call, LogEvent, Once, Orphan, Truth

PLANTED = Path(__file__)
WINDOW_S = 0.1  # how wide the gap between two steps is made, so that few kills hit it


def emit_before_append() -> None:
    """Show events to readers first and write them a little later."""
    keep = Unwritten.keep

    def later(unwritten: Unwritten, stream: str, events: Sequence[LogEvent], ended_at: int | None) -> bool:
        asyncio.get_running_loop().call_later(WINDOW_S, keep, unwritten, stream, events, ended_at)
        return True

    Unwritten.keep = later


def no_idempotency() -> None:
    """Make a new response for a request that was made before."""

    async def never(tx: Transaction, principal: Principal, once: Once | None, *, now: int) -> str | None:
        return None

    async def forgotten(tx: Transaction, principal: Principal, once: Once | None, *, object_id: str, now: int) -> None:
        return None

    requests.find, requests.add = never, forgotten


def splice() -> None:
    """Go on with a second generation where the first was cut."""
    recover_responses._BEFORE_OUTPUT = _Everything()
    take_over = recover_responses.RecoverResponses._take_over

    async def again(
        recover: recover_responses.RecoverResponses, orphan: Orphan, found: recover_responses._Found
    ) -> bool:
        return await take_over(recover, replace(orphan, attempts=1, takeovers=1), found)

    recover_responses.RecoverResponses._take_over = again


def gap() -> None:
    """Leave a number out."""
    add = Journal._add

    def skipping(journal: Journal, event: LogEvent) -> None:
        add(journal, event)
        journal._next += event.number == 10

    Journal._add = skipping


def end_before_commit() -> None:
    """Append the terminal event before the truth is committed."""
    save = run_response._Run.save

    async def early(run: run_response._Run, outcome: Outcome) -> None:
        truth, journal = run._ports.truth, run._journal
        append = journal.end

        async def finish(response: Response, call: Call | None, usage: Usage | None) -> bool:
            await append(response.terminal_event)
            await anyio.sleep(WINDOW_S)
            return await truth.finish(response, call, usage)

        async def appended(kind: str, *, number: int | None = None) -> None:
            return None

        run._ports = replace(run._ports, truth=_With(truth, finish))
        journal.end = appended
        await save(run, outcome)

    run_response._Run.save = early


def answer_before_commit() -> None:
    """Begin the answer to a create before it is committed, at the first attempt of each key."""
    begin, answered = create_response.CreateResponse._begin, Path("answered")  # outlives a kill

    async def early(create: create_response.CreateResponse, response: Response, ask: Ask, once: Once | None) -> Begun:
        async def late() -> None:
            await anyio.sleep(WINDOW_S)
            await begin(create, response, ask, once)

        mark = f"{once.key}\n" if once else ""
        answered.touch()
        if mark in answered.read_text():
            return await begin(create, response, ask, once)
        with answered.open("a") as file:
            file.write(mark)
        create._spawn(late, name="late")
        return Begun(response.id, fresh=True)

    create_response.CreateResponse._begin = early


def wipe_before_write() -> None:
    """Forget the calls of a spool before they are in the database."""

    def forget(spool: Spool) -> int | None:
        half = turn(spool)
        if half is not None:
            free(spool, half)
        return half

    turn, free = Spool.turn, Spool.free
    Spool.turn = forget


class _With:
    """A truth with another `finish`."""

    def __init__(self, truth: Truth, finish: Callable[..., object]) -> None:
        self._truth = truth
        self.finish = finish

    def __getattr__(self, name: str) -> object:
        return getattr(self._truth, name)


class _Everything:
    def __contains__(self, kind: str) -> bool:
        return True


BUGS: dict[str, Callable[[], None]] = {
    "emit-before-append": emit_before_append,
    "no-idempotency": no_idempotency,
    "splice": splice,
    "gap": gap,
    "end-before-commit": end_before_commit,
    "answer-before-commit": answer_before_commit,
    "wipe-before-write": wipe_before_write,
}

if __name__ == "__main__":
    BUGS[sys.argv.pop(1)]()
    cli.app()
