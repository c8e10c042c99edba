"""A relayed call: one ledger row, committed before the first byte, settled however it ends."""

import contextlib
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing

import anyio
import pytest

from chatbackend.domain.errors import ChatError, InvalidRequest, Unavailable, UpstreamCut, UpstreamError
from chatbackend.domain.identity import Principal
from chatbackend.domain.models import ModelProfile, ModelRequest
from chatbackend.domain.usage import Usage
from chatbackend.usecases.ports import Call, Deployment
from chatbackend.usecases.relay_chat import RelayChat, Relayed

pytestmark = pytest.mark.anyio

ME = Principal("t", "a", "a", "key")


class Steps(list[str]):
    """What happened, in order."""


class Told:
    """An account that is told what to think."""

    def __init__(self, *, ended: bool = True) -> None:
        self.ended = ended
        self.bytes = b""

    def feed(self, chunk: bytes) -> None:
        self.bytes += chunk

    def usage(self) -> Usage:
        return Usage(1, len(self.bytes))


class Answer:
    """An upstream's answer of two pieces."""

    content_type = "text/event-stream"

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self.over = False

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        yield b"ab"
        self.over = True
        yield b"cd"

    async def whole(self) -> bytes:
        return b"abcd"

    def close(self) -> None:
        self._steps.append("hung up")


class Upstream:
    """A relay to nowhere."""

    def __init__(self, steps: Steps, error: Exception | None = None) -> None:
        self._steps = steps
        self._error = error

    async def __call__(self, body: bytes, *, stream: bool) -> Answer:
        self._steps.append(f"dial {body.decode()}")
        if isinstance(self._error, TimeoutError):
            await anyio.sleep_forever()
        if self._error is not None:
            raise self._error
        return Answer(self._steps)


class Book:
    """A ledger that commits when it is awaited."""

    def __init__(self, steps: Steps, error: ChatError | None = None) -> None:
        self._steps = steps
        self._error = error
        self.usage: list[Usage] = []

    def started(self, principal: Principal, call: Call) -> Awaitable[None]:
        self._steps.append(f"begin {call.model}")

        async def commit() -> None:
            if self._error is not None:
                raise self._error
            self._steps.append("committed")

        return commit()

    def settled(self, call: Call, usage: Usage) -> None:
        self._steps.append("settled")
        self.usage.append(usage)


class Silent:
    """A model that is never asked."""

    profile = ModelProfile()

    def stream(self, request: ModelRequest) -> AsyncGenerator[object, None]:
        raise AssertionError(request)


class Models:
    """One deployment."""

    def __init__(self, relay: Upstream | None) -> None:
        self._one = Deployment("p/m", "p", "m", Silent(), relay)  # pyright: ignore[reportArgumentType]  # never asked

    def find(self, name: str) -> Deployment:
        return self._one

    def all(self) -> list[Deployment]:
        return [self._one]


async def relay(steps: Steps, account: Told, error: Exception | None = None) -> tuple[Relayed, Book]:
    book = Book(steps)
    run = RelayChat(Models(Upstream(steps, error)), book, lambda prefix: f"{prefix}_1")
    return await run(ME, "p/m", lambda name: name.encode(), stream=True, account=account), book


async def test_the_row_is_committed_before_the_first_byte_and_settled_after_the_last() -> None:
    steps = Steps()
    relayed, book = await relay(steps, Told())
    assert steps == ["begin p/m", "dial m", "committed"]
    assert [chunk async for chunk in relayed.chunks()] == [b"ab", b"cd"]
    assert relayed.content_type == "text/event-stream"
    assert steps[-1] == "settled"
    assert book.usage == [Usage(1, 4)]


async def test_a_client_that_leaves_is_billed_for_what_came() -> None:
    relayed, book = await relay(Steps(), Told())
    async with aclosing(relayed.chunks()) as chunks:
        await anext(chunks)
    assert book.usage == [Usage(1, 2)]


async def test_a_stream_that_just_stops_is_a_cut() -> None:
    relayed, book = await relay(Steps(), Told(ended=False))
    with pytest.raises(UpstreamCut):
        _ = [chunk async for chunk in relayed.chunks()]
    assert len(book.usage) == 1


@pytest.mark.parametrize(("ended", "seen"), [(True, [False, True]), (False, [False, False])])
async def test_the_last_chunk_is_known_for_the_last_unless_more_must_be_said(
    ended: bool,  # noqa: FBT001  # a parameter of the test
    seen: list[bool],
) -> None:
    relayed, _ = await relay(Steps(), Told(ended=ended))
    over: list[bool] = []
    with contextlib.suppress(UpstreamCut):
        async for _ in relayed.chunks():
            over.append(relayed.over)
    assert over == seen


async def test_a_whole_answer_comes_in_one_piece_and_is_settled() -> None:
    relayed, book = await relay(Steps(), Told())
    assert await relayed.whole() == b"abcd"
    assert book.usage == [Usage(1, 4)]


async def test_a_whole_answer_that_just_stops_is_a_cut_and_is_settled() -> None:
    relayed, book = await relay(Steps(), Told(ended=False))
    with pytest.raises(UpstreamCut):
        await relayed.whole()
    assert book.usage == [Usage(1, 4)]


async def test_an_answer_whose_row_cannot_be_committed_is_hung_up_on() -> None:
    steps = Steps()
    run = RelayChat(Models(Upstream(steps)), Book(steps, Unavailable("no")), lambda prefix: prefix)
    with pytest.raises(Unavailable):
        await run(ME, "p/m", str.encode, stream=False, account=Told())
    assert steps == ["begin p/m", "dial m", "hung up", "settled"]


async def test_a_refused_call_has_one_settled_estimate() -> None:
    steps = Steps()
    with pytest.raises(UpstreamError):
        await relay(steps, Told(), UpstreamError("no"))
    assert steps == ["begin p/m", "dial m", "committed", "settled"]


async def test_a_call_that_is_cancelled_while_dialling_is_settled_too() -> None:
    steps = Steps()
    with anyio.move_on_after(0):
        await relay(steps, Told(), TimeoutError())
    assert steps == ["begin p/m", "dial m", "committed", "settled"]


async def test_a_provider_of_another_dialect_is_refused_before_anything_is_written() -> None:
    steps = Steps()
    run = RelayChat(Models(None), Book(steps), lambda prefix: prefix)
    with pytest.raises(InvalidRequest, match="/v1/responses"):
        await run(ME, "p/m", str.encode, stream=False, account=Told())
    assert steps == []
