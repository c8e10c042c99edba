"""A scripted Realtime provider: a real WebSocket server on 127.0.0.1 that answers text, counts and records.

`/v1/realtime` and `/openai/v1/realtime` speak GA; `/openai/realtime` is Azure's preview and speaks beta. With
`intent=transcription` (and no model, as OpenAI has it) what is committed is written down, by a model that has been
configured, and nothing else happens. `.../realtime/translations` translates what is said. What a session does is named
by its model (or deployment), joined by `-` in any order: `realtime-n5-close-4001`:

    nN dN           N tokens an answer (3); N milliseconds before each
    call            calls the first function tool of the session; text once its output is there
    never           an answer that is begun and never ended
    status-N        the handshake is answered with that HTTP status
    late            the handshake is answered when the test opens the gate
    deaf            takes nothing from the network before the test says `session.listen()`
    lasts-N         the session ends N seconds after it began
    leaks           an error event that names the key that it was called with

A test may also speak for the provider: `session.say(frame)`, `session.close(code, reason)`, `session.hang_up()`, and
have it take nothing: `session.fall_silent()`. Every answer has a salt of its own, so that two that are mixed are seen.
"""

import asyncio
import json
import re
import ssl
from http import HTTPStatus
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from tests.support.realtime_events import Event, Spelling
from tests.support.realtime_translations import TranslationSpelling

MAX_SIZE = 32 << 20
WAIT_S = 10.0


class Session:
    """One connection, as the provider sees it."""

    def __init__(self, connection: ServerConnection, path: str, headers: Headers) -> None:
        self.path = path
        self.headers = headers
        self.query = {name: values[-1] for name, values in parse_qs(urlsplit(path).query).items()}
        self.model = self.query.get("model") or self.query.get("deployment", "")
        self.received: list[str | bytes] = []
        self.ended = asyncio.Event()
        self._connection = connection
        self._arrived = asyncio.Condition()
        place = urlsplit(path).path
        self.spelling: Spelling | TranslationSpelling = Spelling(
            self.model, beta=place == "/openai/realtime", transcribes="intent" in self.query
        )
        if place.endswith("/translations"):
            self.spelling = TranslationSpelling(self.model)
        self._answering: asyncio.Task[None] | None = None

    @property
    def events(self) -> list[Event]:
        """Everything that came, as objects."""
        return [json.loads(frame) for frame in self.received]

    @property
    def code(self) -> int | None:
        """How it was closed."""
        return self._connection.close_code

    async def say(self, frame: str | bytes) -> None:
        """Send a frame as it is."""
        await self._connection.send(frame)

    async def got(self, number: int) -> str | bytes:
        """Return the frame of that number (from 0), waiting until it is there."""
        async with asyncio.timeout(WAIT_S), self._arrived:
            await self._arrived.wait_for(lambda: len(self.received) > number)
        return self.received[number]

    async def got_type(self, kind: str, number: int = 0) -> Event:
        """Return the event of that type and number, waiting until it is there."""

        def found() -> list[Event]:
            return [event for event in self.events if event["type"] == kind]

        async with asyncio.timeout(WAIT_S), self._arrived:
            await self._arrived.wait_for(lambda: len(found()) > number)
        return found()[number]

    async def close(self, code: int, reason: str = "") -> None:
        """Close with a close frame."""
        await self._connection.close(code, reason)

    def fall_silent(self) -> None:
        """Take nothing more from the network: neither frames nor pings."""
        self._connection.transport.pause_reading()

    def listen(self) -> None:
        """Take from the network again."""
        self._connection.transport.resume_reading()

    async def close_without_a_code(self) -> None:
        """Close with an empty close frame."""
        self._connection.protocol.send_close()
        self._connection.send_data()
        await self._connection.wait_closed()

    def hang_up(self, *, at_once: bool = True) -> None:
        """End the connection without a word: by a reset, or by a FIN behind what was sent."""
        if at_once:
            self._connection.transport.abort()
        else:
            self._connection.transport.close()

    async def run(self, key: str) -> None:
        """Answer until either side closes."""
        script = self.spelling.script
        try:
            await self._tell(self.spelling.session_event("session.created"))
            if "deaf" in script:
                self.fall_silent()
            if "leaks" in script:
                await self._tell(self.spelling.error("server_error", f"Bad key {key}", None))
            while True:
                frame = await self._connection.recv()
                async with self._arrived:
                    self.received.append(frame)
                    self._arrived.notify_all()
                await self._answer(frame)
        except ConnectionClosed:
            pass
        finally:
            if self._answering is not None:
                self._answering.cancel()
            self.ended.set()

    async def _answer(self, frame: str | bytes) -> None:
        try:
            event: Event = json.loads(frame)
            told = self.spelling.answer(event)
        except ValueError:
            told = [self.spelling.error("invalid_request_error", "not JSON", None)]
            event = {}
        for each in told:
            await self._tell(each)
        if told and told[-1]["type"] == "session.closed":
            await self._connection.close(1000)
        if event.get("type") == "response.create" and self.spelling.active is not None and not told:
            self._answering = asyncio.create_task(self._generate())

    async def _generate(self) -> None:
        for event in self.spelling.generation():
            if self.spelling.pause_s:
                await asyncio.sleep(self.spelling.pause_s)
            await self._tell(event)

    async def _tell(self, event: Event) -> None:
        await self._connection.send(json.dumps(event))


class RealtimeUpstream:
    """The server. `sessions` is every accepted one, in order; `key` is the credential that it wants, "" for none."""

    def __init__(self, *, key: str = "", tls: ssl.SSLContext | None = None) -> None:
        self.sessions: list[Session] = []
        self.handshakes: list[Request] = []
        self.gate = asyncio.Event()
        self.refuses: HTTPStatus | None = None  # what handshakes are answered with from now on
        self._key = key
        self._tls = tls
        self._server: Server | None = None
        self._arrived = asyncio.Condition()

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            0,
            process_request=self._admit,
            max_size=MAX_SIZE,
            compression=None,
            ping_interval=None,
            ssl=self._tls,
            close_timeout=0.2,
            max_queue=2,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        for session in self.sessions:
            session.hang_up()
        self._server.close()
        await self._server.wait_closed()

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        return int(next(iter(self._server.sockets)).getsockname()[1])

    @property
    def url(self) -> str:
        """The address that a server under test is given, without a path."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    async def session(self, number: int) -> Session:
        """Return the session of that number (from 0), waiting until it is there."""
        async with asyncio.timeout(WAIT_S), self._arrived:
            await self._arrived.wait_for(lambda: len(self.sessions) > number)
        return self.sessions[number]

    async def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        self.handshakes.append(request)
        async with self._arrived:
            self._arrived.notify_all()
        model = parse_qs(urlsplit(request.path).query)
        name = (model.get("model") or model.get("deployment") or [""])[0]
        if "intent" in model and name:
            told = "You must not provide a model parameter for transcription sessions."
            return connection.respond(HTTPStatus.BAD_REQUEST, json.dumps({"error": {"message": told}}))
        if self._key and self._key not in (_bearer(request.headers), request.headers.get("api-key")):
            return connection.respond(HTTPStatus.UNAUTHORIZED, f"Incorrect API key provided: {self._key[:6]}...")
        status = re.search(r"status-(\d{3})", name)
        if status is not None:
            return connection.respond(HTTPStatus(int(status[1])), '{"error": {"message": "as scripted"}}')
        if self.refuses is not None:
            return connection.respond(self.refuses, "as scripted")
        if "late" in name.split("-"):
            await self.gate.wait()
        return None

    async def _serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        session = Session(connection, connection.request.path, connection.request.headers)
        async with self._arrived:
            self.sessions.append(session)
            self._arrived.notify_all()
        await session.run(self._key)


def _bearer(headers: Headers) -> str:
    return headers.get("authorization", "").removeprefix("Bearer ")
