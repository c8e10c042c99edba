"""How providers are asked what a request costs to read, before anybody reads it.

Source: `MessageCountTokensParams` in the `anthropic` package, `InputTokenCountParams` in the `openai` package.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from chatbackend.adapters.providers.claude import API_VERSION
from chatbackend.adapters.providers.codec import GARBAGE
from chatbackend.adapters.providers.messages import request as messages
from chatbackend.adapters.providers.responses import request as responses
from chatbackend.domain.errors import UpstreamError
from chatbackend.domain.models import ModelProfile, ModelRequest

# What a generation has and a count has not: how much is written, and how it is sent.
_MESSAGES_ONLY = frozenset(
    ("max_tokens", "stream", "temperature", "top_p", "stop_sequences", "metadata", "service_tier")
)
_COUNTED = frozenset(
    ("model", "input", "instructions", "parallel_tool_calls", "reasoning", "text", "tool_choice", "tools", "truncation")
)


class _Count(msgspec.Struct):
    input_tokens: int


@dataclass(frozen=True, slots=True)
class Counting:
    """A provider's way of counting: its path, the body that asks, the headers that its API wants beside it."""

    path: str
    body: Callable[[ModelRequest, ModelProfile], dict[str, Any]]
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


def _messages(request: ModelRequest, profile: ModelProfile) -> dict[str, Any]:
    body = messages.request_body(request, profile)
    return {name: value for name, value in body.items() if name not in _MESSAGES_ONLY}


def _responses(request: ModelRequest, profile: ModelProfile) -> dict[str, Any]:
    body = responses.request_body(request, profile)
    return {name: value for name, value in body.items() if name in _COUNTED}


BY_MESSAGES = Counting("/v1/messages/count_tokens", _messages, {"anthropic-version": API_VERSION})
BY_RESPONSES = Counting("/responses/input_tokens", _responses)


def counted(body: bytes) -> int:
    """Return the count that a provider answered. Raises: UpstreamError."""
    try:
        return msgspec.json.decode(body, type=_Count).input_tokens
    except GARBAGE as error:
        raise UpstreamError("The provider sent what is no count.") from error
