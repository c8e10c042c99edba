"""Chat Completions answers, chunk by chunk or whole, as `ModelEvent`s.

`Finished` is held back until the end mark or the last byte, because usage and citations follow the finish reason.
"""

import re
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from chatbackend.adapters.providers.chat.shapes import Choice, Chunk, ContentPart, Delta, Source
from chatbackend.adapters.providers.chat.tool_calls import ToolCalls
from chatbackend.adapters.providers.codec import GARBAGE
from chatbackend.adapters.providers.provider_errors import Fault, fault_of, stream_error
from chatbackend.adapters.wire.sse import SseEvent
from chatbackend.domain.errors import UpstreamCut, UpstreamError, UpstreamOverloaded
from chatbackend.domain.events import (
    Cited,
    Finished,
    FinishReason,
    ModelEvent,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    UsageReported,
)
from chatbackend.domain.items import UrlCitation

_DECODER = msgspec.json.Decoder(Chunk)
_FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "model_length": "length",  # Mistral: the context window is full
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "refusal",
}
_BROKEN = frozenset(("error", "abort"))  # Mistral and OpenRouter; vLLM
T = TypeVar("T")
_MARK = re.compile(r"\[(\d{1,3})\]")


class ChatReader:
    """Reads one answer. Choices other than the first are not ours to read."""

    place = None

    def __init__(self) -> None:
        self.done = False
        self.answer_id: str | None = None
        self._finish: str | None = None
        self._calls = ToolCalls()
        self._texts: list[str] = []
        self._urls = Raw()
        self._sources = Raw()

    def feed(self, event: SseEvent) -> list[ModelEvent]:
        """Return what one event says; see `codec.Reader`."""
        if self.done or not event.data:
            return []
        if event.data == b"[DONE]":
            return self.end()
        if event.event == "error":
            raise stream_error(fault_of(event.data))
        return self.take(event.data)

    def end(self) -> list[ModelEvent]:
        """Return what was held back; see `codec.Reader`."""
        if self.done:
            return []
        self.done = True
        return [*self._calls.end(), *self._cited(), Finished(self._reason())]

    def take(self, data: bytes) -> list[ModelEvent]:
        """Return what a chunk, or a whole answer, says.

        Raises: UpstreamError (and below) for garbage or an error object.
        """
        try:
            chunk = _DECODER.decode(data)
        except GARBAGE as error:
            raise UpstreamError("The provider sent what is no chat completion.") from error
        if chunk.error or chunk.object == "error":
            raise stream_error(fault_of(data))
        self.answer_id = chunk.id or self.answer_id
        events: list[ModelEvent] = []
        for choice in chunk.choices or ():
            if not choice.index:
                self._choose(choice, chunk.id, events)
        self._take_extras(chunk, events)
        return events

    def _choose(self, choice: Choice, answer_id: str | None, events: list[ModelEvent]) -> None:
        delta = choice.delta or choice.message
        if delta is not None:
            logprobs = choice.logprobs.to_domain() if choice.logprobs and choice.logprobs.content else None
            self._take_delta(delta, logprobs, events)
            for entry in delta.tool_calls or ():
                events += self._calls.take(entry, answer_id)
        self._finish = choice.finish_reason or self._finish

    def _take_delta(self, delta: Delta, logprobs: list[dict[str, Any]] | None, events: list[ModelEvent]) -> None:
        reasoning = delta.reasoning_content or delta.reasoning
        if reasoning and isinstance(reasoning, str):
            events.append(ReasoningDelta(reasoning))
        if isinstance(delta.content, list):
            for part in delta.content:
                self._take_part(part, events)
        elif delta.content or logprobs:
            self._text(delta.content or "", logprobs, events)
        if delta.refusal:
            events.append(RefusalDelta(delta.refusal))
        for annotation in delta.annotations or ():
            if place := annotation.url_citation:
                citation = UrlCitation(place.url, place.title or "", place.start_index, place.end_index)
                events.append(Cited(citation))

    def _take_part(self, part: ContentPart, events: list[ModelEvent]) -> None:
        if thought := _thought(part):
            events.append(ReasoningDelta(thought))
        elif part.text:
            self._text(part.text, None, events)

    def _text(self, text: str, logprobs: list[dict[str, Any]] | None, events: list[ModelEvent]) -> None:
        self._texts.append(text)
        events.append(TextDelta(text, 0, logprobs))

    def _take_extras(self, chunk: Chunk, events: list[ModelEvent]) -> None:
        usage = chunk.usage
        if chunk.x_groq is not None:
            if chunk.x_groq.error:
                raise stream_error(Fault(type=chunk.x_groq.error))
            usage = usage or chunk.x_groq.usage
        if usage is not None and usage.counts():
            events.append(UsageReported(usage.to_domain()))
        self._urls = chunk.citations or self._urls
        self._sources = chunk.search_results or self._sources

    def _cited(self) -> list[ModelEvent]:
        """Return a citation for every `[n]` in the text that stands for a URL (Perplexity)."""
        urls = _lenient(self._urls, str)
        titles = {source.url: source.title or "" for source in _lenient(self._sources, Source)}
        events: list[ModelEvent] = []
        for mark in _MARK.finditer("".join(self._texts)) if urls else ():
            if 0 < int(mark[1]) <= len(urls):
                url = urls[int(mark[1]) - 1]
                events.append(Cited(UrlCitation(url, titles.get(url, ""), *mark.span())))
        return events

    def _reason(self) -> FinishReason:
        if self._finish is None:
            raise UpstreamCut("The provider's answer ended before its end.")
        if self._finish == "insufficient_system_resource":  # DeepSeek
            raise UpstreamOverloaded("The provider broke its answer off for lack of resources.")
        if self._finish in _BROKEN:
            raise UpstreamError("The provider broke its answer off.")
        reason = _FINISH.get(self._finish, "stop")
        # A forced call ends with "stop" at OpenAI, and any call does at some servers: what it stopped for is the call.
        return "tool_calls" if reason == "stop" and self._calls else reason


def _thought(part: ContentPart) -> str:
    if isinstance(part.thinking, list):
        return "".join(piece.text or "" for piece in part.thinking)
    return part.thinking or ""


def _lenient(raw: Raw, kind: type[T]) -> list[T]:
    """Return a list that only some servers send, empty where it has another shape."""
    try:
        return msgspec.json.decode(raw, type=list[kind])
    except GARBAGE:
        return []
