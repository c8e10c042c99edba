"""What a request asks for that a model does not take: refused by name, or left out where its definition allows that.

`docs/providers.md` shows both tables; a test holds them together.
"""

from collections.abc import Iterator
from typing import Any

from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.models import ModelProfile, ModelRequest
from chatbackend.domain.responses import Ask

# By their own definitions best effort, advice, or a label: leaving them out changes nothing that was promised.
DROPPED = frozenset(("seed", "user", "reasoning_summary", "verbosity"))
# Values that ask for what happens anyway.
NEUTRAL: dict[str, Any] = {
    "temperature": 1,
    "top_p": 1,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "logit_bias": {},
    "reasoning_effort": "none",
    "parallel_tool_calls": True,
}
# How callers call a field, by their dialect, where that is not our name.
_NAMES = {
    "reasoning_effort": {"responses": "reasoning.effort", "messages": "thinking"},
    "stop": {"messages": "stop_sequences"},
    "parallel_tool_calls": {"messages": "tool_choice.disable_parallel_tool_use"},
    "text_format": {"chat": "response_format", "responses": "text.format", "messages": "output_config.format"},
    "items": {"responses": "input", "chat": "messages", "messages": "messages"},
}


def refuse_fields(request: Ask | ModelRequest, profile: ModelProfile) -> None:
    """Refuse what this model does not take and nobody may leave out.

    Raises: InvalidRequest naming the field as the caller does.
    """
    for name, value in refused(request, profile):
        if name not in DROPPED and not (name in NEUTRAL and value == NEUTRAL[name]):
            called = named(request, name)
            raise InvalidRequest(f"This model does not take '{called}'.", param=called, code="unsupported_by_model")


def refused(request: Ask | ModelRequest, profile: ModelProfile) -> Iterator[tuple[str, Any]]:
    """Yield (name, value) of the fields that are set and that this model does not take."""
    for name in sorted(profile.refuses):
        value: Any = getattr(request, name, None)
        if value is None:
            value = request.extra.get(name)
        if value is not None and value != []:
            yield name, value


def named(request: Ask | ModelRequest, name: str) -> str:
    """Return what the caller calls a field."""
    dialect = request.extra_dialect if isinstance(request, ModelRequest) else "responses"
    return _NAMES.get(name, {}).get(dialect, name)
