"""What the store of conversations promises: owners apart, items in order, pages without gap or repetition."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatbackend.adapters.api.items import decode
from chatbackend.adapters.api.listing import Order, Window
from chatbackend.adapters.api.responses import ask, read
from chatbackend.domain.conversations import Conversation, Edit
from chatbackend.domain.errors import ChatError, Conflict, InvalidRequest, NotFound, Unprocessable
from chatbackend.domain.identity import Principal
from chatbackend.domain.items import InputText, Item, Message, OutputText, text_of
from chatbackend.domain.responses import COMPLETED, Response, end
from chatbackend.infra.db.conversation_log import ConversationLog
from chatbackend.infra.db.conversation_records import StoredRecords
from chatbackend.infra.db.conversations import Conversations
from chatbackend.infra.db.responses import Responses
from chatbackend.infra.db.transaction import Database, Row
from chatbackend.infra.log.wakeups import Wakeups
from chatbackend.usecases.ports import Once
from tests.support.model_events import numbered
from tests.support.truths import KINDS, Kind, truth

pytestmark = pytest.mark.anyio

ME = Principal("t", "app", "app", "key_1")
OTHERS = (
    Principal("t", "app", "app/anna", "key_1"),
    Principal("t", "shop", "shop", "key_2"),
    Principal("t2", "app", "app", "key_3"),
)
ALL = Window(100, "asc")


class Clock:
    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def now(self) -> float:
        return self.time


class World:
    def __init__(self, database: Database) -> None:
        self.clock = Clock()
        self.changes = Wakeups()
        self.conversations = Conversations(database, self.clock, self.changes)
        self.log = ConversationLog(database)
        self.records = StoredRecords(database, self.clock, self.changes)
        self.truth = Responses(database, self.clock, changes=self.changes)

    async def made(self, name: str = "conv_1", *texts: str, principal: Principal = ME) -> Conversation:
        self.clock.time += 1
        items = [said(text, f"{name}_{text}") for text in texts]
        return await self.conversations.create(principal, Conversation(name, 0), items, once=None)

    async def texts(self, window: Window = ALL, name: str = "conv_1") -> list[str]:
        rows, _ = await self.conversations.page_of_items(ME, name, window)
        return [text_of(decode(row["body"])) for row in rows]

    async def answered(self, text: str, name: str = "conv_1") -> Response:
        """Run a turn that is answered with the same text in capitals."""
        begun = await self.begun(text, name)
        begun.output = [Message(f"msg_{text}_answer", "assistant", [OutputText(text.upper())])]
        end(begun, COMPLETED, at=1)
        assert await self.truth.finish(begun, None, None)
        return begun

    async def begun(self, text: str, name: str = "conv_1") -> Response:
        items = [{"role": "user", "content": text, "id": f"msg_{text}"}]
        asked = ask(read({"model": "m", "input": items, "conversation": name}), numbered())
        begun = Response(f"resp_{text}", ME, "m", 1, conversation_id=name, shown=asked.shown)
        await self.truth.begin(begun, asked, None)
        return begun


def said(text: str, item_id: str | None = None) -> Item:
    return Message(item_id or f"msg_{text}", "user", [InputText(text)])


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[World, None]:
    async with truth(request.param, tmp_path) as database:
        yield World(database)


async def test_a_conversation_is_read_back_as_it_was_made(world: World) -> None:
    made = await world.conversations.create(ME, Conversation("conv_1", 0, {"a": "b"}), [], once=None)
    now = int(world.clock.time)
    assert made == Conversation("conv_1", now, {"a": "b"}, updated_at=now)
    assert await world.conversations.get(ME, "conv_1") == made


async def test_metadata_takes_the_place_of_what_was_there(world: World) -> None:
    await world.made()
    changed = await world.conversations.update(ME, "conv_1", Edit({"c": "d"}))
    assert changed.metadata == {"c": "d"}
    assert await world.conversations.get(ME, "conv_1") == changed


Use = Callable[[Conversations, Principal], Awaitable[object]]
USES: dict[str, Use] = {
    "get": lambda store, who: store.get(who, "conv_1"),
    "update": lambda store, who: store.update(who, "conv_1", Edit({"x": "y"}, "mine", archived=True)),
    "delete": lambda store, who: store.delete(who, "conv_1"),
    "erase": lambda store, who: store.delete(who, "conv_1", erasing=()),
    "branch": lambda store, who: store.branch(who, "conv_1", "conv_2", after=None, once=None),
    "add_items": lambda store, who: store.add_items(who, "conv_1", [said("x")], once=None),
    "page_of_items": lambda store, who: store.page_of_items(who, "conv_1", ALL),
    "item": lambda store, who: store.item(who, "conv_1", "conv_1_secret"),
    "delete_item": lambda store, who: store.delete_item(who, "conv_1", "conv_1_secret"),
}


def test_every_method_is_tried_by_strangers() -> None:
    public = {name for name in vars(Conversations) if not name.startswith("_")}
    assert public | {"erase"} == {*USES, "create", "page"}


@pytest.mark.parametrize("stranger", OTHERS)
@pytest.mark.parametrize("use", USES)
async def test_a_stranger_finds_no_such_conversation(world: World, use: str, stranger: Principal) -> None:
    await world.made("conv_1", "secret")
    before = await world.conversations.get(ME, "conv_1")
    with pytest.raises(NotFound) as refused:
        await USES[use](world.conversations, stranger)
    assert refused.value.code == "conversation_not_found"
    assert await world.texts() == ["secret"]
    assert await world.conversations.get(ME, "conv_1") == before
    assert await world.conversations.page(stranger, ALL) == ([], False)
    with pytest.raises(InvalidRequest):
        await world.conversations.page(stranger, Window(after="conv_1"))


async def test_items_come_in_the_order_of_their_turns(world: World) -> None:
    await world.made("conv_1", "zero", "nought")
    await world.answered("one")
    running = await world.begun("two")
    await world.conversations.add_items(ME, "conv_1", [said("three"), said("four")], once=None)
    assert await world.texts() == ["zero", "nought", "one", "ONE", "two", "three", "four"]
    end(running, COMPLETED, at=1)
    running.output = [Message("msg_late", "assistant", [OutputText("TWO")])]
    await world.truth.finish(running, None, None)
    assert await world.texts() == ["zero", "nought", "one", "ONE", "two", "TWO", "three", "four"]
    assert await world.texts(Window(2, "desc")) == ["four", "three"]


async def test_an_item_taken_out_is_gone_but_for_the_response_it_belongs_to(world: World) -> None:
    await world.made("conv_1", "zero")
    response = await world.answered("one")
    for item_id in ("conv_1_zero", "msg_one", "msg_one_answer"):
        await world.conversations.delete_item(ME, "conv_1", item_id)
        for again in (world.conversations.item, world.conversations.delete_item):
            with pytest.raises(NotFound) as gone:
                await again(ME, "conv_1", item_id)
            assert gone.value.code == "item_not_found"
    assert await world.texts() == []
    assert [text_of(item) for item in await world.truth.inputs(response.id)] == ["one"]
    kept = await world.truth.get(ME, response.id)
    assert kept is not None
    assert [text_of(item) for item in kept.output] == ["ONE"]


async def test_a_deleted_conversation_takes_its_items_along_and_leaves_responses_their_own(world: World) -> None:
    await world.made("conv_1", "zero")
    await world.made("conv_2", "other")
    response = await world.answered("one")
    assert await world.conversations.delete(ME, "conv_1") == []
    with pytest.raises(NotFound):
        await world.conversations.get(ME, "conv_1")
    assert [text_of(item) for item in await world.truth.inputs(response.id)] == ["one"]
    assert await world.texts(name="conv_2") == ["other"]
    await world.made("conv_1")
    assert await world.texts() == []


async def test_a_conversation_with_running_responses_stays_and_names_them_newest_first(world: World) -> None:
    await world.made("conv_1", "zero")
    await world.answered("one")
    for text in ("two", "three"):
        await world.begun(text)
    assert await world.conversations.delete(ME, "conv_1") == ["resp_three", "resp_two"]
    assert await world.texts() == ["zero", "one", "ONE", "two", "three"]


async def test_an_item_is_in_a_conversation_once(world: World) -> None:
    await world.made("conv_1", "zero")
    twice: list[Sequence[Item]] = [[said("x", "conv_1_zero")], [said("y", "a"), said("z", "a")]]
    for items in twice:
        with pytest.raises(InvalidRequest) as refused:
            await world.conversations.add_items(ME, "conv_1", items, once=None)
        assert (refused.value.code, refused.value.param) == ("duplicate_item", "items")
    with pytest.raises(InvalidRequest):
        await world.conversations.create(ME, Conversation("conv_2", 0), twice[1], once=None)
    assert await world.texts() == ["zero"]
    await world.made("conv_3")
    await world.conversations.add_items(ME, "conv_3", [said("x", "conv_1_zero")], once=None)


async def test_what_comes_again_is_made_once(world: World) -> None:
    once = Once("/v1/conversations", "body", key="key")
    first = await world.conversations.create(ME, Conversation("conv_1", 0), [], once=once)
    assert await world.conversations.create(ME, Conversation("conv_2", 0), [], once=once) == first
    items = Once("/v1/conversations/conv_1/items", "body", key="key")

    async def add(text: str) -> list[Row]:
        return await world.conversations.add_items(ME, "conv_1", [said(text)], once=items)

    assert [row["id"] for row in await add("a")] == [row["id"] for row in await add("b")] == ["msg_a"]
    with pytest.raises(Unprocessable):
        await world.conversations.create(
            ME, Conversation("conv_3", 0), [], once=Once("/v1/conversations", "other", key="key")
        )
    await world.conversations.delete(ME, "conv_1")
    with pytest.raises(Conflict) as gone:
        await world.conversations.create(ME, Conversation("conv_4", 0), [], once=once)
    assert gone.value.code == "idempotent_result_gone"
    with pytest.raises(NotFound):
        await add("a")


async def test_a_create_that_is_refused_leaves_nothing(world: World) -> None:
    once = Once("/v1/conversations", "body", key="key")
    with pytest.raises(ChatError):
        await world.conversations.create(ME, Conversation("conv_1", 0), [said("a"), said("a")], once=once)
    with pytest.raises(NotFound):
        await world.conversations.get(ME, "conv_1")
    assert (await world.conversations.create(ME, Conversation("conv_2", 0), [], once=once)).id == "conv_2"


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(st.integers(1, 6), max_size=6),
    limit=st.integers(1, 5),
    order=st.sampled_from(["asc", "desc"]),
    same_moment=st.booleans(),
)
async def test_pages_one_behind_the_other_are_the_whole_once(
    tmp_path_factory: pytest.TempPathFactory,
    *,
    kind: Kind,
    batches: list[int],
    limit: int,
    order: Order,
    same_moment: bool,
) -> None:
    async with truth(kind, tmp_path_factory.mktemp("truth")) as database:
        world = World(database)
        names = [f"conv_{number}" for number in range(sum(batches))]
        for name in names:
            await world.made(name)
            world.clock.time -= same_moment
        await world.made("conv_x")
        items: list[str] = []
        for number, size in enumerate(batches):
            added = [said(f"{number}_{place}") for place in range(size)]
            items += [item.id for item in added]
            await world.conversations.add_items(ME, "conv_x", added, once=None)

        async def page(window: Window) -> tuple[list[str], bool]:
            found, more = await world.conversations.page(ME, window)
            return [each.id for each in found], more

        async def page_of_items(window: Window) -> tuple[list[str], bool]:
            rows, more = await world.conversations.page_of_items(ME, "conv_x", window)
            return [row["id"] for row in rows], more

        all_names = sorted([*names, "conv_x"]) if same_moment else [*names, "conv_x"]
        forward = order == "asc"
        assert await _walked(page, limit, order) == (all_names if forward else all_names[::-1])
        assert await _walked(page_of_items, limit, order) == (items if forward else items[::-1])


async def _walked(page: Callable[[Window], Awaitable[tuple[list[str], bool]]], limit: int, order: Order) -> list[str]:
    found, more = await page(Window(limit, order))
    while more:
        further, more = await page(Window(limit, order, found[-1]))
        assert further
        found += further
    return found


async def ids(world: World, query: str | None = None, *, archived: bool | None = None) -> list[str]:
    """Return the last letters of the conversations found, the last active first."""
    found, _ = await world.conversations.page(ME, Window(100), archived=archived, query=query)
    return [each.id.removeprefix("conv_") for each in found]


async def test_the_last_active_conversation_comes_first(world: World) -> None:
    for name in "abc":
        await world.made(f"conv_{name}", f"item {name}")
    world.clock.time += 1
    await world.answered("one", "conv_a")
    world.clock.time += 1
    await world.conversations.add_items(ME, "conv_b", [said("x")], once=None)
    assert await ids(world) == ["b", "a", "c"]
    assert (await world.conversations.get(ME, "conv_b")).updated_at == int(world.clock.time)


async def test_a_title_is_made_from_the_first_user_message_until_one_is_given(world: World) -> None:
    await world.made()
    assert (await world.conversations.get(ME, "conv_1")).title is None
    await world.answered("What   is\n tea?")
    await world.answered("And coffee?")
    assert (await world.conversations.get(ME, "conv_1")).title == "What is tea?"
    given = await world.conversations.update(ME, "conv_1", Edit(title="Tea"))
    assert given.title == (await world.conversations.get(ME, "conv_1")).title == "Tea"
    assert (await world.conversations.update(ME, "conv_1", Edit(title=""))).title == "What is tea?"
    await world.conversations.delete_item(ME, "conv_1", "msg_What   is\n tea?")
    assert (await world.conversations.get(ME, "conv_1")).title is None


async def test_archived_conversations_are_listed_apart(world: World) -> None:
    for name in "ab":
        await world.made(f"conv_{name}")
    assert (await world.conversations.update(ME, "conv_a", Edit(archived=True))).archived
    assert [await ids(world, archived=which) for which in (True, False, None)] == [["a"], ["b"], ["b", "a"]]
    await world.conversations.update(ME, "conv_a", Edit(archived=False))
    assert await ids(world, archived=True) == []


async def test_conversations_are_found_by_the_words_of_their_titles_and_messages(world: World) -> None:
    await world.made("conv_a", "Überröcke are warm")
    await world.made("conv_b", "coats are warm", "and long")
    await world.made("conv_c", "漢字を読む")
    await world.made("conv_d")
    await world.answered("summer", "conv_d")
    await world.conversations.update(ME, "conv_d", Edit(title="Holidays in Rome"))
    for query, found in {
        "WARM": ["b", "a"],
        "uberrock": ["a"],
        "long coats": ["b"],
        "coats Rome": [],
        "rocke": [],
        "字を": ["c"],
        "SUMMER rome": ["d"],
        "%": [],
        "": [],
        "war_": ["b", "a"],
    }.items():
        assert await ids(world, query) == found, query
    stranger = Principal("t", "app", "app/anna", "key_1")
    assert await world.conversations.page(stranger, ALL, query="warm") == ([], False)


async def test_what_is_taken_out_or_deleted_is_found_no_more(world: World) -> None:
    await world.made("conv_1", "apple")
    response = await world.answered("banana")
    await world.answered("cherry")
    await world.conversations.update(ME, "conv_1", Edit(title="dates"))
    assert [await ids(world, word) for word in ("apple", "banana", "cherry", "dates")] == [["1"]] * 4
    await world.conversations.delete_item(ME, "conv_1", "conv_1_apple")
    await world.truth.delete(ME, response.id)
    await world.conversations.update(ME, "conv_1", Edit(title="figs"))
    assert [await ids(world, word) for word in ("apple", "banana", "dates")] == [[]] * 3
    assert await ids(world, "cherry figs") == ["1"]
    await world.conversations.delete(ME, "conv_1")
    await world.made("conv_1")
    assert await ids(world, "cherry") == []


async def test_a_branch_begins_with_the_items_up_to_one_and_goes_its_own_way(world: World) -> None:
    await world.made("conv_1", "zero")
    await world.conversations.update(ME, "conv_1", Edit({"a": "b"}, archived=True))
    first = await world.answered("one")
    await world.answered("two")
    world.clock.time += 5
    made = await world.conversations.branch(ME, "conv_1", "conv_2", after="msg_one_answer", once=None)
    now = int(world.clock.time)
    assert made == Conversation("conv_2", now, {"a": "b"}, "zero", updated_at=now, branched_from="conv_1")
    assert await world.texts(name="conv_2") == ["zero", "one", "ONE"]
    await world.conversations.add_items(ME, "conv_2", [said("edited")], once=None)
    assert await world.texts(name="conv_2") == ["zero", "one", "ONE", "edited"]
    assert await world.texts() == ["zero", "one", "ONE", "two", "TWO"]
    assert await ids(world, "zero edited") == ["2"]
    assert await ids(world, "two") == ["1"]
    await world.conversations.delete(ME, "conv_1", erasing=[first.id, "resp_two"])
    assert await world.texts(name="conv_2") == ["zero", "one", "ONE", "edited"]


async def test_a_branch_without_an_item_takes_all_and_one_of_nothing_is_empty(world: World) -> None:
    await world.made("conv_1")
    await world.conversations.branch(ME, "conv_1", "conv_2", after=None, once=None)
    assert await world.texts(name="conv_2") == []
    await world.conversations.update(ME, "conv_1", Edit(title="named"))
    await world.answered("one")
    await world.conversations.branch(ME, "conv_1", "conv_3", after=None, once=None)
    assert await world.texts(name="conv_3") == ["one", "ONE"]
    assert set(await ids(world, "named")) == {"1", "3"}
    with pytest.raises(NotFound) as missing:
        await world.conversations.branch(ME, "conv_1", "conv_4", after="msg_none", once=None)
    assert (missing.value.code, missing.value.param) == ("item_not_found", "after")


async def test_a_branch_is_made_once(world: World) -> None:
    await world.made("conv_1", "zero")
    once = Once("/v1/conversations/conv_1/branch", "body", key="key")
    first = await world.conversations.branch(ME, "conv_1", "conv_2", after=None, once=once)
    assert await world.conversations.branch(ME, "conv_1", "conv_3", after=None, once=once) == first


async def test_an_erased_conversation_takes_its_responses_along(world: World) -> None:
    await world.made("conv_1", "zero")
    await world.made("conv_2")
    other = await world.answered("other", "conv_2")
    first, second = await world.answered("one"), await world.begun("two")
    assert await world.conversations.delete(ME, "conv_1", erasing=()) == [second.id, first.id]
    end(second, COMPLETED, at=1)
    await world.truth.finish(second, None, None)
    assert await world.conversations.delete(ME, "conv_1", erasing=[second.id]) == [first.id]
    assert await world.texts() == ["zero", "one", "ONE", "two"], "nothing is deleted while something is left"
    assert await world.conversations.delete(ME, "conv_1", erasing=[first.id, second.id]) == []
    for response in (first, second):
        assert await world.truth.get(ME, response.id) is None
        assert await world.truth.inputs(response.id) == []
    assert await world.truth.get(ME, other.id) is not None
    with pytest.raises(NotFound):
        await world.conversations.get(ME, "conv_1")
