"""The HTTP side of the scripted Realtime provider: calls are made and ended here, sockets go to the server behind.

One address has both, as at OpenAI: `POST .../realtime/calls` (a form with `sdp` and `session`) and
`POST .../realtime/calls/{id}/hangup`; everything else is passed on, byte by byte.
"""

import asyncio
import json
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from chatbackend.adapters.wire.multipart import Field, MultipartLimits, MultipartReader
from tests.support.realtime_upstream import RealtimeUpstream

ANSWER = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\n"


class RealtimeCallsUpstream:
    """The front. `offers` are the forms that came, `ended` the calls that were hung up on, by their ids."""

    def __init__(self, behind: RealtimeUpstream, key: str) -> None:
        self.offers: list[dict[str, Any]] = []
        self.ended: list[str] = []
        self.refuse_with: tuple[int, str] | None = None
        self.without_location = False
        self.behind = behind
        self._key = key
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """The address that a server under test is given, without a path."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._answer_each(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    async def _answer_each(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"POST"):
                return await self._pass_on(head, reader, writer)
            line, *lines = head.decode().strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            writer.write(self._answer(line.split(" ")[1], headers, body))
            await writer.drain()

    def _answer(self, path: str, headers: dict[str, str], body: bytes) -> bytes:
        if self._key not in (headers.get("authorization", "").removeprefix("Bearer "), headers.get("api-key")):
            return _response(401, b'{"error": {"message": "no"}}')
        if self.refuse_with is not None:
            status, message = self.refuse_with
            return _response(status, json.dumps({"error": {"message": message}}).encode())
        if path.endswith("/hangup"):
            self.ended.append(path.split("/")[-2])
            for session in self.behind.sessions:
                if session.query.get("call_id") == self.ended[-1]:
                    session.hang_up()
            return _response(200, b"")
        reader = MultipartReader(headers["content-type"], MultipartLimits())
        form = {part.name: part.value for part in reader.feed(body) if isinstance(part, Field)}
        reader.close()
        self.offers.append({"path": path, "sdp": form["sdp"], "session": json.loads(form["session"])})
        place = "" if self.without_location else f"location: /v1/realtime/calls/rtc_u{len(self.offers)}\r\n"
        return _response(201, ANSWER.encode(), f"content-type: application/sdp\r\n{place}")

    async def _pass_on(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", self.behind.port)
        try:
            forth.write(head)
            await asyncio.gather(_copy(reader, forth), _copy(back, writer))
        finally:
            forth.transport.abort()


async def _copy(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await source.read(65_536):
            to.write(data)
            await to.drain()
    to.close()


def _response(status: int, body: bytes, headers: str = "content-type: application/json\r\n") -> bytes:
    return f"HTTP/1.1 {status} OK\r\n{headers}content-length: {len(body)}\r\n\r\n".encode() + body
