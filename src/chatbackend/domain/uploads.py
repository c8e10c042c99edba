"""An uploaded file as its owner sees it: what was taken, how far it has come, why it failed."""

from dataclasses import dataclass
from typing import Final, Literal

UploadPurpose = Literal["assistants", "user_data", "vision"]
Stage = Literal["queued", "parsing", "indexing", "ready", "failed"]
FileStatus = Literal["uploaded", "processed", "error"]

PURPOSES: Final[tuple[UploadPurpose, ...]] = ("assistants", "user_data", "vision")
TERMINAL_STAGES: Final = frozenset[Stage](("ready", "failed"))
_STATUS: Final[dict[Stage, FileStatus]] = {"ready": "processed", "failed": "error"}


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a file, or one of its chunk sets, failed: a code and a message for its owner."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class File:
    """A file of one owner. Times are whole seconds since the epoch; `percent` is 0..100.

    `blob_key` is the server's own: the file name never names anything on a disk. `searchable` says that its text
    is read; an image is only shown to models.
    """

    id: str
    tenant: str
    owner: str
    filename: str
    purpose: UploadPurpose
    bytes: int
    sha256: str
    media_type: str
    format: str
    searchable: bool
    blob_key: str
    created_at: int
    expires_at: int | None = None
    stage: Stage = "queued"
    percent: int = 0
    reason: Reason | None = None

    @property
    def status(self) -> FileStatus:
        """The API's word for the stage."""
        return _STATUS.get(self.stage, "uploaded")

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it by itself."""
        return self.stage in TERMINAL_STAGES
