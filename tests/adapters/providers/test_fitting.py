"""What a model does not take: refused by the caller's name of it, or left out where that is allowed."""

from typing import Any

import pytest

from chatbackend.adapters.providers.chat.request import request_body
from chatbackend.adapters.providers.families.openai import OPENAI
from chatbackend.adapters.providers.family import profile_of
from chatbackend.adapters.providers.fitting import fitted, speaking
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.fitting import DROPPED, NEUTRAL
from chatbackend.domain.models import ModelProfile, ModelRequest

ASKED: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.5,
    "stop": ["x"],
    "seed": 0,
    "top_logprobs": 0,
    "reasoning_effort": "high",
    "reasoning_summary": "auto",
    "verbosity": "low",
    "user": "u",
    "parallel_tool_calls": False,
}


def asking(dialect: str = "chat", **fields: Any) -> ModelRequest:  # noqa: ANN401  # any field of a request
    return ModelRequest("m", [], extra_dialect=dialect, **fields)  # pyright: ignore[reportArgumentType]


def refusing(*names: str) -> ModelProfile:
    return ModelProfile(refuses=frozenset(names))


@pytest.mark.parametrize("name", sorted(ASKED))
def test_a_refused_field_is_named_or_left_out(name: str) -> None:
    request = asking(**{name: ASKED[name]})
    assert fitted(request, ModelProfile()) == request
    if name in DROPPED:
        assert fitted(request, refusing(name)) == fitted(request, speaking(ModelProfile(), name)) == asking()
        return
    with pytest.raises(InvalidRequest) as refused:
        fitted(request, refusing(name))
    assert (refused.value.code, refused.value.param) == ("unsupported_by_model", name)


@pytest.mark.parametrize("name", sorted(NEUTRAL))
def test_a_value_that_asks_for_nothing_is_left_out(name: str) -> None:
    fields: dict[str, Any] = {name: NEUTRAL[name]} if name in ASKED else {"extra": {name: NEUTRAL[name]}}
    assert fitted(asking(**fields), refusing(*NEUTRAL)) == asking()


def test_fields_of_the_callers_dialect_are_refused_or_dropped_as_hints() -> None:
    with pytest.raises(InvalidRequest) as refused:
        fitted(asking(extra={"logit_bias": {"7": 1}}), refusing("logit_bias"))
    assert refused.value.param == "logit_bias"
    request = asking(hints={"service_tier": "flex", "store": True}, extra={"modalities": ["text"]})
    assert fitted(request, refusing("service_tier")) == asking(hints={"store": True}, extra={"modalities": ["text"]})
    assert request.hints == {"service_tier": "flex", "store": True}


@pytest.mark.parametrize(
    ("dialect", "name", "param"),
    [
        ("chat", "reasoning_effort", "reasoning_effort"),
        ("responses", "reasoning_effort", "reasoning.effort"),
        ("messages", "reasoning_effort", "thinking"),
        ("messages", "stop", "stop_sequences"),
        ("messages", "parallel_tool_calls", "tool_choice.disable_parallel_tool_use"),
        ("responses", "temperature", "temperature"),
    ],
)
def test_the_caller_reads_its_own_name_of_the_field(dialect: str, name: str, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        fitted(asking(dialect, **{name: ASKED[name]}), refusing(name))
    assert refused.value.param == param


@pytest.mark.parametrize(("dialect", "param"), [("responses", "input"), ("chat", "messages"), ("messages", "messages")])
def test_the_beginning_of_an_answer_is_for_models_that_go_on_from_it(dialect: str, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        fitted(asking(dialect, prefilled=True), ModelProfile())
    assert refused.value.param == param
    fitted(asking(dialect, prefilled=True), ModelProfile(accepts_prefill=True))


@pytest.mark.parametrize(
    ("model", "fields", "refused"),
    [
        ("o3", {"temperature": 0.2}, "temperature"),
        ("o3-mini", {"stop": ["x"]}, "stop"),
        ("o1", {"top_logprobs": 1}, "top_logprobs"),
        ("o4-mini-2025-04-16", {"extra": {"presence_penalty": 0.5}}, "presence_penalty"),
        ("gpt-5", {"top_p": 0.1}, "top_p"),
        ("gpt-5-mini-2025-08-07", {"temperature": 0}, "temperature"),
        ("gpt-4o", {"reasoning_effort": "low"}, "reasoning_effort"),
        ("gpt-5-chat-latest", {"reasoning_effort": "low"}, "reasoning_effort"),
        ("gpt-5", {"verbosity": "low", "reasoning_effort": "high", "temperature": 1}, None),
        ("gpt-5.1", {"temperature": 0.2, "reasoning_effort": "none", "verbosity": "low"}, None),
        ("o1", {"stop": ["x"], "reasoning_effort": "low", "verbosity": "low"}, None),
        ("gpt-4o", {"temperature": 0.2, "top_p": 0.1, "stop": ["x"], "top_logprobs": 2}, None),
        ("gpt-4o", {"verbosity": "low", "reasoning_effort": "none"}, None),
        ("scripted", {"temperature": 0.2, "reasoning_effort": "low", "verbosity": "low"}, None),
    ],
)
def test_openai_models_are_asked_for_what_they_take(model: str, fields: dict[str, Any], refused: str | None) -> None:
    profile = profile_of(OPENAI, model)
    try:
        request_body(asking(**fields), profile)
    except InvalidRequest as error:
        assert error.param == refused
    else:
        assert refused is None


def test_reasoning_models_have_their_own_words() -> None:
    request = asking(instructions="s", max_output_tokens=9, reasoning_effort="low", verbosity="high")
    body = request_body(request, profile_of(OPENAI, "gpt-5-nano"))
    assert body["messages"][0]["role"] == "developer"
    assert {name: body[name] for name in ("max_completion_tokens", "reasoning_effort", "verbosity")} == {
        "max_completion_tokens": 9,
        "reasoning_effort": "low",
        "verbosity": "high",
    }
    body = request_body(request, profile_of(OPENAI, "o1-preview"))
    assert (body["messages"][0]["role"], "verbosity" in body) == ("user", False)
