"""The fold of a provider's events into items, and the steps that say what changed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbackend.domain import answer
from chatbackend.domain.answer import Answer, AnswerEvent
from chatbackend.domain.errors import UpstreamError
from chatbackend.domain.events import (
    Cited,
    Finished,
    ModelEvent,
    ReasoningDelta,
    ReasoningSeal,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from chatbackend.domain.items import (
    FileSearchCall,
    FunctionCall,
    Message,
    OutputItem,
    OutputText,
    Reasoning,
    ReasoningText,
    Refusal,
    SearchResult,
    SummaryText,
    UrlCitation,
)
from chatbackend.domain.responses import COMPLETED, TURNED, Outcome
from chatbackend.domain.usage import Usage
from tests.support.model_events import OUTCOMES, SPEECHES, Watcher, hear, numbered

LINK = UrlCitation("https://example.com", "Example", 0, 1)
CUT = Outcome("incomplete")


def told(*events: ModelEvent, outcome: Outcome = COMPLETED) -> tuple[list[OutputItem], list[str]]:
    """Return the items of a whole answer and the names of its steps."""
    said = Answer(numbered())
    steps = [step for event in events for step in said.feed(event)] + said.close(outcome)
    return said.items, [type(step).__name__ for step in steps]


def test_a_text_opens_a_message_grows_and_is_closed_in_the_order_of_the_api() -> None:
    items, steps = told(TextDelta("Hel"), TextDelta("lo"), Finished("stop"))
    assert items == [Message("msg_1", "assistant", [OutputText("Hello")])]
    assert steps == ["ItemAdded", "PartAdded", "PartGrew", "PartGrew", "TextDone", "PartDone", "ItemDone"]


@pytest.mark.parametrize(
    "empty", [TextDelta(""), ReasoningDelta(""), ReasoningDelta("", summary=True), RefusalDelta("")]
)
def test_an_empty_piece_opens_nothing(empty: ModelEvent) -> None:
    assert told(empty) == ([], [])


def test_log_probabilities_are_kept_with_their_text_even_without_any() -> None:
    one = {"token": "a", "logprob": -1.0}
    items, _ = told(TextDelta("a", logprobs=[one]), TextDelta("", logprobs=[one]))
    assert items == [Message("msg_1", "assistant", [OutputText("a", logprobs=[one, one])])]


def test_another_block_of_text_is_another_part_of_the_same_message() -> None:
    items, _ = told(TextDelta("a", 0), TextDelta("b", 1), RefusalDelta("no", 1), TextDelta("c", 1))
    parts = [OutputText("a"), OutputText("b"), Refusal("no"), OutputText("c")]
    assert items == [Message("msg_1", "assistant", [*parts])]


def test_reasoning_comes_as_an_item_of_its_own_for_each_block() -> None:
    items, _ = told(
        ReasoningDelta("hm", 0), ReasoningSeal("s1", 0), ReasoningDelta("so", 1, summary=True), TextDelta("yes", 2)
    )
    assert items == [
        Reasoning("rs_1", content=[ReasoningText("hm")], encrypted_content="s1"),
        Reasoning("rs_2", summary=[SummaryText("so")]),
        Message("msg_3", "assistant", [OutputText("yes")]),
    ]


def test_words_and_summary_of_one_block_of_reasoning_are_parts_of_one_item() -> None:
    items, _ = told(ReasoningDelta("a"), ReasoningDelta("b", summary=True), ReasoningDelta("c"))
    assert items == [Reasoning("rs_1", summary=[SummaryText("b")], content=[ReasoningText("a"), ReasoningText("c")])]


def test_a_seal_alone_is_an_item_and_its_pieces_are_joined() -> None:
    items, steps = told(ReasoningSeal("x", 3), ReasoningSeal("y", 3), ReasoningSeal("z", 4))
    assert items == [Reasoning("rs_1", encrypted_content="xy"), Reasoning("rs_2", encrypted_content="z")]
    assert steps == ["ItemAdded", "ItemDone"] * 2


def test_parallel_calls_interleave_by_the_index_of_the_provider() -> None:
    items, _ = told(
        TextDelta("calling"),
        ToolCallStarted("c1", "add", 0),
        ToolCallStarted("c2", "sub", 1),
        ToolCallDelta('{"b"', 1),
        ToolCallDelta('{"a"', 0),
        ToolCallDelta(":2}", 1),
        ToolCallDelta(":1}", 0),
    )
    assert items[1:] == [FunctionCall("fc_2", "c1", "add", '{"a":1}'), FunctionCall("fc_3", "c2", "sub", '{"b":2}')]


def test_a_second_call_under_the_same_index_ends_the_first() -> None:
    items, steps = told(
        ToolCallStarted("c1", "add"), ToolCallDelta("{}"), ToolCallStarted("c2", "sub"), ToolCallDelta("[]")
    )
    assert items == [FunctionCall("fc_1", "c1", "add", "{}"), FunctionCall("fc_2", "c2", "sub", "[]")]
    assert steps == ["ItemAdded", "ArgumentsGrew", "ArgumentsDone", "ItemDone"] * 2


def test_text_after_calls_ends_them() -> None:
    items, _ = told(ToolCallStarted("c1", "add"), ToolCallDelta("{}"), TextDelta("done"))
    assert [item.status for item in items] == ["completed", "completed"]


def test_arguments_of_a_call_that_was_never_started_are_the_providers_fault() -> None:
    with pytest.raises(UpstreamError):
        Answer(numbered()).feed(ToolCallDelta("{}"))


def test_a_citation_belongs_to_the_open_text_or_opens_one() -> None:
    items, _ = told(TextDelta("a", 1), Cited(LINK, 0), TextDelta("b", 1), Cited(LINK, 1))
    assert items == [Message("msg_1", "assistant", [OutputText("ab", [LINK, LINK])])]
    assert told(Cited(LINK))[0] == [Message("msg_1", "assistant", [OutputText("", [LINK])])]


def test_an_event_that_begins_an_item_is_known_before_it_is_fed() -> None:
    speech: list[tuple[ModelEvent, bool]] = [
        (ReasoningDelta("hm", 0), True),
        (ReasoningDelta("hm", 0), False),
        (ReasoningDelta("so", 1), True),
        (ReasoningSeal("s", 1), False),
        (TextDelta("a", 2), True),
        (TextDelta("b", 3), False),
        (ToolCallStarted("call_1", "look", 4), True),
        (ToolCallDelta("{}", 4), False),
        (Finished("stop"), False),
    ]
    growing = Answer(numbered())
    for event, begins in speech:
        items = len(growing.items)
        assert growing.begins_item(event) is begins
        growing.feed(event)
        assert (len(growing.items) > items) is begins


def test_what_is_there_when_a_response_is_steered_is_whole() -> None:
    items, _ = told(TextDelta("a"), outcome=TURNED)
    assert [item.status for item in items] == ["completed"]


def test_what_was_open_when_it_was_cut_is_incomplete() -> None:
    items, steps = told(TextDelta("a"), ToolCallStarted("c1", "add"), ToolCallDelta("{"), outcome=CUT)
    assert [item.status for item in items] == ["completed", "incomplete"]
    assert "ArgumentsDone" not in steps
    assert told(TextDelta("a"), outcome=CUT)[0] == [Message("msg_1", "assistant", [OutputText("a")], "incomplete")]


def test_usage_and_the_reason_of_the_end_are_kept_the_last_word_wins() -> None:
    said = Answer(numbered())
    for event in (UsageReported(Usage(1, 1)), Finished("length"), UsageReported(Usage(2, 3))):
        assert said.feed(event) == []
    assert (said.usage, said.finish, said.started) == (Usage(2, 3), "length", False)


def test_characters_are_counted_of_texts_and_arguments() -> None:
    said = Answer(numbered())
    for event in (ReasoningDelta("12"), TextDelta("345"), ToolCallStarted("c", "f"), ToolCallDelta("67")):
        said.feed(event)
    assert (said.characters, said.started) == (7, True)


def test_a_search_is_an_item_that_passes_its_stages() -> None:
    said = Answer(numbered())
    hits = [SearchResult("file-1", "a.pdf", 0.5, "text")]
    watcher = Watcher()
    for step in said.search_started("tea?"):
        watcher.see(step)
    stages = watcher.open[0].stages
    for step in said.search_ended(hits):
        watcher.see(step)
    assert stages == ["in_progress", "searching", "completed"]
    assert said.items == [FileSearchCall("fs_1", ["tea?"], "completed", hits)]
    assert watcher.done == dict(enumerate(said.items))
    assert said.close(CUT) == []


def test_a_search_that_was_cut_is_incomplete() -> None:
    said = Answer(numbered())
    said.search_started("tea?")
    assert [type(step) for step in said.close(CUT)] == [answer.ItemDone]
    assert said.items[0].status == "incomplete"


def test_a_search_that_was_not_begun_cannot_end() -> None:
    said = Answer(numbered())
    said.feed(TextDelta("a"))
    with pytest.raises(ValueError, match="no file search"):
        said.search_ended(None)


@given(speech=SPEECHES, outcome=OUTCOMES, searched=st.booleans())
def test_any_speech_makes_steps_that_add_up_to_the_items(
    *, speech: list[ModelEvent], outcome: Outcome, searched: bool
) -> None:
    said, watcher = Answer(numbered()), Watcher()

    def see(steps: list[AnswerEvent]) -> None:
        for step in steps:
            watcher.see(step)

    if searched:
        see(said.search_started("q"))
        see(said.search_ended(None))
    for event in speech:
        see(hear(said, event))
    see(said.close(outcome))
    assert watcher.open == {}
    assert [item for _, item in sorted(watcher.done.items())] == said.items


@given(SPEECHES, st.data())
def test_how_a_text_was_cut_into_pieces_never_matters(speech: list[ModelEvent], data: st.DataObject) -> None:
    whole, cut = Answer(numbered()), Answer(numbered())
    for event in speech:
        hear(whole, event)
        if isinstance(event, TextDelta | ReasoningDelta | RefusalDelta) and len(event.text) > 1:
            at = data.draw(st.integers(1, len(event.text) - 1))
            first, event.text = event.text[:at], event.text[at:]
            hear(cut, _with_text(event, first))
        hear(cut, event)
    whole.close(COMPLETED)
    cut.close(COMPLETED)
    assert cut.items == whole.items


def _with_text(event: TextDelta | ReasoningDelta | RefusalDelta, text: str) -> ModelEvent:
    if isinstance(event, ReasoningDelta):
        return ReasoningDelta(text, event.index, event.summary)
    return type(event)(text, event.index)
