"""The real server, but one that stands still before it makes a successor: there it is killed."""

import anyio

from chatbackend.cli import app
from chatbackend.usecases.live import Entry
from chatbackend.usecases.succeed_response import Run, Succeed


async def _stand_still(self: Succeed, entry: Entry, run: Run) -> None:
    await anyio.sleep_forever()


Succeed.__call__ = _stand_still

if __name__ == "__main__":
    app()
