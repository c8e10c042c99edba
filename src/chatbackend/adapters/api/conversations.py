"""The Conversations API's shapes: requests checked, conversations and their items shown.

Source: the `openai` package, types/conversations.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from chatbackend.adapters.api import items as wire
from chatbackend.adapters.api.checking import checked
from chatbackend.adapters.api.responses import Metadata
from chatbackend.domain.conversations import TITLE_MAX, Conversation, Edit, State, one_line
from chatbackend.domain.errors import InvalidRequest, NotFound
from chatbackend.domain.items import Item

MAX_ITEMS = 20
QUERY_MAX = 200  # characters of what is sought in conversations
STATE = "chatbackend.state"
_NUMBER = re.compile(r"-1|[0-9]{1,15}")
_ARCHIVED = {"true": True, "false": False, "any": None}
Items = Annotated[list[dict[str, Any]], Meta(max_length=MAX_ITEMS)]
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


class CreateConversation(Struct):
    """The body of `POST /v1/conversations`."""

    items: Items | None = None
    metadata: Annotated[Metadata, Meta(max_length=16)] | None = None


class OwnFields(Struct):
    """What is ours in an update. A title of null, or one without words, gives way to the one made from the messages."""

    title: Annotated[str, Meta(max_length=TITLE_MAX)] | UnsetType | None = UNSET
    archived: bool | UnsetType = UNSET


class UpdateConversation(Struct):
    """The body of `POST /v1/conversations/{id}`: what is given takes the place of what was there."""

    metadata: Annotated[Metadata, Meta(max_length=16)] | UnsetType | None = UNSET
    chatbackend: OwnFields | UnsetType = UNSET


class BranchConversation(Struct):
    """The body of `POST /v1/conversations/{id}/branch`: the last item to take along; all of them without it."""

    after: str | None = None


class AddItems(Struct):
    """The body of `POST /v1/conversations/{id}/items`."""

    items: Annotated[Items, Meta(min_length=1)]


def read_create(body: Mapping[str, Any], new_id: Callable[[str], str]) -> tuple[dict[str, str], list[Item]]:
    """Return the metadata and first items of a new conversation. Raises: InvalidRequest naming the field."""
    request = checked(body, CreateConversation)
    return dict(request.metadata or {}), _items(request.items or [], new_id)


def read_update(body: Mapping[str, Any]) -> Edit:
    """Return what is to change. Raises: InvalidRequest naming the field."""
    request = checked(body, UpdateConversation)
    if request.metadata is UNSET and request.chatbackend is UNSET:
        message = "Missing required parameter: 'metadata'."
        raise InvalidRequest(message, param="metadata", code="missing_required_parameter")
    ours = OwnFields() if request.chatbackend is UNSET else request.chatbackend
    return Edit(
        None if request.metadata is UNSET else dict(request.metadata or {}),
        None if ours.title is UNSET else one_line(ours.title or ""),
        None if ours.archived is UNSET else ours.archived,
    )


def read_branch(body: Mapping[str, Any]) -> str | None:
    """Return the id of the last item of a branch. Raises: InvalidRequest naming the field."""
    return checked(body, BranchConversation).after


def read_erase(query: Mapping[str, Sequence[str]]) -> bool:
    """Return whether a deletion takes everything along. Raises: InvalidRequest."""
    value = query.get("erase", ["false"])[-1]
    if value not in ("true", "false"):
        raise InvalidRequest("'erase' must be true or false.", param="erase")
    return value == "true"


def read_cursor(query: Mapping[str, Sequence[str]], last_event_id: str | None) -> int:
    """Return the number of the last event that a device has, -1 for none; a browser's own is the newer one.

    Raises: InvalidRequest naming the parameter.
    """
    given, param = query.get("after", ["-1"])[-1], "after"
    if last_event_id is not None:
        given, param = last_event_id, "Last-Event-ID"
    if not _NUMBER.fullmatch(given):
        raise InvalidRequest(f"'{param}' must be an event's number, or -1 for all there are.", param=param)
    return int(given)


def with_state(query: Mapping[str, Sequence[str]]) -> bool:
    """Return whether `include` asks for what a conversation's events change."""
    return STATE in included(query)


def exported_item(turn: int, response_id: str | None, body: bytes) -> bytes:
    """Return an item's line of an export."""
    line = {"object": "chatbackend.item", "turn": turn, "response_id": response_id, "item": msgspec.Raw(body)}
    return _encode(line) + b"\n"


def exported(shown: object) -> bytes:
    """Return the line of a conversation or a response in an export."""
    return _encode(shown) + b"\n"


def read_filter(query: Mapping[str, Sequence[str]]) -> tuple[bool | None, str | None]:
    """Return which conversations are listed: archived, others or (None) both; and what is sought in them.

    Raises: InvalidRequest naming the parameter.
    """
    archived, sought = query.get("archived", ["false"])[-1], query.get("q", [None])[-1]
    if archived not in _ARCHIVED:
        raise InvalidRequest("'archived' must be true, false or any.", param="archived")
    if sought is not None and len(sought) > QUERY_MAX:
        raise InvalidRequest(f"'q' has at most {QUERY_MAX} characters.", param="q")
    return _ARCHIVED[archived], sought


def read_items(body: Mapping[str, Any], new_id: Callable[[str], str]) -> list[Item]:
    """Return the items to add. Raises: InvalidRequest naming the field."""
    return _items(checked(body, AddItems).items, new_id)


def _items(given: list[dict[str, Any]], new_id: Callable[[str], str]) -> list[Item]:
    found = wire.from_input(given, new_id, param="items")
    if len(found) != len(given):
        raise InvalidRequest("An item_reference cannot be added to a conversation.", param="items")
    return found


def conversation_object(conversation: Conversation) -> dict[str, Any]:
    """Return the conversation object as the API shows it."""
    return {
        "id": conversation.id,
        "object": "conversation",
        "created_at": conversation.created_at,
        "metadata": conversation.metadata,
        "chatbackend": {
            "title": conversation.title,
            "archived": conversation.archived,
            "updated_at": conversation.updated_at,
            "branched_from": conversation.branched_from,
        },
    }


def state_object(state: State) -> dict[str, Any]:
    """Return the conversation object with all that its events change: `include=chatbackend.state`."""
    shown = conversation_object(state.conversation)
    items = [{"item_id": item.item_id, "turn": item.turn, "response_id": item.response_id} for item in state.items]
    ours = {"last_event": state.last_event, "items": items, "has_more": state.more, "running": state.running}
    return {**shown, "chatbackend": {**shown["chatbackend"], "state": ours}}


def deleted_object(conversation_id: str) -> dict[str, Any]:
    """Return what a deletion is answered with."""
    return {"id": conversation_id, "object": "conversation.deleted", "deleted": True}


def included(query: Mapping[str, Sequence[str]]) -> frozenset[str]:
    """Return what a request's `include` asks for (the SDKs write `include[]`)."""
    return frozenset([*query.get("include", ()), *query.get("include[]", ())])


def item_object(body: bytes, include: frozenset[str]) -> dict[str, Any]:
    """Return a stored item as the API shows it: bulky or opaque fields only where `include` asks for them."""
    item = _decode(body)
    match item["type"]:
        case "file_search_call" if "file_search_call.results" not in include:
            item["results"] = None
        case "reasoning" if "reasoning.encrypted_content" not in include:
            item["encrypted_content"] = None
        case "message" if "message.output_text.logprobs" not in include:
            for part in item["content"]:
                if part["type"] == "output_text":
                    part["logprobs"] = []
        case _:
            pass
    return item


def conversation_not_found(conversation_id: str, *, param: str = "conversation_id") -> NotFound:
    """Return the error for a conversation that this caller does not have."""
    message = f"Conversation with id '{conversation_id}' not found."
    return NotFound(message, param=param, code="conversation_not_found")


def item_not_found(item_id: str, *, param: str = "item_id") -> NotFound:
    """Return the error for an item that is not in the conversation."""
    return NotFound(f"Item with id '{item_id}' not found.", param=param, code="item_not_found")
