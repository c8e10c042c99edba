"""What live sessions write into conversations: each item a turn of its own, so that an amended one keeps its place."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import bindparam, select, update

from chatbackend.adapters.api import items as wire
from chatbackend.adapters.api.conversations import conversation_not_found
from chatbackend.domain.identity import Principal
from chatbackend.domain.items import Item
from chatbackend.domain.records import Amend, Append, Entry, Remove
from chatbackend.infra.db import conversation_log as log
from chatbackend.infra.db.conversation_log import GET, found, own
from chatbackend.infra.db.conversations import take_out, take_turn, turn_of
from chatbackend.infra.db.tables.responses import ITEMS
from chatbackend.infra.db.tables.schema import MICROS
from chatbackend.infra.db.transaction import Database, Row, Transaction, adding, one
from chatbackend.usecases.file_ports import Changes
from chatbackend.usecases.ports import Clock
from chatbackend.usecases.record_ports import Remembered

_LOCK = GET.with_for_update()
_IN = ITEMS.c.conversation_id == bindparam("conversation_id")
_NEWEST = select(ITEMS.c.body).where(_IN).order_by(ITEMS.c.turn.desc(), ITEMS.c.pk.desc()).limit(bindparam("limit"))
_ITEM = select(ITEMS).where(_IN, ITEMS.c.id == bindparam("id"))
_ADD_ITEM = adding(ITEMS)
_AMEND = update(ITEMS).where(ITEMS.c.pk == bindparam("pk_")).values(body=bindparam("body_"))


class StoredRecords:
    """`ConversationRecords` over any `Database`. What changes is told to `changes`."""

    def __init__(self, database: Database, clock: Clock, changes: Changes) -> None:
        self._database = database
        self._clock = clock
        self._changes = changes

    async def check(self, principal: Principal, conversation_id: str) -> None:
        """See `ConversationRecords.check`."""
        await self._database.read(lambda tx: found(tx, principal, conversation_id))

    async def newest(self, principal: Principal, conversation_id: str, *, limit: int) -> Remembered:
        """See `ConversationRecords.newest`."""

        async def work(tx: Transaction) -> tuple[Row, list[Row]]:
            row = await found(tx, principal, conversation_id)
            return row, await tx.rows(_NEWEST, {"conversation_id": conversation_id, "limit": limit})

        row, newest = await self._database.read(work)
        return Remembered([wire.decode(each["body"]) for each in reversed(newest)], row["next_event"] - 1)

    async def item(self, principal: Principal, conversation_id: str, item_id: str) -> Item | None:
        """See `ConversationRecords.item`."""

        async def work(tx: Transaction) -> Row | None:
            await found(tx, principal, conversation_id)
            return await one(tx, _ITEM, {"conversation_id": conversation_id, "id": item_id})

        row = await self._database.read(work)
        return None if row is None else wire.decode(row["body"])

    async def write(self, principal: Principal, conversation_id: str, entries: Sequence[Entry]) -> dict[str, str]:
        """See `ConversationRecords.write`."""

        async def work(tx: Transaction) -> dict[str, str]:
            if await one(tx, _LOCK, own(principal, conversation_id)) is None:
                raise conversation_not_found(conversation_id)
            writing = _Writing(tx, principal, conversation_id, int(self._clock.now() * MICROS))
            for entry in entries:
                await writing.write(entry)
            return writing.spared

        try:
            return await self._database.write(work, touching=(conversation_id,))
        finally:  # where the caller gives up, whoever watches looks a little early
            self._changes.wake(conversation_id)


class _Writing:
    """One transaction. `spared`: the spare ids that were taken, by the ids that were not free."""

    def __init__(self, tx: Transaction, principal: Principal, conversation_id: str, now: int) -> None:
        self.spared: dict[str, str] = {}
        self._tx = tx
        self._principal = principal
        self._id = conversation_id
        self._now = now

    async def write(self, entry: Entry) -> None:
        match entry:
            case Append(item, spare):
                await self._append(item, spare)
            case Amend(item):
                await self._amend(item)
            case Remove(item_id):
                await self._remove(item_id)

    async def _append(self, item: Item, spare: str) -> None:
        there = await self._item(item.id)
        if there is not None and there["body"] != wire.encode(item):
            self.spared[item.id] = spare
            item = replace(item, id=spare)
            there = await self._item(spare)
        if there is not None:  # it was written before, and nobody learned of that
            return
        row = await take_turn(self._tx, self._principal, self._id, param="conversation")
        place = {"conversation_id": self._id, "response_id": None, "turn": turn_of(row), "position": 0}
        owner = {"tenant": self._principal.tenant, "owner": self._principal.owner, "direction": "input"}
        await self._tx.execute(_ADD_ITEM, {**place, **owner, "id": item.id, "body": wire.encode(item)})
        await self._tell(row, item, turn=turn_of(row))

    async def _amend(self, item: Item) -> None:
        there, body = await self._item(item.id), wire.encode(item)
        if there is None or there["body"] == body:
            return
        await self._tx.execute(_AMEND, {"pk_": there["pk"], "body_": body})
        await log.removed(self._tx, self._principal, self._id, [there], now=self._now)
        row = await found(self._tx, self._principal, self._id)
        await self._tell(row, item, turn=there["turn"])

    async def _remove(self, item_id: str) -> None:
        there = await self._item(item_id)
        if there is not None:
            await take_out(self._tx, self._principal, self._id, there, now=self._now)

    async def _item(self, item_id: str) -> Row | None:
        return await one(self._tx, _ITEM, {"conversation_id": self._id, "id": item_id})

    async def _tell(self, row: Row, item: Item, *, turn: int) -> None:
        changes = await log.added(self._tx, self._principal, row, [item], turn=turn, now=self._now)
        await log.append(self._tx, self._principal, self._id, changes, now=self._now)
