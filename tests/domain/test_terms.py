"""Text becomes the terms that lexical search compares."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbackend.domain.terms import frequencies, terms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The files are indexed", "file index"),
        ("don't", "don"),
        ("getUserName", "getusernam get user name"),
        ("get_user_name", "getusernam get user name"),
        ("XMLHttpRequest", "xmlhttprequest xml http request"),
        ("sha256", "sha256 sha 256"),
        ("3M_2018_10K", "3m201810k 3m 3 2018 10k 10 k"),
        ("__init__", "init"),
        ("__", ""),
        ("URLs of APIs", "url api"),
        ("NASA Paris a I X", "nasa pari x"),
        ("the_API", "theapi api"),
        ("Llama 3.1 costs 1,234.50", "llama 3.1 cost 1234.50"),
        ("Café CAFÉ cafe\u0301", "cafe cafe cafe"),
        ("straße STRASSE", "strass strass"),
        ("Élan_vital", "elanvit elan vital"),
        ("日本語", "日本 本語"),
        ("本", "本"),
        ("ｶﾞ", "ガ"),
        ("GPT4のモデル", "gpt4 gpt 4 のモ モデ デル"),
        ("Привет мира", "привет мира"),
    ],
)
def test_terms_are_stems_and_parts_of_identifiers(text: str, expected: str) -> None:
    assert terms(text) == expected.split()


def test_a_term_is_never_longer_than_64_characters() -> None:
    assert [len(term) for term in terms(f"{'x' * 100_000} {'1,' * 100_000}1")] == [64, 64]


@given(st.text())
def test_any_text_has_terms_without_white_space(text: str) -> None:
    assert all(term and term == "".join(term.split()) for term in terms(text))
    assert terms(text) == terms(text)


def test_the_header_counts_in_a_passage_as_its_text_does() -> None:
    assert frequencies("Refunds", "A refund takes days.") == {"refund": 2, "take": 1, "dai": 1}
