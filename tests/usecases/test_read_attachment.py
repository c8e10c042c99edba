"""A request gets the text or the bytes of a file it names, or is told why not."""

from dataclasses import replace

import pytest

from chatbackend.domain.errors import InvalidRequest, NotFound, TooLarge
from chatbackend.domain.uploads import Reason
from chatbackend.infra.log.wakeups import Wakeups
from chatbackend.usecases.read_attachment import ReadAttachment
from tests.support.file_fakes import FOREIGN, ME, FakeBlobs, FakeFiles, stored

pytestmark = pytest.mark.anyio


class Attached:
    """One file, with its content."""

    def __init__(self, *, wait_s: float = 30.0) -> None:
        self.files = FakeFiles(stored())
        self.changes = Wakeups()
        self.read = ReadAttachment(
            self.files, FakeBlobs({"blob_1": b"hello"}), self.changes, wait_s=wait_s, max_data_bytes=5
        )


async def test_a_text_that_is_there_is_returned() -> None:
    attached = Attached()
    attached.files.texts["file_1"] = "words"
    assert await attached.read.text(ME, "file_1") == ("a.txt", "words")


async def test_a_text_that_is_being_read_is_waited_for() -> None:
    attached = Attached()

    def arrive() -> None:
        attached.files.texts["file_1"] = "words"
        attached.changes.wake("file_1")

    attached.files.looked = arrive
    assert await attached.read.text(ME, "file_1") == ("a.txt", "words")


async def test_a_text_that_does_not_come_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="still being read"):
        await Attached(wait_s=0.01).read.text(ME, "file_1")


async def test_a_file_that_failed_says_why() -> None:
    attached = Attached()
    attached.files.rows["file_1"] = replace(stored(), stage="failed", reason=Reason("encrypted_file", "A password."))
    with pytest.raises(InvalidRequest, match="A password"):
        await attached.read.text(ME, "file_1")


async def test_an_image_has_no_text() -> None:
    attached = Attached()
    attached.files.rows["file_1"] = stored(searchable=False)
    with pytest.raises(InvalidRequest, match="image"):
        await attached.read.text(ME, "file_1")


async def test_the_content_is_returned_as_a_data_url() -> None:
    assert await Attached().read.data_url(ME, "file_1") == ("a.txt", "data:text/plain;base64,aGVsbG8=")


async def test_a_content_over_the_limit_is_refused() -> None:
    attached = Attached()
    attached.files.rows["file_1"] = replace(stored(), bytes=6)
    with pytest.raises(TooLarge):
        await attached.read.data_url(ME, "file_1")


async def test_a_foreign_file_is_unknown() -> None:
    attached = Attached()
    with pytest.raises(NotFound):
        await attached.read.text(FOREIGN, "file_1")
    with pytest.raises(NotFound):
        await attached.read.data_url(FOREIGN, "file_1")
