"""What a list of `ModelEvent`s amounts to, to compare answers by what they say and not by how it came in pieces."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, assert_never

from chatbackend.adapters.providers.answer_body import StreamedBody
from chatbackend.adapters.providers.codec import Codec
from chatbackend.domain.events import (
    Cited,
    Finished,
    ModelEvent,
    ReasoningDelta,
    ReasoningSeal,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from chatbackend.domain.items import Annotation
from chatbackend.domain.models import ModelRequest
from chatbackend.domain.usage import Usage


@dataclass
class Heard:
    """Texts by index, calls as [id, name, arguments] in order, the last usage, the reason it finished."""

    texts: dict[int, str] = field(default_factory=dict[int, str])
    reasoning: dict[int, str] = field(default_factory=dict[int, str])
    seals: list[str] = field(default_factory=list[str])
    refusal: str = ""
    calls: dict[int, list[str]] = field(default_factory=dict[int, list[str]])
    citations: list[tuple[int, Annotation]] = field(default_factory=list[tuple[int, Annotation]])
    logprobs: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    usage: Usage | None = None
    finish: str | None = None

    @property
    def text(self) -> str:
        """All text, in the order of its parts."""
        return "".join(self.texts.values())

    @property
    def thoughts(self) -> str:
        """All reasoning, in the order of its parts."""
        return "".join(self.reasoning.values())

    @property
    def tools(self) -> list[tuple[str, str]]:
        """(name, arguments) of each call, in order."""
        return [(name, arguments) for _, name, arguments in self.calls.values()]

    def take(self, event: ModelEvent) -> None:
        """Add one event; nothing but usage may follow the finish."""
        assert self.finish is None or isinstance(event, UsageReported)
        match event:
            case TextDelta():
                self.texts[event.index] = self.texts.get(event.index, "") + event.text
                self.logprobs += event.logprobs or []
            case ReasoningDelta():
                self.reasoning[event.index] = self.reasoning.get(event.index, "") + event.text
            case ReasoningSeal():
                self.seals.append(event.encrypted_content)
            case RefusalDelta():
                self.refusal += event.text
            case ToolCallStarted():
                assert event.index not in self.calls
                self.calls[event.index] = [event.call_id, event.name, ""]
            case ToolCallDelta():
                self.calls[event.index][2] += event.arguments
            case Cited():
                self.citations.append((event.index, event.annotation))
            case UsageReported():
                self.usage = event.usage
            case Finished():
                self.finish = event.reason
            case _:
                assert_never(event)


def hear(events: Iterable[ModelEvent]) -> Heard:
    """Return what the events amount to."""
    heard = Heard()
    for event in events:
        heard.take(event)
    return heard


def replay(codec: Codec, stream: bytes, cuts: Iterable[int] = ()) -> list[ModelEvent]:
    """Return the events of a streamed answer whose bytes arrive cut at `cuts`."""
    return replay_for(codec, ModelRequest("m", []), stream, cuts)


def replay_for(codec: Codec, request: ModelRequest, stream: bytes, cuts: Iterable[int] = ()) -> list[ModelEvent]:
    """Return the events of a streamed answer to this request."""
    places = [0, *sorted(cuts), len(stream)]
    body = StreamedBody(codec.reader(request))
    events = [event for start, end in pairwise(places) for event in body.feed(stream[start:end])]
    return events + body.end()


def sse(*data: str) -> bytes:
    """Return a stream of nameless events."""
    return "".join(f"data: {line}\n\n" for line in data).encode()
