"""One turn on a WebSocket of the Responses API, without the socket: a `response.create` out, frames of its answer in.

A provider remembers the newest response of each connection, though nothing is stored there. So where a turn's context
is, item by item, what such a memory holds, only what is new is said; any other turn says everything.
Source: OpenAI's guide "WebSocket mode"; `ResponsesClientEvent` and `ResponsesServerEvent` in the `openai` package.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec
from msgspec import Struct

from chatbackend.adapters.providers.codec import GARBAGE, Reader
from chatbackend.adapters.providers.responses.request import parted
from chatbackend.adapters.wire.sse import SseEvent
from chatbackend.domain.answer import Answer
from chatbackend.domain.errors import (
    ChatError,
    UpstreamBusy,
    UpstreamCut,
    UpstreamError,
    UpstreamRefused,
    UpstreamTooLarge,
)
from chatbackend.domain.events import ModelEvent
from chatbackend.domain.items import OutputItem
from chatbackend.domain.responses import COMPLETED

Json = dict[str, Any]
_SPENT = "websocket_connection_limit_reached"  # the connection is too old for another turn
_TOO_BIG, _TRY_LATER = 1009, 1013
_WHOLE = frozenset(("stop", "tool_calls"))
# What may change from turn to turn. All else has to be the same: what a model thought, unseen, is remembered too, and
# nobody may come upon thoughts about instructions, passages or tools that were another's.
_FREE = frozenset(
    (
        "include",
        "input",
        "max_output_tokens",
        "metadata",
        "parallel_tool_calls",
        "stream",
        "temperature",
        "tool_choice",
        "top_logprobs",
        "top_p",
    )
)


class _Named(Struct):
    id: Any = None


class _Frame(Struct):
    """What a frame is; its event is for the reader. An error has its status beside it, unlike on HTTP."""

    type: Any = None
    status: Any = None
    error: Any = None
    response: _Named | None = None


_FRAME = msgspec.json.Decoder(_Frame)
# Of most events nothing but the type is to be known here, and it comes first.
_PASSING = re.compile(rb'\s*\{\s*"type"\s*:\s*"(response\.(?!completed")[a-z_.]+)"')


@dataclass(frozen=True, slots=True)
class Context:
    """What was said up to the end of an answer: its items, of calls what their arguments say, and all else of a turn.

    Kept and compared as it is: a digest of it costs more than to send it.
    """

    said: list[Json]
    else_told: Json


@dataclass(frozen=True, slots=True)
class Memory:
    """What a provider remembers on a connection: a response, with its context of about `size` bytes.

    `awaited`: it called functions, so that a turn which goes on from it is to be expected.
    """

    response_id: str
    context: Context
    size: int
    awaited: bool


class AskAnew(Exception):
    """The provider refused the turn for what only its connection is the cause of; nothing was generated.

    Ask once more, on a fresh connection and with the whole context; `error` is what to tell where that fails alike.
    """

    def __init__(self, error: ChatError) -> None:
        super().__init__(error.message)
        self.error = error


class SocketTurn:
    """A call on a socket: `create`, `feed` until `done`, `end`; then `memory` is what the provider remembers.

    `context` is what a memory must hold to be gone on from, None where none can.
    """

    def __init__(
        self,
        body: Json,
        reader: Reader,
        *,
        told: Callable[[Sequence[OutputItem]], list[Json]],
        error: Callable[[int, Mapping[str, str], bytes], ChatError],
    ) -> None:
        self._body = {name: value for name, value in body.items() if name != "stream"}  # a socket does nothing else
        self._known, self._new = parted(body["input"])
        before = Context(_canonical(self._known), {name: body[name] for name in body if name not in _FREE})
        self.context = before if self._known and self._new else None
        self._before = before
        self._size = 0
        self._reader = reader
        self._told = told
        self._error = error
        self._answer = Answer(lambda _: "")
        self._response_id = ""
        self._continues = self._begun = self._astray = False

    @property
    def done(self) -> bool:
        """Whether the end of the answer was read."""
        return self._reader.done

    @property
    def in_order(self) -> bool:
        """Whether the answer, and nothing else, was read: the connection is fit for another turn."""
        return self.done and not self._astray

    def create(self, memory: Memory | None) -> bytes:
        """Return the frame that asks: what is new to the memory, everything without one."""
        self._continues = memory is not None
        more = {} if memory is None else {"previous_response_id": memory.response_id, "input": self._new}
        frame = msgspec.json.encode({**self._body, **more, "type": "response.create"})
        self._size = len(frame) + (0 if memory is None else memory.size)
        return frame

    def feed(self, frame: bytes) -> list[ModelEvent]:
        """Return what a frame says.

        Raises: UpstreamError (and below) as a reader does; AskAnew.
        """
        self._astray = self.done
        told = _read(frame)
        try:
            events = self._heard(told, frame)
        except ChatError as error:
            if self._begun or not self._is_of_connection(told, error):
                raise
            raise AskAnew(error) from error
        self._begun = True
        for event in events:
            self._answer.feed(event)
        return events

    def end(self) -> list[ModelEvent]:
        """Return what is still held back; see `codec.Reader`."""
        return self._reader.end()

    def memory(self) -> Memory | None:
        """Return what the provider remembers of a whole answer, None of any other. To be asked once."""
        if self._answer.finish not in _WHOLE or not self._response_id:
            return None
        self._answer.close(COMPLETED)
        said = [*self._before.said, *self._new, *_canonical(self._told(self._answer.items))]
        size, awaited = self._size + self._answer.characters, self._answer.finish == "tool_calls"
        return Memory(self._response_id, Context(said, self._before.else_told), size, awaited)

    def _heard(self, told: _Frame, frame: bytes) -> list[ModelEvent]:
        if told.type == "error" and isinstance(told.status, int):
            raise self._error(told.status, _headers(told), frame)
        if told.response is not None and isinstance(told.response.id, str):
            self._response_id = told.response.id
        return self._reader.feed(SseEvent(told.type if isinstance(told.type, str) else "message", frame))

    def _is_of_connection(self, told: _Frame, error: ChatError) -> bool:
        """Whether a fresh connection may bring another answer: this one is spent, or its memory was not to be had."""
        return _of_error(told, "code") == _SPENT or (self._continues and isinstance(error, UpstreamRefused))


def closed(code: int | None) -> UpstreamError:
    """Return what it means that the provider closed a connection inside an answer, or before it."""
    if code == _TOO_BIG:
        return UpstreamTooLarge("The request is too large for the provider.", code="request_too_large")
    if code == _TRY_LATER:
        return UpstreamBusy("The provider is overloaded.", code="upstream_overloaded")
    return UpstreamCut("The provider's answer was cut off.")


def _canonical(said: Sequence[Json]) -> list[Json]:
    """Return items with what the arguments of calls say, however they are written."""
    return [_call(item) if item["type"] == "function_call" else item for item in said]


def _call(item: Json) -> Json:
    try:
        return item | {"arguments": msgspec.json.decode(item["arguments"])}
    except GARBAGE:
        return item


def _read(frame: bytes) -> _Frame:
    if passing := _PASSING.match(frame):
        return _Frame(passing[1].decode())
    try:
        return _FRAME.decode(frame)
    except GARBAGE:
        return _Frame()  # the reader says what is wrong with it


def _of_error(told: _Frame, name: str) -> object:
    return cast(Json, told.error).get(name) if isinstance(told.error, dict) else None


def _headers(told: _Frame) -> dict[str, str]:
    given = _of_error(told, "headers")
    if not isinstance(given, dict):
        return {}
    return {str(name).lower(): str(value) for name, value in cast(Json, given).items()}
