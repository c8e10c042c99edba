"""The official SDK on a server under test, with its own validation on: an object that its types refuse is an error.

The SDK builds what comes over a WebSocket unchecked, so `ask` checks that itself.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import openai
from openai.types.responses import Response, ResponsesServerEvent, ResponseStreamEvent
from pydantic import TypeAdapter

from tests.support.server import Server

Transport = Literal["json", "sse", "ws"]
TRANSPORTS: tuple[Transport, ...] = ("json", "sse", "ws")
TERMINAL = frozenset(("response.completed", "response.failed", "response.incomplete"))
SOCKET_EVENT: TypeAdapter[ResponsesServerEvent] = TypeAdapter(ResponsesServerEvent)


def client(server: Server, key: str | None = None) -> openai.OpenAI:
    """Return a strict client that tries once."""
    return openai.OpenAI(
        base_url=server.base_url, api_key=key or server.key, max_retries=0, _strict_response_validation=True
    )


def async_client(server: Server, key: str | None = None) -> openai.AsyncOpenAI:
    """Return a strict client that tries once."""
    return openai.AsyncOpenAI(
        base_url=server.base_url, api_key=key or server.key, max_retries=0, _strict_response_validation=True
    )


@dataclass(slots=True)
class Answered:
    """What one question brought: the response, and the events that led to it (none over JSON)."""

    response: Response
    events: list[ResponseStreamEvent | ResponsesServerEvent] = field(default_factory=list[Any])

    @property
    def deltas(self) -> str:
        """The text as it was streamed."""
        return "".join(event.delta for event in self.events if event.type == "response.output_text.delta")

    @property
    def annotations(self) -> list[dict[str, Any]]:
        """Every annotation of the output, our own fields included."""
        parts = [part for item in self.response.output if item.type == "message" for part in item.content]
        return [each.model_dump() for part in parts if part.type == "output_text" for each in part.annotations]


async def ask(client: openai.AsyncOpenAI, transport: Transport, **request: object) -> Answered:
    """Ask over a transport and see the answer through, numbers gapless. Raises: APIStatusError where JSON fails."""
    create = cast(Callable[..., Any], client.responses.create)  # any request, checked by the server
    if transport == "json":
        return Answered(await create(**request))
    events: list[Any] = []
    if transport == "sse":
        async with await create(**request, stream=True) as stream:
            events = [event async for event in stream]
    else:
        async with client.responses.connect() as connection:
            await cast(Callable[..., Any], connection.response.create)(**request)
            while not events or events[-1].type not in TERMINAL:
                events.append(SOCKET_EVENT.validate_json(await connection.recv_bytes()))
                assert events[-1].type != "error", events[-1]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type in TERMINAL
    return Answered(Response.model_validate(events[-1].response.model_dump(by_alias=True)), events)
