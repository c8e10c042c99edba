"""The Responses API's shapes: the request read into an `Ask`, the response object written.

Source: the `openai` package, types/responses/response_create_params.py and response.py.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from chatbackend.adapters.api import items as wire
from chatbackend.adapters.api.checking import converted, refuse_deep
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.filters import parse_filter
from chatbackend.domain.models import FunctionTool, TextFormat, ToolChoice
from chatbackend.domain.responses import Ask, FileSearch, Response, Served
from chatbackend.domain.usage import Usage

Metadata = dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]]


class PlainFormat(Struct, tag_field="type", tag="text"):
    """Text as it comes."""


class ObjectFormat(Struct, tag_field="type", tag="json_object"):
    """Any JSON object."""


class SchemaFormat(Struct, tag_field="type", tag="json_schema"):
    """JSON by a schema."""

    name: str
    schema: dict[str, Any]
    strict: bool | None = None
    description: str | None = None


class TextConfig(Struct):
    format: PlainFormat | ObjectFormat | SchemaFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ReasoningConfig(Struct):
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None


class HybridSearch(Struct):
    embedding_weight: float
    text_weight: float


class Ranking(Struct):
    score_threshold: Annotated[float, Meta(ge=0, le=1)] | None = None
    hybrid_search: HybridSearch | None = None


class RankingOptions(Ranking):
    """Of a search over vector stores, which also knows no ranking."""

    ranker: Literal["none", "auto", "default-2024-11-15"] | None = None


class ToolRanking(Ranking):
    ranker: Literal["auto", "default-2024-11-15"] | None = None


class FileSearchTool(Struct, tag_field="type", tag="file_search"):
    vector_store_ids: Annotated[list[str], Meta(min_length=1, max_length=10)]
    max_num_results: Annotated[int, Meta(ge=1, le=50)] | None = None
    filters: dict[str, Any] | None = None
    ranking_options: ToolRanking | None = None


class Function(Struct, tag_field="type", tag="function"):
    name: Annotated[str, Meta(min_length=1, max_length=128)]
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None


class ConversationRef(Struct):
    id: str


class StreamOptions(Struct):
    include_obfuscation: bool | None = None


class CreateRequest(Struct, omit_defaults=True):
    """The body of `POST /v1/responses` and of a socket's `response.create`."""

    model: str | None = None
    input: str | wire.InputItems = ""
    instructions: str | None = None
    previous_response_id: str | None = None
    conversation: str | ConversationRef | None = None
    store: bool | None = None
    stream: bool | None = None
    background: bool | None = None
    generate: bool | None = None
    metadata: Annotated[Metadata, Meta(max_length=16)] | None = None
    tools: list[Function | FileSearchTool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    text: TextConfig | None = None
    reasoning: ReasoningConfig | None = None
    include: list[str] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"] | None = None
    stream_options: StreamOptions | None = None
    extra: dict[str, Any] | None = None
    stream_id: str | None = None  # set by a socket once it has checked it; `read` never takes it from a body


_KNOWN = {field.encode_name for field in msgspec.structs.fields(CreateRequest)} - {"extra", "stream_id"}
_SOCKET_ONLY = frozenset({"type", "stream_id", "chatbackend"})
_HINTS = ("service_tier", "prompt_cache_key", "safety_identifier", "max_tool_calls")  # of no consequence where unknown
_PENALTIES = ("presence_penalty", "frequency_penalty")  # of Open Responses, nothing where 0; few providers take them
_LOGPROBS = "message.output_text.logprobs"  # without it, no further ones beside each token are none at all
_ENCODER = msgspec.json.Encoder()
_STORED = msgspec.json.Decoder(CreateRequest)


def read(body: dict[str, Any]) -> CreateRequest:
    """Check a decoded request body. Unknown fields are kept in `extra`, for a provider of the same dialect.

    An unknown field that is null is as good as left out.

    Raises: InvalidRequest naming the field.
    """
    known = {name: value for name, value in body.items() if name in _KNOWN}
    refuse_deep(body)
    request = converted(known, CreateRequest)
    unknown = {name: value for name, value in body.items() if name not in _KNOWN | _SOCKET_ONLY}
    request.extra = {name: value for name, value in unknown.items() if value is not None} or None
    return request


def ask(request: CreateRequest, new_id: Callable[[str], str]) -> Ask:
    """Turn a checked request into what the use cases work on. Raises: InvalidRequest."""
    if not request.model:
        raise InvalidRequest("Missing required parameter: 'model'.", param="model", code="missing_required_parameter")
    _refuse(request)
    conversation = (
        request.conversation.id if isinstance(request.conversation, ConversationRef) else request.conversation
    )
    found = Ask(
        model=request.model,
        items=wire.from_input(request.input, new_id),
        body=_ENCODER.encode(msgspec.structs.replace(request, input="")),
        shown=_shown(request),
        instructions=request.instructions,
        previous_response_id=request.previous_response_id,
        conversation_id=conversation,
        store=request.store is not False,
        background=request.background is True,
        generate=request.generate is not False,
        metadata=dict(request.metadata or {}),
        stream_id=request.stream_id,
    )
    _sampling(found, request)
    _text(found, request.text)
    _passed_on(found, request)
    _tools(found, request)
    return found


def read_stored(body: bytes) -> Ask:
    """Read the body that `ask` stored, to run it again; its items come from the store."""
    return ask(_STORED.decode(body), lambda prefix: prefix)


def _refuse(request: CreateRequest) -> None:
    """Refuse what contradicts itself."""
    if request.previous_response_id and request.conversation:
        message = "previous_response_id and conversation cannot be used together."
        raise InvalidRequest(message, param="previous_response_id", code="mutually_exclusive_parameters")
    if request.background and request.store is False:
        raise InvalidRequest("background requires store to be true.", param="background")
    if request.conversation and request.store is False:
        raise InvalidRequest("A response in a conversation is stored; store cannot be false.", param="store")


def _sampling(found: Ask, request: CreateRequest) -> None:
    found.temperature = request.temperature
    found.top_p = request.top_p
    found.max_output_tokens = request.max_output_tokens
    found.top_logprobs = request.top_logprobs or (0 if _LOGPROBS in (request.include or ()) else None)
    found.truncation = request.truncation or "disabled"
    found.user = request.user or request.safety_identifier
    if request.reasoning:
        found.reasoning_effort = request.reasoning.effort
        found.reasoning_summary = request.reasoning.summary or request.reasoning.generate_summary


def _text(found: Ask, text: TextConfig | None) -> None:
    if text is None:
        return
    found.verbosity = text.verbosity
    match text.format:
        case SchemaFormat() as shape:
            found.text_format = TextFormat(
                "json_schema", shape.name, shape.schema, strict=shape.strict, description=shape.description
            )
        case ObjectFormat():
            found.text_format = TextFormat("json_object")
        case _:
            pass


def _passed_on(found: Ask, request: CreateRequest) -> None:
    penalties = {name: value for name in _PENALTIES if (value := getattr(request, name))}
    found.extra = (request.extra or {}) | penalties
    found.hints = {name: value for name in _HINTS if (value := getattr(request, name)) is not None}


def _tools(found: Ask, request: CreateRequest) -> None:
    for tool in request.tools or ():
        if isinstance(tool, Function):
            found.tools.append(FunctionTool(tool.name, tool.description, tool.parameters, tool.strict))
            continue
        if found.file_search is not None:
            raise InvalidRequest("Only one file_search tool is allowed; name all vector stores in it.", param="tools")
        found.file_search = _file_search(tool)
    found.include_search_results = "file_search_call.results" in (request.include or ())
    found.parallel_tool_calls = request.parallel_tool_calls
    found.tool_choice = _tool_choice(request.tool_choice)
    _refuse_choice(found)


def _refuse_choice(found: Ask) -> None:
    """Refuse to demand a call that cannot be made; a file search is made in any case."""
    choice = found.tool_choice
    if choice.mode == "required" and not (found.tools or found.file_search):
        raise InvalidRequest("tool_choice demands a call, but there are no tools.", param="tool_choice")
    if choice.mode == "function" and choice.name not in {tool.name for tool in found.tools}:
        message = f"tool_choice names '{choice.name}', which is none of the tools."
        raise InvalidRequest(message, param="tool_choice")


def _file_search(tool: FileSearchTool) -> FileSearch:
    try:
        parse_filter(tool.filters)
    except InvalidRequest as error:
        error.param = "tools"
        raise
    threshold = tool.ranking_options.score_threshold if tool.ranking_options else None
    return FileSearch(tuple(tool.vector_store_ids), tool.max_num_results or 10, threshold or 0.0, tool.filters)


def _tool_choice(given: str | dict[str, Any] | None) -> ToolChoice:
    match given:
        case None | "auto" | {"type": "file_search"}:
            return ToolChoice()
        case "none":
            return ToolChoice("none")
        case "required":
            return ToolChoice("required")
        case {"type": "function", "name": str(name)}:
            return ToolChoice("function", name)
        case _:
            raise InvalidRequest("tool_choice must be auto, none, required, or name a tool.", param="tool_choice")


def _shown(request: CreateRequest) -> dict[str, Any]:
    """Return the settings as the response object shows them, every key of the specification present."""
    return {
        "background": request.background is True,
        "store": request.store is not False,
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": request.max_tool_calls,
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "temperature": 1.0 if request.temperature is None else request.temperature,
        "top_p": 1.0 if request.top_p is None else request.top_p,
        "top_logprobs": request.top_logprobs or 0,
        "presence_penalty": request.presence_penalty or 0.0,
        "frequency_penalty": request.frequency_penalty or 0.0,
        "tool_choice": request.tool_choice or "auto",
        "tools": [_shown_tool(tool) for tool in request.tools or ()],
        "text": _shown_text(request.text or TextConfig()),
        "reasoning": {"effort": None, "summary": None, **(_given(request.reasoning) if request.reasoning else {})},
        "truncation": request.truncation or "disabled",
        "user": request.user,
        "safety_identifier": request.safety_identifier,
        "prompt_cache_key": request.prompt_cache_key,
        "service_tier": request.service_tier or "default",
    }


def _shown_text(text: TextConfig) -> dict[str, Any]:
    shown = {"format": {"type": "text"}, **_given(text)}
    if isinstance(text.format, SchemaFormat):
        shown["format"] = {"description": None, "strict": False, **shown["format"]}
    return shown


def _shown_tool(tool: Function | FileSearchTool) -> dict[str, Any]:
    if isinstance(tool, Function):
        return msgspec.to_builtins(tool)
    return {"filters": None, **_given(tool)}


def _given(struct: Struct) -> dict[str, Any]:
    """Return a struct's fields that were given, nested structs' too (schemas and the like stay as they came)."""
    shown: dict[str, Any] = {}
    tag = struct.__struct_config__.tag
    if tag is not None:
        shown["type"] = tag
    for name in struct.__struct_fields__:
        value = getattr(struct, name)
        if value is not None:
            shown[name] = _given(value) if isinstance(value, Struct) else value
    return shown


def response_object(response: Response) -> dict[str, Any]:
    """Return the response object as the API shows it; encode with msgspec (items go in as they are)."""
    conversation = response.conversation_id
    return {
        "id": response.id,
        "object": "response",
        "created_at": response.created_at,
        "completed_at": response.completed_at,
        "status": response.status,
        "error": _failure(response),
        "incomplete_details": _incomplete(response),
        "instructions": response.instructions,
        "model": response.model,
        "output": response.output,
        "previous_response_id": response.previous_response_id,
        "conversation": {"id": conversation} if conversation else None,
        "metadata": response.metadata,
        "usage": None if response.usage is None else usage_object(response.usage),
        **response.shown,
        **({"chatbackend": _served(response.served)} if response.served else {}),
    }


def _served(served: Served) -> dict[str, Any]:
    shown: dict[str, Any] = {"deployment": served.deployment, "attempts": served.attempts}
    return {**shown, "continued": True} if served.continued else shown


def usage_object(usage: Usage) -> dict[str, Any]:
    """Return token counts as the API shows them; an estimate says so in `chatbackend_estimated`."""
    shown: dict[str, Any] = {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": usage.cache_write_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }
    return {**shown, "chatbackend_estimated": True} if usage.estimated else shown


def _failure(response: Response) -> dict[str, str] | None:
    failure = response.failure
    return None if failure is None else {"code": failure.code, "message": failure.message}


def _incomplete(response: Response) -> dict[str, str | None] | None:
    if response.status not in ("incomplete", "cancelled"):
        return None
    details: dict[str, str | None] = {"reason": response.incomplete_reason}
    return {**details, "chatbackend_reason": response.detail} if response.detail else details
