"""An answer as Anthropic's message: its events, in the API's order, and the whole of them.

Source: `RawMessageStreamEvent` and `Message` in the `anthropic` package; the API's page on streaming.
"""

from typing import Any

from chatbackend.adapters.api.messages.blocks import Block, Json, Redacted, Text, Thinking, ToolUse
from chatbackend.adapters.api.messages.marks import foreign_signature, shown_id
from chatbackend.adapters.providers.messages.seal import thinking_block
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
from chatbackend.domain.items import Reasoning, UrlCitation
from chatbackend.domain.usage import Usage

PING: Json = {"type": "ping"}
_STOP_REASONS: dict[FinishReason, str] = {
    "stop": "end_turn",
    "tool_calls": "end_turn",  # without a call in it; with one it is `tool_use`
    "length": "max_tokens",
    "content_filter": "refusal",
    "refusal": "refusal",
}


class MessageWriter:
    """Writes one answer: `feed` every event, then `end`. `guess` is what the input may cost, until it is known.

    Blocks come one after the other, as the API has them: what another block says while a tool's input is not whole
    waits for its end.
    """

    def __init__(self, message_id: str, model: str, guess: Usage) -> None:
        self._id = message_id
        self._model = model
        self._usage = guess
        self._begun = False
        self._blocks: list[Block] = []
        self._tools: dict[int, ToolUse] = {}
        self._at = 0  # the block that is being sent
        self._opened = False
        self._reason: FinishReason = "stop"
        self._refusal = ""

    def feed(self, event: ModelEvent) -> list[Json]:
        """Return the events that one event of the model means."""
        if isinstance(event, UsageReported):
            self._usage = event.usage
            return []
        self._take(event)
        return [*self._start(), *self._flow()]

    def end(self, usage: Usage | None = None) -> list[Json]:
        """Return the last events, with what the answer has cost in the end."""
        self._usage = usage or self._usage
        events = self._start()
        while self._at < len(self._blocks):
            events += self._stop()
        delta = {"stop_reason": self._stop_reason(), "stop_sequence": None, "stop_details": self._stop_details()}
        events.append({"type": "message_delta", "delta": delta, "usage": usage_object(self._usage)})
        return [*events, {"type": "message_stop"}]

    def message(self) -> Json:
        """Return the whole message, once `end` was called."""
        return self._message([block.whole() for block in self._blocks]) | {
            "stop_reason": self._stop_reason(),
            "stop_details": self._stop_details(),
        }

    def _message(self, content: list[Json]) -> Json:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_object(self._usage),
        }

    def _take(self, event: ModelEvent) -> None:
        match event:
            case TextDelta(text=text, index=index):
                self._text(index).add(text)
            case RefusalDelta(text=text, index=index):
                self._refusal += text
                self._text(index).add(text)
            case ReasoningDelta(text=text, index=index):
                self._thinking(index).add(text)
            case ReasoningSeal():
                self._seal(event)
            case ToolCallStarted(call_id=call_id, name=name, index=index):
                self._tools[index] = ToolUse(shown_id(call_id), name)
                self._blocks.append(self._tools[index])
            case ToolCallDelta(arguments=arguments, index=index) if self._grows(index):
                self._tools[index].add(arguments)
            case Cited(annotation=UrlCitation() as cited, index=index):
                self._text(index).cite(_citation(cited))
            case Finished(reason=reason):
                self._reason = reason
            case _:  # citations of files, which this API has no words for; arguments behind the end of theirs
                pass

    def _text(self, index: int) -> Text:
        last = self._last()
        if not isinstance(last, Text) or last.index != index:
            last = Text(index)
            self._blocks.append(last)
        return last

    def _thinking(self, index: int) -> Thinking:
        last = self._last()
        if not isinstance(last, Thinking) or last.index != index or last.sealed:
            last = Thinking(index, foreign_signature(None))
            self._blocks.append(last)
        return last

    def _seal(self, event: ReasoningSeal) -> None:
        claudes = thinking_block(Reasoning("", encrypted_content=event.encrypted_content))
        if claudes is not None and claudes["type"] == "redacted_thinking":
            self._blocks.append(Redacted(claudes["data"]))
            return
        signature = claudes["signature"] if claudes else foreign_signature(event.encrypted_content)
        self._thinking(event.index).sign(signature)

    def _grows(self, index: int) -> bool:
        return index in self._tools and self._tools[index] in self._blocks[self._at :]

    def _last(self) -> Block | None:
        return self._blocks[-1] if self._blocks else None

    def _start(self) -> list[Json]:
        if self._begun:
            return []
        self._begun = True
        return [{"type": "message_start", "message": self._message([])}]

    def _flow(self) -> list[Json]:
        """Return what can be said now: all up to the last block, or up to a tool's input that is not whole."""
        events: list[Json] = []
        while self._at < len(self._blocks) - 1 and self._blocks[self._at].over:
            events += self._stop()
        if self._at < len(self._blocks):
            events += self._said()
        return events

    def _said(self) -> list[Json]:
        block = self._blocks[self._at]
        events: list[Json] = []
        if not self._opened:
            self._opened = True
            events.append({"type": "content_block_start", "index": self._at, "content_block": block.opening()})
        news, block.news = block.news, []
        return events + [{"type": "content_block_delta", "index": self._at, "delta": delta} for delta in news]

    def _stop(self) -> list[Json]:
        self._blocks[self._at].close()
        events = [*self._said(), {"type": "content_block_stop", "index": self._at}]
        self._at += 1
        self._opened = False
        return events

    def _stop_reason(self) -> str:
        if self._refusal and self._reason == "stop":
            return "refusal"
        if self._tools and self._reason in ("stop", "tool_calls"):
            return "tool_use"
        return _STOP_REASONS[self._reason]

    def _stop_details(self) -> Json | None:
        if self._stop_reason() != "refusal":
            return None
        return {"type": "refusal", "category": None, "explanation": self._refusal or None}


def usage_object(usage: Usage) -> Json:
    """Return token counts as the API shows them: the input without what a cache held or took."""
    shown: dict[str, Any] = {
        "input_tokens": max(0, usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens),
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
    }
    if usage.reasoning_tokens:
        shown["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return {**shown, "chatbackend_estimated": True} if usage.estimated else shown


def _citation(cited: UrlCitation) -> Json:
    """Return a citation of a web page. What the page says, and its place in a search, no other provider tells."""
    return {
        "type": "web_search_result_location",
        "url": cited.url,
        "title": cited.title,
        "cited_text": "",
        "encrypted_index": "",
    }
