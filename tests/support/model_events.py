"""Hypothesis strategies of what a provider may say, and the watcher that checks what an `Answer` makes of it."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import count
from typing import assert_never

from hypothesis import strategies as st

from chatbackend.domain import answer
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
    FileCitation,
    FileSearchCall,
    FunctionCall,
    Message,
    OutputItem,
    OutputText,
    Reasoning,
    Refusal,
    UrlCitation,
)
from chatbackend.domain.responses import COMPLETED, Outcome
from chatbackend.domain.usage import Usage

TEXTS = st.text(st.characters(codec="utf-8"), max_size=6)
INDEXES = st.integers(0, 2)
LOGPROBS = st.none() | st.just([{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}])
CITATIONS = st.builds(
    FileCitation,
    st.just("file-1"),
    st.just("a.pdf"),
    index=st.integers(0, 9),
    page=st.none() | st.integers(1, 9),
    start=st.integers(0, 9),
    end=st.integers(0, 9),
    quote=TEXTS,
) | st.builds(UrlCitation, st.just("https://example.com"), TEXTS, start_index=st.just(0), end_index=st.just(1))
SPOKEN: st.SearchStrategy[ModelEvent] = st.one_of(
    st.builds(TextDelta, TEXTS, INDEXES, LOGPROBS),
    st.builds(ReasoningDelta, TEXTS, INDEXES, summary=st.booleans()),
    st.builds(ReasoningSeal, st.just("sealed"), INDEXES),
    st.builds(RefusalDelta, TEXTS, INDEXES),
    st.builds(ToolCallStarted, st.just("call_1"), st.just("add"), INDEXES),
    st.builds(ToolCallDelta, TEXTS, INDEXES),
    st.builds(Cited, CITATIONS, INDEXES),
    st.builds(UsageReported, st.builds(Usage, st.integers(0, 9), st.integers(0, 9))),
    st.builds(Finished, st.just("stop")),
)
SPEECHES = st.lists(SPOKEN, max_size=25)
OUTCOMES = st.sampled_from([COMPLETED, Outcome("incomplete"), Outcome("failed"), Outcome("cancelled")])


def numbered() -> Callable[[str], str]:
    """Return a maker of ids that count."""
    numbers = count(1)
    return lambda prefix: f"{prefix}_{next(numbers)}"


def hear(said: answer.Answer, event: ModelEvent) -> list[answer.AnswerEvent]:
    """Feed an event; one that the answer refuses changes nothing."""
    try:
        return said.feed(event)
    except UpstreamError:
        return []


@dataclass
class Open:
    """An item as a client knows it."""

    item: OutputItem
    parts: list[str] = field(default_factory=list[str])  # texts of the parts so far, by arrival
    places: list[tuple[type, int]] = field(default_factory=list[tuple[type, int]])
    growing: bool = False
    told: bool = False  # its text is whole, its part not yet done
    arguments: str = ""
    annotations: int = 0
    stages: list[str] = field(default_factory=list[str])


class Watcher:
    """A client of the steps: asserts that each may follow what came before."""

    def __init__(self) -> None:
        self.open: dict[int, Open] = {}
        self.done: dict[int, OutputItem] = {}

    def see(self, step: answer.AnswerEvent) -> None:
        """Take one step."""
        match step:
            case answer.ItemAdded():
                self._added(step)
            case answer.ItemDone():
                self._done(step)
            case answer.PartAdded() | answer.PartGrew() | answer.TextDone() | answer.PartDone():
                self._part(step)
            case answer.Annotated():
                known = self._of(step.output_index, step.item_id)
                assert known.growing
                assert known.places[-1] == (OutputText, step.content_index)
                assert step.annotation_index == known.annotations
                known.annotations += 1
            case answer.ArgumentsGrew():
                self._of(step.output_index, step.item_id).arguments += step.delta
            case answer.ArgumentsDone():
                assert step.arguments == self._of(step.output_index, step.item_id).arguments
            case answer.SearchMoved():
                self._of(step.output_index, step.item_id).stages.append(step.stage)
            case _:
                assert_never(step)

    def _of(self, output_index: int, item_id: str) -> Open:
        known = self.open[output_index]
        assert known.item.id == item_id
        return known

    def _added(self, step: answer.ItemAdded) -> None:
        assert step.output_index == len(self.open) + len(self.done)
        assert step.item.status == "in_progress"
        assert step.item.id not in {item.id for item in self.done.values()}
        match step.item:
            case Message(content=parts) | Reasoning(content=parts, summary=[]):
                assert parts == []
            case FunctionCall():
                assert step.item.arguments == ""
            case Reasoning() | FileSearchCall():
                pass
        self.open[step.output_index] = Open(deepcopy(step.item))

    def _part(self, step: answer.PartAdded | answer.PartGrew | answer.TextDone | answer.PartDone) -> None:
        known = self._of(step.output_index, step.item_id)
        match step:
            case answer.PartAdded():
                assert not known.growing
                kind = type(step.part)
                assert text_of(step.part) == ""
                assert step.content_index == sum(each == _list_of(kind) for each, _ in map(_listed, known.places))
                known.places.append((kind, step.content_index))
                known.parts.append("")
                known.growing, known.annotations = True, 0
                return
            case answer.PartGrew():
                assert known.growing
                assert not known.told
                known.parts[-1] += step.delta
            case answer.TextDone():
                assert text_of(step.part) == known.parts[-1]
                known.told = True
            case answer.PartDone():
                assert text_of(step.part) == known.parts[-1]
                assert known.told
                known.growing = known.told = False
                if isinstance(step.part, OutputText):
                    assert len(step.part.annotations) == known.annotations
        assert known.places[-1][1] == step.content_index

    def _done(self, step: answer.ItemDone) -> None:
        known = self.open.pop(step.output_index)
        assert known.item.id == step.item.id
        assert not known.growing
        assert step.item.status in {"completed", "incomplete"}
        match step.item:
            case Message(content=parts):
                assert [text_of(part) for part in parts if isinstance(part, OutputText | Refusal)] == known.parts
            case Reasoning(content=stretches, summary=paragraphs):
                assert sorted(part.text for part in [*stretches, *paragraphs]) == sorted(known.parts)
            case FunctionCall(arguments=arguments):
                assert arguments == known.arguments
            case FileSearchCall():
                pass
        self.done[step.output_index] = deepcopy(step.item)


def text_of(part: answer.ContentPart) -> str:
    """Return a part's text."""
    return part.refusal if isinstance(part, Refusal) else part.text


def _list_of(kind: type) -> str:
    return "summary" if kind.__name__ == "SummaryText" else "content"


def _listed(place: tuple[type, int]) -> tuple[str, int]:
    return _list_of(place[0]), place[1]
