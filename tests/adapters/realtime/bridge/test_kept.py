"""A session in text with a memory: what the model is given of it, and what is kept."""

from chatbackend.adapters.realtime.bridge.conversation import Conversation
from chatbackend.adapters.realtime.record import Record
from chatbackend.domain.events import Finished, ReasoningSeal, TextDelta, ToolCallDelta, ToolCallStarted
from chatbackend.domain.items import (
    FunctionCall,
    FunctionCallOutput,
    InputFile,
    InputImage,
    InputText,
    Item,
    Message,
    OutputText,
    Reasoning,
    text_of,
)
from chatbackend.domain.records import Append, Remove
from tests.support.model_events import numbered
from tests.support.realtime_talk import HELLO, Talk

CALL = FunctionCall("fc", "c1", "f", "{}")
THOUGHT = Reasoning("rs", encrypted_content="sealed")
ITEMS: list[Item] = [
    Message("m1", "developer", [InputText("Be."), InputImage(file_id="f"), InputFile("f", "a.txt")]),
    Reasoning("rs_0", encrypted_content="of nothing that is given"),
    FunctionCall("lonely", "c0", "f", "{}"),
    Reasoning("rs_1"),
    THOUGHT,
    CALL,
    FunctionCallOutput("o1", "c1", "on"),
    Message("m2", "assistant", [OutputText("Done.")]),
]


def bound(*items: Item) -> tuple[Talk, Record]:
    record = Record(numbered())
    talk = Talk(conversation=Conversation(record=record))
    for frame in talk.bridge.load(items):
        talk.watcher.see(frame)
    return talk, record


def test_the_model_is_given_what_was_said_before_and_the_client_shown_it() -> None:
    talk, record = bound(*ITEMS)
    assert talk.watcher.conversation == ["m1", "fc", "o1", "m2"]
    assert len(Talk().bridge.load(ITEMS)) == 8
    talk.say("And now?")
    asked = talk.asked[talk.create()].items
    assert [item.id for item in asked[:-1]] == ["m1", "rs", "fc", "o1", "m2"]
    assert text_of(asked[0]) == "Be.\n[image]\n[file a.txt]"
    assert [entry.item.id for entry in record.due() if isinstance(entry, Append)] == [asked[-1].id]


def test_what_is_said_is_kept_in_its_order_as_the_model_said_it() -> None:
    talk, record = bound()
    said = talk.say("Hello?")
    response = talk.create()
    talk.hear(response, *HELLO[:1])
    talk.say("Meanwhile")
    assert [entry.item.id for entry in record.due() if isinstance(entry, Append)] == [said["id"]]
    talk.answer(response, *HELLO[1:])
    assert [text_of(entry.item) for entry in record.due() if isinstance(entry, Append)] == ["Hello", "Meanwhile"]


def test_thoughts_are_kept_with_the_call_that_they_led_to_and_a_call_that_is_cut_is_not() -> None:
    talk, record = bound()
    response = talk.create()
    talk.hear(response, ReasoningSeal("sealed"), ToolCallStarted("c9", "f", 0), ToolCallDelta("{}", 0))
    talk.answer(response, Finished("tool_calls"))
    assert record.due() == []
    talk.output("c9")
    kept = [entry.item for entry in record.due() if isinstance(entry, Append)]
    assert [item.type for item in kept] == ["reasoning", "function_call", "function_call_output"]
    cut = talk.create()
    talk.hear(cut, ToolCallStarted("c10", "f", 0), ToolCallDelta('{"half', 0))
    talk.bridge.cut()
    assert record.end() == []


def test_an_answer_that_the_end_of_the_session_cuts_is_kept_as_far_as_it_came() -> None:
    talk, record = bound()
    talk.hear(talk.create(), TextDelta("Half"))
    talk.bridge.cut()
    (entry,) = record.end()
    assert isinstance(entry, Append)
    assert isinstance(entry.item, Message)
    assert (text_of(entry.item), entry.item.status) == ("Half", "incomplete")


def test_what_is_deleted_is_taken_out() -> None:
    talk, record = bound(*ITEMS)
    talk.send("conversation.item.delete", item_id="m2")
    assert record.due() == [Remove("m2")]


def test_what_others_add_and_delete_is_shown_and_given_to_the_model() -> None:
    talk, record = bound(*ITEMS)
    for frame in talk.bridge.learned(Message("new", "user", [InputText("Well?")])):
        talk.watcher.see(frame)
    assert record.knows("new")
    assert [item.id for item in talk.asked[talk.create()].items][-1] == "new"
    for frame in talk.bridge.forgotten("m1"):
        talk.watcher.see(frame)
    assert talk.bridge.forgotten("m1") == []
    assert talk.watcher.conversation == ["fc", "o1", "m2", "new"]
    assert record.due() == [Remove("m1")]
