"""Conversations and their items on a database; and the turn that each response in one takes."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypeVar

import msgspec
from sqlalchemy import (
    bindparam,
    delete,
    insert,
    literal,
    null,
    select,
    tuple_,
    update,
)

from chatbackend.adapters.api import items as wire
from chatbackend.adapters.api.conversations import conversation_not_found, item_not_found
from chatbackend.adapters.api.listing import Window
from chatbackend.domain.conversations import Conversation, Edit, Updated, title_of
from chatbackend.domain.errors import Conflict, InvalidRequest
from chatbackend.domain.finding import sought
from chatbackend.domain.identity import Principal
from chatbackend.domain.items import Item
from chatbackend.infra.db import conversation_log as log
from chatbackend.infra.db import requests
from chatbackend.infra.db.conversation_log import GET, MINE, MY_OWN, conversation, found, own
from chatbackend.infra.db.conversation_words import index, index_title, matching, patterns
from chatbackend.infra.db.paging import Listing
from chatbackend.infra.db.tables.responses import CONVERSATION_WORDS, CONVERSATIONS, IS_ALIVE, ITEMS, RESPONSES
from chatbackend.infra.db.tables.schema import MICROS, TEXT
from chatbackend.infra.db.transaction import Database, Row, Transaction, adding, one
from chatbackend.usecases.file_ports import Changes
from chatbackend.usecases.ports import Clock, Once

T = TypeVar("T")

_encode = msgspec.json.Encoder().encode

_ADD = adding(CONVERSATIONS)
_LOCK = GET.with_for_update()
_UPDATE = (
    update(CONVERSATIONS)
    .where(*MY_OWN)
    .values(metadata=bindparam("metadata_"), title=bindparam("title_"), archived=bindparam("archived_"))
    .returning(*CONVERSATIONS.c)
)
_DELETE = delete(CONVERSATIONS).where(CONVERSATIONS.c.id == bindparam("id"), MINE)
_TAKE_TURN = (
    update(CONVERSATIONS).where(*MY_OWN).values(next_turn=CONVERSATIONS.c.next_turn + 1).returning(*CONVERSATIONS.c)
)
_RUNNING = (
    select(RESPONSES.c.id)
    .where(RESPONSES.c.conversation_id == bindparam("conversation_id"), IS_ALIVE)
    .order_by(RESPONSES.c.turn.desc())
)

_SAME_ITEM = ITEMS.c.id == CONVERSATION_WORDS.c.item_id
_IN = ITEMS.c.conversation_id == bindparam("conversation_id")
_ITEMS = Listing(select(ITEMS.c.id, ITEMS.c.body), ITEMS.c.turn, ITEMS.c.pk, _IN, name=ITEMS.c.id)
_ADD_ITEM = adding(ITEMS)
_ITEM = select(ITEMS).where(_IN, ITEMS.c.id == bindparam("id"))
_ADDED = select(ITEMS.c.id, ITEMS.c.body).where(_IN, ITEMS.c.turn == bindparam("turn")).order_by(ITEMS.c.pk)
_COPIED = (ITEMS.c.id, ITEMS.c.tenant, ITEMS.c.owner, ITEMS.c.turn, ITEMS.c.direction, ITEMS.c.position, ITEMS.c.body)
_LAST = select(ITEMS.c.turn, ITEMS.c.pk).where(_IN).order_by(ITEMS.c.turn.desc(), ITEMS.c.pk.desc()).limit(1)
_UP_TO = (_IN, tuple_(ITEMS.c.turn, ITEMS.c.pk) <= tuple_(bindparam("turn"), bindparam("pk")))
_COPY_ITEMS = insert(ITEMS).from_select(
    ["conversation_id", *(column.name for column in _COPIED)],
    select(bindparam("new_id", type_=TEXT), *_COPIED).where(*_UP_TO).order_by(ITEMS.c.turn, ITEMS.c.pk),
)
_COPY_WORDS = insert(CONVERSATION_WORDS).from_select(
    ["tenant", "owner", "conversation_id", "item_id", "words"],
    select(
        CONVERSATION_WORDS.c.tenant,
        CONVERSATION_WORDS.c.owner,
        bindparam("new_id", type_=TEXT),
        CONVERSATION_WORDS.c.item_id,
        CONVERSATION_WORDS.c.words,
    )
    .join(ITEMS, (ITEMS.c.conversation_id == CONVERSATION_WORDS.c.conversation_id) & _SAME_ITEM)
    .where(
        CONVERSATION_WORDS.c.tenant == bindparam("tenant"), CONVERSATION_WORDS.c.owner == bindparam("owner"), *_UP_TO
    ),
)
_MY_RESPONSES = (
    RESPONSES.c.conversation_id == bindparam("conversation_id"),
    RESPONSES.c.tenant == bindparam("tenant"),
    RESPONSES.c.owner == bindparam("owner"),
)
_RESPONSES = select(RESPONSES.c.id).where(*_MY_RESPONSES)
_ERASE_ITEMS = delete(ITEMS).where(ITEMS.c.response_id.in_(_RESPONSES))
_ERASE_RESPONSES = delete(RESPONSES).where(*_MY_RESPONSES)
# What belongs to a response as well stays there: only the conversation loses it.
_DETACH = (
    update(ITEMS).where(ITEMS.c.conversation_id == bindparam("conversation_id_"), ITEMS.c.response_id.is_not(None))
).values(conversation_id=null())
_DETACH_ONE = _DETACH.where(ITEMS.c.pk == bindparam("pk_"))
_REMOVE = delete(ITEMS).where(_IN)
_REMOVE_ONE = _REMOVE.where(ITEMS.c.pk == bindparam("pk"))


async def take_turn(tx: Transaction, principal: Principal, conversation_id: str, *, param: str) -> Row:
    """Take a conversation's next turn and return the conversation, whose turn is `turn_of`. Raises: NotFound."""
    known = {"id_": conversation_id, "tenant_": principal.tenant, "owner_": principal.owner}
    row = await one(tx, _TAKE_TURN, known)
    if row is None:
        raise conversation_not_found(conversation_id, param=param)
    return row


def turn_of(taken: Row) -> int:
    """Return the turn that `take_turn` took."""
    return taken["next_turn"] - 1


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


async def take_out(tx: Transaction, principal: Principal, conversation_id: str, row: Row, *, now: int) -> None:
    """Take an item (its row) out of a conversation; a response keeps its own. `now` is in microseconds."""
    await tx.execute(_DETACH_ONE, {"conversation_id_": conversation_id, "pk_": row["pk"]})
    await tx.execute(_REMOVE_ONE, {"conversation_id": conversation_id, "pk": row["pk"]})
    await log.removed(tx, principal, conversation_id, [row], now=now)


@lru_cache
def _listing(words: int, *, archived: bool | None) -> Listing:
    """Return the list of an owner's conversations by their activity: archived, others or (None) both, with `words`."""
    wanted = MINE
    if archived is not None:
        wanted &= CONVERSATIONS.c.archived == literal(int(archived))
    if words:
        wanted &= CONVERSATIONS.c.id.in_(matching(words))
    return Listing(select(CONVERSATIONS), CONVERSATIONS.c.updated_at, CONVERSATIONS.c.id, wanted)


class Conversations:
    """Conversations of every owner; each method sees one owner's only. What they change is told to `changes`."""

    def __init__(self, database: Database, clock: Clock, changes: Changes) -> None:
        self._database = database
        self._clock = clock
        self._changes = changes

    async def create(
        self, principal: Principal, conversation: Conversation, items: Sequence[Item], *, once: Once | None
    ) -> Conversation:
        """Commit a conversation with its first items; return it, or the one that this very request made before.

        Raises: Unprocessable (same key, other body), Conflict when the earlier one is deleted.
        """

        async def work(tx: Transaction) -> Conversation:
            now = self._micros()
            earlier = await self._earlier(tx, principal, once, now=now)
            if earlier is not None:
                return earlier
            made = replace(conversation, created_at=now // MICROS, updated_at=now // MICROS, title=title_of(items))
            await tx.execute(_ADD, _row(principal, made, now=now))
            await self._add(tx, principal, conversation.id, items=items, turn=0)
            await index(tx, principal, conversation.id, items)
            await requests.add(tx, principal, once, object_id=conversation.id, now=now)
            return made

        return await self._database.write(work)

    async def branch(
        self, principal: Principal, conversation_id: str, new_id: str, *, after: str | None, once: Once | None
    ) -> Conversation:
        """Commit a conversation that begins with another's items, up to item `after` or all; return it.

        The items are copied inside the database. Raises: as `create`; NotFound.
        """

        async def work(tx: Transaction) -> Conversation:
            now = self._micros()
            earlier = await self._earlier(tx, principal, once, now=now)
            if earlier is not None:
                return earlier
            row = await _locked(tx, principal, conversation_id)
            last = await _last(tx, conversation_id, after)
            await tx.execute(_ADD, _branch_row(row, new_id, turn=last["turn"], now=now))
            place = {"turn": last["turn"], "pk": last["pk"], "conversation_id": conversation_id, "new_id": new_id}
            await tx.execute(_COPY_ITEMS, place)
            await tx.execute(_COPY_WORDS, {**place, "tenant": principal.tenant, "owner": principal.owner})
            await index_title(tx, principal, new_id, row["title"])
            await requests.add(tx, principal, once, object_id=new_id, now=now)
            return await _read(tx, principal, new_id)

        return await self._database.write(work)

    async def get(self, principal: Principal, conversation_id: str) -> Conversation:
        """Return a conversation. Raises: NotFound."""
        return await self._database.read(lambda tx: _read(tx, principal, conversation_id))

    async def page(
        self, principal: Principal, window: Window, *, archived: bool | None = None, query: str | None = None
    ) -> tuple[list[Conversation], bool]:
        """Return a page in the order of activity, and whether more follow; `query`: words that all must be in each.

        Raises: InvalidRequest (the cursor).
        """
        words = sought(query or "")
        if query is not None and not words:
            return [], False

        async def work(tx: Transaction) -> tuple[list[Conversation], bool]:
            known = {"tenant": principal.tenant, "owner": principal.owner, **patterns(words)}
            rows, more = await _listing(len(words), archived=archived).page(tx, window, known)
            return [conversation(row) for row in rows], more

        return await self._database.read(work)

    async def update(self, principal: Principal, conversation_id: str, edit: Edit) -> Conversation:
        """Change what an edit names. Raises: NotFound."""

        async def work(tx: Transaction) -> Conversation:
            now = self._micros()
            row = await _locked(tx, principal, conversation_id)
            title = row["title"] if edit.title is None else edit.title or None
            metadata = row["metadata"] if edit.metadata is None else _encode(edit.metadata)
            archived = row["archived"] if edit.archived is None else int(edit.archived)
            values = {"metadata_": metadata, "title_": title, "archived_": archived}
            own_row = {"id_": conversation_id, "tenant_": principal.tenant, "owner_": principal.owner}
            [changed] = await tx.rows(_UPDATE, {**own_row, **values})
            shown = replace(conversation(changed), updated_at=now // MICROS)
            if replace(shown, updated_at=0) == replace(conversation(row), updated_at=0) and title == row["title"]:
                return conversation(row)
            if title != row["title"]:
                await index_title(tx, principal, conversation_id, title)
            await log.append(tx, principal, conversation_id, [Updated(shown)], now=now)
            return shown

        return await self._changing(conversation_id, work)

    async def delete(
        self, principal: Principal, conversation_id: str, *, erasing: Collection[str] | None = None
    ) -> Sequence[str]:
        """See `Conversations.delete` of the ports."""

        async def work(tx: Transaction) -> list[str]:
            await _locked(tx, principal, conversation_id)
            known = {"conversation_id": conversation_id, "tenant": principal.tenant, "owner": principal.owner}
            left = await running(tx, conversation_id)
            if erasing is not None:
                ids = [row["id"] for row in await tx.rows(_RESPONSES, known)]
                left = list(dict.fromkeys([*left, *(each for each in ids if each not in erasing)]))
            if left:
                return left
            if erasing is None:
                await tx.execute(_DETACH, {"conversation_id_": conversation_id})
            else:
                await tx.execute(_ERASE_ITEMS, known)
                await tx.execute(_ERASE_RESPONSES, known)
            await tx.execute(_REMOVE, {"conversation_id": conversation_id})
            await log.forget(tx, principal, conversation_id)
            await tx.execute(_DELETE, own(principal, conversation_id))
            return []

        return await self._changing(conversation_id, work)

    async def add_items(
        self, principal: Principal, conversation_id: str, items: Sequence[Item], *, once: Once | None
    ) -> list[Row]:
        """Commit items as a turn of their own; return them (`id`, `body`), or what this very request added before.

        Raises: NotFound, InvalidRequest (an id that is there already), Unprocessable (same key, other body).
        """

        async def work(tx: Transaction) -> list[Row]:
            now = self._micros()
            earlier = await requests.find(tx, principal, once, now=now)
            if earlier is not None:
                await found(tx, principal, conversation_id)
                return await tx.rows(_ADDED, {"conversation_id": conversation_id, "turn": int(earlier)})
            row = await take_turn(tx, principal, conversation_id, param="conversation_id")
            turn = turn_of(row)
            await self._add(tx, principal, conversation_id, items=items, turn=turn)
            changes = await log.added(tx, principal, row, items, turn=turn, now=now)
            await log.append(tx, principal, conversation_id, changes, now=now)
            await requests.add(tx, principal, once, object_id=str(turn), now=now)
            return await tx.rows(_ADDED, {"conversation_id": conversation_id, "turn": turn})

        return await self._changing(conversation_id, work)

    async def page_of_items(self, principal: Principal, conversation_id: str, window: Window) -> tuple[list[Row], bool]:
        """Return a page of items (`id`, `body`) in the order of turns, and whether more follow.

        Raises: NotFound, InvalidRequest (the cursor).
        """

        async def work(tx: Transaction) -> tuple[list[Row], bool]:
            await found(tx, principal, conversation_id)
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
            await take_out(tx, principal, conversation_id, row, now=self._micros())
            return await _read(tx, principal, conversation_id)

        return await self._changing(conversation_id, work)

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

    async def _changing(self, conversation_id: str, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Commit, then wake whoever watches the conversation; where the caller gives up, they look a little early."""
        try:
            return await self._database.write(work)
        finally:
            self._changes.wake(conversation_id)

    async def _earlier(
        self, tx: Transaction, principal: Principal, once: Once | None, *, now: int
    ) -> Conversation | None:
        earlier = await requests.find(tx, principal, once, now=now)
        if earlier is None:
            return None
        row = await one(tx, GET, own(principal, earlier))
        if row is None:
            raise Conflict("What this request made is deleted.", code="idempotent_result_gone")
        return conversation(row)

    def _micros(self) -> int:
        return int(self._clock.now() * MICROS)


def _row(principal: Principal, made: Conversation, *, now: int) -> dict[str, Any]:
    own_row = {"tenant": principal.tenant, "owner": principal.owner, "created_at": now, "updated_at": now}
    titles = {"title": None, "derived_title": made.title}
    rest = {"archived": 0, "branched_from": None, "next_turn": 1, "next_event": 0}
    return {"id": made.id, "metadata": _encode(made.metadata), **own_row, **titles, **rest}


def _branch_row(row: Row, new_id: str, *, turn: int, now: int) -> dict[str, Any]:
    place = {"id": new_id, "branched_from": row["id"], "next_turn": turn + 1}
    return {**row, **place, "created_at": now, "updated_at": now, "archived": 0, "next_event": 0}


async def _last(tx: Transaction, conversation_id: str, after: str | None) -> Row:
    """Return the place of the last item that a branch takes along. Raises: NotFound."""
    if after is None:
        last = await one(tx, _LAST, {"conversation_id": conversation_id})
        return {"turn": 0, "pk": 0} if last is None else last
    row = await one(tx, _ITEM, {"conversation_id": conversation_id, "id": after})
    if row is None:
        raise item_not_found(after, param="after")
    return row


async def _locked(tx: Transaction, principal: Principal, conversation_id: str) -> Row:
    """Have whoever else changes the conversation or takes a turn in it wait; return it. Raises: NotFound."""
    row = await one(tx, _LOCK, own(principal, conversation_id))
    if row is None:
        raise conversation_not_found(conversation_id)
    return row


async def _read(tx: Transaction, principal: Principal, conversation_id: str) -> Conversation:
    return conversation(await found(tx, principal, conversation_id))


async def _found_item(tx: Transaction, principal: Principal, conversation_id: str, item_id: str) -> Row:
    await found(tx, principal, conversation_id)
    row = await one(tx, _ITEM, {"conversation_id": conversation_id, "id": item_id})
    if row is None:
        raise item_not_found(item_id)
    return row
