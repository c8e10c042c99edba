"""The Chat Completions request, read into what a model is asked.

Fields that the API lets a server ignore are hints; those that change the answer, and those that we do not know, go
only to a provider of the same dialect. A field that is null is as good as left out.
Source: `CompletionCreateParams` in the `openai` package (types/chat/completion_create_params.py).
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from chatbackend.adapters.api.chat.messages import AnyMessage, items_of
from chatbackend.adapters.api.checking import converted, refuse_deep
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.models import PLAIN, FunctionTool, ModelRequest, TextFormat, ToolChoice

MAX_CHOICES = 8


class ChatFunction(Struct):
    """A function of the client; `parameters` is its JSON schema."""

    name: Annotated[str, Meta(min_length=1, max_length=128)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    def to_domain(self) -> FunctionTool:
        return FunctionTool(self.name, self.description, self.parameters, self.strict)


class ChatFunctionTool(Struct, tag_field="type", tag="function"):
    function: ChatFunction


class ChatPlainFormat(Struct, tag_field="type", tag="text"):
    """Text as it comes."""


class ChatObjectFormat(Struct, tag_field="type", tag="json_object"):
    """Any JSON object."""


class ChatSchema(Struct):
    name: Annotated[str, Meta(min_length=1)]
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None


class ChatSchemaFormat(Struct, tag_field="type", tag="json_schema"):
    """JSON by a schema."""

    json_schema: ChatSchema


class ChatStreamOptions(Struct):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ChatRequest(Struct):
    """The body of `POST /v1/chat/completions`; whatever else it holds goes to providers of the same dialect."""

    model: str
    messages: Annotated[list[AnyMessage], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: ChatStreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=MAX_CHOICES)] | None = None
    tools: list[ChatFunctionTool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    functions: list[ChatFunction] | None = None
    function_call: str | dict[str, Any] | None = None
    response_format: ChatPlainFormat | ChatObjectFormat | ChatSchemaFormat | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    modalities: list[Literal["text", "audio"]] | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    service_tier: str | None = None
    prediction: dict[str, Any] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ChatAsk:
    """What a client asks for: `choices` answers to one request; `legacy`: calls are shown as `function_call`."""

    request: ModelRequest
    choices: int = 1
    stream: bool = False
    include_usage: bool = False
    legacy: bool = False


_KNOWN = {field.encode_name for field in msgspec.structs.fields(ChatRequest)}
# The API lets a server do without these: where an answer is kept, found or billed, how fast it comes.
_HINTS = (
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
)
_STEERING = ("frequency_penalty", "presence_penalty", "logit_bias")  # nothing where 0 or empty


def read(body: dict[str, Any]) -> ChatAsk:
    """Check a decoded request body and turn it into what is asked. Raises: InvalidRequest naming the field."""
    refuse_deep(body)
    given = {name: value for name, value in body.items() if value is not None}
    for name in ("model", "messages"):
        if name not in given:
            raise _wrong(name, f"Missing required parameter: '{name}'.", code="missing_required_parameter")
    asked = converted({name: value for name, value in given.items() if name in _KNOWN}, ChatRequest)
    legacy = asked.functions is not None
    request = ModelRequest(
        asked.model,
        items_of(asked.messages),
        temperature=asked.temperature,
        top_p=asked.top_p,
        max_output_tokens=asked.max_completion_tokens or asked.max_tokens,
        stop=[asked.stop] if isinstance(asked.stop, str) else asked.stop or [],
        seed=asked.seed,
        top_logprobs=_top_logprobs(asked),
        text_format=_text_format(asked),
        reasoning_effort=asked.reasoning_effort,
        verbosity=asked.verbosity,
        user=asked.user or asked.safety_identifier,
        extra={name: value for name, value in given.items() if name not in _KNOWN} | _extra(asked),
        hints={name: given[name] for name in _HINTS if name in given},
        extra_dialect="chat",
    )
    _add_tools(request, asked)
    usage = asked.stream_options is not None and asked.stream_options.include_usage is True
    return ChatAsk(request, asked.n or 1, stream=asked.stream is True, include_usage=usage, legacy=legacy)


def field_of(param: str | None) -> str | None:
    """Return this API's field for one that the refusal of a model names."""
    return "messages" if param == "input" else param


def _extra(asked: ChatRequest) -> dict[str, Any]:
    """Return the known fields that only a provider of this dialect can follow."""
    steering = {name: value for name in _STEERING if (value := getattr(asked, name))}
    return steering | {"modalities": asked.modalities} if "audio" in (asked.modalities or ()) else steering


def _top_logprobs(asked: ChatRequest) -> int | None:
    if asked.top_logprobs is not None and not asked.logprobs:
        raise _wrong("top_logprobs", "top_logprobs needs logprobs to be true.")
    return (asked.top_logprobs or 0) if asked.logprobs else None


def _text_format(asked: ChatRequest) -> TextFormat:
    match asked.response_format:
        case ChatSchemaFormat(json_schema=shape):
            return TextFormat(
                "json_schema", shape.name, shape.schema, strict=shape.strict, description=shape.description
            )
        case ChatObjectFormat():
            return TextFormat("json_object")
        case _:
            return PLAIN


def _add_tools(request: ModelRequest, asked: ChatRequest) -> None:
    request.parallel_tool_calls = asked.parallel_tool_calls
    if asked.functions is not None:
        if asked.tools is not None:
            raise _wrong("functions", "functions and tools cannot be used together.")
        request.tools = [function.to_domain() for function in asked.functions]
        request.tool_choice = _function_call(asked.function_call)
        request.parallel_tool_calls = False  # this form of an answer has room for one call
    else:
        request.tools = [tool.function.to_domain() for tool in asked.tools or ()]
        request.tool_choice = _tool_choice(asked.tool_choice)
    field = "tool_choice" if asked.functions is None else "function_call"
    if request.tool_choice.mode == "required" and not request.tools:
        raise _wrong(field, f"{field} demands a call, but there are no tools.")
    if request.tool_choice.mode == "function" and request.tool_choice.name not in {tool.name for tool in request.tools}:
        raise _wrong(field, f"{field} names '{request.tool_choice.name}', which is none of the tools.")


def _tool_choice(given: str | dict[str, Any] | None) -> ToolChoice:
    match given:
        case None | "auto":
            return ToolChoice()
        case "none":
            return ToolChoice("none")
        case "required":
            return ToolChoice("required")
        case {"type": "function", "function": {"name": str(name)}}:
            return ToolChoice("function", name)
        case _:
            message = "tool_choice must be auto, none, required, or name a function."
            raise _wrong("tool_choice", message)


def _function_call(given: str | dict[str, Any] | None) -> ToolChoice:
    match given:
        case None | "auto":
            return ToolChoice()
        case "none":
            return ToolChoice("none")
        case {"name": str(name)}:
            return ToolChoice("function", name)
        case _:
            raise _wrong("function_call", "function_call must be auto, none, or name a function.")


def _wrong(param: str, message: str, *, code: str | None = None) -> InvalidRequest:
    return InvalidRequest(message, param=param, code=code)
