"""Citation marks: passages are numbered in the prompt, the model cites `【n】`, the reader never sees a mark.

A mark becomes a `FileCitation` at the place where it stood. Marks may be torn over any number of deltas.
"""

import re
from typing import Any

from chatbackend.domain.events import (
    Cited,
    ModelEvent,
    ReasoningDelta,
    ReasoningSeal,
    RefusalDelta,
    TextDelta,
    ToolCallStarted,
    UsageReported,
)
from chatbackend.domain.extractive import Quote, best_sentences
from chatbackend.domain.items import FileCitation
from chatbackend.domain.passages import Passage

OPEN, CLOSE = "【", "】"
CLAIM_CHARS = 400
LONGEST_MARK = 16  # code points before the closing bracket; what stays open longer is text
_BREAKS = (ReasoningDelta, ReasoningSeal, RefusalDelta, ToolCallStarted)  # text behind these is another part
_MARK = re.compile(r"【(\d{1,4})(?:†[^】]*)?】")


class CitationScanner:
    """Turns the marks in a stream of text deltas into citations of `passages` (numbered from 1).

    A mark that names no passage is dropped; an opening bracket that begins no mark is kept as text. Without
    passages nothing is a mark. Log probabilities go with the next text that is let go.
    """

    def __init__(self, passages: list[Passage]) -> None:
        self._passages = passages
        self._held = ""
        self._logprobs: list[dict[str, Any]] = []
        self._length = 0
        self._block = 0
        self._claim = ""  # the text that the next mark stands behind: all since the marks before it
        self._cited = False

    def feed(self, event: ModelEvent) -> list[ModelEvent]:
        """Return what one event becomes; other events first let go what is held back."""
        if not self._passages or isinstance(event, UsageReported):  # some count with every piece of a mark
            return [event]
        if not isinstance(event, TextDelta):
            found = [*self.end(), event]
            if isinstance(event, _BREAKS):
                self._length = 0
            return found
        found = self._turn_to(event.index)
        self._held += event.text
        self._logprobs += event.logprobs or ()
        return found + self._settled()

    def end(self) -> list[ModelEvent]:
        """Return what was held back in the hope of a mark."""
        found = self._text(len(self._held))
        if self._logprobs:
            found.append(TextDelta("", self._block, self._logprobs))
            self._logprobs = []
        return found

    def _turn_to(self, block: int) -> list[ModelEvent]:
        if block == self._block:
            return []
        found = self.end()
        self._block, self._length = block, 0
        return found

    def _settled(self) -> list[ModelEvent]:
        """Take from what is held all that can no longer become a mark, and the whole marks."""
        found: list[ModelEvent] = []
        while (start := self._held.find(OPEN)) >= 0:
            end = self._held.find(CLOSE, start)
            if end < 0 and len(self._held) - start <= LONGEST_MARK:
                return found + self._text(start)
            found += self._mark(start, end + 1) if 0 <= end - start <= LONGEST_MARK else self._text(start + 1)
        return found + self._text(len(self._held))

    def _mark(self, start: int, end: int) -> list[ModelEvent]:
        match = _MARK.fullmatch(self._held[start:end])
        if match is None:
            return self._text(start + 1)  # another bracket may open inside
        found = self._text(start)
        self._held = self._held[end - start :]
        self._cited = True
        number = int(match[1])
        if 1 <= number <= len(self._passages):
            found.append(Cited(cite(self._passages[number - 1], self._claim, index=self._length), self._block))
        return found

    def _text(self, length: int) -> list[ModelEvent]:
        if not length:
            return []
        text, self._held = self._held[:length], self._held[length:]
        logprobs, self._logprobs = self._logprobs, []
        self._length += length
        self._claim = text if self._cited else (self._claim + text)[-CLAIM_CHARS:]
        self._cited = False
        return [TextDelta(text, self._block, logprobs or None)]


def cite(passage: Passage, claim: str, *, index: int) -> FileCitation:
    """Return a citation, at `index` of the output text, of the sentence of `passage` that best supports `claim`.

    The whole passage is cited where no sentence of it shares a term with the claim.
    """
    quotes = best_sentences(claim, [passage], 1) if claim.strip() else []
    return place(passage, quotes[0], index=index) if quotes else _whole(passage, index)


def place(passage: Passage, quote: Quote, *, index: int) -> FileCitation:
    """Return a citation of a sentence of `passage`, on the page where it starts."""
    return FileCitation(
        passage.file_id,
        passage.filename,
        index,
        page=passage.page_at(quote.start),
        start=quote.start,
        end=quote.end,
        quote=quote.text,
    )


def _whole(passage: Passage, index: int) -> FileCitation:
    return place(passage, Quote(0, passage.start, passage.end, passage.text), index=index)
