"""The steering of stored responses on a database, and how a new response takes it over."""

from collections.abc import Sequence
from typing import Literal, cast

import msgspec
from sqlalchemy import bindparam, delete, func, select, update

from chatbackend.adapters.api import items as wire
from chatbackend.domain.errors import Conflict
from chatbackend.domain.identity import Principal
from chatbackend.domain.items import Item
from chatbackend.domain.responses import Ask, Response, ResponseStatus
from chatbackend.domain.steering import Steer, SteerState, over, refuse_many, unknown
from chatbackend.infra.db.tables.responses import IS_ALIVE, RESPONSES, STEERS
from chatbackend.infra.db.transaction import Database, Row, Transaction, adding, one

_OWN = (
    RESPONSES.c.id == bindparam("id_"),
    RESPONSES.c.tenant == bindparam("tenant_"),
    RESPONSES.c.owner == bindparam("owner_"),
)
# Changes nothing, but holds the row where it is alive: its end is committed before this transaction or after it.
_HOLD = update(RESPONSES).where(*_OWN, IS_ALIVE).values(id=RESPONSES.c.id)
_STATUS = select(RESPONSES.c.status).where(*_OWN)
_KNOWN = select(
    func.count().label("steers"), func.coalesce(func.sum(func.length(STEERS.c.body)), 0).label("size")
).where(STEERS.c.response_id == bindparam("response_id"))
_ADD = adding(STEERS)
_OF = (
    select(
        STEERS.c.id,
        STEERS.c.response_id,
        STEERS.c.given,
        STEERS.c.lane,
        STEERS.c.state,
        STEERS.c.successor_id,
        STEERS.c.failure,
    )
    .where(
        STEERS.c.response_id == bindparam("response_id"),
        STEERS.c.tenant == bindparam("tenant"),
        STEERS.c.owner == bindparam("owner"),
    )
    .order_by(STEERS.c.position)
)
_SETTLE = (
    update(STEERS)
    .where(STEERS.c.response_id == bindparam("response_id_"), STEERS.c.state == "queued")
    .values(state=bindparam("state_"), failure=bindparam("failure_"))
)
_TAKE = (
    update(STEERS)
    .where(
        STEERS.c.response_id == bindparam("response_id_"),
        STEERS.c.tenant == bindparam("tenant_"),
        STEERS.c.owner == bindparam("owner_"),
        STEERS.c.lane == bindparam("lane_"),
        STEERS.c.state == bindparam("state_"),
    )
    .values(state=bindparam("taken_"), successor_id=bindparam("successor_id_"))
    .returning(STEERS.c.position, STEERS.c.body)
)
_OWED = select(STEERS.c.response_id.label("id")).distinct().where(STEERS.c.state == "queued")
FORGET = delete(STEERS).where(STEERS.c.response_id == bindparam("id"))
_items = msgspec.json.Decoder(list[msgspec.Raw]).decode


class StoredSteers:
    """`Steers` over any `Database`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, principal: Principal, steer: Steer) -> None:
        """See `Steers.add`."""
        own = {"id_": steer.response_id, "tenant_": principal.tenant, "owner_": principal.owner}
        items = b"[%b]" % b",".join(wire.encode(item) for item in steer.items)

        async def work(tx: Transaction) -> None:
            if not await tx.execute(_HOLD, own):
                row = await one(tx, _STATUS, own)
                raise unknown(steer.response_id) if row is None else _over(principal, steer.response_id, row)
            known = (await tx.rows(_KNOWN, {"response_id": steer.response_id}))[0]
            refuse_many(known["steers"] + 1, int(known["size"]) + len(items))
            await tx.execute(_ADD, _row(principal, steer, items, position=known["steers"]))

        await self._database.write(work, touching=(steer.response_id,))

    async def of(self, principal: Principal, response_id: str) -> list[Steer]:
        """See `Steers.of`."""
        own = {"response_id": response_id, "tenant": principal.tenant, "owner": principal.owner}

        async def work(tx: Transaction) -> Sequence[Row]:
            return await tx.rows(_OF, own)

        return [_steer(row) for row in await self._database.read(work)]

    async def settle(self, response_id: str, state: Literal["waiting", "failed"], failure: str | None = None) -> None:
        """See `Steers.settle`."""

        async def work(tx: Transaction) -> None:
            await tx.execute(_SETTLE, {"response_id_": response_id, "state_": state, "failure_": failure})

        await self._database.write(work, touching=(response_id,))

    async def owed(self) -> list[str]:
        """See `Steers.owed`."""

        async def work(tx: Transaction) -> Sequence[Row]:
            return await tx.rows(_OWED)

        return [row["id"] for row in await self._database.read(work)]


async def take(tx: Transaction, response: Response, ask: Ask) -> list[Item]:
    """Let a new response take over the steering that its request is for; return its items, oldest first.

    Raises: Conflict for a successor that there is nothing for.
    """
    if ask.steering is None:
        return []
    wanted = {
        "response_id_": response.previous_response_id,
        "tenant_": response.principal.tenant,
        "owner_": response.principal.owner,
        "lane_": response.stream_id or "",
        "state_": ask.steering,
        "taken_": "taken" if ask.steering == "queued" else "joined",
        "successor_id_": response.id,
    }
    rows = sorted(await tx.rows(_TAKE, wanted), key=lambda row: int(row["position"]))
    if not rows and ask.steering == "queued":
        raise Conflict("Nothing is left to go on with.")
    return [wire.decode(bytes(body)) for row in rows for body in _items(row["body"])]


def _row(principal: Principal, steer: Steer, items: bytes, *, position: int) -> Row:
    return {
        "id": steer.id,
        "tenant": principal.tenant,
        "owner": principal.owner,
        "response_id": steer.response_id,
        "position": position,
        "lane": steer.lane or "",
        "state": steer.state,
        "body": items,
        "given": steer.given,
        "successor_id": None,
        "failure": None,
    }


def _steer(row: Row) -> Steer:
    return Steer(
        row["id"],
        row["response_id"],
        [],
        row["given"],
        row["lane"] or None,
        cast(SteerState, row["state"]),
        row["successor_id"],
        row["failure"],
    )


def _over(principal: Principal, response_id: str, row: Row) -> Exception:
    return over(Response(response_id, principal, "", 0, status=cast(ResponseStatus, row["status"])))
