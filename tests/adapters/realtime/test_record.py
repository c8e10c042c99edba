"""What of a session is written, in which order, and once."""

from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbackend.adapters.realtime.record import KEPT, TRANSCRIPT_S, Record
from chatbackend.adapters.realtime.spoken import G711_PER_MS, PCM_PER_MS
from chatbackend.domain.items import FunctionCall, FunctionCallOutput, InputImage, Message, text_of
from chatbackend.domain.realtime import UNHEARD
from chatbackend.domain.records import Amend, Append, Entry, Remove, item_id_of

Event = dict[str, Any]
WORDS = "one two three four five six seven eight"


class Session:
    """A session as its events tell it. Its transcription is on unless it is said to be off."""

    def __init__(self, *, transcribes: bool = True, given: set[str] | None = None) -> None:
        numbers = count()
        self.record = Record(lambda prefix: f"{prefix}_{next(numbers)}", given)
        self.tell("session.created", session={"audio": {"input": {"transcription": {} if transcribes else None}}})

    def tell(self, kind: str, **fields: object) -> None:
        self.record.heard({"type": kind, **fields})

    def add(self, item: Event, previous: str | None = None) -> None:
        self.tell("conversation.item.added", item={"status": "completed", **item}, previous_item_id=previous)

    def type(self, item_id: str, text: str = "typed", previous: str | None = None) -> None:
        content = [{"type": "input_text", "text": text}]
        item = {"id": item_id, "type": "message", "role": "user", "content": content}
        self.add(item, previous)
        self.tell("conversation.item.done", item={**item, "status": "completed"})

    def speak(self, item_id: str, previous: str | None = None) -> None:
        content = [{"type": "input_audio", "transcript": None}]
        self.add({"id": item_id, "type": "message", "role": "user", "content": content}, previous)

    def transcribe(self, item_id: str, text: str = "spoken") -> None:
        kind = "conversation.item.input_audio_transcription.completed"
        self.tell(kind, item_id=item_id, content_index=0, transcript=text)

    def begin(self, item_id: str, previous: str | None = None, response: str = "r") -> None:
        item: Event = {"id": item_id, "type": "message", "role": "assistant", "status": "in_progress", "content": []}
        self.tell("response.output_item.added", response_id=response, item=item)
        self.add(item, previous)

    def grow(self, item_id: str, text: str) -> None:
        self.tell("response.output_audio_transcript.delta", item_id=item_id, content_index=0, delta=text)

    def end(self, item_id: str, text: str = "answer", status: str = "completed") -> None:
        content = [{"type": "output_audio", "transcript": text}]
        item = {"id": item_id, "type": "message", "role": "assistant", "status": status, "content": content}
        self.tell("conversation.item.done", item=item)
        self.tell("response.output_item.done", response_id="r", item=item)
        self.tell("response.done", response={"id": "r", "status": status, "output": [item]})

    def sound(self, item_id: str, characters: int) -> None:
        self.record.sound(f'{{"type":"x","item_id":"{item_id}","delta":"{"A" * characters}"}}')

    def cut(self, item_id: str, heard_ms: object) -> None:
        self.tell("conversation.item.truncated", item_id=item_id, content_index=0, audio_end_ms=heard_ms)


def told(entries: list[Entry]) -> list[tuple[str, str, str]]:
    """Return entries in short: what is done, to which item, and its text."""
    return [
        (type(entry).__name__, item_id_of(entry), "" if isinstance(entry, Remove) else text_of(entry.item))
        for entry in entries
    ]


def test_what_is_typed_is_written_at_once_and_once() -> None:
    session = Session()
    session.type("a", "Hello")
    assert told(session.record.due()) == [("Append", "a", "Hello")]
    session.type("a", "Hello")
    assert session.record.due() == session.record.end() == []


def test_an_answer_waits_for_the_words_that_it_answers() -> None:
    session = Session()
    session.speak("a")
    session.begin("b", "a")
    session.end("b")
    assert session.record.due() == []
    session.transcribe("a")
    assert told(session.record.due()) == [("Append", "a", "spoken"), ("Append", "b", "answer")]


def test_words_that_nobody_writes_down_are_waited_for_only_so_long_and_written_when_they_come() -> None:
    session = Session()
    session.speak("a")
    session.type("b")
    assert session.record.due(1.0) == session.record.due(TRANSCRIPT_S) == []
    assert told(session.record.due(1.0 + TRANSCRIPT_S)) == [("Append", "a", UNHEARD), ("Append", "b", "typed")]
    session.transcribe("a")
    assert told(session.record.due()) == [("Amend", "a", "spoken")]


def test_no_transcript_is_waited_for_where_there_is_none_to_come() -> None:
    silent = Session(transcribes=False)
    silent.speak("a")
    assert told(silent.record.due()) == [("Append", "a", UNHEARD)]
    failing = Session()
    failing.speak("a")
    failing.tell("conversation.item.input_audio_transcription.failed", item_id="a", error={})
    assert told(failing.record.due()) == [("Append", "a", UNHEARD)]


def test_items_are_written_where_the_session_has_them_as_long_as_nothing_behind_is_written() -> None:
    session = Session(given={"old"})
    session.speak("a")
    session.type("b", previous="a")
    session.type("first", previous="old")
    session.type("between", previous="a")
    session.transcribe("a")
    assert [item_id_of(entry) for entry in session.record.due()] == ["first", "a", "between", "b"]
    session.speak("c")
    session.type("late", previous="a")
    assert [item_id_of(entry) for entry in session.record.due()] == ["late"]


def test_an_answer_that_is_cut_off_is_kept_as_far_as_it_came() -> None:
    session = Session()
    session.begin("a")
    session.grow("a", "half an ")
    session.tell("response.done", response={"id": "r", "status": "cancelled", "output": []})
    (entry,) = session.record.due()
    assert isinstance(entry, Append)
    assert isinstance(entry.item, Message)
    assert (text_of(entry.item), entry.item.status) == ("half an ", "incomplete")
    session.begin("b", response="other")
    for odd in ("response.output_text.done", "response.output_text.delta"):
        session.tell(odd, item_id="b", content_index=0, text=7, delta=7)
    session.tell("response.output_text.done", item_id="b", content_index=0, text="whole")
    session.tell("response.done", response={"id": "r", "output": None})
    assert session.record.due() == []
    assert told(session.record.end()) == [("Append", "b", "whole")]


def test_an_answer_that_says_nothing_and_a_call_that_is_not_whole_are_not_written() -> None:
    session = Session()
    session.begin("a")
    session.end("a", "", "incomplete")
    call = {"id": "c", "type": "function_call", "name": "f", "call_id": "c1", "arguments": "{", "status": "in_progress"}
    session.add(call)
    session.tell("conversation.item.done", item={**call, "status": "incomplete"})
    session.add({"id": "m", "type": "mcp_list_tools"})
    assert session.record.end() == []
    session.cut("a", 1)
    assert session.record.due() == []


def test_calls_and_their_outputs_images_and_system_words_are_written() -> None:
    session = Session()
    call = {
        "id": "c",
        "type": "function_call",
        "name": "f",
        "call_id": "c1",
        "arguments": "{}",
        "status": "in_progress",
    }
    session.add(call)
    session.tell("conversation.item.done", item={**call, "status": "completed"})
    session.add({"id": "o", "type": "function_call_output", "call_id": "c1", "output": "on"})
    picture = [{"type": "input_image", "image_url": "data:image/png;base64,AA"}, {"type": "input_text", "text": ""}, 7]
    session.add({"id": "i", "type": "message", "role": "user", "content": picture})
    session.add({"id": "s", "type": "message", "role": "system", "content": [{"type": "input_text", "text": "Be."}]})
    session.add({"id": "e", "type": "message", "role": "user", "content": []})
    items = [entry.item for entry in session.record.due() if isinstance(entry, Append)]
    assert items[:2] == [FunctionCall("c", "c1", "f", "{}"), FunctionCallOutput("o", "c1", "on")]
    assert isinstance(items[2], Message)
    assert items[2].content == [InputImage("data:image/png;base64,AA")]
    assert isinstance(items[3], Message)
    assert (items[3].role, text_of(items[3]), len(items)) == ("system", "Be.", 4)


def called(item_id: str, call_id: str) -> Event:
    return {"id": item_id, "type": "function_call", "name": "f", "call_id": call_id, "arguments": "{}"}


def test_a_call_is_written_with_its_output_and_never_alone() -> None:
    session = Session()
    for item_id, call_id in (("c", "c1"), ("d", "c2"), ("e", "c3")):
        session.add({**called(item_id, call_id), "status": "in_progress"})
        for kind in ("conversation.item.done", "response.output_item.done"):
            session.tell(kind, item={**called(item_id, call_id), "status": "completed"})
            assert session.record.due() == []
    session.type("m")
    assert [item_id_of(entry) for entry in session.record.due()] == ["m"]
    assert [item.id for item in session.record.unanswered] == ["c", "d", "e"]
    session.tell("conversation.item.deleted", item_id="d")
    assert session.record.due() == [Remove("d")]
    session.add({"id": "o", "type": "function_call_output", "call_id": "c1", "output": "on"})
    session.add({"id": "x", "type": "function_call_output", "call_id": "unknown", "output": "on"})
    assert [item_id_of(entry) for entry in session.record.due()] == ["c", "o", "x"]
    session.tell("conversation.item.done", item={**called("c", "c1"), "status": "completed"})
    assert session.record.end() == []


def test_what_is_deleted_is_not_written_or_taken_out() -> None:
    session = Session(given={"old"})
    session.speak("a")
    session.type("b")
    session.tell("conversation.item.deleted", item_id="a")
    session.tell("conversation.item.deleted", item_id="old")
    assert told(session.record.due()) == [("Remove", "old", ""), ("Append", "b", "typed")]
    session.tell("conversation.item.deleted", item_id="b")
    assert told(session.record.due()) == [("Remove", "b", "")]


@pytest.mark.parametrize(("format_", "per_ms"), [("audio/pcm", PCM_PER_MS), ("audio/pcmu", G711_PER_MS)])
@pytest.mark.parametrize("written", [True, False])
def test_an_interrupted_answer_ends_with_what_was_heard(format_: str, per_ms: float, *, written: bool) -> None:
    session = Session()
    input_: Event = {"transcription": {}}
    session.tell("session.updated", session={"audio": {"input": input_, "output": {"format": {"type": format_}}}})
    if not written:
        session.speak("before")
    session.begin("a")
    for _ in range(4):
        session.sound("a", round(500 * per_ms))
    session.end("a", WORDS)
    before = session.record.due()
    session.cut("a", 1000)
    session.transcribe("before")
    (*_, entry) = [*before, *session.record.due()]
    assert isinstance(entry, Amend if written else Append)
    assert isinstance(entry.item, Message)
    assert (text_of(entry.item), entry.item.status) == ("one two three four", "incomplete")


@pytest.mark.parametrize(("heard_ms", "text"), [(10_000, WORDS), (None, "")])
def test_an_answer_that_was_heard_whole_or_not_at_all(heard_ms: object, text: str) -> None:
    session = Session()
    session.begin("a")
    session.sound("a", 64_000)
    session.record.sound('{"type":"x","delta":"AAAA"}')
    session.record.sound('{"type":"x","item_id":"a"}')
    session.cut("a", heard_ms)
    session.end("a", WORDS)
    assert [text_of(entry.item) for entry in session.record.end() if isinstance(entry, Append)] == [text] * bool(text)


def test_an_answer_whose_sound_nobody_counted_is_kept_whole() -> None:
    session = Session()
    session.begin("a")
    session.end("a", WORDS)
    session.cut("a", 100)
    (entry,) = session.record.due()
    assert isinstance(entry, Append)
    assert isinstance(entry.item, Message)
    assert (text_of(entry.item), entry.item.status) == (WORDS, "incomplete")


def test_a_long_session_remembers_only_so_much() -> None:
    session = Session()
    for number in range(KEPT + 50):
        session.type(f"i{number}")
        session.record.due()
    session.transcribe("i0")
    session.transcribe("i1049", "new")
    assert session.record.due() == []
    assert [session.record.knows(name) for name in ("i0", "msg_0", "i1049", "msg_1049")] == [False, False, True, True]


IDS = st.sampled_from(["a", "b", "c"])
STEPS = st.one_of(
    st.tuples(st.sampled_from(["type", "speak", "begin"]), IDS, st.sampled_from([None, "a", "b", "z"])),
    st.tuples(st.sampled_from(["transcribe", "end", "due", "deleted", "failed"]), IDS, st.none()),
)


@given(st.lists(STEPS, max_size=40))
def test_whatever_happens_no_item_is_written_twice_or_lost(steps: list[tuple[str, str, str | None]]) -> None:
    session, entries = Session(), list[Entry]()
    alive: dict[str, str] = {}
    for kind, item_id, previous in steps:
        match kind:
            case "type" | "speak" | "begin":
                getattr(session, kind)(item_id, previous=previous)
                alive.setdefault(item_id, kind)
            case "transcribe" | "end":
                getattr(session, kind)(item_id)
                alive |= {item_id: "end"} if kind == "end" and item_id in alive else {}
            case "due":
                entries += session.record.due(1.0)
            case "deleted":
                session.tell("conversation.item.deleted", item_id=item_id)
                alive.pop(item_id, None)
            case _:
                session.tell("conversation.item.input_audio_transcription.failed", item_id=item_id)
    entries += session.record.end()
    there: list[str] = []
    for entry in entries:
        match entry:
            case Append(item):
                assert item.id not in there
                there.append(item.id)
            case Amend(item):
                assert item.id in there
            case Remove(item_id):
                there = [each for each in there if each != item_id]
    assert set(there) <= set(alive)
    assert {each for each, kind in alive.items() if kind != "begin"} <= set(there)
    assert session.record.end() == []
