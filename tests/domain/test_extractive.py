"""The sentences that answer are chosen, with their exact places."""

from hypothesis import given
from hypothesis import strategies as st

from chatbackend.domain.extractive import Quote, best_sentences
from chatbackend.domain.passages import Passage


def passage(text: str, *, start: int = 0, score: float = 1.0, file: str = "file_a") -> Passage:
    return Passage(file, f"{file}.txt", start, start + len(text), text, score)


def quoted(query: str, *texts: str, limit: int = 1) -> list[str]:
    return [quote.text for quote in best_sentences(query, [passage(text) for text in texts], limit)]


def test_the_sentence_that_answers_is_quoted() -> None:
    text = "Parcels leave at noon. A refund takes five working days. Write to us for more."
    assert quoted("How long does a refund take?", text) == ["A refund takes five working days."]


def test_a_quote_tells_its_place_in_the_file() -> None:
    passages = [passage("Nothing here."), passage("Well. A refund takes five days.", start=100)]
    text = "A refund takes five days."
    assert best_sentences("refund", passages, 1) == [Quote(1, 106, 106 + len(text), text)]


def test_a_question_in_a_file_is_answered_by_the_sentence_after_it() -> None:
    text = "How do I reset my password? Open the settings and choose Security. Lamps are sold in pairs."
    assert quoted("How do I reset my password?", text) == ["Open the settings and choose Security."]


def test_a_title_is_answered_by_the_sentence_after_it() -> None:
    text = "Refund policy\n\nMoney comes back within five days.\n\nLamps are sold in pairs."
    assert quoted("What is the refund policy?", text) == ["Money comes back within five days."]


def test_a_short_line_with_a_number_is_an_answer_and_no_title() -> None:
    assert quoted("What does the lamp cost?", "Prices\n\nLamp cost 5 EUR\n\nChair cost 9 EUR") == ["Lamp cost 5 EUR"]


def test_words_together_count_more_than_words_apart() -> None:
    texts = ["The limit of this rate is set.", "The rate limit of this is set."]
    assert quoted("rate limit", *texts) == [texts[1]]


def test_the_better_passage_wins_between_equal_sentences() -> None:
    passages = [passage("The refund is late.", score=0.1), passage("The refund was late.", score=0.9)]
    assert [quote.passage for quote in best_sentences("refund", passages, 1)] == [1]


def test_a_much_worse_sentence_is_not_added() -> None:
    text = "A refund of a damaged parcel takes five days. A lamp is a parcel."
    assert len(quoted("refund of a damaged parcel", text, limit=3)) == 1


def test_no_more_than_the_limit_is_quoted() -> None:
    text = "A refund is one. A refund is two. A refund is three."
    assert len(quoted("refund", text, limit=2)) == 2


def test_a_sentence_that_two_passages_share_is_quoted_once() -> None:
    assert quoted("refund", "A refund is one.", "A refund is one. It is late.", limit=3)[0] == "A refund is one."
    assert quoted("refund", "A refund is one.", "A refund is one.", limit=3) == ["A refund is one."]


def test_a_question_about_nothing_in_particular_gets_the_first_sentences() -> None:
    assert quoted("What is this about?", "Our story\n\nWe sell lamps. We sell chairs.") == ["We sell lamps."]


def test_nothing_is_quoted_where_no_term_is_shared() -> None:
    assert quoted("volcano", "We sell lamps.") == []


def test_nothing_is_quoted_of_no_passage() -> None:
    assert quoted("refund") == []
    assert quoted("") == []


@given(st.text("ab. ?\n"), st.lists(st.text("ab. ?\n1"), max_size=4), st.integers(0, 4))
def test_quotes_are_the_text_at_their_place(query: str, texts: list[str], limit: int) -> None:
    passages = [passage(text, start=7 * number) for number, text in enumerate(texts)]
    quotes = best_sentences(query, passages, limit)
    assert len(quotes) <= limit
    for quote in quotes:
        source = passages[quote.passage]
        assert source.text[quote.start - source.start : quote.end - source.start] == quote.text != ""
