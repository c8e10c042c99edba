"""Chat Completions passed through: only what routing and accounting need is read.

Source: https://platform.openai.com/docs/api-reference/chat
"""

import re
from typing import Any

import msgspec

from chatbackend.adapters.api.checking import worded
from chatbackend.adapters.providers.chat.shapes import ChatUsage
from chatbackend.adapters.providers.codec import GARBAGE
from chatbackend.adapters.providers.provider_errors import fault_of, stream_error
from chatbackend.adapters.wire.relayed_events import RelayedEvents
from chatbackend.domain.errors import ChatError, InvalidRequest, UpstreamError
from chatbackend.domain.usage import CHARACTERS_PER_TOKEN, CallOutcome, Usage

DONE = b"[DONE]"
_CUT_SHORT = frozenset(("length", "content_filter"))
_TOKEN = re.compile(rb'"(?:content|reasoning_content|reasoning|refusal|arguments|name)":\s*"[^"]')
_NO_KIND, _A_CHUNK = re.compile(rb'"object":\s*""'), b'"object":"chat.completion.chunk"'


class Asked(msgspec.Struct):
    """The part of a request that we act on."""

    model: str
    stream: bool | None = None


class _Choice(msgspec.Struct):
    finish_reason: str | None = None


class _Answer(msgspec.Struct):
    """A chunk or a whole answer; `error` stands where an answer failed in spite of its status."""

    choices: list[_Choice] | None = None
    usage: ChatUsage | None = None
    error: Any = None


_ASKED = msgspec.json.Decoder(Asked)
_ANSWER = msgspec.json.Decoder(_Answer)


def asked(body: bytes) -> Asked:
    """Read a request. Raises: InvalidRequest naming the place."""
    try:
        return _ASKED.decode(body)
    except msgspec.ValidationError as error:
        raise worded(error) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.", code="invalid_json") from error


def renamed(body: bytes, model: str) -> bytes:
    """Return the request with another model's name, otherwise as it is. Raises: InvalidRequest for what is no JSON."""
    try:
        fields = msgspec.json.decode(body)
        fields["model"] = model
        return msgspec.json.encode(fields)
    except GARBAGE as error:
        detail = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidRequest(f"The body is not valid JSON: {detail}.", code="invalid_json") from error


class Account:
    """Reads along with an answer: its usage, its first token, how it ended, what was wrong with it.

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
        self._reason: str | None = None
        self._unfinished = self._marked = False
        self._usage: Usage | None = None

    def reads(self, content_type: str) -> bool:
        """Whether an answer of this type can be one: events where a stream was asked for."""
        return not self._streamed or content_type.startswith("text/event-stream")

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes of the answer, cut anywhere; return what may be shown."""
        self._bytes += len(chunk)
        if not self._streamed:
            self._whole(chunk)
            return chunk
        if not self.begun:
            # Azure's first chunk, which tells of the prompt's filters, is of no kind.
            chunk = _NO_KIND.sub(_A_CHUNK, chunk, count=1)
        return self._stream.feed(chunk)

    @property
    def rest(self) -> bytes:
        """What follows a stream that has ended well: its end mark, whether the provider sent one or not."""
        return self._stream.rest if self._marked else b"data: [DONE]\n\n"

    @property
    def ended(self) -> bool:
        """Whether the answer is whole: every choice has said why it stopped."""
        return self._reason is not None and not self._unfinished and self.error is None

    @property
    def outcome(self) -> CallOutcome | None:
        """How the answer ended, None while it has not."""
        if self.error is not None:
            return "failed"
        if not self.ended:
            return None
        return "incomplete" if self._reason in _CUT_SHORT else "completed"

    def usage(self) -> Usage:
        """Return the provider's own count, else an estimate by events (a token each) and bytes.

        A whole body that is no answer, an error with a status of success, costs nothing.
        """
        if self._usage is not None:
            return self._usage
        if not self._streamed and self._bytes and not self.ended:
            return Usage(estimated=True)
        written = self.events if self._streamed else self._bytes // CHARACTERS_PER_TOKEN
        return Usage(self._request_bytes // CHARACTERS_PER_TOKEN, written, estimated=True)

    def _whole(self, body: bytes) -> None:
        choices = self._read(body)
        self._unfinished = not choices or any(choice.finish_reason is None for choice in choices)
        if not choices and self.error is None:
            self.error = UpstreamError("The provider sent what is no chat completion.")

    def _event(self, data: bytes) -> bool:
        if data == DONE:
            self._marked = True
            return False
        self.events += 1
        self.begun = self.begun or _TOKEN.search(data) is not None
        self._read(data)
        return self.error is None

    def _read(self, data: bytes) -> list[_Choice]:
        """Read a chunk or a whole answer; return its choices."""
        try:
            answer = _ANSWER.decode(data)
        except msgspec.ValidationError:  # what we do not need may have any shape
            return []
        except GARBAGE:
            self.error = UpstreamError("The provider sent what is no chat completion.")
            return []
        if answer.error:
            self.error = stream_error(fault_of(data))
        if answer.usage is not None and answer.usage.counts():
            self._usage = answer.usage.to_domain()
        choices = answer.choices or []
        for choice in choices:
            self._reason = choice.finish_reason or self._reason
        return choices


def error_event(body: bytes) -> bytes:
    """Return the event that tells of an error inside a stream; no end mark follows it."""
    return b"data: " + body + b"\n\n"
