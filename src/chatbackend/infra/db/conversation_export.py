"""A conversation as it is exported: its items and then its responses, never more than about a mebibyte at a time."""

from collections.abc import AsyncGenerator, Sequence

from sqlalchemy import bindparam, func, select, tuple_

from chatbackend.domain.identity import Principal
from chatbackend.infra.db.conversation_log import found
from chatbackend.infra.db.tables.responses import ITEMS, RESPONSES
from chatbackend.infra.db.transaction import Database, Row, Transaction

MAX_BYTES = 2**20  # of items that are read at once, unless one alone is larger
_PAGE = 256

_IN = (
    ITEMS.c.conversation_id == bindparam("conversation_id"),
    ITEMS.c.tenant == bindparam("tenant"),
    ITEMS.c.owner == bindparam("owner"),
)
_BEHIND = tuple_(ITEMS.c.turn, ITEMS.c.pk) > tuple_(bindparam("turn"), bindparam("pk"))
_ORDER = (ITEMS.c.turn, ITEMS.c.pk)
_SIZES = select(*_ORDER, func.length(ITEMS.c.body).label("size")).where(*_IN, _BEHIND).order_by(*_ORDER).limit(_PAGE)
_BODIES = (
    select(*_ORDER, ITEMS.c.response_id, ITEMS.c.body).where(*_IN, _BEHIND).order_by(*_ORDER).limit(bindparam("count"))
)
_RESPONSES = (
    select(RESPONSES.c.turn, RESPONSES.c.id)
    .where(
        RESPONSES.c.conversation_id == bindparam("conversation_id"),
        RESPONSES.c.tenant == bindparam("tenant"),
        RESPONSES.c.owner == bindparam("owner"),
        tuple_(RESPONSES.c.turn, RESPONSES.c.id) > tuple_(bindparam("turn"), bindparam("id")),
    )
    .order_by(RESPONSES.c.turn, RESPONSES.c.id)
    .limit(_PAGE)
)


class ConversationExport:
    """Reads conversations from their first item on, in short transactions: what is added meanwhile may be in it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def items(self, principal: Principal, conversation_id: str) -> AsyncGenerator[Sequence[Row], None]:
        """Return batches of items (`turn`, `response_id`, `body`), in their order. Raises: NotFound."""
        place = {"turn": -1, "pk": 0}

        async def work(tx: Transaction) -> list[Row]:
            await found(tx, principal, conversation_id)
            known = {**_known(principal, conversation_id), **place}
            sizes = [row["size"] for row in await tx.rows(_SIZES, known)]
            return await tx.rows(_BODIES, {**known, "count": _fitting(sizes)}) if sizes else []

        while rows := await self._database.read(work):
            yield rows
            place = {"turn": rows[-1]["turn"], "pk": rows[-1]["pk"]}

    async def responses(self, principal: Principal, conversation_id: str) -> AsyncGenerator[str, None]:
        """Return the ids of a conversation's responses, in the order of their turns."""
        place = {"turn": -1, "id": ""}

        async def work(tx: Transaction) -> list[Row]:
            return await tx.rows(_RESPONSES, {**_known(principal, conversation_id), **place})

        while rows := await self._database.read(work):
            for row in rows:
                yield row["id"]
            place = {"turn": rows[-1]["turn"], "id": rows[-1]["id"]}


def _known(principal: Principal, conversation_id: str) -> dict[str, str]:
    return {"conversation_id": conversation_id, "tenant": principal.tenant, "owner": principal.owner}


def _fitting(sizes: Sequence[int]) -> int:
    """Return how many items from the first on are read at once: at least one."""
    total = 0
    for number, size in enumerate(sizes):
        total += size
        if total > MAX_BYTES:
            return max(number, 1)
    return len(sizes)
