"""Requests as Anthropic Messages bodies."""

from dataclasses import replace
from typing import Any

import pytest

from chatbackend.adapters.providers.claude import ClaudeCodec
from chatbackend.adapters.providers.messages.request import request_body
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.items import (
    FileSearchCall,
    FunctionCall,
    FunctionCallOutput,
    InputFile,
    InputImage,
    InputText,
    Item,
    Message,
    OutputText,
    Part,
    Reasoning,
    ReasoningText,
    Refusal,
    SummaryText,
)
from chatbackend.domain.models import FunctionTool, ModelProfile, ModelRequest, TextFormat, ToolChoice

PROFILE = ModelProfile(max_output_tokens=100, accepts_json_object=False)
TOOL = FunctionTool("f", "does", {"type": "object"}, strict=True)
ROOMY = ModelProfile(default_max_tokens=8_192, max_output_tokens=64_000)
SIGNED, REDACTED = "claude.signature.s==", "claude.redacted.d=="
Json = dict[str, Any]


def body(*items: Item, profile: ModelProfile = PROFILE, **fields: Any) -> Json:  # noqa: ANN401  # any field of a request
    return request_body(ModelRequest("m", list(items), **fields), profile)


def turns(*items: Item) -> list[Json]:
    """Return the turns, without the one that opens a conversation which the model began."""
    messages = body(*items)["messages"]
    return messages[1:] if messages[0] == {"role": "user", "content": [words("(You begin.)")]} else messages


def user(*parts: Part) -> Message:
    return Message("msg_1", "user", list(parts))


def said(text: str) -> Message:
    return Message("msg_2", "assistant", [OutputText(text)])


def call(number: int, arguments: str = "{}") -> FunctionCall:
    return FunctionCall(f"fc_{number}", f"call_{number}", "f", arguments)


def output(number: int, text: str | list[Any] = "ok") -> FunctionCallOutput:
    return FunctionCallOutput(f"out_{number}", f"call_{number}", text)


def words(text: str) -> Json:
    return {"type": "text", "text": text}


def use(number: int, arguments: Json | None = None) -> Json:
    return {"type": "tool_use", "id": f"call_{number}", "name": "f", "input": arguments or {}}


def result(number: int, content: object = "ok") -> Json:
    return {"type": "tool_result", "tool_use_id": f"call_{number}", "content": content}


HI = user(InputText("hi"))


def test_a_plain_request_holds_only_what_was_asked_and_the_limit_that_is_demanded() -> None:
    assert body(HI, instructions="be brief") == {
        "model": "m",
        "max_tokens": 100,
        "system": "be brief",
        "messages": [{"role": "user", "content": [words("hi")]}],
        "stream": True,
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"temperature": 0.0, "top_p": 0.5}, {"temperature": 0.0, "top_p": 0.5}),
        ({"stop": ["END"], "user": "u"}, {"stop_sequences": ["END"], "metadata": {"user_id": "u"}}),
        ({"max_output_tokens": 9}, {"max_tokens": 9}),
        ({"reasoning_effort": "high"}, {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}),
        ({"reasoning_effort": "minimal"}, {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}),
        ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}, "output_config": None}),
        (
            {"text_format": TextFormat("json_schema", "n", {"type": "object"})},
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        ),
        (
            {"text_format": TextFormat("json_object")},
            {"system": "Answer with one JSON object and nothing else: no code fence, no words around it."},
        ),
        ({"stream": False}, {"stream": False}),
        ({"seed": 1, "verbosity": "low"}, {"seed": None, "verbosity": None}),
        (
            {"reasoning_effort": "low", "reasoning_summary": "auto"},
            {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "low"}},
        ),
        (
            {"extra": {"top_k": 3}, "hints": {"cache_control": {"type": "ephemeral"}}, "extra_dialect": "messages"},
            {"top_k": 3, "cache_control": {"type": "ephemeral"}},
        ),
        ({"hints": {"prompt_cache_key": "k"}, "extra_dialect": "chat"}, {"prompt_cache_key": None}),
    ],
)
def test_a_setting_is_spelled_as_the_dialect_does(fields: Json, expected: Json) -> None:
    made = body(HI, **fields)
    assert {name: made.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("effort", "limit", "thinking"),
    [
        ("high", 50_000, {"type": "enabled", "budget_tokens": 24_576}),
        ("high", 2_000, {"type": "enabled", "budget_tokens": 1_999}),
        ("low", 1_024, None),
        ("unknown", 50_000, {"type": "enabled", "budget_tokens": 1_024}),
        ("none", 50_000, {"type": "disabled"}),
        (None, 50_000, None),
    ],
)
def test_an_older_model_thinks_within_a_budget(effort: str | None, limit: int, thinking: Json | None) -> None:
    made = body(HI, profile=ModelProfile(thinking="budget"), reasoning_effort=effort, max_output_tokens=limit)
    assert made.get("thinking") == thinking
    assert "output_config" not in made


@pytest.mark.parametrize(
    ("effort", "profile", "expected"),
    [
        ("high", replace(ROOMY, thinking="budget"), (8_192 + 24_576, 24_576)),
        ("xhigh", replace(ROOMY, thinking="budget", max_output_tokens=32_000), (32_000, 32_000 - 8_192)),
        ("high", ModelProfile(thinking="budget", max_output_tokens=8_000), (8_000, 4_000)),
        ("high", replace(ROOMY, thinking="adaptive"), (8_192 + 24_576, None)),
        ("max", replace(ROOMY, thinking="adaptive"), (64_000, None)),
        ("high", replace(ROOMY, thinking="none"), (8_192, None)),
        ("none", replace(ROOMY, thinking="budget"), (8_192, None)),
        (None, replace(ROOMY, thinking="budget"), (8_192, None)),
    ],
)
def test_where_no_limit_is_asked_for_thinking_leaves_room_for_the_answer(
    effort: str | None, profile: ModelProfile, expected: tuple[int, int | None]
) -> None:
    made = body(HI, profile=profile, reasoning_effort=effort)
    assert (made["max_tokens"], made.get("thinking", {}).get("budget_tokens")) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"temperature": 0.7, "top_p": 1}, {"temperature": 0.7}),
        ({"temperature": 1, "top_p": 0.9}, {"top_p": 0.9}),
        ({"temperature": 1, "top_p": 1}, {"temperature": 1}),
        ({"temperature": 0.7, "top_p": 0.9}, {"temperature": 0.7, "top_p": 0.9}),
        ({"top_p": 1}, {"top_p": 1}),
    ],
)
def test_of_two_ways_to_sample_the_one_that_says_nothing_is_left_out(fields: Json, expected: Json) -> None:
    made = body(HI, **fields)
    assert {name: made[name] for name in ("temperature", "top_p") if name in made} == expected


def test_a_temperature_that_claude_does_not_have_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequest) as refused:
        body(HI, temperature=1.5)
    assert (refused.value.param, refused.value.code) == ("temperature", "unsupported_by_model")


@pytest.mark.parametrize("profile", [ModelProfile(thinking="budget"), ModelProfile(thinking="adaptive")])
def test_who_speaks_claudes_dialect_has_its_own_words_for_thinking_kept(profile: ModelProfile) -> None:
    hints = {"thinking": {"type": "enabled", "budget_tokens": 5_000}}
    made = body(HI, profile=profile, hints=hints, reasoning_effort="medium", extra_dialect="messages")
    assert made["thinking"] == hints["thinking"]
    assert "output_config" not in made


def test_who_speaks_claudes_dialect_has_its_effort_kept_beside_a_format() -> None:
    form = TextFormat("json_schema", "n", {"type": "object"})
    hints = {"output_config": {"effort": "low"}}
    made = body(HI, text_format=form, hints=hints, reasoning_effort="low", extra_dialect="messages")
    assert made["output_config"] == {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}}
    assert "thinking" not in made


@pytest.mark.parametrize(
    ("items", "thinks"),
    [
        ((HI, call(1), output(1)), False),
        ((HI, call(1), output(1), call(2), output(2)), False),
        ((HI, Reasoning("rs", encrypted_content=SIGNED), call(1), output(1)), True),
        ((HI, Reasoning("rs", encrypted_content=SIGNED), call(1), output(1), call(2), output(2)), True),
        ((HI, call(1), output(1), said("so"), HI), True),
        ((HI, said("so"), HI), True),
    ],
)
def test_a_budget_is_not_given_amid_calls_that_another_model_began(items: tuple[Item, ...], thinks: object) -> None:
    made = body(*items, profile=ModelProfile(thinking="budget"), reasoning_effort="low")
    assert ("thinking" in made) is thinks
    assert "thinking" in body(*items, reasoning_effort="low")


def test_a_model_that_cannot_think_is_not_asked_to() -> None:
    made = body(HI, profile=ModelProfile(thinking="none"), reasoning_effort="high")
    assert not {"thinking", "output_config"} & set(made)


@pytest.mark.parametrize(
    ("choice", "parallel", "expected"),
    [
        (ToolChoice(), None, None),
        (ToolChoice(), True, None),
        (ToolChoice(), False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice("none"), False, {"type": "none"}),
        (ToolChoice("required"), None, {"type": "any"}),
        (ToolChoice("required"), False, {"type": "any", "disable_parallel_tool_use": True}),
        (ToolChoice("function", "f"), None, {"type": "tool", "name": "f"}),
    ],
)
def test_tools_and_their_choice_are_spelled(choice: ToolChoice, parallel: bool | None, expected: Json | None) -> None:  # noqa: FBT001  # a table's column
    made = body(tools=[TOOL, FunctionTool("g")], tool_choice=choice, parallel_tool_calls=parallel)
    assert made["tools"] == [
        {"name": "f", "description": "does", "input_schema": {"type": "object"}, "strict": True},
        {"name": "g", "input_schema": {"type": "object", "properties": {}}},
    ]
    assert made.get("tool_choice") == expected


def test_unknown_fields_pass_only_within_the_dialect_and_never_override_ours() -> None:
    made = body(extra={"top_k": 3, "model": "other"}, extra_dialect="messages")
    assert (made["top_k"], made["model"]) == (3, "m")
    with pytest.raises(InvalidRequest, match="logit_bias"):
        body(extra={"logit_bias": {}})


def test_system_messages_join_the_instructions_wherever_they_stand() -> None:
    late = Message("m", "developer", [InputText("be kind")])
    made = body(HI, late, instructions="be brief")
    assert made["system"] == "be brief\n\nbe kind"
    assert made["messages"] == [{"role": "user", "content": [words("hi")]}]


def test_turns_alternate() -> None:
    items = [HI, user(InputText("there")), said("a"), said("b"), HI]
    assert turns(*items) == [
        {"role": "user", "content": [words("hi"), words("there")]},
        {"role": "assistant", "content": [words("a"), words("b")]},
        {"role": "user", "content": [words("hi")]},
    ]


def test_results_of_a_turn_come_first_and_together() -> None:
    items = [said("so"), call(1, '{"x":1}'), call(2), output(1), user(InputText("hurry")), output(2)]
    assert turns(*items) == [
        {"role": "assistant", "content": [words("so"), use(1, {"x": 1}), use(2)]},
        {"role": "user", "content": [result(1), result(2), words("hurry")]},
    ]


@pytest.mark.parametrize("arguments", ["", '{"x": ', "[1]", "\ud800"])
def test_arguments_that_are_no_object_become_an_empty_one(arguments: str) -> None:
    assert turns(call(1, arguments)) == [{"role": "assistant", "content": [use(1)]}]


def test_a_foreign_call_id_is_brought_into_the_alphabet_on_both_sides() -> None:
    items = (FunctionCall("fc", "functions.f:0", "f"), FunctionCallOutput("out", "functions.f:0", "ok"))
    blocks = [block for turn in turns(*items) for block in turn["content"]]
    assert [block.get("id") or block.get("tool_use_id") for block in blocks] == ["functions_f_0", "functions_f_0"]


def test_thinking_goes_back_as_it_came() -> None:
    shown = Reasoning("rs_1", content=[ReasoningText("h"), ReasoningText("m")], encrypted_content=SIGNED)
    summed = Reasoning("rs_2", summary=[SummaryText("sum")], encrypted_content=SIGNED)
    hidden = Reasoning("rs_3", encrypted_content=REDACTED)
    assert turns(shown, summed, hidden, call(1))[0]["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "s=="},
        {"type": "thinking", "thinking": "sum", "signature": "s=="},
        {"type": "redacted_thinking", "data": "d=="},
        use(1),
    ]


def test_reasoning_of_others_or_without_a_seal_stays_behind() -> None:
    others = Reasoning("rs_1", content=[ReasoningText("hm")], encrypted_content="gAAAAA")
    bare = Reasoning("rs_2", content=[ReasoningText("hm")])
    assert turns(others, bare, said("a")) == [{"role": "assistant", "content": [words("a")]}]


def test_a_turn_never_ends_with_thinking() -> None:
    sealed = Reasoning("rs_1", encrypted_content=REDACTED)
    assert turns(HI, sealed, sealed, HI, said("a"), sealed) == [
        {"role": "user", "content": [words("hi"), words("hi")]},
        {"role": "assistant", "content": [words("a")]},
    ]


def test_searches_and_empty_texts_are_left_out() -> None:
    assert turns(FileSearchCall("fs", ["q"]), user(InputText(""), InputText("x"))) == [
        {"role": "user", "content": [words("x")]}
    ]


def test_a_refusal_goes_back_as_text() -> None:
    assert turns(Message("m", "assistant", [Refusal("no")])) == [{"role": "assistant", "content": [words("no")]}]


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (
            InputImage("data:image/png;base64,aGk="),
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
        ),
        (InputImage("https://x/y.png"), {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}),
        (
            InputFile(filename="a.pdf", file_data="aGk="),
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="},
                "title": "a.pdf",
            },
        ),
        (
            InputFile(file_data="data:text/markdown;base64,w6k="),
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "é"}},
        ),
        (
            InputFile(filename="a.json", file_data="e30="),
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "{}"},
                "title": "a.json",
            },
        ),
        (
            InputFile(file_url="https://x/y.pdf"),
            {"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}},
        ),
    ],
)
def test_images_and_files_become_blocks_in_messages_and_in_results(part: InputImage | InputFile, block: Json) -> None:
    assert turns(user(part)) == [{"role": "user", "content": [block]}]
    assert turns(output(1, [InputText("see"), part])) == [
        {"role": "user", "content": [result(1, [words("see"), block])]}
    ]


@pytest.mark.parametrize(
    ("item", "profile", "fields"),
    [
        (user(InputImage("https://x")), ModelProfile(accepts_images=False), {}),
        (user(InputImage(file_id="f")), PROFILE, {}),
        (user(InputFile(file_id="f")), PROFILE, {}),
        (user(InputFile(file_data="data:application/zip;base64,aGk=")), PROFILE, {}),
        (user(InputFile(filename="a.txt", file_data="no base64!")), PROFILE, {}),
        (user(InputFile(filename="a.txt", file_data="/w==")), PROFILE, {}),
        (HI, ModelProfile(accepts_tools=False), {"tools": [TOOL]}),
        (HI, ModelProfile(structured="none"), {"text_format": TextFormat("json_schema")}),
    ],
)
def test_what_a_model_does_not_take_is_refused_before_dialling(item: Item, profile: ModelProfile, fields: Json) -> None:
    with pytest.raises(InvalidRequest) as caught:
        body(item, profile=profile, **fields)
    assert caught.value.code == "unsupported_by_model"


def test_a_conversation_that_the_model_began_is_opened_by_the_user() -> None:
    assert [turn["role"] for turn in body(said("hello"), HI)["messages"]] == ["user", "assistant", "user"]


@pytest.mark.parametrize(("beginning", "sent"), [("So \n", "So"), ("So", "So"), (" \n", None)])
def test_a_beginning_of_the_answer_ends_without_white_space(beginning: str, sent: str | None) -> None:
    profile = ModelProfile(accepts_prefill=True)
    messages = body(HI, said(beginning), profile=profile, prefilled=True)["messages"]
    assert messages[1:] == ([{"role": "assistant", "content": [words(sent)]}] if sent else [])


def test_a_model_that_cannot_stop_thinking_is_not_told_to() -> None:
    made = body(HI, profile=ModelProfile(can_stop_thinking=False), reasoning_effort="none")
    assert "thinking" not in made


def test_probabilities_are_refused_by_name() -> None:
    with pytest.raises(InvalidRequest) as caught:
        body(HI, profile=ClaudeCodec(PROFILE).profile, top_logprobs=2)
    assert caught.value.param == "top_logprobs"
