"""How many turns a second the truth saves, by itself: `python bench/turns.py [--postgres URL]`.

A turn is three writes, each acknowledged only when it is committed and flushed: its beginning (the user's items and a
queued response), its call (the ledger row, before anybody is dialled) and its end (output, status, bill). Each is
measured alone, then all three one after the other, as a server does them; many callers at once, no sockets, no model.
The garbage collector comes round as seldom as in a server.
"""

import argparse
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from chatbackend.adapters.api import responses as shapes
from chatbackend.domain.identity import Principal
from chatbackend.domain.items import Message, OutputText
from chatbackend.domain.responses import COMPLETED, Ask, Response, end
from chatbackend.domain.usage import Settlement, Usage
from chatbackend.infra.db import migrate
from chatbackend.infra.db.postgres import PostgresDatabase, schema
from chatbackend.infra.db.responses import Responses
from chatbackend.infra.db.sqlite import SqliteDatabase
from chatbackend.infra.db.transaction import Database
from chatbackend.infra.system import Ids, SystemClock
from chatbackend.infra.web.server import settle_down
from chatbackend.usecases.ports import Call

CALLERS = 512
TURNS = 20_000
ME = Principal("bench", "bench", "bench", "key")
IDS = Ids()
TEXT = "Saved, with as many words as an answer of a moderate length has. " * 8


def turn() -> tuple[Response, Ask]:
    """Return a new response and what was asked."""
    asked = shapes.ask(shapes.read({"model": "m", "input": "What does it say about that?"}), IDS)
    response = Response(IDS("resp"), ME, asked.model, int(time.time()), shown=asked.shown)
    return response, asked


async def begin(truth: Responses, response: Response, asked: Ask) -> None:
    """Save a turn's beginning."""
    await truth.begin(response, asked, None)


async def call(truth: Responses, response: Response, _: Ask) -> None:
    """Save that a model is called."""
    await truth.start(response, Call(f"call_{response.id}", 1, "m", 10))


async def finish(truth: Responses, response: Response, _: Ask) -> None:
    """Save a turn's end."""
    response.output = [Message(IDS("msg"), "assistant", [OutputText(TEXT)])]
    response.usage = Usage(10, 100)
    end(response, COMPLETED, at=int(time.time()))
    saved = await truth.finish(
        response, Call(f"call_{response.id}", 1, "m", 10), Settlement(response.usage, "completed")
    )
    assert saved


async def whole(truth: Responses, response: Response, asked: Ask) -> None:
    """Save a turn."""
    for step in (begin, call, finish):
        await step(truth, response, asked)


Step = Callable[[Responses, Response, Ask], Awaitable[None]]


async def rate(truth: Responses, turns: list[tuple[Response, Ask]], step: Step) -> float:
    """Return how many of a step are saved a second."""
    waiting = iter(turns)

    async def caller() -> None:
        for response, asked in waiting:
            await step(truth, response, asked)

    began = time.perf_counter()
    async with anyio.create_task_group() as group:
        for _ in range(CALLERS):
            group.start_soon(caller)
    return len(turns) / (time.perf_counter() - began)


async def measure(name: str, database: Database, count: int) -> None:
    """Measure one database and print it."""
    truth = Responses(database, SystemClock())
    await rate(truth, [turn() for _ in range(2_000)], whole)  # statements are compiled, pages and plans are there
    turns = [turn() for _ in range(count)]
    found = {step.__name__: await rate(truth, turns, step) for step in (begin, call, finish)}
    found["whole"] = await rate(truth, [turn() for _ in range(count)], whole)
    print(f"{name:<24}" + "".join(f"  {key} {value:>8,.0f}/s" for key, value in found.items()), flush=True)


@asynccontextmanager
async def sqlite() -> AsyncGenerator[SqliteDatabase, None]:
    """Open a new SQLite truth, as the server does."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        path = Path(folder) / "truth.db"
        await anyio.to_thread.run_sync(migrate.migrate, path)
        async with SqliteDatabase(path, synchronous="FULL") as database:
            yield database


async def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgres", help="address of an empty database; its rows are left in it")
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--writers", type=int, default=0)
    parser.add_argument("--no-sqlite", action="store_true")
    given = parser.parse_args()
    settle_down()
    if not given.no_sqlite:
        async with sqlite() as database:
            await measure("SQLite, FULL", database, given.turns)
    if given.postgres:
        await anyio.to_thread.run_sync(schema.upgrade, given.postgres)
        for writers in [given.writers] if given.writers else (1, 2, 4):
            async with PostgresDatabase(given.postgres, writers=writers) as database:
                await measure(f"PostgreSQL, {writers} writers", database, given.turns)
        async with PostgresDatabase(given.postgres, writers=8, group_max=1) as database:
            await measure("one transaction each, 8", database, given.turns // 4)


if __name__ == "__main__":
    anyio.run(main, backend_options={"use_uvloop": True})
