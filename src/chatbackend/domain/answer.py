"""`Answer` folds a provider's `ModelEvent`s into output items and says, step by step, what changed.

The steps (`AnswerEvent`) are rendered into the Responses API's events by an adapter; the items are what
is stored. Text is joined once, at the end of its part, so that the cost of a token does not grow.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, assert_never, cast

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
from chatbackend.domain.items import (
    Annotation,
    FileSearchCall,
    FunctionCall,
    ItemStatus,
    Message,
    OutputItem,
    OutputText,
    Reasoning,
    ReasoningText,
    Refusal,
    SearchResult,
    SummaryText,
)
from chatbackend.domain.responses import COMPLETED, TURNED, Outcome
from chatbackend.domain.usage import Usage

ContentPart = OutputText | Refusal | ReasoningText | SummaryText
_KINDS: dict[type[ContentPart], str] = {
    OutputText: "output_text",
    Refusal: "refusal",
    ReasoningText: "reasoning_text",
    SummaryText: "summary_text",
}


@dataclass(slots=True)
class ItemAdded:
    """A new output item, still empty."""

    output_index: int
    item: OutputItem


@dataclass(slots=True)
class ItemDone:
    """The item is whole (or, when its status says so, incomplete)."""

    output_index: int
    item: OutputItem


@dataclass(slots=True)
class PartAdded:
    """A new content part (or reasoning summary part) of an item, still empty."""

    item_id: str
    output_index: int
    content_index: int
    part: ContentPart


@dataclass(slots=True)
class PartDone:
    """The part is whole."""

    item_id: str
    output_index: int
    content_index: int
    part: ContentPart


@dataclass(slots=True)
class TextDone:
    """The text of the part is whole; `PartDone` follows."""

    item_id: str
    output_index: int
    content_index: int
    part: ContentPart


@dataclass(slots=True)
class PartGrew:
    """Text added to a part; `kind` is the part's type."""

    item_id: str
    output_index: int
    content_index: int
    kind: str
    delta: str
    logprobs: list[dict[str, Any]] | None = None


@dataclass(slots=True)
class Annotated:
    """A citation added to an output text."""

    item_id: str
    output_index: int
    content_index: int
    annotation_index: int
    annotation: Annotation


@dataclass(slots=True)
class ArgumentsGrew:
    """A piece of a function call's arguments."""

    item_id: str
    output_index: int
    delta: str


@dataclass(slots=True)
class ArgumentsDone:
    """A function call's arguments are whole."""

    item_id: str
    output_index: int
    name: str
    arguments: str


@dataclass(slots=True)
class SearchMoved:
    """A file search entered a stage: `in_progress`, `searching`, `completed`."""

    item_id: str
    output_index: int
    stage: str


AnswerEvent = (
    ItemAdded
    | ItemDone
    | PartAdded
    | PartDone
    | TextDone
    | PartGrew
    | Annotated
    | ArgumentsGrew
    | ArgumentsDone
    | SearchMoved
)


class Answer:
    """The growing output of one response.

    `items` are the output items so far; texts of the open part are filled in when it closes, so call
    `close` before reading them. Not thread-safe; fed by one task.
    """

    def __init__(self, new_id: Callable[[str], str]) -> None:
        self.items: list[OutputItem] = []
        self.usage: Usage | None = None
        self.finish: FinishReason | None = None
        self.characters = 0
        self._new_id = new_id
        self._item: Message | Reasoning | None = None
        self._calls: dict[int, _OpenCall] = {}  # by the provider's index: some interleave parallel calls
        self._part: ContentPart | None = None
        self._pieces: list[str] = []
        self._part_index = 0
        self._block = -1  # the provider's index behind the open item

    @property
    def started(self) -> bool:
        """Whether anything of an answer exists."""
        return bool(self.items)

    def begins_item(self, event: ModelEvent) -> bool:
        """Whether this event begins a new item: what is there is whole before it."""
        match event:
            case TextDelta() | RefusalDelta() | Cited():
                return not isinstance(self._item, Message)
            case ReasoningDelta() | ReasoningSeal():
                return not isinstance(self._item, Reasoning) or event.index != self._block
            case _:
                return isinstance(event, ToolCallStarted)

    def feed(self, event: ModelEvent) -> list[AnswerEvent]:
        """Take one event of the provider; return what it changed."""
        match event:
            case TextDelta():
                return self._grow(Message, OutputText, event, logprobs=event.logprobs)
            case ReasoningDelta():
                kind = SummaryText if event.summary else ReasoningText
                return self._grow(Reasoning, kind, event)
            case RefusalDelta():
                return self._grow(Message, Refusal, event)
            case ToolCallStarted():
                return self._call(event)
            case ToolCallDelta():
                return self._arguments(event)
            case Cited():
                return self._cite(event)
            case ReasoningSeal():
                return self._seal(event)
            case UsageReported():
                self.usage = event.usage
            case Finished():
                self.finish = event.reason
            case _:  # pragma: no cover
                assert_never(event)
        return []

    def search_started(self, query: str) -> list[AnswerEvent]:
        """Open a file search item."""
        item = FileSearchCall(self._new_id("fs"), [query], "in_progress")
        changed = self._close_item("completed")
        self.items.append(item)
        index = len(self.items) - 1
        changed.append(ItemAdded(index, item))
        return changed + [SearchMoved(item.id, index, stage) for stage in ("in_progress", "searching")]

    def search_ended(self, results: list[SearchResult] | None) -> list[AnswerEvent]:
        """Close the file search that is open; `results` only where the request asked to see them."""
        item, index = self.items[-1], len(self.items) - 1
        if not isinstance(item, FileSearchCall):
            raise ValueError("no file search is open")
        item.status, item.results = "completed", results
        return [SearchMoved(item.id, index, "completed"), ItemDone(index, item)]

    def close(self, outcome: Outcome) -> list[AnswerEvent]:
        """End the answer: the open part and item become whole where the answer ended behind them, else `incomplete`."""
        status: ItemStatus = "completed" if outcome in (COMPLETED, TURNED) else "incomplete"
        if self.items and isinstance(search := self.items[-1], FileSearchCall) and search.status != "completed":
            search.status = "incomplete"
            return [ItemDone(len(self.items) - 1, search)]
        return self._close_item(status)

    def _grow(
        self,
        item_type: type[Message | Reasoning],
        part_type: type[ContentPart],
        event: TextDelta | ReasoningDelta | RefusalDelta,
        *,
        logprobs: list[dict[str, Any]] | None = None,
    ) -> list[AnswerEvent]:
        text = event.text
        if not text and not logprobs:
            return []
        changed = self._ensure(item_type, part_type, event.index)
        self._pieces.append(text)
        self.characters += len(text)
        if logprobs and isinstance(self._part, OutputText):
            self._part.logprobs.extend(logprobs)
        changed.append(PartGrew(*self._place(), _KINDS[part_type], text, logprobs))
        return changed

    def _ensure(
        self, item_type: type[Message | Reasoning], part_type: type[ContentPart], block: int
    ) -> list[AnswerEvent]:
        """Open the item and the part that a delta belongs to, closing what was open before them."""
        changed: list[AnswerEvent] = []
        if not isinstance(self._item, item_type) or (item_type is Reasoning and block != self._block):
            changed += self._close_item("completed")
            changed.append(self._open_item(_new_item(item_type, self._new_id), block))
        if not isinstance(self._part, part_type) or block != self._block:
            changed += self._close_part()
            changed.append(self._open_part(part_type()))
            self._block = block
        return changed

    def _open_item(self, item: Message | Reasoning, block: int) -> AnswerEvent:
        self.items.append(item)
        self._item, self._block = item, block
        return ItemAdded(len(self.items) - 1, _as_opened(item))  # parts may follow before the step is rendered

    def _open_part(self, part: ContentPart) -> AnswerEvent:
        match self._item, part:
            case Message(content=siblings), OutputText() | Refusal():
                siblings.append(part)
                self._part_index = len(siblings) - 1
            case Reasoning(summary=paragraphs), SummaryText():
                paragraphs.append(part)
                self._part_index = len(paragraphs) - 1
            case Reasoning(content=stretches), ReasoningText():
                stretches.append(part)
                self._part_index = len(stretches) - 1
            case _:  # pragma: no cover
                raise AssertionError("a part of another item")
        self._part, self._pieces = part, []
        return PartAdded(*self._place(), type(part)())

    def _place(self) -> tuple[str, int, int]:
        """Return (item id, output index, content index) of the open part."""
        return self.items[-1].id, len(self.items) - 1, self._part_index

    def _close_part(self) -> list[AnswerEvent]:
        part = self._part
        if part is None:
            return []
        if isinstance(part, Refusal):
            part.refusal = "".join(self._pieces)
        else:
            part.text = "".join(self._pieces)
        self._part, self._pieces = None, []
        return [TextDone(*self._place(), part), PartDone(*self._place(), part)]

    def _close_item(self, status: ItemStatus) -> list[AnswerEvent]:
        changed = self._close_part()
        for call in self._calls.values():
            changed += call.close(status)
        self._calls = {}
        if self._item is not None:
            self._item.status = status
            changed.append(ItemDone(len(self.items) - 1, self._item))
            self._item, self._block = None, -1
        return changed

    def _call(self, event: ToolCallStarted) -> list[AnswerEvent]:
        changed = self._close_item("completed") if self._item is not None else []
        if event.index in self._calls:  # some servers number every call of an answer 0
            changed += self._calls.pop(event.index).close("completed")
        item = FunctionCall(self._new_id("fc"), event.call_id, event.name, status="in_progress")
        self.items.append(item)
        call = self._calls[event.index] = _OpenCall(item, len(self.items) - 1)
        return [*changed, ItemAdded(call.output_index, item)]

    def _arguments(self, event: ToolCallDelta) -> list[AnswerEvent]:
        call = self._calls.get(event.index)
        if call is None:
            raise UpstreamError("The provider sent arguments of a tool call that it had not started.")
        call.pieces.append(event.arguments)
        self.characters += len(event.arguments)
        return [ArgumentsGrew(call.item.id, call.output_index, event.arguments)]

    def _cite(self, event: Cited) -> list[AnswerEvent]:
        changed = self._ensure(Message, OutputText, self._block if isinstance(self._item, Message) else event.index)
        part = cast(OutputText, self._part)  # `_ensure` has seen to it
        part.annotations.append(event.annotation)
        return [*changed, Annotated(*self._place(), len(part.annotations) - 1, event.annotation)]

    def _seal(self, event: ReasoningSeal) -> list[AnswerEvent]:
        changed: list[AnswerEvent] = []
        if not isinstance(self._item, Reasoning) or event.index != self._block:
            changed += self._close_item("completed")
            changed.append(self._open_item(_new_item(Reasoning, self._new_id), event.index))
        item = cast(Reasoning, self._item)
        item.encrypted_content = (item.encrypted_content or "") + event.encrypted_content
        return changed


@dataclass(slots=True)
class _OpenCall:
    """A function call whose arguments are still coming."""

    item: FunctionCall
    output_index: int
    pieces: list[str] = field(default_factory=list[str])

    def close(self, status: ItemStatus) -> list[AnswerEvent]:
        self.item.arguments, self.item.status = "".join(self.pieces), status
        done: list[AnswerEvent] = [ItemDone(self.output_index, self.item)]
        if status == "completed":
            done.insert(0, ArgumentsDone(self.item.id, self.output_index, self.item.name, self.item.arguments))
        return done


def _as_opened(item: Message | Reasoning) -> Message | Reasoning:
    if isinstance(item, Message):
        return Message(item.id, item.role, [], item.status)
    return replace(item, summary=[], content=[])


def _new_item(item_type: type[Message | Reasoning], new_id: Callable[[str], str]) -> Message | Reasoning:
    if item_type is Message:
        return Message(new_id("msg"), "assistant", [], "in_progress")
    return Reasoning(new_id("rs"), status="in_progress")
