"""Chat Completions passed through: only what routing and accounting need is read.

Source: https://platform.openai.com/docs/api-reference/chat
"""

import re

import msgspec

from chatbackend.adapters.api.checking import worded
from chatbackend.adapters.providers.chat.shapes import ChatUsage
from chatbackend.adapters.providers.codec import GARBAGE
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.usage import CHARACTERS_PER_TOKEN, CallOutcome, Usage

TAIL_BYTES = 8_192  # the end of a stream, where usage and the end mark stand
SLACK_BYTES = 4_096  # how much more is held, so that not every chunk cuts it down anew
DONE = b"data: [DONE]"
_USAGE = b'"usage":'
_FINISH = b'"finish_reason"'
_REASON = re.compile(rb'"finish_reason":\s*"(\w+)"')
_CUT_SHORT = frozenset((b"length", b"content_filter"))
_TOKEN = re.compile(rb'"(?:content|reasoning_content|reasoning|refusal|arguments|name)":\s*"[^"]|"error":')


class Asked(msgspec.Struct):
    """The part of a request that we act on."""

    model: str
    stream: bool | None = None


class _Carrier(msgspec.Struct):
    usage: ChatUsage | None = None


_ASKED = msgspec.json.Decoder(Asked)
_CARRIER = msgspec.json.Decoder(_Carrier)


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
    """Reads along with an answer: its usage, its first token, whether it ended as answers end. `streamed`: it is SSE.

    A token that is cut between two chunks may be noticed one late: that only delays what waits for it.
    """

    def __init__(self, request_bytes: int, *, streamed: bool) -> None:
        self._streamed = streamed
        self._request_bytes = request_bytes
        self.events = 0
        self.begun = False
        self._bytes = 0
        self._held: list[bytes] = []
        self._held_bytes = 0

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the answer, cut anywhere."""
        self._bytes += len(chunk)
        self._held.append(chunk)
        if self._streamed:
            self.events += chunk.count(b"data: ")
            self.begun = self.begun or _TOKEN.search(chunk) is not None
            self._held_bytes += len(chunk)
            if self._held_bytes > TAIL_BYTES + SLACK_BYTES:
                tail = self._tail[-TAIL_BYTES:]
                self._held, self._held_bytes = [tail], len(tail)

    @property
    def ended(self) -> bool:
        """Whether the answer is whole: a JSON body is, a stream is once it has its end mark or a finish reason."""
        if not self._streamed:
            return True
        tail = self._tail
        return _reason(tail) is not None or DONE in tail

    @property
    def outcome(self) -> CallOutcome | None:
        """How the answer ended, None while it has not; an end without a reason for it is the provider's failure."""
        reason = _reason(self._tail)
        if reason is None:
            return "failed" if self._bytes and self.ended else None
        return "incomplete" if reason in _CUT_SHORT else "completed"

    def usage(self) -> Usage:
        """Return the provider's own count, else an estimate by events (a token each) and bytes.

        A whole body that is no answer, an error with a status of success, costs nothing.
        """
        found = _read_usage(self._last_usage())
        if found is not None:
            return found
        if not self._streamed and self.outcome == "failed":
            return Usage(estimated=True)
        written = self.events if self._streamed else self._bytes // CHARACTERS_PER_TOKEN
        return Usage(self._request_bytes // CHARACTERS_PER_TOKEN, written, estimated=True)

    @property
    def _tail(self) -> bytes:
        if len(self._held) > 1:  # joined once for all who look at it
            self._held = [b"".join(self._held)]
        return self._held[0] if self._held else b""

    def _last_usage(self) -> bytes:
        """Return the JSON that holds the usage: the whole body, or the last event that speaks of it."""
        tail = self._tail
        if not self._streamed:
            return tail
        at = tail.rfind(_USAGE)
        start = tail.rfind(b"data: ", 0, at) if at >= 0 else -1
        if start < 0:
            return b""
        line = tail[start + 6 :].partition(b"\n")[0]
        return line.rstrip(b"\r")


def _reason(answer: bytes) -> bytes | None:
    """Return the last finish reason. Within the text of an answer its quotes would be escaped."""
    at = answer.rfind(_FINISH)
    while at >= 0:
        if found := _REASON.match(answer, at):
            return found[1]
        at = answer.rfind(_FINISH, 0, at)
    return None


def _read_usage(body: bytes) -> Usage | None:
    try:
        found = _CARRIER.decode(body).usage if body else None
    except (msgspec.MsgspecError, RecursionError):
        return None
    return found.to_domain() if found is not None and found.counts() else None


def error_event(body: bytes) -> bytes:
    """Return the event that tells of an error inside a stream; no end mark follows it."""
    return b"data: " + body + b"\n\n"
