"""Passages are scored and ranked."""

from math import isclose, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbackend.domain.retrieval import best, bm25, fuse, rarity, rerank

Postings = dict[str, list[tuple[str, int, int]]]
SCORES = st.dictionaries(st.integers(0, 20), st.floats(-10, 10), max_size=12)


def score(query: list[str], postings: Postings, *, average: float = 10.0) -> dict[str, float]:
    return bm25(query, postings, chunk_count=10, average_length=average)


def test_bm25_follows_the_formula() -> None:
    scores = score(["cat"], {"cat": [("a", 2, 10), ("b", 1, 20)]})
    idf = log(1 + (10 - 2 + 0.5) / (2 + 0.5))
    assert isclose(scores["a"], idf * 2 * 2.2 / (2 + 1.2))
    assert isclose(scores["b"], idf * 1 * 2.2 / (1 + 1.2 * (0.25 + 0.75 * 2)))


def test_a_rare_term_weighs_more_than_a_common_one() -> None:
    scores = score(["rare", "common"], {"rare": [("a", 1, 10)], "common": [(name, 1, 10) for name in "bcdefghi"]})
    assert scores["a"] > scores["b"] > 0


def test_a_term_that_every_passage_has_still_counts() -> None:
    assert rarity(10, 10) > 0


def test_a_repeated_query_term_counts_as_often() -> None:
    postings: Postings = {"cat": [("a", 1, 10)]}
    assert isclose(score(["cat", "cat"], postings)["a"], 2 * score(["cat"], postings)["a"])


def test_an_unknown_term_finds_nothing() -> None:
    assert score(["dog"], {"cat": [("a", 1, 10)]}) == {}


def test_best_keeps_the_highest_in_order_and_breaks_ties_by_key() -> None:
    assert list(best({"c": 1.0, "b": 2.0, "a": 1.0}, 2).items()) == [("b", 2.0), ("a", 1.0)]


def test_fusion_weighs_both_sides_after_scaling_each_to_one() -> None:
    fused = fuse({"a": 30.0, "b": 20.0, "c": 10.0}, {"a": 0.0, "b": 1.0, "d": 0.5})
    assert fused == [("b", 0.75), ("a", 0.5), ("d", 0.25), ("c", 0.0)]


def test_the_weight_of_the_dense_side_can_be_given() -> None:
    assert fuse({"a": 1.0, "b": 0.0}, {"a": 0.0, "b": 1.0}, dense_weight=0.7) == [("b", 0.7), ("a", pytest.approx(0.3))]


def test_one_side_alone_decides_when_the_other_is_empty() -> None:
    expected = [("a", 1.0), ("b", 0.0)]
    assert fuse({"a": 3.0, "b": 1.0}, {}) == expected
    assert fuse({}, {"a": 3.0, "b": 1.0}) == expected
    assert fuse({}, {}) == []


@given(SCORES, SCORES)
def test_fused_scores_lie_in_0_to_1_descend_and_name_every_passage(
    lexical: dict[int, float], dense: dict[int, float]
) -> None:
    fused = fuse(lexical, dense)
    assert {key for key, _ in fused} == lexical.keys() | dense.keys()
    assert all(0 <= value <= 1 for _, value in fused)
    assert fused == sorted(fused, key=lambda entry: (-entry[1], entry[0]))


def test_reranking_prefers_the_passage_that_covers_the_question() -> None:
    ranked = rerank("refund of a damaged parcel", [(1, 0.5, "Refund."), (2, 0.5, "Damaged parcels get a refund.")])
    assert [key for key, _ in ranked] == [2, 1]


def test_reranking_prefers_the_passage_that_keeps_the_words_together() -> None:
    ranked = rerank("rate limit", [(1, 0.5, "The limit has a rate."), (2, 0.5, "The rate limit.")])
    assert [key for key, _ in ranked] == [2, 1]


def test_reranking_overturns_no_clear_lead() -> None:
    assert [key for key, _ in rerank("rate limit", [(1, 0.9, "Nothing."), (2, 0.5, "The rate limit.")])] == [1, 2]


def test_a_question_without_terms_leaves_the_order() -> None:
    assert [key for key, _ in rerank("what is it", [(1, 0.9, "A."), (2, 0.5, "B.")])] == [1, 2]


@given(st.lists(st.tuples(st.floats(0, 1), st.text("ab "))), st.text("ab "))
def test_reranked_scores_stay_in_0_to_1(found: list[tuple[float, str]], query: str) -> None:
    ranked = rerank(query, [(number, value, text) for number, (value, text) in enumerate(found)])
    assert sorted(key for key, _ in ranked) == list(range(len(found)))
    assert all(0 <= value <= 1 + 1e-9 for _, value in ranked)
