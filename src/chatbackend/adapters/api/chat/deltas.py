"""One choice of a chat completion as it grows: a model's events in, the API's deltas out.

The first delta carries the role. Lists in deltas have indexes, by which clients put their pieces together; citations
have none in the API, so all of them come with the last delta.
Source: `ChatCompletionChunk` in the `openai` package; `reasoning_content` as DeepSeek has it, `reasoning_details` as
OpenRouter has them.
"""

from typing import Any, Literal, assert_never

from msgspec import UNSET, Struct, UnsetType

from chatbackend.domain.errors import UpstreamError
from chatbackend.domain.events import (
    Cited,
    Finished,
    FinishReason,
    ModelEvent,
    ReasoningDelta,
    ReasoningSeal,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from chatbackend.domain.items import Annotation, UrlCitation

ChatFinish = Literal["stop", "length", "tool_calls", "function_call", "content_filter"]
# A refusal that ends an answer is the provider's own check stepping in: what the API calls its content filter.
_FINISH: dict[FinishReason, ChatFinish] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "content_filter",
}
MAX_HELD = 8 << 20  # code points of one choice that have to be kept, which only a model without an end gets to
_FORMAT = "unknown"  # of sealed reasoning: ours, and opaque to the client


class FunctionPiece(Struct):
    """A piece of a call: its name once, then its arguments."""

    arguments: str
    name: str | UnsetType = UNSET


class CallPiece(Struct):
    """A piece of the call at `index`."""

    index: int
    function: FunctionPiece
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET


class Detail(Struct):
    """Sealed reasoning: a text and its signature, or data that stands for a hidden text."""

    index: int
    type: Literal["reasoning.text", "reasoning.encrypted"]
    format: str | UnsetType = UNSET
    text: str | UnsetType = UNSET
    signature: str | UnsetType = UNSET
    data: str | UnsetType = UNSET


class CitedUrl(Struct):
    start_index: int
    end_index: int
    url: str
    title: str


class ChatAnnotation(Struct, tag_field="type", tag="url_citation"):
    url_citation: CitedUrl


class Delta(Struct):
    """What is new in a message."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    refusal: str | UnsetType | None = UNSET
    reasoning_content: str | UnsetType = UNSET
    reasoning_details: list[Detail] | UnsetType = UNSET
    tool_calls: list[CallPiece] | UnsetType = UNSET
    function_call: FunctionPiece | UnsetType = UNSET
    annotations: list[ChatAnnotation] | UnsetType = UNSET


class ChatLogprobs(Struct):
    content: list[dict[str, Any]]
    refusal: None = None


class ChunkChoice(Struct):
    """What is new in a choice."""

    index: int
    delta: Delta
    logprobs: ChatLogprobs | None = None
    finish_reason: ChatFinish | None = None


class Held:
    """Counts what is kept of a choice."""

    def __init__(self) -> None:
        self._size = 0

    def add(self, size: int) -> None:
        """Take note of so many code points. Raises: UpstreamError once there are more than `MAX_HELD`."""
        self._size += size
        if self._size > MAX_HELD:
            raise UpstreamError("The provider's answer is too long to be kept.")


class _Thought:
    """One block of reasoning; `position` is its place among the sealed ones, once it is sealed."""

    __slots__ = ("pieces", "position")

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.position: int | None = None


class Choice:
    """One choice. `legacy`: its (only) call is shown as `function_call`."""

    def __init__(self, index: int = 0, *, legacy: bool = False) -> None:
        self._index = index
        self._legacy = legacy
        self._begun = False
        self._said = False  # anything besides reasoning
        self._length = 0
        self._starts: dict[int, int] = {}  # where each block's text begins in the content
        self._calls: dict[int, int] = {}  # a block's call -> its index
        self._called = 0
        self._thoughts: dict[int, _Thought] = {}
        self._sealed = 0
        self._annotations: list[ChatAnnotation] = []
        self._held = Held()

    def begin(self) -> ChunkChoice:
        """Return the role alone, where it has to come before anything is said."""
        return self._with_role(ChunkChoice(self._index, Delta()))

    def feed(self, event: ModelEvent) -> ChunkChoice | None:
        """Return what an event adds, None for nothing.

        Raises: UpstreamError for arguments of a call that was not started, or more than can be kept.
        """
        delta = self._delta(event)
        if delta is None:
            return None
        new = ChunkChoice(self._index, delta)
        if isinstance(event, TextDelta) and event.logprobs:
            new.logprobs = ChatLogprobs(event.logprobs)
        elif isinstance(event, Finished):
            new.finish_reason = self._finish(event.reason)
        return new if self._begun else self._with_role(new)

    def _with_role(self, new: ChunkChoice) -> ChunkChoice:
        self._begun = True
        new.delta.role = "assistant"
        if new.delta.content is UNSET:
            new.delta.content = None
        if new.delta.refusal is UNSET:
            new.delta.refusal = None
        return new

    def _delta(self, event: ModelEvent) -> Delta | None:
        match event:
            case TextDelta():
                return self._text(event)
            case ReasoningDelta():
                return self._think(event)
            case ReasoningSeal():
                return self._seal(event)
            case RefusalDelta(text=text):
                self._said = self._said or bool(text)
                return Delta(refusal=text) if text else None
            case ToolCallStarted():
                return self._call(event)
            case ToolCallDelta():
                return self._argue(event)
            case Cited():
                self._cite(event.annotation, event.index)
                return None
            case UsageReported():
                return None
            case Finished():
                return self._last()
            case _:  # pragma: no cover
                assert_never(event)

    def _text(self, event: TextDelta) -> Delta | None:
        if not (event.text or event.logprobs):
            return None
        self._starts.setdefault(event.index, self._length)
        self._length += len(event.text)
        self._said = True
        return Delta(content=event.text)

    def _think(self, event: ReasoningDelta) -> Delta | None:
        thought = self._thoughts.get(event.index)
        if thought is None or thought.position is not None:
            thought = self._thoughts[event.index] = _Thought()
        thought.pieces.append(event.text)
        self._held.add(len(event.text))
        return Delta(reasoning_content=event.text) if event.text else None

    def _seal(self, event: ReasoningSeal) -> Delta:
        thought = self._thoughts.setdefault(event.index, _Thought())
        text, seal = "".join(thought.pieces), event.encrypted_content
        kind = "reasoning.text" if text else "reasoning.encrypted"
        first = thought.position is None
        if thought.position is None:
            thought.position = self._sealed
            self._sealed += 1
        detail = Detail(thought.position, kind, _FORMAT if first else UNSET)
        if not text:
            detail.data = seal
        else:
            detail.text, detail.signature = text if first else UNSET, seal
        return Delta(reasoning_details=[detail])

    def _call(self, event: ToolCallStarted) -> Delta | None:
        position = self._calls[event.index] = self._called
        self._called += 1
        self._said = True
        named = FunctionPiece("", event.name)
        if self._legacy:
            return None if position else Delta(function_call=named)
        return Delta(tool_calls=[CallPiece(position, named, event.call_id, "function")])

    def _argue(self, event: ToolCallDelta) -> Delta | None:
        position = self._calls.get(event.index)
        if position is None:
            raise UpstreamError("The provider sent arguments of a tool call that it had not started.")
        piece = FunctionPiece(event.arguments)
        if self._legacy:
            return None if position else Delta(function_call=piece)
        return Delta(tool_calls=[CallPiece(position, piece)])

    def _cite(self, cited: Annotation, block: int) -> None:
        """Keep a citation of a web page; the API has none of files."""
        if isinstance(cited, UrlCitation):
            start = self._starts.setdefault(block, self._length)  # the event's places are those of its block
            place = CitedUrl(start + cited.start_index, start + cited.end_index, cited.url, cited.title)
            self._annotations.append(ChatAnnotation(place))
            self._held.add(len(cited.url) + len(cited.title))

    def _last(self) -> Delta:
        last = Delta()
        if self._annotations:
            last.annotations = self._annotations
        if not self._said:
            last.content = ""
        return last

    def _finish(self, reason: FinishReason) -> ChatFinish:
        return "function_call" if self._legacy and reason == "tool_calls" else _FINISH[reason]
