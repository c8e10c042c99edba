"""Events of the Responses API as the SDK reads them, and read back by us after a crash."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbackend.adapters.api import responses as shapes
from chatbackend.adapters.api.response_events import ResponseEvents
from chatbackend.domain.answer import Answer, AnswerEvent
from chatbackend.domain.errors import UpstreamCut
from chatbackend.domain.events import ModelEvent
from chatbackend.domain.identity import Principal
from chatbackend.domain.items import OutputItem, Reasoning, SearchResult
from chatbackend.domain.responses import (
    CANCELLED,
    COMPLETED,
    TERMINAL_EVENTS,
    Outcome,
    Response,
    end,
    failed,
    interrupted,
)
from chatbackend.domain.usage import Usage
from chatbackend.usecases.ports import LogEvent
from tests.support.model_events import OUTCOMES, SPEECHES, hear, numbered
from tests.support.openai_types import checked_event

RENDERER = ResponseEvents()
HITS = [SearchResult("file-1", "a.pdf", 0.5, "tea", {"year": 2026.0, "draft": True})]


def response(**request: object) -> Response:
    ask = shapes.ask(shapes.read({"model": "local", "input": "hi", **request}), numbered())
    return Response("resp_1", Principal("t", "app", "app", "key_1"), "local", 1_700_000_000, shown=ask.shown)


class Recorder:
    """Renders the steps of an answer as they come, as a journal does."""

    def __init__(self) -> None:
        self.said = Answer(numbered())
        self.events: list[LogEvent] = []

    def see(self, steps: list[AnswerEvent]) -> None:
        for step in steps:
            self.events.append(RENDERER.step(step, len(self.events)))

    def searched(self) -> None:
        self.see(self.said.search_started("tea?"))
        self.see(self.said.search_ended(HITS))


@given(SPEECHES, OUTCOMES)
def test_every_step_is_an_event_that_the_sdk_accepts(speech: list[ModelEvent], outcome: Outcome) -> None:
    recorder = Recorder()
    recorder.searched()
    for event in speech:
        recorder.see(hear(recorder.said, event))
    recorder.see(recorder.said.close(outcome))
    for number, event in enumerate(recorder.events):
        shown = checked_event(event.data)
        assert (shown["type"], shown["sequence_number"], event.number) == (event.type, number, number)


@given(speech=SPEECHES, searched=st.booleans())
def test_events_read_back_at_any_point_are_the_items_of_that_point(*, speech: list[ModelEvent], searched: bool) -> None:
    recorder = Recorder()
    if searched:
        recorder.searched()
    for event in speech:
        recorder.see(hear(recorder.said, event))
        cut = deepcopy(recorder.said)
        cut.close(interrupted())
        assert RENDERER.restore(recorder.events) == [_without_unsent_seal(item) for item in cut.items]
    recorder.see(recorder.said.close(COMPLETED))
    assert RENDERER.restore(recorder.events) == recorder.said.items


def _without_unsent_seal(item: OutputItem) -> OutputItem:
    """A seal travels with the end of its item only; cut off before, it proves nothing."""
    sealed = isinstance(item, Reasoning) and item.status == "incomplete"
    return replace(item, encrypted_content=None) if sealed else item


@given(SPEECHES, st.data())
def test_a_log_cut_between_any_two_events_can_be_read_back(speech: list[ModelEvent], data: st.DataObject) -> None:
    recorder = Recorder()
    for event in speech:
        recorder.see(hear(recorder.said, event))
    recorder.see(recorder.said.close(interrupted()))
    at = data.draw(st.integers(0, len(recorder.events)))
    restored = RENDERER.restore(recorder.events[:at])
    whole = [_texts(item) for item in RENDERER.restore(recorder.events)]
    assert len(restored) <= len(whole)
    for known, item in zip(whole, restored, strict=False):
        assert all(all_of_it.startswith(text) for all_of_it, text in zip(known, _texts(item), strict=True))


def _texts(item: OutputItem) -> list[str]:
    """Return what an item says so far: its arguments, the first part of its content and of its summary."""
    shown: dict[str, Any] = msgspec.to_builtins(item)
    nothing: list[dict[str, Any]] = [{}]
    parts = [(shown.get(name) or nothing)[0] for name in ("content", "summary")]
    return [shown.get("arguments", ""), *(part.get("text", part.get("refusal", "")) for part in parts)]


def test_a_search_that_was_under_way_is_read_back_as_incomplete() -> None:
    recorder = Recorder()
    recorder.see(recorder.said.search_started("tea?"))
    assert [item.status for item in RENDERER.restore(recorder.events)] == ["incomplete"]


@pytest.mark.parametrize(
    "outcome",
    [
        COMPLETED,
        CANCELLED,
        interrupted(),
        failed(UpstreamCut("The provider hung up.")),
        Outcome("incomplete", incomplete_reason="max_output_tokens"),
    ],
)
def test_every_end_is_a_terminal_event_that_the_sdk_accepts(outcome: Outcome) -> None:
    recorder, ended = Recorder(), response()
    recorder.searched()
    recorder.said.close(outcome)
    ended.output, ended.usage = recorder.said.items, Usage(3, 4, estimated=True)
    end(ended, outcome, at=1_700_000_001)
    event = RENDERER.lifecycle(ended.terminal_event, ended, 7)
    shown = checked_event(event.data)
    assert event.type in TERMINAL_EVENTS
    assert shown["response"]["status"] == outcome.status
    assert shown["response"]["output"] == msgspec.to_builtins(ended.output)


@pytest.mark.parametrize("kind", ["response.created", "response.queued", "response.in_progress"])
def test_a_beginning_is_an_event_that_the_sdk_accepts(kind: str) -> None:
    assert checked_event(RENDERER.lifecycle(kind, response(), 0).data)["sequence_number"] == 0


def test_events_that_build_no_item_are_passed_over() -> None:
    assert RENDERER.restore([RENDERER.lifecycle("response.created", response(), 0)]) == []
