"""Turn text into the terms that lexical search compares."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from chatbackend.domain.characters import UNSPACED
from chatbackend.domain.english import STOPWORDS
from chatbackend.domain.stemming import stem

_RUN = re.compile(rf"(?P<unspaced>[{UNSPACED}]++)|(?P<number>\d++(?:[.,]\d++)++)|(?P<word>[^\W{UNSPACED}]++)")
_PART = re.compile(r"[A-Z]{2,}s(?![a-z])|[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_LONGEST_TERM: Final = 64


def terms(text: str) -> list[str]:
    """Return the terms of a text in order: stems without stopwords, at most 64 characters each.

    An identifier (`camelCase`, `snake_case`, `sha256`) gives itself, in one word, and its parts. Scripts without
    spaces give pairs of neighbouring characters.
    """
    return list(_terms(text))


def frequencies(header: str, text: str) -> dict[str, int]:
    """Return how often each term of a passage counts in its postings; their sum is the passage's length."""
    return dict(Counter(_terms(f"{header}\n{text}")))


def _terms(text: str) -> Iterator[str]:
    for run in _RUN.finditer(text):
        match run.lastgroup:
            case "unspaced":
                yield from _pairs(run[0])
            case "number":
                yield run[0].replace(",", "")[:_LONGEST_TERM]
            case _:
                yield from _word(run[0])


def _word(word: str) -> Iterator[str]:
    folded = _folded(word)
    if folded.isalpha() and (word.isupper() or word[1:].islower() or len(word) == 1 or word[:-1].isupper()):
        yield from _unless_stopword(folded)
        return
    names = [name for name in word.split("_") if name]
    if len(names) > 1:
        yield _stemmed(folded.replace("_", ""))
    for name in names:
        parts = _PART.findall(name) if name.isascii() else []
        for part in [name, *parts] if len(parts) > 1 else [name]:
            yield from _unless_stopword(_folded(part))


def _unless_stopword(folded: str) -> Iterator[str]:
    if folded not in STOPWORDS:
        yield _stemmed(folded)


def _stemmed(folded: str) -> str:
    short = folded[:_LONGEST_TERM]
    return stem(short) if short.isascii() and short.isalpha() else short


def _pairs(run: str) -> Iterator[str]:
    run = unicodedata.normalize("NFKC", run)
    if len(run) == 1:
        yield run
    yield from (first + second for first, second in pairwise(run))


def _folded(word: str) -> str:
    """Case, compatibility forms and Latin accents do not tell words apart."""
    if word.isascii():
        return word.lower()
    decomposed = unicodedata.normalize("NFKD", word.casefold())
    return unicodedata.normalize("NFKC", "".join(letter for letter in decomposed if not "\u0300" <= letter <= "\u036f"))
