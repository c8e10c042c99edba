"""A model behind HTTP: runs any provider codec over a relay, and hangs up at once."""

import asyncio
from collections.abc import AsyncGenerator, Callable

from chatbackend.adapters.providers.answer_body import AnswerBody, answer_body
from chatbackend.adapters.providers.codec import Codec, WireRequest
from chatbackend.domain.errors import UpstreamError
from chatbackend.domain.events import ModelEvent
from chatbackend.domain.models import ModelProfile, ModelRequest
from chatbackend.domain.routing import Timeouts
from chatbackend.infra.models.credentials import Credential
from chatbackend.infra.models.http_relay import HttpRelay, RelayedHttpAnswer
from chatbackend.infra.models.lean_client import LeanClient


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
            url = self._url(wire.path)
            relay = self._relays[wire.path] = HttpRelay(self._client, self._codec, url=url, credential=self._credential)
        answer = await relay(wire.body, timeouts, stream=request.stream, headers=wire.headers)
        try:
            kind = answer.content_type.partition(";")[0].strip().lower()
            body = answer_body(self._codec, request, content_type=kind, content_encoding=answer.content_encoding)
            while not body.done:
                try:
                    chunk = await answer.read()
                except UpstreamError as error:
                    for event in _rest(body, error):
                        yield event
                    return
                if not chunk:
                    break
                for event in body.feed(chunk):
                    yield event
            for event in body.end():
                yield event
            await _drain(answer, timeouts.end_s)
        finally:
            answer.close()  # a connection whose answer was read to its last byte is kept


def _rest(body: AnswerBody, error: UpstreamError) -> list[ModelEvent]:
    """Return what is left of an answer whose connection failed, if it had said why it stopped.

    Raises: what the failure means, otherwise.
    """
    try:
        return body.end()
    except UpstreamError:
        raise error from None


async def _drain(answer: RelayedHttpAnswer, wait_s: float) -> None:
    """Read past the end mark to the end of the body, shortly, so that the connection can be used again."""
    try:
        async with asyncio.timeout(wait_s):
            while await answer.read():
                pass
    except (TimeoutError, UpstreamError):
        pass
