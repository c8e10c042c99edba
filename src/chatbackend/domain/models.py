"""What is asked of a model, and the facts about a model family (`ModelProfile`: data, never `isinstance`)."""

from dataclasses import dataclass, field
from typing import Any, Literal

from chatbackend.domain.items import Item
from chatbackend.domain.passages import Passage


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """Facts about a model family that requests are shaped by, and answers read by.

    `max_tokens_field`: the request field that limits the output; `default_max_tokens` where the API
    demands one. `thinking`: how Claude is asked to reason (a budget of tokens on older models).
    `structured`: how JSON by a schema is asked for; other ways than the provider's own are checked by us.
    `refuses`: request fields that it does not take, by their names in `ModelRequest` or in its dialect.
    """

    context_window: int = 128_000
    max_output_tokens: int = 16_384
    default_max_tokens: int | None = None
    accepts_tools: bool = True
    accepts_images: bool = True
    accepts_system: bool = True
    accepts_files: bool = False
    structured: Literal["native", "tool", "prompt", "none"] = "native"
    accepts_json_object: bool = True  # natively, as a format without a schema
    accepts_open_schemas: bool = True  # natively, by which an object may have properties that are not named
    follows_instructions: bool = True
    reads_passages: bool = True  # as numbered text in its instructions
    accepts_stream_options: bool = True
    max_tokens_field: str = "max_tokens"
    keeps_background: bool = False  # goes on with a cut answer in the background, and keeps it for a while
    accepts_prefill: bool = False  # goes on from an assistant's last message as its own beginning
    marks_prefill: bool = False  # and has to be told so (vLLM)
    system_role: Literal["system", "developer"] = "system"
    alternates: bool = False  # takes system messages first, then the user's and its own in turns, the user's last
    calls_in_text: bool = False  # may write a tool call into its text
    thinking: Literal["none", "adaptive", "budget"] = "adaptive"
    can_stop_thinking: bool = True  # takes the word that it should not think
    refuses: frozenset[str] = frozenset()
    realtime: bool = False  # it is talked to, over its provider's Realtime API
    transcribes: bool = False  # it writes down what is said, over the same API
    translates: bool = False  # it says in another language what is said, over the same API


@dataclass(frozen=True, slots=True)
class FunctionTool:
    """A function of the client; `parameters` is its JSON schema."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class TextFormat:
    """The demanded shape of the text: plain, any JSON object, or JSON by a schema."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """How the model may use tools; `name` when one function is demanded."""

    mode: Literal["auto", "none", "required", "function"] = "auto"
    name: str | None = None


PLAIN = TextFormat()
AUTO = ToolChoice()


@dataclass(slots=True)
class ModelRequest:
    """One call of a model, in our vocabulary.

    `items` is the whole context in order; `passages` are what a file search found for it: told in
    `instructions` to models that read prompts; the `local` model answers from them.
    `extra` holds request fields that we do not know: they are spoken only to a provider of `extra_dialect`.
    `hints` holds fields of that dialect which its own definition lets a server ignore: dropped elsewhere.
    """

    model: str
    items: list[Item]
    instructions: str | None = None
    tools: list[FunctionTool] = field(default_factory=list[FunctionTool])
    tool_choice: ToolChoice = AUTO
    parallel_tool_calls: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None
    stop: list[str] = field(default_factory=list[str])
    seed: int | None = None
    top_logprobs: int | None = None
    text_format: TextFormat = PLAIN
    reasoning_effort: str | None = None
    reasoning_summary: str | None = None  # auto | concise | detailed
    verbosity: str | None = None  # low | medium | high
    user: str | None = None
    stream: bool = True
    background: bool = False  # the provider shall go on by itself where it can, and keep what it says
    prefilled: bool = False  # the last item is the beginning of the answer
    keeps: int | None = None  # the oldest items may be left out for room, but so many of the last; None: all stay
    passages: list[Passage] = field(default_factory=list[Passage])
    extra: dict[str, Any] = field(default_factory=dict[str, Any])
    hints: dict[str, Any] = field(default_factory=dict[str, Any])
    extra_dialect: Literal["responses", "chat", "messages"] = "chat"
