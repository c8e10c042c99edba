"""The parts of a Responses answer that we read; every other field, event and item is skipped unread.

Items and unknown events are decoded in two steps, because hosted tools give the same field names other shapes.
Source: `Response`, `ResponseOutputItem` and `ResponseStreamEvent` in the `openai` package.
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from chatbackend.adapters.providers.chat.shapes import TokenProbability
from chatbackend.domain.items import UrlCitation
from chatbackend.domain.usage import Usage


class Annotation(Struct):
    """A citation of any kind; only web pages have a URL."""

    type: str = ""
    url: str | None = None
    title: str | None = None
    start_index: int | None = None
    end_index: int | None = None

    def to_domain(self) -> UrlCitation | None:
        """Return the citation of a web page, None for places in files and containers of the provider."""
        if self.type != "url_citation" or not self.url:
            return None
        return UrlCitation(self.url, self.title or "", self.start_index or 0, self.end_index or 0)


class Part(Struct):
    """A content part, or a paragraph of a reasoning summary."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None
    annotations: list[Annotation] | None = None
    logprobs: list[TokenProbability] | None = None


class Item(Struct):
    """An output item of a kind that we show: `message`, `reasoning`, `function_call`."""

    type: str
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    encrypted_content: str | None = None
    summary: list[Part] | None = None
    content: list[Part] | None = None


class Kind(Struct):
    """What anything is, to decide whether to read on."""

    type: str = ""
    error: Any = None


class InputDetails(Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class OutputDetails(Struct):
    reasoning_tokens: int | None = None


class ResponseUsage(Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: InputDetails | None = None
    output_tokens_details: OutputDetails | None = None

    def counts(self) -> bool:
        """Whether anything is reported."""
        return self.input_tokens is not None or self.output_tokens is not None

    def to_domain(self) -> Usage:
        read, written = self.input_tokens_details or InputDetails(), self.output_tokens_details or OutputDetails()
        return Usage(
            input_tokens=self.input_tokens or 0,
            output_tokens=self.output_tokens or 0,
            cached_tokens=read.cached_tokens or 0,
            cache_write_tokens=read.cache_write_tokens or 0,
            reasoning_tokens=written.reasoning_tokens or 0,
        )


class IncompleteDetails(Struct):
    reason: str | None = None


class Response(Struct):
    """A whole answer, or what a terminal event ends a stream with."""

    id: str | None = None
    status: str | None = None
    output: list[Raw] | None = None
    usage: ResponseUsage | None = None
    incomplete_details: IncompleteDetails | None = None
    error: Any = None


class Event(Struct):
    """An event of a kind that we read. Servers leave `output_index` out (llama.cpp) or give new ids (Copilot)."""

    type: str = ""
    sequence_number: int | None = None
    output_index: int | None = None
    item_id: str | None = None
    content_index: int | None = None
    summary_index: int | None = None
    delta: str | None = None
    text: str | None = None
    refusal: str | None = None
    arguments: str | None = None
    logprobs: list[TokenProbability] | None = None
    annotation: Annotation | None = None
    item: Raw = msgspec.field(default_factory=Raw)
    response: Response | None = None


_KIND = msgspec.json.Decoder(Kind)
_ITEM = msgspec.json.Decoder(Item)
_SHOWN = frozenset(("message", "reasoning", "function_call"))


def shown_item(raw: Raw) -> Item | None:
    """Return an output item, None for a kind that we do not show (the provider's own tools, what the API may add).

    Raises: one of `codec.GARBAGE`.
    """
    return _ITEM.decode(raw) if raw and _KIND.decode(raw).type in _SHOWN else None
