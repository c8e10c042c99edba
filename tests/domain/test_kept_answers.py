"""Which errors leave a key free, and which streams are kept answers."""

import pytest

from chatbackend.domain import errors
from chatbackend.domain.errors import ChatError
from chatbackend.domain.kept_answers import frees_key, interrupted, is_kept_answer

KEPT = (errors.UpstreamTimeout, errors.UpstreamCut, errors.Internal)


def every(kind: type[ChatError]) -> list[type[ChatError]]:
    """Return an error and all below it."""
    return [kind, *(found for below in kind.__subclasses__() for found in every(below))]


@pytest.mark.parametrize("kind", every(ChatError))
def test_a_key_stays_used_only_where_something_may_have_been_generated(kind: type[ChatError]) -> None:
    error = kind("words", allowed=()) if kind is errors.NotAllowed else kind("words")
    assert frees_key(error) is (kind not in KEPT)


def test_an_interruption_is_kept_and_says_what_to_do() -> None:
    error = interrupted()
    assert not frees_key(error)
    assert (error.code, "another Idempotency-Key" in error.message) == ("interrupted", True)


def test_kept_answers_are_known_by_their_ids() -> None:
    assert [is_kept_answer(stream) for stream in ("ans_1", "resp_1", "answer", "")] == [True, False, False, False]
