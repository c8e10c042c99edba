"""Whose rows a caller may read: the condition, and its parameters."""

from sqlalchemy import ColumnElement, Table, and_, bindparam, or_

from chatbackend.domain.identity import Principal


def may_read(table: Table) -> ColumnElement[bool]:
    """Say that a row is the caller's own or its account's. Parameters: those of `reader`."""
    owner = table.c.owner
    return and_(table.c.tenant == bindparam("tenant"), or_(owner == bindparam("owner"), owner == bindparam("account")))


def reader(principal: Principal) -> dict[str, str]:
    """Return the parameters of `may_read`."""
    return {"tenant": principal.tenant, "owner": principal.owner, "account": principal.account}
