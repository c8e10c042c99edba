"""Delete a file: gone from every list, search and answer when this returns, whatever is being done with it."""

from chatbackend.domain.errors import NotFound
from chatbackend.domain.identity import Principal
from chatbackend.usecases.clean_up import CleanUp
from chatbackend.usecases.file_ports import Changes, Files


def file_not_found(file_id: str) -> NotFound:
    """Return the error for a file that this caller does not have."""
    return NotFound(f"No such File object: {file_id}", param="file_id", code="file_not_found")


class DeleteFile:
    """Deletes a caller's own files."""

    def __init__(self, files: Files, clean_up: CleanUp, changes: Changes) -> None:
        self._files = files
        self._clean_up = clean_up
        self._changes = changes

    async def __call__(self, principal: Principal, file_id: str) -> None:
        """Delete for good: row, text, chunks, postings, content. Raises: NotFound."""
        left = await self._files.delete(principal, file_id)
        if left is None:
            raise file_not_found(file_id)
        self._changes.wake(file_id)
        await self._clean_up(left)
