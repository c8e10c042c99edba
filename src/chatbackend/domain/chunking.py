"""Cut a document into passages along its structure, with exact offsets."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from math import ceil
from typing import Final, NamedTuple

from chatbackend.domain.code import is_code, leading_comment
from chatbackend.domain.documents import Chunk, Document, Heading
from chatbackend.domain.structure import Break, headings_of, units
from chatbackend.domain.tokens import estimate_tokens

# A vocabulary may call a megabyte without a space one unknown token, and a million line ends none at all.
LONGEST_TOKEN: Final = 16
WHITE_SPACE_PER_TOKEN: Final = 32

_SEPARATORS: Final = ("\n", "; ", ": ", ", ", "\uff1b", "\uff0c", "\u3001", " ", "\t", "\u3000")
_LONGEST_NAME: Final = 100
_LONGEST_PATH: Final = 300


def chunk(
    document: Document,
    *,
    max_tokens: int = 240,
    overlap_sentences: int = 1,
    overlap_tokens: int | None = None,
    count: Callable[[str], int] = estimate_tokens,
) -> list[Chunk]:
    """Return the passages in order; every character that is not white space is in at least one.

    In the second half of its budget a passage ends at the first heading, else where the text breaks most strongly;
    only a sentence that alone is longer than the budget is cut. A document that fits, or exceeds the budget by no more
    than a quarter, stays whole. Each passage begins with the last `overlap_sentences` of the one before it, if they
    take no more than a third of the budget and no heading lies between.

    `overlap_tokens` selects OpenAI's static strategy instead: no passage exceeds `max_tokens`, and as many whole
    sentences are repeated as fit in it.
    """
    budget = _Budget(max_tokens, max_tokens * 5 // 4, overlap_sentences, max_tokens // 3)
    if overlap_tokens is not None:
        # A sentence has a token at least: their number is no bound here.
        budget = _Budget(max_tokens, max_tokens, overlap_tokens, overlap_tokens)
    headings = headings_of(document)
    pieces = list(_pieces(document, headings, max_tokens, count))
    headers = _Headers(document, headings)
    page_starts = [page.start for page in document.pages]
    chunks: list[Chunk] = []
    for first, new, last in _packed(pieces, budget):
        start, end = pieces[first].start, pieces[last - 1].end
        page = document.pages[max(0, bisect_right(page_starts, start) - 1)].number if page_starts else None
        chunks.append(Chunk(len(chunks), start, end, document.text[start:end], headers.at(pieces[new].start), page))
    return chunks


class _Budget(NamedTuple):
    tokens: int
    whole: int  # what a document may have without being cut
    overlap_sentences: int
    overlap_tokens: int


class _Piece(NamedTuple):
    """A unit, or a part of one that is longer than a passage."""

    start: int
    end: int
    strength: int
    tokens: int
    gap: int  # what the white space before it costs inside a passage, in tokens


def _pieces(
    document: Document, headings: tuple[Heading, ...], max_tokens: int, count: Callable[[str], int]
) -> Iterator[_Piece]:
    def size(start: int, end: int) -> int:
        return max(1, count(document.text[start:end]), (end - start) // LONGEST_TOKEN)

    last_end = 0
    for unit in units(document, headings):
        strength = unit.strength
        for start, end, tokens in _cut(document.text, (unit.start, unit.end), max_tokens, size):
            yield _Piece(start, end, strength, tokens, (start - last_end) // WHITE_SPACE_PER_TOKEN)
            strength, last_end = Break.WORD, end


def _cut(
    text: str, span: tuple[int, int], max_tokens: int, size: Callable[[int, int], int]
) -> Iterator[tuple[int, int, int]]:
    """Yield `[start, end)` and its tokens, in about equal parts if it is longer than the budget."""
    waiting = [span]
    while waiting:
        start, end = _stripped(text, *waiting.pop())
        tokens = size(start, end)
        if end - start > 1 and tokens > max_tokens:
            waiting += reversed(_parts(text, start, end, ceil(1.1 * tokens / max_tokens)))
        elif start < end:
            yield start, end, tokens


def _parts(text: str, start: int, end: int, number: int) -> list[tuple[int, int]]:
    step = max(1, (end - start) // number)
    cuts = [start]
    while end - cuts[-1] > step:
        cuts.append(_separator(text, cuts[-1] + step // 2, cuts[-1] + step))
    return list(zip(cuts, [*cuts[1:], end], strict=True))


def _separator(text: str, low: int, high: int) -> int:
    """Return the best place for a cut in `(low, high]`."""
    for separator in _SEPARATORS:
        at = text.rfind(separator, low, high)
        if at >= 0:
            return at + len(separator)
    return high


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    begin = end - len(text[start:end].lstrip())
    return begin, begin + len(text[begin:end].rstrip())


def _packed(pieces: Sequence[_Piece], budget: _Budget) -> Iterator[tuple[int, int, int]]:
    """Yield passages as indexes of pieces: the first repeated one, the first new one, the one after the last."""
    whole = _size(pieces) <= budget.whole
    first = new = 0
    while new < len(pieces):
        last = len(pieces) if whole else _end(pieces, new, budget.tokens - _size(pieces[first:new]))
        yield first, new, last
        first, new = _repeated(pieces, first, last, budget), last


def _size(pieces: Sequence[_Piece]) -> int:
    return sum(piece.tokens + piece.gap for piece in pieces)


def _end(pieces: Sequence[_Piece], begin: int, room: int) -> int:
    """Return where the passage that begins at `begin` ends: at the strongest break, the last among equals."""
    filled = pieces[begin].tokens
    best, strongest = begin + 1, Break.NEVER + 0
    for index in range(begin + 1, len(pieces)):
        piece = pieces[index]
        if 2 * filled >= room and piece.strength >= Break.SUBSECTION:
            return index
        if piece.strength >= max(strongest, Break.WORD):
            best, strongest = index, piece.strength if 2 * filled >= room else Break.NEVER
        filled += piece.tokens + piece.gap
        if filled > room:
            return best
    return len(pieces)


def _repeated(pieces: Sequence[_Piece], first: int, last: int, budget: _Budget) -> int:
    """Return the first of the pieces before `last` that the next passage repeats."""
    if last == len(pieces) or pieces[last].strength >= Break.SUBSECTION:
        return last
    room = min(budget.overlap_tokens, budget.tokens - pieces[last].tokens - pieces[last].gap)
    begin = last
    while begin - 1 > first and last - begin < budget.overlap_sentences:
        room -= pieces[begin - 1].tokens + pieces[begin - 1].gap
        if room < 0 or pieces[begin - 1].strength >= Break.SUBSECTION:
            break
        begin -= 1
    return begin


class _Headers:
    """The title and the headings above a place, asked for in the order of the text."""

    def __init__(self, document: Document, headings: tuple[Heading, ...]) -> None:
        self._text = document.text
        self._waiting = list(reversed(headings))
        self._path: list[tuple[int, str]] = []
        self._title = _in_one_line(document.title or "")
        self._code = is_code(document)
        self._comment = leading_comment(document.text) if self._code else ""

    def at(self, offset: int) -> str:
        while self._waiting and self._waiting[-1].start <= offset:
            heading = self._waiting.pop()
            above = [(level, name) for level, name in self._path if level < heading.level]
            self._path = [*above, (heading.level, self._name(heading))]
        names = [self._title, *(name for _, name in self._path)]
        distinct = [name for before, name in zip(["", *names], names, strict=False) if name not in {"", before}]
        return "\n".join(filter(None, [" > ".join(distinct)[:_LONGEST_PATH], self._comment]))

    def _name(self, heading: Heading) -> str:
        text = self._text[heading.start : heading.end]
        return _in_one_line(text.rpartition("\n")[2] if self._code else text)


def _in_one_line(text: str) -> str:
    return " ".join(text[: 4 * _LONGEST_NAME].split()).strip("#= ")[:_LONGEST_NAME]
