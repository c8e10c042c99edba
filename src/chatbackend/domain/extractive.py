"""Choose the sentences of retrieved passages that answer a question."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from chatbackend.domain.characters import CLOSERS, STOPS, WIDE_STOPS
from chatbackend.domain.documents import Document
from chatbackend.domain.passages import Passage
from chatbackend.domain.retrieval import rarity
from chatbackend.domain.structure import units
from chatbackend.domain.terms import terms

# What counts beside the share of the question's terms that the sentence has, which counts 1.
PASSAGE: Final = 0.5  # the score of its passage
PHRASES: Final = 0.3  # the share of the question's neighbouring terms that it has side by side
BEFORE: Final = 0.3  # the share of terms that only the sentence before it has
PROMPTED: Final = 0.9  # the same, where that sentence is a question or a title
PROMPTING: Final = -0.5  # being a question or a title
SECOND_BEST: Final = 0.6  # how good another quote must be beside the best one

_ASKS = re.compile(rf"[?\uff1f\u061f][{CLOSERS}]*+\Z")
_SAYS = re.compile(rf"[{STOPS}{WIDE_STOPS}:;][{CLOSERS}]*+\Z|\d|: ")
_LONGEST_TITLE: Final = 6


@dataclass(frozen=True, slots=True)
class Quote:
    """A sentence of `passages[passage]`: `text == file_text[start:end]`."""

    passage: int
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class _Sentence:
    quote: Quote
    terms: tuple[str, ...]
    prompts: bool  # a question or a title: it asks or announces rather than says
    before: "_Sentence | None"


def best_sentences(query: str, passages: Sequence[Passage], limit: int) -> list[Quote]:
    """Return at most `limit` sentences, best first; [] if none shares a term with the question.

    A question without terms of its own ("What is this about?") gets the first sentences of the best passage.
    """
    asked = terms(query)
    found = list(_sentences(passages))
    if not asked:
        return [each.quote for each in found if not each.prompts][:limit]
    frequency = Counter(term for each in found for term in set(each.terms))
    weights = {term: rarity(frequency[term], len(found)) for term in asked if term in frequency}
    pairs = set(pairwise(asked))
    scored = [
        (_score(each, weights, pairs) + PASSAGE * passages[each.quote.passage].score, each.quote)
        for each in found
        if _weight(weights, each) or (each.before is not None and _weight(weights, each.before))
    ]
    scored.sort(key=lambda entry: (-entry[0], entry[1].passage, entry[1].start))
    return [quote for score, quote in scored[:limit] if score >= SECOND_BEST * scored[0][0]]


def _score(sentence: _Sentence, weights: Mapping[str, float], pairs: set[tuple[str, str]]) -> float:
    score = PROMPTING if sentence.prompts else 0.0
    score += _weight(weights, sentence) / sum(weights.values())
    score += PHRASES * len(pairs.intersection(pairwise(sentence.terms))) / max(1, len(pairs))
    if sentence.before is not None:
        unsaid = {term: weight for term, weight in weights.items() if term not in sentence.terms}
        share = _weight(unsaid, sentence.before) / sum(weights.values())
        score += share * (PROMPTED if sentence.before.prompts else BEFORE)
    return score


def _weight(weights: Mapping[str, float], sentence: _Sentence) -> float:
    return sum(weight for term, weight in weights.items() if term in sentence.terms)


def _sentences(passages: Sequence[Passage]) -> Iterator[_Sentence]:
    """Yield each different sentence once: passages overlap, and files repeat each other."""
    seen: set[str] = set()
    for index, passage in enumerate(passages):
        before: _Sentence | None = None
        for start, end, _ in units(Document(passage.text), ()):
            text = passage.text[start:end]
            said = tuple(terms(text))
            prompts = bool(_ASKS.search(text)) or (len(said) < _LONGEST_TITLE and not _SAYS.search(text))
            quote = Quote(index, passage.start + start, passage.start + end, text)
            before = _Sentence(quote, said, prompts, before)
            if text not in seen:
                seen.add(text)
                yield before
