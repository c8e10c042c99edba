"""Do a job by its kind; every kind may be done again after a crash, and then changes nothing twice."""

from chatbackend.domain.errors import NotFound
from chatbackend.domain.identity import Principal
from chatbackend.domain.jobs import Job
from chatbackend.usecases.clean_up import CleanUp
from chatbackend.usecases.delete_file import DeleteFile
from chatbackend.usecases.index_file import IndexFile


class DoJob:
    """What a worker calls."""

    def __init__(self, index: IndexFile, clean_up: CleanUp, delete: DeleteFile) -> None:
        self._index = index
        self._clean_up = clean_up
        self._delete = delete

    async def __call__(self, job: Job) -> None:
        """Do a job; what is raised may be tried again."""
        if job.kind == "index":
            await self._index(int(job.subject))
        elif job.kind == "expire":
            await self._expire(job)
        else:
            await self._clean_up.work(job)

    async def give_up(self, job: Job) -> None:
        """Show that a job will not be done."""
        if job.kind == "index":
            await self._index.give_up(int(job.subject))

    async def _expire(self, job: Job) -> None:
        try:
            await self._delete(Principal(job.tenant, job.owner, job.owner, ""), job.subject)
        except NotFound:
            return
