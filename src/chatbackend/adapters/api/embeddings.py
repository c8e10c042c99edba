"""The Embeddings API: what is read of a request that is passed on, and the whole of it for the built-in embedder.

Source: the `openai` package, types/embedding_create_params.py and create_embedding_response.py.
"""

import base64
from array import array
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from chatbackend.adapters.api.checking import worded
from chatbackend.domain.errors import ChatError, InvalidRequest, UpstreamError
from chatbackend.domain.usage import CHARACTERS_PER_TOKEN, CallOutcome, Usage

Text = Annotated[str, Meta(min_length=1)]
Inputs = Annotated[list[Text], Meta(min_length=1, max_length=2048)]


class Asked(Struct):
    """The part of a request that we act on when it is passed on."""

    model: str


class EmbeddingRequest(Struct):
    """A request to the built-in embedder, which reads texts only and has one dimension."""

    input: Text | Inputs
    model: str = ""
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    user: str | None = None

    @property
    def texts(self) -> list[str]:
        """The texts to embed, in order."""
        return [self.input] if isinstance(self.input, str) else self.input


class _Counts(Struct):
    prompt_tokens: int = 0


class _Carrier(Struct):
    data: list[Any] | None = None
    usage: _Counts | None = None


def asked(body: bytes) -> Asked:
    """Read the model's name. Raises: InvalidRequest naming the place."""
    return _read(body, Asked)


def read(body: bytes, *, dimension: int) -> EmbeddingRequest:
    """Read a request to the built-in embedder, which makes vectors of `dimension` numbers. Raises: InvalidRequest."""
    request = _read(body, EmbeddingRequest)
    if request.dimensions not in (None, dimension):
        message = f"This model makes vectors of {dimension} dimensions only."
        raise InvalidRequest(message, param="dimensions", code="unsupported_by_model")
    return request


def _read(body: bytes, shape: type[Any]) -> Any:  # noqa: ANN401 - the caller names the shape
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        raise worded(error) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.", code="invalid_json") from error


def answer(request: EmbeddingRequest, vectors: Sequence[bytes]) -> bytes:
    """Return the answer's body; `vectors` are 32-bit floats, lowest byte first. Tokens are an estimate that says so."""
    tokens = -(-sum(map(len, request.texts)) // CHARACTERS_PER_TOKEN)
    shown = _base64 if request.encoding_format == "base64" else _floats
    return msgspec.json.encode(
        {
            "object": "list",
            "data": [{"object": "embedding", "index": at, "embedding": shown(raw)} for at, raw in enumerate(vectors)],
            "model": request.model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "chatbackend_estimated": True},
        }
    )


def _base64(vector: bytes) -> str:
    return base64.b64encode(vector).decode()


def _floats(vector: bytes) -> list[float]:
    return array("f", vector).tolist()


class EmbeddingAccount:
    """Reads an answer that came whole: what it used."""

    rest = b""
    ended = True

    def __init__(self, request_bytes: int) -> None:
        self.events = 0
        self.begun = True
        self.error: ChatError | None = None
        self.outcome: CallOutcome | None = None
        self._guess = Usage(request_bytes // CHARACTERS_PER_TOKEN, estimated=True)
        self._counted: Usage | None = None

    def reads(self, content_type: str) -> bool:
        """Return True: what an answer is, its bytes say."""
        return bool(content_type)

    def feed(self, chunk: bytes) -> bytes:
        """Take the whole answer."""
        try:
            answer = msgspec.json.decode(chunk, type=_Carrier)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            answer = _Carrier()
        if answer.data is None:
            self.error, self.outcome = UpstreamError("The provider sent what are no embeddings."), "failed"
            return chunk
        self.outcome = "completed"
        if answer.usage is not None:
            self._counted = Usage(answer.usage.prompt_tokens)
        return chunk

    def usage(self) -> Usage:
        """Return the provider's count, else an estimate by the size of the request; nothing for what is no answer."""
        return Usage(estimated=True) if self.error else self._counted or self._guess
