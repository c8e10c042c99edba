"""Which entries of a stream belong to which tool call, in every way that servers number and name them."""

from typing import Any

import msgspec
import pytest

from chatbackend.adapters.providers.chat.shapes import ToolCall
from chatbackend.adapters.providers.chat.tool_calls import ToolCalls
from chatbackend.domain.errors import UpstreamError
from chatbackend.domain.events import ModelEvent
from tests.adapters.providers.heard import hear

Json = dict[str, Any]
A, B = "call_a", "call_b"


def entry(name: str | None = None, arguments: str | Json | None = None, **rest: int | str | None) -> Json:
    return {**rest, "function": {"name": name, "arguments": arguments}}


def calls_of(*entries: Json, answer_id: str | None = "x1") -> list[list[str]]:
    calls, events = ToolCalls(), list[ModelEvent]()
    for given in entries:
        events += calls.take(msgspec.convert(given, ToolCall), answer_id)
    heard = hear(events + calls.end())
    assert list(heard.calls) == list(range(len(heard.calls)))
    return list(heard.calls.values())


@pytest.mark.parametrize(
    ("entries", "calls"),
    [
        pytest.param(
            [entry("f", "", index=0, id=A), entry(None, '{"x":', index=0), entry(None, "1}", index=0)],
            [[A, "f", '{"x":1}']],
            id="as specified",
        ),
        pytest.param(
            [
                entry("f", "", index=0, id=A),
                entry("g", "", index=1, id=B),
                entry(None, "1", index=0),
                entry(None, "2", index=1),
            ],
            [[A, "f", "1"], [B, "g", "2"]],
            id="parallel and interleaved",
        ),
        pytest.param([entry("f", "{}", id=A), entry("g", "[]", id=B)], [[A, "f", "{}"], [B, "g", "[]"]], id="no index"),
        pytest.param(
            [entry("f", "[", id=A), entry("g", "[", id=B), entry(None, "1]", id=A), entry(None, "2]", id=B)],
            [[A, "f", "[1]"], [B, "g", "[2]"]],
            id="no index, told apart by id",
        ),
        pytest.param([entry("f", "[", id=A), entry(None, "1]")], [[A, "f", "[1]"]], id="no index, in pieces"),
        pytest.param(
            [entry("f", "{}", index=0, id=A), entry("f", "[]", index=0, id=B)],
            [[A, "f", "{}"], [B, "f", "[]"]],
            id="index 0 for all, whole",
        ),
        pytest.param(
            [entry("f", '{"a":1}', index=0), entry("f", '{"b":2}', index=0)],
            [["call_x1_0", "f", '{"a":1}'], ["call_x1_1", "f", '{"b":2}']],
            id="index 0 for all, no ids",
        ),
        pytest.param(
            [entry("f", "[", index=0, id=A), entry("f", "1", index=0, id=A), entry("f", "]", index=0)],
            [[A, "f", "[1]"]],
            id="name repeated",
        ),
        pytest.param(
            [entry("f", "1"), entry("g", "2")], [["call_x1_0", "f", "1"], ["call_x1_1", "g", "2"]], id="names only"
        ),
        pytest.param([entry("f", {"x": 1}, index=0, id=A)], [[A, "f", '{"x":1}']], id="arguments as an object"),
        pytest.param([entry("f", "", index=0, id=A)], [[A, "f", "{}"]], id="no arguments"),
        pytest.param([entry("f", None, index=0, id="")], [["call_x1_0", "f", "{}"]], id="empty id"),
        pytest.param(
            [entry("f", "1", index=0, id=A), entry("g", "2", index=1, id=A)],
            [[A, "f", "1"], ["call_x1_1", "g", "2"]],
            id="one id for two calls",
        ),
        pytest.param(
            [entry("f", "1", index=0, id=A), {"index": 0}, {}, entry(None, "")], [[A, "f", "1"]], id="empty entries"
        ),
        pytest.param([{"index": 0}], [], id="an empty entry alone"),
    ],
)
def test_entries_become_calls(entries: list[Json], calls: list[list[str]]) -> None:
    assert calls_of(*entries) == calls


def test_made_ids_need_no_id_of_the_answer() -> None:
    assert calls_of(entry("f", "{}"), answer_id=None) == [["call_0", "f", "{}"]]


def test_a_call_without_a_name_is_no_call() -> None:
    with pytest.raises(UpstreamError, match="name"):
        calls_of(entry(None, "{}", index=0, id=A))


def test_there_are_calls_once_one_began() -> None:
    calls = ToolCalls()
    assert not calls
    calls.take(msgspec.convert(entry("f"), ToolCall), None)
    assert calls
