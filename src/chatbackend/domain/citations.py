"""Citation marks: passages are numbered in the prompt, the model cites `【n】`, the reader never sees a mark.

A mark becomes a `FileCitation` at the place where it stood. Marks may be torn over any number of deltas.
"""

import re

from chatbackend.domain.events import Cited, ModelEvent, TextDelta
from chatbackend.domain.items import FileCitation
from chatbackend.domain.passages import Passage

OPEN, CLOSE = "【", "】"
LONGEST_MARK = 16  # code points; what stays open longer is text
_MARK = re.compile(r"【(\d{1,4})(?:†[^】]*)?】")


class CitationScanner:
    """Turns the marks in a stream of text deltas into citations of `passages` (numbered from 1).

    A mark that names no passage is dropped; an opening bracket that begins no mark is kept as text.
    """

    def __init__(self, passages: list[Passage]) -> None:
        self._passages = passages
        self._held = ""
        self._length = 0
        self._block = 0

    def feed(self, event: ModelEvent) -> list[ModelEvent]:
        """Return what one event becomes; other events first let go what is held back."""
        if not isinstance(event, TextDelta):
            return [*self.end(), event]
        found: list[ModelEvent] = []
        if event.index != self._block:
            found += self.end()
            self._block, self._length = event.index, 0
        self._held += event.text
        while (start := self._held.find(OPEN)) >= 0:
            end = self._held.find(CLOSE, start)
            if end < 0 and len(self._held) - start <= LONGEST_MARK:
                break
            found += self._mark(start, end) if end >= 0 else self._text(start + 1)
        else:
            found += self._text(len(self._held))
        if start > 0:
            found += self._text(start)
        return found

    def end(self) -> list[ModelEvent]:
        """Return what was held back in the hope of a mark."""
        return self._text(len(self._held))

    def _mark(self, start: int, end: int) -> list[ModelEvent]:
        match = _MARK.fullmatch(self._held[start : end + 1])
        if match is None:
            return self._text(end + 1)
        found = self._text(start)
        self._held = self._held[end + 1 - start :]
        number = int(match[1])
        if 1 <= number <= len(self._passages):
            found.append(Cited(cite(self._passages[number - 1], index=self._length), self._block))
        return found

    def _text(self, length: int) -> list[ModelEvent]:
        text, self._held = self._held[:length], self._held[length:]
        self._length += len(text)
        return [TextDelta(text, self._block)] if text else []


def cite(passage: Passage, *, index: int) -> FileCitation:
    """Return a citation of a whole passage at `index` of the output text."""
    return FileCitation(
        passage.file_id,
        passage.filename,
        index,
        page=passage.page,
        start=passage.start,
        end=passage.end,
        quote=passage.text,
    )
