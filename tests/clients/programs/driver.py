"""What every client program in Python spells: a question, its answer or failure, and the driver between them.

Runs in the environment of the client under test, so it is the standard library alone.
"""

import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SHAPE: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "people": {"type": "integer"}, "capital": {"type": "boolean"}},
    "required": ["city", "people", "capital"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Where a client is pointed."""

    url: str
    key: str
    model: str
    timeout_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Tool:
    """A function of the caller's."""

    name: str
    description: str
    run: Callable[[str], str]

    @property
    def parameters(self) -> dict[str, Any]:
        """Its schema: one place."""
        place = {"type": "string", "description": "A city."}
        return {"type": "object", "properties": {"place": place}, "required": ["place"], "additionalProperties": False}


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the model asks for."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Question:
    """A user's turn, and after it the calls it led to with their outputs."""

    text: str
    image: bool = False
    tools: Sequence[Tool] = ()
    calls: Sequence[ToolCall] = ()
    outputs: Sequence[str] = ()


@dataclass(slots=True)
class Answer:
    """What came back; `usage` is what the client says it cost, in and out."""

    text: str = ""
    calls: list[ToolCall] = field(default_factory=list[ToolCall])
    usage: tuple[int, int] | None = None
    id: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """What a client's exception tells; None is what it never tells."""

    status: int
    code: str | None
    retry_after: str | None


class Driver:
    """One client in one dialect. `timeouts` are its errors when it waits no longer."""

    dialect = ""
    answer_id = ""  # of the answer that is being streamed, where its API can cancel by it
    timeouts: tuple[type[Exception], ...] = ()
    tells_code = True
    tells_retry_after = True

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    async def ask(self, question: Question) -> Answer:
        """Ask for a whole answer."""
        raise NotImplementedError

    def stream(self, question: Question) -> AsyncGenerator[str | Answer, None]:
        """Yield the pieces of the answer's text, then the answer."""
        raise NotImplementedError

    async def parse(self, text: str) -> dict[str, Any]:
        """Ask for an object by SHAPE."""
        raise NotImplementedError

    def failure(self, error: Exception) -> Failure | None:
        """Read the client's own exception, None for any other."""
        raise NotImplementedError

    async def stop(self, answer_id: str) -> str:
        """Cancel an answer by its id; return the status it has then."""
        raise NotImplementedError

    async def models(self) -> list[str]:
        """List the models' names."""
        raise NotImplementedError

    async def count(self, text: str) -> int:
        """Ask what a question would cost to read."""
        raise NotImplementedError

    async def use_tools(self, text: str, tools: Sequence[Tool]) -> Answer:
        """Ask, make the calls, give their outputs back: the way of a client that leaves this to its caller."""
        asked = Question(text, tools=tools)
        first = await collect(self, asked) if len(tools) > 1 else await self.ask(asked)
        by_name = {tool.name: tool for tool in tools}
        outputs = [by_name[call.name].run(json.loads(call.arguments)["place"]) for call in first.calls]
        return await self.ask(replace(asked, calls=first.calls, outputs=outputs))

    async def close(self) -> None:
        """Let go of the connections."""


async def collect(driver: Driver, question: Question, pieces: list[str] | None = None) -> Answer:
    """See a stream through; return its answer."""
    answer: Answer | None = None
    async with aclosing(driver.stream(question)) as stream:
        async for piece in stream:
            if isinstance(piece, Answer):
                answer = piece
            elif pieces is not None:
                pieces.append(piece)
    assert answer is not None, "the stream ended without an answer"
    return answer
