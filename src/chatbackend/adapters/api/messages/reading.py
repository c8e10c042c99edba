"""A Messages request read into a `ModelRequest`, for any provider."""

from collections.abc import Mapping
from typing import Any, TypeVar, cast

import msgspec

from chatbackend.adapters.api.checking import converted, refuse_deep
from chatbackend.adapters.api.messages import shapes
from chatbackend.adapters.api.messages.turns import items_of, joined
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.models import FunctionTool, ModelRequest, TextFormat, ToolChoice

S = TypeVar("S", bound=shapes.CountTokensRequest)
# Of no consequence for what is answered: other providers are not told.
_HINTS = ("cache_control", "service_tier", "diagnostics")
# Means of saving tokens or time that Claude takes only with a beta header, and so only in a relayed request.
_DROPPED = frozenset(("context_management", "speed"))
# How much thinking each effort stands for: the smallest that a budget of tokens fits in.
_EFFORTS = ((1_024, "minimal"), (4_096, "low"), (12_288, "medium"), (24_576, "high"), (32_768, "xhigh"))


def read(body: dict[str, Any]) -> ModelRequest:
    """Return the request in a decoded body of `POST /v1/messages`. Raises: InvalidRequest naming the field."""
    request = _checked(body, shapes.MessagesRequest)
    found = _asked(request, body)
    found.max_output_tokens = request.max_tokens
    found.stop = request.stop_sequences or []
    found.temperature, found.top_p = request.temperature, request.top_p
    found.user = request.metadata.user_id if request.metadata else None
    found.stream = request.stream is True
    thinking = request.thinking
    if isinstance(thinking, shapes.ThinkingEnabled) and thinking.budget_tokens >= request.max_tokens:
        raise _wrong("thinking.budget_tokens", "it must be less than max_tokens", "thinking")
    return found


def read_count(body: dict[str, Any]) -> ModelRequest:
    """Return the request in a decoded body of `POST /v1/messages/count_tokens`. Raises: InvalidRequest."""
    return _asked(_checked(body, shapes.CountTokensRequest), body)


def _checked(body: dict[str, Any], shape: type[S]) -> S:
    refuse_deep(body)
    return converted(body, shape)


def _asked(request: shapes.CountTokensRequest, body: Mapping[str, Any]) -> ModelRequest:
    found = ModelRequest(
        request.model,
        items_of(request.messages),
        instructions=joined(request.system) if request.system else None,
        tool_choice=_tool_choice(request),
        text_format=_text_format(request.output_config),
        reasoning_effort=_effort(request),
        extra=_extra(body),
        hints=_hints(request, body),
        extra_dialect="messages",
        prefilled=_is_begun(request.messages[-1]),
    )
    if isinstance(request.tool_choice, shapes.AutoChoice | shapes.AnyChoice | shapes.NamedChoice):
        found.parallel_tool_calls = False if request.tool_choice.disable_parallel_tool_use else None
    _tools(found, request, body)
    return found


def _hints(request: shapes.CountTokensRequest, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Claude alone is told in the caller's own words: how to think, and what changes no answer."""
    hints = {name: body[name] for name in (*_HINTS, "thinking") if body.get(name) is not None}
    if request.output_config and request.output_config.effort:
        hints["output_config"] = {"effort": request.output_config.effort}
    return hints


def _is_begun(last: shapes.Turn) -> bool:
    """Return whether the last turn is the beginning of the answer."""
    if not isinstance(last, shapes.AssistantTurn):
        return False
    return isinstance(last.content, str) or any(isinstance(block, shapes.TextBlock) for block in last.content[-1:])


def _extra(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that change the answer and that only a provider of this dialect understands."""
    known = {field.encode_name for field in msgspec.structs.fields(shapes.MessagesRequest)}
    rest = body.keys() - known - _DROPPED - set(_HINTS)
    return {name: body[name] for name in body if name in rest and body[name] is not None}


def _effort(request: shapes.CountTokensRequest) -> str | None:
    """Return how much to think; what is the model's own matter is left to it."""
    if request.output_config and request.output_config.effort:
        return request.output_config.effort
    match request.thinking:
        case shapes.ThinkingEnabled(budget_tokens=budget):
            return next((effort for most, effort in _EFFORTS if budget <= most), "max")
        case shapes.ThinkingDisabled():
            return "none"
        case _:
            return None


def _text_format(config: shapes.OutputConfig | None) -> TextFormat:
    if config is None or config.format is None:
        return TextFormat()
    schema = config.format.schema
    return TextFormat("json_schema", "answer", schema, strict=True if _is_closed(schema) else None)


def _is_closed(schema: object) -> bool:
    """Return whether a schema leaves nothing open, so that every provider can be held to it, as Claude is."""
    if isinstance(schema, list):
        return all(map(_is_closed, cast(list[object], schema)))
    if not isinstance(schema, dict):
        return True
    node = cast(dict[str, Any], schema)
    if node.get("type") == "object":
        named: object = node.get("properties", {})
        if node.get("additionalProperties") is not False or not isinstance(named, dict):
            return False
        if set(cast(dict[str, Any], named)) != set(node.get("required") or ()):
            return False
    return all(map(_is_closed, node.values()))


def _tool_choice(request: shapes.CountTokensRequest) -> ToolChoice:
    match request.tool_choice:
        case shapes.AnyChoice():
            return ToolChoice("required")
        case shapes.NamedChoice(name=name):
            return ToolChoice("function", name)
        case shapes.NoChoice():
            return ToolChoice("none")
        case _:
            return ToolChoice()


def _tools(found: ModelRequest, request: shapes.CountTokensRequest, body: Mapping[str, Any]) -> None:
    """Take over the tools; with one that only the API itself defines, all of them are for Claude alone."""
    tools = request.tools or []
    if any(tool.type not in (None, "custom") for tool in tools):
        found.extra |= {name: body[name] for name in ("tools", "tool_choice") if body.get(name) is not None}
        found.tool_choice = ToolChoice()
        return
    found.tools = [_function(tool, f"tools[{number}]") for number, tool in enumerate(tools)]
    if found.tool_choice.mode == "required" and not tools:
        raise _wrong("tool_choice", "it demands a call, but there are no tools", "tool_choice")
    named = found.tool_choice.name
    if named is not None and named not in {tool.name for tool in found.tools}:
        raise _wrong("tool_choice.name", f"no tool is named {named!r}", "tool_choice")


def _function(tool: shapes.ClientTool, place: str) -> FunctionTool:
    if not tool.name:
        raise _wrong(f"{place}.name", "a tool needs a name", "tools")
    if tool.input_schema is None:
        raise _wrong(f"{place}.input_schema", "a tool needs the schema of its input", "tools")
    return FunctionTool(tool.name, tool.description, tool.input_schema, tool.strict)


def _wrong(place: str, why: str, param: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid '{place}': {why}.", param=param)
