"""A relayed call: one ledger row, committed before the first byte, settled however it ends."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Mapping
from dataclasses import replace
from itertools import count

import anyio
import pytest

from chatbackend.domain.errors import ChatError, Unavailable, UpstreamCut, UpstreamError, UpstreamTimeout
from chatbackend.domain.identity import Principal
from chatbackend.domain.models import ModelProfile, ModelRequest
from chatbackend.domain.routing import Health, Route, Rules, Target, Timeouts
from chatbackend.domain.usage import CallOutcome, Settlement, Usage
from chatbackend.usecases.ask_model import AskModel
from chatbackend.usecases.ports import Call, Deployment, Drained, Take
from chatbackend.usecases.relay_chat import ChatRequest, RelayChat, Relayed

pytestmark = pytest.mark.anyio

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


async def test_the_row_is_committed_before_the_first_byte_and_settled_after_the_last() -> None:
    steps = Steps()
    relayed, book = await relay(steps, Told())
    assert steps == ["begin p/m", "dial m", "committed"]
    assert await Client().hear(relayed) == [b"ab", b"cd"]
    assert relayed.content_type == "text/event-stream"
    assert steps[-1] == "settled"
    assert book.settlements == [Settlement(Usage(1, 4), "completed")]


async def test_a_client_that_leaves_is_billed_for_what_came() -> None:
    steps, book = Steps(), Book(Steps())
    relayed, _ = await relaying(book, m=Upstream(steps, answer=Stalling))(ME, ONE, passed_on(Told()))
    with anyio.move_on_after(0.01):
        await Client().hear(relayed)
    assert book.settlements == [Settlement(Usage(1, 2), "cancelled")]


async def test_a_client_that_is_full_is_waited_for() -> None:
    relayed, _ = await relay(steps := Steps(), Told())
    client = Client(full=True)
    assert await client.hear(relayed) == [b"ab", b"cd"]
    assert (steps.count("stopped"), client.waited) == (1, 1)


async def test_a_stream_that_just_stops_is_a_cut() -> None:
    relayed, book = await relay(Steps(), Told(ended=False))
    with pytest.raises(UpstreamCut):
        await Client().hear(relayed)
    assert book.settlements == [Settlement(Usage(1, 4), "failed")]


async def test_all_that_came_of_a_cut_stream_is_passed_on() -> None:
    relayed, _ = await relay(Steps(), Told(ended=False))
    client = Client()
    with pytest.raises(UpstreamCut):
        await client.hear(relayed)
    assert client.chunks == [b"ab", b"cd"]


async def test_a_whole_answer_comes_in_one_piece_and_is_settled() -> None:
    relayed, book = await relay(Steps(), Told(), stream=False)
    assert relayed.body == b"abcd"
    assert book.settlements == [Settlement(Usage(1, 4), "completed")]


async def test_a_whole_answer_that_just_stops_is_a_cut_and_is_settled() -> None:
    book, steps = Book(Steps()), Steps()
    with pytest.raises(UpstreamCut):
        await relaying(book, m=Upstream(steps))(ME, ONE, passed_on(Told(ended=False), stream=False))
    assert book.settlements == [Settlement(Usage(1, 4), "failed")]
    assert steps[-1] == "hung up"


async def test_an_answer_whose_row_cannot_be_committed_is_hung_up_on() -> None:
    steps = Steps()
    with pytest.raises(Unavailable):
        await relaying(Book(steps, Unavailable("no")), m=Upstream(steps))(ME, ONE, passed_on(Told()))
    assert steps == ["begin p/m", "dial m", "hung up", "settled"]


@pytest.mark.parametrize(
    ("error", "input_tokens"), [(UpstreamError("no"), 0), (UpstreamTimeout("slow"), 9), (UpstreamCut("cut"), 9)]
)
async def test_a_call_without_an_answer_costs_nothing_if_it_was_refused_and_else_what_went_in(
    error: ChatError, input_tokens: int
) -> None:
    steps, book = Steps(), Book(Steps())
    with pytest.raises(type(error)):
        await relaying(book, m=Upstream(steps, error))(ME, ONE, passed_on(Told()))
    assert book.settlements == [Settlement(Usage(input_tokens, estimated=True), "failed")]


async def test_a_call_that_is_cancelled_while_dialling_is_settled_too() -> None:
    steps, book = Steps(), Book(Steps())
    with anyio.move_on_after(0.01):
        await relaying(book, m=Upstream(steps, TimeoutError()))(ME, ONE, passed_on(Told()))
    assert book.settlements == [Settlement(Usage(9, estimated=True), "cancelled")]


async def test_only_routes_of_one_dialect_are_relayed() -> None:
    steps = Steps()
    relays = relaying(Book(steps), m=Upstream(steps), n=None)
    assert relays.takes(ONE)
    assert not relays.takes(TWO)
    with pytest.raises(UpstreamError):
        await relays(ME, Route("p/n", ((Target("p/n"),),)), passed_on(Told()))
    assert steps == []


@pytest.mark.parametrize("stream", [True, False])
async def test_a_failed_call_goes_to_the_next_deployment_with_a_row_of_its_own(stream: bool) -> None:  # noqa: FBT001  # a parameter of the test
    steps = Steps()
    relays = relaying(Book(steps), m=Upstream(steps, UpstreamError("no")), n=Upstream(steps))
    relayed, attempts = await relays(ME, TWO, passed_on(Told(), stream=stream))
    assert (relayed.call.model, relayed.call.attempt, attempts) == ("p/n", 2, 2)
    assert steps[:6] == ["begin p/m", "dial m", "committed", "settled", "begin p/n", "dial n"]
    if stream:
        assert await Client().hear(relayed) == [b"ab", b"cd"]


async def test_a_stream_that_stops_before_its_first_token_goes_to_the_next_deployment() -> None:
    steps = Steps()
    relays = relaying(Book(steps), m=Upstream(steps, answer=Empty), n=Upstream(steps))
    relayed, attempts = await relays(ME, TWO, passed_on(Told()))
    assert (relayed.call.model, attempts) == ("p/n", 2)


async def test_a_stream_that_hangs_before_its_first_token_goes_to_the_next_deployment() -> None:
    steps = Steps()
    relays = relaying(Book(steps), m=Upstream(steps, answer=Hanging), n=Upstream(steps))
    route = replace(TWO, rules=Rules(Timeouts(first_token_s=0.01)))
    relayed, _ = await relays(ME, route, passed_on(Told()))
    assert relayed.call.model == "p/n"
    assert await Client().hear(relayed) == [b"ab", b"cd"]


@pytest.mark.parametrize(
    ("stream", "timeouts"),
    [(True, Timeouts(first_token_s=0.01)), (True, Timeouts(total_s=0.01)), (False, Timeouts(total_s=0.01))],
)
async def test_who_sends_no_head_in_time_is_left_for_the_next_deployment(
    stream: bool,  # noqa: FBT001  # a parameter of the test
    timeouts: Timeouts,
) -> None:
    steps, book = Steps(), Book(Steps())
    relays = relaying(book, m=Upstream(steps, TimeoutError()), n=Upstream(steps))
    with anyio.fail_after(5):
        relayed, _ = await relays(ME, replace(TWO, rules=Rules(timeouts)), passed_on(Told(), stream=stream))
    assert relayed.call.model == "p/n"
    assert book.settlements[0] == Settlement(Usage(9, estimated=True), "failed")


async def test_who_begins_late_is_given_up_where_nobody_else_can_be_asked_too() -> None:
    steps = Steps()
    relays = relaying(Book(steps), m=Upstream(steps, answer=Hanging))
    with anyio.fail_after(5), pytest.raises(UpstreamTimeout):
        await relays(ME, replace(ONE, rules=Rules(Timeouts(first_token_s=0.01))), passed_on(Told()))
    assert steps[-2:] == ["hung up", "settled"]


async def test_who_sends_much_and_says_nothing_is_left() -> None:
    class Pinging(Answer):
        async def read(self) -> bytes:
            return b"a" * 65536

    steps = Steps()
    relays = relaying(Book(steps), m=Upstream(steps, answer=Pinging), n=Upstream(steps))
    relayed, _ = await relays(ME, TWO, passed_on(Told()))
    assert relayed.call.model == "p/n"


async def test_a_refused_call_is_settled_when_its_task_is_cancelled_before_its_row_is_there() -> None:
    waits, never = asyncio.Event(), asyncio.Event()

    class Slow(Book):
        def started(self, principal: Principal, call: Call) -> Awaitable[None]:
            async def commit() -> None:
                waits.set()
                await never.wait()

            return commit()

    book = Slow(Steps())
    relays = relaying(book, m=Upstream(Steps(), UpstreamError("no")))
    task = asyncio.create_task(relays(ME, ONE, passed_on(Told())))
    await waits.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert book.settlements == [Settlement(Usage(estimated=True), "failed")]


async def test_the_time_of_a_whole_answer_is_limited() -> None:
    steps = Steps()
    relays = relaying(Book(steps), m=Upstream(steps, answer=Hanging))
    with pytest.raises(UpstreamTimeout):
        await relays(ME, replace(ONE, rules=Rules(Timeouts(total_s=0.01))), passed_on(Told(), stream=False))
    assert steps[-2:] == ["hung up", "settled"]


async def test_the_time_of_a_stream_is_limited_after_its_first_token_too() -> None:
    steps = Steps()
    relays = relaying(Book(steps), m=Upstream(steps, answer=Stalling))
    relayed, _ = await relays(ME, replace(ONE, rules=Rules(Timeouts(total_s=0.01))), passed_on(Told()))
    with pytest.raises(UpstreamTimeout):
        await Client().hear(relayed)
    assert steps[-1] == "settled"


async def test_a_stream_that_crawls_is_a_fault() -> None:
    relays = relaying(Book(Steps()), m=Upstream(Steps()))
    rules = Rules(min_tokens_per_s=1e9, pace_window_s=0)
    relayed, _ = await relays(ME, replace(ONE, rules=rules), passed_on(Told(ended=False)))
    with pytest.raises(UpstreamTimeout) as caught:
        await Client().hear(relayed)
    assert caught.value.code == "upstream_slow"


async def test_a_client_that_crawls_is_no_fault_of_the_provider() -> None:
    class Long(Answer):
        pieces = (b"ab", b"c", b"c", b"c", b"cd")

    class Crawling(Client):
        async def drained(self) -> None:
            await anyio.sleep(0.03)

    relays = relaying(Book(Steps()), m=Upstream(Steps(), answer=Long))
    rules = Rules(min_tokens_per_s=100, pace_window_s=0.02)
    relayed, _ = await relays(ME, replace(ONE, rules=rules), passed_on(Told(ended=False)))
    client = Crawling(full=True)
    with pytest.raises(UpstreamCut):  # not `UpstreamTimeout`, and only behind the last byte
        await client.hear(relayed)
    assert b"".join(client.chunks) == b"abccccd"


async def test_an_answer_that_is_whole_is_not_given_up_for_having_been_slow() -> None:
    relays = relaying(Book(Steps()), m=Upstream(Steps()))
    rules = Rules(min_tokens_per_s=1e9, pace_window_s=0)
    relayed, _ = await relays(ME, replace(ONE, rules=rules), passed_on(Told(ended=True)))
    assert await Client().hear(relayed) == [b"ab", b"cd"]


async def test_a_stream_that_keeps_up_is_not_disturbed() -> None:
    relays = relaying(Book(Steps()), m=Upstream(Steps()))
    rules = Rules(Timeouts(total_s=60), min_tokens_per_s=0.1)
    relayed, _ = await relays(ME, replace(ONE, rules=rules), passed_on(Told()))
    assert await Client().hear(relayed) == [b"ab", b"cd"]


async def test_a_client_that_leaves_before_the_head_is_out_is_hung_up_on_and_billed() -> None:
    steps = Steps()
    relayed, book = await relay(steps, Told())

    async def gone() -> None:
        raise ConnectionResetError

    client = Client()
    with pytest.raises(ConnectionResetError):
        await relayed.pass_on(gone, client.write, client.drained)
    assert steps[-2:] == ["hung up", "settled"]
    assert len(book.settlements) == 1


async def test_a_stream_that_ends_without_a_token_is_cut_unless_its_end_was_said() -> None:
    class Tokenless(Answer):
        pieces = (b"a",)

    steps = Steps()
    relays = relaying(Book(steps), m=Upstream(steps, answer=Tokenless), n=Upstream(steps))
    relayed, attempts = await relays(ME, TWO, passed_on(Told(ended=True)))
    assert (relayed.call.model, attempts) == ("p/m", 1)
    relayed, attempts = await relays(ME, TWO, passed_on(Told(ended=False)))
    assert (relayed.call.model, attempts) == ("p/n", 2)


async def test_a_client_that_is_full_is_waited_for_where_a_pace_is_kept_too() -> None:
    relays = relaying(Book(Steps()), m=Upstream(Steps()))
    relayed, _ = await relays(ME, replace(ONE, rules=Rules(min_tokens_per_s=0.1)), passed_on(Told()))
    client = Client(full=True)
    assert b"".join(await client.hear(relayed)) == b"abcd"
    assert client.waited


class Page(Answer):
    """It is no answer at all."""

    content_type = "text/html"


class Failing(Answer):
    """It fails after its first token, and goes on."""

    pieces = (b"ab", b"!", b"cd", b"ef")


class FailingLast(Answer):
    """It fails with its last bytes."""

    pieces = (b"ab", b"c!d")


class FailingAtOnce(Answer):
    """It fails before its first token."""

    pieces = (b"!", b"b")


async def test_an_answer_of_another_kind_goes_to_the_next_deployment() -> None:
    steps = Steps()
    relays = relaying(Book(steps), m=Upstream(steps, answer=Page), n=Upstream(steps))
    relayed, attempts = await relays(ME, TWO, passed_on(Told()))
    assert (relayed.call.model, attempts) == ("p/n", 2)
    with pytest.raises(UpstreamError, match="no events"):
        await relaying(Book(steps), m=Upstream(steps, answer=Page))(ME, ONE, passed_on(Told()))
    assert steps[-2:] == ["hung up", "settled"]


@pytest.mark.parametrize(("answer", "shown"), [(Failing, [b"ab", b""]), (FailingLast, [b"ab", b"cd"])])
async def test_a_failure_inside_a_stream_ends_it_and_nothing_of_it_is_shown(
    answer: type[Answer], shown: list[bytes]
) -> None:
    steps = Steps()
    relays = relaying(book := Book(steps), m=Upstream(steps, answer=answer))
    relayed, _ = await relays(ME, ONE, passed_on(Told(ended=False)))
    client = Client()
    with pytest.raises(UpstreamError, match="It failed"):
        await client.hear(relayed)
    assert client.chunks == shown
    assert steps[-2:] == ["hung up", "settled"]
    assert book.settlements[0].outcome == "failed"


async def test_a_failure_before_the_first_token_goes_to_the_next_deployment() -> None:
    class Fresh(Told):
        """Each attempt reads anew."""

    steps = Steps()
    relays = relaying(Book(steps), m=Upstream(steps, answer=FailingAtOnce), n=Upstream(steps))
    request = ChatRequest(str.encode, lambda: Fresh(ended=True), stream=True)
    relayed, attempts = await relays(ME, TWO, request)
    assert (relayed.call.model, attempts) == ("p/n", 2)


async def test_what_was_held_back_comes_with_the_end() -> None:
    class Marked(Told):
        """It holds the end mark back."""

        def __init__(self) -> None:
            super().__init__()
            self.rest = b"[DONE]"

    relays = relaying(Book(Steps()), m=Upstream(Steps()))
    relayed, _ = await relays(ME, ONE, passed_on(Marked()))
    assert b"".join(await Client().hear(relayed)) == b"abcd[DONE]"
