"""An upload is kept whole or not at all, and acknowledged only once it is committed."""

import hashlib
from collections.abc import Callable

import pytest

from chatbackend.domain.errors import ChatError, Conflict, InvalidRequest, TooLarge, Unavailable, Unprocessable
from chatbackend.domain.uploads import File
from chatbackend.usecases.file_ports import StoredBlob
from chatbackend.usecases.ports import Once
from chatbackend.usecases.upload_file import UploadFile, UploadLimits
from tests.support.file_fakes import CHECKS, ME, FakeBlobs, FakeClock, FakeFiles, FakeJobs, Numbered, stored

pytestmark = pytest.mark.anyio
LIMITS = UploadLimits(max_file_bytes=40, max_image_bytes=10, max_filename_chars=12)


class Taken:
    """An upload's world."""

    def __init__(self) -> None:
        self.files = FakeFiles()
        self.blobs = FakeBlobs()
        self.jobs = FakeJobs()
        self.upload = UploadFile(
            self.files, self.blobs, self.jobs, checks=CHECKS, limits=LIMITS, clock=FakeClock(), new_id=Numbered()
        )

    async def take(
        self,
        *pieces: bytes,
        name: str = "a.txt",
        declared: str | None = None,
        expires_after_s: int | None = None,
        once: Callable[[StoredBlob], Once | None] = lambda blob: None,
    ) -> File:
        async with self.upload.begin(name, declared) as draft:
            for piece in pieces:
                await draft.feed(piece)
            return await self.upload.finish(draft, ME, purpose="assistants", expires_after_s=expires_after_s, once=once)


@pytest.fixture
def taken() -> Taken:
    return Taken()


@pytest.mark.parametrize(
    "pieces", [(b"hello world",), (b"h", b"e", b"llo", b" world"), (b"hel", b"lo world"), (b"hi",)]
)
async def test_however_a_file_is_cut_it_is_kept_whole(taken: Taken, pieces: tuple[bytes, ...]) -> None:
    file = await taken.take(*pieces)
    whole = b"".join(pieces)
    assert taken.blobs.contents == {file.blob_key: whole}
    assert (file.bytes, file.sha256) == (len(whole), hashlib.sha256(whole).hexdigest())
    assert taken.files.rows == {file.id: file}
    assert taken.jobs.woken == 1


async def test_a_file_belongs_to_its_caller_and_waits_for_the_worker(taken: Taken) -> None:
    file = await taken.take(b"hello", expires_after_s=3600)
    assert (file.tenant, file.owner, file.filename, file.purpose) == ("t", "a", "a.txt", "assistants")
    assert (file.stage, file.created_at, file.expires_at, file.searchable) == ("queued", 1000, 4600, True)


async def test_an_image_is_ready_at_once(taken: Taken) -> None:
    file = await taken.take(b"\x89PNG!", name="a.png")
    assert (file.stage, file.percent, file.searchable, file.media_type) == ("ready", 100, False, "image/png")


REFUSED: list[tuple[tuple[bytes, ...], str, str | None, type[ChatError], str | None]] = [
    ((b"MZ",), "a.exe", None, InvalidRequest, "unsupported_file"),
    ((b"",), "a.txt", None, Unprocessable, "empty_file"),
    ((), "a.txt", None, Unprocessable, "empty_file"),
    ((b"\x7fELF", b"x"), "a.txt", None, Unprocessable, "type_mismatch"),
    ((b"<p>hello",), "a.txt", "text/html", Unprocessable, "type_mismatch"),
    ((b"hello", b" PK"), "a.txt", None, Unprocessable, "type_mismatch"),
    ((b"x" * 41,), "a.txt", None, TooLarge, "file_too_large"),
    ((b"x" * 30, b"x" * 11), "a.txt", None, TooLarge, "file_too_large"),
    ((b"x" * 11,), "a.png", None, TooLarge, "file_too_large"),
    ((b"x",), "", None, InvalidRequest, None),
    ((b"x",), "123456789.txt", None, InvalidRequest, None),
]


@pytest.mark.parametrize(("pieces", "name", "declared", "error", "code"), REFUSED)
async def test_a_refused_file_leaves_nothing(
    taken: Taken,
    *,
    pieces: tuple[bytes, ...],
    name: str,
    declared: str | None,
    error: type[ChatError],
    code: str | None,
) -> None:
    with pytest.raises(error) as caught:
        await taken.take(*pieces, name=name, declared=declared)
    assert (type(caught.value), caught.value.code, caught.value.param) == (error, code, "file")
    assert taken.files.rows == taken.blobs.contents == {}
    assert all(writer.discarded for writer in taken.blobs.writers)
    assert taken.jobs.woken == 0


async def test_nothing_reaches_the_disk_before_the_first_bytes_are_accepted(taken: Taken) -> None:
    async with taken.upload.begin("a.txt", None) as draft:
        await draft.feed(b"\x7fEL")
        with pytest.raises(Unprocessable):
            await draft.feed(b"F and a gigabyte more")
    assert taken.blobs.writers == []


async def test_the_end_is_remembered_without_keeping_the_middle(taken: Taken) -> None:
    with pytest.raises(Unprocessable, match="two formats"):
        await taken.take(b"head", *[b"middle"] * 5, b"P", b"K")


async def test_an_upload_that_is_broken_off_leaves_nothing(taken: Taken) -> None:
    with pytest.raises(RuntimeError):
        async with taken.upload.begin("a.txt", None) as draft:
            await draft.feed(b"hello")
            raise RuntimeError
    assert taken.blobs.contents == {}
    assert taken.blobs.writers[0].discarded


async def test_a_full_disk_is_not_acknowledged(taken: Taken) -> None:
    taken.blobs.full = True
    with pytest.raises(Unavailable):
        await taken.take(b"hello")
    assert taken.files.rows == taken.blobs.contents == {}


async def test_content_whose_row_is_refused_is_deleted_again(taken: Taken) -> None:
    taken.files.failure = Conflict("gone", code="idempotent_result_gone")
    with pytest.raises(Conflict):
        await taken.take(b"hello")
    assert taken.blobs.contents == {}


async def test_content_stays_whose_row_may_have_been_committed(taken: Taken) -> None:
    taken.files.failure = Unavailable("The database went away.", code="database_unavailable")
    with pytest.raises(Unavailable):
        await taken.take(b"hello")
    assert list(taken.blobs.contents.values()) == [b"hello"]


async def test_a_repeated_upload_gets_the_first_file_and_keeps_no_second_content(taken: Taken) -> None:
    taken.files.earlier = stored("file_earlier")
    file = await taken.take(b"hello")
    assert file.id == "file_earlier"
    assert taken.blobs.contents == {}


async def test_a_request_is_recognised_by_what_was_stored(taken: Taken) -> None:
    await taken.take(b"hello", once=lambda blob: Once("/v1/files", blob.sha256))
    assert taken.files.onces == [Once("/v1/files", hashlib.sha256(b"hello").hexdigest())]
