"""The real server on a real PostgreSQL: killed, doubled, and with the database restarted under it."""

import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import openai
import pytest

from tests.support.postgres import OwnServer, own_server
from tests.support.server import PROGRAM, Server


@pytest.fixture(scope="module")
def postgres() -> Iterator[OwnServer]:
    with own_server() as server:
        yield server


@pytest.fixture
def server(postgres: OwnServer, tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path, {"DATABASE_URL": postgres.url}) as running:
        yield running


def client(server: Server, *, max_retries: int = 0) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.base_url, api_key=server.key, max_retries=max_retries)


def test_a_killed_server_comes_back_with_everything_it_acknowledged(server: Server) -> None:
    with client(server) as chat:
        conversation = chat.conversations.create(items=[{"type": "message", "role": "user", "content": "zero"}])
        first = chat.responses.create(model="local", input="one", conversation=conversation.id)
        server.kill()
        server.start()
        assert chat.responses.retrieve(first.id).output_text == first.output_text
        chat.responses.create(model="local", input="two", conversation=conversation.id)
        items = chat.conversations.items.list(conversation.id, order="asc").data
    texts: list[str] = [item.model_dump()["content"][0]["text"] for item in items]
    assert (texts[0], texts[1], texts[3]) == ("zero", "one", "two")
    assert len(texts) == 5
    assert not (server.data / "truth.db").exists()


def test_a_second_server_on_the_database_is_refused_in_one_line(server: Server, tmp_path: Path) -> None:
    environment = {**server.environment, "CHATBACKEND_DATA_DIR": str(tmp_path / "other"), "CHATBACKEND_PORT": "0"}
    done = subprocess.run([PROGRAM, "serve"], env=environment, capture_output=True, text=True, timeout=40, check=False)
    assert done.returncode == 2
    assert "another server is running on this database" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "pending: nothing" in server.run("migrate")


def test_doctor_tells_of_a_database_that_does_not_answer(postgres: OwnServer, server: Server) -> None:
    assert "database        ok" in server.run("doctor")
    environment = {**server.environment, "DATABASE_URL": "postgresql://me:s3cret@127.0.0.1:1/chat"}
    done = subprocess.run([PROGRAM, "doctor"], env=environment, capture_output=True, text=True, timeout=40, check=False)
    assert "database        FAIL  DATABASE_URL" in done.stdout
    assert "s3cret" not in done.stdout + done.stderr


@pytest.mark.timeout(120)
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
def test_a_database_that_restarts_costs_refusals_and_no_acknowledged_turn(
    postgres: OwnServer, server: Server, how: signal.Signals
) -> None:
    acknowledged: list[str] = []
    refused: list[httpx2.Response] = []
    done = threading.Event()

    def talk() -> None:
        with client(server) as chat:
            while not done.is_set():
                try:
                    acknowledged.append(chat.responses.create(model="local", input="Hello", background=True).id)
                except openai.APIStatusError as error:
                    refused.append(error.response)

    talkers = [threading.Thread(target=talk) for _ in range(4)]
    for talker in talkers:
        talker.start()
    try:
        _wait(lambda: len(acknowledged) > 20)
        postgres.stop(how)
        _wait(lambda: len(refused) > 4)
        postgres.start()
        before = len(acknowledged)
        _wait(lambda: len(acknowledged) > before + 20)
    finally:
        done.set()
        for talker in talkers:
            talker.join(30)
    assert {response.status_code for response in refused} == {503}
    assert all(int(response.headers["retry-after"]) >= 1 for response in refused)
    with client(server) as chat:
        ends = Counter(_end(chat, each) for each in acknowledged)
    assert set(ends) <= {"completed", "failed"}  # failed: it was about to call its model when the database went away
    assert ends["completed"] > len(acknowledged) / 2


def _end(chat: openai.OpenAI, response_id: str) -> str | None:
    """Return how a response ended, waiting for that."""
    _wait(lambda: chat.responses.retrieve(response_id).status not in ("queued", "in_progress"))
    return chat.responses.retrieve(response_id).status


def _wait(until: Callable[[], bool], seconds: float = 30) -> None:
    limit = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < limit
        time.sleep(0.02)
