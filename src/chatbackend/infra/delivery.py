"""What a peer has taken of what was sent to it, as the kernel counts it.

Source: tcp(7): TCP_INFO, SIOCOUTQ; linux/tcp.h: struct tcp_info.
"""

import asyncio
import socket
import struct
import sys

_ACKNOWLEDGED = struct.Struct("@120xQ")  # tcpi_bytes_acked
_QUEUED = struct.Struct("@i")


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
