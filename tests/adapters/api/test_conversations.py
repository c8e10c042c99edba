"""Requests of the Conversations API checked, its objects as the SDK accepts them."""

from typing import Any

import msgspec
import pytest
from openai.types.conversations import Conversation as SdkConversation
from openai.types.conversations import ConversationDeletedResource
from openai.types.conversations.conversation_item import ConversationItem
from pydantic import TypeAdapter

from chatbackend.adapters.api import conversations as shapes
from chatbackend.adapters.api.items import encode
from chatbackend.domain.conversations import Conversation, Edit, ItemAdded, State
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.items import (
    FileSearchCall,
    FunctionCall,
    FunctionCallOutput,
    InputText,
    Item,
    Message,
    OutputText,
    Reasoning,
    Refusal,
    SearchResult,
)
from tests.support.model_events import numbered

ITEM: TypeAdapter[ConversationItem] = TypeAdapter(ConversationItem)
HELLO = {"role": "user", "content": "hello"}
LOGPROB = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
EVERYTHING = frozenset({"file_search_call.results", "reasoning.encrypted_content", "message.output_text.logprobs"})
SEARCH = FileSearchCall("fs_1", ["q"], results=[SearchResult("file-1", "a.pdf", 0.5, "text")])
ANSWER = Message("msg_1", "assistant", [OutputText("a", [], [LOGPROB]), Refusal("no")])
THOUGHT = Reasoning("rs_1", encrypted_content="sealed")


def test_a_new_conversation_has_items_and_metadata_or_neither() -> None:
    found = shapes.read_create({"items": [HELLO], "metadata": {"a": "b"}}, numbered())
    assert found == ({"a": "b"}, [Message("msg_1", "user", [InputText("hello")])])
    empties: list[dict[str, Any]] = [{}, {"items": None, "metadata": None}, {"items": [], "metadata": {}}]
    for empty in empties:
        assert shapes.read_create(empty, numbered()) == ({}, [])


def test_metadata_is_replaced_by_what_is_given() -> None:
    assert shapes.read_update({"metadata": {"a": "b"}}) == Edit({"a": "b"})
    assert shapes.read_update({"metadata": None}) == Edit({})
    with pytest.raises(InvalidRequest, match="metadata"):
        shapes.read_update({})


def test_an_update_changes_what_it_names() -> None:
    assert shapes.read_update({"chatbackend": {"title": " A\n b "}}) == Edit(title="A b")
    assert shapes.read_update({"chatbackend": {"title": None, "archived": True}}) == Edit(title="", archived=True)
    assert shapes.read_update({"metadata": {}, "chatbackend": {}}) == Edit({})
    for wrong in ({"title": "x" * 201}, {"archived": "yes"}, None):
        with pytest.raises(InvalidRequest, match="chatbackend"):
            shapes.read_update({"chatbackend": wrong})


def test_a_list_is_filtered_and_searched_by_its_query() -> None:
    assert shapes.read_filter({}) == (False, None)
    assert shapes.read_filter({"archived": ["true"], "q": ["tea"]}) == (True, "tea")
    assert shapes.read_filter({"archived": ["any"]}) == (None, None)
    for param, value in (("archived", "maybe"), ("q", "x" * 201)):
        with pytest.raises(InvalidRequest) as refused:
            shapes.read_filter({param: [value]})
        assert refused.value.param == param


def test_a_cursor_is_a_number_and_the_browsers_own_counts() -> None:
    assert shapes.read_cursor({}, None) == -1
    assert shapes.read_cursor({"after": ["3"]}, None) == 3
    assert shapes.read_cursor({"after": ["3"]}, "5") == 5
    for query, header in (({"after": ["-2"]}, None), ({}, "x"), ({"after": ["9" * 16]}, None)):
        with pytest.raises(InvalidRequest):
            shapes.read_cursor(query, header)


def test_a_branch_names_its_last_item_or_none() -> None:
    assert shapes.read_branch({"after": "msg_1"}) == "msg_1"
    assert shapes.read_branch({}) is None


def test_a_state_is_the_object_and_what_its_events_change() -> None:
    state = State(Conversation("conv_1", 1, title="Tea"), 4, [ItemAdded("msg_1", 1, None)], ["resp_1"])
    shown = shapes.state_object(state)
    SdkConversation.model_validate(shown, strict=True)
    assert shown["chatbackend"].pop("state") == {
        "last_event": 4,
        "items": [{"item_id": "msg_1", "turn": 1, "response_id": None}],
        "has_more": False,
        "running": ["resp_1"],
    }
    assert shown == shapes.conversation_object(state.conversation)
    assert [shapes.with_state(query) for query in ({}, {"include": ["x"]}, {"include[]": [shapes.STATE]})] == [
        False, False, True,
    ]  # fmt: skip


def test_an_export_has_a_line_for_each_object() -> None:
    line = shapes.exported_item(2, "resp_1", encode(ANSWER))
    assert line.endswith(b"\n")
    found = msgspec.json.decode(line)
    ITEM.validate_python(found.pop("item"))
    assert found == {"object": "chatbackend.item", "turn": 2, "response_id": "resp_1"}
    assert shapes.exported({"a": "b\n"}) == b'{"a":"b\\n"}\n'


def test_erasing_is_asked_for_in_so_many_words() -> None:
    assert (shapes.read_erase({}), shapes.read_erase({"erase": ["true"]})) == (False, True)
    with pytest.raises(InvalidRequest):
        shapes.read_erase({"erase": ["1"]})


def test_one_to_twenty_items_are_added() -> None:
    assert len(shapes.read_items({"items": [HELLO] * 20}, numbered())) == 20
    for wrong in ([], [HELLO] * 21):
        with pytest.raises(InvalidRequest) as refused:
            shapes.read_items({"items": wrong}, numbered())
        assert refused.value.param == "items"


def test_a_reference_is_nothing_to_add() -> None:
    with pytest.raises(InvalidRequest) as refused:
        shapes.read_items({"items": [{"type": "item_reference", "id": "msg_1"}]}, numbered())
    assert refused.value.param == "items"


def test_conversations_are_objects_of_the_sdk() -> None:
    shown = shapes.conversation_object(Conversation("conv_1", 7, {"a": "b"}))
    assert SdkConversation.model_validate(shown, strict=True).metadata == {"a": "b"}
    assert ConversationDeletedResource.model_validate(shapes.deleted_object("conv_1"), strict=True).deleted


@pytest.mark.parametrize("include", [frozenset[str](), EVERYTHING])
@pytest.mark.parametrize(
    "item",
    [
        SEARCH,
        ANSWER,
        THOUGHT,
        Message("msg_1", "user", [InputText("a")]),
        FunctionCall("fc_1", "c", "f"),
        FunctionCallOutput("fo_1", "c", "1"),
    ],
)
def test_items_are_objects_of_the_sdk(item: Item, include: frozenset[str]) -> None:
    ITEM.validate_json(msgspec.json.encode(shapes.item_object(encode(item), include)), strict=True)


@pytest.mark.parametrize(
    ("item", "include", "less"),
    [
        (SEARCH, "file_search_call.results", {"results": None}),
        (THOUGHT, "reasoning.encrypted_content", {"encrypted_content": None}),
    ],
)
def test_what_is_bulky_or_sealed_is_shown_where_it_is_asked_for(
    item: Item, include: str, less: dict[str, None]
) -> None:
    whole = msgspec.to_builtins(item)
    assert shapes.item_object(encode(item), frozenset({include})) == whole
    assert shapes.item_object(encode(item), frozenset()) == whole | less


def test_log_probabilities_are_shown_where_they_are_asked_for() -> None:
    found = shapes.item_object(encode(ANSWER), frozenset({"message.output_text.logprobs"}))
    assert found["content"][0]["logprobs"] == [LOGPROB]
    assert shapes.item_object(encode(ANSWER), frozenset())["content"][0]["logprobs"] == []


def test_include_is_read_in_both_spellings() -> None:
    assert shapes.included({"include": ["a"], "include[]": ["b", "c"]}) == {"a", "b", "c"}
    assert shapes.included({}) == frozenset()


def test_what_is_not_there_is_named() -> None:
    missing = shapes.conversation_not_found("conv_1", param="conversation")
    assert (missing.param, missing.code) == ("conversation", "conversation_not_found")
    assert "conv_1" in missing.message
    assert shapes.item_not_found("msg_1").code == "item_not_found"
