"""Retrieval finds what answers, on the labelled data: floors under what `bench/retrieval.py` prints."""

import pytest

from bench.retrieval import Collection, collection, documents_found, embed, quotes_right, spans_found, spans_kept_whole
from chatbackend.infra.embedding.minilm import absent
from tests.support.requires import require, require_shared_data

pytestmark = pytest.mark.timeout(400)  # embedding takes a minute or two


def read(name: str) -> Collection:
    require_shared_data("retrieval", f"{name}.jsonl.gz")
    return collection(name)


def embedded(name: str) -> Collection:
    made = read(name)
    missing = absent()
    if missing is not None:
        require("MiniLM", missing)
    embed(made)
    return made


def test_the_section_that_answers_comes_first() -> None:
    docs = embedded("product_docs")
    precision, recall, reciprocal = documents_found(docs, docs.final)
    assert precision >= 0.44
    assert recall >= 0.71
    assert reciprocal >= 0.88


def test_the_first_passages_hold_the_answer_and_the_quotes_say_it() -> None:
    spans = embedded("answer_spans")
    assert spans_found(spans, spans.final, 5) >= 0.92
    assert spans_found(spans, spans.final, 10) >= 0.965
    first, one_of_three = quotes_right(spans, spans.final)
    assert first >= 0.6
    assert one_of_three >= 0.79


def test_words_alone_find_most_of_it_where_there_is_no_embedder() -> None:
    docs, spans = read("product_docs"), read("answer_spans")
    assert documents_found(docs, docs.final)[2] >= 0.82
    assert spans_found(spans, spans.final, 5) >= 0.9


def test_an_answer_is_seldom_cut() -> None:
    assert spans_kept_whole(read("answer_spans")) >= 0.95
