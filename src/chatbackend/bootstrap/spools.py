"""Spools in the data folder: what is kept there before it is in the truth."""

from contextlib import AsyncExitStack
from pathlib import Path

import anyio.to_thread

from chatbackend.config import BadSetting
from chatbackend.infra.db.ledger import replay
from chatbackend.infra.db.spool import HALF_BYTES, Spool
from chatbackend.infra.db.sqlite import SqliteDatabase
from chatbackend.infra.db.transaction import Database
from chatbackend.infra.system import report


async def open_spool(folder: Path, truth: Database, stack: AsyncExitStack) -> Spool | None:
    """Open the spool of the ledger, and write down what a kill left in it; None where the truth is on no disk of ours.

    Raises: BadSetting.
    """
    if not isinstance(truth, SqliteDatabase):
        return None
    spool = await spool_at(folder / "ledger.spool", stack)
    await replay(truth, spool, report)
    return spool


async def spool_at(path: Path, stack: AsyncExitStack, half_bytes: int = HALF_BYTES) -> Spool:
    """Open a spool until the stack unwinds. Raises: BadSetting."""
    spool = Spool(path, half_bytes)
    try:
        await anyio.to_thread.run_sync(spool.open)
    except OSError as error:
        size = 2 * half_bytes >> 20
        message = f"CHATBACKEND_DATA_DIR: '{path}' ({size} MiB) cannot be written ({error.strerror}). Make room for it."
        raise BadSetting(message) from error
    stack.callback(spool.close)
    return spool
