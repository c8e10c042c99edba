"""Delete contents that no file names: uploads that a crash cut off between the content and the row."""

from collections.abc import Sequence

from chatbackend.usecases.file_ports import Blobs, Files

SLICE = 200


class SweepBlobs:
    """Run once a start, with the keys that were there before the first upload was taken."""

    def __init__(self, blobs: Blobs, files: Files) -> None:
        self._blobs = blobs
        self._files = files

    async def __call__(self, keys: Sequence[str]) -> None:
        """Delete those of `keys` that nothing names."""
        for start in range(0, len(keys), SLICE):
            asked = keys[start : start + SLICE]
            known = await self._files.known_blobs(asked)
            for key in asked:
                if key not in known:
                    await self._blobs.delete(key)
