"""The check of logged events lets ours pass and stops a server's test when one is wrong."""

import sqlite3
from contextlib import closing
from pathlib import Path

import openai
import pytest

from tests.support import sdk
from tests.support.event_check import check_events
from tests.support.server import Server

DELTA = (
    b'{"type":"response.output_text.delta","sequence_number":%d,"item_id":"msg_1","output_index":0,'
    b'"content_index":0,"delta":"x","logprobs":[]}'
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the data folder of a server that answered once and has ended."""
    with Server(tmp_path_factory.mktemp("server")) as server, sdk.client(server) as client:
        client.responses.create(model="local", input="Hello")
    return server.data


def plant(path: Path, number: int, kind: str, event: bytes) -> None:
    with closing(sqlite3.connect(path)) as log:
        log.execute("DELETE FROM events WHERE response_id = 'resp_planted'")
        log.execute("INSERT INTO events VALUES ('resp_planted', ?, ?, ?)", (number, kind, event))
        log.commit()


def test_the_events_of_an_answer_pass(data: Path, tmp_path: Path) -> None:
    assert check_events(data / "events.db") > 5
    assert check_events(tmp_path / "none.db") == 0


@pytest.mark.parametrize(
    ("kind", "event"),
    [
        ("response.output_text.delta", DELTA.replace(b'"item_id":"msg_1",', b"") % 7),
        ("response.output_text.delta", DELTA.replace(b'"delta":"x"', b'"delta":5') % 7),
        ("response.output_text.delta", DELTA % 8),
        ("response.output_text.done", DELTA % 7),
        ("response.cancelled", b'{"type":"response.cancelled","sequence_number":7}'),
        ("response.created", b'{"type":"response.created","sequence_number":7,"response":{"id":"resp_1"}}'),
        ("response.created", b"half a js"),
    ],
)
def test_a_planted_event_is_found(data: Path, kind: str, event: bytes) -> None:
    plant(data / "events.db", 7, kind, event)
    with pytest.raises(AssertionError, match="resp_planted 7"):
        check_events(data / "events.db")
    plant(data / "events.db", 7, "response.output_text.delta", DELTA % 7)
    check_events(data / "events.db")


def test_a_server_that_logged_a_bad_event_fails_its_test(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="do not fit the SDK's types"), Server(tmp_path) as server:
        plant(server.data / "events.db", 0, "response.cancelled", b'{"type":"response.cancelled"}')


def test_the_strict_client_refuses_what_does_not_fit(tmp_path: Path) -> None:
    with Server(tmp_path) as server, sdk.client(server) as client, pytest.raises(openai.APIResponseValidationError):
        client.get("/models", cast_to=openai.types.Model)
