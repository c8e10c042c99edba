"""Connections whose peer takes nothing: cut off, since closing one waits for what will never be taken.

A peer that is gone, frozen or does not read leaves bytes in our buffers, and its kernel may go on to answer that it has
no room: no error ever comes. What counts as life is a byte acknowledged.
Source: tcp(7): TCP_INFO, SIOCOUTQ; linux/tcp.h: struct tcp_info.
"""

import asyncio
import socket
import struct
import sys
from collections.abc import Iterable

STALLED_S = 7.0  # with the time between looks: gone within 10 s
_ACKNOWLEDGED = struct.Struct("@120xQ")  # tcpi_bytes_acked
_QUEUED = struct.Struct("@i")


class Stalls:
    """Knows who has taken nothing since when."""

    def __init__(self) -> None:
        self._seen: dict[asyncio.Transport, tuple[int, float]] = {}

    def look(self, transports: Iterable[asyncio.Transport], now: float) -> None:
        """Cut off who takes nothing though there is something; `now` is in seconds. Call it every few seconds."""
        for transport in transports:
            taken = undelivered(transport)
            if taken is None:
                self._seen.pop(transport, None)
                continue
            known = self._seen.setdefault(transport, (taken, now))
            if known[0] != taken:
                self._seen[transport] = taken, now
            elif now - known[1] >= STALLED_S:
                del self._seen[transport]
                transport.abort()

    def forget(self, left: Iterable[asyncio.Transport]) -> None:
        """Keep only these."""
        self._seen = {transport: self._seen[transport] for transport in left if transport in self._seen}


def _unsent(transport: asyncio.Transport) -> tuple[socket.socket, int] | None:
    """Return a connection that is open, and how many bytes the kernel has not taken from us."""
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is None or connection.fileno() < 0:
        return None
    return connection, transport.get_write_buffer_size()


if sys.platform == "linux":
    import fcntl
    import termios

    def undelivered(transport: asyncio.Transport) -> int | None:
        """Return a number that changes with every byte that the peer takes; None when nothing waits to be taken."""
        found = _unsent(transport)
        if found is None:
            return None
        connection, waiting = found
        (queued,) = _QUEUED.unpack(fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(_QUEUED.size)))
        if not (waiting or queued):
            return None
        (acknowledged,) = _ACKNOWLEDGED.unpack(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128))
        return int(acknowledged)

else:

    def undelivered(transport: asyncio.Transport) -> int | None:
        """Return how much of ours the kernel has not taken yet: other systems tell less of their buffers."""
        found = _unsent(transport)
        return None if found is None else found[1] or None
