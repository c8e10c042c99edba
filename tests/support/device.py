"""A device that keeps a conversation in step: a state that it has read once, and the events behind it."""

from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]


class Device:
    """What a client would keep; `shown` must at all times equal what it would read anew."""

    def __init__(self, state: Json) -> None:
        self.shown = state
        self.deleted = False

    @property
    def last_event(self) -> int:
        """The number of the last event that is in `shown`."""
        return self._state["last_event"]

    @property
    def _state(self) -> Json:
        return self.shown["chatbackend"]["state"]

    def feed(self, events: Sequence[Json]) -> None:
        """Take events in; each number must be the next."""
        for event in events:
            kind = event["type"].removeprefix("chatbackend.conversation.")
            if kind == "deleted":
                self.deleted = True
                continue
            assert event["sequence_number"] == self.last_event + 1, "an event is missing or comes twice"
            assert event["conversation_id"] == self.shown["id"]
            self._take(kind, event)
            self._state["last_event"] = event["sequence_number"]
            self.shown["chatbackend"]["updated_at"] = event["at"]

    def _take(self, kind: str, event: Json) -> None:
        match kind:
            case "item.added":
                self._add({name: event[name] for name in ("item_id", "turn", "response_id")})
            case "item.deleted":
                kept = [item for item in self._state["items"] if item["item_id"] != event["item_id"]]
                self._state["items"] = kept
            case "response.created":
                self._state["running"].append(event["response_id"])
            case "response.ended":
                self._state["running"].remove(event["response_id"])
            case "updated":
                state = self._state
                self.shown = event["conversation"]
                self.shown["chatbackend"]["state"] = state
            case _:
                raise AssertionError(f"unknown event {kind}")

    def _add(self, item: Json) -> None:
        """Put an item behind all of its turn and of earlier ones."""
        items = self._state["items"]
        place = sum(known["turn"] <= item["turn"] for known in items)
        items.insert(place, item)
