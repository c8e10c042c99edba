"""What a session that is cut, or whose server is killed, leaves in the ledger."""

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from tests.integration.realtime.conftest import VENDOR_KEY
from tests.support.realtime_client import realtime
from tests.support.realtime_upstream import RealtimeUpstream
from tests.support.server import Server, serving

pytestmark = pytest.mark.anyio
GA = "/v1/realtime?model=openai/"
Row = tuple[object, ...]
WHOLE = ("settled", "completed", 11, 7, 0)


def rows(server: Server, model: str) -> list[Row]:
    with closing(sqlite3.connect(f"file:{server.data}/truth.db?mode=ro", uri=True)) as truth:
        asked = "SELECT status, outcome, input_tokens, output_tokens, estimated FROM ledger WHERE model = ?"
        return truth.execute(f"{asked} ORDER BY started_at, id", (f"openai/{model}",)).fetchall()


async def settled(server: Server, model: str, number: int) -> list[Row]:
    """Return the rows of a model, once there are so many and none is open."""
    with anyio.fail_after(10):
        while len(found := rows(server, model)) < number or any(row[0] == "started" for row in found):  # noqa: ASYNC110 - the server is another process
            await anyio.sleep(0.05)
    return found


async def test_a_session_cut_at_any_moment_leaves_a_settled_row_a_response(
    running: Server, provider: RealtimeUpstream
) -> None:
    """Also while the row is being written: the provider begins an answer, and the client is gone."""
    chance, model = random.Random(1), "realtime-cut-never"  # noqa: S311 - nothing is kept secret by it
    before = len(provider.sessions)

    async def one() -> None:
        async with realtime(running, f"{GA}{model}") as client:
            await client.recv()
            await client.send({"type": "response.create"})
            await anyio.sleep(chance.random() / 100)
            client.connection.transport.abort()

    async with anyio.create_task_group() as group:
        for _ in range(60):
            group.start_soon(one)
            await anyio.sleep(0.005)
    sessions = provider.sessions[before:]
    for session in sessions:
        await session.ended.wait()
    begun = sum(any(event["type"] == "response.create" for event in session.events) for session in sessions)
    assert begun > 30
    await settled(running, model, 1)
    await anyio.sleep(0.5)  # several times what a settled row takes to be written
    found = await settled(running, model, 1)
    assert 0 < len(found) <= begun
    assert {row[1] for row in found} == {"cancelled"}


async def test_a_kill_loses_at_most_the_response_that_runs(tmp_path: Path, provider: RealtimeUpstream) -> None:
    model, running_on = "realtime-killed", "realtime-killed-never"
    settings = {"OPENAI_ENDPOINT": provider.url, "OPENAI_API_KEY": VENDOR_KEY}
    async with serving(tmp_path, settings) as server:
        async with realtime(server, f"{GA}{model}") as whole, realtime(server, f"{GA}{running_on}") as cut:
            for _ in range(5):
                await whole.ask()
            await cut.send({"type": "response.create"})
            await cut.until("response.output_item.done")
            await anyio.to_thread.run_sync(server.kill)  # the last answer was whole a moment ago
            for client in (whole, cut):
                assert (await client.closed())[0] == 1006
        for session in provider.sessions[-2:]:
            with anyio.fail_after(5):
                await session.ended.wait()
        await anyio.to_thread.run_sync(server.start)
        assert await settled(server, model, 5) == [WHOLE] * 5
        [left] = await settled(server, running_on, 1)
        assert (left[0], left[1], left[4]) == ("settled", "interrupted", 1)
        async with realtime(server, f"{GA}{model}") as again:
            await again.ask()
        assert await settled(server, model, 6) == [WHOLE] * 6
