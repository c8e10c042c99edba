"""A relayed call: one ledger row, committed before the first byte, settled however it ends."""

import anyio
import pytest

from chatbackend.domain.errors import ChatError, Unavailable, UpstreamCut, UpstreamError, UpstreamTimeout
from chatbackend.domain.routing import Route, Target
from chatbackend.domain.usage import Settlement, Usage
from tests.support.relay_stage import (
    ME,
    ONE,
    TWO,
    Book,
    Client,
    Stalling,
    Steps,
    Told,
    Upstream,
    passed_on,
    relay,
    relaying,
)

pytestmark = pytest.mark.anyio


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
