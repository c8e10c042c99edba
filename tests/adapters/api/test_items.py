"""Items as clients send them and as the store keeps them."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import ResponseInputItem
from pydantic import TypeAdapter

from chatbackend.adapters.api.items import decode, encode, from_input
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.items import (
    FileCitation,
    FileSearchCall,
    FunctionCall,
    FunctionCallOutput,
    InputFile,
    InputImage,
    InputText,
    Item,
    Message,
    OutputText,
    Reasoning,
    ReasoningText,
    Refusal,
    SearchResult,
    SummaryText,
    UrlCitation,
)
from tests.support.model_events import numbered

LOGPROB = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
CITED = {"type": "file_citation", "file_id": "f", "index": 1, "filename": "a", "new": 1}
INPUT_ITEM: TypeAdapter[ResponseInputItem] = TypeAdapter(ResponseInputItem)
TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
SCALARS = (
    st.text(st.characters(codec="utf-8"), max_size=4)
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False, width=32)
)
STATUSES = st.sampled_from(["in_progress", "completed", "incomplete"])
INPUT_PARTS = st.one_of(
    st.builds(InputText, TEXT),
    st.builds(InputImage, TEXT, st.none(), st.sampled_from(["auto", "low"])),
    st.builds(InputImage, st.none(), TEXT),
    st.builds(InputFile, TEXT, st.none() | TEXT),
    st.builds(InputFile, st.none(), TEXT, TEXT),
)
ANNOTATIONS = st.builds(
    FileCitation,
    TEXT,
    TEXT,
    st.integers(0, 9),
    page=st.none() | st.integers(1, 9),
    start=st.integers(0, 9),
    end=st.integers(0, 9),
    quote=TEXT,
) | st.builds(UrlCitation, TEXT, TEXT, st.integers(0, 9), st.integers(0, 9))
OUTPUT_PARTS = st.builds(OutputText, TEXT, st.lists(ANNOTATIONS, max_size=2), st.just([LOGPROB])) | st.builds(
    Refusal, TEXT
)
RESULTS = st.builds(SearchResult, TEXT, TEXT, st.floats(0, 1), TEXT, st.dictionaries(TEXT, SCALARS, max_size=2))
ITEMS: st.SearchStrategy[Item] = st.one_of(
    st.builds(
        Message,
        TEXT.filter(bool),
        st.sampled_from(["user", "system", "developer"]),
        st.lists(INPUT_PARTS, max_size=3),
        STATUSES,
    ),
    st.builds(Message, TEXT.filter(bool), st.just("assistant"), st.lists(OUTPUT_PARTS, max_size=3), STATUSES),
    st.builds(FunctionCall, TEXT.filter(bool), TEXT, TEXT, TEXT, STATUSES),
    st.builds(FunctionCallOutput, TEXT.filter(bool), TEXT, TEXT | st.lists(INPUT_PARTS, max_size=2), STATUSES),
    st.builds(
        Reasoning,
        TEXT.filter(bool),
        st.lists(st.builds(SummaryText, TEXT), max_size=2),
        st.lists(st.builds(ReasoningText, TEXT), max_size=2),
        st.none() | TEXT,
        STATUSES,
    ),
    st.builds(
        FileSearchCall,
        TEXT.filter(bool),
        st.lists(TEXT, max_size=2),
        st.sampled_from(["in_progress", "searching", "completed", "incomplete", "failed"]),
        st.none() | st.lists(RESULTS, max_size=2),
    ),
)


def one(item: dict[str, Any]) -> Item:
    return from_input([item], numbered())[0]


@given(ITEMS)
def test_a_stored_item_is_read_back_as_it_was(item: Item) -> None:
    assert decode(encode(item)) == item


@given(ITEMS)
def test_what_we_show_of_an_item_can_be_sent_again(item: Item) -> None:
    assert from_input([msgspec.json.decode(encode(item))], numbered()) == [item]


@given(ITEMS)
def test_what_we_show_of_an_item_is_an_input_item_of_the_sdk(item: Item) -> None:
    INPUT_ITEM.validate_json(encode(item))


SENT: list[tuple[dict[str, Any], Item]] = [
    ({"role": "user", "content": "hi"}, Message("msg_1", "user", [InputText("hi")])),
    ({"role": "assistant", "content": "hi"}, Message("msg_1", "assistant", [OutputText("hi")])),
    (
        {"role": "system", "content": [{"type": "text", "text": "a"}, {"type": "input_text", "text": "b"}]},
        Message("msg_1", "system", [InputText("a"), InputText("b")]),
    ),
    (
        {"role": "assistant", "content": [{"type": "output_text", "text": "a"}], "id": "m", "status": "incomplete"},
        Message("m", "assistant", [OutputText("a")], "incomplete"),
    ),
    (
        {"role": "user", "content": [{"type": "input_image", "file_id": "file-1", "detail": None}]},
        Message("msg_1", "user", [InputImage(file_id="file-1")]),
    ),
    ({"type": "function_call", "call_id": "c", "name": "f", "arguments": ""}, FunctionCall("fc_1", "c", "f")),
    (
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "text", "text": "a"}]},
        FunctionCallOutput("fco_1", "c", [InputText("a")]),
    ),
    ({"type": "reasoning", "summary": []}, Reasoning("rs_1")),
    ({"type": "file_search_call", "queries": ["q"]}, FileSearchCall("fs_1", ["q"])),
    (
        {"type": "file_search_call", "queries": [], "results": [{}]},
        FileSearchCall("fs_1", [], results=[SearchResult("", "", 0.0, "")]),
    ),
    (
        {
            "role": "assistant",
            "content": [{"type": "input_text", "text": "a"}, {"type": "refusal", "refusal": "b"}],
        },
        Message("msg_1", "assistant", [OutputText("a"), Refusal("b")]),
    ),
    (
        {"role": "assistant", "content": [{"type": "output_text", "text": "", "annotations": [CITED]}]},
        Message(
            "msg_1", "assistant", [OutputText("", [FileCitation("f", "a", 1, page=None, start=0, end=0, quote="")])]
        ),
    ),
]


@pytest.mark.parametrize(("sent", "item"), SENT)
def test_what_clients_send_is_read(sent: dict[str, Any], item: Item) -> None:
    assert one(sent) == item


def test_a_reference_names_what_is_there_already_and_adds_nothing() -> None:
    assert from_input([{"type": "item_reference", "id": "msg_1"}], numbered()) == []


@pytest.mark.parametrize(
    ("sent", "place"),
    [
        ({"role": "king", "content": "x"}, "`input[0].role`"),
        ({"role": "user"}, "`input[0]`"),
        ({"role": "user", "content": [{"type": "input_text"}]}, "`input[0].content[0]`"),
        ({"type": "riddle"}, "`input[0].type`"),
        ({"role": "user", "content": [{"type": "input_image"}]}, "input_image"),
        ({"role": "user", "content": [{"type": "input_image", "file_id": "f", "image_url": "u"}]}, "input_image"),
        ({"role": "user", "content": [{"type": "input_file"}]}, "input_file"),
        ({"role": "user", "content": [{"type": "input_file", "file_id": "f", "file_data": "d"}]}, "input_file"),
        ({"role": "user", "content": [{"type": "input_file", "file_url": "http://x"}]}, "by URL is off"),
        ({"role": "user", "content": [{"type": "output_text", "text": "x"}]}, "role user"),
        ({"role": "system", "content": [{"type": "refusal", "refusal": "x"}]}, "role system"),
        ({"role": "assistant", "content": [{"type": "input_image", "file_id": "f"}]}, "role assistant"),
        ({"role": "assistant", "content": [{"type": "input_file", "file_id": "f"}]}, "role assistant"),
    ],
)
def test_what_is_wrong_with_an_item_is_said_with_its_place(sent: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        one(sent)
    assert refused.value.param == "input"
    assert place in refused.value.message


def test_the_field_that_holds_the_items_is_the_one_named() -> None:
    for sent in ({"role": "king"}, {"role": "user", "content": [{"type": "input_image"}]}):
        with pytest.raises(InvalidRequest) as refused:
            from_input([sent], numbered(), param="items")
        assert refused.value.param == "items"


def test_what_was_never_stored_is_not_read_back() -> None:
    with pytest.raises(msgspec.ValidationError, match="no id"):
        decode(b'{"type":"message","role":"user","content":"x"}')
    with pytest.raises(InvalidRequest):
        decode(b'{"type":"item_reference","id":"msg_1"}')
