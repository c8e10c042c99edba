"""kill -9 between the acknowledgement of steering and its use: it is taken once, by one successor."""

import random
import sys
from pathlib import Path

import anyio
import anyio.to_thread
import openai
import pytest

from tests.support import sdk
from tests.support.raw_socket import raw_socket
from tests.support.sdk import TERMINAL
from tests.support.server import Server
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio
HERE = Path(__file__).parent
ESSAY = "n80-d10 essay"


async def steered(server: Server, *words: str) -> str:
    """Ask, steer, and return the response's id once all of it is acknowledged."""
    async with raw_socket(server) as socket:
        await socket.create("llama31/m", ESSAY)
        first = (await socket.until("response.output_text.delta"))[0]["response"]["id"]
        for word in words:
            await socket.send("response.steer", previous_response_id=first, input=word)
            await socket.first("response.steer.accepted")
    return first


async def started_again(server: Server) -> None:
    await anyio.to_thread.run_sync(server.kill)
    await anyio.to_thread.run_sync(server.start)


async def inputs_behind(client: openai.AsyncOpenAI, server: Server, first: str) -> tuple[str, list[str]]:
    """Return the successor of a response, as its followers get it, and what it was given."""
    async with raw_socket(server, [("resume", first)]) as socket:
        ends = [event["response"] for event in await socket.through(2) if event["type"] in TERMINAL]
    assert (ends[0]["id"], ends[1]["previous_response_id"]) == (first, first)
    items = await client.responses.input_items.list(ends[1]["id"], order="asc")
    return ends[1]["id"], [part.text for item in items.data for part in item.content]  # type: ignore[union-attr]


@pytest.mark.timeout(180)
async def test_accepted_input_outlives_a_kill_and_is_taken_once(tmp_path: Path) -> None:
    chance = random.Random(4)  # noqa: S311 - repeatable, not secret
    async with Upstream() as upstream:
        server = Server(tmp_path, {"LLAMA31_ENDPOINT": upstream.url})
        await anyio.to_thread.run_sync(server.start)
        try:
            async with sdk.async_client(server) as client:
                for _ in range(6):
                    first = await steered(server, "be brief", "n2-d0 now")
                    await anyio.sleep(chance.uniform(0, 1.2))  # the message ends, the successor begins: anywhere
                    await started_again(server)
                    taker, words = await inputs_behind(client, server, first)
                    assert words == ["be brief", "n2-d0 now"]
                    await started_again(server)
                    assert await inputs_behind(client, server, first) == (taker, words)
        finally:
            await anyio.to_thread.run_sync(server.stop)


async def test_a_kill_between_the_end_and_the_successor_loses_nothing(tmp_path: Path) -> None:
    program = (sys.executable, str(HERE / "no_successor.py"))
    async with Upstream() as upstream:
        settings = {"LLAMA31_ENDPOINT": upstream.url}
        server = Server(tmp_path, settings, program=program)
        await anyio.to_thread.run_sync(server.start)
        async with sdk.async_client(server) as client:
            first = await steered(server, "n1-d0 less")
            async with raw_socket(server, [("resume", first)]) as socket:
                await socket.through()
                again = Server(tmp_path, settings)
                again.key, again.port = server.key, server.port
            await anyio.to_thread.run_sync(server.kill)
            await anyio.to_thread.run_sync(again.start)
            try:
                assert (await inputs_behind(client, again, first))[1] == ["n1-d0 less"]
            finally:
                await anyio.to_thread.run_sync(again.stop)
