"""The parts of an Anthropic answer that we read; every other field is skipped unread.

Source: `RawMessageStreamEvent`, `Message` and `ContentBlock` in the `anthropic` package.
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from chatbackend.domain.usage import Usage


class Citation(Struct):
    """A citation of any kind; only web pages have a URL."""

    type: str = ""
    url: str | None = None
    title: str | None = None


class Block(Struct):
    """A content block, as a stream opens it (mostly empty) or as a whole answer holds it."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str = ""
    name: str = ""
    input: Raw = msgspec.field(default_factory=Raw)
    citations: list[Citation] | None = None


class StopDetails(Struct):
    explanation: str | None = None


class Delta(Struct):
    """A block's delta, or that of the message (`stop_reason`)."""

    type: str = ""
    text: str = ""
    thinking: str = ""
    signature: str = ""
    partial_json: str = ""
    citation: Citation | None = None
    stop_reason: str | None = None
    stop_details: StopDetails | None = None


class OutputDetails(Struct):
    thinking_tokens: int | None = None


class ClaudeUsage(Struct):
    """Counts, cumulative over the message; a later report repeats only what it knows."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens_details: OutputDetails | None = None

    def update(self, later: "ClaudeUsage") -> None:
        """Take over every count that a later report has."""
        for name in self.__struct_fields__:
            if (value := getattr(later, name)) is not None:
                setattr(self, name, value)

    def to_domain(self) -> Usage:
        """Return our counts: the input is the sum of what was read anew, from the cache and into it."""
        cached, written = self.cache_read_input_tokens or 0, self.cache_creation_input_tokens or 0
        return Usage(
            input_tokens=(self.input_tokens or 0) + cached + written,
            output_tokens=self.output_tokens or 0,
            cached_tokens=cached,
            cache_write_tokens=written,
            reasoning_tokens=(self.output_tokens_details or OutputDetails()).thinking_tokens or 0,
        )


class Message(Struct):
    """A whole answer, or what `message_start` opens it with; `type` is `error` for an error body."""

    type: str = ""
    content: list[Block] | None = None
    stop_reason: str | None = None
    stop_details: StopDetails | None = None
    usage: ClaudeUsage | None = None


class Event(Struct):
    """An event of a stream."""

    type: str = ""
    index: int = 0
    message: Message | None = None
    content_block: Block | None = None
    delta: Delta | None = None
    usage: ClaudeUsage | None = None
    error: Any = None
