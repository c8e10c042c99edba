"""JSON as an answer: how a model is brought to it, and the proof that it is what was asked for.

A provider that constrains its output by a schema is trusted. Others are asked by a tool that takes the answer as its
arguments, or in words; their answers are held, freed of a code fence and checked before anybody sees them.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal

import msgspec

from chatbackend.adapters.providers.codec import GARBAGE, unsupported
from chatbackend.adapters.providers.json_schema import is_open, mismatch, wrong_schema
from chatbackend.domain.errors import InvalidRequest, UpstreamError
from chatbackend.domain.events import Cited, Finished, ModelEvent, TextDelta, ToolCallDelta, ToolCallStarted
from chatbackend.domain.fitting import named
from chatbackend.domain.models import PLAIN, FunctionTool, ModelProfile, ModelRequest, ToolChoice

Json = dict[str, Any]
Way = Literal["unasked", "native", "tool", "prompt"]
TOOL = "chatbackend_answer"
_FENCE = "```"
_OBJECT: Json = {"type": "object"}
_ORDER = "Answer with one JSON {kind} and nothing else: no code fence, no words around it."


def way_of(request: ModelRequest, profile: ModelProfile) -> Way:
    """Return how JSON is asked for. Raises: InvalidRequest where it cannot be."""
    wanted = request.text_format
    if wanted.type == "text":
        return "unasked"
    if profile.structured == "none":
        raise unsupported("a format for its answer", param=named(request, "text_format"))
    if profile.structured == "native" and _is_native(request, profile):
        return "native"
    # Thinking forbids that a tool is demanded, and only an object can be a tool's arguments.
    thinks = request.reasoning_effort not in {None, "none"}
    by_tool = profile.structured == "tool" and not thinks and schema_of(request).get("type") == "object"
    return "tool" if by_tool else "prompt"


def _is_native(request: ModelRequest, profile: ModelProfile) -> bool:
    """Return whether a provider that constrains its output can do so by this format."""
    if request.text_format.type == "json_object":
        return profile.accepts_json_object
    # Who speaks the provider's own dialect knows what it takes: only Claude has such a rule.
    return profile.accepts_open_schemas or request.extra_dialect == "messages" or not is_open(schema_of(request))


def spoken(request: ModelRequest, profile: ModelProfile) -> ModelRequest:
    """Return the request with a demanded format put as this model takes it. Raises: InvalidRequest for a bad schema."""
    way = way_of(request, profile)
    if way not in {"tool", "prompt"}:
        return request
    _check_schema(request)
    return _by_tool(request) if way == "tool" else _in_words(request)


def structured_steps(request: ModelRequest, profile: ModelProfile) -> "list[Structured]":
    """Return the step that the answer to this request goes through, none where the provider vouches for it."""
    way = way_of(request, profile)
    return [Structured(schema_of(request), by_tool=way == "tool")] if way in {"tool", "prompt"} else []


def schema_of(request: ModelRequest) -> dict[str, Any]:
    """Return what the answer has to match."""
    return (request.text_format.schema or {}) if request.text_format.type == "json_schema" else _OBJECT


def _by_tool(request: ModelRequest) -> ModelRequest:
    """Return the request with the demanded format as the parameters of a tool that has to be called."""
    tool = FunctionTool(TOOL, "Gives the answer.", schema_of(request))
    choice = request.tool_choice
    if choice.mode != "function":
        alone = not request.tools or choice.mode == "none"
        choice = ToolChoice("function", TOOL) if alone else ToolChoice("required")
    return replace(request, tools=[*request.tools, tool], tool_choice=choice, text_format=PLAIN)


def _in_words(request: ModelRequest) -> ModelRequest:
    """Return the request with the demanded format told in its instructions."""
    if request.text_format.type == "json_object":
        order = _ORDER.format(kind="object")
    else:
        schema = msgspec.json.encode(schema_of(request)).decode()
        order = f"{_ORDER.format(kind='value')} It has to match this JSON schema:\n{schema}"
    told = "\n\n".join(filter(None, (request.instructions, order)))
    return replace(request, instructions=told, text_format=PLAIN)


def _check_schema(request: ModelRequest) -> None:
    wrong = wrong_schema(schema_of(request))
    if wrong is not None:
        raise InvalidRequest(f"The JSON schema {wrong}.", param=named(request, "text_format"))


class Structured:
    """`Step` that lets an answer pass once it is known to match."""

    def __init__(self, schema: dict[str, Any], *, by_tool: bool) -> None:
        self._schema = schema
        self._tool = TOOL if by_tool else None
        self._held: list[TextDelta | Cited] = []
        self._index: int | None = None  # of the call that is the answer
        self._arguments: list[str] = []
        self._others = False

    def take(self, events: Iterable[ModelEvent]) -> list[ModelEvent]:
        """Return what these events become; see `Step`."""
        return [made for event in events for made in self._take(event)]

    def _take(self, event: ModelEvent) -> list[ModelEvent]:
        match event:
            case TextDelta() | Cited():
                self._held.append(event)
                return []
            case ToolCallStarted(name=name) if name == self._tool:
                self._index = event.index
                return []
            case ToolCallDelta(index=index) if index == self._index:
                self._arguments.append(event.arguments)
                return []
            case ToolCallStarted():
                self._others = True
                return [event]
            case Finished():
                return self._finish(event)
            case _:
                return [event]

    def _finish(self, end: Finished) -> list[ModelEvent]:
        """Return the answer, checked where it is whole: one that was cut, or is calls of functions, is what it is."""
        called = self._index is not None and not self._others
        if end.reason == "tool_calls" and called:
            return [TextDelta(_checked("".join(self._arguments), self._schema)), Finished("stop")]
        if end.reason == "length" and called:
            return [TextDelta("".join(self._arguments)), end]
        if end.reason != "stop":
            return [*self._held, end]
        said = "".join(event.text for event in self._held if isinstance(event, TextDelta))
        text = _checked(said, self._schema)
        return [*self._held, end] if text == said else [TextDelta(text), end]


def _checked(said: str, schema: dict[str, Any]) -> str:
    """Return the JSON in what was said. Raises: UpstreamError when there is none, or it does not match."""
    text = _without_fence(said)
    try:
        answer = msgspec.json.decode(text)
    except GARBAGE as error:
        raise _invalid("is no JSON") from error
    wrong = mismatch(schema, answer)
    if wrong is not None:
        raise _invalid(wrong)
    return text


def _without_fence(said: str) -> str:
    """Return what stands in a code fence, if that is all that was said; else what was said."""
    text = said.strip()
    _, line, inside = text.partition("\n")
    fenced = line and text.startswith(_FENCE) and inside.endswith(_FENCE)
    return inside.removesuffix(_FENCE).strip() if fenced else said


def _invalid(what: str) -> UpstreamError:
    return UpstreamError(f"The model's answer {what}.", code="invalid_structured_output")
