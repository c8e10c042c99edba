"""Counts an upload's bytes as they pass and refuses the file at the first byte over its limit."""

from chatbackend.domain.files import FileRejected


class FileSize:
    """A running size check: `feed` every piece before it is kept, `close` at the end."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.seen_bytes = 0

    def feed(self, size: int) -> None:
        """Count `size` more bytes.

        Raises:
            FileRejected: `file_too_large`, and the count stays where it was.
        """
        if self.seen_bytes + size > self.max_bytes:
            raise FileRejected("file_too_large", f"The file is larger than the limit of {_readable(self.max_bytes)}.")
        self.seen_bytes += size

    def close(self) -> int:
        """Return the size of the whole file in bytes.

        Raises:
            FileRejected: `empty_file` when nothing came.
        """
        if not self.seen_bytes:
            raise FileRejected("empty_file", "The file is empty.")
        return self.seen_bytes


def _readable(size: int) -> str:
    for unit, name in ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB")):
        if size >= unit:
            return f"{size / unit:g} {name}"
    return f"{size} bytes"
