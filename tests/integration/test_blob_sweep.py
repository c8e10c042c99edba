"""What a start sweeps: contents that nothing named before the first upload could come, and no other."""

from pathlib import Path

import anyio
import pytest

from chatbackend import bootstrap
from chatbackend.config import load
from chatbackend.infra.blobs.local import LocalBlobs
from chatbackend.infra.system import new_id

pytestmark = pytest.mark.anyio


async def stored(blobs: LocalBlobs) -> str:
    """Keep a content that no file names yet; return its key."""
    writer = await blobs.create()
    await writer.write(b"hello")
    return (await writer.commit()).key


async def test_a_start_sweeps_what_was_left_behind_and_not_what_comes_in_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload's content is there before its row: a sweep that saw the one without the other would lose the file."""
    blobs = LocalBlobs(tmp_path / "blobs", new_id)
    await blobs.open()
    left = await stored(blobs)
    listed, delayed = LocalBlobs.keys, anyio.Event()

    async def late(self: LocalBlobs) -> list[str]:
        with anyio.move_on_after(2):  # nobody comes where the start itself waits for the list
            await delayed.wait()
        return await listed(self)

    monkeypatch.setattr(LocalBlobs, "keys", late)
    async with bootstrap.build(load({"CHATBACKEND_DATA_DIR": str(tmp_path)})):
        coming = await stored(blobs)
        delayed.set()
        with anyio.fail_after(20):
            while left in (there := await listed(blobs)):  # noqa: ASYNC110 - the sweep tells nobody
                await anyio.sleep(0.01)
    assert there == [coming]
