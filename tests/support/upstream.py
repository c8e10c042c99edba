"""A salted, scripted model server: what it says, counts and logs is known, so that a checker can compare.

Every generation has a fresh salt in (nearly) every token, `s3f9a1c:0 s3f9a1c:1 ...`, so that two generations spliced
into one answer are seen. `GET /_log` tells, a JSON line a call, what was asked, sent, reported and how it ended.

It speaks, streamed and whole:

    /v1/chat/completions, /v1/responses, /v1/embeddings     OpenAI, and whoever is compatible with it
    /v1/responses/input_tokens
    /v1/messages, /v1/messages/count_tokens                 Anthropic
    /openai/deployments/{name}/chat/completions, .../embeddings (with api-version)
    /openai/responses (with api-version)
    /openai/v1/chat/completions, /openai/v1/responses, /openai/v1/embeddings      Azure OpenAI
    /chat/completions, and models named sonar...      Perplexity, which refuses tools and turns that do not alternate

The script is named by the model, or else by the first word of the last user message, joined by `-` in any order:

    nN dN       N tokens; N milliseconds before each (scripted-n40-d5)
    slow        a token each 1.25 s
    echo        the last user message, after one salted token
    json        a JSON object, by the asked schema where there is one
    cite        for each passage 【k】 in the prompt a sentence that quotes it and ends with 【k】
    sources     a text with [1], [2] and [1], which Perplexity's lists of sources explain
    image       the media type and size of each image and file of the last user message
    tool-call   a call of every tool (of the first, where parallel calls are off); text once its output is there
    tool-loop-N a call of the first tool until the context holds N outputs, then text
    tool-text-function tool-text-python tool-text-json   such a call as a Llama writes it into its text
    reason      reasoning before the text
    length refuse filter          that end
    no-usage no-id                usage that never arrives; empty ids

and what goes wrong, `N` being the token before which it does (3 where it is left out):

    status-N    that HTTP status, with Retry-After where it fits; rN asks to wait N milliseconds
    context-length                a 400 in the vendor's words (with vllm or llama-cpp: in theirs)
    blocked     a 400 for a prompt that a filter refuses
    no-headers silent stall-at-N  nothing at all; headers and nothing; N tokens and nothing
    cut-before-first cut-at-N     the connection is reset, before any token or after N
    truncated-at-N                a body that ends properly, in the middle of an event
    error-in-stream error-at-N    an error event
    failed-at-N                   an event that the answer failed, where the API has one beside its errors
    false-done  an end mark without a reason, after all tokens
    garbage     broken JSON
    cut-in-character   a token torn inside a UTF-8 character, then the reset
    wrong-type  200 with text/html
    endless     tokens until the client hangs up
    huge-headers                  100 MB of headers
    fail-N-times   the first N calls with one last user message go wrong as the rest says (status-500 if it says
                   nothing), later ones are answered: fail-2-times-status-503-n5

WebSockets are taken at the paths of the Responses API (`upstream_socket.py`), where all of these are played in frames;
`Upgrades` says how handshakes and memories go wrong.

Whole answers go wrong in the same ways, in their bodies. `Unreachable` (`unreachable.py`) is an address that nobody
answers at. With a key, a call without the credential that its API wants is answered 401.

In a test: `async with Upstream() as upstream: ... upstream.url`. In its own process, so that it outlives the server
under test: `python tests/support/upstream.py --port P --log FILE --key KEY`.
"""

import argparse
import asyncio
import json
import ssl
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

if not __package__:  # run as a script: the repository is not on the path then
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.tls import server_tls
from tests.support.upstream_answer import serve
from tests.support.upstream_asked import Asked, as_object
from tests.support.upstream_azure import AzureChat, AzureResponses
from tests.support.upstream_counts import AzureEmbeddings, Embeddings, MessagesCount, ResponsesCount
from tests.support.upstream_dialects import Chat, Dialect, Messages
from tests.support.upstream_perplexity import Perplexity
from tests.support.upstream_responses import Responses
from tests.support.upstream_script import Call, Script, salts, script_of
from tests.support.upstream_socket import Connection, Upgrades

__all__ = ["Call", "Upgrades", "Upstream"]

Spelled = Callable[[Call], Dialect]


def _openai_chat(call: Call) -> Dialect:
    return Perplexity(call) if call.asked.model.startswith("sonar") else Chat(call)


ROUTES: tuple[tuple[str, Spelled], ...] = (
    ("/v1/chat/completions", _openai_chat),
    ("/v1/responses", Responses),
    ("/v1/responses/input_tokens", ResponsesCount),
    ("/v1/embeddings", Embeddings),
    ("/v1/messages", Messages),
    ("/v1/messages/count_tokens", MessagesCount),
    ("/openai/deployments/{name}/chat/completions", AzureChat),
    ("/openai/deployments/{name}/embeddings", AzureEmbeddings),
    ("/openai/v1/chat/completions", AzureChat),
    ("/openai/v1/responses", AzureResponses),
    ("/openai/responses", AzureResponses),
    ("/openai/v1/embeddings", AzureEmbeddings),
    ("/chat/completions", Perplexity),
)

SOCKETS: tuple[tuple[str, type[Responses]], ...] = (
    ("/v1/responses", Responses),
    ("/openai/v1/responses", AzureResponses),
    ("/openai/responses", AzureResponses),
)


class Upstream:
    """The server. `calls` is every call so far, in order; `key` is the credential it wants, "" for none.

    `handshakes` counts the WebSockets that were asked for, `left` gets the close code of each that has ended.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        log: Path | None = None,
        key: str = "",
        upgrades: Upgrades | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.calls: list[Call] = []
        self._salts = salts()
        self.handshakes = 0
        self.left = asyncio.Queue[int | None]()
        self.upgrades = upgrades or Upgrades()
        self._port = port
        self._tls = tls
        self._log = log
        self._key = key
        self._failed = Counter[str]()
        self._arrived = asyncio.Condition()
        app = web.Application(client_max_size=64 << 20)
        for path, spelled in ROUTES:
            app.router.add_post(path, self._handler(spelled))
        for path, spoken in SOCKETS:
            app.router.add_get(path, self._upgrader(spoken))
        app.router.add_get("/_log", self._show_log)
        # A handler is cancelled as soon as its client hangs up: that is how a call knows.
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self._tls)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        """The address, without a path."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    async def call(self, number: int) -> Call:
        """Return the call of that number (from 0), waiting until it arrives."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.calls) > number)
        return self.calls[number]

    def _handler(self, spelled: Spelled) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._answer(request, spelled)

        return handle

    async def _answer(self, request: web.Request, spelled: Spelled) -> web.StreamResponse:
        asked = Asked(as_object(await request.json()), request.match_info.get("name"))
        call = self._call(request, asked)
        dialect = spelled(call)
        if self._key and dialect.denied(self._key):
            call.script = Script("status", at=401)
        async with self._open(call, dialect):
            answer, call.outcome = await serve(request, dialect)
        return answer

    def _upgrader(self, spoken: type[Responses]) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.StreamResponse:
            self.handshakes += 1
            number, status = self.handshakes, self.upgrades.status
            if self._key and spoken(self._call(request, Asked({}))).denied(self._key):
                status = 401
            if status != 101:
                return web.json_response({"error": {"message": "no"}}, status=status, headers={"retry-after": "2"})
            socket = web.WebSocketResponse(compress=False, max_msg_size=64 << 20)
            await socket.prepare(request)
            try:
                await self._converse(Connection(number, self.upgrades, request, socket), socket, request, spoken)
            finally:
                self.left.put_nowait(socket.close_code)
            return socket

        return handle

    async def _converse(
        self, connection: Connection, socket: web.WebSocketResponse, request: web.Request, spoken: type[Responses]
    ) -> None:
        async for message in socket:
            said = as_object(json.loads(message.data))
            call = self._call(request, connection.asked(said))
            call.connection, call.said = connection.number, said
            dialect = spoken(call)
            async with self._open(call, dialect):
                call.outcome = await connection.answer(dialect, said)

    def _call(self, request: web.Request, asked: Asked) -> Call:
        return Call(next(self._salts), "", asked, dict(request.headers), self._script(asked), str(request.rel_url))

    @asynccontextmanager
    async def _open(self, call: Call, dialect: Dialect) -> AsyncGenerator[None]:
        """Log a call from its beginning to its end."""
        call.dialect = dialect.name
        async with self._arrived:
            self.calls.append(call)
            self._arrived.notify_all()
        self._write(call)
        try:
            yield
        except (asyncio.CancelledError, ConnectionError):
            call.outcome = "closed-by-client"
            raise
        finally:
            call.ended_at = time.time()
            call.ended.set()
            self._write(call)

    def _script(self, asked: Asked) -> Script:
        """Return the script, which for a question that has failed often enough is to answer it."""
        script = script_of(asked.model, asked.user_text)
        if not script.fails:
            return script
        self._failed[asked.user_text] += 1
        return script if self._failed[asked.user_text] <= script.fails else script.recovered

    def _write(self, call: Call) -> None:
        if self._log is not None:
            with self._log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(call.row()) + "\n")

    async def _show_log(self, request: web.Request) -> web.Response:
        text = "".join(json.dumps(call.row()) + "\n" for call in self.calls)
        return web.Response(text=text, content_type="application/x-ndjson")


async def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=Path, default=None)
    parser.add_argument("--key", default="")
    parser.add_argument("--upgrade", type=int, default=101, help="the status of every WebSocket's handshake")
    parser.add_argument("--tls", type=Path, nargs=2, metavar=("KEY", "CERTIFICATE"))
    options = parser.parse_args()
    upgrades, tls = Upgrades(options.upgrade), server_tls(*options.tls) if options.tls else None
    async with Upstream(port=options.port, log=options.log, key=options.key, upgrades=upgrades, tls=tls) as upstream:
        sys.stdout.write(upstream.url + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main())
