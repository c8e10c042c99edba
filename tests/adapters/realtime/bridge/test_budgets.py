"""A session in text that has used its tokens: told so when nothing runs any more; what it was answered is whole."""

import pytest

from chatbackend.domain.realtime import Terms
from chatbackend.domain.usage import Usage
from tests.support.realtime_talk import HELLO, Talk, kinds

LIMITED = Terms(max_tokens=10)


def test_the_answer_that_goes_over_is_whole_and_nothing_begins_after_it() -> None:
    talk = Talk(terms=LIMITED)
    talk.say("Hi")
    events = talk.answer(talk.create(), *HELLO, usage=Usage(9, 2))
    assert kinds(events)[-3:] == ["response.done", "rate_limits.updated", "error"]
    assert events[-1]["error"]["code"] == "budget_exceeded"
    assert talk.bridge.spent is not None
    assert talk.refusal("response.create")[0] == "budget_exceeded"


@pytest.mark.parametrize("usage", [Usage(9, 1), None])
def test_a_session_goes_on_within_its_budget(usage: Usage | None) -> None:
    talk = Talk(terms=LIMITED)
    talk.answer(talk.create(), *HELLO, usage=usage)
    assert talk.bridge.spent is None


def test_what_runs_beside_it_is_let_end() -> None:
    talk = Talk(terms=LIMITED)
    one, other = talk.create(), talk.create(conversation="none")
    assert "error" not in kinds(talk.answer(one, *HELLO, usage=Usage(9, 2)))
    assert talk.bridge.spent is None
    assert talk.refusal("response.create")[0] == "budget_exceeded"
    assert kinds(talk.answer(other, *HELLO, usage=Usage()))[-1] == "error"
