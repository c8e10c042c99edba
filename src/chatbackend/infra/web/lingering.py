"""uvicorn's WebSocket, but one that lets a client read why it was closed, or not opened.

uvicorn closes the transport right behind the close frame for a frame over the limit. What the client still sends
then meets a closed socket, and the reset that answers it overtakes the close frame: the client sees 1006, not 1009.
And it answers a handshake that is still being looked at when the server goes with 500, as if something had failed.
Source: RFC 6455 section 7.1.1, RFC 1122 section 4.2.2.13.
"""

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from chatbackend.adapters import errors as wire_errors
from chatbackend.domain.errors import ChatError, Unavailable
from chatbackend.infra.delivery import undelivered
from chatbackend.infra.web.http import encode

LINGER_S = 2.0


class LingeringWebSocket(WebSocketsSansIOProtocol):
    """After a protocol error: say it, then read on and drop what comes until the client hangs up, for a while."""

    _lingers = False
    _undelivered: int | None = None  # when the client was last asked for a sign of life

    def shutdown(self) -> None:
        """Close; refuse a handshake that nobody has answered, as all new work is refused."""
        if not (self.handshake_complete or self.initial_response or self.close_sent):
            self._refuse(Unavailable("The server is stopping.", code="stopping"))
        super().shutdown()

    def _refuse(self, error: ChatError) -> None:
        response = self.conn.reject(wire_errors.mapped(error).status, "")
        response.body = encode(wire_errors.envelope(error))
        del response.headers["Content-Length"], response.headers["Content-Type"]
        told = {"Content-Type": "application/json", "Content-Length": str(len(response.body))}
        response.headers.update({**told, **wire_errors.headers(error)})
        self.conn.send_response(response)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.handshake_complete = self.close_sent = True

    def data_received(self, data: bytes) -> None:
        """Take bytes, unless they come behind our close frame."""
        if not self._lingers:
            super().data_received(data)

    def send_keepalive_ping(self) -> None:
        """Ask for a sign of life; the question lies behind all that was not taken yet."""
        self._undelivered = undelivered(self.transport)
        super().send_keepalive_ping()

    def keepalive_timeout(self) -> None:
        """Give up on a client that has not answered.

        Unless we do not read, when its answer may lie there unread; or it has taken some of what lies before the
        question.
        """
        before, self._undelivered = self._undelivered, undelivered(self.transport)
        if self.read_paused or before not in (None, self._undelivered):
            self.pong_timer = self.loop.call_later(self.config.ws_ping_timeout or 0, self.keepalive_timeout)
        else:
            super().keepalive_timeout()

    def handle_parser_exception(self) -> None:
        """Send the close frame that the protocol has made, and linger."""
        closing = self.conn.close_sent
        code, reason = (1002, "") if closing is None else (closing.code, closing.reason)
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.stop_keepalive()
        self.close_sent = self._lingers = True
        self.transport.resume_reading()
        self.close_timer = self.loop.call_later(LINGER_S, self.transport.close)
