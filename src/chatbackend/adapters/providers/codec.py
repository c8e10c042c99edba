"""What a provider codec is: pure functions between our vocabulary and one provider's wire.

A provider is one class that satisfies `Codec`; `infra.models.http_model.HttpModel` runs any of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec

from chatbackend.adapters.wire.sse import SseEvent
from chatbackend.domain.errors import ChatError, InvalidRequest
from chatbackend.domain.events import ModelEvent
from chatbackend.domain.models import ModelProfile, ModelRequest

# What decoding an answer that is no (or other) JSON raises; nesting without end is the last.
GARBAGE: tuple[type[Exception], ...] = (msgspec.MsgspecError, ValueError, RecursionError)


# Open Responses has them as they are in Chat Completions; OpenAI's own Responses API does not.
_SHARED = frozenset(("presence_penalty", "frequency_penalty"))


@dataclass(frozen=True, slots=True)
class WireRequest:
    """A POST: a path below the provider's base URL, headers (no credential among them), the body."""

    path: str
    headers: dict[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a provider keeps an answer that it goes on with by itself: how to come back to it, and how to end it."""

    path: str
    query: str
    cancel_path: str


class Reader(Protocol):
    """Reads one streamed answer. `done` is True once the provider's end mark was read.

    `place`: where the rest of a cut stream can be had, None for nearly all. Whoever comes back gives the same reader
    what follows; what it has read already it reads over.
    """

    done: bool

    @property
    def place(self) -> Place | None: ...

    def feed(self, event: SseEvent) -> list[ModelEvent]:
        """Return what one event says; `Finished` comes with the end mark, after every report of usage.

        Raises: UpstreamError (and below) for an error inside the stream, garbage, or an end mark without a reason.
        """
        ...

    def end(self) -> list[ModelEvent]:
        """Return what is still held back when the stream has no more bytes, for whatever cause.

        Raises: UpstreamCut when the provider had not said why it stopped.
        """
        ...


class Codec(Protocol):
    """One provider's dialect. Pure: no clock, no chance, no waiting."""

    @property
    def profile(self) -> ModelProfile:
        """The facts that requests are shaped by."""
        ...

    def request(self, request: ModelRequest) -> WireRequest:
        """Return the call to make.

        Raises: InvalidRequest for what this provider has no way to say.
        """
        ...

    def reader(self, request: ModelRequest) -> Reader:
        """Return a fresh reader for one streamed answer to `request`."""
        ...

    def whole(self, body: bytes, request: ModelRequest) -> list[ModelEvent]:
        """Return the events of an answer to `request` that came as one JSON body.

        Raises: UpstreamError (and below) when it is none.
        """
        ...

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> ChatError:
        """Return what a status that is not 2xx means; header names are lower case."""
        ...


def endpoint_url(base_url: str, path: str) -> str:
    """Join a configured endpoint and a codec's path, however much of `/v1` the operator wrote.

    A bare host gets `/v1` before a path without it; a base that ends in `/v1` keeps only one.
    """
    base = base_url.rstrip("/")
    if path.startswith("/v1/"):
        return base.removesuffix("/v1") + path
    return base + path if urlsplit(base).path else f"{base}/v1{path}"


def passthrough(request: ModelRequest, dialect: str) -> dict[str, Any]:
    """Return the request's fields that we do not know, for a provider of this dialect.

    Raises: InvalidRequest for such a field of another dialect, unless its definition lets a server ignore it.
    """
    if request.extra_dialect == dialect:
        return {**request.hints, **request.extra}
    shared = _SHARED if (request.extra_dialect, dialect) == ("responses", "chat") else frozenset[str]()
    for name in request.extra:
        if name not in shared:
            raise InvalidRequest(f"This model has no way to take '{name}'.", param=name, code="unsupported_by_model")
    return dict(request.extra)


def present(**fields: object) -> dict[str, Any]:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def unsupported(what: str, *, param: str | None = None) -> InvalidRequest:
    """Return the error for a request that holds what the chosen model does not take."""
    return InvalidRequest(f"This model does not take {what}.", param=param, code="unsupported_by_model")
