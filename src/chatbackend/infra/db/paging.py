"""Pages of rows in the order of creation, cut inside the query."""

from typing import Any

from sqlalchemy import Column, ColumnElement, Select, bindparam, select, tuple_

from chatbackend.adapters.api.listing import Window
from chatbackend.domain.errors import InvalidRequest
from chatbackend.infra.db.transaction import Params, Row, Transaction, one


class Listing:
    """One list: `rows` without an order, ordered by (`created`, `key`); `own` says which rows are in the list.

    Cursors are values of `name`, which is `key` unless it is given. The statements are built once.
    """

    def __init__(
        self,
        rows: Select[*tuple[Any, ...]],
        created: "Column[int]",
        key: "Column[Any]",
        own: ColumnElement[bool],
        *,
        name: "Column[str] | None" = None,
    ) -> None:
        self._rows = rows.where(own).limit(bindparam("limit"))
        self._created = created
        self._key = key
        named = (key if name is None else name) == bindparam("cursor")
        self._place = select(created.label("at"), key.label("place")).where(own, named)
        self._statements = {
            (descending, bounded): self._statement(descending=descending, bounded=bounded)
            for descending in (True, False)
            for bounded in (True, False)
        }

    async def page(self, tx: Transaction, window: Window, params: Params) -> tuple[list[Row], bool]:
        """Return a page and whether there is more in the direction of reading.

        Raises: InvalidRequest for a cursor that is not in the list.
        """
        if window.after and window.before:
            raise InvalidRequest("'after' and 'before' cannot be used together.", param="before")
        known = {**params, "limit": window.limit + 1}
        cursor = window.after or window.before
        if cursor:
            row = await one(tx, self._place, {**params, "cursor": cursor})
            if row is None:
                param = "after" if window.after else "before"
                raise InvalidRequest(f"No item with id '{cursor}' in this list.", param=param)
            known |= {"at": row["at"], "place": row["place"]}
        descending = (window.order == "desc") is not bool(window.before)
        rows = await tx.rows(self._statements[descending, bool(cursor)], known)
        found = rows[: window.limit]
        return list(reversed(found)) if window.before else found, len(rows) > window.limit

    def _statement(self, *, descending: bool, bounded: bool) -> Select[*tuple[Any, ...]]:
        place = (self._created, self._key)
        ordered = self._rows.order_by(*([each.desc() for each in place] if descending else place))
        if not bounded:
            return ordered
        here, cursor = tuple_(*place), tuple_(bindparam("at"), bindparam("place"))
        return ordered.where(here < cursor if descending else here > cursor)
