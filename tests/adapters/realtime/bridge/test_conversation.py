"""The items of a session in text: created, placed, shown, deleted; and what a model is given of them."""

from typing import Any

import pytest

from chatbackend.adapters.realtime.bridge.conversation import Conversation
from chatbackend.domain.events import TextDelta
from chatbackend.domain.items import FunctionCall, FunctionCallOutput, InputImage, Item, Message, text_of
from tests.support.realtime_talk import HELLO, Talk, kinds

PIXEL = "data:image/png;base64,aGk="


def message(text: str, role: str = "user", **fields: object) -> dict[str, Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}], **fields}


def call(name: str, **fields: object) -> dict[str, Any]:
    return {"type": "function_call", "call_id": f"call_{name}", "name": name, "arguments": "{}", **fields}


def output(name: str) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": f"call_{name}", "output": ""}


def given(talk: Talk, **response: object) -> list[str]:
    """Return what the model of a new response is given, in short; the response is cancelled."""
    response_id = talk.create(**response)
    talk.send("response.cancel", response_id=response_id)
    talk.end(response_id)
    return [short(item) for item in talk.asked[response_id].items]


def short(item: Item) -> str:
    match item:
        case Message(role=role):
            return f"{role[0]}:{text_of(item)}"
        case FunctionCall(name=name):
            return f"call:{name}"
        case FunctionCallOutput(call_id=call_id):
            return f"output:{call_id.removeprefix('call_')}"
        case _:
            return item.type


@pytest.mark.parametrize(
    "item",
    [
        message("Hi"),
        message("Be kind.", "system"),
        message("Yes?", "assistant"),
        call("look"),
        {"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": PIXEL, "detail": "low"}]},
    ],
)
def test_an_item_is_shown_as_it_came_with_what_was_left_out(item: dict[str, Any]) -> None:
    talk = Talk()
    shown = talk.add(item)
    assert shown == {**item, "id": shown["id"], "object": "realtime.item", "status": "completed"}
    [retrieved] = talk.send("conversation.item.retrieve", item_id=shown["id"])
    assert retrieved["item"] == shown


def test_a_client_may_name_an_item_and_its_status_means_nothing() -> None:
    shown = Talk().add(message("Hi", id="mine", status="incomplete", object="realtime.item"))
    assert (shown["id"], shown["status"]) == ("mine", "completed")


def test_a_part_of_the_usual_type_needs_none() -> None:
    talk = Talk()
    talk.add({"type": "message", "role": "user", "content": [{"text": "Hi"}]})
    talk.add({"type": "message", "role": "assistant", "content": [{"text": "Yes?"}]})
    assert given(talk) == ["u:Hi", "a:Yes?"]


def test_an_image_reaches_the_model() -> None:
    talk = Talk()
    talk.add({"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": PIXEL}]})
    [asked] = talk.asked[talk.create()].items
    assert isinstance(asked, Message)
    assert asked.content == [InputImage(PIXEL)]


def test_items_go_where_they_are_put() -> None:
    talk = Talk()
    talk.add(message("b", id="b"))
    talk.add(message("d", id="d"), previous_item_id=None)
    talk.add(message("a", id="a"), previous_item_id="root")
    talk.add(message("c", id="c"), previous_item_id="b")
    assert talk.watcher.conversation == ["a", "b", "c", "d"]
    assert given(talk) == ["u:a", "u:b", "u:c", "u:d"]


REFUSED: list[tuple[dict[str, Any], str | None, str]] = [
    ({"type": "mcp_call"}, None, "item.type"),
    ({"type": "item_reference", "id": "a"}, None, "item.type"),
    ({}, "missing_required_parameter", "item.type"),
    (message("Hi", "developer"), None, "item.role"),
    (message("Hi", id=""), None, "item.id"),
    (message("Hi", id="x" * 65), None, "item.id"),
    (message("Hi", content=[]), None, "item.content"),
    (message("Hi", content="Hi"), None, "item.content"),
    (message("Hi", content=[{"type": "input_text"}]), "missing_required_parameter", "item.content"),
    (message("Hi", content=[{"type": "output_text", "text": "Hi"}]), None, "item.content"),
    (message("Hi", content=[{"type": "input_audio", "audio": "AA=="}]), "unsupported_content", "item.content"),
    (message("", "assistant", content=[{"type": "output_audio"}]), "unsupported_content", "item.content"),
    (message("", "assistant", content=[{"type": "input_text", "text": ""}]), None, "item.content"),
    (message("", "system", content=[{"type": "input_image", "image_url": PIXEL}]), None, "item.content"),
    (message("", content=[{"type": "input_image"}]), None, "item.content"),
    (message("", content=[{"type": "input_image", "image_url": "https://a.example/a.png"}]), None, "item.content"),
    (message("Hi", id="known"), "item_create_duplicate_item_id", "item.id"),
    (call("known"), "item_create_duplicate_call_id", "item.call_id"),
    (output("none"), "item_create_invalid_call_id", "item.call_id"),
    (output("done"), "item_create_duplicate_call_id", "item.call_id"),
    ({"type": "function_call_output", "call_id": "call_known"}, "missing_required_parameter", "item.output"),
]


@pytest.mark.parametrize(("item", "code", "param"), REFUSED)
def test_an_item_that_cannot_be_is_refused_and_not_added(item: dict[str, Any], code: str | None, param: str) -> None:
    talk = Talk()
    talk.add(message("Hi", id="known"))
    talk.add(call("known"))
    talk.add(call("done"))
    talk.output("call_done")
    known = list(talk.watcher.conversation)
    assert talk.refusal("conversation.item.create", item=item) == (code, param)
    talk.say("Now what?")
    assert talk.watcher.conversation[:-1] == known


def test_an_unknown_place_is_refused() -> None:
    refused = Talk().refusal("conversation.item.create", item=message("Hi"), previous_item_id="none")
    assert refused == ("item_create_invalid_previous_item_id", "previous_item_id")


def test_a_deleted_item_is_gone() -> None:
    talk = Talk()
    shown = talk.say("Hi")
    [deleted] = talk.send("conversation.item.delete", item_id=shown["id"])
    assert (deleted["type"], deleted["item_id"]) == ("conversation.item.deleted", shown["id"])
    assert given(talk) == []
    for what in ("delete", "retrieve"):
        refused = talk.refusal(f"conversation.item.{what}", item_id=shown["id"])
        assert refused == (f"item_{what}_invalid_item_id", "item_id")
    talk.add(message("Hi again", id=shown["id"]))


def test_an_item_that_the_model_is_making_can_be_seen_and_not_deleted() -> None:
    talk = Talk()
    response_id = talk.create()
    item_id = talk.hear(response_id, TextDelta("so"))[0]["item"]["id"]
    [retrieved] = talk.send("conversation.item.retrieve", item_id=item_id)
    assert (retrieved["item"]["status"], retrieved["item"]["content"]) == ("in_progress", [])
    assert talk.refusal("conversation.item.delete", item_id=item_id) == ("item_in_progress", "item_id")
    talk.end(response_id)
    assert kinds(talk.send("conversation.item.delete", item_id=item_id)) == ["conversation.item.deleted"]


def test_what_comes_while_the_model_speaks_stands_behind_its_words() -> None:
    talk = Talk()
    talk.say("One")
    response_id = talk.create()
    talk.hear(response_id, TextDelta("so"))
    talk.say("Two")
    talk.answer(response_id, TextDelta(" far"))
    assert given(talk) == ["u:One", "a:so far", "u:Two"]


def test_a_turn_with_calls_is_given_back_whole() -> None:
    talk = Talk()
    talk.say("Look twice")
    talk.call("a", "b")
    talk.output("call_b")
    talk.output("call_a")
    assert given(talk) == ["u:Look twice", "call:a", "call:b", "output:a", "output:b"]


def test_rounds_of_calls_stay_apart() -> None:
    talk = Talk()
    for name in ("a", "b"):
        talk.call(name)
        talk.output(f"call_{name}")
    assert given(talk) == ["call:a", "output:a", "call:b", "output:b"]


def test_no_response_begins_before_all_calls_are_answered() -> None:
    talk = Talk()
    talk.say("Look twice")
    talk.call("a", "b")
    [event] = talk.send("response.create")
    assert event["error"]["code"] == "function_call_unanswered"
    assert "call_a, call_b" in event["error"]["message"]
    talk.output("call_b")
    assert talk.refusal("response.create") == ("function_call_unanswered", None)
    talk.output("call_a")
    talk.create()


def test_a_user_who_speaks_on_is_answered_and_an_output_that_comes_late_goes_to_its_call() -> None:
    talk = Talk()
    talk.call("slow", "never")
    talk.say("Forget it")
    assert given(talk) == ["u:Forget it"]
    talk.output("call_slow")
    assert given(talk) == ["call:slow", "output:slow", "u:Forget it"]


def test_an_output_whose_call_was_deleted_is_not_given() -> None:
    talk = Talk()
    item_id = talk.add(call("a"))["id"]
    talk.output("call_a")
    talk.send("conversation.item.delete", item_id=item_id)
    assert given(talk) == []


def test_a_response_with_input_of_its_own_is_given_that_alone() -> None:
    talk = Talk()
    kept = talk.say("Kept")
    own = [{"type": "item_reference", "id": kept["id"]}, message("Own", "system")]
    response_id = talk.create(input=own)
    assert [short(item) for item in talk.asked[response_id].items] == ["u:Kept", "s:Own"]
    talk.answer(response_id, *HELLO)
    assert given(talk) == ["u:Kept", "a:Hello"]
    assert given(talk, input=[]) == []


@pytest.mark.parametrize(
    ("item", "code", "param"),
    [
        ({"type": "item_reference", "id": "none"}, "item_reference_invalid_item_id", "response.input[1]"),
        ({"type": "item_reference"}, "item_reference_invalid_item_id", "response.input[1]"),
        ({"type": "message", "role": "robot", "content": []}, None, "response.input[1].role"),
        (message("Hi", id="first"), "item_create_duplicate_item_id", "response.input[1]"),
        (
            {"type": "function_call_output", "call_id": "call_none", "output": ""},
            "item_create_invalid_call_id",
            "response.input[1]",
        ),
        (call("open"), "function_call_unanswered", None),
    ],
)
def test_input_that_cannot_be_is_refused(item: dict[str, Any], code: str | None, param: str | None) -> None:
    talk = Talk()
    assert talk.refusal("response.create", response={"input": [message("Hi", id="first"), item]}) == (code, param)
    assert not talk.bridge.busy


def test_a_second_response_of_the_conversation_is_refused_and_the_first_goes_on() -> None:
    talk = Talk()
    response_id = talk.create()
    assert talk.refusal("response.create") == ("conversation_already_has_active_response", None)
    assert talk.answer(response_id, *HELLO)[-2]["response"]["status"] == "completed"
    talk.create()


def test_responses_beside_the_conversation_add_nothing_to_it() -> None:
    talk = Talk()
    talk.say("Hi")
    main, aside = talk.create(), talk.create(conversation="none", metadata={"topic": "x"})
    events = talk.answer(aside, *HELLO)
    assert not [kind for kind in kinds(events) if kind.startswith("conversation.")]
    assert (events[-2]["response"]["conversation_id"], events[-2]["response"]["metadata"]) == (None, {"topic": "x"})
    talk.send("response.cancel")
    assert talk.stopped == [main]
    talk.end(main)
    assert given(talk) == ["u:Hi"]


def test_so_many_responses_and_no_more() -> None:
    talk = Talk()
    ids = [talk.create(conversation="none") for _ in range(8)]
    assert talk.refusal("response.create") == ("too_many_responses", None)
    talk.end(ids[0])
    talk.create()


def test_a_session_holds_so_many_items_and_no_more() -> None:
    talk = Talk(conversation=Conversation(max_items=2))
    item_id = talk.say("One")["id"]
    talk.say("Two")
    assert talk.refusal("conversation.item.create", item=message("Three")) == ("conversation_full", None)
    assert talk.refusal("response.create") == ("conversation_full", None)
    talk.create(conversation="none")
    talk.send("conversation.item.delete", item_id=item_id)
    talk.create()


def test_a_session_holds_so_many_bytes_and_no_more() -> None:
    talk = Talk(conversation=Conversation(max_bytes=1_000))
    talk.answer(talk.create(), TextDelta("x" * 2_000))
    said = talk.watcher.conversation[0]
    assert talk.refusal("conversation.item.create", item=message("Hi")) == ("conversation_full", None)
    talk.send("conversation.item.delete", item_id=said)
    item_id = talk.say("y" * 700)["id"]
    assert talk.refusal("conversation.item.create", item=message("y" * 700)) == ("conversation_full", None)
    talk.send("conversation.item.delete", item_id=item_id)
    talk.say("y" * 700)


def test_where_there_is_no_room_what_the_user_said_last_stays() -> None:
    talk = Talk()
    talk.say("One")
    talk.answer(talk.create(), *HELLO)
    assert talk.asked[talk.create()].keeps == 2
    talk.send("response.cancel")
    talk.end(list(talk.asked)[-1])
    talk.say("Two")
    assert talk.asked[talk.create()].keeps == 1
    assert talk.asked[talk.create(conversation="none", input=[])].keeps == 1
