"""Contents of uploaded files for requests that name them: text, waited for a little, or the bytes as a `data:` URL."""

import base64

import anyio

from chatbackend.domain.errors import InvalidRequest, TooLarge
from chatbackend.domain.identity import Principal
from chatbackend.domain.uploads import File
from chatbackend.usecases.delete_file import file_not_found
from chatbackend.usecases.file_ports import Blobs, Changes, Files

WAIT_S = 30.0  # for the text of a file that was uploaded just now
MAX_DATA_BYTES = 20 * 1024 * 1024


class ReadAttachment:
    """`Attachments` of the ports."""

    def __init__(
        self,
        files: Files,
        blobs: Blobs,
        changes: Changes,
        *,
        wait_s: float = WAIT_S,
        max_data_bytes: int = MAX_DATA_BYTES,
    ) -> None:
        self._files = files
        self._blobs = blobs
        self._changes = changes
        self._wait_s = wait_s
        self._max_data_bytes = max_data_bytes

    async def text(self, principal: Principal, file_id: str) -> tuple[str, str]:
        """See `Attachments.text`."""
        with anyio.move_on_after(self._wait_s):
            while True:
                moved = self._changes.event(file_id)
                file = await self._get(principal, file_id)
                text = await self._files.text(principal, file_id)
                if text is not None:
                    return file.filename, text
                _check_hope(file)
                await moved.wait()
        raise InvalidRequest(f"The file '{file_id}' is still being read; try again shortly.", param="input")

    async def data_url(self, principal: Principal, file_id: str) -> tuple[str, str]:
        """See `Attachments.data_url`."""
        file = await self._get(principal, file_id)
        if file.bytes > self._max_data_bytes:
            message = (
                f"The file '{file_id}' is larger than the {self._max_data_bytes} bytes that can be sent to a model."
            )
            raise TooLarge(message, param="input")
        content = b"".join([piece async for piece in self._blobs.read(file.blob_key)])
        return file.filename, f"data:{file.media_type};base64,{base64.b64encode(content).decode()}"

    async def _get(self, principal: Principal, file_id: str) -> File:
        file = await self._files.get(principal, file_id)
        if file is None:
            raise file_not_found(file_id)
        return file


def _check_hope(file: File) -> None:
    """Refuse a file that will never have a text."""
    if file.reason is not None:
        raise InvalidRequest(f"The file '{file.id}' could not be read: {file.reason.message}", param="input")
    if not file.searchable:
        raise InvalidRequest(f"The file '{file.id}' is an image: it has no text.", param="input")
