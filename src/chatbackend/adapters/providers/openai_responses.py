"""The OpenAI Responses dialect: OpenAI, Azure OpenAI and the servers that speak like them.

Source: the response types of the `openai` package (types/responses/).
"""

from collections.abc import Mapping
from functools import partial

import msgspec

from chatbackend.adapters.providers.codec import Reader, WireRequest
from chatbackend.adapters.providers.fitting import speaking
from chatbackend.adapters.providers.provider_errors import fault_of, http_error
from chatbackend.adapters.providers.responses.reader import ResponsesReader
from chatbackend.adapters.providers.responses.request import request_body, told_again
from chatbackend.adapters.providers.responses.turn import SocketTurn
from chatbackend.adapters.providers.steps import SteppedReader, through
from chatbackend.adapters.providers.structured import structured_steps
from chatbackend.domain.errors import ChatError
from chatbackend.domain.events import ModelEvent
from chatbackend.domain.models import ModelProfile, ModelRequest

_UNSAID = ("stop", "seed")  # the dialect has no words for them


class ResponsesCodec:
    """Speaks Responses, statelessly: the whole context goes out with every request, nothing is stored there.

    But for an answer in the background, which the provider keeps so that the rest of a cut stream can be had; and on a
    WebSocket, where `turn` leaves out what the provider remembers.
    """

    def __init__(self, profile: ModelProfile) -> None:
        self._profile = speaking(profile, *_UNSAID)

    @property
    def profile(self) -> ModelProfile:
        """The facts that requests are shaped by."""
        return self._profile

    def request(self, request: ModelRequest) -> WireRequest:
        """Return the call to make.

        Raises: InvalidRequest for what Responses, or this model, has no way to say.
        """
        headers = {
            "content-type": "application/json",
            "accept": "text/event-stream" if request.stream else "application/json",
        }
        return WireRequest("/responses", headers, msgspec.json.encode(request_body(request, self._profile)))

    def reader(self, request: ModelRequest) -> Reader:
        """Return a fresh reader for one streamed answer."""
        steps = structured_steps(request, self._profile)
        reader = ResponsesReader(kept=request.background and request.stream)
        return SteppedReader(reader, steps) if steps else reader

    def turn(self, request: ModelRequest) -> SocketTurn:
        """Return the call to make on a WebSocket, for a streamed answer.

        Raises: InvalidRequest, as `request` does.
        """
        told = partial(told_again, profile=self._profile)
        return SocketTurn(request_body(request, self._profile), self.reader(request), told=told, error=self.error)

    def whole(self, body: bytes, request: ModelRequest) -> list[ModelEvent]:
        """Return the events of an answer that came as one JSON body.

        Raises: UpstreamError (and below) when it is none.
        """
        return through(ResponsesReader().whole(body), structured_steps(request, self._profile))

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> ChatError:
        """Return what a status that is not 2xx means; header names are lower case."""
        return http_error(status, headers, fault_of(body))
