"""What may be steered, what becomes of steering, and what a successor is."""

import pytest

from chatbackend.domain.context import outputs_first
from chatbackend.domain.errors import ChatError, InvalidRequest, RateLimited
from chatbackend.domain.identity import Principal
from chatbackend.domain.items import FunctionCall, FunctionCallOutput, InputText, Item, Message, OutputText
from chatbackend.domain.responses import (
    CANCELLED,
    COMPLETED,
    TURNED,
    Ask,
    Outcome,
    Response,
    ResponseStatus,
    end,
    interrupted,
)
from chatbackend.domain.steering import (
    MAX_STEERED_BYTES,
    MAX_STEERS,
    fate,
    over,
    refuse_many,
    refuse_unsteerable,
    successor,
    successor_ask,
    unknown,
)

ME = Principal("t", "a", "a", "k")
CALL = FunctionCall("fc_1", "call_1", "look", "{}")


def response(outcome: Outcome = COMPLETED, *output: FunctionCall | Message) -> Response:
    made = Response("resp_1", ME, "m", 1, stream_id="left", metadata={"a": "b"}, output=list(output))
    end(made, outcome, at=2)
    return made


def user(text: str) -> Message:
    return Message(f"msg_{text}", "user", [InputText(text)])


def output(call_id: str) -> FunctionCallOutput:
    return FunctionCallOutput(f"fco_{call_id}", call_id, "seen")


@pytest.mark.parametrize(
    ("outcome", "called", "expected"),
    [
        (COMPLETED, False, "queued"),
        (COMPLETED, True, "waiting"),
        (TURNED, False, "queued"),
        (interrupted(), False, "queued"),
        (interrupted(), True, "failed"),
        (Outcome("incomplete", incomplete_reason="max_output_tokens"), False, "failed"),
        (Outcome("failed"), False, "failed"),
        (CANCELLED, False, "failed"),
    ],
)
def test_what_becomes_of_steering_follows_from_how_its_response_ended(
    outcome: Outcome, *, called: bool, expected: str
) -> None:
    assert fate(response(outcome, *([CALL] if called else []))) == expected


def test_conversations_and_automatic_compaction_are_not_steered() -> None:
    ask = Ask("m", [], b"", {})
    refuse_unsteerable(response(), ask)
    bound = Response("resp_1", ME, "m", 1, conversation_id="conv_1")
    compacting = Ask("m", [], b"", {}, extra={"context_management": [{"type": "compaction"}]})
    for made, asked in ((bound, ask), (response(), compacting)):
        with pytest.raises(InvalidRequest) as refused:
            refuse_unsteerable(made, asked)
        assert refused.value.code == "steering_not_supported"


@pytest.mark.parametrize(
    ("steers", "size", "refused"),
    [
        (MAX_STEERS, MAX_STEERED_BYTES, False),
        (MAX_STEERS + 1, 1, True),
        (1, MAX_STEERED_BYTES + 1, True),
    ],
)
def test_what_waits_for_a_response_is_bounded(steers: int, size: int, *, refused: bool) -> None:
    if not refused:
        return refuse_many(steers, size)
    with pytest.raises(RateLimited) as error:
        refuse_many(steers, size)
    assert error.value.code == "too_many_pending_steers"


@pytest.mark.parametrize(
    ("status", "code"), [("completed", "response_already_completed"), ("failed", "response_not_active")]
)
def test_too_late_is_said_with_what_the_response_became(status: ResponseStatus, code: str) -> None:
    error: ChatError = over(Response("resp_1", ME, "m", 1, status=status))
    assert error.code == code
    assert unknown("resp_1").code == "response_not_found"


def test_a_successor_has_the_settings_of_what_it_goes_on_from() -> None:
    made = successor(response(), "resp_2", at=9)
    assert (made.id, made.previous_response_id, made.created_at, made.status) == ("resp_2", "resp_1", 9, "queued")
    assert (made.stream_id, made.metadata, made.output) == ("left", {"a": "b"}, [])


def test_the_successor_of_an_unstored_response_is_given_what_preceded_it() -> None:
    said = Message("msg_2", "assistant", [OutputText("yes")])
    ended = response(COMPLETED, said)
    ask = Ask("m", [user("two")], b"{}", {}, temperature=0.5)
    stored = successor_ask(ask, ended, context=None)
    assert (stored.items, stored.local_context, stored.temperature) == ([], None, 0.5)
    assert (stored.previous_response_id, stored.steering) == ("resp_1", "queued")
    assert successor_ask(ask, ended, context=[user("one")]).local_context == [user("one"), user("two"), said]


def test_outputs_come_right_behind_their_calls() -> None:
    other = FunctionCall("fc_2", "call_2", "look", "{}")
    items: list[Item] = [user("a"), CALL, other, user("b"), user("c"), output("call_1"), output("call_2"), user("d")]
    expected: list[Item] = [user("a"), CALL, other, output("call_1"), output("call_2"), user("b"), user("c"), user("d")]
    assert outputs_first(items) == expected
    assert outputs_first(expected) == expected


def test_an_output_without_a_call_before_it_stays_where_it_is() -> None:
    answer = Message("msg_9", "assistant", [OutputText("x")])
    kept: list[list[Item]] = [[user("a"), output("call_1")], [answer, user("a"), output("call_1")], [output("call_1")]]
    for items in kept:
        assert outputs_first(items) == items
