"""One conversation, asked in each dialect, is the same request to a provider, whichever family it is of."""

from typing import Any

import msgspec
import pytest

from chatbackend.adapters.api import responses
from chatbackend.adapters.api.chat import request as chat
from chatbackend.adapters.api.messages import reading
from chatbackend.adapters.providers.families.claude import CLAUDE
from chatbackend.adapters.providers.families.llama import LLAMA31
from chatbackend.adapters.providers.families.openai import OPENAI
from chatbackend.adapters.providers.families.perplexity import PERPLEXITY
from chatbackend.adapters.providers.family import Family, profile_of
from chatbackend.domain.models import ModelRequest
from tests.support.model_events import numbered

Json = dict[str, Any]
PNG = "data:image/png;base64,aGk="
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
QUESTION = "Grüße \U0001f30d\u2028, what is it?"
LOOK = {"name": "look", "description": "Looks."}
SCHEMA = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"], "additionalProperties": False}
CALLS = {"call_1": '{"x":"é"}', "call_2": "{}"}

RESPONSES: Json = {
    "instructions": "Be brief.",
    "input": [
        {
            "role": "user",
            "content": [{"type": "input_text", "text": QUESTION}, {"type": "input_image", "image_url": PNG}],
        },
        {
            "type": "reasoning",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "hm"}],
            "encrypted_content": "claude.signature.S==",
        },
        {"role": "assistant", "content": "Let me look."},
        *({"type": "function_call", "call_id": id, "name": "look", "arguments": given} for id, given in CALLS.items()),
        {
            "type": "function_call_output",
            "call_id": "call_1",
            "output": [{"type": "input_text", "text": "seen"}, {"type": "input_image", "image_url": PNG}],
        },
        {"type": "function_call_output", "call_id": "call_2", "output": ""},
        {"role": "user", "content": "And?"},
    ],
    "temperature": 0.5,
    "max_output_tokens": 5_000,
    "text": {"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA, "strict": True}},
    "user": "u1",
}
CHAT: Json = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": QUESTION}, {"type": "image_url", "image_url": {"url": PNG}}],
        },
        {
            "role": "assistant",
            "content": "Let me look.",
            "reasoning_details": [{"type": "reasoning.text", "text": "hm", "signature": "claude.signature.S=="}],
            "tool_calls": [
                {"id": id, "type": "function", "function": {"name": "look", "arguments": given}}
                for id, given in CALLS.items()
            ],
        },
        {
            "role": "tool",
            "tool_call_id": "call_1",
            "content": [{"type": "text", "text": "seen"}, {"type": "image_url", "image_url": {"url": PNG}}],
        },
        {"role": "tool", "tool_call_id": "call_2", "content": ""},
        {"role": "user", "content": "And?"},
    ],
    "temperature": 0.5,
    "max_completion_tokens": 5_000,
    "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}},
    "user": "u1",
    "stream": True,
}
MESSAGES: Json = {
    "system": "Be brief.",
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": QUESTION}, IMAGE]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "S=="},
                {"type": "text", "text": "Let me look."},
                *(
                    {"type": "tool_use", "id": id, "name": "look", "input": msgspec.json.decode(given)}
                    for id, given in CALLS.items()
                ),
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "seen"}, IMAGE]},
                {"type": "tool_result", "tool_use_id": "call_2"},
                {"type": "text", "text": "And?"},
            ],
        },
    ],
    "temperature": 0.5,
    "max_tokens": 5_000,
    "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
    "metadata": {"user_id": "u1"},
    "stream": True,
}
# What is asked beside it, in each dialect.
PLAIN: tuple[Json, Json, Json] = ({}, {}, {})
TOOLS: tuple[Json, Json, Json] = (
    {"tools": [{"type": "function", "parameters": SCHEMA, "strict": True, **LOOK}]},
    {"tools": [{"type": "function", "function": {"parameters": SCHEMA, "strict": True, **LOOK}}]},
    {"tools": [{"input_schema": SCHEMA, "strict": True, **LOOK}]},
)
CHOICES: dict[str, tuple[Json, Json, Json]] = {
    "left to the model": PLAIN,
    "none": ({"tool_choice": "none"}, {"tool_choice": "none"}, {"tool_choice": {"type": "none"}}),
    "required": ({"tool_choice": "required"}, {"tool_choice": "required"}, {"tool_choice": {"type": "any"}}),
    "named": (
        {"tool_choice": {"type": "function", "name": "look"}},
        {"tool_choice": {"type": "function", "function": {"name": "look"}}},
        {"tool_choice": {"type": "tool", "name": "look"}},
    ),
    "one at a time": (
        {"parallel_tool_calls": False},
        {"parallel_tool_calls": False},
        {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
    ),
}
EFFORT: tuple[Json, Json, Json] = (
    {"reasoning": {"effort": "low"}},
    {"reasoning_effort": "low"},
    {"thinking": {"type": "enabled", "budget_tokens": 4_096}},
)
FAMILIES: dict[str, tuple[Family, str, str]] = {
    "openai": (OPENAI, "", "any"),
    "openai (responses)": (OPENAI, "responses", "any"),
    "claude": (CLAUDE, "", "claude-sonnet-4-5"),
    "llama31": (LLAMA31, "", "llama-4"),
    "perplexity": (PERPLEXITY, "", "sonar"),
}
WITH_TOOLS = [name for name in FAMILIES if name != "perplexity"]


def made(family: str, *further: tuple[Json, Json, Json]) -> list[Json]:
    """Return the request to a provider that the conversation becomes from each dialect."""
    bodies: list[Json] = [{"model": "m", **body} for body in (RESPONSES, CHAT, MESSAGES)]
    for fields in further:
        bodies = [body | more for body, more in zip(bodies, fields, strict=True)]
    of, api, model = FAMILIES[family]
    codec = of.codec_for(api, profile_of(of, model))
    requests = [_of_response(bodies[0]), chat.read(bodies[1]).request, reading.read(bodies[2])]
    said = [msgspec.json.decode(codec.request(request).body, type=Json) for request in requests]
    return [_instructed(body) for body in said]


def _of_response(body: Json) -> ModelRequest:
    ask = responses.ask(responses.read(body), numbered())
    fields = {name: getattr(ask, name) for name in ModelRequest.__slots__ if hasattr(ask, name)}
    return ModelRequest(**fields, extra_dialect="responses")


def _instructed(body: Json) -> Json:
    """Return a body whose instructions stand where a chat puts them, in a message of the system, to the same effect."""
    match body:
        case {"input": [{"role": "system", "content": [{"text": text}]}, *rest]}:
            return body | {"instructions": text, "input": rest}
        case _:
            return body


@pytest.mark.parametrize("family", FAMILIES)
def test_a_conversation_with_calls_and_images_is_one_request(family: str) -> None:
    of_responses, of_chat, of_messages = made(family)
    assert of_responses == of_chat == of_messages
    told = msgspec.json.encode(of_responses).decode()
    for word in ("Be brief.", QUESTION.replace("\u2028", ""), "Let me look.", "seen", "And?", "aGk="):
        assert word in told.replace("\u2028", "")


@pytest.mark.parametrize("family", WITH_TOOLS)
@pytest.mark.parametrize("choice", CHOICES)
def test_tools_and_their_choice_are_one_request(family: str, choice: str) -> None:
    of_responses, of_chat, of_messages = made(family, TOOLS, CHOICES[choice])
    assert of_responses == of_chat == of_messages
    assert of_responses["tools"]


@pytest.mark.parametrize("family", ["openai", "openai (responses)", "claude", "perplexity"])
def test_an_effort_is_one_request(family: str) -> None:
    of_responses, of_chat, of_messages = made(family, EFFORT)
    assert of_responses == of_chat == of_messages
    assert of_responses != made(family)[0]


@pytest.mark.parametrize("family", ["openai", "claude", "llama31"])
def test_words_to_stop_at_are_one_request(family: str) -> None:
    stop = ["END"]
    _, of_chat, of_messages = made(family, ({}, {"stop": stop}, {"stop_sequences": stop}))
    assert of_chat == of_messages
    assert stop in of_chat.values()
