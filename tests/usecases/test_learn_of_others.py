"""What a live session is told of others in its conversation: news, once, and for as long as it can be."""

from collections.abc import Mapping, Sequence
from functools import partial

import anyio
import pytest

from chatbackend.adapters.api.conversation_events import item_change, render
from chatbackend.domain.conversations import Change, ItemAdded, ItemDeleted, ResponseEnded
from chatbackend.domain.errors import Conflict, Gone, NotFound, Unavailable
from chatbackend.domain.identity import Principal
from chatbackend.domain.items import InputText, Item, Message
from chatbackend.domain.records import Entry
from chatbackend.infra.log.wakeups import Wakeups
from chatbackend.usecases import learn_of_others
from chatbackend.usecases.follow_conversation import FollowConversation
from chatbackend.usecases.learn_of_others import LearnOfOthers
from chatbackend.usecases.ports import LogEvent
from chatbackend.usecases.record_ports import Remembered

pytestmark = pytest.mark.anyio
ME = Principal("t", "a", "a", "k")


class Log:
    """A conversation: what has happened in it, and what is there."""

    def __init__(self, *changes: Change) -> None:
        self.events = [render("conv", change, number, at=0) for number, change in enumerate(changes)]
        self.items = {name: Message(name, "user", [InputText(name)]) for name in ("theirs", "amended")}
        self.errors: list[Exception] = []
        self.fails_behind = -1
        self.asked: list[int] = []

    async def read(self, principal: Principal, conversation_id: str, *, after: int) -> Sequence[LogEvent]:
        self.asked.append(after)
        if self.errors and after > self.fails_behind:
            raise self.errors.pop(0)
        return [event for event in self.events if event.number > after][:2]

    async def check(self, principal: Principal, conversation_id: str) -> None: ...

    async def newest(self, principal: Principal, conversation_id: str, *, limit: int) -> Remembered:
        return Remembered([], -1)

    async def item(self, principal: Principal, conversation_id: str, item_id: str) -> Item | None:
        return self.items.get(item_id)

    async def write(self, principal: Principal, conversation_id: str, entries: Sequence[Entry]) -> Mapping[str, str]:
        return {}


class Session:
    """A mind that knows some items."""

    def __init__(self) -> None:
        self.known = {"mine", "gone", "amended"}
        self.told: list[str] = []

    def knows(self, item_id: str) -> bool:
        return item_id in self.known

    async def learn(self, item: Item) -> None:
        self.told.append(f"+{item.id}")
        self.known.add(item.id)

    async def forget(self, item_id: str) -> None:
        self.told.append(f"-{item_id}")
        self.known.remove(item_id)


def learning(log: Log, reports: list[str]) -> LearnOfOthers:
    def report(message: str, error: BaseException) -> None:
        reports.append(f"{message}: {error}")

    return LearnOfOthers(FollowConversation(log, Wakeups(), idle_s=0.01), log, item_change, report)


HISTORY: tuple[Change, ...] = (
    ItemAdded("before", 1, None),
    ItemAdded("mine", 2, None),
    ItemAdded("theirs", 3, "resp"),
    ResponseEnded("resp", "completed"),
    ItemAdded("deleted meanwhile", 4, None),
    ItemDeleted("gone"),
    ItemDeleted("never known"),
    ItemDeleted("amended"),
    ItemAdded("amended", 5, None),
)


async def learned(log: Log, session: Session, *, seconds: float = 0.2) -> list[str]:
    reports: list[str] = []
    with anyio.move_on_after(seconds):
        await learning(log, reports)(ME, "conv", session, after=0)
    return reports


async def test_a_session_is_told_of_what_it_does_not_know_yet() -> None:
    session = Session()
    assert await learned(Log(*HISTORY), session) == []
    assert session.told == ["+theirs", "-gone"]


async def test_a_log_that_cannot_be_read_is_tried_again_from_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learn_of_others, "RETRY_S", 0.01)
    log, session = Log(*HISTORY), Session()
    log.errors = [Unavailable("away"), Unavailable("away")]
    log.fails_behind = 3
    assert len(await learned(log, session)) == 2
    assert session.told == ["+theirs", "-gone"]
    assert log.asked[:6] == [0, 2, 4, 4, 4, 6]


@pytest.mark.parametrize("error", [Gone("kept no more"), Conflict("ahead")])
async def test_a_session_that_is_too_far_behind_learns_nothing_any_more(error: Exception) -> None:
    log, session = Log(*HISTORY), Session()
    log.errors = [error]
    with anyio.fail_after(5):
        reports: list[str] = []
        await learning(log, reports)(ME, "conv", session, after=0)
    assert (len(reports), session.told) == (1, [])


async def test_a_conversation_that_is_deleted_is_told_at_once() -> None:
    log = Log(*HISTORY)
    log.errors = [NotFound("gone")]
    with pytest.raises(NotFound), anyio.fail_after(5):
        await partial(learning(log, []), after=0)(ME, "conv", Session())
