"""One response of a session: the model's events become those of the Realtime API, in its order.

Source: the `openai` package, types/realtime/response_*.py; the order as sessions in text have it.
"""

from dataclasses import dataclass
from typing import Any, cast

from chatbackend.adapters import errors as wire_errors
from chatbackend.adapters.api.items import NewId
from chatbackend.adapters.realtime.bridge.conversation import Conversation
from chatbackend.adapters.realtime.bridge.frames import Frames
from chatbackend.adapters.realtime.bridge.items import SessionItem, plain_text, shown
from chatbackend.adapters.realtime.bridge.settings import MODALITIES
from chatbackend.domain import answer as steps
from chatbackend.domain.answer import Answer, AnswerEvent
from chatbackend.domain.errors import ChatError
from chatbackend.domain.events import ModelEvent
from chatbackend.domain.items import FunctionCall, Message, OutputText, Reasoning, Refusal
from chatbackend.domain.responses import CANCELLED, Outcome, failed, finished
from chatbackend.domain.usage import Usage

Json = dict[str, Any]
Grown = steps.PartAdded | steps.PartGrew | steps.TextDone | steps.PartDone | steps.ArgumentsGrew | steps.ArgumentsDone


@dataclass(frozen=True, slots=True)
class Head:
    """What a response shows of how it was asked for. `conversation_id`: None outside of the conversation."""

    conversation_id: str | None
    max_output_tokens: int | str
    metadata: dict[str, str] | None


class RunningResponse:
    """A response from its beginning to its one end. `conversation`: where its items go, None for nowhere."""

    def __init__(self, frames: Frames, head: Head, conversation: Conversation | None, new_id: NewId) -> None:
        self.id = new_id("resp")
        self.cancelled = False
        self._frames = frames
        self._head = head
        self._conversation = conversation
        self._answer = Answer(new_id)
        self._numbers: dict[int, int] = {}  # of the items that are shown, by their place in the answer
        self._reasoning: list[Reasoning] = []  # sealed, before the next item

    @property
    def in_conversation(self) -> bool:
        """Whether its items are added to the session's conversation."""
        return self._conversation is not None

    def begin(self) -> bytes:
        """Return the first event."""
        return self._frames.event("response.created", response=self._shown("in_progress"))

    def feed(self, event: ModelEvent) -> list[bytes]:
        """Return the events that one of the model's means. Raises: UpstreamError for one that makes no sense."""
        return [frame for step in self._answer.feed(event) for frame in self._step(step)]

    def end(self, usage: Usage | None, error: ChatError | None) -> list[bytes]:
        """Return the last events. `usage`: None where no provider was asked."""
        outcome = self._outcome(error)
        told = [frame for step in self._answer.close(outcome) for frame in self._step(step)]
        details = _details(outcome, error)
        response = self._shown(outcome.status, details=details, usage=None if usage is None else usage_object(usage))
        # Nobody is told any limit: the event is there for clients that wait for it behind every response.
        return [
            *told,
            self._frames.event("response.done", response=response),
            self._frames.event("rate_limits.updated", rate_limits=[]),
        ]

    def _outcome(self, error: ChatError | None) -> Outcome:
        if self.cancelled:
            return CANCELLED
        return finished(self._answer.finish or "stop") if error is None else failed(error)

    def _shown(self, status: str, *, details: Json | None = None, usage: Json | None = None) -> Json:
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": details,
            "output": [shown(item) for item in self._answer.items if isinstance(item, Message | FunctionCall)],
            "conversation_id": self._head.conversation_id,
            "output_modalities": MODALITIES,
            "max_output_tokens": self._head.max_output_tokens,
            "metadata": self._head.metadata,
            "usage": usage,
        }

    def _step(self, step: AnswerEvent) -> list[bytes]:
        match step:
            case steps.ItemAdded(output_index=index, item=Message() | FunctionCall() as item):
                return self._added(index, item)
            case steps.ItemDone(output_index=index, item=Message() | FunctionCall() as item):
                return self._done(index, item)
            case steps.ItemDone(item=Reasoning(encrypted_content=str()) as item):
                self._reasoning.append(item)  # without a seal no provider takes it back
                return []
            case _ if step.output_index in self._numbers:
                return self._grown(step)
            case _:  # what a model thinks is not shown
                return []

    def _added(self, index: int, item: SessionItem) -> list[bytes]:
        self._numbers[index] = len(self._numbers)
        reasoning, self._reasoning = self._reasoning, []
        told = [self._about_item("response.output_item.added", index, item)]
        if self._conversation is not None:
            before = self._conversation.begin(item, reasoning)
            told.append(self._about_place("conversation.item.added", item, before))
        return told

    def _done(self, index: int, item: SessionItem) -> list[bytes]:
        told: list[bytes] = []
        if self._conversation is not None:
            before = self._conversation.end(item)
            told.append(self._about_place("conversation.item.done", item, before))
        return [*told, self._about_item("response.output_item.done", index, item)]

    def _grown(self, step: AnswerEvent) -> list[bytes]:
        match step:
            case steps.PartGrew(content_index=index, delta=delta):
                return [self._about("response.output_text.delta", step, content_index=index, delta=delta)]
            case steps.ArgumentsGrew(delta=delta):
                return [self._about("response.function_call_arguments.delta", step, **self._call(step), delta=delta)]
            case steps.PartAdded(content_index=index):
                part = {"type": "text", "text": ""}
                return [self._about("response.content_part.added", step, content_index=index, part=part)]
            case steps.TextDone(content_index=index, part=OutputText() | Refusal() as part):
                text = plain_text(part)
                return [self._about("response.output_text.done", step, content_index=index, text=text)]
            case steps.PartDone(content_index=index, part=OutputText() | Refusal() as part):
                whole = {"type": "text", "text": plain_text(part)}
                return [self._about("response.content_part.done", step, content_index=index, part=whole)]
            case steps.ArgumentsDone(name=name, arguments=arguments):
                whole = {**self._call(step), "name": name, "arguments": arguments}
                return [self._about("response.function_call_arguments.done", step, **whole)]
            case _:  # a citation, which is shown with its text when that is whole
                return []

    def _call(self, step: steps.ArgumentsGrew | steps.ArgumentsDone) -> Json:
        return {"call_id": cast(FunctionCall, self._answer.items[step.output_index]).call_id}

    def _about(self, kind: str, step: Grown, **fields: object) -> bytes:
        place = {"response_id": self.id, "item_id": step.item_id, "output_index": self._numbers[step.output_index]}
        return self._frames.event(kind, **place, **fields)

    def _about_item(self, kind: str, index: int, item: SessionItem) -> bytes:
        number = self._numbers[index]
        return self._frames.event(kind, response_id=self.id, output_index=number, item=shown(item))

    def _about_place(self, kind: str, item: SessionItem, before: str | None) -> bytes:
        return self._frames.event(kind, previous_item_id=before, item=shown(item))


def usage_object(usage: Usage) -> Json:
    """Return token counts as the API shows them; an estimate says so in `chatbackend_estimated`."""
    cached = {"text_tokens": usage.cached_tokens, "audio_tokens": 0, "image_tokens": 0}
    shown: Json = {
        "total_tokens": usage.total_tokens,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "input_token_details": {
            "text_tokens": usage.input_tokens,
            "audio_tokens": 0,
            "image_tokens": 0,
            "cached_tokens": usage.cached_tokens,
            "cached_tokens_details": cached,
        },
        "output_token_details": {"text_tokens": usage.output_tokens, "audio_tokens": 0},
    }
    return {**shown, "chatbackend_estimated": True} if usage.estimated else shown


def _details(outcome: Outcome, error: ChatError | None) -> Json | None:
    if outcome.status == "cancelled":
        return {"type": "cancelled", "reason": "client_cancelled"}
    if error is not None:
        shown = wire_errors.body(error)
        return {"type": "failed", "error": {name: shown[name] for name in ("type", "code", "message")}}
    if outcome.status == "incomplete":
        return {"type": "incomplete", "reason": outcome.incomplete_reason}
    return None
