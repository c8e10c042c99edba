"""Conversations and their items on a database; and the turn that each response in one takes."""

from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy import (
    bindparam,
    delete,
    literal,
    null,
    select,
    update,
)

from chatbackend.adapters.api import items as wire
from chatbackend.adapters.api.conversations import conversation_not_found, item_not_found
from chatbackend.adapters.api.listing import Window
from chatbackend.domain.conversations import Conversation
from chatbackend.domain.errors import Conflict, InvalidRequest
from chatbackend.domain.identity import Principal
from chatbackend.domain.items import Item
from chatbackend.infra.db import requests
from chatbackend.infra.db.paging import Listing
from chatbackend.infra.db.tables.responses import CONVERSATIONS, ITEMS, RESPONSES
from chatbackend.infra.db.tables.schema import MICROS
from chatbackend.infra.db.transaction import Database, Row, Transaction, adding, one
from chatbackend.usecases.ports import Clock, Once

_metadata = msgspec.json.Decoder(dict[str, str]).decode
_encode = msgspec.json.Encoder().encode
_MINE = (CONVERSATIONS.c.tenant == bindparam("tenant")) & (CONVERSATIONS.c.owner == bindparam("owner"))
_ALIVE = tuple(literal(status) for status in ("queued", "in_progress"))

_ADD = adding(CONVERSATIONS)
_ALL = Listing(select(CONVERSATIONS), CONVERSATIONS.c.created_at, CONVERSATIONS.c.id, _MINE)
_GET = select(CONVERSATIONS).where(CONVERSATIONS.c.id == bindparam("id"), _MINE)
_LOCK = _GET.with_for_update()
_UPDATE = (
    update(CONVERSATIONS)
    .where(
        CONVERSATIONS.c.id == bindparam("id_"),
        CONVERSATIONS.c.tenant == bindparam("tenant_"),
        CONVERSATIONS.c.owner == bindparam("owner_"),
    )
    .values(metadata=bindparam("metadata_"))
)
_DELETE = delete(CONVERSATIONS).where(CONVERSATIONS.c.id == bindparam("id"), _MINE)
_TAKE_TURN = (
    update(CONVERSATIONS)
    .where(
        CONVERSATIONS.c.id == bindparam("id_"),
        CONVERSATIONS.c.tenant == bindparam("tenant_"),
        CONVERSATIONS.c.owner == bindparam("owner_"),
    )
    .values(next_turn=CONVERSATIONS.c.next_turn + 1)
    .returning(CONVERSATIONS.c.next_turn)
)
_RUNNING = (
    select(RESPONSES.c.id)
    .where(RESPONSES.c.conversation_id == bindparam("conversation_id"), RESPONSES.c.status.in_(_ALIVE))
    .order_by(RESPONSES.c.turn.desc())
)

_IN = ITEMS.c.conversation_id == bindparam("conversation_id")
_ITEMS = Listing(select(ITEMS.c.id, ITEMS.c.body), ITEMS.c.turn, ITEMS.c.pk, _IN, name=ITEMS.c.id)
_ADD_ITEM = adding(ITEMS)
_ITEM = select(ITEMS).where(_IN, ITEMS.c.id == bindparam("id"))
_ADDED = select(ITEMS.c.id, ITEMS.c.body).where(_IN, ITEMS.c.turn == bindparam("turn")).order_by(ITEMS.c.pk)
# What belongs to a response as well stays there: only the conversation loses it.
_DETACH = (
    update(ITEMS).where(ITEMS.c.conversation_id == bindparam("conversation_id_"), ITEMS.c.response_id.is_not(None))
).values(conversation_id=null())
_DETACH_ONE = _DETACH.where(ITEMS.c.pk == bindparam("pk_"))
_REMOVE = delete(ITEMS).where(_IN)
_REMOVE_ONE = _REMOVE.where(ITEMS.c.pk == bindparam("pk"))


async def take_turn(tx: Transaction, principal: Principal, conversation_id: str, *, param: str) -> int:
    """Return the number of a conversation's next turn, which is taken by that. Raises: NotFound."""
    known = {"id_": conversation_id, "tenant_": principal.tenant, "owner_": principal.owner}
    row = await one(tx, _TAKE_TURN, known)
    if row is None:
        raise conversation_not_found(conversation_id, param=param)
    return row["next_turn"] - 1


async def running(tx: Transaction, conversation_id: str) -> list[str]:
    """Return the ids of a conversation's responses that have not ended, the newest turn first."""
    return [row["id"] for row in await tx.rows(_RUNNING, {"conversation_id": conversation_id})]


async def refuse_known(tx: Transaction, conversation_id: str, items: Iterable[Item], *, param: str) -> None:
    """Raise InvalidRequest for an item whose id the conversation holds already, or that comes twice."""
    seen: set[str] = set()
    for item in items:
        known = {"conversation_id": conversation_id, "id": item.id}
        if item.id in seen or await one(tx, _ITEM, known) is not None:
            message = f"Duplicate item: the conversation already holds one with id '{item.id}'."
            raise InvalidRequest(message, param=param, code="duplicate_item")
        seen.add(item.id)


class Conversations:
    """Conversations of every owner; each method sees one owner's only."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def create(
        self, principal: Principal, conversation: Conversation, items: Sequence[Item], *, once: Once | None
    ) -> Conversation:
        """Commit a conversation with its first items; return it, or the one that this very request made before.

        Raises: Unprocessable (same key, other body), Conflict when the earlier one is deleted.
        """

        async def work(tx: Transaction) -> Conversation:
            now = self._micros()
            earlier = await requests.find(tx, principal, once, now=now)
            if earlier is not None:
                row = await one(tx, _GET, _own(principal, earlier))
                if row is None:
                    raise _result_gone()
                return _conversation(row)
            own = {"tenant": principal.tenant, "owner": principal.owner, "created_at": now, "next_turn": 1}
            metadata = _encode(conversation.metadata)
            await tx.execute(_ADD, {"id": conversation.id, "metadata": metadata, **own})
            await self._add(tx, principal, conversation.id, items=items, turn=0)
            await requests.add(tx, principal, once, object_id=conversation.id, now=now)
            return Conversation(conversation.id, now // MICROS, conversation.metadata)

        return await self._database.write(work)

    async def get(self, principal: Principal, conversation_id: str) -> Conversation:
        """Return a conversation. Raises: NotFound."""

        async def work(tx: Transaction) -> Conversation:
            return _conversation(await _found(tx, principal, conversation_id))

        return await self._database.read(work)

    async def page(self, principal: Principal, window: Window) -> tuple[list[Conversation], bool]:
        """Return a page in the order of creation, and whether more follow. Raises: InvalidRequest (the cursor)."""

        async def work(tx: Transaction) -> tuple[list[Conversation], bool]:
            owner = {"tenant": principal.tenant, "owner": principal.owner}
            rows, more = await _ALL.page(tx, window, owner)
            return [_conversation(row) for row in rows], more

        return await self._database.read(work)

    async def update(self, principal: Principal, conversation_id: str, metadata: dict[str, str]) -> Conversation:
        """Replace the metadata. Raises: NotFound."""

        async def work(tx: Transaction) -> Conversation:
            own = {"id_": conversation_id, "tenant_": principal.tenant, "owner_": principal.owner}
            await tx.execute(_UPDATE, {**own, "metadata_": _encode(metadata)})
            return _conversation(await _found(tx, principal, conversation_id))

        return await self._database.write(work)

    async def delete(self, principal: Principal, conversation_id: str) -> Sequence[str]:
        """See `Conversations.delete` of the ports."""

        async def work(tx: Transaction) -> list[str]:
            await _locked(tx, principal, conversation_id)
            alive = await running(tx, conversation_id)
            if not alive:
                await tx.execute(_DETACH, {"conversation_id_": conversation_id})
                await tx.execute(_REMOVE, {"conversation_id": conversation_id})
                await tx.execute(_DELETE, _own(principal, conversation_id))
            return alive

        return await self._database.write(work)

    async def add_items(
        self, principal: Principal, conversation_id: str, items: Sequence[Item], *, once: Once | None
    ) -> list[Row]:
        """Commit items as a turn of their own; return them (`id`, `body`), or what this very request added before.

        Raises: NotFound, InvalidRequest (an id that is there already), Unprocessable (same key, other body).
        """

        async def work(tx: Transaction) -> list[Row]:
            earlier = await requests.find(tx, principal, once, now=self._micros())
            if earlier is not None:
                await _found(tx, principal, conversation_id)
                return await tx.rows(_ADDED, {"conversation_id": conversation_id, "turn": int(earlier)})
            turn = await take_turn(tx, principal, conversation_id, param="conversation_id")
            await self._add(tx, principal, conversation_id, items=items, turn=turn)
            await requests.add(tx, principal, once, object_id=str(turn), now=self._micros())
            return await tx.rows(_ADDED, {"conversation_id": conversation_id, "turn": turn})

        return await self._database.write(work)

    async def page_of_items(self, principal: Principal, conversation_id: str, window: Window) -> tuple[list[Row], bool]:
        """Return a page of items (`id`, `body`) in the order of turns, and whether more follow.

        Raises: NotFound, InvalidRequest (the cursor).
        """

        async def work(tx: Transaction) -> tuple[list[Row], bool]:
            await _found(tx, principal, conversation_id)
            return await _ITEMS.page(tx, window, {"conversation_id": conversation_id})

        return await self._database.read(work)

    async def item(self, principal: Principal, conversation_id: str, item_id: str) -> bytes:
        """Return an item's JSON. Raises: NotFound."""

        async def work(tx: Transaction) -> bytes:
            return (await _found_item(tx, principal, conversation_id, item_id))["body"]

        return await self._database.read(work)

    async def delete_item(self, principal: Principal, conversation_id: str, item_id: str) -> Conversation:
        """Take an item out of a conversation for good (a response keeps its own); return the conversation.

        Raises: NotFound.
        """

        async def work(tx: Transaction) -> Conversation:
            await _locked(tx, principal, conversation_id)
            row = await _found_item(tx, principal, conversation_id, item_id)
            await tx.execute(_DETACH_ONE, {"conversation_id_": conversation_id, "pk_": row["pk"]})
            await tx.execute(_REMOVE_ONE, {"conversation_id": conversation_id, "pk": row["pk"]})
            return _conversation(await _found(tx, principal, conversation_id))

        return await self._database.write(work)

    async def _add(
        self, tx: Transaction, principal: Principal, conversation_id: str, *, items: Sequence[Item], turn: int
    ) -> None:
        await refuse_known(tx, conversation_id, items, param="items")
        shared = {"tenant": principal.tenant, "owner": principal.owner, "conversation_id": conversation_id}
        shared |= {"response_id": None, "turn": turn, "direction": "input"}
        rows = [
            {**shared, "id": item.id, "position": position, "body": wire.encode(item)}
            for position, item in enumerate(items)
        ]
        await tx.execute_many(_ADD_ITEM, rows)

    def _micros(self) -> int:
        return int(self._clock.now() * MICROS)


def _own(principal: Principal, conversation_id: str) -> dict[str, str]:
    return {"id": conversation_id, "tenant": principal.tenant, "owner": principal.owner}


async def _locked(tx: Transaction, principal: Principal, conversation_id: str) -> None:
    """Have whoever else changes the conversation or takes a turn in it wait. Raises: NotFound."""
    if await one(tx, _LOCK, _own(principal, conversation_id)) is None:
        raise conversation_not_found(conversation_id)


async def _found(tx: Transaction, principal: Principal, conversation_id: str) -> Row:
    row = await one(tx, _GET, _own(principal, conversation_id))
    if row is None:
        raise conversation_not_found(conversation_id)
    return row


async def _found_item(tx: Transaction, principal: Principal, conversation_id: str, item_id: str) -> Row:
    await _found(tx, principal, conversation_id)
    row = await one(tx, _ITEM, {"conversation_id": conversation_id, "id": item_id})
    if row is None:
        raise item_not_found(item_id)
    return row


def _result_gone() -> Conflict:
    return Conflict("What this request made is deleted.", code="idempotent_result_gone")


def _conversation(row: Row) -> Conversation:
    return Conversation(row["id"], row["created_at"] // MICROS, _metadata(row["metadata"]))
