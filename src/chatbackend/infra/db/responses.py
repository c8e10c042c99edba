"""`Truth` on a database: responses, their items, conversations' turns, the ledger, create requests."""

from collections.abc import Sequence
from typing import Any, cast

import msgspec
from sqlalchemy import Executable, bindparam, delete, literal, select, update

from chatbackend.adapters.api import items as wire
from chatbackend.adapters.api import responses as shapes
from chatbackend.domain.conversations import ItemAdded, ResponseCreated, ResponseEnded
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.identity import Principal
from chatbackend.domain.items import Item, OutputItem
from chatbackend.domain.pricing import Prices
from chatbackend.domain.responses import NUMBERS_PER_BLOCK, Ask, Failure, Response, ResponseStatus, Served
from chatbackend.domain.usage import Settlement, Usage
from chatbackend.infra.db import conversation_log as log
from chatbackend.infra.db import conversations, ledger_rows, orphans, requests, steers
from chatbackend.infra.db.conversation_words import index
from chatbackend.infra.db.tables.responses import ALIVE, IS_ALIVE, ITEMS, RESPONSES
from chatbackend.infra.db.tables.schema import MICROS
from chatbackend.infra.db.transaction import Database, Row, Transaction, adding, one
from chatbackend.usecases.file_ports import Changes
from chatbackend.usecases.ports import Begun, Call, Clock, Ended, Fenced, Once, Orphan

_encode = msgspec.json.Encoder().encode
_decode_usage = msgspec.json.Decoder(Usage).decode
_decode_served = msgspec.json.Decoder(Served).decode

_OWN = (
    RESPONSES.c.id == bindparam("id"),
    RESPONSES.c.tenant == bindparam("tenant"),
    RESPONSES.c.owner == bindparam("owner"),
)
_ADD_RESPONSE = adding(
    RESPONSES,
    omit=(
        *("completed_at", "usage", "failure_code", "failure_message", "incomplete_reason", "detail", "served"),
        *("cancel_requested", "takeovers"),
    ),
)
_ADD_ITEM = adding(ITEMS)
_STATUS = select(RESPONSES.c.status).where(*_OWN)
_OWNED = (RESPONSES.c.id == bindparam("id_"), RESPONSES.c.fence == bindparam("fence_"))
_START = update(RESPONSES).where(*_OWNED).values(status="in_progress")
_RESERVE = update(RESPONSES).where(*_OWNED).values(numbers_reserved=bindparam("numbers"))
_END = (
    update(RESPONSES)
    .where(*_OWNED, IS_ALIVE)
    .values(
        status=bindparam("status_"),
        completed_at=bindparam("completed_at_"),
        usage=bindparam("usage_"),
        failure_code=bindparam("failure_code_"),
        failure_message=bindparam("failure_message_"),
        incomplete_reason=bindparam("incomplete_reason_"),
        detail=bindparam("detail_"),
        served=bindparam("served_"),
    )
)
_GET = select(RESPONSES).where(*_OWN)
_FENCE = select(RESPONSES.c.fence).where(RESPONSES.c.id == bindparam("id"))
_ITEMS_OF = (
    select(ITEMS.c.body)
    .where(ITEMS.c.response_id == bindparam("id"), ITEMS.c.direction == bindparam("direction"))
    .order_by(ITEMS.c.position)
)
_CONVERSATION_CONTEXT = (
    select(ITEMS.c.body)
    .where(ITEMS.c.conversation_id == bindparam("conversation_id"), ITEMS.c.turn < bindparam("turn"))
    .order_by(ITEMS.c.turn, ITEMS.c.pk)
)
_HELD = select(ITEMS.c.id, ITEMS.c.body).where(
    ITEMS.c.response_id == bindparam("id"), ITEMS.c.conversation_id.is_not(None)
)
_DELETE_ITEMS = delete(ITEMS).where(ITEMS.c.response_id == bindparam("id"))
_DELETE = delete(RESPONSES).where(*_OWN)


def _chain() -> tuple[Executable, Executable]:
    """Return two queries about the ancestors by `previous_response_id`.

    Their items, oldest first, each response's input before its output; and the place of the first in its conversation.
    """
    mine = (RESPONSES.c.tenant == bindparam("tenant")) & (RESPONSES.c.owner == bindparam("owner"))
    start = select(RESPONSES.c.id, RESPONSES.c.previous_response_id, literal(0).label("depth"))
    chain = start.where(RESPONSES.c.id == bindparam("previous"), mine).cte("chain", recursive=True)
    step = select(RESPONSES.c.id, RESPONSES.c.previous_response_id, chain.c.depth + 1)
    chain = chain.union_all(step.where(RESPONSES.c.id == chain.c.previous_response_id, mine))
    items = select(ITEMS.c.body).join(chain, ITEMS.c.response_id == chain.c.id)
    root = select(RESPONSES.c.conversation_id, RESPONSES.c.turn).join(chain, RESPONSES.c.id == chain.c.id)
    return (
        items.order_by(chain.c.depth.desc(), ITEMS.c.direction, ITEMS.c.position),  # 'input' sorts before 'output'
        root.where(RESPONSES.c.conversation_id.is_not(None)),
    )


_CHAIN, _CHAIN_ROOT = _chain()


class Responses:
    """`Truth` over any `Database`. `judge` is the fence of this server, where there are others; 0: it is alone."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        prices: Prices | None = None,
        *,
        changes: Changes | None = None,
        judge: int = 0,
    ) -> None:
        self._database = database
        self._judge = judge
        self._clock = clock
        self._changes = changes
        self._settling = ledger_rows.Settling(prices or Prices())

    async def begin(self, response: Response, ask: Ask, once: Once | None) -> Begun:
        """See `Truth.begin`."""

        async def work(tx: Transaction) -> Begun:
            earlier = await requests.find(tx, response.principal, once, now=self._micros())
            if earlier is not None:
                return Begun(earlier, fresh=False)
            taken = await self._take_turn(tx, response, ask)
            behind = taken is not None and bool(await conversations.running(tx, taken["id"]))
            if ask.local_context is None:
                await self._check_previous(tx, response)
            await requests.add(tx, response.principal, once, object_id=response.id, now=self._micros())
            steering = await steers.take(tx, response, ask)
            if response.store:
                await tx.execute(_ADD_RESPONSE, self._row(response, ask.body))
                await tx.execute_many(_ADD_ITEM, self._item_rows(response, "input", [*steering, *ask.items]))
                await self._log_begun(tx, response, ask, taken)
            return Begun(response.id, fresh=True, behind=behind, steering=steering)

        begun = await self._database.write(work, touching=_touched(response, ask, once))
        self._moved(response)
        return begun

    async def start(self, response: Response, call: Call, *, before: Settlement | None = None) -> None:
        """See `Truth.start`."""

        async def work(tx: Transaction) -> None:
            now = self._micros()
            if response.store and not await tx.execute(_START, _owned(response)):
                await _refuse_fenced(tx, response)
            if call.attempt > 1:  # the first call of a response has no open one before it
                await self._settling.settle_open(tx, response.id, before, now=now)
            row = ledger_rows.begun(response.principal, call, response_id=response.id, fence=response.fence, now=now)
            await ledger_rows.add(tx, row)

        await self._database.write(work, touching=(response.id,))

    async def reserve(self, response: Response, *, numbers: int) -> None:
        """See `Truth.reserve`."""

        async def work(tx: Transaction) -> None:
            if not await tx.execute(_RESERVE, {**_owned(response), "numbers": numbers}):
                await _refuse_fenced(tx, response)

        await self._database.write(work, touching=(response.id,))

    async def finish(self, response: Response, call: Call | None, settlement: Settlement | None) -> bool:
        """See `Truth.finish`."""

        async def work(tx: Transaction) -> bool:
            ended = response.store and bool(await tx.execute(_END, _ending(response)))
            there = ended or not response.store or await _refuse_fenced(tx, response)
            if call is not None and settlement is not None:
                await self._settling.settle(tx, call, settlement, now=self._micros())
            else:
                await self._settling.settle_open(tx, response.id, settlement, now=self._micros())
            if ended:
                await tx.execute_many(_ADD_ITEM, self._item_rows(response, "output", response.output))
                await self._log_ended(tx, response)
            return there

        done = await self._database.write(work, touching=(response.id, response.conversation_id or response.id))
        self._moved(response)
        return done

    async def context(self, response: Response) -> list[Item]:
        """See `Truth.context`."""

        previous, owner = response.previous_response_id, response.principal
        known = {"previous": previous, "tenant": owner.tenant, "owner": owner.owner}

        async def work(tx: Transaction) -> list[Row]:
            if previous is None:
                place: Row = {"conversation_id": response.conversation_id, "turn": response.turn}
                return await tx.rows(_CONVERSATION_CONTEXT, place)
            root = await one(tx, _CHAIN_ROOT, known)
            before = [] if root is None else await tx.rows(_CONVERSATION_CONTEXT, root)
            return before + await tx.rows(_CHAIN, known)

        return [wire.decode(row["body"]) for row in await self._database.read(work)]

    async def inputs(self, response_id: str) -> list[Item]:
        """See `Truth.inputs`."""
        return [wire.decode(body) for body in await self.input_items(response_id)]

    async def get(self, principal: Principal, response_id: str) -> Response | None:
        """See `Truth.get`."""
        own = {"id": response_id, "tenant": principal.tenant, "owner": principal.owner}

        async def work(tx: Transaction) -> Response | None:
            row = await one(tx, _GET, own)
            return None if row is None else await _response(tx, row)

        return await self._database.read(work)

    async def input_items(self, response_id: str) -> list[bytes]:
        """Return the JSON of a response's input items, oldest first; the caller has checked the owner."""

        async def work(tx: Transaction) -> list[Row]:
            return await tx.rows(_ITEMS_OF, {"id": response_id, "direction": "input"})

        return [row["body"] for row in await self._database.read(work)]

    async def delete(self, principal: Principal, response_id: str) -> bool:
        """See `Truth.delete`."""
        own = {"id": response_id, "tenant": principal.tenant, "owner": principal.owner}

        async def work(tx: Transaction) -> Row | None:
            row = await one(tx, _GET, own)
            if row is None:
                return None
            gone = await tx.rows(_HELD, {"id": response_id})
            await tx.execute(_DELETE, own)
            await tx.execute(_DELETE_ITEMS, {"id": response_id})
            await tx.execute(steers.FORGET, {"id": response_id})
            if row["conversation_id"] is not None:
                await log.removed(tx, principal, row["conversation_id"], gone, now=self._micros())
            return row

        row = await self._database.write(work)
        if row is not None and row["conversation_id"] is not None and self._changes is not None:
            self._changes.wake(row["conversation_id"])
        return row is not None

    async def orphans(self) -> int:
        """See `Truth.orphans`."""
        return await self._database.read(lambda tx: orphans.count(tx, self._judge))

    async def take_over(self, *, fence: int) -> list[Orphan]:
        """See `Truth.take_over`."""

        async def work(tx: Transaction) -> list[Orphan]:
            return [await _orphan(tx, row) for row in await orphans.take(tx, fence, self._judge)]

        return await self._database.write(work)

    async def ended(self, response_ids: Sequence[str]) -> list[Ended]:
        """See `Truth.ended`."""

        async def work(tx: Transaction) -> list[Ended]:
            return await orphans.ended(tx, response_ids)

        return await self._database.read(work)

    async def take_end(self, response_id: str, *, fence: int) -> Orphan | None:
        """See `Truth.take_end`."""

        async def work(tx: Transaction) -> Orphan | None:
            row = await orphans.take_end(tx, response_id, fence, self._judge)
            return None if row is None else await _orphan(tx, row)

        return await self._database.write(work)

    async def owned(self, *, fence: int, before: float) -> list[str]:
        """See `Truth.owned`."""

        async def work(tx: Transaction) -> list[str]:
            return await orphans.owned(tx, fence, int(before * MICROS))

        return await self._database.read(work)

    async def disown(self, response_id: str, *, fence: int, to: int) -> None:
        """See `Truth.disown`."""

        async def work(tx: Transaction) -> None:
            await orphans.disown(tx, response_id, fence, to)

        await self._database.write(work)

    async def settle_abandoned(self) -> int:
        """See `Truth.settle_abandoned`."""

        async def work(tx: Transaction) -> int:
            rows = await orphans.abandoned_calls(tx, self._judge)
            await self._settling.settle_lost(tx, rows, now=self._micros())
            return len(rows)

        return await self._database.write(work)

    async def _take_turn(self, tx: Transaction, response: Response, ask: Ask) -> Row | None:
        """Number the turn in its conversation, and return that; None where there is none."""
        if response.conversation_id is None:
            return None
        row = await conversations.take_turn(tx, response.principal, response.conversation_id, param="conversation")
        response.turn = conversations.turn_of(row)
        await conversations.refuse_known(tx, response.conversation_id, ask.items, param="input")
        return row

    async def _log_begun(self, tx: Transaction, response: Response, ask: Ask, taken: Row | None) -> None:
        if taken is None:
            return
        who, now = response.principal, self._micros()
        added = await log.added(tx, who, taken, ask.items, turn=response.turn, response_id=response.id, now=now)
        await log.append(tx, who, taken["id"], [ResponseCreated(response.id, response.turn), *added], now=now)

    async def _log_ended(self, tx: Transaction, response: Response) -> None:
        name, who = response.conversation_id, response.principal
        if name is None:
            return
        await index(tx, who, name, response.output)
        added = [ItemAdded(item.id, response.turn, response.id) for item in response.output]
        await log.append(tx, who, name, [*added, ResponseEnded(response.id, response.status)], now=self._micros())

    def _moved(self, response: Response) -> None:
        """Wake whoever watches the response's conversation: its log may have moved."""
        if response.conversation_id is not None and self._changes is not None:
            self._changes.wake(response.conversation_id)

    async def _check_previous(self, tx: Transaction, response: Response) -> None:
        previous = response.previous_response_id
        if previous is None:
            return
        own = {"id": previous, "tenant": response.principal.tenant, "owner": response.principal.owner}
        row = await one(tx, _STATUS, own)
        if row is None:
            message = f"Previous response with id '{previous}' not found."
            raise InvalidRequest(message, param="previous_response_id", code="previous_response_not_found")
        if row["status"] in ALIVE:
            message = f"Previous response with id '{previous}' has not ended yet."
            raise InvalidRequest(message, param="previous_response_id", code="previous_response_not_ended")

    def _created(self, response: Response) -> int:
        """Return the moment of the commit, but within the second that the response is shown with."""
        first = response.created_at * MICROS
        return min(max(first, self._micros()), first + MICROS - 1)

    def _micros(self) -> int:
        return int(self._clock.now() * MICROS)

    def _row(self, response: Response, body: bytes) -> dict[str, Any]:
        principal = response.principal
        return {
            "id": response.id,
            "tenant": principal.tenant,
            "owner": principal.owner,
            "account": principal.account,
            "key_id": principal.key_id,
            "model": response.model,
            "status": response.status,
            "created_at": self._created(response),
            "previous_response_id": response.previous_response_id,
            "conversation_id": response.conversation_id,
            "turn": response.turn,
            "body": body,
            "numbers_reserved": NUMBERS_PER_BLOCK,
            "fence": response.fence,
        }

    def _item_rows(
        self, response: Response, direction: str, found: list[Item] | list[OutputItem]
    ) -> list[dict[str, Any]]:
        principal = response.principal
        return [
            {
                "id": item.id,
                "tenant": principal.tenant,
                "owner": principal.owner,
                "response_id": response.id,
                "conversation_id": response.conversation_id,
                "turn": response.turn,
                "direction": direction,
                "position": position,
                "body": wire.encode(item),
            }
            for position, item in enumerate(found)
        ]


def _touched(response: Response, ask: Ask, once: Once | None) -> set[str]:
    """Return what a new response is decided by: its turn, the steering that waits, and whether it came before."""
    steered = response.previous_response_id if ask.steering else None
    asked = "" if once is None else f"{once.key or ''} {once.body_hash}"
    return {response.id, response.conversation_id or response.id, steered or response.id, asked or response.id}


def _owned(response: Response) -> dict[str, Any]:
    return {"id_": response.id, "fence_": response.fence}


async def _refuse_fenced(tx: Transaction, response: Response) -> bool:
    """Return whether a response is there: one that is, its owner has written. Raises: Fenced when it is another's."""
    row = await one(tx, _FENCE, {"id": response.id})
    if row is not None and row["fence"] != response.fence:
        raise Fenced
    return row is not None


def _ending(response: Response) -> dict[str, Any]:
    return {
        **_owned(response),
        "status_": response.status,
        "completed_at_": response.completed_at,
        "usage_": None if response.usage is None else _encode(response.usage),
        "failure_code_": response.failure.code if response.failure else None,
        "failure_message_": response.failure.message if response.failure else None,
        "incomplete_reason_": response.incomplete_reason,
        "detail_": response.detail,
        "served_": None if response.served is None else _encode(response.served),
    }


async def _orphan(tx: Transaction, row: Row) -> Orphan:
    attempts = await orphans.attempts(tx, row["id"])
    made, wished = await _response(tx, row), bool(row["cancel_requested"])
    return Orphan(
        made, row["body"], attempts, row["numbers_reserved"], row["takeovers"], row["log"], cancel_requested=wished
    )


async def _response(tx: Transaction, row: Row) -> Response:
    """Return a row as a response, with its output items."""
    ask = shapes.read_stored(row["body"])
    outputs = await tx.rows(_ITEMS_OF, {"id": row["id"], "direction": "output"})
    found = [wire.decode(output["body"]) for output in outputs]
    return Response(
        row["id"],
        Principal(row["tenant"], row["account"], row["owner"], row["key_id"]),
        row["model"],
        row["created_at"] // MICROS,
        status=cast(ResponseStatus, row["status"]),
        background=ask.background,
        turn=row["turn"],
        previous_response_id=row["previous_response_id"],
        conversation_id=row["conversation_id"],
        instructions=ask.instructions,
        metadata=ask.metadata,
        shown=ask.shown,
        output=[item for item in found if isinstance(item, OutputItem)],
        usage=None if row["usage"] is None else _decode_usage(row["usage"]),
        failure=Failure(row["failure_code"], row["failure_message"]) if row["failure_code"] else None,
        incomplete_reason=row["incomplete_reason"],
        detail=row["detail"],
        completed_at=row["completed_at"],
        stream_id=ask.stream_id,
        served=None if row["served"] is None else _decode_served(row["served"]),
        fence=row["fence"],
    )
