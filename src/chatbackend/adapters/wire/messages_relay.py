"""Anthropic Messages passed through: only what routing and accounting need is read.

Source: the streaming page of the Anthropic API; `RawMessageStreamEvent` and `Message` in the `anthropic` package.
"""

import re
from dataclasses import replace

import msgspec

from chatbackend.adapters.api.checking import worded
from chatbackend.adapters.providers.codec import GARBAGE
from chatbackend.adapters.providers.messages.shapes import ClaudeUsage
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.usage import CHARACTERS_PER_TOKEN, CallOutcome, Usage

HEAD_BYTES = 8_192  # the beginning of a stream, where `message_start` tells what went in
TAIL_BYTES = 8_192  # its end, where `message_delta` tells what came out, and `message_stop` that it is whole
SLACK_BYTES = 4_096  # how much more is held, so that not every chunk cuts it down anew
# Inside the text of an answer these quotes would be escaped.
_START, _DELTA, _STOP = (
    re.compile(rb'data: ?(\{[^\r\n]*"type"\s*:\s*"' + name + rb'"[^\r\n]*)')
    for name in (b"message_start", b"message_delta", b"message_stop")
)
_TOKEN = b"content_block_delta"
_CUT_SHORT = frozenset(("max_tokens", "model_context_window_exceeded"))


class Asked(msgspec.Struct):
    """The part of a request that routing acts on."""

    model: str
    stream: bool | None = None


class _Stopped(msgspec.Struct):
    stop_reason: str | None = None


class _Event(msgspec.Struct):
    """A whole message, or one of a stream's events: the usage, and why it stopped, stand where each has them."""

    type: str = ""
    stop_reason: str | None = None
    usage: ClaudeUsage | None = None
    message: "_Event | None" = None
    delta: _Stopped | None = None


_ASKED = msgspec.json.Decoder(Asked)
_EVENT = msgspec.json.Decoder(_Event)


def asked(body: bytes) -> Asked:
    """Read a request. Raises: InvalidRequest naming the field."""
    try:
        return _ASKED.decode(body)
    except msgspec.ValidationError as error:
        raise worded(error) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.", code="invalid_json") from error


class Account:
    """Reads along with an answer: what it cost, its first token, whether it ended as answers end.

    `streamed`: it is SSE. A token that is cut between two chunks may be noticed late: that only delays what waits.
    """

    def __init__(self, request_bytes: int, *, streamed: bool) -> None:
        self._streamed = streamed
        self._request_bytes = request_bytes
        self.events = 0
        self.begun = False
        self._bytes = 0
        self._head = b""
        self._held: list[bytes] = []
        self._held_bytes = 0

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the answer, cut anywhere."""
        self._bytes += len(chunk)
        self._held.append(chunk)
        if not self._streamed:
            return
        if len(self._head) < HEAD_BYTES:
            self._head += chunk[: HEAD_BYTES - len(self._head)]
        deltas = chunk.count(b'"' + _TOKEN)
        self.events += deltas
        self.begun = self.begun or deltas > 0
        self._held_bytes += len(chunk)
        if self._held_bytes > TAIL_BYTES + SLACK_BYTES:
            tail = self._tail[-TAIL_BYTES:]
            self._held, self._held_bytes = [tail], len(tail)

    @property
    def ended(self) -> bool:
        """Whether the answer is whole: a body that is a message, a stream that has told that it stopped."""
        if self._streamed:
            return _STOP.search(self._tail) is not None
        whole = self._last()
        return whole is not None and whole.type == "message"

    @property
    def outcome(self) -> CallOutcome | None:
        """How the answer ended, None while it has not; an end without a reason for it is the provider's failure."""
        if not self.ended:
            return None
        last = self._last() or _Event()
        reason = last.delta.stop_reason if last.delta else last.stop_reason
        if reason is None:
            return "failed"
        return "incomplete" if reason in _CUT_SHORT else "completed"

    def usage(self) -> Usage:
        """Return the provider's own count; of what it did not tell, an estimate by deltas (a token each) and bytes.

        A whole body that is no answer, an error with a status of success, costs nothing.
        """
        told, first, last = ClaudeUsage(), self._first(), self._last()
        if first is not None and first.message is not None and first.message.usage is not None:
            told.update(first.message.usage)
        if last is not None and last.usage is not None:
            told.update(last.usage)
            return told.to_domain()
        if self._bytes and not self._streamed and self.outcome in (None, "failed"):
            return Usage(estimated=True)
        written = self.events if self._streamed else self._bytes // CHARACTERS_PER_TOKEN
        if told.input_tokens is None:
            return Usage(self._request_bytes // CHARACTERS_PER_TOKEN, written, estimated=True)
        return replace(told.to_domain(), output_tokens=max(written, told.output_tokens or 0), estimated=True)

    @property
    def _tail(self) -> bytes:
        return b"".join(self._held)

    def _first(self) -> _Event | None:
        found = _START.search(self._head) if self._streamed else None
        return _read(found[1]) if found else None

    def _last(self) -> _Event | None:
        """Return the whole message, or the last event that tells how it stopped."""
        if not self._streamed:
            return _read(self._tail)
        found: list[bytes] = _DELTA.findall(self._tail)
        return _read(found[-1]) if found else None


def _read(data: bytes) -> _Event | None:
    try:
        return _EVENT.decode(data)
    except GARBAGE:
        return None


def error_event(body: bytes) -> bytes:
    """Return the event that tells of an error inside a stream; no `message_stop` follows it."""
    return b"event: error\ndata: " + body + b"\n\n"
