"""Anthropic Messages passed through: only what routing and accounting need is read.

Source: the streaming page of the Anthropic API; `RawMessageStreamEvent` and `Message` in the `anthropic` package.
"""

from dataclasses import replace
from typing import Any

import msgspec

from chatbackend.adapters.api.checking import worded
from chatbackend.adapters.providers.codec import GARBAGE
from chatbackend.adapters.providers.messages.shapes import ClaudeUsage
from chatbackend.adapters.providers.provider_errors import fault_of, stream_error
from chatbackend.adapters.wire.relayed_events import RelayedEvents
from chatbackend.domain.errors import ChatError, InvalidRequest, UpstreamError
from chatbackend.domain.usage import CHARACTERS_PER_TOKEN, CallOutcome, Usage

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
    error: Any = None


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
    """Reads along with an answer: what it cost, its first token, how it ended, what was wrong with it.

    `streamed`: it is SSE; `feed` returns what of it may be shown. `error` is what the provider said of a failure inside
    its answer, or that it is no answer at all.
    """

    def __init__(self, request_bytes: int, *, streamed: bool) -> None:
        self.events = 0
        self.begun = False
        self.error: ChatError | None = None
        self._streamed = streamed
        self._request_bytes = request_bytes
        self._bytes = 0
        self._stream = RelayedEvents(self._event)
        self._usage: ClaudeUsage | None = None
        self._counted = False  # the provider has said what came out
        self._reason: str | None = None
        self._stopped = not streamed

    def reads(self, content_type: str) -> bool:
        """Whether an answer of this type can be one: events where a stream was asked for."""
        return not self._streamed or content_type.startswith("text/event-stream")

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes of the answer, cut anywhere; return what may be shown."""
        self._bytes += len(chunk)
        if self._streamed:
            return self._stream.feed(chunk)
        self._whole(chunk)
        return chunk

    @property
    def rest(self) -> bytes:
        """What was held back of a stream, to be shown once it has ended well: its end."""
        return self._stream.rest

    @property
    def ended(self) -> bool:
        """Whether the answer is whole: it has said why it stopped, and a stream that it did."""
        return self._stopped and self._reason is not None and self.error is None

    @property
    def outcome(self) -> CallOutcome | None:
        """How the answer ended, None while it has not."""
        if self.error is not None:
            return "failed"
        if not self.ended:
            return None
        return "incomplete" if self._reason in _CUT_SHORT else "completed"

    def usage(self) -> Usage:
        """Return the provider's own count; of what it did not tell, an estimate by deltas (a token each) and bytes.

        A whole body that is no answer, an error with a status of success, costs nothing.
        """
        told = self._usage or ClaudeUsage()
        if self._counted:
            return told.to_domain()
        if not self._streamed and self._bytes and not self.ended:
            return Usage(estimated=True)
        written = self.events if self._streamed else self._bytes // CHARACTERS_PER_TOKEN
        if told.input_tokens is None:
            return Usage(self._request_bytes // CHARACTERS_PER_TOKEN, written, estimated=True)
        return replace(told.to_domain(), output_tokens=max(written, told.output_tokens or 0), estimated=True)

    def _whole(self, body: bytes) -> None:
        message = self._read(body)
        if message is None:
            return
        if message.type != "message" and self.error is None:
            self.error = UpstreamError("The provider sent what is no message.")
        self._reason = message.stop_reason
        self._count(message.usage, final=True)

    def _event(self, data: bytes) -> bool:
        event = self._read(data)
        if event is None:
            return self.error is None
        match event.type:
            case "content_block_delta":
                self.events += 1
                self.begun = True
            case "message_start" if event.message is not None:
                self._count(event.message.usage, final=False)
            case "message_delta":
                self._reason = (event.delta.stop_reason if event.delta else None) or self._reason
                self._count(event.usage, final=True)
            case "message_stop":
                self._stopped = True
                return False
            case _:
                pass
        return self.error is None

    def _count(self, usage: ClaudeUsage | None, *, final: bool) -> None:
        if usage is not None:
            self._usage = self._usage or ClaudeUsage()
            self._usage.update(usage)
            self._counted = self._counted or final

    def _read(self, data: bytes) -> _Event | None:
        """Read an event or a whole message; None for one of another shape, which may still be shown."""
        try:
            event = _EVENT.decode(data)
        except msgspec.ValidationError:
            return None
        except GARBAGE:
            self.error = UpstreamError("The provider sent what is no event of a message.")
            return None
        if event.type == "error" or event.error:
            self.error = stream_error(fault_of(data))
        return event


def error_event(body: bytes) -> bytes:
    """Return the event that tells of an error inside a stream; no `message_stop` follows it."""
    return b"event: error\ndata: " + body + b"\n\n"
