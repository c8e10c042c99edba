"""Vector stores, the files in them, and batches of files: what is searched together."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from chatbackend.domain.indexing import AUTO, Chunking
from chatbackend.domain.uploads import Reason

Attributes = dict[str, str | float | bool]
StoreFileStatus = Literal["in_progress", "completed", "cancelled", "failed"]
StoreStatus = Literal["expired", "in_progress", "completed"]
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class FileCounts:
    """How many files of a store or a batch are in which state."""

    in_progress: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.in_progress + self.completed + self.failed + self.cancelled


def counted(statuses: Iterable[StoreFileStatus]) -> FileCounts:
    """Count states."""
    found = Counter(statuses)
    return FileCounts(found["in_progress"], found["completed"], found["failed"], found["cancelled"])


@dataclass(frozen=True, slots=True)
class VectorStore:
    """A store of one owner. Times are whole seconds since the epoch; it expires `expires_days` after its last use."""

    id: str
    tenant: str
    owner: str
    name: str
    created_at: int
    last_active_at: int
    description: str | None = None
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    expires_days: int | None = None
    counts: FileCounts = FileCounts()
    usage_bytes: int = 0

    @property
    def expires_at(self) -> int | None:
        """The second at which it expires if nobody uses it."""
        return None if self.expires_days is None else self.last_active_at + self.expires_days * DAY_S

    def status(self, now: float) -> StoreStatus:
        """Return the state at second `now`."""
        if self.expires_at is not None and self.expires_at <= now:
            return "expired"
        return "in_progress" if self.counts.in_progress else "completed"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that is to be put into a store."""

    file_id: str
    attributes: Attributes = field(default_factory=Attributes)
    chunking: Chunking = AUTO


@dataclass(frozen=True, slots=True)
class StoreFile:
    """A file in a store, in the state of its chunk set."""

    file_id: str
    vector_store_id: str
    created_at: int
    status: StoreFileStatus
    attributes: Attributes = field(default_factory=Attributes)
    chunking: Chunking = AUTO
    usage_bytes: int = 0
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class FileBatch:
    """Files that were attached together."""

    id: str
    vector_store_id: str
    created_at: int
    cancelled: bool = False
    counts: FileCounts = FileCounts()

    @property
    def status(self) -> StoreFileStatus:
        """Cancelled, or in progress until every file of it has ended."""
        if self.cancelled:
            return "cancelled"
        if self.counts.in_progress:
            return "in_progress"
        return "failed" if self.counts.failed and not self.counts.completed else "completed"
