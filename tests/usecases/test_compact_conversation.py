"""Making a conversation short: what the model is told, what comes of it, what is refused."""

import pytest

from chatbackend.domain.compaction import expanded
from chatbackend.domain.errors import InvalidRequest, UpstreamError
from chatbackend.domain.events import Finished, ReasoningDelta, TextDelta, UsageReported
from chatbackend.domain.items import InputText, Message, text_of
from chatbackend.domain.models import ModelProfile
from chatbackend.domain.usage import Usage
from chatbackend.usecases.compact_conversation import CompactAsk, CompactConversation, Compacted
from chatbackend.usecases.generate import Generate
from tests.support.fakes import ME, OTHER, Stage, Step, stage
from tests.usecases.test_relay_chat import Book, Steps

pytestmark = pytest.mark.anyio

SUMMARY: list[Step] = [
    ReasoningDelta("hm"),
    TextDelta(" They like "),
    TextDelta("tea. "),
    UsageReported(Usage(30, 4)),
    Finished("stop"),
]
TEA = [Message("msg_1", "user", [InputText("I like tea.")])]


async def compacted(on: Stage, ask: CompactAsk) -> Compacted:
    models = on.ports.ask.models
    generate = Generate(on.ports.ask, on.ports.prepare, Book(Steps()))
    return await CompactConversation(models, generate, on.truth, clock=on.clock, new_id=on.new_id)(ME, ask)


async def test_a_conversation_becomes_one_item() -> None:
    async with stage(SUMMARY) as on:
        short = await compacted(on, CompactAsk("m", list(TEA), instructions="Keep drinks."))
        assert text_of(expanded(short.item)).endswith("They like tea.")
        assert (short.usage, short.created_at) == (Usage(30, 4), int(on.clock.now()))
        asked = on.model.requests[0]
        assert text_of(asked.items[0]) == "user: I like tea."
        assert (asked.instructions or "").endswith("Keep drinks.")


async def test_what_a_response_knew_and_said_is_part_of_it() -> None:
    async with stage([TextDelta("Tea it is."), Finished("stop")], SUMMARY) as on:
        first = await on.answered("I like tea.")
        await compacted(on, CompactAsk("m", previous_response_id=first.id))
        told = text_of(on.model.requests[1].items[0])
        assert told == "user: I like tea.\n\nassistant: Tea it is."


async def test_a_short_form_can_be_made_shorter() -> None:
    async with stage(SUMMARY) as on:
        short = await compacted(on, CompactAsk("m", list(TEA)))
        await compacted(on, CompactAsk("m", [short.item]))
        assert "They like tea." in text_of(on.model.requests[1].items[0])


@pytest.mark.parametrize("of", ["nobody", "another"])
async def test_only_ones_own_responses_can_be_made_short(of: str) -> None:
    async with stage(SUMMARY) as on:
        response_id = "resp_0"
        if of == "another":
            response_id = (await on.create(on.ask(), OTHER)).response_id
            await on.ended(response_id)
        with pytest.raises(InvalidRequest) as caught:
            await compacted(on, CompactAsk("m", previous_response_id=response_id))
        assert caught.value.code == "previous_response_not_found"


async def test_nothing_cannot_be_made_short() -> None:
    async with stage(SUMMARY) as on:
        with pytest.raises(InvalidRequest, match="nothing to compact"):
            await compacted(on, CompactAsk("m"))
        assert on.model.requests == []


async def test_a_model_that_only_quotes_is_not_asked() -> None:
    async with stage(SUMMARY, profile=ModelProfile(follows_instructions=False)) as on:
        with pytest.raises(InvalidRequest) as caught:
            await compacted(on, CompactAsk("m", list(TEA)))
        assert caught.value.code == "unsupported_by_model"


@pytest.mark.parametrize(
    "script", [[TextDelta("They"), Finished("length")], [TextDelta(" "), Finished("stop")], [Finished("stop")]]
)
async def test_a_summary_that_is_not_whole_is_none(script: list[Step]) -> None:
    async with stage(script) as on:
        with pytest.raises(UpstreamError) as caught:
            await compacted(on, CompactAsk("m", list(TEA)))
        assert caught.value.code == "compaction_incomplete"
