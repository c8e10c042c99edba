"""Conversations over HTTP, as the `openai` SDK sees them: whole objects, lists, items, deletion."""

from collections.abc import Iterator
from typing import Any, cast

import openai
import pytest
from openai.types.conversations import Conversation, ConversationDeletedResource, ConversationItemList
from openai.types.conversations.conversation_item import ConversationItem
from openai.types.responses import EasyInputMessageParam, ResponseInputItemParam
from pydantic import TypeAdapter

from tests.support import sdk
from tests.support.server import Server

ITEM: TypeAdapter[ConversationItem] = TypeAdapter(ConversationItem)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the module; each test makes conversations of its own."""
    with Server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def client(running: Server) -> Iterator[openai.OpenAI]:
    with sdk.client(running) as client:
        yield client


def as_user(client: openai.OpenAI, user: str) -> openai.OpenAI:
    return client.with_options(default_headers={"chatbackend-user": user})


def message(text: str, item_id: str | None = None) -> ResponseInputItemParam:
    given: EasyInputMessageParam = {"type": "message", "role": "user", "content": text}
    return cast(ResponseInputItemParam, {**given, "id": item_id} if item_id else given)


def texts(client: openai.OpenAI, conversation_id: str) -> list[str]:
    """Return the texts of all messages, oldest first, read in pages of two."""
    found = client.conversations.items.list(conversation_id, order="asc", limit=2)
    return [item.model_dump()["content"][0]["text"] for item in found if item.type == "message"]


def listed(client: openai.OpenAI, **query: object) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/conversations", cast_to=dict[str, Any], options={"params": query})
    return found


def refusal(error: openai.APIStatusError) -> tuple[int, str | None, str | None]:
    return error.status_code, error.code, error.param


def test_a_conversation_is_made_with_items_and_metadata(client: openai.OpenAI) -> None:
    made = client.conversations.create(items=[message("one"), message("two")], metadata={"topic": "tea"})
    Conversation.model_validate(made.model_dump(), strict=True)
    assert made.metadata == {"topic": "tea"}
    assert client.conversations.retrieve(made.id) == made
    assert texts(client, made.id) == ["one", "two"]


def test_metadata_is_replaced_whole(client: openai.OpenAI) -> None:
    made = client.conversations.create(metadata={"a": "1", "b": "2"})
    assert client.conversations.update(made.id, metadata={"c": "3"}).metadata == {"c": "3"}
    assert client.conversations.update(made.id, metadata=None).metadata == {}
    assert client.conversations.retrieve(made.id).metadata == {}


def test_conversations_are_listed_in_pages_and_only_the_callers_own(client: openai.OpenAI) -> None:
    anna, ben = as_user(client, "anna"), as_user(client, "ben")
    ids = [anna.conversations.create().id for _ in range(5)]
    ben.conversations.create()
    first = listed(anna, limit=2)
    assert [each["id"] for each in first["data"]] == [ids[4], ids[3]]
    assert (first["has_more"], first["first_id"], first["last_id"]) == (True, ids[4], ids[3])
    rest = listed(anna, limit=10, after=first["last_id"])
    assert [each["id"] for each in rest["data"]] == [ids[2], ids[1], ids[0]]
    assert not rest["has_more"]
    assert [each["id"] for each in listed(anna, order="asc")["data"]] == ids
    for each in [*first["data"], *rest["data"]]:
        Conversation.model_validate(each, strict=True)


def test_items_are_added_read_and_taken_out(client: openai.OpenAI) -> None:
    conversation_id = client.conversations.create(items=[message("zero")]).id
    call = {"type": "function_call", "call_id": "c1", "name": "add", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c1", "output": "3"}
    items: Any = [message("one", "msg_mine"), call, output]
    added = client.conversations.items.create(conversation_id, items=items)
    ConversationItemList.model_validate(added.model_dump(), strict=True)
    assert [item.type for item in added.data] == ["message", "function_call", "function_call_output"]
    assert (added.first_id, added.last_id, added.has_more) == ("msg_mine", added.data[-1].id, False)
    one = client.conversations.items.retrieve("msg_mine", conversation_id=conversation_id)
    ITEM.validate_python(one.model_dump())
    after = client.conversations.items.delete("msg_mine", conversation_id=conversation_id)
    assert after.id == conversation_id
    with pytest.raises(openai.NotFoundError) as gone:
        client.conversations.items.retrieve("msg_mine", conversation_id=conversation_id)
    assert refusal(gone.value) == (404, "item_not_found", "item_id")
    assert texts(client, conversation_id) == ["zero"]


def test_responses_write_their_items_into_the_conversation_in_turns(client: openai.OpenAI) -> None:
    conversation_id = client.conversations.create(items=[message("zero")]).id
    first = client.responses.create(model="local", input="one", conversation=conversation_id)
    client.conversations.items.create(conversation_id, items=[message("two")])
    client.responses.create(model="local", input="three", conversation=conversation_id)
    assert first.conversation is not None
    assert first.conversation.id == conversation_id
    answer = first.output_text
    assert texts(client, conversation_id) == ["zero", "one", answer, "two", "three", answer]


def test_an_item_taken_out_of_a_conversation_stays_with_its_response(client: openai.OpenAI) -> None:
    conversation_id = client.conversations.create().id
    response = client.responses.create(model="local", input="one", conversation=conversation_id)
    client.conversations.items.delete(response.output[0].id or "", conversation_id=conversation_id)
    assert texts(client, conversation_id) == ["one"]
    assert client.responses.retrieve(response.id).output == response.output


def test_a_deleted_conversation_is_gone_and_its_responses_stay(client: openai.OpenAI) -> None:
    conversation_id = client.conversations.create(items=[message("zero")]).id
    response = client.responses.create(model="local", input="one", conversation=conversation_id)
    deleted = client.conversations.delete(conversation_id)
    ConversationDeletedResource.model_validate(deleted.model_dump(), strict=True)
    assert deleted.deleted
    for read in (
        lambda: client.conversations.retrieve(conversation_id),
        lambda: client.conversations.items.list(conversation_id),
        lambda: client.conversations.delete(conversation_id),
        lambda: client.conversations.items.create(conversation_id, items=[message("x")]),
        lambda: client.conversations.update(conversation_id, metadata={}),
        lambda: client.responses.create(model="local", input="x", conversation=conversation_id),
    ):
        with pytest.raises(openai.NotFoundError) as gone:
            read()
        assert gone.value.code == "conversation_not_found"
    assert client.responses.retrieve(response.id).output_text == response.output_text
    assert [item.id for item in client.responses.input_items.list(response.id)]


def test_another_owner_sees_none_of_it(client: openai.OpenAI) -> None:
    conversation_id = client.conversations.create(items=[message("secret", "msg_secret")]).id
    eve = as_user(client, "eve")
    for read in (
        lambda: eve.conversations.retrieve(conversation_id),
        lambda: eve.conversations.update(conversation_id, metadata={"x": "y"}),
        lambda: eve.conversations.delete(conversation_id),
        lambda: eve.conversations.items.list(conversation_id),
        lambda: eve.conversations.items.create(conversation_id, items=[message("x")]),
        lambda: eve.conversations.items.retrieve("msg_secret", conversation_id=conversation_id),
        lambda: eve.conversations.items.delete("msg_secret", conversation_id=conversation_id),
        lambda: eve.responses.create(model="local", input="x", conversation=conversation_id),
    ):
        with pytest.raises(openai.NotFoundError):
            read()
    with pytest.raises(openai.BadRequestError) as foreign:
        listed(eve, after=conversation_id)
    assert refusal(foreign.value) == (400, None, "after")
    assert texts(client, conversation_id) == ["secret"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"items": [message("x")] * 21}, "items"),
        ({"items": [{"type": "message", "role": "king", "content": "x"}]}, "items"),
        ({"items": [{"type": "item_reference", "id": "msg_1"}]}, "items"),
        ({"items": [message("x", "a"), message("y", "a")]}, "items"),
        ({"items": "text"}, "items"),
        ({"metadata": {"k" * 65: "v"}}, "metadata"),
        ({"metadata": {str(number): "v" for number in range(17)}}, "metadata"),
    ],
)
def test_a_bad_conversation_is_refused_naming_the_field(
    client: openai.OpenAI, body: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.post("/conversations", body=body, cast_to=dict[str, Any])
    assert refused.value.param == param


@pytest.mark.parametrize("items", [[], [message("x")] * 21, None])
def test_one_to_twenty_items_are_added_at_a_time(client: openai.OpenAI, items: object) -> None:
    conversation_id = client.conversations.create().id
    with pytest.raises(openai.BadRequestError) as refused:
        client.post(f"/conversations/{conversation_id}/items", body={"items": items}, cast_to=dict[str, Any])
    assert refused.value.param == "items"


def test_an_item_that_is_there_is_not_added_again(client: openai.OpenAI) -> None:
    conversation_id = client.conversations.create(items=[message("x", "msg_once")]).id
    for again in (
        lambda: client.conversations.items.create(conversation_id, items=[message("y", "msg_once")]),
        lambda: client.responses.create(model="local", input=[message("y", "msg_once")], conversation=conversation_id),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            again()
        assert refused.value.code == "duplicate_item"
    assert texts(client, conversation_id) == ["x"]


def test_the_same_key_makes_a_conversation_and_its_items_once(client: openai.OpenAI) -> None:
    key = {"Idempotency-Key": "make-1"}
    made = client.conversations.create(metadata={"a": "b"}, extra_headers=key)
    assert client.conversations.create(metadata={"a": "b"}, extra_headers=key) == made
    with pytest.raises(openai.UnprocessableEntityError):
        client.conversations.create(metadata={"a": "c"}, extra_headers=key)
    added = client.conversations.items.create(made.id, items=[message("one")], extra_headers=key)
    assert client.conversations.items.create(made.id, items=[message("one")], extra_headers=key) == added
    assert texts(client, made.id) == ["one"]
    client.conversations.delete(made.id)
    with pytest.raises(openai.ConflictError) as gone:
        client.conversations.create(metadata={"a": "b"}, extra_headers=key)
    assert gone.value.code == "idempotent_result_gone"
