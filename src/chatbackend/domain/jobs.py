"""Jobs: work that outlives the request and the process, done at least once."""

from dataclasses import dataclass
from typing import Final, Literal

JobKind = Literal["index", "purge", "erase", "expire"]

MAX_FAILURES: Final = 5  # then it is given up
MAX_DEATHS: Final = 100  # owners that died with it, without a failure of its own; then it is given up as well
_WAITS_S: Final = (1.0, 5.0, 25.0, 125.0)


@dataclass(frozen=True, slots=True)
class Job:
    """A claimed job. `subject` is what it is about: a chunk set, a blob, a file, by kind."""

    id: int
    kind: JobKind
    tenant: str
    owner: str
    subject: str
    failures: int = 0
    deaths: int = 0

    @property
    def last_try(self) -> bool:
        """Whether one failure more ends it."""
        return self.failures + 1 >= MAX_FAILURES

    @property
    def hopeless(self) -> bool:
        """Whether so many owners died with it that it must be what kills them."""
        return self.deaths >= MAX_DEATHS

    @property
    def retry_after_s(self) -> float:
        """How long to wait before it is tried again after one failure more."""
        return _WAITS_S[min(self.failures, len(_WAITS_S) - 1)]
