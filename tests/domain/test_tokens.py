"""Token counts are estimated near what tokenizers count."""

import pytest

from chatbackend.domain.tokens import estimate_tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        (" \n\t", 0),
        ("The cat sat.", 4),
        ("antidisestablishmentarianism", 4),
        ("1234567", 3),
        ("snake_case", 3),
        ("日本語", 3),
        ("a-b", 3),
    ],
)
def test_an_estimate_counts_pieces_of_words_numbers_and_marks(text: str, tokens: int) -> None:
    assert estimate_tokens(text) == tokens


def test_a_megabyte_without_white_space_is_counted() -> None:
    assert estimate_tokens("x" * 1_000_000) == 142_858
