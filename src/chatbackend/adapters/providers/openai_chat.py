"""The Chat Completions dialect: OpenAI and the servers that speak like it (vLLM, Ollama, llama.cpp, Groq, Mistral...).

Source: the chat types of the `openai` package (types/chat/).
"""

from collections.abc import Mapping

import msgspec

from chatbackend.adapters.providers.chat.calls_in_text import CallsInText
from chatbackend.adapters.providers.chat.reader import ChatReader
from chatbackend.adapters.providers.chat.request import request_body
from chatbackend.adapters.providers.codec import Reader, WireRequest
from chatbackend.adapters.providers.fitting import speaking
from chatbackend.adapters.providers.provider_errors import fault_of, http_error
from chatbackend.adapters.providers.steps import Step, SteppedReader, through
from chatbackend.adapters.providers.structured import structured_steps
from chatbackend.domain.errors import ChatError
from chatbackend.domain.events import ModelEvent
from chatbackend.domain.models import ModelProfile, ModelRequest

_UNSAID = ("reasoning_summary",)  # the dialect has no words for them


class ChatCodec:
    """Speaks Chat Completions."""

    def __init__(self, profile: ModelProfile) -> None:
        self._profile = speaking(profile, *_UNSAID)

    @property
    def profile(self) -> ModelProfile:
        """The facts that requests are shaped by."""
        return self._profile

    def request(self, request: ModelRequest) -> WireRequest:
        """Return the call to make.

        Raises: InvalidRequest for what Chat Completions, or this model, has no way to say.
        """
        headers = {
            "content-type": "application/json",
            "accept": "text/event-stream" if request.stream else "application/json",
        }
        body = msgspec.json.encode(request_body(request, self._profile))
        return WireRequest("/chat/completions", headers, body)

    def reader(self, request: ModelRequest) -> Reader:
        """Return a fresh reader for one streamed answer."""
        reader = ChatReader()
        steps = self._steps(reader, request)
        return SteppedReader(reader, steps) if steps else reader

    def whole(self, body: bytes, request: ModelRequest) -> list[ModelEvent]:
        """Return the events of an answer that came as one JSON body.

        Raises: UpstreamError (and below) when it is none.
        """
        reader = ChatReader()
        return through(reader.take(body) + reader.end(), self._steps(reader, request))

    def _steps(self, reader: ChatReader, request: ModelRequest) -> list[Step]:
        structured = structured_steps(request, self._profile)
        names = [tool.name for tool in request.tools]
        # Text that is held and cut anew could not keep its tokens' probabilities.
        in_text = self._profile.calls_in_text and request.tool_choice.mode != "none" and request.top_logprobs is None
        return [CallsInText(names, lambda: reader.answer_id), *structured] if names and in_text else [*structured]

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> ChatError:
        """Return what a status that is not 2xx means; header names are lower case."""
        return http_error(status, headers, fault_of(body))
