"""A request shaped for one model: files resolved, passages put in, what does not fit refused."""

import pytest

from chatbackend.adapters.api import responses as shapes
from chatbackend.domain.compaction import expanded, seal
from chatbackend.domain.errors import InvalidRequest, NotFound
from chatbackend.domain.items import Compaction, FunctionCall, InputFile, InputImage, InputText, Item, Message, Part
from chatbackend.domain.models import ModelProfile, ModelRequest, TextFormat, ToolChoice
from chatbackend.domain.passages import Passage
from chatbackend.domain.responses import Ask
from chatbackend.usecases.ports import Deployment
from chatbackend.usecases.prepare_request import PrepareRequest, refuse_if_none_takes, refuse_unsupported
from tests.support.fakes import ME, FakeAttachments, FakeModel
from tests.support.model_events import numbered

pytestmark = pytest.mark.anyio

TEA = Passage("file-1", "a.pdf", 0, 3, "Tea", 0.9)
PLAIN = ModelProfile(accepts_tools=False, accepts_images=False, accepts_files=False)
ABLE = ModelProfile(accepts_files=True)


def asked(**body: object) -> Ask:
    return shapes.ask(shapes.read({"model": "m", "input": "hi", **body}), numbered())


async def prepared(
    items: list[Item], profile: ModelProfile, ask: Ask | None = None, passages: list[Passage] | None = None
) -> ModelRequest:
    deployment = Deployment("provider/m", "provider", "upstream-m", FakeModel([], profile))
    prepare = PrepareRequest(FakeAttachments())
    return await prepare(ask or asked(), ME, items=items, passages=passages or [], deployment=deployment)


def holding(part: Part) -> list[Item]:
    return [Message("msg_1", "user", [InputText("see"), part])]


async def part_of(part: Part, profile: ModelProfile) -> Part:
    [item] = (await prepared(holding(part), profile)).items
    assert isinstance(item, Message)
    return item.content[1]


async def test_all_settings_reach_the_model() -> None:
    ask = asked(
        instructions="Be brief.",
        tools=[{"type": "function", "name": "add"}],
        tool_choice="required",
        parallel_tool_calls=False,
        temperature=0.5,
        top_p=0.9,
        max_output_tokens=7,
        top_logprobs=2,
        text={"format": {"type": "json_object"}},
        reasoning={"effort": "low"},
        user="anna",
        future=1,
    )
    made = await prepared([Message("m", "user", [InputText("hi")])], ABLE, ask)
    assert (made.model, made.instructions, [tool.name for tool in made.tools]) == ("upstream-m", "Be brief.", ["add"])
    assert (made.tool_choice, made.parallel_tool_calls, made.text_format) == (
        ToolChoice("required"),
        False,
        TextFormat("json_object"),
    )
    assert (made.temperature, made.top_p, made.max_output_tokens, made.top_logprobs) == (0.5, 0.9, 7, 2)
    assert (made.reasoning_effort, made.user, made.extra, made.stream) == ("low", "anna", {"future": 1}, True)


async def test_passages_go_into_the_prompt_of_models_that_read_one() -> None:
    made = await prepared([], ModelProfile(), asked(instructions="Be brief."), [TEA])
    assert "【1】 a.pdf\nTea" in (made.instructions or "")
    assert made.passages == [TEA]
    unread = await prepared([], ModelProfile(reads_passages=False), asked(instructions="Be brief."), [TEA])
    assert (unread.instructions, unread.passages) == ("Be brief.", [TEA])


async def test_a_file_goes_whole_to_a_model_that_reads_files_and_as_text_to_others() -> None:
    whole = await part_of(InputFile("file-1"), ABLE)
    assert whole == InputFile(filename="a.png", file_data="data:image/png;base64,AA==")
    assert await part_of(InputFile("file-1"), PLAIN) == InputText("File a.txt:\nwords")


async def test_an_image_by_id_becomes_its_bytes() -> None:
    found = await part_of(InputImage(file_id="file-1", detail="low"), ABLE)
    assert found == InputImage("data:image/png;base64,AA==", detail="low")


@pytest.mark.parametrize("part", [InputImage("https://example.com/a.png"), InputFile(file_data="AA==", filename="a")])
async def test_what_is_inline_is_passed_on_as_it_is(part: Part) -> None:
    assert await part_of(part, ABLE) == part


async def test_other_items_are_passed_on_as_they_are() -> None:
    items: list[Item] = [FunctionCall("fc", "c", "f"), Message("m", "user", [InputText("hi")])]
    assert (await prepared(items, PLAIN)).items == items


@pytest.mark.parametrize("part", [InputImage(file_id="file-2"), InputFile("file-2")])
async def test_a_file_that_is_not_there_is_said_to_be_so(part: Part) -> None:
    with pytest.raises(NotFound):
        await part_of(part, ABLE)


@pytest.mark.parametrize("part", [InputImage("data:x"), InputImage(file_id="file-1"), InputFile(file_data="AA==")])
async def test_what_a_model_cannot_take_is_refused(part: Part) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await part_of(part, PLAIN)
    assert refused.value.param == "input"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tools": [{"type": "function", "name": "add"}]}, "tools"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:x"}]}]}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_data": "AA=="}]}]}, "input"),
    ],
)
async def test_what_a_model_cannot_take_is_known_from_the_request_alone(body: dict[str, object], param: str) -> None:
    ask = asked(**body)
    refuse_unsupported(ask, ABLE)
    with pytest.raises(InvalidRequest) as refused:
        refuse_unsupported(ask, PLAIN)
    assert refused.value.param == param


async def test_what_any_model_can_take_is_not_refused() -> None:
    items = [
        {"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]},
        {"type": "function_call_output", "call_id": "c", "output": "1"},
    ]
    refuse_unsupported(asked(input=items), PLAIN)


async def test_a_context_that_is_too_long_is_cut_where_that_is_allowed() -> None:
    profile = ModelProfile(context_window=60, max_output_tokens=10)
    items: list[Item] = [Message(str(number), "user", [InputText("x" * 100)]) for number in range(5)]
    assert len((await prepared(items, profile)).items) == 5
    assert len((await prepared(items, profile, asked(truncation="auto"))).items) == 2
    assert len((await prepared(items, profile, asked(truncation="auto", max_output_tokens=35))).items) == 1


async def test_a_short_form_is_told_to_the_model_in_words() -> None:
    item = Compaction("cmp_1", seal("They like tea."))
    assert (await prepared([item], PLAIN)).items == [expanded(item)]


def test_what_one_of_several_takes_is_not_refused() -> None:
    ask = asked(tools=[{"type": "function", "name": "add"}])
    plain, able = (Deployment("p/m", "p", "m", FakeModel([], profile)) for profile in (PLAIN, ABLE))
    refuse_if_none_takes(ask, [plain, able])
    with pytest.raises(InvalidRequest, match="function tools"):
        refuse_if_none_takes(ask, [plain, plain])


async def test_a_provider_is_asked_to_go_on_in_the_background_only_where_it_keeps_that() -> None:
    items: list[Item] = [Message("m", "user", [InputText("hi")])]
    keeps = ModelProfile(keeps_background=True)
    assert (await prepared(items, keeps, asked(background=True))).background
    assert not (await prepared(items, keeps, asked())).background
    assert not (await prepared(items, ABLE, asked(background=True))).background


async def test_a_request_that_keeps_so_many_items_loses_older_ones_for_room() -> None:
    items: list[Item] = [Message(f"msg_{number}", "user", [InputText("x" * 40)]) for number in range(4)]
    profile = ModelProfile(context_window=30, max_output_tokens=10)
    deployment = Deployment("provider/m", "provider", "upstream-m", FakeModel([], profile))
    prepare = PrepareRequest(FakeAttachments())
    for keeps, left in ((None, 4), (1, 2), (3, 3)):
        shaped = await prepare.shaped(ModelRequest("m", items, keeps=keeps), ME, deployment)
        assert shaped.items == items[-left:]
