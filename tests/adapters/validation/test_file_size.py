"""The running check of an upload's size."""

import pytest

from chatbackend.adapters.validation.file_size import FileSize
from chatbackend.domain.files import FileRejected


def test_a_file_of_exactly_the_limit_passes() -> None:
    size = FileSize(10)
    size.feed(4)
    size.feed(6)
    assert size.close() == 10


def test_the_first_byte_over_the_limit_is_refused_and_not_counted() -> None:
    size = FileSize(10)
    size.feed(10)
    with pytest.raises(FileRejected) as refused:
        size.feed(1)
    assert refused.value.code == "file_too_large"
    assert size.seen_bytes == 10


@pytest.mark.parametrize(
    ("limit", "said"), [(7, "7 bytes"), (2048, "2 KiB"), (512 << 20, "512 MiB"), (3 << 29, "1.5 GiB")]
)
def test_the_refusal_names_the_limit_in_readable_units(limit: int, said: str) -> None:
    with pytest.raises(FileRejected, match=said):
        FileSize(limit).feed(limit + 1)


def test_a_file_without_a_byte_is_refused_as_empty() -> None:
    with pytest.raises(FileRejected) as refused:
        FileSize(10).close()
    assert refused.value.code == "empty_file"
