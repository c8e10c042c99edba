"""A conversation's coarse log, and all that changes with its items: activity, title, words to be found by.

Everything here runs in the transaction that makes the change, so that the log says what is true and all of it.
"""

from collections.abc import Sequence
from dataclasses import replace

import msgspec
from sqlalchemy import bindparam, delete, select, update

from chatbackend.adapters.api import items as wire
from chatbackend.adapters.api.conversation_events import render
from chatbackend.adapters.api.conversations import conversation_not_found
from chatbackend.domain.conversations import (
    Change,
    Conversation,
    ItemAdded,
    ItemDeleted,
    State,
    Updated,
    title_of,
)
from chatbackend.domain.errors import Conflict, Gone
from chatbackend.domain.identity import Principal
from chatbackend.domain.items import Item
from chatbackend.infra.db.conversation_words import forget_words, index
from chatbackend.infra.db.tables.responses import CONVERSATION_EVENTS, CONVERSATIONS, IS_ALIVE, ITEMS, RESPONSES
from chatbackend.infra.db.tables.schema import MICROS
from chatbackend.infra.db.transaction import Database, Row, Transaction, adding, one
from chatbackend.usecases.ports import LogEvent

EVENTS_KEPT = 10_000  # of one conversation, at least
TRIM_EVERY = 1_000
PAGE = 256
STATE_ITEMS = 1_000  # of a conversation's state: the newest

_metadata = msgspec.json.Decoder(dict[str, str]).decode
MINE = (CONVERSATIONS.c.tenant == bindparam("tenant")) & (CONVERSATIONS.c.owner == bindparam("owner"))
GET = select(CONVERSATIONS).where(CONVERSATIONS.c.id == bindparam("id"), MINE)
MY_OWN = (
    CONVERSATIONS.c.id == bindparam("id_"),
    CONVERSATIONS.c.tenant == bindparam("tenant_"),
    CONVERSATIONS.c.owner == bindparam("owner_"),
)
_ADVANCE = (
    update(CONVERSATIONS)
    .where(*MY_OWN)
    .values(next_event=CONVERSATIONS.c.next_event + bindparam("count_"), updated_at=bindparam("now_"))
    .returning(*CONVERSATIONS.c)
)
_NAME = update(CONVERSATIONS).where(*MY_OWN).values(derived_title=bindparam("title_"))
_ADD_EVENT = adding(CONVERSATION_EVENTS)
_OF = CONVERSATION_EVENTS.c.conversation_id == bindparam("conversation_id")
_READ = (
    select(CONVERSATION_EVENTS.c.number, CONVERSATION_EVENTS.c.type, CONVERSATION_EVENTS.c.data)
    .where(_OF, CONVERSATION_EVENTS.c.number > bindparam("after"))
    .order_by(CONVERSATION_EVENTS.c.number)
    .limit(PAGE)
)
_TRIM = delete(CONVERSATION_EVENTS).where(_OF, CONVERSATION_EVENTS.c.number < bindparam("floor"))
_FORGET_EVENTS = delete(CONVERSATION_EVENTS).where(_OF)
_RUNNING = (
    select(RESPONSES.c.id)
    .where(RESPONSES.c.conversation_id == bindparam("conversation_id"), IS_ALIVE)
    .order_by(RESPONSES.c.turn)
)
_PLACES = (
    select(ITEMS.c.id, ITEMS.c.turn, ITEMS.c.response_id)
    .where(ITEMS.c.conversation_id == bindparam("conversation_id"))
    .order_by(ITEMS.c.turn.desc(), ITEMS.c.pk.desc())
    .limit(STATE_ITEMS + 1)
)


class ConversationLog:
    """The log as devices read it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, principal: Principal, conversation_id: str, *, after: int) -> list[LogEvent]:
        """See `ConversationLog.read` of the ports."""

        async def work(tx: Transaction) -> list[LogEvent]:
            row = await found(tx, principal, conversation_id)
            known = {"conversation_id": conversation_id, "after": after}
            events = [LogEvent(each["number"], each["type"], each["data"]) for each in await tx.rows(_READ, known)]
            _check(after, events, following=row["next_event"])
            return events

        return await self._database.read(work)

    async def state(self, principal: Principal, conversation_id: str) -> State:
        """Return a conversation as it is at one event of its log. Raises: NotFound."""

        async def work(tx: Transaction) -> State:
            row = await found(tx, principal, conversation_id)
            known = {"conversation_id": conversation_id}
            running = [each["id"] for each in await tx.rows(_RUNNING, known)]
            newest = await tx.rows(_PLACES, known)
            items = [ItemAdded(each["id"], each["turn"], each["response_id"]) for each in newest[:STATE_ITEMS]]
            more = len(newest) > STATE_ITEMS
            return State(conversation(row), row["next_event"] - 1, items[::-1], running, more=more)

        return await self._database.read(work)


async def found(tx: Transaction, principal: Principal, conversation_id: str) -> Row:
    """Return a caller's own conversation. Raises: NotFound."""
    row = await one(tx, GET, own(principal, conversation_id))
    if row is None:
        raise conversation_not_found(conversation_id)
    return row


async def append(
    tx: Transaction, principal: Principal, conversation_id: str, changes: Sequence[Change], *, now: int
) -> None:
    """Log changes, in their order; a conversation that is gone has no log. `now` is in microseconds."""
    known = {"id_": conversation_id, "tenant_": principal.tenant, "owner_": principal.owner}
    row = await one(tx, _ADVANCE, {**known, "count_": len(changes), "now_": now})
    if row is None:
        return
    following: int = row["next_event"]
    at = now // MICROS
    events = [
        render(conversation_id, change, number, at=at)
        for number, change in enumerate(changes, following - len(changes))
    ]
    rows = [
        {"conversation_id": conversation_id, "number": event.number, "type": event.type, "data": event.data}
        for event in events
    ]
    await tx.execute_many(_ADD_EVENT, rows)
    if following // TRIM_EVERY != (following - len(changes)) // TRIM_EVERY and following > EVENTS_KEPT:
        await tx.execute(_TRIM, {"conversation_id": conversation_id, "floor": following - EVENTS_KEPT})


async def added(
    tx: Transaction,
    principal: Principal,
    row: Row,
    items: Sequence[Item],
    *,
    turn: int,
    response_id: str | None = None,
    now: int,
) -> list[Change]:
    """Let added items be found, and give the conversation `row` its title; return what there is to log."""
    await index(tx, principal, row["id"], items)
    changes: list[Change] = [ItemAdded(item.id, turn, response_id) for item in items]
    title = title_of(items) if row["derived_title"] is None else None
    if title is not None:
        await _name(tx, principal, row["id"], title)
        if row["title"] is None:
            changes.append(Updated(replace(conversation(row), title=title, updated_at=now // MICROS)))
    return changes


async def removed(
    tx: Transaction, principal: Principal, conversation_id: str, gone: Sequence[Row], *, now: int
) -> None:
    """Forget the words of items (rows with `id`, `body`) that left a conversation, and the title that one gave."""
    row = await one(tx, GET, own(principal, conversation_id))
    if row is None or not gone:
        return
    for item in gone:
        await forget_words(tx, principal, conversation_id, item_id=item["id"])
    changes: list[Change] = [ItemDeleted(item["id"]) for item in gone]
    titles = {title_of([wire.decode(item["body"])]) for item in gone}
    if row["derived_title"] is not None and row["derived_title"] in titles:
        await _name(tx, principal, conversation_id, None)
        if row["title"] is None:
            changes.append(Updated(replace(conversation(row), title=None, updated_at=now // MICROS)))
    await append(tx, principal, conversation_id, changes, now=now)


async def forget(tx: Transaction, principal: Principal, conversation_id: str) -> None:
    """Forget a conversation's log and words."""
    await tx.execute(_FORGET_EVENTS, {"conversation_id": conversation_id})
    await forget_words(tx, principal, conversation_id)


def own(principal: Principal, conversation_id: str) -> dict[str, str]:
    """Return the parameters of `GET`."""
    return {"id": conversation_id, "tenant": principal.tenant, "owner": principal.owner}


def conversation(row: Row) -> Conversation:
    """Return a row as a conversation."""
    return Conversation(
        row["id"],
        row["created_at"] // MICROS,
        _metadata(row["metadata"]),
        title=row["title"] if row["title"] is not None else row["derived_title"],
        archived=bool(row["archived"]),
        updated_at=row["updated_at"] // MICROS,
        branched_from=row["branched_from"],
    )


async def _name(tx: Transaction, principal: Principal, conversation_id: str, title: str | None) -> None:
    known = {"id_": conversation_id, "tenant_": principal.tenant, "owner_": principal.owner}
    await tx.execute(_NAME, {**known, "title_": title})


def _check(after: int, events: Sequence[LogEvent], *, following: int) -> None:
    """Refuse a cursor that the log cannot serve exactly. Raises: Conflict, Gone."""
    if after >= following and after >= 0:
        message = f"after is {after}, but the last event of this conversation is number {following - 1}."
        raise Conflict(message, param="after", code="cursor_ahead")
    if after + 1 < following and (not events or events[0].number != after + 1):
        message = f"The events behind number {after} are no longer all kept; read the conversation's state again."
        raise Gone(message, param="after", code="cursor_expired")
