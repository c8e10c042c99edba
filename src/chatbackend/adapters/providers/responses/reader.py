"""Responses answers, event by event or whole, as `ModelEvent`s.

Items of the provider's own tools are not ours to show; the text around them is.
Source: `ResponseStreamEvent` in the `openai` package (types/responses/response_stream_event.py).
"""

from urllib.parse import quote

import msgspec

from chatbackend.adapters.providers.codec import GARBAGE, Place
from chatbackend.adapters.providers.provider_errors import Fault, fault_of, stream_error
from chatbackend.adapters.providers.responses.output import Output
from chatbackend.adapters.providers.responses.shapes import Event, Kind, Response, shown_item
from chatbackend.adapters.wire.sse import SseEvent
from chatbackend.domain.errors import ChatError, UpstreamCut, UpstreamError
from chatbackend.domain.events import Finished, FinishReason, ModelEvent, UsageReported

_KIND = msgspec.json.Decoder(Kind)
_EVENT = msgspec.json.Decoder(Event)
_RESPONSE = msgspec.json.Decoder(Response)

_GROWING = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "refusal",
    "response.reasoning_summary_text.delta": "summary",
    "response.reasoning_text.delta": "reasoning",
}
_GROWN = {
    "response.output_text.done": "text",
    "response.refusal.done": "refusal",
    "response.reasoning_summary_text.done": "summary",
    "response.reasoning_text.done": "reasoning",
}
_TERMINAL = {
    "response.completed": "completed",
    "response.incomplete": "incomplete",
    "response.failed": "failed",
    "response.cancelled": "cancelled",
}
_ITEMS = frozenset(("response.output_item.added", "response.output_item.done"))
_ARGUMENTS = frozenset(("response.function_call_arguments.delta", "response.function_call_arguments.done"))
_CREATED = "response.created"
_CITATION = "response.output_text.annotation.added"
_READ = frozenset((*_GROWING, *_GROWN, *_TERMINAL, *_ITEMS, *_ARGUMENTS, _CITATION))
# Failures that the request has caused and would cause again; the other codes have a status in the table of errors.
_REFUSALS = frozenset(
    (
        "bio_policy",
        "context_length_exceeded",
        "empty_image_file",
        "failed_to_download_image",
        "image_content_policy_violation",
        "image_file_not_found",
        "image_file_too_large",
        "image_parse_error",
        "image_too_large",
        "image_too_small",
        "invalid_base64_image",
        "invalid_image",
        "invalid_image_format",
        "invalid_image_mode",
        "invalid_image_url",
        "invalid_prompt",
        "misalignment_policy_violation",
        "unsupported_image_media_type",
    )
)


class ResponsesReader:
    """Reads one answer. `kept`: the provider keeps it, so that the rest of a cut stream can be had."""

    def __init__(self, *, kept: bool = False) -> None:
        self.done = False
        self._kept = kept
        self._id = ""  # of a kept one, once it is known
        self._last = -1  # the number of the last event that was read
        self._output = Output()
        self._failure: ChatError | None = None  # kept until `end`, so that what failed is still counted

    def feed(self, event: SseEvent) -> list[ModelEvent]:
        """Return what one event says; see `codec.Reader`."""
        if self.done or not event.data:
            return []
        if event.data == b"[DONE]":  # gateways add it
            return self.end()
        try:
            kind = event.event if event.event in _READ else _kind_of(event)
            if self._kept and kind == _CREATED:
                self._id = (_EVENT.decode(event.data).response or Response()).id or ""
            return self._take_new(kind, _EVENT.decode(event.data)) if kind in _READ else []
        except GARBAGE as error:
            raise UpstreamError("The provider sent what is no event of a response.") from error

    def end(self) -> list[ModelEvent]:
        """Return what was held back, which is nothing; see `codec.Reader`."""
        if self._failure is not None:
            raise self._failure
        if not self.done:
            self.done = True
            raise UpstreamCut("The provider's answer ended before its end.")
        return []

    def whole(self, body: bytes) -> list[ModelEvent]:
        """Return the events of an answer that came as one JSON body; see `codec.Codec`."""
        try:
            response = _RESPONSE.decode(body)
            events = self._finish(response, "in_progress" if response.output is None else "completed")
        except GARBAGE as error:
            raise UpstreamError("The provider sent what is no response.") from error
        return events + self.end()

    @property
    def place(self) -> Place | None:
        """See `codec.Reader`."""
        if not self._id or self.done:
            return None
        path = f"/responses/{quote(self._id, safe='')}"
        return Place(path, f"stream=true&starting_after={max(self._last, 0)}", f"{path}/cancel")

    def _take_new(self, kind: str, told: Event) -> list[ModelEvent]:
        """Take an event, unless it was read before its stream was cut."""
        number = told.sequence_number
        if self._kept and number is not None:
            if number <= self._last:
                return []
            self._last = number
        return self._take(kind, told)

    def _take(self, kind: str, told: Event) -> list[ModelEvent]:
        if kind in _GROWING:
            return self._output.grow(_GROWING[kind], told)
        if kind in _GROWN:
            return self._output.finish(_GROWN[kind], told)
        if kind in _ARGUMENTS:
            return self._output.argue(told)
        if kind in _ITEMS:
            return self._take_item(kind, told)
        if kind == _CITATION:
            return self._output.cite(told)
        return self._finish(told.response or Response(), _TERMINAL[kind])

    def _take_item(self, kind: str, told: Event) -> list[ModelEvent]:
        item = shown_item(told.item)
        if item is None:
            return []
        take = self._output.complete if kind.endswith("done") else self._output.begin
        return take(told, item)

    def _finish(self, response: Response, status: str) -> list[ModelEvent]:
        """Return the rest of the output and its usage, then how it ended, which `status` says where it does not."""
        ended = "failed" if response.error else response.status or status
        events: list[ModelEvent] = []
        if ended in {"completed", "incomplete"}:
            events += self._output.settle(item for raw in response.output or () if (item := shown_item(raw)))
        if response.usage is not None and response.usage.counts():
            events.append(UsageReported(response.usage.to_domain()))
        self.done = True
        match ended:
            case "completed":
                events.append(Finished("tool_calls" if self._output.has_calls else "stop"))
            case "incomplete":
                events.append(Finished(_cut_by(response)))
            case "failed":
                self._failure = _error(fault_of(msgspec.json.encode({"error": response.error})))
            case _:  # cancelled over there, or an answer that is still to come
                self._failure = UpstreamCut("The provider's answer ended before its end.")
        return events


def _kind_of(event: SseEvent) -> str:
    """Return an event's type. Raises: UpstreamError (and below) when it is an error."""
    told = _KIND.decode(event.data)
    kind = told.type or event.event
    if kind == "error" or (told.error and not kind.startswith("response.")):
        raise _error(fault_of(event.data))
    return kind


def _cut_by(response: Response) -> FinishReason:
    details = response.incomplete_details
    return "content_filter" if details and details.reason == "content_filter" else "length"


def _error(fault: Fault) -> ChatError:
    if fault.status is None and fault.code in _REFUSALS:
        fault.status = 400
    return stream_error(fault)
