"""What is shown of stores and batches follows from their files and from the time."""

import pytest

from chatbackend.domain.vector_stores import DAY_S, FileBatch, FileCounts, StoreFileStatus, VectorStore, counted

STORE = VectorStore("vs", "t", "o", "name", 0, last_active_at=100)


def test_files_are_counted_by_state() -> None:
    statuses: list[StoreFileStatus] = ["completed", "failed", "completed", "in_progress", "cancelled"]
    assert counted(statuses) == FileCounts(in_progress=1, completed=2, failed=1, cancelled=1)
    assert counted(statuses).total == 5


def test_a_store_without_an_expiry_never_expires() -> None:
    assert STORE.expires_at is None
    assert STORE.status(now=10**12) == "completed"


def test_a_store_expires_so_many_days_after_its_last_use() -> None:
    store = VectorStore("vs", "t", "o", "name", 0, last_active_at=100, expires_days=2)
    assert store.expires_at == 100 + 2 * DAY_S
    assert store.status(now=100 + 2 * DAY_S - 1) == "completed"
    assert store.status(now=100 + 2 * DAY_S) == "expired"


def test_a_store_is_in_progress_while_one_file_is() -> None:
    store = VectorStore("vs", "t", "o", "name", 0, last_active_at=100, counts=FileCounts(in_progress=1, completed=3))
    assert store.status(now=0) == "in_progress"


@pytest.mark.parametrize(
    ("counts", "cancelled", "status"),
    [
        (FileCounts(in_progress=1, failed=1), False, "in_progress"),
        (FileCounts(completed=1, failed=1), False, "completed"),
        (FileCounts(failed=2), False, "failed"),
        (FileCounts(), False, "completed"),
        (FileCounts(in_progress=1), True, "cancelled"),
    ],
)
def test_a_batch_is_as_far_as_its_files(
    counts: FileCounts,
    cancelled: bool,  # noqa: FBT001 - a table of cases
    status: str,
) -> None:
    assert FileBatch("b", "vs", 0, cancelled=cancelled, counts=counts).status == status
