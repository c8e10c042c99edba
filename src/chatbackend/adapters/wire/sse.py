"""Server-sent events: a bounded incremental reader and a fast writer, without I/O.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html (sections 9.2.5 and 9.2.6).
"""

from functools import lru_cache

import msgspec

COMMENT = b": ping\n\n"
"""Bytes that keep a stream alive and that no reader sees as an event."""

_BOM = b"\xef\xbb\xbf"


class SseTooLarge(Exception):
    """An event, or a single line, is over the reader's bound; the stream cannot be read any further."""


class SseEvent(msgspec.Struct):
    """One event: its type (`message` when the stream named none), its data, the last id seen so far."""

    event: str
    data: bytes
    id: str = ""


class SseReader:
    """Cut a byte stream into events; where the bytes were cut into reads never matters.

    `max_event_bytes` bounds an event's data and the line being read together, and so the memory held. Time is linear
    in the bytes. Data stays bytes: only whole events are ever decoded.
    """

    def __init__(self, *, max_event_bytes: int = 4 << 20) -> None:
        self._max = max_event_bytes
        self.too_large = False  # the bound was passed: nothing more will come
        self._begun = self._after_cr = False
        self._start = b""  # the first bytes, while they may still become a byte order mark
        self._line: list[bytes] = []  # pieces of the line that has not ended
        self._line_bytes = 0
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._event = self._id = ""

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """Return the events that `chunk` completes.

        Raises: SseTooLarge, on the call after the one that returned the last good events.
        """
        if self.too_large:
            raise SseTooLarge(f"an event is over {self._max} bytes")
        if not self._begun:
            chunk = self._without_bom(chunk)
        lines = self._unify_line_ends(chunk).split(b"\n")
        rest = lines.pop()
        if lines and self._line:
            lines[0] = b"".join((*self._line, lines[0]))
            self._line, self._line_bytes = [], 0
        events = self._read(lines)
        self._hold(rest)
        return events

    def end(self) -> bool:
        """Return whether the stream stopped inside an event, which is then lost (as the specification demands).

        Raises: SseTooLarge when the bound was passed.
        """
        if self.too_large:
            raise SseTooLarge(f"an event is over {self._max} bytes")
        return bool(self._data or self._line)

    def _without_bom(self, chunk: bytes) -> bytes:
        start = self._start + chunk
        if len(start) < len(_BOM) and _BOM.startswith(start):
            self._start = start
            return b""
        self._begun = True
        return start.removeprefix(_BOM)

    def _unify_line_ends(self, chunk: bytes) -> bytes:
        """Turn CR and CRLF into LF; a CR at a chunk's end counts at once, and an LF after it is skipped."""
        if self._after_cr and chunk:
            chunk, self._after_cr = chunk.removeprefix(b"\n"), False
        if b"\r" in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return chunk

    def _read(self, lines: list[bytes]) -> list[SseEvent]:
        events: list[SseEvent] = []
        for line in lines:
            if len(line) + self._data_bytes > self._max:
                self.too_large = True
                break
            if not line:
                self._dispatch(events)
            elif line.startswith(b"data:"):
                self._keep(line[6:] if line.startswith(b" ", 5) else line[5:])
            else:
                self._field(line)
        return events

    def _hold(self, rest: bytes) -> None:
        if rest:
            self._line.append(rest)
            self._line_bytes += len(rest)
            self.too_large |= self._line_bytes + self._data_bytes > self._max

    def _keep(self, value: bytes) -> None:
        self._data.append(value)
        self._data_bytes += len(value) + 1

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")  # a comment's name is empty
        value = value.removeprefix(b" ")
        if name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"data":  # "data" without a colon is an empty line of data
            self._keep(value)
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode("utf-8", "replace")

    def _dispatch(self, events: list[SseEvent]) -> None:
        if self._data:
            data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
            events.append(SseEvent(self._event or "message", data, self._id))
            self._data, self._data_bytes = [], 0
        self._event = ""


def encode(event: str, data: bytes, *, event_id: str = "") -> bytes:
    """Return one event's bytes; `event` may be empty. Line breaks in `data` arrive as LF.

    Raises: ValueError when `event` or `event_id` has a line break.
    """
    if b"\n" in data or b"\r" in data:
        lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        data = lines.replace(b"\n", b"\ndata: ")
    head = _head(event)
    if event_id:
        head = b"".join((b"id: ", _one_line(event_id), b"\n", head))
    return b"".join((head, data, b"\n\n"))


@lru_cache(maxsize=256)
def _head(event: str) -> bytes:
    """Return what precedes the data of every event of this type."""
    return b"".join((b"event: ", _one_line(event), b"\ndata: ")) if event else b"data: "


def _one_line(text: str) -> bytes:
    if "\n" in text or "\r" in text:
        raise ValueError("an SSE field holds one line")
    return text.encode()
