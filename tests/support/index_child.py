"""A process that indexes one file and stands still at a place it is told, to be killed there.

`python -m tests.support.index_child FOLDER PLACE`: PLACE is `parse`, `text`, `embed N`, `complete` or `end`. It prints
the place once it stands there.
"""

import hashlib
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio

from chatbackend.domain.documents import Document
from chatbackend.infra.parsing.limits import ParseLimits
from chatbackend.infra.parsing.pool import ParserPool
from tests.support.file_app import FileApp, file_app

TEXT = "".join(
    f"# Section {n}\n\nThe sluice number {n} opens at {n % 24} o'clock. "
    + f"Its keeper is called Keeper{n}. " * 20
    + "\n\n"
    for n in range(110)
)


async def stand(place: str) -> None:
    """Say where we are and wait to be killed."""
    sys.stdout.write(f"{place}\n")
    sys.stdout.flush()
    await anyio.sleep_forever()


class Embedder:
    """Vectors out of a hash: the same text always has the same."""

    name = "hash"

    def __init__(self, place: str) -> None:
        self._place = place
        self._call = 0

    async def embed(self, texts: Sequence[str]) -> list[bytes]:
        """See `Embedder.embed`."""
        if self._place == f"embed {self._call}":
            await stand(self._place)
        self._call += 1
        return [
            struct.pack("<8f", *(byte / 255 for byte in hashlib.sha256(text.encode()).digest()[:8])) for text in texts
        ]


class Parser:
    """The real one, with a place to stand before it."""

    def __init__(self, pool: ParserPool, place: str) -> None:
        self._pool = pool
        self._place = place

    async def parse(self, path: Path, format_name: str) -> Document:
        """See `Parser.parse`."""
        if self._place == "parse":
            await stand(self._place)
        return await self._pool.parse(path, format_name)


def stand_in(app: FileApp, place: str) -> None:
    """Stand still where the store would be asked next."""
    name = {"text": "begin", "complete": "complete"}.get(place)
    if name is not None:

        async def instead(*_: object, **__: object) -> None:
            await stand(place)

        setattr(app.indexing, name, instead)


async def main(folder: Path, place: str) -> None:
    """Upload the file, unless an earlier process did, and index it as far as `place`."""
    async with ParserPool(ParseLimits()) as pool:
        parser = Parser(pool, place)
        async with file_app(folder, embedder=Embedder(place), parser=parser, worker=False) as app:
            stand_in(app, place)
            if not await app.rows("SELECT id FROM files"):
                async with app.client() as client:
                    await client.files.create(file=("sluices.md", TEXT.encode()), purpose="assistants")
            async with anyio.create_task_group() as group:
                group.start_soon(app.queue.run, app.work)
                await app.settled()
                group.cancel_scope.cancel()
    sys.stdout.write("end\n")


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]), sys.argv[2])
