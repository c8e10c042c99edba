"""Clear away what a delete left: chunks, postings, vectors in memory, contents. Done at once, or again."""

from collections.abc import Sequence

from chatbackend.domain.jobs import Job
from chatbackend.usecases.file_ports import Blobs, Indexing, Jobs, Passages


class CleanUp:
    """Does `purge` and `erase` jobs; doing one twice changes nothing."""

    def __init__(self, indexing: Indexing, passages: Passages, blobs: Blobs, jobs: Jobs) -> None:
        self._indexing = indexing
        self._passages = passages
        self._blobs = blobs
        self._jobs = jobs

    async def __call__(self, jobs: Sequence[Job]) -> None:
        """Do committed jobs now; what fails or is cut short is left to the worker."""
        for job in jobs:
            await self.work(job)
            await self._jobs.finish(job)

    async def work(self, job: Job) -> None:
        """Do one job."""
        if job.kind == "purge":
            self._passages.forget(int(job.subject))
            await self._indexing.purge(int(job.subject))
        else:
            await self._blobs.delete(job.subject)
