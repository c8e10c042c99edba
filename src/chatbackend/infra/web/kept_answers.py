"""Requests with an Idempotency-Key to routes that keep nothing of their answers otherwise.

The route answers as it always does, in a task of the process, but into the log of the answer; the client follows that.
A request without a key never comes here.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

import anyio

from chatbackend.adapters.wire import kept_answers as wire
from chatbackend.adapters.wire import sse
from chatbackend.domain.errors import Conflict, Unavailable
from chatbackend.domain.kept_answers import BEGUN, ENDED, HEAD, WHOLE
from chatbackend.infra.web.http import Message, Receive, Request, decode_object, header
from chatbackend.infra.web.responses import once_of
from chatbackend.infra.web.routes import Handler, Route
from chatbackend.infra.web.streams import Watch
from chatbackend.infra.web.wire import EXTENSION
from chatbackend.usecases.answer_once import Answered, AnswerOnce
from chatbackend.usecases.ports import LogEvent
from chatbackend.usecases.record_answer import Recorder

KEY = b"idempotency-key"
REPLAYED = "idempotent-replayed"  # on an answer that an earlier request has made
_EVENTS = b"text/event-stream"
_KEPT = frozenset(
    (
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/messages"),
        ("POST", "/v1/embeddings"),
        ("POST", "/v1/responses/compact"),
    )
)


class KeptAnswers:
    """Wraps routes: what carries a key is answered once."""

    def __init__(self, answer_once: AnswerOnce, *, max_body_bytes: int) -> None:
        self._answer_once = answer_once
        self._max_body_bytes = max_body_bytes

    def routes(self, routes: Sequence[Route]) -> list[Route]:
        """Return the routes, those that keep nothing by themselves wrapped."""
        return [
            (method, path, self._wrapped(path, handler) if (method, path) in _KEPT else handler)
            for method, path, handler in routes
        ]

    def _wrapped(self, path: str, handler: Handler) -> Handler:
        def handle(request: Request) -> Awaitable[None]:
            if header(request.scope["headers"], KEY) is None:
                return handler(request)
            return self._answer(request, path, handler)

        handle.__doc__ = handler.__doc__
        return handle

    async def _answer(self, request: Request, path: str, handler: Handler) -> None:
        body = await request.body(self._max_body_bytes)
        whole = {"body": decode_object(body)}  # all of it counts, `stream` too: what is kept are bytes
        once = replace(once_of(whole, request.headers, path=path), retry=False)

        async def work(recorder: Recorder) -> None:
            await handler(_recorded(request, body, recorder))

        who = wire.Caller(path, anthropic=request.anthropic, request_id=request.request_id)
        try:
            with Watch(request):
                answered = await self._answer_once(request.principal, once, work, caller=wire.caller(who))
                await _send(request, answered)
        except Conflict:
            request.answered |= wire.FINAL
            raise


class _Recording:
    """What a route takes for its client: `send`, and the wire of a relay. Nobody ever goes away here."""

    is_gone = False  # the log is always there

    def __init__(self, recorder: Recorder) -> None:
        self.on_gone: Callable[[], object] | None = None
        self.write = recorder.write
        self.drained = recorder.drained
        self._recorder = recorder
        self._head = b""  # of an answer that is no stream
        self._pieces: list[bytes] = []

    async def send(self, message: Message) -> None:
        """Take what is sent in the way of ASGI."""
        if message["type"] == "http.response.start":
            head = wire.head(message["status"], message["headers"])
            if message["headers"][0][1].startswith(_EVENTS):
                self._recorder.head(head)
            else:
                self._head = head
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        if self._head:
            self._pieces.append(body)
            if not more:
                self._recorder.whole(wire.whole(self._head, b"".join(self._pieces)))
        elif not more:
            self._recorder.end(body)
        elif not self.write(body):
            await self.drained()


def _recorded(request: Request, body: bytes, recorder: Recorder) -> Request:
    """Return the request as its route sees it: the body once more, and a client that only listens."""
    recording = _Recording(recorder)
    scope = {**request.scope, "extensions": {EXTENSION: recording}}
    return Request(scope, _once_more(body), recording.send, request.path_params, request.principal, request.request_id)


def _once_more(body: bytes) -> Receive:
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if not waiting:
            await anyio.sleep_forever()
        return waiting.pop()

    return receive


async def _send(request: Request, answered: Answered) -> None:
    """Send an answer from its log, with a comment where its stream is silent."""
    if not answered.fresh:
        request.answered[REPLAYED] = "true"
    begun = False
    async with aclosing(answered.events) as batches:
        async for batch in batches:
            if not begun and (found := [event for event in batch if event.type in (HEAD, WHOLE)]):
                begun = True
                if found[0].type == WHOLE:
                    return await _send_whole(request, found[0])
                await request.start(*wire.read_head(found[0].data))
            if begun:
                await _send_part(request, batch)
    if not begun:  # its maker could not even begin
        raise Unavailable("The answer could not be begun; try again shortly.")
    return None


async def _send_whole(request: Request, event: LogEvent) -> None:
    status, headers, body = wire.read_whole(event.data)
    await request.start(status, headers)
    await _send_bytes(request, body, more=False)


async def _send_part(request: Request, batch: Sequence[LogEvent]) -> None:
    """Send what a batch has of a stream's bytes; an empty one says that we live."""
    if not batch:
        return await _send_bytes(request, sse.COMMENT, more=True)
    body = b"".join([event.data for event in batch if event.type not in (BEGUN, HEAD)])
    more = batch[-1].type != ENDED
    if body or not more:
        await _send_bytes(request, body, more=more)
    return None


async def _send_bytes(request: Request, body: bytes, *, more: bool) -> None:
    await request.send({"type": "http.response.body", "body": body, "more_body": more})
