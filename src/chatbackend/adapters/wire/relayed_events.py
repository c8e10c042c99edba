"""A provider's events on their way through: whole ones only, each looked at before it is shown.

What broke off inside an event is never shown, so that an error can follow it; nor is an end that is none.
"""

import re
from collections.abc import Callable

MAX_HELD_BYTES = 1 << 20  # of an event that has not ended
_END = re.compile(rb"\n\r?\n")  # with a \r before it, or without
_DATA = b"data:"


class RelayedEvents:
    """Passes events on as long as `take`, given the data of each, says so; `rest` is what is held back.

    Bytes without data (comments, names) pass. Once `take` has said no, everything is held.
    """

    def __init__(self, take: Callable[[bytes], bool]) -> None:
        self.rest = b""
        self._take = take
        self._open = True

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes, cut anywhere; return what may be shown."""
        if not self.rest and chunk.startswith(_DATA) and chunk.find(b"\n") == len(chunk) - 2 and chunk[-1:] == b"\n":
            return self._lone(chunk)  # as nearly all come: three times as fast as the general way
        found = self.rest + chunk if self.rest else chunk
        at = 0
        while self._open and (end := _END.search(found, at)):
            data = _data(found[at : end.start()])
            if data and not self._take(data):
                self._open = False
                break
            at = end.end()
        if self._open and len(found) - at > MAX_HELD_BYTES:
            at = len(found)
        self.rest = found[at:]
        return found[:at] if self.rest else found

    def _lone(self, chunk: bytes) -> bytes:
        """Return a chunk that is one event, if it may be shown."""
        data = chunk[len(_DATA) : -2].strip()
        self._open = self._open and (not data or self._take(data))
        if self._open:
            return chunk
        self.rest = chunk
        return b""


def _data(event: bytes) -> bytes:
    """Return an event's data, without what names it."""
    lines = (line.rstrip(b"\r") for line in event.split(b"\n"))
    return b"\n".join(line[len(_DATA) :].strip() for line in lines if line.startswith(_DATA))
