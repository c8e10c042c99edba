"""The events of a conversation's log, rendered once: what is kept is what every device gets."""

from typing import Any, assert_never

import msgspec

from chatbackend.adapters.api.conversations import conversation_object
from chatbackend.domain.conversations import Change, ItemAdded, ItemDeleted, ResponseCreated, ResponseEnded, Updated
from chatbackend.usecases.ports import LogEvent

PREFIX = "chatbackend.conversation."
DELETED = f"{PREFIX}deleted"
_encode = msgspec.json.Encoder().encode
_added = msgspec.json.Decoder(ItemAdded).decode
_gone = msgspec.json.Decoder(ItemDeleted).decode


def render(conversation_id: str, change: Change, number: int, *, at: int) -> LogEvent:
    """Return a change as a numbered event; `at` is in seconds since the epoch."""
    kind, fields = _said(change)
    event = {"type": PREFIX + kind, "sequence_number": number, "conversation_id": conversation_id, "at": at}
    return LogEvent(number, PREFIX + kind, _encode({**event, **fields}))


def item_change(event: LogEvent) -> ItemAdded | ItemDeleted | None:
    """Return what a rendered event says of an item, None where it says nothing of one."""
    if event.type == f"{PREFIX}item.added":
        return _added(event.data)
    return _gone(event.data) if event.type == f"{PREFIX}item.deleted" else None


def deleted(conversation_id: str) -> bytes:
    """Return the last event of a conversation. It has no number: there is no log any more that could hold it."""
    return _encode({"type": DELETED, "conversation_id": conversation_id})


def _said(change: Change) -> tuple[str, dict[str, Any]]:
    match change:
        case ItemAdded(item_id, turn, response_id):
            return "item.added", {"item_id": item_id, "turn": turn, "response_id": response_id}
        case ItemDeleted(item_id):
            return "item.deleted", {"item_id": item_id}
        case ResponseCreated(response_id, turn):
            return "response.created", {"response_id": response_id, "turn": turn}
        case ResponseEnded(response_id, status):
            return "response.ended", {"response_id": response_id, "status": status}
        case Updated(conversation):
            return "updated", {"conversation": conversation_object(conversation)}
        case _:
            assert_never(change)
