"""Local blobs are whole or absent, and no key leaves their folder."""

import hashlib
import os
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbackend.domain.errors import Internal, NotFound, Unavailable
from chatbackend.infra.blobs.local import PIECE_BYTES, LocalBlobs
from chatbackend.infra.system import new_id

pytestmark = pytest.mark.anyio


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncGenerator[LocalBlobs, None]:
    opened = LocalBlobs(tmp_path / "blobs", new_id)
    await opened.open()
    yield opened


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def kept(blobs: LocalBlobs, *pieces: bytes) -> str:
    writer = await blobs.create()
    for piece in pieces:
        await writer.write(piece)
    return (await writer.commit()).key


async def content(blobs: LocalBlobs, key: str) -> bytes:
    return b"".join([piece async for piece in blobs.read(key)])


async def test_in_a_shared_folder_only_what_is_old_is_taken_for_left_behind(tmp_path: Path) -> None:
    folder = tmp_path / "blobs"
    theirs, mine = (LocalBlobs(folder, new_id, shared=True) for _ in range(2))
    await theirs.open()
    fresh, old = await kept(theirs, b"fresh"), await kept(theirs, b"old")
    writing, dead = await theirs.create(), await theirs.create()
    for path in (folder / old[-2:] / old, *(folder / "unfinished").glob("*")):
        os.utime(path, (0, 0))
    await writing.write(b"x" * PIECE_BYTES)  # it is written to, and so it is young again
    await mine.open()
    assert await mine.keys() == [old]
    assert await content(mine, (await writing.commit()).key) == b"x" * PIECE_BYTES
    with pytest.raises(Unavailable):
        await dead.commit()
    assert await content(mine, fresh) == b"fresh"


@pytest.mark.parametrize(
    "pieces", [(), (b"x",), (b"ab", b"", b"c" * 1000), (b"x" * PIECE_BYTES, b"y" * PIECE_BYTES, b"z")]
)
async def test_what_was_written_is_read_hashed_and_lent(blobs: LocalBlobs, pieces: tuple[bytes, ...]) -> None:
    writer = await blobs.create()
    for piece in pieces:
        await writer.write(piece)
    stored = await writer.commit()
    whole = b"".join(pieces)
    assert (stored.bytes, stored.sha256) == (len(whole), hashlib.sha256(whole).hexdigest())
    assert await content(blobs, stored.key) == whole
    async with blobs.as_file(stored.key) as path:
        assert path.read_bytes() == whole
    assert await blobs.keys() == [stored.key]


async def test_nothing_is_visible_before_the_commit(blobs: LocalBlobs) -> None:
    writer = await blobs.create()
    await writer.write(b"x" * 2 * PIECE_BYTES)
    assert await blobs.keys() == []
    await writer.discard()
    await writer.discard()


async def test_a_discarded_blob_leaves_no_file(blobs: LocalBlobs, tmp_path: Path) -> None:
    writer = await blobs.create()
    await writer.write(b"x" * 2 * PIECE_BYTES)
    await writer.discard()
    assert files(tmp_path) == []


async def test_a_discard_after_the_commit_changes_nothing(blobs: LocalBlobs) -> None:
    writer = await blobs.create()
    await writer.write(b"hello")
    key = (await writer.commit()).key
    await writer.discard()
    assert await content(blobs, key) == b"hello"


async def test_a_deleted_blob_is_gone_and_may_be_deleted_again(blobs: LocalBlobs, tmp_path: Path) -> None:
    key = await kept(blobs, b"hello")
    await blobs.delete(key)
    await blobs.delete(key)
    assert files(tmp_path) == []
    with pytest.raises(NotFound):
        await content(blobs, key)
    with pytest.raises(NotFound):
        async with blobs.as_file(key):
            pass


async def test_a_start_drops_what_an_earlier_process_left_unfinished(blobs: LocalBlobs, tmp_path: Path) -> None:
    key = await kept(blobs, b"hello")
    writer = await blobs.create()
    await writer.write(b"x" * 2 * PIECE_BYTES)
    again = LocalBlobs(tmp_path / "blobs", new_id)
    await again.open()
    assert [path.name for path in files(tmp_path)] == [key]
    await writer.discard()


async def test_a_full_disk_is_said_plainly(blobs: LocalBlobs) -> None:
    writer = await blobs.create()
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        os.dup2(full, writer._file.fileno())  # pyright: ignore[reportPrivateUsage]  # how else to fill a disk
    finally:
        os.close(full)
    with pytest.raises(Unavailable) as caught:
        await writer.write(b"x" * PIECE_BYTES)
    assert caught.value.code == "storage_unavailable"
    await writer.discard()


async def test_a_folder_that_is_gone_is_said_plainly(blobs: LocalBlobs, tmp_path: Path) -> None:
    (tmp_path / "blobs" / "unfinished").rmdir()
    with pytest.raises(Unavailable):
        await blobs.create()
    (tmp_path / "blobs" / "unfinished").mkdir()
    writer = await blobs.create()
    await writer.write(b"hello")
    next((tmp_path / "blobs" / "unfinished").iterdir()).unlink()
    with pytest.raises(Unavailable):
        await writer.commit()


@given(st.text(min_size=1) | st.sampled_from(["../../etc/passwd", "blob_../x", "blob_0123456789\n", "blob_", "/etc/x"]))
def test_only_the_servers_own_keys_become_paths(key: str) -> None:
    blobs = LocalBlobs(Path("/nowhere"), new_id)
    with pytest.raises(Internal):
        blobs._path(key)  # pyright: ignore[reportPrivateUsage]  # every method goes through it
