"""Find where the sentences of a text begin and end."""

import re
from typing import Final

from chatbackend.domain.characters import CLOSERS, OPENERS, STOPS, WIDE_CLOSERS, WIDE_STOPS
from chatbackend.domain.english import ABBREVIATIONS, BEFORE_NUMBERS, STARTERS

# A run of stops, what closes after it, and the space behind. Runs are entered only at their first character and never
# given back (possessive), so hostile punctuation costs linear time.
_STOP = re.compile(
    rf"(?<![{STOPS}])(?P<mark>[{STOPS}]++)[{CLOSERS}]*+\s++|[{WIDE_STOPS}]++[{WIDE_CLOSERS}]*+\s*+",
)
_LAST_WORD = re.compile(rf"[^\s{OPENERS}]+\Z")
_LETTERS = re.compile(r"[^\W\d_](?:\.[^\W\d_])*\Z")
_FIRST_WORD = re.compile(r"[^\W\d_]+")
_LONGEST_WORD: Final = 12


def sentences(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Return the sentences of `text[start:end]` as `[start, end)` without the white space around them.

    Every character that is not white space is in exactly one of them.
    """
    found: list[tuple[int, int]] = []
    begin = end - len(text[start:end].lstrip())
    for stop in _STOP.finditer(text, begin, end):
        if _ends_sentence(text, stop, begin, end):
            found.append((begin, stop.start() + len(stop[0].rstrip())))
            begin = stop.end()
    if begin < end:
        found.append((begin, begin + len(text[begin:end].rstrip())))
    return found


def _ends_sentence(text: str, stop: re.Match[str], begin: int, end: int) -> bool:
    if stop["mark"] is None:
        return True
    following = text[stop.end() : min(end, stop.end() + _LONGEST_WORD)]
    if following[:1].islower():
        return False
    before = _LAST_WORD.search(text[max(begin, stop.start() - _LONGEST_WORD) : stop.start()])
    if stop["mark"] != "." or before is None:
        return True
    if before[0].isdigit() and stop.start() - len(before[0]) == begin:
        return False  # "1. Install it": the number of a list
    return not _is_abbreviation(before[0], following)


def _is_abbreviation(word: str, following: str) -> bool:
    folded = word.casefold()
    if folded in BEFORE_NUMBERS:
        return following[:1].isdigit()
    if folded in ABBREVIATIONS:
        return True
    if not _LETTERS.match(word):
        return False
    starter = _FIRST_WORD.match(following)  # "J. Smith" goes on; "in the U.S. The" does not
    return starter is None or starter[0] not in STARTERS
