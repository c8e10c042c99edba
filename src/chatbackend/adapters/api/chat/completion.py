"""Chat completions as they are sent: chunks of a stream, or one object that its deltas add up to.

Source: `ChatCompletion` and `ChatCompletionChunk` in the `openai` package.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from chatbackend.adapters.api.chat.deltas import (
    CallPiece,
    ChatAnnotation,
    ChatFinish,
    ChunkChoice,
    Detail,
    FunctionPiece,
    Held,
)
from chatbackend.domain.usage import Usage

DONE = b"data: [DONE]\n\n"
_encode = msgspec.json.Encoder().encode
Json = dict[str, Any]


class Chunk(Struct):
    """One chunk; the same object is used for all of a stream."""

    id: str
    created: int
    model: str
    choices: Sequence[ChunkChoice] = ()
    usage: Json | UnsetType | None = UNSET
    object: str = "chat.completion.chunk"
    service_tier: None = None
    system_fingerprint: None = None


class Chunks:
    """Writes the events of a stream. `include_usage`: the last chunk tells what it cost, and all others say null."""

    def __init__(self, answer_id: str, *, created: int, model: str, include_usage: bool = False) -> None:
        self._include_usage = include_usage
        self._chunk = Chunk(answer_id, created, model, usage=None if include_usage else UNSET)

    def event(self, choice: ChunkChoice) -> bytes:
        """Return the event of what is new in one choice."""
        self._chunk.choices = (choice,)
        return b"data: " + _encode(self._chunk) + b"\n\n"

    def end(self, usage: Usage) -> bytes:
        """Return the events behind the last finish reason."""
        if not self._include_usage:
            return DONE
        self._chunk.choices, self._chunk.usage = (), usage_object(usage)
        return b"data: " + _encode(self._chunk) + b"\n\n" + DONE


@dataclass(slots=True)
class _Call:
    """A call put together."""

    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list[str])

    def add(self, piece: FunctionPiece) -> None:
        self.name = self.name if piece.name is UNSET else piece.name
        self.arguments.append(piece.arguments)

    def function(self) -> Json:
        return {"name": self.name, "arguments": "".join(self.arguments)}


class WholeChoice:
    """One choice put together of what was new in it."""

    def __init__(self, index: int = 0) -> None:
        self._index = index
        self._texts: dict[str, list[str]] = {"content": [], "refusal": [], "reasoning_content": []}
        self._calls: list[_Call] = []
        self._function: _Call | None = None
        self._details: list[Detail] = []
        self._annotations: list[ChatAnnotation] = []
        self._logprobs: list[Json] = []
        self._finish: ChatFinish | None = None
        self._held = Held()

    def add(self, new: ChunkChoice) -> None:
        """Take what is new. Raises: UpstreamError where it is more than can be kept."""
        delta = new.delta
        for name, pieces in self._texts.items():
            piece: object = getattr(delta, name)
            if isinstance(piece, str):
                pieces.append(piece)
                self._held.add(len(piece))
        for call in delta.tool_calls or ():
            self._held.add(len(call.function.arguments))
            self._call(call)
        if delta.function_call is not UNSET:
            self._held.add(len(delta.function_call.arguments))
            self._function = self._function or _Call()
            self._function.add(delta.function_call)
        for detail in delta.reasoning_details or ():
            self._detail(detail)
        self._annotations += delta.annotations or ()
        self._logprobs += new.logprobs.content if new.logprobs else ()
        self._finish = new.finish_reason or self._finish

    def shown(self) -> Json:
        """Return the choice as the API shows it."""
        return {
            "index": self._index,
            "message": self._message(),
            "logprobs": {"content": self._logprobs, "refusal": None} if self._logprobs else None,
            "finish_reason": self._finish,
        }

    def _call(self, piece: CallPiece) -> None:
        if piece.index == len(self._calls):
            self._calls.append(_Call(piece.id or ""))
        self._calls[piece.index].add(piece.function)

    def _detail(self, detail: Detail) -> None:
        if detail.index == len(self._details):
            self._details.append(detail)
            return
        known = self._details[detail.index]
        if detail.data is not UNSET:
            known.data = (known.data or "") + detail.data
        if detail.signature is not UNSET:
            known.signature = (known.signature or "") + detail.signature

    def _message(self) -> Json:
        texts = {name: "".join(pieces) if pieces else None for name, pieces in self._texts.items()}
        thoughts = texts.pop("reasoning_content")
        message: Json = {"role": "assistant", **texts, "annotations": self._annotations}
        if thoughts is not None:
            message["reasoning_content"] = thoughts
        if self._details:
            message["reasoning_details"] = self._details
        if self._calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": call.function()} for call in self._calls
            ]
        if self._function is not None:
            message["function_call"] = self._function.function()
        return message


def completion_object(
    answer_id: str, choices: Iterable[WholeChoice], usage: Usage, *, created: int, model: str
) -> Json:
    """Return a whole answer; encode with msgspec."""
    return {
        "id": answer_id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [choice.shown() for choice in choices],
        "usage": usage_object(usage),
        "service_tier": None,
        "system_fingerprint": None,
    }


def usage_object(usage: Usage) -> Json:
    """Return token counts as the API shows them; an estimate says so in `chatbackend_estimated`."""
    shown: Json = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
    return {**shown, "chatbackend_estimated": True} if usage.estimated else shown
