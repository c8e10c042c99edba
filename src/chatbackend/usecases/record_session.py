"""Write down what is said in a live session, beside it: the session never waits for a commit.

What is not committed yet is kept and tried again; nothing is written twice.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import replace

import anyio

from chatbackend.domain.errors import NotFound, Unavailable
from chatbackend.domain.identity import Principal
from chatbackend.domain.records import Append, Entry, Remove, item_id_of
from chatbackend.usecases.patience import waits
from chatbackend.usecases.ports import Report
from chatbackend.usecases.record_ports import ConversationRecords

BATCH = 64  # entries a commit
MAX_WAITING = 2_000  # entries
RETRY_S = 30.0  # that the store may be away; a session that nobody can write down is not to go on
FINISH_S = 1.0  # at the end of a session


class RecordSession:
    """One session's way into its conversation. `add` from one task; `run` in another, then `finish`."""

    def __init__(
        self, records: ConversationRecords, principal: Principal, conversation_id: str, report: Report
    ) -> None:
        self._records = records
        self._principal = principal
        self._conversation_id = conversation_id
        self._report = report
        self._waiting: deque[Entry] = deque()
        self._batch: list[Entry] = []  # handed to the store, which may have committed it or not
        self._ids: dict[str, str] = {}  # of items that have another id in the conversation
        self._filled = anyio.Event()

    def add(self, entries: Iterable[Entry]) -> None:
        """Have entries written, in their order."""
        self._waiting.extend(entries)
        self._filled.set()

    async def run(self) -> None:
        """Write until cancelled. Raises: NotFound (the conversation is gone), Unavailable (the store is away)."""
        while True:
            self._filled = anyio.Event()
            await self._drained()
            await self._filled.wait()

    async def finish(self, entries: Iterable[Entry] = ()) -> None:
        """Write what is left, for a second at most; what is lost is reported."""
        self.add(entries)
        with anyio.move_on_after(FINISH_S, shield=True):
            try:
                await self._drained()
            except NotFound:  # a conversation that is gone wants no items
                return
            except Exception as error:  # whatever it is, the session's client is still to be closed
                return self._lost(error)
        if self._waiting or self._batch:
            self._lost(TimeoutError())
        return None

    async def _drained(self) -> None:
        while self._batch or self._waiting:
            if not self._batch:
                self._batch = _taken(self._waiting)
            await self._write_batch()

    async def _write_batch(self) -> None:
        """Commit the batch. Raises: NotFound, Unavailable after trying for a while."""
        began, pauses = anyio.current_time(), waits()
        while True:
            try:
                batch = [self._renamed(entry) for entry in self._batch]
                self._ids |= await self._records.write(self._principal, self._conversation_id, batch)
            except Unavailable as error:
                if anyio.current_time() - began >= RETRY_S or len(self._waiting) > MAX_WAITING:
                    raise
                self._report("what is said cannot be written down; trying again", error)
                await anyio.sleep(next(pauses))
            else:
                self._batch = []
                return

    def _renamed(self, entry: Entry) -> Entry:
        """Return an entry about the item as the conversation calls it."""
        name = self._ids.get(item_id_of(entry))
        if name is None or isinstance(entry, Append):
            return entry
        return Remove(name) if isinstance(entry, Remove) else replace(entry, item=replace(entry.item, id=name))

    def _lost(self, error: BaseException) -> None:
        self._report(f"{len(self._batch) + len(self._waiting)} items of a live session were not written down", error)


def _taken(waiting: deque[Entry]) -> list[Entry]:
    """Take the entries of one commit, at most one an item."""
    found: dict[str, Entry] = {}
    while waiting and len(found) < BATCH and item_id_of(waiting[0]) not in found:
        entry = waiting.popleft()
        found[item_id_of(entry)] = entry
    return list(found.values())
