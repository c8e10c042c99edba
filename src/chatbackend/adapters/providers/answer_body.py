"""The body of a provider's answer, bytes in and `ModelEvent`s out, streamed or whole: the two look alike."""

from typing import Protocol

from chatbackend.adapters.providers.codec import Codec, Place, Reader
from chatbackend.adapters.wire.sse import SseReader, SseTooLarge
from chatbackend.domain.errors import ChatError, UpstreamError
from chatbackend.domain.events import ModelEvent
from chatbackend.domain.models import ModelRequest

MAX_EVENT_BYTES = 4 << 20
MAX_WHOLE_BYTES = 32 << 20


class AnswerBody(Protocol):
    """Takes the bytes of one answer. Where they were cut never matters, not before a failure either."""

    @property
    def done(self) -> bool:
        """Whether more bytes would change nothing: call `end` now."""
        ...

    @property
    def place(self) -> Place | None:
        """Where the rest can be had if the answer is cut here; see `codec.Reader`."""
        ...

    def rejoined(self) -> None:
        """Note that what comes now is what follows there."""
        ...

    def feed(self, chunk: bytes) -> list[ModelEvent]:
        """Return the events that `chunk` completes. Never raises."""
        ...

    def end(self) -> list[ModelEvent]:
        """Return what is left.

        Raises: UpstreamError (and below) when the answer failed, is none, or is not whole.
        """
        ...


class StreamedBody:
    """An answer in server-sent events. An error is kept until `end`, after the good events before it."""

    def __init__(self, reader: Reader, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._sse = SseReader(max_event_bytes=max_event_bytes)
        self._reader = reader
        self._error: ChatError | None = None

    @property
    def done(self) -> bool:
        """Whether the end mark or an error was read."""
        return self._reader.done or self._error is not None or self._sse.too_large

    @property
    def place(self) -> Place | None:
        """Where the rest can be had if the stream is cut here; see `codec.Reader`."""
        return None if self._error is not None else self._reader.place

    def rejoined(self) -> None:
        """Forget the beginning of an event that a cut left: it comes again."""
        self._sse = SseReader(max_event_bytes=self._max_event_bytes)

    def feed(self, chunk: bytes) -> list[ModelEvent]:
        """Return the events that `chunk` completes. Never raises."""
        events: list[ModelEvent] = []
        if not self.done:
            try:
                for event in self._sse.feed(chunk):
                    events += self._reader.feed(event)
            except ChatError as error:
                self._error = error
        return events

    def end(self) -> list[ModelEvent]:
        """Return what the reader held back; see `AnswerBody`."""
        if self._error is not None:
            raise self._error
        try:
            self._sse.end()
        except SseTooLarge as error:
            raise UpstreamError("The provider sent an event that is too large.") from error
        return self._reader.end()


class WholeBody:
    """An answer in one JSON object."""

    def __init__(self, codec: Codec, request: ModelRequest, *, max_bytes: int = MAX_WHOLE_BYTES) -> None:
        self._codec = codec
        self._request = request
        self._max = max_bytes
        self._chunks: list[bytes] = []
        self._size = 0

    @property
    def done(self) -> bool:
        """Whether the bound is passed; the end of JSON is the end of the bytes."""
        return self._size > self._max

    place = None

    def rejoined(self) -> None:
        """Do nothing: nobody comes back to a whole body."""

    def feed(self, chunk: bytes) -> list[ModelEvent]:
        """Keep `chunk`. Never raises."""
        if not self.done:
            self._chunks.append(chunk)
            self._size += len(chunk)
        return []

    def end(self) -> list[ModelEvent]:
        """Return the events of the whole answer; see `AnswerBody`."""
        if self.done:
            raise UpstreamError("The provider sent an answer that is too large.")
        return self._codec.whole(b"".join(self._chunks), self._request)


def answer_body(codec: Codec, request: ModelRequest, *, content_type: str, content_encoding: str) -> AnswerBody:
    """Return what reads an answer of this content type (without parameters), whatever was asked for.

    Raises: UpstreamError for anything but events and JSON, and for compressed bytes, which we do not ask for.
    """
    if content_encoding not in {"", "identity"}:
        raise UpstreamError("The provider compressed its answer unasked.")
    if content_type == "text/event-stream":
        return StreamedBody(codec.reader(request))
    if content_type == "application/json":
        return WholeBody(codec, request)
    raise UpstreamError("The provider answered with neither events nor JSON.")
