"""A stage for relayed calls: providers that say, stall and hang up, a client, a ledger."""

from collections.abc import AsyncGenerator, Awaitable, Mapping
from itertools import count

import anyio

from chatbackend.domain.errors import ChatError, UpstreamError
from chatbackend.domain.identity import Principal
from chatbackend.domain.models import ModelProfile, ModelRequest
from chatbackend.domain.routing import Health, Route, Target, Timeouts
from chatbackend.domain.usage import CallOutcome, Settlement, Usage
from chatbackend.usecases.ask_model import AskModel
from chatbackend.usecases.ports import Call, Deployment, Drained, Take
from chatbackend.usecases.relay_chat import ChatRequest, RelayChat, Relayed

ME = Principal("t", "a", "a", "key")


class Steps(list[str]):
    """What happened, in order."""


class Told:
    """An account that is told what to think."""

    def __init__(self, *, ended: bool = True) -> None:
        self.ended = ended
        self.begun = False
        self.events = 0
        self.error: ChatError | None = None
        self.rest = b""
        self.bytes = b""

    def reads(self, content_type: str) -> bool:
        return content_type != "text/html"

    @property
    def outcome(self) -> CallOutcome | None:
        return "completed" if self.ended and b"d" in self.bytes else None

    def feed(self, chunk: bytes) -> bytes:
        self.bytes += chunk
        self.events += 1
        self.begun = b"b" in self.bytes
        if b"!" in chunk:
            self.error = UpstreamError("It failed.")
        return chunk.replace(b"!", b"")

    def usage(self) -> Usage:
        return Usage(1, len(self.bytes))


class Answer:
    """An upstream's answer of two pieces, the last of which comes with the end."""

    content_type = "text/event-stream"
    pieces: tuple[bytes, ...] = (b"ab", b"cd")
    hangs = False

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._left = list(self.pieces)

    async def read(self) -> bytes:
        if not self._left and self.hangs:
            await anyio.sleep_forever()
        return self._left.pop(0) if self._left else b""

    async def pass_on(self, take: Take, drained: Drained) -> bytes:
        while self.hangs or len(self._left) > 1:
            if not take(await self.read()):
                self._steps.append("stopped")
                await drained()
        return await self.read()

    async def whole(self) -> bytes:
        return b"".join([await self.read(), await self.read()])

    def close(self) -> None:
        self._steps.append("hung up")


class Empty(Answer):
    """It ends before it says anything."""

    pieces = ()


class Hanging(Answer):
    """It never says anything."""

    pieces = (b"a",)
    hangs = True


class Stalling(Answer):
    """It begins, and says no more."""

    pieces = (b"ab",)
    hangs = True


class Client:
    """Takes what is passed on; a `full` one wants no more before it was waited for."""

    def __init__(self, *, full: bool = False) -> None:
        self.chunks: list[bytes] = []
        self.waited = 0
        self._full = full

    async def start(self) -> None:
        self.chunks.clear()

    def write(self, chunk: bytes) -> bool:
        self.chunks.append(chunk)
        return not self._full

    async def drained(self) -> None:
        self.waited += 1

    async def hear(self, relayed: Relayed) -> list[bytes]:
        self.chunks.append(await relayed.pass_on(self.start, self.write, self.drained))
        return self.chunks


class Upstream:
    """A relay to nowhere."""

    def __init__(self, steps: Steps, error: Exception | None = None, *, answer: type[Answer] = Answer) -> None:
        self._steps = steps
        self._error = error
        self._answer = answer

    async def __call__(self, body: bytes, timeouts: Timeouts, *, stream: bool, headers: Mapping[str, str]) -> Answer:
        self._steps.append(f"dial {body.decode()}")
        if isinstance(self._error, TimeoutError):
            await anyio.sleep_forever()
        if self._error is not None:
            raise self._error
        return self._answer(self._steps)


class Book:
    """A ledger that commits when it is awaited."""

    def __init__(self, steps: Steps, error: ChatError | None = None) -> None:
        self._steps = steps
        self._error = error
        self.settlements: list[Settlement] = []

    def started(self, principal: Principal, call: Call) -> Awaitable[None]:
        self._steps.append(f"begin {call.model}")

        async def commit() -> None:
            if self._error is not None:
                raise self._error
            self._steps.append("committed")

        return commit()

    def settled(self, call: Call, settlement: Settlement) -> None:
        self._steps.append("settled")
        self.settlements.append(settlement)


class Silent:
    """A model that is never asked."""

    profile = ModelProfile()

    def stream(self, request: ModelRequest, timeouts: Timeouts) -> AsyncGenerator[object, None]:
        raise AssertionError(request)


class Models:
    """Deployments by name; those without a relay speak another dialect."""

    def __init__(self, **relays: Upstream | None) -> None:
        self._all = {
            f"p/{name}": Deployment(f"p/{name}", "p", name, Silent(), {"chat": relay} if relay else {})  # pyright: ignore[reportArgumentType]  # never asked
            for name, relay in relays.items()
        }

    def find(self, name: str) -> Deployment:
        return self._all[name]

    def route(self, name: str) -> Route:
        return Route(name, ((Target(name),),))

    def names(self) -> list[str]:
        return []

    def all(self) -> list[Deployment]:
        return list(self._all.values())


ONE = Route("p/m", ((Target("p/m"),),))
TWO = Route("r", ((Target("p/m"),), (Target("p/n"),)))


def relaying(book: Book, **relays: Upstream | None) -> RelayChat:
    ids = count(1)
    return RelayChat(
        AskModel(Models(**relays), Health(), lambda prefix: f"{prefix}_{next(ids)}", lambda: 0.5, anyio.current_time),
        book,
    )


def passed_on(account: Told, *, stream: bool = True) -> ChatRequest:
    return ChatRequest(str.encode, lambda: account, stream, input_tokens=9)


async def relay(
    steps: Steps, account: Told, error: Exception | None = None, *, stream: bool = True
) -> tuple[Relayed, Book]:
    book = Book(steps)
    relayed, attempts = await relaying(book, m=Upstream(steps, error))(ME, ONE, passed_on(account, stream=stream))
    assert attempts == 1
    return relayed, book
