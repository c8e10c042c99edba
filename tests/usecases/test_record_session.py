"""A live session's way into its conversation: in order, once, and with patience."""

from collections.abc import Mapping, Sequence

import anyio
import pytest

from chatbackend.domain.errors import NotFound, Unavailable
from chatbackend.domain.identity import Principal
from chatbackend.domain.items import InputText, Item, Message
from chatbackend.domain.records import Amend, Append, Entry, Remove, item_id_of
from chatbackend.usecases import record_session
from chatbackend.usecases.record_ports import Remembered
from chatbackend.usecases.record_session import BATCH, MAX_WAITING, RecordSession

pytestmark = pytest.mark.anyio
ME = Principal("t", "a", "a", "k")


def item(name: str, text: str = "x") -> Message:
    return Message(name, "user", [InputText(text)])


class Store:
    """Conversations that take entries, or refuse as often as they are told to."""

    def __init__(self, *errors: Exception, spared: Mapping[str, str] | None = None) -> None:
        self.batches: list[list[Entry]] = []
        self.asked = 0
        self.gate = anyio.Event()
        self.gate.set()
        self._errors = list(errors)
        self._spared = spared or {}

    async def check(self, principal: Principal, conversation_id: str) -> None: ...

    async def newest(self, principal: Principal, conversation_id: str, *, limit: int) -> Remembered:
        return Remembered([], -1)

    async def item(self, principal: Principal, conversation_id: str, item_id: str) -> Item | None: ...

    async def write(self, principal: Principal, conversation_id: str, entries: Sequence[Entry]) -> Mapping[str, str]:
        self.asked += 1
        if self._errors:
            raise self._errors.pop(0)
        self.batches.append(list(entries))
        await self.gate.wait()
        return self._spared

    @property
    def ids(self) -> list[str]:
        return [item_id_of(entry) for batch in self.batches for entry in batch]


class Reports(list[str]):
    def __call__(self, message: str, error: BaseException) -> None:
        self.append(message)


def session(store: Store) -> tuple[RecordSession, Reports]:
    reports = Reports()
    return RecordSession(store, ME, "conv", reports), reports


async def test_entries_are_written_in_their_order_one_of_an_item_a_commit() -> None:
    store = Store()
    recording, reports = session(store)
    names = [f"i{number}" for number in range(BATCH + 1)]
    recording.add([Append(item(name), "s") for name in names])
    recording.add([Amend(item(names[-1], "y"))])
    async with anyio.create_task_group() as group:
        group.start_soon(recording.run)
        await anyio.wait_all_tasks_blocked()
        recording.add([Remove("i0")])
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert store.ids == [*names, names[-1], "i0"]
    assert [len(batch) for batch in store.batches] == [BATCH, 1, 1, 1]
    await recording.finish()
    assert (len(store.batches), reports) == (4, [])


async def test_an_item_that_has_another_id_there_is_amended_and_removed_by_it() -> None:
    store = Store(spared={"a": "spare"})
    recording, _ = session(store)
    await recording.finish([Append(item("a"), "spare"), Amend(item("a", "y")), Remove("a"), Append(item("a"), "s2")])
    assert store.ids == ["a", "spare", "spare", "a"]


async def test_a_store_that_is_away_is_tried_again_with_the_same_entries() -> None:
    store = Store(Unavailable("away"), Unavailable("away"))
    recording, reports = session(store)
    recording.add([Append(item("a"), "s")])
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(recording.run)
            while not store.batches:  # noqa: ASYNC110 - by the clock of the waits
                await anyio.sleep(0.01)
            group.cancel_scope.cancel()
    assert (store.ids, len(reports)) == (["a"], 2)


async def test_a_store_that_stays_away_ends_the_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_session, "RETRY_S", 0.0)
    recording, _ = session(Store(Unavailable("away")))
    recording.add([Append(item("a"), "s")])
    with pytest.raises(Unavailable):
        await recording.run()


async def test_more_than_may_wait_ends_the_recording() -> None:
    recording, _ = session(Store(Unavailable("away")))
    recording.add(Remove(f"i{number}") for number in range(MAX_WAITING + BATCH + 1))
    with pytest.raises(Unavailable):
        await recording.run()


async def test_a_conversation_that_is_gone_ends_the_recording_and_nothing_is_lost_of_it() -> None:
    store = Store(NotFound("gone"), NotFound("gone"))
    recording, reports = session(store)
    recording.add([Append(item("a"), "s")])
    with pytest.raises(NotFound):
        await recording.run()
    await recording.finish()
    assert (store.asked, reports) == (2, [])


async def test_what_was_not_answered_when_the_session_ended_is_handed_over_again() -> None:
    store = Store()
    store.gate = anyio.Event()
    recording, _ = session(store)
    recording.add([Append(item("a"), "s")])
    async with anyio.create_task_group() as group:
        group.start_soon(recording.run)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    store.gate.set()
    await recording.finish([Append(item("b"), "s")])
    assert store.ids == ["a", "a", "b"]


async def test_the_end_waits_only_so_long_and_says_what_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_session, "FINISH_S", 0.05)
    store = Store()
    store.gate = anyio.Event()
    recording, reports = session(store)
    await recording.finish([Append(item("a"), "s"), Remove("a")])
    assert reports == ["2 items of a live session were not written down"]
    monkeypatch.setattr(record_session, "RETRY_S", 0.0)
    refused, told = session(Store(Unavailable("away")))
    await refused.finish([Remove("a")])
    assert told == ["1 items of a live session were not written down"]


async def test_what_fails_as_nobody_foresaw_is_reported_at_the_end_as_well() -> None:
    recording, reports = session(Store(RuntimeError("No room on the disk.")))
    await recording.finish([Append(item("a"), "spare")])
    assert reports == ["1 items of a live session were not written down"]
