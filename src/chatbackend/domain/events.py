"""`ModelEvent`: the one vocabulary that every provider codec emits and every front renders.

`index` numbers the provider's output blocks (content blocks, tool calls); a new index of a kind
opens a new item or part. Hot path: plain slots dataclasses, not frozen.
"""

from dataclasses import dataclass
from typing import Any, Literal

from chatbackend.domain.items import Annotation
from chatbackend.domain.usage import Usage

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "refusal"]


@dataclass(slots=True)
class TextDelta:
    """Text of the answer."""

    text: str
    index: int = 0
    logprobs: list[dict[str, Any]] | None = None


@dataclass(slots=True)
class ReasoningDelta:
    """Reasoning text, or a summary of it."""

    text: str
    index: int = 0
    summary: bool = False


@dataclass(slots=True)
class ReasoningSeal:
    """The opaque proof (signature or encrypted text) that goes back to the provider with its reasoning."""

    encrypted_content: str
    index: int = 0


@dataclass(slots=True)
class RefusalDelta:
    """The model's words for declining."""

    text: str
    index: int = 0


@dataclass(slots=True)
class ToolCallStarted:
    """The model begins to call a client's function."""

    call_id: str
    name: str
    index: int = 0


@dataclass(slots=True)
class ToolCallDelta:
    """A piece of a call's JSON arguments."""

    arguments: str
    index: int = 0


@dataclass(slots=True)
class Cited:
    """A citation that belongs to the text so far of block `index`."""

    annotation: Annotation
    index: int = 0


@dataclass(slots=True)
class UsageReported:
    """Token counts; a later report replaces an earlier one of the same call."""

    usage: Usage


@dataclass(slots=True)
class Finished:
    """The provider ended its answer properly. Nothing but usage may follow."""

    reason: FinishReason


ModelEvent = (
    TextDelta
    | ReasoningDelta
    | ReasoningSeal
    | RefusalDelta
    | ToolCallStarted
    | ToolCallDelta
    | Cited
    | UsageReported
    | Finished
)
