"""One HTTP/1.1 connection of the lean client: a request out, its answer in, a call at a time.

Source: RFC 9112.
"""

import asyncio
import select
from collections.abc import Awaitable, Callable
from typing import cast

import httptools

MAX_UNREAD_BYTES = 128 << 10  # the peer is stopped beyond
MAX_HEAD_BYTES = 64 << 10  # of what comes without a byte of the body in it: heads, interim answers, trailers
_FRAMING = (b"content-length", b"transfer-encoding")


class Garbled(Exception):
    """What came is not HTTP, or not the HTTP that was asked for."""


class CutOff(ConnectionError):
    """The connection ended inside an answer."""


class LeanConnection(asyncio.Protocol):
    """Sends a request, parses the answer, holds what was not read yet.

    `send`, then `head`, then `read` until it returns b"", or `pass_on`. The methods `on_...` are the parser's.
    """

    __slots__ = (
        "_begun",
        "_between_s",
        "_bodyless",
        "_calling",
        "_ended",
        "_error",
        "_first_byte_s",
        "_framed",
        "_head_bytes",
        "_headed",
        "_loop",
        "_open",
        "_parser",
        "_paused",
        "_pieces",
        "_readable",
        "_reusable",
        "_take",
        "_timer",
        "_transport",
        "_unread",
        "_waiter",
        "_whole",
        "headers",
        "heard",
        "status",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._take: Callable[[bytes], bool] | None = None
        self._calling = False
        self._open = False
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.heard = 0.0  # when the peer was last heard of, by the loop's clock

    def send(self, head: bytes, body: bytes, *, first_byte_s: float, between_s: float, whole: bool) -> None:
        """Send a request. The peer may be silent for `first_byte_s`, once the body has begun for `between_s`.

        `whole`: who reads need not be woken before the answer is all there (or too much to hold).
        """
        self.status, self.headers = 0, {}
        self._pieces: list[bytes] = []
        self._unread = self._bodyless = self._head_bytes = 0
        self._headed = self._framed = self._begun = self._paused = self._ended = self._reusable = False
        self._error: Exception | None = None
        self._whole = whole
        self._first_byte_s, self._between_s = first_byte_s, between_s
        self._calling = True
        self.heard = self._loop.time()
        self._look_at(self.heard + first_byte_s)
        self._transport.writelines((head, body))

    async def head(self) -> None:
        """Wait until `status` and `headers` are there. Raises: TimeoutError, OSError, Garbled."""
        while not self._headed:
            await self._more()

    async def read(self) -> bytes:
        """Return the next bytes of the body, b"" at its end. Raises: TimeoutError, OSError, Garbled."""
        while not self._pieces:
            if self._ended:
                return b""
            await self._more()
        chunk = self._drawn()
        self._go_on()
        return chunk

    async def pass_on(self, take: Callable[[bytes], bool], drained: Callable[[], Awaitable[None]]) -> bytes:
        """Hand the body to `take` as it arrives, and return what came with its end; instead of `read`.

        Nobody is woken for a chunk: `take` runs in the loop's callback, and must not raise. Where it returns False the
        peer is stopped until `drained` returns. Raises: TimeoutError, OSError, Garbled.
        """
        self._take = take
        try:
            while not self._ended:
                if self._pieces:  # came before, or with the head
                    self._hand_over(take)
                elif self._paused:
                    await drained()
                    self._go_on()
                else:
                    await self._more()
        finally:
            self._take = None
        return self._drawn()

    def ready(self, *, ask: bool) -> bool:
        """Return whether another request may be sent: the peer has neither hung up nor spoken.

        `ask` the system, too: the loop may not have heard of it yet.
        """
        return self._open and not self._transport.is_closing() and not (ask and self._readable.poll(0))

    def release(self) -> bool:
        """End the call; False, and the connection is closed, when it cannot be used again."""
        self._calling = False
        if self._reusable and self._open and not self._paused and self._transport.get_write_buffer_size() == 0:
            return True
        self.close()
        return False

    def close(self) -> None:
        """Hang up at once."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._open:
            self._transport.abort()
        self._open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)  # a stream connection has no other
        self._open = True
        self._readable = select.poll()
        self._readable.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if not self._calling or self._ended:  # nobody asked
            self._reusable = False
            self.close()
            return
        begun, unread = self._begun, self._unread
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(Garbled(str(error)))
            return
        self.heard = self._loop.time()
        self._bodyless = self._bodyless + len(data) if self._unread == unread else 0
        if self._bodyless > MAX_HEAD_BYTES:
            self._fail(Garbled("The head of the answer is too large."))
        elif self._ended:
            self._wake()
        else:
            self._continue(just_begun=self._begun and not begun)

    def eof_received(self) -> None:
        """See `asyncio.Protocol`."""
        if self._calling and self._headed and not self._framed and self._error is None:
            self._ended = True
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._open = False
        if self._calling:
            self._fail(exc if isinstance(exc, TimeoutError) else _hangup(exc, in_body=self._headed))

    def on_message_begin(self) -> None:
        if self._ended:
            raise Garbled("There is more than one answer.")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._headed:  # a trailer
            return
        name = name.lower()
        self.headers[name] = value
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > MAX_HEAD_BYTES:
            raise Garbled("The head of the answer is too large.")
        if name in _FRAMING:
            self._framed = True

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status < 200:  # RFC 9110, 15.2: an interim answer, another follows
            self.headers, self._framed = {}, False
        else:
            self._headed = True

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)
        self._unread += len(body)
        self._begun = True

    def on_message_complete(self) -> None:
        if self._headed:
            self._ended = True
            self._reusable = self._parser.should_keep_alive()

    async def _more(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _continue(self, *, just_begun: bool) -> None:
        """Go on with an answer that is not all there."""
        if just_begun:
            self._look_at(self.heard + self._between_s)
        if self._take is not None:
            if self._pieces:
                self._hand_over(self._take)
            return
        if self._unread > MAX_UNREAD_BYTES:
            self._stop()
        if self._paused or not self._whole:
            self._wake()

    def _drawn(self) -> bytes:
        """Return what was not read yet."""
        pieces = self._pieces
        chunk = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._unread = 0
        return chunk

    def _hand_over(self, take: Callable[[bytes], bool]) -> None:
        if not take(self._drawn()):
            self._stop()
            self._wake()

    def _stop(self) -> None:
        """Let the peer wait."""
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _go_on(self) -> None:
        """Let the peer speak again."""
        if self._paused:
            self._paused, self.heard = False, self._loop.time()
            if self._open:
                self._transport.resume_reading()

    def _look_at(self, due: float) -> None:
        """Look at the peer then, or sooner: a timer outlives its call, most calls need none of their own."""
        if self._timer is None or self._timer.when() > due:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(due, self._look)

    def _look(self) -> None:
        """Give up on a silent peer; one that we have stopped ourselves may be silent."""
        self._timer = None
        if not self._calling or self._ended:
            return
        now = self._loop.time()
        limit = self._between_s if self._begun else self._first_byte_s
        due = (now if self._paused else self.heard) + limit
        if due <= now:
            self._fail(TimeoutError("The peer is silent."))
        else:
            self._look_at(due)

    def _fail(self, error: Exception) -> None:
        """End the connection, and with it an answer that is not all there."""
        self._reusable = False
        if not self._ended and self._error is None:
            self._error = error
        self.close()
        self._wake()


def _hangup(cause: Exception | None, *, in_body: bool) -> ConnectionError:
    error = CutOff("The peer hung up inside its answer.") if in_body else ConnectionResetError("The peer hung up.")
    error.__cause__ = cause
    return error
