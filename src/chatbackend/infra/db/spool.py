"""Rows on their way to a database, where a kill cannot reach them.

A file of fixed size, mapped into memory: a row is kept by a copy, without a call of the system, and what was copied
outlives the process, however it dies (a loss of power it does not). The file has two halves: one takes rows while those
of the other are written to the database. A row that a kill cuts short is told by its checksum, and so is one that was
damaged: that one has others behind it.
"""

import mmap
from pathlib import Path
from struct import Struct
from types import TracebackType
from typing import Self
from zlib import crc32

HALF_BYTES = 1 << 20
_HEAD = Struct("<II")  # length of the row (0: there are no more), checksum
_END = bytes(_HEAD.size)


class Spool:
    """Keeps rows of bytes. Use with `with`; whoever holds the folder's lock is the only one that opens it."""

    def __init__(self, path: Path, half_bytes: int = HALF_BYTES) -> None:
        self._path = path
        self._half_bytes = half_bytes
        self._filling = 0  # the half that takes rows
        self._at = 0  # where the next one goes in it
        self._free = [True, True]
        self._filled = [half_bytes, half_bytes]  # how far each half has been written: not known at the start
        self.damaged = 0  # rows that `rows` has passed over

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def open(self) -> None:
        """Open the file, made at its full size where it is not. Raises: OSError."""
        size = 2 * self._half_bytes
        self._path.touch(mode=0o600)
        with self._path.open("r+b") as file:
            kept = file.read()
            file.seek(0)
            # All of it, always: a hole (a copy may leave some) that a full disk cannot fill kills whoever writes there.
            file.write(kept if len(kept) == size else bytes(size))
            file.truncate(size)
            file.flush()
            self._memory = mmap.mmap(file.fileno(), size)

    def close(self) -> None:
        """Close; what is kept stays in the file."""
        self._memory.close()

    def add(self, row: bytes) -> bool:
        """Keep a row that is not empty; False, and nothing is kept, where there is no room."""
        end = self._at + _HEAD.size + len(row)
        if end + _HEAD.size > self._half_bytes:
            return False
        start = self._filling * self._half_bytes
        self._memory[start + self._at : start + end + _HEAD.size] = _HEAD.pack(len(row), crc32(row)) + row + _END
        self._at = end
        return True

    @property
    def crowded(self) -> bool:
        """Whether a quarter of the room for rows is taken."""
        return self._at > self._half_bytes >> 2

    def turn(self) -> int | None:
        """Have the other half take rows; return the one that took them, None where the other is not free yet."""
        filled, other = self._filling, 1 - self._filling
        if not self._free[other]:
            return None
        self._free[filled], self._filled[filled] = False, self._at
        self._filling, self._at = other, 0
        return filled

    def free(self, half: int) -> None:
        """Forget the rows of a half that `turn` returned; nothing of them is left in the file."""
        self._wipe(half)
        self._free[half] = True

    def rows(self) -> list[bytes]:
        """Return every row that is kept, also by an earlier process; `damaged` says how many more there were."""
        self.damaged = 0
        return [row for half in (0, 1) for row in self._rows(half)]

    def clear(self) -> None:
        """Forget every row: only while none is being written."""
        self._filled[self._filling] = max(self._filled[self._filling], self._at)
        for half in (0, 1):
            self.free(half)
        self._at = 0

    def _rows(self, half: int) -> list[bytes]:
        found: list[bytes] = []
        at, end = half * self._half_bytes, (half + 1) * self._half_bytes
        damaged = 0
        while at + _HEAD.size <= end and (length := self._length(at)):
            row = self._row(at, end)
            if row is None:
                damaged += 1  # or cut short, where no row is found behind it
            else:
                found.append(row)
                self.damaged, damaged = self.damaged + damaged, 0
            at += _HEAD.size + length
        return found

    def _length(self, at: int) -> int:
        length: int = _HEAD.unpack_from(self._memory, at)[0]
        return length

    def _row(self, at: int, end: int) -> bytes | None:
        """Return the row whose head is at a place, None where it is not whole."""
        length, checksum = _HEAD.unpack_from(self._memory, at)
        row = self._memory[at + _HEAD.size : min(at + _HEAD.size + length, end)]
        return row if crc32(row) == checksum else None

    def _wipe(self, half: int) -> None:
        start = half * self._half_bytes
        self._memory[start : start + _HEAD.size] = _END  # first: a kill behind it leaves no row
        self._memory[start : start + self._filled[half]] = bytes(self._filled[half])
        self._filled[half] = 0
