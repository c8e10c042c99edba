"""Whether a running server has written down the calls that it has in its spool."""

from pathlib import Path

import anyio

from chatbackend.infra.db.spool import HALF_BYTES


def written(data: Path) -> bool:
    """Whether nothing is left in the spool of a data folder."""
    kept = (data / "ledger.spool").read_bytes()
    return not any(any(kept[at : at + 4]) for at in (0, HALF_BYTES))


async def all_written(data: Path) -> None:
    """Wait until the ledger has every call that was made."""
    with anyio.fail_after(10):
        while not await anyio.to_thread.run_sync(written, data):  # noqa: ASYNC110 - another process writes it
            await anyio.sleep(0.01)
