"""A turn on a WebSocket: what it says to a connection that remembers, and what it makes of the frames that come."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import ResponsesServerEvent
from pydantic import TypeAdapter

from chatbackend.adapters.providers.openai_responses import ResponsesCodec
from chatbackend.adapters.providers.responses.turn import AskAnew, Memory, SocketTurn, closed
from chatbackend.domain.answer import Answer
from chatbackend.domain.errors import (
    ChatError,
    UpstreamBusy,
    UpstreamCut,
    UpstreamDenied,
    UpstreamError,
    UpstreamOverloaded,
    UpstreamRefused,
    UpstreamTooLarge,
)
from chatbackend.domain.events import ModelEvent
from chatbackend.domain.items import FunctionCall, FunctionCallOutput, InputText, Item, Message, OutputText, Reasoning
from chatbackend.domain.models import FunctionTool, ModelProfile, ModelRequest, ToolChoice
from chatbackend.domain.responses import COMPLETED
from tests.adapters.providers.heard import hear

Json = dict[str, Any]
CODEC = ResponsesCodec(ModelProfile())
SERVER_EVENT: TypeAdapter[ResponsesServerEvent] = TypeAdapter(ResponsesServerEvent)
TEXT: Json = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
CALL: Json = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": '{"x": 1}'}


def user(text: str) -> Message:
    return Message("msg_ours", "user", [InputText(text)])


def said(text: str) -> Json:
    return TEXT | {"content": [{"type": "output_text", "text": text, "annotations": []}]}


def sealed(text: str, proof: str = "gAAA") -> Json:
    summary = [{"type": "summary_text", "text": text}]
    return {"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": proof}


def asking(*items: Item, **fields: Any) -> ModelRequest:  # noqa: ANN401  # any field
    return ModelRequest("m", list(items), **fields)


def turn(*items: Item, **fields: Any) -> SocketTurn:  # noqa: ANN401  # any field
    return CODEC.turn(asking(*items, **fields))


def frame(kind: str, **fields: object) -> bytes:
    return json.dumps({"type": kind, "sequence_number": 0, **fields}).encode()


def response(status: str = "completed", **fields: object) -> Json:
    return {"id": "resp_up", "status": status, "output": [], **fields}


def answering(output: Sequence[Json], **ended: Any) -> list[bytes]:  # noqa: ANN401  # any field
    """Return the frames of an answer."""
    done = [frame("response.output_item.done", output_index=place, item=item) for place, item in enumerate(output)]
    whole = response() | {"output": list(output), **ended}
    return [
        frame("response.created", response=response("in_progress")),
        *done,
        frame("response.completed", response=whole),
    ]


def heard(asked: SocketTurn, frames: Sequence[bytes], memory: Memory | None = None) -> list[ModelEvent]:
    asked.create(memory)
    return [event for each in frames for event in asked.feed(each)]


def remembered(
    items: Sequence[Item],
    output: Sequence[Json],
    **fields: Any,  # noqa: ANN401  # any field
) -> tuple[Memory, list[Item]]:
    """Return what a provider remembers of an answer, and the whole conversation with it."""
    asked = turn(*items, **fields)
    answer = Answer(lambda prefix: prefix)
    for event in heard(asked, answering(output)):
        answer.feed(event)
    answer.close(COMPLETED)
    memory = asked.memory()
    assert memory is not None
    return memory, [*items, *answer.items]


def test_a_first_turn_says_everything_but_how_it_is_sent() -> None:
    asked = json.loads(turn(user("hi"), instructions="Be brief.").create(None))
    over_http = json.loads(CODEC.request(asking(user("hi"), instructions="Be brief.")).body)
    assert asked.pop("type") == "response.create"
    assert asked | {"stream": True} == over_http
    assert "stream" not in asked


def test_a_turn_that_goes_on_says_only_what_is_new_and_what_no_memory_carries() -> None:
    told: Json = {"instructions": "Be brief.", "tools": [FunctionTool("f")]}
    memory, conversation = remembered([user("hi")], [CALL], **told)
    following = turn(*conversation, FunctionCallOutput("fco_1", "call_1", "42"), **told)
    assert following.context == memory.context
    asked = json.loads(following.create(memory))
    assert asked["input"] == [{"type": "function_call_output", "call_id": "call_1", "output": "42"}]
    assert asked["previous_response_id"] == "resp_up"
    assert (asked["instructions"], asked["tools"][0]["name"], asked["store"]) == ("Be brief.", "f", False)


def test_a_turn_that_goes_on_says_everything_to_who_remembers_nothing() -> None:
    _, conversation = remembered([user("hi")], [said("hello")])
    asked = json.loads(turn(*conversation, user("and?")).create(None))
    assert len(asked["input"]) == 3
    assert "previous_response_id" not in asked


@pytest.mark.parametrize("output", [[said("hello")], [sealed("hm"), CALL], [said("I look."), CALL], []])
def test_the_memory_of_a_following_turn_is_gone_on_from_as_well(output: list[Json]) -> None:
    first, conversation = remembered([user("hi")], [CALL])
    following = turn(*conversation, FunctionCallOutput("o", "call_1", "42"))
    answer = Answer(lambda prefix: prefix)
    for event in heard(following, answering([*output, said("So.")]), first):
        answer.feed(event)
    answer.close(COMPLETED)
    second = following.memory()
    conversation += [FunctionCallOutput("o", "call_1", "42"), *answer.items, user("go on")]
    assert second is not None
    assert turn(*conversation).context == second.context != first.context


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({"instructions": "Be verbose."}, False),
        ({"tools": [FunctionTool("f"), FunctionTool("g")]}, False),
        ({"tools": []}, False),
        ({"reasoning_effort": "high"}, False),
        ({"extra": {"prompt": {"id": "p"}}}, False),
        ({"extra": {"b": 1, "a": 2}}, True),
        ({"max_output_tokens": 99, "temperature": 0.5, "tool_choice": ToolChoice("required")}, True),
    ],
)
def test_what_a_model_was_told_apart_from_its_context_has_to_be_the_same(changed: Json, *, same: bool) -> None:
    told: Json = {"instructions": "Be brief.", "tools": [FunctionTool("f")], "extra_dialect": "responses"}
    told["extra"] = {"a": 2, "b": 1}
    memory, conversation = remembered([user("hi")], [said("hello")], **told)
    assert (turn(*conversation, user("and?"), **(told | changed)).context == memory.context) is same


def _another(item: Item) -> list[Item]:
    match item:
        case FunctionCall():
            return [FunctionCall("id", item.call_id, item.name, '{"x": 2}')]
        case Message(role="assistant"):
            return [Message("id", "assistant", [OutputText("another")])]
        case Message():
            return [user("another")]
        case _:
            return []


@pytest.mark.parametrize("place", range(4))
def test_a_context_that_differs_anywhere_is_not_gone_on_from(place: int) -> None:
    memory, conversation = remembered([user("hi")], [sealed("hm"), said("I look."), CALL])
    assert len(conversation) == 4
    output = FunctionCallOutput("o", "call_1", "42")
    conversation[place : place + 1] = _another(conversation[place])
    assert turn(*conversation, output).context not in (memory.context, None)


@pytest.mark.parametrize(
    ("told", "kept", "same"),
    [('{"x": 1}', '{"x":1}', True), ('{"x": 1}', '{"x":2}', False), ("no json", "no json", True), ("no", "yes", False)],
)
def test_arguments_are_the_same_however_a_client_writes_them(told: str, kept: str, *, same: bool) -> None:
    memory, conversation = remembered([user("hi")], [CALL | {"arguments": told}])
    conversation[1] = FunctionCall("fc_ours", "call_1", "f", kept)
    assert (turn(*conversation, FunctionCallOutput("o", "call_1", "42")).context == memory.context) is same


def test_a_conversation_without_an_answer_or_without_anything_new_goes_on_from_nothing() -> None:
    _, conversation = remembered([user("hi")], [said("hello")])
    assert turn(user("hi"), user("ho")).context is None
    assert turn(*conversation).context is None


@given(
    st.lists(st.text(max_size=8), min_size=1, max_size=3),
    st.lists(
        st.one_of(
            st.text(min_size=1, max_size=8).map(said),
            st.tuples(st.text(min_size=1, max_size=8), st.text(min_size=1, max_size=8)).map(lambda each: sealed(*each)),
            st.integers(0, 99).map(lambda number: CALL | {"id": f"fc_{number}", "call_id": f"call_{number}"}),
        ),
        max_size=5,
        unique_by=lambda item: json.dumps(item, sort_keys=True),
    ),
)
def test_whatever_was_asked_and_answered_the_next_turn_goes_on_from_it(texts: list[str], output: list[Json]) -> None:
    memory, conversation = remembered([user(text) for text in texts], [*output, said("The end.")])
    assert turn(*conversation, user("next")).context == memory.context
    assert turn(*conversation, user("another")).context == memory.context
    assert turn(user("before"), *conversation, user("next")).context != memory.context


def test_a_memory_knows_about_how_large_it_is() -> None:
    memory, conversation = remembered([user("x" * 5000)], [CALL])
    assert 5000 < memory.size < 6000
    following = turn(*conversation, FunctionCallOutput("o", "call_1", "y" * 3000))
    heard(following, answering([said("z" * 1000)]), memory)
    after = following.memory()
    assert after is not None
    assert 9000 < after.size < 10_000


def test_a_memory_says_whether_functions_are_waited_for() -> None:
    assert remembered([user("hi")], [CALL])[0].awaited
    assert not remembered([user("hi")], [said("hello")])[0].awaited


@pytest.mark.parametrize(
    "ended",
    [
        {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
        {"status": "failed", "error": {"code": "server_error", "message": "no"}},
        {"status": "cancelled"},
        {"id": None},
        {"id": ""},
    ],
)
def test_what_is_not_whole_or_has_no_name_is_not_gone_on_from(ended: Json) -> None:
    asked = turn(user("hi"))
    frames = answering([said("hel")], **ended)
    heard(asked, frames[1:])
    assert asked.done
    assert asked.memory() is None


def test_an_answer_is_read_as_over_http() -> None:
    asked = turn(user("hi"))
    usage = {"input_tokens": 2, "output_tokens": 1, "total_tokens": 3}
    told = hear([*heard(asked, answering([said("hello"), CALL], usage=usage)), *asked.end()])
    assert (told.text, told.tools, told.finish) == ("hello", [("f", '{"x": 1}')], "tool_calls")
    assert told.usage is not None


def test_a_failed_answer_is_told_at_its_end() -> None:
    asked = turn(user("hi"))
    heard(asked, answering([], status="failed", error={"code": "server_error", "message": "no"}))
    assert asked.done
    with pytest.raises(UpstreamError):
        asked.end()


@pytest.mark.parametrize("stray", [frame("codex.rate_limits", left=1), b'{"no": "type"}', b""])
def test_what_is_no_event_of_a_response_is_passed_over(stray: bytes) -> None:
    assert heard(turn(user("hi")), [stray]) == []


@pytest.mark.parametrize(
    "garbage", [b'{"type": 7}', b"no json", b'{"type": "response.completed", "response": 7}', b'"text"']
)
def test_garbage_is_an_error_of_the_provider(garbage: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        heard(turn(user("hi")), [garbage])
    assert type(caught.value) is UpstreamError


def test_an_end_mark_without_a_reason_is_a_cut() -> None:
    with pytest.raises(UpstreamCut):
        heard(turn(user("hi")), [b"[DONE]"])


def refusing(status: int | None, code: str, **more: object) -> bytes:
    error = {"type": "invalid_request_error", "code": code, "message": "No.", "param": None, **more}
    return json.dumps({"type": "error", "status": status, "error": error}).encode()


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        (refusing(400, "invalid_value"), UpstreamRefused),
        (refusing(401, "invalid_api_key"), UpstreamDenied),
        (refusing(413, "too_large"), UpstreamTooLarge),
        (refusing(500, "server_error"), UpstreamError),
        (refusing(None, "server_error"), UpstreamRefused),
        (b'{"type": "error", "status": 500, "error": "words"}', UpstreamError),
        (b'{"type": "error", "code": "server_error", "message": "flat"}', UpstreamError),
    ],
)
def test_an_error_means_what_its_status_means_over_http(told: bytes, kind: type[ChatError]) -> None:
    with pytest.raises(ChatError) as caught:
        heard(turn(user("hi")), [told])
    assert type(caught.value) is kind


def test_an_overload_says_how_long_to_wait_whatever_the_case_of_its_headers() -> None:
    told = refusing(429, "rate_limit_exceeded", headers={"Retry-After": "3"})
    SERVER_EVENT.validate_json(told)
    with pytest.raises(UpstreamOverloaded) as caught:
        heard(turn(user("hi")), [told])
    assert caught.value.retry_after_s == 3


def test_a_memory_that_was_not_to_be_had_and_a_spent_connection_are_asked_anew() -> None:
    memory, conversation = remembered([user("hi")], [said("hello")])
    following = turn(*conversation, user("and?"))
    with pytest.raises(AskAnew) as lost:
        heard(following, [refusing(400, "previous_response_not_found")], memory)
    assert isinstance(lost.value.error, UpstreamRefused)
    with pytest.raises(AskAnew):
        heard(following, [refusing(429, "websocket_connection_limit_reached")])
    assert hear(heard(following, answering([said("whole")]))).text == "whole"


def test_a_refusal_that_the_connection_has_no_part_in_is_not_asked_anew() -> None:
    memory, conversation = remembered([user("hi")], [said("hello")])
    following = turn(*conversation, user("and?"))
    with pytest.raises(UpstreamRefused):
        heard(following, [refusing(400, "previous_response_not_found")])
    with pytest.raises(UpstreamOverloaded):
        heard(following, [refusing(429, "rate_limit_exceeded")], memory)


def test_what_has_begun_is_never_asked_anew() -> None:
    memory, conversation = remembered([user("hi")], [said("hello")])
    begun = frame("response.created", response=response("in_progress"))
    for code in ("previous_response_not_found", "websocket_connection_limit_reached"):
        with pytest.raises(UpstreamRefused):
            heard(turn(*conversation, user("and?")), [begun, refusing(400, code)], memory)


def test_reasoning_of_another_provider_is_no_part_of_a_context() -> None:
    memory, conversation = remembered([user("hi")], [said("hello")])
    conversation.insert(1, Reasoning("rs_1", encrypted_content="claude.sealed"))
    assert turn(*conversation, user("and?")).context == memory.context


@pytest.mark.parametrize(
    ("code", "kind"), [(1009, UpstreamTooLarge), (1013, UpstreamBusy), (1000, UpstreamCut), (None, UpstreamCut)]
)
def test_a_close_is_told_by_its_code(code: int | None, kind: type[UpstreamError]) -> None:
    assert type(closed(code)) is kind
