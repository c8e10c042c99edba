"""Tool calls that a model writes into its text."""

import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbackend.adapters.providers.chat.calls_in_text import CallsInText
from chatbackend.adapters.providers.openai_chat import ChatCodec
from chatbackend.domain.events import (
    Finished,
    FinishReason,
    ModelEvent,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from chatbackend.domain.models import FunctionTool, ModelProfile, ModelRequest, ToolChoice
from chatbackend.domain.usage import Usage
from tests.adapters.providers.heard import Heard, hear, replay_for, sse

ENTRY = '{"name": "f", "parameters": {"a": "{\\"}"}}'
CALL = ("f", '{"a":"{\\"}"}')


def step() -> CallsInText:
    return CallsInText(["f", "find"], lambda: "answer")


def told(*texts: str, reason: FinishReason = "stop") -> Heard:
    taking, events = step(), list[ModelEvent]()
    for text in texts:
        events += taking.take([TextDelta(text)])
    return hear(events + taking.take([Finished(reason)]))


SPELLED = [
    (f"<|python_tag|>{ENTRY}", [CALL], ""),
    (f"<|python_tag|>{ENTRY}<|eom_id|>", [CALL], ""),
    (f"<|python_tag|>{ENTRY}; {ENTRY}<|eot_id|>\n", [CALL, CALL], ""),
    (f"  <|python_tag|> {ENTRY}", [CALL], ""),
    ('<function=f>{"a": 1}</function>', [("f", '{"a": 1}')], ""),
    ('<function=find>{}</function><function=f>{"a": 1}<function>', [("find", "{}"), ("f", '{"a": 1}')], ""),
    ('Let me look.\n<function=f>{"a": 1}</function>\nSo.', [("f", '{"a": 1}')], "Let me look.\n\nSo."),
    (ENTRY, [CALL], ""),
    (f"\n{ENTRY}\n", [CALL], ""),
    (f"{ENTRY}; {ENTRY}", [CALL, CALL], ""),
    ('{"type": "function", "name": "f", "arguments": {"b": [{}]}}', [("f", '{"b":[{}]}')], ""),
    ('{"name": "f"}', [("f", "{}")], ""),
    ('{"parameters": {"a": 1}, "name": "find"}', [("find", '{"a":1}')], ""),
    ('{"name": "f", "parameters": {}}<function=find>{}</function>', [("f", "{}"), ("find", "{}")], ""),
]
PLAIN = [
    "Hello.",
    " \n",
    "a < b, and <function=x>{}</function>",
    "<function=f>no object</function>",
    '<function=f>{"a": nonsense}</function>',
    '<function=f>{"a": 1',
    "<function=fi",
    "<|python_tag|>f.call(a=1)",
    '<|python_tag|>{"name": "other"}',
    "<|python_tag|>",
    '{"name": "other", "parameters": {}}',
    '{"name": "f", "parameters": 7}',
    '{"name": 7}',
    '{"parameters": {}, "name": "other"}',
    '{"name": "f',
    '{"name"',
    '{"city": "Oslo"}',
    "{}",
    "{ ",
    "{7}",
    "[1, 2]",
    '\\ { } "',
    '{"name": "f", "parameters": {}} is how it is called',
    '{"name": "f", "parameters": {}}; {"name": "f"} and so on',
    'Then say {"name": "f", "parameters": {}}',
    "</function> and <|eot_id|>",
    '{"type": "x" "name": "f"}',
]


@pytest.mark.parametrize(("text", "calls", "left"), SPELLED)
def test_a_call_is_known_in_every_spelling(text: str, calls: list[tuple[str, str]], left: str) -> None:
    heard = told(text)
    assert (heard.tools, heard.text, heard.finish) == (calls, left, "tool_calls")
    assert [call_id for call_id, _, _ in heard.calls.values()] == [
        f"call_answer_{1000 + number}" for number in range(len(calls))
    ]


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_no_call_of_an_offered_function_stays_text(text: str) -> None:
    heard = told(text)
    assert (heard.tools, heard.text, heard.finish) == ([], text, "stop")


@pytest.mark.parametrize("text", [*PLAIN, *(text for text, _, _ in SPELLED)])
def test_where_the_text_was_cut_never_matters(text: str) -> None:
    assert _said(told(*text)) == _said(told(text))


ALPHABET = st.sampled_from(
    [
        "<|python_tag|>",
        "<function=f>",
        "</function>",
        "<function",
        '{"name": "f"}',
        '{"a": 1}',
        "{",
        "}",
        '"',
        "\\",
        " ",
        ";",
        "x",
        "<",
    ]
)


@given(st.lists(ALPHABET, max_size=12).map("".join), st.lists(st.integers(0, 200), max_size=8))
def test_no_text_is_lost_and_no_cut_matters(text: str, places: list[int]) -> None:
    whole = told(text)
    cuts = [0, *sorted(min(place, len(text)) for place in places), len(text)]
    assert _said(told(*(text[a:b] for a, b in pairwise(cuts)))) == _said(whole)
    if not whole.tools:
        assert whole.text == text


@pytest.mark.parametrize(
    ("text", "ahead"),
    [
        ("Hello", "Hello"),
        ('{"city', '{"city'),
        ('{"name": "o', '{"name": "o'),
        ("a <b", "a <b"),
        ("a <fun", "a "),
        ("<function=x", "<function=x"),
        ('{"name": "f', ""),
        (" ", ""),
    ],
)
def test_text_is_held_only_while_it_may_be_a_call(text: str, ahead: str) -> None:
    assert hear(step().take([TextDelta(text)])).text == ahead


def test_a_call_with_its_tag_is_made_before_the_answer_ends() -> None:
    assert hear(step().take([TextDelta(f"<|python_tag|>{ENTRY}")])).tools == [CALL]


def test_other_events_and_reasons_pass() -> None:
    passing: list[ModelEvent] = [
        ToolCallStarted("c", "g", 0),
        ToolCallDelta("{}", 0),
        UsageReported(Usage(1, 2)),
        Finished("length"),
    ]
    assert step().take(passing) == passing
    assert told(ENTRY, reason="length").finish == "length"


def test_calls_keep_clear_of_those_that_the_server_knows() -> None:
    events = step().take(
        [ToolCallStarted("c", "f", 0), ToolCallDelta("{}", 0), TextDelta(ENTRY), Finished("tool_calls")]
    )
    assert hear(events).tools == [("f", "{}"), CALL]


def test_a_long_call_is_read_in_linear_time() -> None:
    pieces = ['<function=f>{"a": "', *(["xy" * 8] * 40_000), '"}</function>']
    assert len(told(*pieces).tools[0][1]) == 640_000 + len('{"a": ""}')


def _said(heard: Heard) -> tuple[Any, ...]:
    return heard.tools, heard.text, heard.finish


def chunk(text: str | None, reason: str | None = None) -> str:
    return json.dumps({"id": "x1", "choices": [{"delta": {"content": text}, "finish_reason": reason}]})


def answers(request: ModelRequest, texts: Iterable[str], *, in_text: bool = True) -> Heard:
    codec = ChatCodec(ModelProfile(calls_in_text=in_text))
    return hear(replay_for(codec, request, sse(*map(chunk, texts), chunk(None, "stop"), "[DONE]")))


OFFERED = ModelRequest("m", [], tools=[FunctionTool("f")])


def test_the_codec_looks_for_calls_of_models_that_write_them() -> None:
    heard = answers(OFFERED, ENTRY)
    assert (heard.tools, heard.finish) == ([CALL], "tool_calls")
    assert next(iter(heard.calls.values()))[0] == "call_x1_1000"
    body = json.dumps({"choices": [{"message": {"content": ENTRY}, "finish_reason": "stop"}]}).encode()
    assert hear(ChatCodec(ModelProfile(calls_in_text=True)).whole(body, OFFERED)).tools == [CALL]


@pytest.mark.parametrize(
    ("request_", "in_text"),
    [
        (OFFERED, False),
        (ModelRequest("m", []), True),
        (ModelRequest("m", [], tools=[FunctionTool("f")], tool_choice=ToolChoice("none")), True),
        (ModelRequest("m", [], tools=[FunctionTool("f")], top_logprobs=1), True),
    ],
)
def test_the_codec_leaves_text_alone_otherwise(request_: ModelRequest, *, in_text: bool) -> None:
    heard = answers(request_, ENTRY, in_text=in_text)
    assert (heard.tools, heard.text, heard.finish) == ([], ENTRY, "stop")
