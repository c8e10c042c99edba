"""What a session is set to, and what one response changes of it.

Settings of sound are taken and have no effect: clients send them whole even where they want text alone.
Source: the `openai` package, types/realtime/realtime_session_create_request.py and realtime_response_create_params.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from chatbackend.adapters.api.checking import converted
from chatbackend.domain.errors import ChatError, InvalidRequest
from chatbackend.domain.items import Item
from chatbackend.domain.models import AUTO, FunctionTool, ModelRequest, ToolChoice

MODALITIES = ["text"]


class _Tool(Struct):
    name: Annotated[str, Meta(min_length=1, max_length=128)]
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _Reasoning(Struct):
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None


class _Given(Struct):
    """The fields that have an effect, and `audio`."""

    output_modalities: list[Literal["text", "audio"]] | None = None
    instructions: str | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | Literal["inf"] | None = None
    parallel_tool_calls: bool | None = None
    reasoning: _Reasoning | None = None
    truncation: Literal["auto", "disabled"] | None = None
    audio: dict[str, Any] | None = None


_OF_ANY = frozenset(_Given.__struct_fields__) - {"truncation"}
OF_A_SESSION = _OF_ANY | {"type", "model", "truncation", "include", "tracing", "prompt"}
OF_A_RESPONSE = _OF_ANY | {"conversation", "input", "metadata", "prompt"}


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings that have an effect. `max_output_tokens`: None is the API's `inf`."""

    instructions: str = ""
    tools: tuple[FunctionTool, ...] = ()
    tool_choice: ToolChoice = AUTO
    max_output_tokens: int | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    truncation: Literal["auto", "disabled"] = "auto"

    def changed(self, given: Mapping[str, Any], *, scope: str, known: frozenset[str]) -> "Settings":
        """Return the settings with what is given in the field `scope` of an event; null resets a setting.

        Raises: InvalidRequest naming the field. Nothing is changed then.
        """
        try:
            return self._changed(given, known)
        except ChatError as error:
            error.param = f"{scope}.{error.param}" if error.param else scope
            raise

    def _changed(self, given: Mapping[str, Any], known: frozenset[str]) -> "Settings":
        for name in given:
            if name not in known:
                raise InvalidRequest(f"Unknown parameter: '{name[:64]}'.", param=name[:64], code="unknown_parameter")
        if given.get("prompt") is not None:
            raise InvalidRequest("Stored prompts are not known here.", param="prompt", code="unsupported_parameter")
        read = converted({name: value for name, value in given.items() if name in _OF_ANY | {"truncation"}}, _Given)
        if read.output_modalities not in (None, MODALITIES):
            message = 'This model answers in text: output_modalities must be ["text"].'
            raise InvalidRequest(message, param="output_modalities", code="unsupported_value")
        values: dict[str, Any] = {
            "instructions": read.instructions or "",
            "tools": tuple(_tool(tool) for tool in read.tools or ()),
            "tool_choice": _tool_choice(read.tool_choice),
            "max_output_tokens": None if read.max_output_tokens == "inf" else read.max_output_tokens,
            "parallel_tool_calls": read.parallel_tool_calls,
            "truncation": read.truncation or "auto",
        }
        settings = replace(self, **{name: value for name, value in values.items() if name in given})
        if "reasoning" in given:
            settings = replace(settings, reasoning_effort=read.reasoning.effort if read.reasoning else None)
        return settings

    def request(self, model: str, items: list[Item], *, keeps: int) -> ModelRequest:
        """Return what a model is asked; `keeps` of the last items stay whatever has room. Raises: InvalidRequest."""
        self._check_choice()
        return ModelRequest(
            model,
            items,
            instructions=self.instructions or None,
            tools=list(self.tools),
            tool_choice=self.tool_choice,
            parallel_tool_calls=self.parallel_tool_calls,
            max_output_tokens=self.max_output_tokens,
            reasoning_effort=self.reasoning_effort,
            keeps=keeps if self.truncation == "auto" else None,
            extra_dialect="responses",
        )

    def shown(self) -> dict[str, Any]:
        """Return the settings as a session shows them."""
        return {
            "output_modalities": MODALITIES,
            "instructions": self.instructions,
            "tools": [_shown_tool(tool) for tool in self.tools],
            "tool_choice": _shown_choice(self.tool_choice),
            "max_output_tokens": self.shown_limit,
            "truncation": self.truncation,
            **({} if self.parallel_tool_calls is None else {"parallel_tool_calls": self.parallel_tool_calls}),
            **({} if self.reasoning_effort is None else {"reasoning": {"effort": self.reasoning_effort}}),
        }

    @property
    def shown_limit(self) -> int | str:
        """The limit of an answer as the API shows it."""
        return self.max_output_tokens or "inf"

    def _check_choice(self) -> None:
        """Refuse to demand a call that cannot be made. Raises: InvalidRequest."""
        choice = self.tool_choice
        if choice.mode == "required" and not self.tools:
            raise InvalidRequest("tool_choice demands a call, but there are no tools.", param="tool_choice")
        if choice.mode == "function" and choice.name not in {tool.name for tool in self.tools}:
            raise InvalidRequest(f"tool_choice names '{choice.name}', which is none of the tools.", param="tool_choice")


def _tool(given: dict[str, Any]) -> FunctionTool:
    kind = given.get("type", "function")
    if kind != "function":
        message = f"Only tools of type function are known here, not '{str(kind)[:64]}'."
        raise InvalidRequest(message, param="tools", code="unsupported_tool")
    try:
        read = converted(given, _Tool)
    except InvalidRequest as error:
        error.param = "tools"
        raise
    return FunctionTool(read.name, read.description, read.parameters)


def _shown_tool(tool: FunctionTool) -> dict[str, Any]:
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
    }


def _tool_choice(given: str | dict[str, Any] | None) -> ToolChoice:
    match given:
        case None | "auto":
            return AUTO
        case "none":
            return ToolChoice("none")
        case "required":
            return ToolChoice("required")
        case {"type": "function", "name": str(name)}:
            return ToolChoice("function", name)
        case _:
            message = "tool_choice must be auto, none, required, or name a function."
            raise InvalidRequest(message, param="tool_choice")


def _shown_choice(choice: ToolChoice) -> str | dict[str, Any]:
    return {"type": "function", "name": choice.name} if choice.mode == "function" else choice.mode
