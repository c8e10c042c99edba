"""Score and rank passages: BM25 over postings, fusion of lexical and dense scores, reranking by coverage.

Passages are named by keys that have an order: it breaks ties, so that a ranking is the same every time.

Source: Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), for `bm25`.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise
from math import log
from typing import Final, TypeVar

from chatbackend.domain.terms import terms

K = TypeVar("K", bound=Hashable)
T = TypeVar("T", bound=Hashable)

CANDIDATES: Final = 100
"""How many of the best of each kind are worth fusing."""


def bm25(
    query_terms: Sequence[str],
    postings: Mapping[str, Sequence[tuple[K, int, int]]],
    *,
    chunk_count: int,
    average_length: float,
    k1: float = 1.2,
    b: float = 0.75,
) -> dict[K, float]:
    """Return the score of every passage that has a query term; all are above 0.

    `postings` holds (passage, how often, length of the passage in terms) for each term, complete for the `chunk_count`
    passages that are searched.
    """
    scores: defaultdict[K, float] = defaultdict(float)
    for term, repeated in Counter(query_terms).items():
        found = postings.get(term, ())
        weight = repeated * rarity(len(found), chunk_count) * (k1 + 1)
        for key, frequency, length in found:
            scores[key] += weight * frequency / (frequency + k1 * (1 - b + b * length / average_length))
    return dict(scores)


def rarity(found: int, total: int) -> float:
    """Return the weight of a term that `found` of `total` passages have; above 0 even if all do."""
    return log(1 + (total - found + 0.5) / (found + 0.5))


def best(scores: Mapping[K, float], count: int = CANDIDATES) -> dict[K, float]:
    """Return the `count` highest scores, highest first."""
    return dict(_ranked(scores)[:count])


def fuse(lexical: Mapping[K, float], dense: Mapping[K, float], *, dense_weight: float = 0.5) -> list[tuple[K, float]]:
    """Return all passages, best first, with scores in 0..1: the weighted mean of the min-max scaled scores.

    A passage that one side does not have counts 0 there. Where one side is empty the other decides alone.
    """
    if not lexical or not dense:
        return _ranked(_scaled(lexical or dense))
    words, meaning = _scaled(lexical), _scaled(dense)
    return _ranked(
        {
            key: (1 - dense_weight) * words.get(key, 0.0) + dense_weight * meaning.get(key, 0.0)
            for key in {**lexical, **dense}
        }
    )


def rerank(
    query: str, candidates: Sequence[tuple[K, float, str]], *, coverage: float = 0.1, phrases: float = 0.1
) -> list[tuple[K, float]]:
    """Return `(key, score)`, best first, of `(key, score, text with header)`; scores in 0..1 stay there.

    Passages gain that have more of the query's different terms, and more of its neighbouring pairs side by side.
    """
    asked = terms(query)
    words, pairs = set(asked), set(pairwise(asked))
    scores: dict[K, float] = {}
    for key, score, text in candidates:
        found = terms(text)
        bonus = coverage * _share(words, found) + phrases * _share(pairs, list(pairwise(found)))
        scores[key] = (score + bonus) / (1 + coverage + phrases)
    return _ranked(scores)


def _share(wanted: set[T], found: Sequence[T]) -> float:
    return len(wanted.intersection(found)) / len(wanted) if wanted else 0.0


def _scaled(scores: Mapping[K, float]) -> dict[K, float]:
    """Scale to 0..1; equal scores are all 1."""
    low, high = min(scores.values(), default=0.0), max(scores.values(), default=0.0)
    return {key: (score - low) / (high - low) if high > low else 1.0 for key, score in scores.items()}


def _ranked(scores: Mapping[K, float]) -> list[tuple[K, float]]:
    return sorted(scores.items(), key=lambda entry: (-entry[1], entry[0]))
