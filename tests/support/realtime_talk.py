"""A session in text that a test talks to: both its client and its model, and whoever runs it between them."""

import json
from typing import Any

from chatbackend.adapters.realtime.bridge.conversation import Conversation
from chatbackend.adapters.realtime.bridge.core import Say, Start, Stop, TextBridge
from chatbackend.domain.errors import ChatError, UpstreamError
from chatbackend.domain.events import Finished, ModelEvent, TextDelta, ToolCallDelta, ToolCallStarted
from chatbackend.domain.models import ModelRequest
from chatbackend.domain.realtime import Terms
from chatbackend.domain.usage import Usage
from tests.support.model_events import numbered
from tests.support.realtime_watcher import Event, RealtimeWatcher


class Talk:
    """One session; every frame is watched. `asked` holds what the model was asked, by response."""

    def __init__(
        self, model: str = "claude/m", terms: Terms | None = None, *, conversation: Conversation | None = None
    ) -> None:
        self.bridge = TextBridge(model, numbered(), terms or Terms(), conversation=conversation)
        self.watcher = RealtimeWatcher()
        self.asked: dict[str, ModelRequest] = {}
        self.stopped: list[str] = []
        self.opened = [self.watcher.see(frame) for frame in self.bridge.open()]

    def receive(self, text: str) -> list[Event]:
        """Return the events that a frame is answered with; what the model is to do is noted."""
        events: list[Event] = []
        for step in self.bridge.receive(text):
            match step:
                case Say(frame):
                    events.append(self.watcher.see(frame))
                case Start(response_id, request):
                    self.asked[response_id] = request
                case Stop(response_id):
                    self.stopped.append(response_id)
        return events

    def send(self, kind: str, **fields: object) -> list[Event]:
        """Send a client's event."""
        return self.receive(json.dumps({"type": kind, **fields}))

    def refusal(self, kind: str, **fields: object) -> tuple[str | None, str | None]:
        """Send what is refused; return the code and the field that is named."""
        [event] = self.send(kind, **fields)
        assert event["type"] == "error", event
        return event["error"]["code"], event["error"]["param"]

    def add(self, item: dict[str, Any], **fields: object) -> Event:
        """Create an item; return it as it is shown."""
        added, done = self.send("conversation.item.create", item=item, **fields)
        assert (added["item"], added["previous_item_id"]) == (done["item"], done["previous_item_id"])
        return added["item"]

    def say(self, text: str) -> Event:
        """Create a message of the user."""
        return self.add({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]})

    def create(self, **response: object) -> str:
        """Create a response; return its id."""
        [event] = self.send("response.create", response=response)
        assert event["type"] == "response.created", event
        return event["response"]["id"]

    def hear(self, response_id: str, *said: ModelEvent) -> list[Event]:
        """Let the model say something. Raises: UpstreamError."""
        return [self.watcher.see(frame) for event in said for frame in self.bridge.heard(response_id, event)]

    def end(self, response_id: str, usage: Usage | None = None, error: ChatError | None = None) -> list[Event]:
        """Let the model's answer be over."""
        return [self.watcher.see(frame) for frame in self.bridge.ended(response_id, usage, error)]

    def answer(self, response_id: str, *said: ModelEvent, usage: Usage | None = None) -> list[Event]:
        """Let the model say something and be done; what makes no sense ends the response as failed."""
        try:
            return [*self.hear(response_id, *said), *self.end(response_id, usage)]
        except UpstreamError as error:
            return self.end(response_id, usage, error)

    def call(self, *names: str) -> list[str]:
        """Let the model call functions in a response of its own; return the calls' ids."""
        response_id = self.create()
        for index, name in enumerate(names):
            self.hear(response_id, ToolCallStarted(f"call_{name}", name, index), ToolCallDelta("{}", index))
        self.answer(response_id, Finished("tool_calls"))
        return [f"call_{name}" for name in names]

    def output(self, call_id: str, output: str = "done") -> Event:
        """Give the output of a call."""
        return self.add({"type": "function_call_output", "call_id": call_id, "output": output})


def kinds(events: list[Event]) -> list[str]:
    """Return the events' types."""
    return [event["type"] for event in events]


HELLO = (TextDelta("Hel"), TextDelta("lo"), Finished("stop"))
