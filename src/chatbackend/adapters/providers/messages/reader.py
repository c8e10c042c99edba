"""Anthropic answers, event by event or whole, as `ModelEvent`s.

Text blocks that touch (citations cut a text into blocks) are one part; blocks of the provider's own tools are not ours
to show, but they part the text around them.
Source: the streaming events of the Anthropic API; the types of the `anthropic` package.
"""

from dataclasses import dataclass, field

import msgspec

from chatbackend.adapters.providers.codec import GARBAGE
from chatbackend.adapters.providers.messages.seal import seal_redacted, seal_signature
from chatbackend.adapters.providers.messages.shapes import (
    Block,
    Citation,
    ClaudeUsage,
    Delta,
    Event,
    Message,
    StopDetails,
)
from chatbackend.adapters.providers.provider_errors import fault_of, stream_error
from chatbackend.adapters.wire.sse import SseEvent
from chatbackend.domain.errors import UpstreamCut, UpstreamError
from chatbackend.domain.events import (
    Cited,
    Finished,
    FinishReason,
    ModelEvent,
    ReasoningDelta,
    ReasoningSeal,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from chatbackend.domain.items import UrlCitation

_EVENT = msgspec.json.Decoder(Event)
_MESSAGE = msgspec.json.Decoder(Message)
_FINISH: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "length",  # the answer goes on if asked for, by tools of the provider's own, which we do not show
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "refusal",
}


@dataclass(slots=True)
class _Open:
    """A content block that has not ended; `start` is where its text begins in the part."""

    kind: str
    index: int
    start: int = 0
    signature: str = ""
    input: bytes = b""
    argued: bool = False
    citations: list[Citation] = field(default_factory=list[Citation])


class ClaudeReader:
    """Reads one answer."""

    place = None

    def __init__(self) -> None:
        self.done = False
        self._blocks: dict[int, _Open] = {}
        self._next_index = 0
        self._text_index: int | None = None  # the part that a text block would continue
        self._text_length = 0
        self._usage = ClaudeUsage()
        self._stop_reason: str | None = None
        self._explanation: str | None = None

    def feed(self, event: SseEvent) -> list[ModelEvent]:
        """Return what one event says; see `codec.Reader`."""
        if self.done:
            return []
        told = _decode(event.data)
        match told.type:
            case "content_block_delta" if told.delta is not None:
                return self._grow(told.index, told.delta)
            case "content_block_start" if told.content_block is not None:
                return self._start(told.index, told.content_block)
            case "content_block_stop":
                return self._stop(told.index)
            case "message_start" if told.message is not None:
                return self._report(told.message.usage)
            case "message_delta" if told.delta is not None:
                self._stopped(told.delta.stop_reason, told.delta.stop_details)
                return self._report(told.usage)
            case "message_stop":
                return self.end()
            case "error":
                raise stream_error(fault_of(event.data))
            case _:  # pings, and what the API may add
                return []

    def end(self) -> list[ModelEvent]:
        """Return what was held back; see `codec.Reader`."""
        if self.done:
            return []
        self.done = True
        if self._stop_reason is None:
            raise UpstreamCut("The provider's answer ended before its end.")
        events: list[ModelEvent] = [event for index in tuple(self._blocks) for event in self._stop(index)]
        reason = _FINISH.get(self._stop_reason, "stop")
        if reason == "refusal" and self._explanation:
            events.append(RefusalDelta(self._explanation, self._next_index))
        return [*events, Finished(reason)]

    def whole(self, body: bytes) -> list[ModelEvent]:
        """Return the events of an answer that came as one JSON body; see `codec.Codec`."""
        try:
            message = _MESSAGE.decode(body)
        except GARBAGE as error:
            raise UpstreamError("The provider sent what is no message.") from error
        if message.type == "error":
            raise stream_error(fault_of(body))
        events: list[ModelEvent] = []
        for index, block in enumerate(message.content or ()):
            events += self._start(index, block)
            events += self._stop(index)
        self._stopped(message.stop_reason, message.stop_details)
        return events + self._report(message.usage) + self.end()

    def _start(self, number: int, block: Block) -> list[ModelEvent]:
        opened = _Open(block.type, number, signature=block.signature or "", citations=block.citations or [])
        self._blocks[number] = opened
        self._next_index = number + 1
        if block.type == "text":
            return self._start_text(opened, block.text or "")
        self._text_index = None
        match block.type:
            case "thinking" if block.thinking:
                return [ReasoningDelta(block.thinking, number)]
            case "redacted_thinking":
                return [ReasoningSeal(seal_redacted(block.data or ""), number)]
            case "tool_use":
                opened.input = bytes(block.input)
                return [ToolCallStarted(block.id, block.name, number)]
            case _:
                return []

    def _start_text(self, opened: _Open, text: str) -> list[ModelEvent]:
        if self._text_index is None:
            self._text_index, self._text_length = opened.index, 0
        opened.index, opened.start = self._text_index, self._text_length
        return self._text(opened, text) if text else []

    def _grow(self, number: int, delta: Delta) -> list[ModelEvent]:
        block = self._blocks.get(number)
        if block is None:
            raise UpstreamError("The provider continued a block that it had not begun.")
        match delta.type, block.kind:
            case "text_delta", "text":
                return self._text(block, delta.text)
            case "thinking_delta", "thinking":
                return [ReasoningDelta(delta.thinking, block.index)]
            case "input_json_delta", "tool_use" if delta.partial_json:
                block.argued = True
                return [ToolCallDelta(delta.partial_json, block.index)]
            case "signature_delta", "thinking":
                block.signature = delta.signature
            case "citations_delta", "text" if delta.citation is not None:
                block.citations.append(delta.citation)
            case _:  # deltas of the provider's own tools, and what the API may add
                pass
        return []

    def _text(self, block: _Open, text: str) -> list[ModelEvent]:
        self._text_length += len(text)
        return [TextDelta(text, block.index)]

    def _stop(self, number: int) -> list[ModelEvent]:
        block = self._blocks.pop(number, None)
        if block is None:
            return []
        match block.kind:
            case "text" if self._text_length > block.start:
                return [Cited(citation, block.index) for citation in self._placed(block)]
            case "thinking" if block.signature:
                return [ReasoningSeal(seal_signature(block.signature), block.index)]
            case "tool_use" if not block.argued:
                return [ToolCallDelta(block.input.decode() or "{}", block.index)]
            case _:
                return []

    def _placed(self, block: _Open) -> list[UrlCitation]:
        """Return the citations of web pages; each stands for its whole block."""
        span = (block.start, self._text_length)
        return [UrlCitation(cited.url, cited.title or "", *span) for cited in block.citations if cited.url]

    def _stopped(self, reason: str | None, details: StopDetails | None) -> None:
        self._stop_reason = reason or self._stop_reason
        self._explanation = details.explanation if details else self._explanation

    def _report(self, usage: ClaudeUsage | None) -> list[ModelEvent]:
        if usage is None:
            return []
        self._usage.update(usage)
        return [UsageReported(self._usage.to_domain())]


def _decode(data: bytes) -> Event:
    try:
        return _EVENT.decode(data)
    except GARBAGE as error:
        raise UpstreamError("The provider sent what is no event of a message.") from error
