"""A client of a session in text that believes nothing: every event must follow from those before it."""

from dataclasses import dataclass, field
from typing import Any

from tests.support.realtime_types import checked_realtime_event

Event = dict[str, Any]
DONE = {"text": "response.output_text.done", "call": "response.function_call_arguments.done"}


@dataclass(slots=True)
class Made:
    """An item that a response is making."""

    response_id: str
    output_index: int
    item_id: str
    text: list[str] = field(default_factory=list[str])  # of each part
    arguments: str = ""
    open_part: bool = False


@dataclass(slots=True)
class Watched:
    """A response as its client knows it."""

    conversation: bool
    making: dict[str, Made] = field(default_factory=dict[str, Made])
    made: list[Event] = field(default_factory=list[Event])
    added: int = 0


class RealtimeWatcher:
    """Feed every frame of one session to `see`. `conversation` is the order of items that the events tell."""

    def __init__(self) -> None:
        self.running: dict[str, Watched] = {}
        self.ended: dict[str, Event] = {}
        self.conversation: list[str] = []
        self.items: dict[str, Event] = {}
        self._ids: set[str] = set()
        self._last = ""

    def see(self, frame: bytes) -> Event:
        """Return the event. Raises: AssertionError where it does not follow."""
        event = checked_realtime_event(frame)
        kind = event["type"]
        assert event["event_id"] not in self._ids
        self._ids.add(event["event_id"])
        assert (kind == "rate_limits.updated") == (self._last == "response.done")
        assert (kind == "session.created") == (self._last == "")
        self._last = kind
        if kind.startswith("conversation.item."):
            self._item(kind.rpartition(".")[2], event)
        elif kind.startswith("response."):
            self._response(kind, event)
        return event

    def _item(self, what: str, event: Event) -> None:
        match what:
            case "added":
                before = event["previous_item_id"]
                at = 0 if before is None else self.conversation.index(before) + 1
                assert event["item"]["id"] not in self.conversation
                self.conversation.insert(at, event["item"]["id"])
            case "done":
                at = self.conversation.index(event["item"]["id"])
                assert event["previous_item_id"] == (self.conversation[at - 1] if at else None)
                assert event["item"]["status"] != "in_progress"
                self.items[event["item"]["id"]] = event["item"]
            case "deleted":
                self.conversation.remove(event["item_id"])
                del self.items[event["item_id"]]
            case _:
                assert event["item"] == self.items.get(event["item"]["id"], event["item"])

    def _response(self, kind: str, event: Event) -> None:
        if kind == "response.created":
            response = event["response"]
            assert response["id"] not in self.running.keys() | self.ended.keys()
            assert (response["status"], response["output"], response["usage"]) == ("in_progress", [], None)
            conversation = response["conversation_id"] is not None
            assert not (conversation and any(other.conversation for other in self.running.values()))
            self.running[response["id"]] = Watched(conversation)
        elif kind == "response.done":
            self._done(event["response"])
        elif kind == "response.output_item.added":
            self._begin(self.running[event["response_id"]], event)
        else:
            running = self.running[event["response_id"]]
            item_id = event["item"]["id"] if "item" in event else event["item_id"]
            made = running.making[item_id]
            assert made.output_index == event["output_index"]
            self._grow(kind, event, running, made)

    def _begin(self, running: Watched, event: Event) -> None:
        item = event["item"]
        assert event["output_index"] == running.added
        assert (item["status"], item.get("content", []), item.get("arguments", "")) == ("in_progress", [], "")
        running.added += 1
        running.making[item["id"]] = Made(event["response_id"], event["output_index"], item["id"])

    def _grow(self, kind: str, event: Event, running: Watched, made: Made) -> None:
        match kind:
            case "response.content_part.added":
                assert (event["content_index"], made.open_part) == (len(made.text), False)
                made.text.append("")
                made.open_part = True
            case "response.output_text.delta":
                assert (event["content_index"], made.open_part) == (len(made.text) - 1, True)
                made.text[-1] += event["delta"]
            case "response.output_text.done":
                assert (event["text"], made.open_part) == (made.text[event["content_index"]], True)
            case "response.content_part.done":
                assert event["part"] == {"type": "text", "text": made.text[event["content_index"]]}
                made.open_part = False
            case "response.function_call_arguments.delta":
                made.arguments += event["delta"]
            case "response.function_call_arguments.done":
                assert event["arguments"] == made.arguments
            case _:
                assert kind == "response.output_item.done"
                self._whole(event["item"], running, made)

    def _whole(self, item: Event, running: Watched, made: Made) -> None:
        assert not made.open_part
        if item["type"] == "message":
            assert [part["text"] for part in item["content"]] == made.text
        else:
            assert item["arguments"] == made.arguments
        if running.conversation:
            assert self.items[item["id"]] == item
        del running.making[item["id"]]
        running.made.append(item)

    def _done(self, response: Event) -> None:
        running = self.running.pop(response["id"])
        assert running.making == {}
        assert sorted(item["id"] for item in response["output"]) == sorted(item["id"] for item in running.made)
        assert response["status"] in ("completed", "cancelled", "incomplete", "failed")
        assert (response["conversation_id"] is not None) == running.conversation
        self.ended[response["id"]] = response
