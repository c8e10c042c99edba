"""Renders the Responses API's stream events, once; and reads them back after a crash.

Source: the `openai` package, types/responses/response_stream_event.py.
"""

from collections.abc import Callable, Iterable
from typing import Any, assert_never, cast

import msgspec

from chatbackend.adapters.api import items as wire
from chatbackend.adapters.api.responses import response_object
from chatbackend.domain import answer, items
from chatbackend.domain.responses import Response
from chatbackend.usecases.ports import LogEvent

_ENCODER = msgspec.json.Encoder()
_encode = _ENCODER.encode

# part type -> (event of a piece, event of the whole, the whole's field)
_PARTS = {
    "output_text": ("response.output_text.delta", "response.output_text.done", "text"),
    "refusal": ("response.refusal.delta", "response.refusal.done", "refusal"),
    "reasoning_text": ("response.reasoning_text.delta", "response.reasoning_text.done", "text"),
    "summary_text": ("response.reasoning_summary_text.delta", "response.reasoning_summary_text.done", "text"),
}


class ResponseEvents:
    """`Renderer` of the Responses dialect. Stateless."""

    def lifecycle(self, kind: str, response: Response, number: int) -> LogEvent:
        """See `Renderer.lifecycle`."""
        body = {"type": kind, "sequence_number": number, "response": response_object(response)}
        return LogEvent(number, kind, _encode(body))

    def step(self, event: answer.AnswerEvent, number: int) -> LogEvent:
        """See `Renderer.step`."""
        kind, fields = _fields(event)
        return LogEvent(number, kind, _encode({"type": kind, "sequence_number": number, **fields}))

    def restore(self, events: Iterable[LogEvent]) -> list[items.OutputItem]:
        """See `Renderer.restore`."""
        restored = _Restored()
        for event in events:
            take = _READERS.get(event.type)
            if take is not None:
                take(restored, msgspec.json.decode(event.data))
        return restored.items()


def _fields(event: answer.AnswerEvent) -> tuple[str, dict[str, Any]]:
    match event:
        case answer.PartGrew():
            return _grew(event)
        case answer.ItemAdded():
            return "response.output_item.added", {"output_index": event.output_index, "item": event.item}
        case answer.ItemDone():
            return "response.output_item.done", {"output_index": event.output_index, "item": event.item}
        case answer.PartAdded():
            return _part_added(event)
        case answer.PartDone():
            return _part_done(event)
        case answer.TextDone():
            return _text_done(event)
        case answer.Annotated():
            return "response.output_text.annotation.added", {
                **_at(event),
                "annotation_index": event.annotation_index,
                "annotation": event.annotation,
            }
        case answer.ArgumentsGrew() | answer.ArgumentsDone() | answer.SearchMoved():
            return _tool_moved(event)
        case _:
            assert_never(event)


def _tool_moved(event: answer.ArgumentsGrew | answer.ArgumentsDone | answer.SearchMoved) -> tuple[str, dict[str, Any]]:
    place: dict[str, Any] = {"item_id": event.item_id, "output_index": event.output_index}
    match event:
        case answer.ArgumentsGrew(delta=delta):
            return "response.function_call_arguments.delta", {**place, "delta": delta}
        case answer.ArgumentsDone(name=name, arguments=arguments):
            return "response.function_call_arguments.done", {**place, "name": name, "arguments": arguments}
        case answer.SearchMoved(stage=stage):
            return f"response.file_search_call.{stage}", place
        case _:
            assert_never(event)


def _at(
    event: answer.PartGrew | answer.PartAdded | answer.PartDone | answer.TextDone | answer.Annotated,
) -> dict[str, Any]:
    return {"item_id": event.item_id, "output_index": event.output_index, "content_index": event.content_index}


def _summary_at(event: answer.PartGrew | answer.PartAdded | answer.PartDone | answer.TextDone) -> dict[str, Any]:
    return {"item_id": event.item_id, "output_index": event.output_index, "summary_index": event.content_index}


def _grew(event: answer.PartGrew) -> tuple[str, dict[str, Any]]:
    kind = _PARTS[event.kind][0]
    place = _summary_at(event) if event.kind == "summary_text" else _at(event)
    place["delta"] = event.delta
    if event.kind == "output_text":
        place["logprobs"] = event.logprobs or []
    return kind, place


def _part_added(event: answer.PartAdded) -> tuple[str, dict[str, Any]]:
    if isinstance(event.part, items.SummaryText):
        return "response.reasoning_summary_part.added", {**_summary_at(event), "part": event.part}
    return "response.content_part.added", {**_at(event), "part": event.part}


def _text_done(event: answer.TextDone) -> tuple[str, dict[str, Any]]:
    part = event.part
    _, kind, field = _PARTS[part.type]
    place = _summary_at(event) if isinstance(part, items.SummaryText) else _at(event)
    place[field] = part.refusal if isinstance(part, items.Refusal) else part.text
    if isinstance(part, items.OutputText):
        place["logprobs"] = part.logprobs
    return kind, place


def _part_done(event: answer.PartDone) -> tuple[str, dict[str, Any]]:
    if isinstance(event.part, items.SummaryText):
        return "response.reasoning_summary_part.done", {**_summary_at(event), "part": event.part}
    return "response.content_part.done", {**_at(event), "part": event.part}


class _Restored:
    """Output items put together again from a log, by output index."""

    def __init__(self) -> None:
        self.open: dict[int, dict[str, Any]] = {}

    def items(self) -> list[items.OutputItem]:
        """Return the items in order; what was not done is `incomplete`."""
        found: list[items.OutputItem] = []
        for _, body in sorted(self.open.items()):
            if body["status"] in ("in_progress", "searching"):
                body["status"] = "incomplete"
            found.append(cast(items.OutputItem, wire.decode(_encode(body))))  # nothing else is ever rendered
        return found

    def item(self, event: dict[str, Any]) -> None:
        self.open[event["output_index"]] = event["item"]

    def part(self, event: dict[str, Any]) -> None:
        self.open[event["output_index"]]["content"].append(event["part"])

    def summary(self, event: dict[str, Any]) -> None:
        self.open[event["output_index"]]["summary"].append(event["part"])

    def text(self, event: dict[str, Any]) -> None:
        part = self.open[event["output_index"]]["content"][event["content_index"]]
        part["text"] += event["delta"]
        if event.get("logprobs"):
            part["logprobs"] += event["logprobs"]

    def refusal(self, event: dict[str, Any]) -> None:
        self.open[event["output_index"]]["content"][event["content_index"]]["refusal"] += event["delta"]

    def summary_text(self, event: dict[str, Any]) -> None:
        self.open[event["output_index"]]["summary"][event["summary_index"]]["text"] += event["delta"]

    def annotation(self, event: dict[str, Any]) -> None:
        part = self.open[event["output_index"]]["content"][event["content_index"]]
        part["annotations"].append(event["annotation"])

    def arguments(self, event: dict[str, Any]) -> None:
        self.open[event["output_index"]]["arguments"] += event["delta"]


_READERS: dict[str, Callable[[_Restored, dict[str, Any]], None]] = {
    "response.output_item.added": _Restored.item,
    "response.output_item.done": _Restored.item,
    "response.content_part.added": _Restored.part,
    "response.reasoning_summary_part.added": _Restored.summary,
    "response.output_text.delta": _Restored.text,
    "response.reasoning_text.delta": _Restored.text,
    "response.refusal.delta": _Restored.refusal,
    "response.reasoning_summary_text.delta": _Restored.summary_text,
    "response.output_text.annotation.added": _Restored.annotation,
    "response.function_call_arguments.delta": _Restored.arguments,
}
