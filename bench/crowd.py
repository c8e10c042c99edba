"""Thousands of WebSocket and SSE clients in one process, on one epoll: cheap enough to leave the cores to the server.

A client is a state machine over bare sockets: it connects, asks, answers pings, and keeps of each event the number and
whether it was the last. Source: RFC 6455 section 5.
"""

from __future__ import annotations

import heapq
import json
import random
import re
import select
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

Transport = Literal["ws", "sse"]
MASK = b"\0\0\0\0"  # a mask of zeros is one too, and leaves the bytes as they are
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
AGAIN_S = 0.2  # before a client dials again, on average; each waits differently
_NUMBER = re.compile(rb'"sequence_number":(\d+)')
_ID = re.compile(rb'"id":"(resp_[0-9A-Za-z]+)"')
_TYPE = re.compile(rb'"type":"([a-z_.]+)"')
ENDS = (b"response.completed", b"response.incomplete", b"response.failed")


@dataclass(slots=True, eq=False)
class Client:
    """One client. `response_id` and `number` are what it follows and the newest event that it has."""

    transport: Transport
    port: int
    key: str
    response_id: str = ""
    number: int = -1
    open: bool = False  # upgraded, or answered
    ended: bool = False  # has the terminal event
    end: str = ""  # its type
    refused: int = 0  # answers other than 101 and 200
    faults: list[str] = field(default_factory=list[str])
    dialled_at: float = 0.0
    opened_at: float = 0.0
    resumed_at: float = 0.0  # the first event after it came back
    socket: socket.socket | None = None
    inbox: bytearray = field(default_factory=bytearray)
    outbox: bytes = b""

    def request(self) -> bytes:
        """Return the bytes that open its stream: from its cursor on, if it has one."""
        after = f"starting_after={self.number}" if self.number >= 0 else ""
        common = f"host: 127.0.0.1:{self.port}\r\nauthorization: Bearer {self.key}\r\n"
        if self.transport == "sse":
            path = f"/v1/responses/{self.response_id}?stream=true&{after}"
            return f"GET {path} HTTP/1.1\r\n{common}\r\n".encode()
        query = f"?resume={self.response_id}&{after or 'starting_after='}" if self.response_id else ""
        upgrade = "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n"
        return (
            f"GET /v1/responses{query} HTTP/1.1\r\n{common}{upgrade}sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        ).encode()

    def heard(self, event: bytes, now: float) -> None:
        """Take an event in."""
        kind, number = _TYPE.search(event), _NUMBER.search(event)
        if kind is None or number is None or kind[1] == b"error":
            self.faults.append(event[:200].decode(errors="replace"))
            return
        if int(number[1]) != self.number + 1:
            self.faults.append(f"event {int(number[1])} after {self.number}")
        self.number = int(number[1])
        self.resumed_at = self.resumed_at or now
        if kind[1] in ENDS:
            self.ended, self.end = True, kind[1].decode()
        if not self.response_id and (found := _ID.search(event)) is not None:
            self.response_id = found[1].decode()


class Crowd:
    """Clients on one epoll. One that loses its connection dials again, until it has what it wants."""

    def __init__(self, *, wanting: Callable[[Client], bool]) -> None:
        self.opened = self.back = self.lost = self.ended = self.pinged = 0  # `back`: with a first event since the dial
        self.news: list[Client] = []  # who has opened, or heard something, since somebody emptied this
        self._wanting = wanting
        self._epoll = select.epoll()
        self._by_fd: dict[int, Client] = {}
        self._due: list[tuple[float, int, Client]] = []
        self._chance = random.Random(1)  # noqa: S311  # spreads clients, guards nothing

    def dial(self, client: Client, *, within_s: float = 0.0) -> None:
        """Let a client connect at a random moment of the next seconds."""
        due = time.monotonic() + self._chance.uniform(0, within_s)
        heapq.heappush(self._due, (due, id(client), client))

    def say(self, client: Client, event: dict[str, object]) -> None:
        """Send a frame on an open socket."""
        self._send(client, frame(TEXT, json.dumps(event).encode()))

    def hang_up(self, client: Client) -> None:
        """Close from the client's side."""
        if client.socket is not None:
            del self._by_fd[client.socket.fileno()]
            client.socket.close()
        client.socket, client.open, client.inbox, client.outbox = None, False, bytearray(), b""

    def run(self, enough: Callable[[], bool], *, within_s: float) -> bool:
        """Serve the clients until it is enough; return whether it was within that time."""
        limit = time.monotonic() + within_s
        while not enough():
            now = time.monotonic()
            if now > limit:
                return False
            while self._due and self._due[0][0] <= now:
                self._connect(heapq.heappop(self._due)[2])
            wait = min(limit, self._due[0][0] if self._due else limit) - now
            for fd, what in self._epoll.poll(max(0.0, min(wait, 0.05)), 1024):
                client = self._by_fd.get(fd)
                if client is not None:
                    self._served(client, what)
        return True

    def _connect(self, client: Client) -> None:
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.socket, client.dialled_at = made, time.monotonic()
        client.opened_at = client.resumed_at = 0.0
        client.outbox = client.request()
        self._by_fd[made.fileno()] = client
        self._epoll.register(made.fileno(), select.EPOLLIN | select.EPOLLOUT)
        made.connect_ex(("127.0.0.1", client.port))

    def _served(self, client: Client, what: int) -> None:
        try:
            if what & select.EPOLLOUT and client.outbox:
                self._send(client, b"")
            if what & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                self._receive(client)
        except OSError:  # refused, reset
            self._on_lost(client)

    def _send(self, client: Client, more: bytes) -> None:
        assert client.socket is not None
        client.outbox += more
        sent = client.socket.send(client.outbox)
        client.outbox = client.outbox[sent:]
        wanted = select.EPOLLIN | (select.EPOLLOUT if client.outbox else 0)
        self._epoll.modify(client.socket.fileno(), wanted)

    def _receive(self, client: Client) -> None:
        assert client.socket is not None
        data = client.socket.recv(65536)
        if not data:
            self._on_lost(client)
            return
        client.inbox += data
        now = time.monotonic()
        if not client.open and not self._opened(client, now):
            return
        if client.transport == "sse":
            for event in _told(client.inbox):
                self._heard(client, event, now)
            return
        for opcode, payload in frames(client.inbox):
            if opcode == TEXT:
                self._heard(client, payload, now)
            elif opcode == PING:
                self.pinged += 1
                self._send(client, frame(PONG, payload))

    def _heard(self, client: Client, event: bytes, now: float) -> None:
        first, ended = not client.resumed_at, client.ended
        client.heard(event, now)
        self.back += first and client.resumed_at > 0
        self.ended += client.ended and not ended
        self.news.append(client)

    def _opened(self, client: Client, now: float) -> bool:
        head, found, rest = bytes(client.inbox).partition(b"\r\n\r\n")
        if not found:
            return False
        if head[9:12] not in (b"101", b"200"):
            client.refused += 1
            self._on_lost(client)
            return False
        client.open, client.opened_at, client.inbox = True, now, bytearray(rest)
        self.opened += 1
        self.news.append(client)
        return True

    def _on_lost(self, client: Client) -> None:
        self.lost += 1
        self.hang_up(client)
        if self._wanting(client):
            self.dial(client, within_s=2 * AGAIN_S)


def frame(opcode: int, payload: bytes) -> bytes:
    """Return a client's frame."""
    size = len(payload)
    length = bytes((0x80 | size,)) if size < 126 else bytes((0x80 | 126,)) + size.to_bytes(2, "big")
    return bytes((0x80 | opcode,)) + length + MASK + payload


def frames(inbox: bytearray) -> list[tuple[int, bytes]]:
    """Take the whole frames of a server (never masked, never cut into fragments by ours) out of an inbox."""
    found: list[tuple[int, bytes]] = []
    while len(inbox) >= 2:
        size, start = inbox[1], 2
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(inbox[2:start], "big") if len(inbox) >= start else len(inbox)
        if len(inbox) < start + size:
            break
        found.append((inbox[0] & 15, bytes(inbox[start : start + size])))
        del inbox[: start + size]
    return found


def _told(inbox: bytearray) -> list[bytes]:
    """Take the data of whole SSE events out of an inbox; sizes of chunks between them are no lines of ours."""
    found: list[bytes] = []
    while (end := inbox.find(b"\n\n")) >= 0:
        line = inbox.find(b"data: ", 0, end)
        if line >= 0:
            found.append(bytes(inbox[line + 6 : end]))
        del inbox[: end + 2]
    return found
