"""Relayed calls that fail, hang, crawl or stop: who is asked next, what is shown, and what it costs."""

import asyncio
from collections.abc import Awaitable
from dataclasses import replace

import anyio
import pytest

from chatbackend.domain.errors import UpstreamCut, UpstreamError, UpstreamTimeout
from chatbackend.domain.identity import Principal
from chatbackend.domain.routing import Rules, Timeouts
from chatbackend.domain.usage import Settlement, Usage
from chatbackend.usecases.ports import Call
from chatbackend.usecases.relay_chat import ChatRequest
from tests.support.relay_stage import (
    ME,
    ONE,
    TWO,
    Answer,
    Book,
    Client,
    Empty,
    Hanging,
    Stalling,
    Steps,
    Told,
    Upstream,
    passed_on,
    relay,
    relaying,
)

pytestmark = pytest.mark.anyio


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
