"""What a session is given of its conversation, and how its ids are called at the provider."""

from typing import Any

import pytest

from chatbackend.adapters.realtime.history import (
    LONGEST_ID,
    MAX_CHARACTERS,
    MAX_ITEMS,
    Arrivals,
    Names,
    created,
    fitting,
)
from chatbackend.domain.compaction import seal
from chatbackend.domain.items import (
    Compaction,
    FunctionCall,
    FunctionCallOutput,
    InputFile,
    InputImage,
    InputText,
    Item,
    Message,
    OutputText,
    Reasoning,
    Refusal,
)


def said(name: str, text: str = "x") -> Message:
    return Message(name, "user", [InputText(text)])


def test_the_newest_items_are_given_as_many_as_fit() -> None:
    items: list[Item] = [said(f"m{number}") for number in range(MAX_ITEMS + 5)]
    assert fitting(items) == items[5:]
    long = [said("a"), said("b", "y" * MAX_CHARACTERS), said("c"), said("d")]
    assert fitting(long) == long[2:]


def test_calls_are_given_with_their_outputs_or_not_at_all() -> None:
    call, output = FunctionCall("1", "c1", "f", "{}"), FunctionCallOutput("2", "c1", "on")
    lonely = [
        FunctionCall("3", "c2", "f"),
        FunctionCallOutput("4", "c3", "off"),
        FunctionCall("5", "c1", "f", "", "incomplete"),
    ]
    assert fitting([call, *lonely, output]) == [call, output]


def test_what_no_text_stands_for_is_left_out() -> None:
    short = Compaction("c", seal("tea"))
    given = fitting([Reasoning("r"), Message("e", "user", [InputText("")]), short])
    assert [item.id for item in given] == ["c"]
    assert created(Reasoning("r")) is None


@pytest.mark.parametrize(
    ("item", "event"),
    [
        (
            Message("m", "assistant", [OutputText("Yes"), Refusal("No")]),
            {"role": "assistant", "content": [("output_text", "Yes"), ("output_text", "No")]},
        ),
        (Message("m", "developer", [InputText("Be.")]), {"role": "system", "content": [("input_text", "Be.")]}),
        (
            Message("m", "user", [InputImage("data:x"), InputFile("f"), InputFile("f", "a.txt"), InputText("")]),
            {
                "role": "user",
                "content": [("input_text", "[image]"), ("input_text", "[file]"), ("input_text", "[file a.txt]")],
            },
        ),
    ],
)
def test_messages_are_given_as_text(item: Message, event: dict[str, Any]) -> None:
    content = [{"type": kind, "text": text} for kind, text in event["content"]]
    (given,) = fitting([item])
    assert created(given) == {"id": "m", "type": "message", "role": event["role"], "content": content}


def test_outputs_of_parts_are_given_as_text() -> None:
    output = FunctionCallOutput("o", "c", [InputText("a"), InputImage("data:x")])
    (_, given) = fitting([FunctionCall("f", "c", "f"), output])
    assert created(given) == {"id": "o", "type": "function_call_output", "call_id": "c", "output": "a\n[image]"}


def test_ids_that_are_too_long_have_others_at_the_provider_alone() -> None:
    names, long = Names(), "msg_" + "0" * LONGEST_ID
    for name in (long, long, "short"):
        names.add(name)
    event = {
        "type": "response.create",
        "previous_item_id": long,
        "response": {"input": [{"type": "item_reference", "id": long}, 7]},
        "item": {"id": "short", "call_id": long},
    }
    there = names.told(event)
    assert (there["previous_item_id"], there["item"]["id"]) == ("chatbackend_0", "short")
    assert there["response"]["input"] == [{"type": "item_reference", "id": "chatbackend_0"}, 7]
    assert names.shown(there) == event
    unconcerned = {"type": "x", "item_id": 1, "item": {"id": "short"}, "response": {"input": [{"id": "short"}]}}
    assert names.told(unconcerned) is unconcerned


def test_what_others_say_is_given_when_it_is_whole() -> None:
    arrivals = Arrivals()
    call, output = FunctionCall("1", "c1", "f", "{}"), FunctionCallOutput("2", "c1", "on")
    assert arrivals.take(said("m")) == [said("m")]
    assert arrivals.take(output) == arrivals.take(Reasoning("r")) == arrivals.take(call) == []
    assert arrivals.take(output) == [call, output]
    assert arrivals.take(output) == []
