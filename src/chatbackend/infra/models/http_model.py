"""A model behind HTTP: runs any provider codec over a relay, and hangs up at once."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress

import anyio

from chatbackend.adapters.providers.answer_body import AnswerBody, answer_body
from chatbackend.adapters.providers.codec import Codec, Place, WireRequest
from chatbackend.domain.errors import UpstreamCut, UpstreamError
from chatbackend.domain.events import ModelEvent
from chatbackend.domain.models import ModelProfile, ModelRequest
from chatbackend.domain.routing import Timeouts
from chatbackend.infra.models.credentials import Credential
from chatbackend.infra.models.http_relay import HttpRelay, RelayedHttpAnswer
from chatbackend.infra.models.lean_client import LeanClient

REJOINS = 5  # times that one answer is come back to
REJOIN_WAIT_S = 0.3
LEAVE_S = 2.0
_EVENTS = {"accept": "text/event-stream"}
_CUT = "The provider's answer was cut off."


class HttpModel:
    """A model of a provider, spoken to in the provider's dialect. `url` makes the address of the codec's path."""

    def __init__(self, client: LeanClient, *, url: Callable[[str], str], codec: Codec, credential: Credential) -> None:
        self._client = client
        self._url = url
        self._codec = codec
        self._credential = credential
        self._relays: dict[str, HttpRelay] = {}  # by path; a codec has one or two

    @property
    def profile(self) -> ModelProfile:
        """The facts that requests are shaped by."""
        return self._codec.profile

    def stream(self, request: ModelRequest, timeouts: Timeouts) -> AsyncGenerator[ModelEvent, None]:
        """See `Model.stream`."""
        return self._events(request, self._codec.request(request), timeouts)

    async def _events(
        self, request: ModelRequest, wire: WireRequest, timeouts: Timeouts
    ) -> AsyncGenerator[ModelEvent, None]:
        relay = self._relays.get(wire.path)
        if relay is None:
            relay = self._relays[wire.path] = self._relay(self._url(wire.path))
        answer = await relay(wire.body, timeouts, stream=request.stream, headers=wire.headers)
        place: Place | None = None
        try:
            kind = answer.content_type.partition(";")[0].strip().lower()
            body = answer_body(self._codec, request, content_type=kind, content_encoding=answer.content_encoding)
            rejoins = 0
            while not body.done:
                chunk, cut = await _read(answer)
                if chunk:
                    events, place = body.feed(chunk), body.place
                    for event in events:
                        yield event
                    continue
                if place is None or rejoins == REJOINS:
                    for event in _rest(body, cut):
                        yield event
                    return
                rejoins += 1
                answer.close()
                answer = await self._rejoined(place, cut or UpstreamCut(_CUT), timeouts)
                body.rejoined()
            for event in body.end():
                yield event
            await _drain(answer, timeouts.end_s)
        finally:
            answer.close()  # a connection whose answer was read to its last byte is kept
            if place is not None:
                await self._leave(place)

    def _relay(self, url: str, method: str = "POST") -> HttpRelay:
        return HttpRelay(self._client, self._codec, url=url, credential=self._credential, method=method)

    async def _rejoined(self, place: Place, cut: UpstreamError, timeouts: Timeouts) -> RelayedHttpAnswer:
        """Return what follows a cut, where the provider keeps it. Raises: `cut`, where it does not."""
        await asyncio.sleep(REJOIN_WAIT_S)
        url = self._url(place.path)
        url += ("&" if "?" in url else "?") + place.query
        try:
            return await self._relay(url, "GET")(b"", timeouts, stream=True, headers=_EVENTS)
        except UpstreamError as error:
            raise cut from error

    async def _leave(self, place: Place) -> None:
        """End an answer that would go on without us, at our cost; nobody waits long for that."""
        with anyio.move_on_after(LEAVE_S, shield=True), suppress(UpstreamError):
            answer = await self._relay(self._url(place.cancel_path))(b"", Timeouts(), stream=False, headers={})
            answer.close()


async def _read(answer: RelayedHttpAnswer) -> tuple[bytes, UpstreamError | None]:
    """Return the next bytes; none at the end, with the error that it was, if it was one."""
    try:
        return await answer.read(), None
    except UpstreamError as error:
        return b"", error


def _rest(body: AnswerBody, error: UpstreamError | None) -> list[ModelEvent]:
    """Return what is left of an answer that has no more bytes, if it had said why it stopped.

    Raises: what the failure of its connection means, or what the answer lacks.
    """
    try:
        return body.end()
    except UpstreamError:
        if error is None:
            raise
        raise error from None


async def _drain(answer: RelayedHttpAnswer, wait_s: float) -> None:
    """Read past the end mark to the end of the body, shortly, so that the connection can be used again."""
    try:
        async with asyncio.timeout(wait_s):
            while await answer.read():
                pass
    except (TimeoutError, UpstreamError):
        pass
