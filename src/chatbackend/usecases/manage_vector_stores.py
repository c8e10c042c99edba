"""Change which files are searched together: create with files, attach, detach, batches, delete."""

from collections.abc import Sequence

from chatbackend.domain.identity import Principal
from chatbackend.domain.vector_stores import Attachment, FileBatch, StoreFile, VectorStore
from chatbackend.usecases.clean_up import CleanUp
from chatbackend.usecases.file_ports import Jobs, StoreFiles, VectorStores
from chatbackend.usecases.ports import Once


class ManageVectorStores:
    """Every change that starts or strands indexing: the worker is told, what nothing uses any more is cleared away."""

    def __init__(self, stores: VectorStores, files: StoreFiles, clean_up: CleanUp, jobs: Jobs) -> None:
        self._stores = stores
        self._files = files
        self._clean_up = clean_up
        self._jobs = jobs

    async def create(
        self, principal: Principal, store: VectorStore, attachments: Sequence[Attachment], once: Once | None
    ) -> VectorStore:
        """Create a store with files. Raises: NotFound (a file), Unprocessable, Conflict."""
        made = await self._stores.add(principal, store, attachments, once)
        self._jobs.wake()
        return made

    async def attach(
        self, principal: Principal, store_id: str, attachment: Attachment, once: Once | None = None
    ) -> StoreFile:
        """Put a file into a store. Raises: NotFound, Unprocessable, Conflict."""
        left = await self._files.attach(principal, store_id, attachment, once)
        self._jobs.wake()
        await self._clean_up(left)
        return await self._files.get(principal, store_id, attachment.file_id)

    async def attach_batch(
        self, principal: Principal, batch: FileBatch, attachments: Sequence[Attachment], once: Once | None = None
    ) -> FileBatch:
        """Put files into a store together. Raises: NotFound, Unprocessable."""
        made, left = await self._files.add_batch(principal, batch, attachments, once)
        self._jobs.wake()
        await self._clean_up(left)
        return made

    async def detach(self, principal: Principal, store_id: str, file_id: str) -> None:
        """Take a file out of a store; the file stays. Raises: NotFound."""
        await self._clean_up(await self._files.detach(principal, store_id, file_id))

    async def delete(self, principal: Principal, store_id: str) -> None:
        """Delete a store; its files stay. Raises: NotFound."""
        await self._clean_up(await self._stores.delete(principal, store_id))
