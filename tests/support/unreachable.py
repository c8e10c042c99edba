"""An address that takes no connection and refuses none: whoever dials it waits until a timeout of their own."""

import socket
from types import TracebackType
from typing import Self

_FULL_S = 0.2


class Unreachable:
    """`with Unreachable() as nobody: nobody.url`. A listener whose queue is full: the kernel drops each dial."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        self._waiting: list[socket.socket] = []

    @property
    def url(self) -> str:
        """The address, without a path."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        while self._takes_one():
            pass
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in (*self._waiting, self._listener):
            each.close()

    def _takes_one(self) -> bool:
        dialling = socket.socket()
        self._waiting.append(dialling)
        dialling.settimeout(_FULL_S)
        try:
            dialling.connect(self._listener.getsockname())
        except TimeoutError:
            return False
        return True
