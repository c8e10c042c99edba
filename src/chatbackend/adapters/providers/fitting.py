"""What a request asks for that a model does not take: refused by name, or left out where its definition allows that.

`docs/providers.md` shows both tables; a test holds them together.
"""

from dataclasses import replace
from typing import Any

from chatbackend.adapters.providers.codec import unsupported
from chatbackend.domain.models import ModelProfile, ModelRequest

OPENING = "(You begin.)"  # stands for the user where the model spoke first: a greeting, or a conversation cut short
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
_FIELDS = frozenset(ModelRequest.__slots__)


def fitted(request: ModelRequest, profile: ModelProfile, unsaid: frozenset[str] = frozenset()) -> ModelRequest:
    """Return the request without what may be left out; `unsaid` are fields that the dialect has no words for.

    Raises: InvalidRequest naming a field that this model does not take.
    """
    if request.prefilled and not profile.accepts_prefill:
        raise unsupported("the beginning of its answer", param=named(request, "items"))
    left_out: dict[str, Any] = {}
    extra, hints = dict(request.extra), dict(request.hints)
    for name in sorted(profile.refuses | unsaid):
        hints.pop(name, None)
        value = getattr(request, name) if name in _FIELDS else extra.pop(name, None)
        if not value and value != 0:
            continue
        if name not in DROPPED and not (name in NEUTRAL and value == NEUTRAL[name]):
            raise unsupported(f"'{named(request, name)}'", param=named(request, name))
        if name in _FIELDS:
            left_out[name] = None
    return replace(request, extra=extra, hints=hints, **left_out)


def named(request: ModelRequest, name: str) -> str:
    """Return what the caller calls a field."""
    return _NAMES.get(name, {}).get(request.extra_dialect, name)
