"""How the scripted upstream speaks the Responses API on WebSockets: a `response.create` a turn, an event a frame.

A connection remembers its newest response, as OpenAI's does for what is not stored; any other `previous_response_id` is
refused. Written from the types of the `openai` package (types/responses/responses_*_event.py).
"""

import asyncio
import struct
from contextlib import aclosing
from dataclasses import dataclass

from aiohttp import web

from tests.support.upstream_answer import Ending, frames, refused, waits
from tests.support.upstream_asked import Asked, Json, as_object
from tests.support.upstream_responses import Responses
from tests.support.upstream_script import Outcome

HUGE_FRAME = 100 << 20
_PIECE = b" " * (1 << 16)
_TEXT = 0x1  # the first byte of a text frame that goes on in another; 0x80 is added where it does not


@dataclass(slots=True)
class Upgrades:
    """How WebSockets are taken: the `status` of a handshake, and of an error with how long to wait.

    `forgets`: no response is remembered. `turns`: a connection is spent after so many. `closes`: the code with which a
    connection is closed instead of an answer.
    """

    status: int = 101
    forgets: bool = False
    turns: int | None = None
    closes: int | None = None


class Connection:
    """One WebSocket: what it remembers, and how a turn is answered on it."""

    def __init__(self, number: int, upgrades: Upgrades, request: web.Request, socket: web.WebSocketResponse) -> None:
        self.number = number
        self._upgrades = upgrades
        self._request = request
        self._socket = socket
        self._remembered: dict[str, list[Json]] = {}  # by its id, the newest only: the context and the output
        self._turns = 0

    def asked(self, said: Json) -> Asked:
        """Return what a turn asks for, with what is remembered of its predecessor before it."""
        known = self._remembered.get(str(said.get("previous_response_id")), [])
        return Asked(said | {"stream": True, "input": [*known, *Asked(said).messages]})

    async def answer(self, dialect: Responses, said: Json) -> Outcome:
        """Answer a turn as its script says; return how it ended. The connection is closed where that says so."""
        refusal = self._refusal(said) or dialect.refusal() or refused(dialect, dialect.call.script)
        self._turns += 1
        if refusal is not None:
            self._remembered.clear()
            await self._refuse(dialect, *refusal)
            return "refused"
        try:
            await self._play(dialect)
        except Ending as ending:
            await self._end(ending)
            return ending.outcome
        if not self._upgrades.forgets:
            self._remembered = {f"resp_{dialect.call.salt}": [*dialect.call.asked.messages, *dialect.output]}
        return "finished"

    def _refusal(self, said: Json) -> tuple[int, Json] | None:
        previous = said.get("previous_response_id")
        if self._upgrades.turns is not None and self._turns >= self._upgrades.turns:
            return 400, _error("websocket_connection_limit_reached", "This connection has been open for too long.")
        if previous is not None and previous not in self._remembered:
            return 400, _error("previous_response_not_found", f"Previous response '{previous}' not found.")
        return None

    async def _refuse(self, dialect: Responses, status: int, body: Json) -> None:
        error = as_object(body.get("error")) | {"headers": waits(dialect, status)}
        await self._socket.send_json({"type": "error", "status": status, "error": error})

    async def _play(self, dialect: Responses) -> None:
        if self._upgrades.closes is not None:
            await self._socket.close(code=self._upgrades.closes)
            raise Ending("cut")
        match dialect.call.script.kind:
            case "no-headers":
                await asyncio.Event().wait()
            case "huge-headers":
                await self._flood()
            case "wrong-type":
                raise Ending("refused", b"data: <html>down for maintenance</html>\n\n")
            case _:
                pass
        async with aclosing(frames(dialect)) as told:
            async for frame in told:
                await self._send(frame)

    async def _end(self, ending: Ending) -> None:
        whole, _, rest = ending.last.rpartition(b"\n\n")
        await self._send(whole)
        if rest:
            self._write(_header(_TEXT, len(data := _data(rest))) + data)
        if ending.outcome == "cut" and self._request.transport is not None:
            self._request.transport.close()  # what was written still goes out

    async def _send(self, events: bytes) -> None:
        for event in filter(None, events.split(b"\n\n")):
            await self._socket.send_str(_data(event).decode())

    async def _flood(self) -> None:
        """Send a frame that is too large for anybody."""
        self._write(_header(_TEXT | 0x80, HUGE_FRAME))
        while self._request.transport is not None and not self._request.transport.is_closing():
            self._write(_PIECE)
            await asyncio.sleep(0.001)
        raise ConnectionResetError

    def _write(self, data: bytes) -> None:
        if self._request.transport is not None:
            self._request.transport.write(data)


def _header(first: int, size: int) -> bytes:
    return struct.pack("!BBQ", first, 127, size) if size > 0xFFFF else struct.pack("!BBH", first, 126, size)


def _data(event: bytes) -> bytes:
    """Return the data of one server-sent event, or of its beginning."""
    return event[event.find(b"data: ") + len(b"data: ") :]


def _error(code: str, message: str) -> Json:
    return {"error": {"type": "invalid_request_error", "code": code, "message": message, "param": None}}
