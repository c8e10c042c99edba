"""What one writer gives for free on SQLite holds on PostgreSQL with two processes' worth of writers."""

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from itertools import count
from typing import TypeVar

import anyio
import pytest

from chatbackend.adapters.api import responses as shapes
from chatbackend.domain.conversations import Conversation
from chatbackend.domain.errors import ChatError, InvalidRequest, NotFound
from chatbackend.domain.identity import Principal
from chatbackend.domain.indexing import Chunking
from chatbackend.domain.items import InputText, Message
from chatbackend.domain.responses import CANCELLED, COMPLETED, Ask, Response, end
from chatbackend.domain.vector_stores import Attachment
from chatbackend.infra.db import jobs
from chatbackend.infra.db.conversations import Conversations
from chatbackend.infra.db.jobs import StoredJobs
from chatbackend.infra.db.postgres import PostgresDatabase
from chatbackend.infra.db.responses import Responses
from chatbackend.infra.db.servers import Servers
from chatbackend.infra.db.transaction import Transaction
from chatbackend.infra.log.wakeups import Wakeups
from chatbackend.usecases.ports import Fenced, Once
from tests.infra.db.file_world import ME as FILE_OWNER
from tests.infra.db.file_world import world_on
from tests.support.model_events import numbered
from tests.support.postgres import migrated

pytestmark = pytest.mark.anyio
T = TypeVar("T")
ME = Principal("t", "app", "app", "key_1")
MANY = 50


LOST_CHUNKS = (
    "SELECT f.file_id FROM vector_store_files f LEFT JOIN chunk_sets s ON s.id = f.chunk_set_id WHERE s.id IS NULL"
)
LOST_FILES = "SELECT v.file_id FROM vector_store_files v LEFT JOIN files f ON f.id = v.file_id WHERE f.id IS NULL"


class Clock:
    def now(self) -> float:
        return 1_800_000_000.0


class Process:
    """The repositories of one server."""

    def __init__(self, database: PostgresDatabase) -> None:
        self.database = database
        self.truth = Responses(database, Clock())
        self.conversations = Conversations(database, Clock(), Wakeups())
        self.jobs = StoredJobs(database, Clock())


@pytest.fixture
async def both() -> AsyncGenerator[tuple[Process, Process], None]:
    async with migrated() as url, PostgresDatabase(url) as one, PostgresDatabase(url) as other:
        yield Process(one), Process(other)


_numbers = count(1)


def response(**body: object) -> tuple[Response, Ask]:
    asked = shapes.ask(shapes.read({"model": "m", "input": "hi", **body}), numbered())
    for item in asked.items:
        item.id = f"msg_{next(_numbers)}"
    made = Response(f"resp_{next(_numbers)}", ME, "m", 1, conversation_id=asked.conversation_id, shown=asked.shown)
    return made, asked


async def at_once(works: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """Do everything at once; an error that callers may see takes the place of a result."""
    found: list[T] = []

    async def do(work: Callable[[], Awaitable[T]]) -> None:
        found.append(await work())

    async with anyio.create_task_group() as group:
        for work in works:
            group.start_soon(do, work)
    return found


async def test_turns_of_one_conversation_are_numbered_without_gaps(both: tuple[Process, Process]) -> None:
    await both[0].conversations.create(ME, Conversation("conv", 0), [], once=None)

    async def begin(number: int) -> int:
        made, asked = response(conversation="conv")
        await both[number % 2].truth.begin(made, asked, None)
        return made.turn

    turns = await at_once([lambda number=number: begin(number) for number in range(MANY)])
    assert sorted(turns) == list(range(1, MANY + 1))


async def test_one_idempotency_key_makes_one_response(both: tuple[Process, Process]) -> None:
    once = Once("/v1/responses", "body", key="key")

    async def begin(number: int) -> tuple[str, bool]:
        made, asked = response()
        begun = await both[number % 2].truth.begin(made, asked, once)
        return begun.response_id, begun.fresh

    found = await at_once([lambda number=number: begin(number) for number in range(20)])
    assert len({response_id for response_id, _ in found}) == 1
    assert sum(fresh for _, fresh in found) == 1
    assert await both[0].truth.orphans() == 1


async def test_one_key_on_two_servers_makes_one_response_each_time(both: tuple[Process, Process]) -> None:
    """Each request is alone in its transaction: who loses must find the winner's response, not an error."""
    for number in range(20):
        once = Once("/v1/responses", "body", key=f"key {number}")

        async def begin(process: Process, once: Once = once) -> str:
            made, asked = response()
            return (await process.truth.begin(made, asked, once)).response_id

        found = await at_once([lambda process=process, begin=begin: begin(process) for process in both])
        assert len(set(found)) == 1


async def test_an_item_is_in_a_conversation_once(both: tuple[Process, Process]) -> None:
    await both[0].conversations.create(ME, Conversation("conv", 0), [], once=None)

    async def add(number: int) -> str:
        items = [Message("msg_same", "user", [InputText("hi")])]
        try:
            await both[number % 2].conversations.add_items(ME, "conv", items, once=None)
        except InvalidRequest as error:
            return error.code or ""
        return "added"

    found = await at_once([lambda number=number: add(number) for number in range(20)])
    assert Counter(found) == {"added": 1, "duplicate_item": 19}


async def test_a_response_ends_once_whoever_ends_it(both: tuple[Process, Process]) -> None:
    made, asked = response()
    await both[0].truth.begin(made, asked, None)

    async def finish(number: int) -> bool:
        ended = Response(made.id, ME, "m", 1)
        ended.output = [Message(f"msg_end_{number}", "assistant", [])]
        end(ended, COMPLETED if number % 3 else CANCELLED, at=number)
        return await both[number % 2].truth.finish(ended, None, None)

    found = await at_once([lambda number=number: finish(number) for number in range(20)])
    assert all(found)
    kept = await both[0].truth.get(ME, made.id)
    assert kept is not None
    assert len(kept.output) == 1


@pytest.mark.parametrize("order", [0, 1])
async def test_no_turn_begins_in_a_conversation_that_is_deleted(both: tuple[Process, Process], order: int) -> None:
    """Whichever comes first: the turn is refused, or the delete names it."""
    for number in range(20):
        name = f"conv_{number}"
        await both[0].conversations.create(ME, Conversation(name, 0), [], once=None)

        async def begin(name: str = name) -> str:
            made, asked = response(conversation=name)
            try:
                await both[order].truth.begin(made, asked, None)
            except ChatError as error:
                return error.code or ""
            return made.id

        async def delete(name: str = name) -> str:
            left = await both[1 - order].conversations.delete(ME, name)
            return f"left {len(left)}"

        works = [begin, delete] if order else [delete, begin]
        found = set(await at_once(works))
        assert found & {"left 1", "conversation_not_found"}
        assert not found >= {"left 1", "conversation_not_found"}


async def test_every_job_is_claimed_by_one_worker(both: tuple[Process, Process]) -> None:
    async def add(tx: Transaction) -> None:
        for number in range(MANY):
            await jobs.add(tx, "index", tenant="t", owner="o", subject=str(number), now=1)

    await both[0].database.write(add)

    async def claim(number: int) -> str:
        job = await both[number % 2].jobs.claim()
        return "" if job is None else job.subject

    found = await at_once([lambda number=number: claim(number) for number in range(MANY)])
    assert len(set(found)) == len(found)


async def test_every_fence_is_given_out_once(both: tuple[Process, Process]) -> None:
    found: list[int] = []

    async def start(number: int) -> None:
        servers = Servers(both[number % 2].database, f"server {number}", lease_s=15)
        for _ in range(MANY // 5):  # one after the other: each is a transaction of its own
            found.append(await servers.draw("log"))

    await at_once([lambda number=number: start(number) for number in range(5)])
    assert sorted(found) == list(range(1, MANY + 1))


async def test_of_many_that_take_over_each_response_gets_one_owner(both: tuple[Process, Process]) -> None:
    for _ in range(MANY):
        made, asked = response()
        await both[0].truth.begin(made, asked, None)
    taken: list[tuple[str, int]] = []

    async def reap(number: int) -> None:
        fence = await Servers(both[number % 2].database, f"server {number}", lease_s=60).draw("log")
        while found := await both[number % 2].truth.take_over(fence=fence):
            taken.extend((orphan.response.id, fence) for orphan in found)

    await at_once([lambda number=number: reap(number) for number in range(8)])
    assert len(taken) == len({response_id for response_id, _ in taken}) == MANY
    for response_id, fence in taken:
        found = await both[0].truth.get(ME, response_id)
        assert found is not None
        assert found.fence == fence


async def test_a_takeover_beside_an_owner_that_ends_leaves_one_of_both(both: tuple[Process, Process]) -> None:
    for number in range(20):
        made, asked = response()
        await both[0].truth.begin(made, asked, None)
        end(made, COMPLETED, at=1)
        fence = await Servers(both[1].database, f"reaper {number}", lease_s=60).draw("log")
        outcomes: list[str] = []

        async def finish(made: Response = made, outcomes: list[str] = outcomes) -> None:
            try:
                await both[0].truth.finish(made, None, None)
                outcomes.append("ended")
            except Fenced:
                outcomes.append("fenced")

        async def take(fence: int = fence, outcomes: list[str] = outcomes) -> None:
            if await both[1].truth.take_over(fence=fence):
                outcomes.append("taken")

        await at_once([finish, take])
        assert sorted(outcomes) in (["ended"], ["fenced", "taken"])


@pytest.mark.parametrize("way", [0, 1])
async def test_no_file_in_a_store_loses_its_chunks_to_a_detach_elsewhere(
    both: tuple[Process, Process], way: int
) -> None:
    """The last store that uses a chunk set lets go of it while another takes the same file."""
    one, other = world_on(both[way].database), world_on(both[1 - way].database)
    await one.file("f")
    for number in range(15):
        own = Attachment("f", chunking=Chunking(100 + number, 0))
        await one.store(f"from_{number}", own)
        await one.store(f"to_{number}")
        await at_once(
            [
                lambda number=number: one.store_files.detach(FILE_OWNER, f"from_{number}", "f"),
                lambda number=number, own=own: other.store_files.attach(FILE_OWNER, f"to_{number}", own),
            ]
        )
    assert await one.rows(LOST_CHUNKS) == []


@pytest.mark.parametrize("way", [0, 1])
async def test_no_deleted_file_is_put_into_a_store(both: tuple[Process, Process], way: int) -> None:
    one, other = world_on(both[way].database), world_on(both[1 - way].database)
    await one.store("vs")
    for number in range(15):
        name = f"f_{number}"
        await one.file(name)

        async def attach(name: str = name) -> object:
            try:
                return await other.store_files.attach(FILE_OWNER, "vs", Attachment(name))
            except NotFound:
                return None

        async def delete(name: str = name) -> object:
            return await one.files.delete(FILE_OWNER, name)

        await at_once([attach, delete])
    assert await one.rows(LOST_FILES) == []
    assert await one.rows(LOST_CHUNKS) == []


async def test_turns_in_many_conversations_go_on_side_by_side(both: tuple[Process, Process]) -> None:
    """Groups of both take turns in the same conversations, in orders that cross: nobody waits in a circle for long."""
    names = [f"conv_{number}" for number in range(8)]
    for name in names:
        await both[0].conversations.create(ME, Conversation(name, 0), [], once=None)

    async def begin(number: int) -> tuple[str, int]:
        name = names[number % 8 if number % 2 else 7 - number % 8]
        made, asked = response(conversation=name)
        await both[number % 2].truth.begin(made, asked, None)
        return name, made.turn

    with anyio.fail_after(30):
        found = await at_once([lambda number=number: begin(number) for number in range(400)])
    for name in names:
        turns = sorted(turn for each, turn in found if each == name)
        assert turns == list(range(1, len(turns) + 1))
