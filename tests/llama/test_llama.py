"""Our server over a real llama.cpp with tiny random models: what it says is chance, how it is carried is not."""

import http.client
import json
import os
import socket
import subprocess
import time
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import anyio
import openai
import pytest
from openai.types.responses import ResponseStreamEvent

from tests.support import readme, sdk
from tests.support.sdk import TRANSPORTS, Transport, ask
from tests.support.server import Server

HOME = os.environ.get("CHATBACKEND_TEST_LLAMA")
if not HOME:
    pytest.skip("llama.cpp is not among what every run has: run 'make test-llama'", allow_module_level=True)

pytestmark = pytest.mark.anyio

READY_S = 30.0
MODEL = "llama31/tiny"
ENDLESS = "llama31/endless"  # never samples its end mark


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a llama.cpp server, ended by its id."""
    home, printed = Path(HOME or ""), tmp_path_factory.mktemp("llama") / "llama.out"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    models = [
        {"model": str(home / f"{name}.gguf"), "model_alias": name, "n_ctx": 8192, "n_threads": 2, "seed": 3}
        for name in ("tiny", "endless")
    ]
    settings = {"host": "127.0.0.1", "port": port, "interrupt_requests": False, "models": models}
    printed.with_suffix(".json").write_text(json.dumps(settings))
    command = [
        str(home / "bin" / "python"),
        "-m",
        "llama_cpp.server",
        "--config_file",
        str(printed.with_suffix(".json")),
    ]
    with printed.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        began = time.monotonic()
        while not answers(port):
            assert process.poll() is None, printed.read_text()
            assert time.monotonic() - began < READY_S, printed.read_text()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(20)


def answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/v1/models")
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


@pytest.fixture(scope="module")
def running(llama: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server"), {"LLAMA31_ENDPOINT": llama}) as server:
        yield server


@pytest.fixture
async def client(running: Server) -> AsyncGenerator[openai.AsyncOpenAI, None]:
    async with sdk.async_client(running) as client:
        yield client


def test_the_readmes_file_question_is_answered(running: Server, tmp_path: Path) -> None:
    manual = readme.write_manual(tmp_path)
    printed = readme.ask_the_file(running, manual, model=MODEL)
    assert printed.strip()
    with sdk.client(running) as client:
        assert client.files.list().data[0].status == "processed"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_answer_is_whole_and_its_usage_is_counted_or_marked_as_estimated(
    client: openai.AsyncOpenAI, transport: Transport
) -> None:
    said = await ask(client, transport, model=MODEL, input="Where does the wind turn?", max_output_tokens=400)
    response = said.response
    assert response.status in {"completed", "incomplete"}
    if response.status == "incomplete":
        assert response.incomplete_details is not None
        assert response.incomplete_details.reason == "max_output_tokens"
    assert response.output_text.strip()
    assert transport == "json" or said.deltas == response.output_text
    assert (await client.responses.retrieve(response.id)).output_text == response.output_text
    assert response.usage is not None  # this server sends none with a stream
    assert response.usage.input_tokens > 0
    assert response.usage.output_tokens > 0
    assert response.usage.model_dump()["chatbackend_estimated"] is True


async def test_a_token_limit_ends_the_answer_incomplete(client: openai.AsyncOpenAI) -> None:
    said = await ask(client, "sse", model=ENDLESS, input="Go on.", max_output_tokens=5)
    assert said.response.status == "incomplete"
    assert 1 <= len(said.response.output_text.split()) <= 5


async def test_turns_build_on_each_other(client: openai.AsyncOpenAI) -> None:
    first = await ask(client, "sse", model=MODEL, input="One.", max_output_tokens=20)
    second = await ask(
        client, "sse", model=MODEL, input="Two.", max_output_tokens=20, previous_response_id=first.response.id
    )
    assert first.response.usage is not None
    assert second.response.usage is not None
    assert second.response.usage.input_tokens > first.response.usage.input_tokens


async def test_cancelling_frees_the_server_for_the_next_question(client: openai.AsyncOpenAI) -> None:
    events: list[ResponseStreamEvent] = []
    async with await client.responses.create(model=ENDLESS, input="Never stop.", stream=True) as stream:
        async for event in stream:
            events.append(event)
            if len(events) == 20:
                assert events[0].type == "response.created"
                cancelled = await client.responses.cancel(events[0].response.id)
                assert cancelled.status == "cancelled"
                assert cancelled.output_text.strip()
    assert events[-1].type == "response.incomplete"
    with anyio.fail_after(10):  # it answers one question at a time
        after = await ask(client, "json", model=MODEL, input="Next.", max_output_tokens=5)
    assert after.response.output_text
