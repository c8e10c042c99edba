"""A salted, scripted model server: what it says, counts and logs is known, so that a checker can compare.

Speaks Chat Completions (`/v1/chat/completions`) and Anthropic Messages (`/v1/messages`), streamed and whole. Every
generation has a fresh salt in (nearly) every token, `s3f9a1c:0 s3f9a1c:1 ...`, so that two generations spliced into
one answer are seen. `GET /_log` tells, a JSON line a call, what was asked, sent, reported and how it ended.

The script is named by the model, or else by the first word of the last user message, joined by `-` in any order:

    nN dN       N tokens; N milliseconds before each (scripted-n40-d5)
    slow        a token each 1.25 s
    echo        the last user message, after one salted token
    json        a JSON object, by the asked schema where there is one
    cite        for each passage 【k】 in the prompt a sentence that quotes it and ends with 【k】
    tool-call   a call of every tool (of the first, where parallel calls are off); text once its output is there
    reason      reasoning before the text
    length refuse filter          that end
    status-N    that HTTP status, with Retry-After where it fits
    no-headers silent stall-at-N  nothing at all; headers and nothing; N tokens and nothing
    cut-at-N    the connection is reset after N tokens
    error-in-stream error-at-N    an error event after 3 or N tokens
    false-done  an end mark without a reason, after N tokens
    garbage     broken JSON after 3 tokens
    cut-in-character   a token torn inside a UTF-8 character, then the reset
    wrong-type  200 with text/html
    endless     tokens until the client hangs up

In a test: `async with Upstream() as upstream: ... upstream.url`. In its own process, so that it outlives the server
under test: `python tests/support/upstream.py --port P --log FILE`.
"""

import argparse
import asyncio
import json
import secrets
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

if not __package__:  # run as a script: the repository is not on the path then
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.upstream_dialects import Chat, Dialect, Messages
from tests.support.upstream_script import Asked, Call, Outcome, as_object, script_of


def _reason(call: Call, calls: list[tuple[str, str, str]]) -> str:
    if calls:
        return "tools"
    kind = call.script.kind
    return "none" if kind == "false-done" else kind if kind in Chat.reasons else "stop"


async def _frames(dialect: Dialect) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of a streamed answer; raise Hangup where the script resets the connection."""
    call, script = dialect.call, dialect.call.script
    if script.kind == "silent":
        await asyncio.Event().wait()
    for event in dialect.opening():
        yield dialect.frame(event)
    if script.kind == "reason":
        for event in dialect.reasoning(f"{call.salt} thinks. "):
            yield dialect.frame(event)
    calls = call.calls()
    for number, tool in enumerate(calls):
        for event in dialect.tool(number, tool):
            yield dialect.frame(event)
        call.tokens += 1
    if not calls:
        async with aclosing(_text_frames(dialect)) as frames:
            async for frame in frames:
                yield frame
    for frame in dialect.closing(_reason(call, calls)):
        yield frame


async def _text_frames(dialect: Dialect) -> AsyncGenerator[bytes, None]:
    call, script = dialect.call, dialect.call.script
    pieces = call.pieces()
    while call.tokens < len(pieces) or script.kind == "endless":
        if call.tokens == script.at:
            await _trouble(dialect)
        await asyncio.sleep(script.delay_s)
        text = pieces[call.tokens] if call.tokens < len(pieces) else f"{call.salt}:{call.tokens} "
        frame = b"".join(dialect.frame(event) for event in dialect.text(text))
        if script.kind == "cut-in-character" and "ï" in text:
            yield frame[: frame.index("ï".encode()) + 1]
            raise Hangup
        call.tokens += 1
        yield frame


async def _trouble(dialect: Dialect) -> None:
    match dialect.call.script.kind:
        case "cut-at":
            raise Hangup
        case "stall-at":
            await asyncio.Event().wait()
        case "error-in-stream" | "error-at":
            raise Refused(dialect.frame(dialect.error(500)))
        case "garbage":
            raise Refused(b'data: {"id": "half a js\n\n')
        case _:
            pass


class Hangup(Exception):
    """The script says to reset the connection here."""


class Refused(Exception):
    """The answer ends with these bytes."""

    def __init__(self, last: bytes) -> None:
        super().__init__()
        self.last = last


class Upstream:
    """The server. `calls` is every call so far, in order."""

    def __init__(self, *, port: int = 0, log: Path | None = None) -> None:
        self.calls: list[Call] = []
        self._port = port
        self._log = log
        self._arrived = asyncio.Condition()
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/chat/completions", self._handler(Chat))
        app.router.add_post("/v1/messages", self._handler(Messages))
        app.router.add_get("/_log", self._show_log)
        # A handler is cancelled as soon as its client hangs up: that is how a call knows.
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
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
        return f"http://127.0.0.1:{self._port}"

    async def call(self, number: int) -> Call:
        """Return the call of that number (from 0), waiting until it arrives."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.calls) > number)
        return self.calls[number]

    def _handler(self, dialect: Callable[[Call], Dialect]) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._answer(request, dialect)

        return handle

    async def _answer(self, request: web.Request, spelled: Callable[[Call], Dialect]) -> web.StreamResponse:
        asked = Asked(as_object(await request.json()))
        call = Call(
            f"s{secrets.token_hex(3)}", "", asked, dict(request.headers), script_of(asked.model, asked.user_text)
        )
        dialect = spelled(call)
        call.dialect = dialect.name
        async with self._arrived:
            self.calls.append(call)
            self._arrived.notify_all()
        self._write(call)
        try:
            answer, call.outcome = await _serve(request, dialect)
        except (asyncio.CancelledError, ConnectionError):
            call.outcome = "closed-by-client"
            raise
        finally:
            call.ended_at = time.time()
            call.ended.set()
            self._write(call)
        return answer

    def _write(self, call: Call) -> None:
        if self._log is not None:
            with self._log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(call.row()) + "\n")

    async def _show_log(self, request: web.Request) -> web.Response:
        text = "".join(json.dumps(call.row()) + "\n" for call in self.calls)
        return web.Response(text=text, content_type="application/x-ndjson")


async def _serve(request: web.Request, dialect: Dialect) -> tuple[web.StreamResponse, Outcome]:
    call, script = dialect.call, dialect.call.script
    match script.kind:
        case "status":
            headers = {"retry-after": "2"} if script.at in {429, 503, 529} else {}
            return web.json_response(dialect.error(script.at), status=script.at, headers=headers), "refused"
        case "no-headers":
            await asyncio.Event().wait()
        case "wrong-type":
            return web.Response(text="<html>down for maintenance</html>", content_type="text/html"), "refused"
        case _:
            pass
    if not call.asked.stream:
        calls = call.calls()
        pieces = [] if calls else call.pieces()
        call.tokens = len(calls) or len(pieces)
        await asyncio.sleep(script.delay_s * call.tokens)
        return web.json_response(dialect.whole("".join(pieces), calls, _reason(call, calls))), "finished"
    return await _stream(request, dialect)


async def _stream(request: web.Request, dialect: Dialect) -> tuple[web.StreamResponse, Outcome]:
    answer = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
    await answer.prepare(request)
    outcome: Outcome = "finished"
    try:
        async with aclosing(_frames(dialect)) as frames:
            async for frame in frames:
                await answer.write(frame)
    except Refused as ending:
        outcome = "refused"
        await answer.write(ending.last)
    except Hangup:
        outcome = "cut"
        if request.transport is not None:
            request.transport.close()  # what was written still goes out, the end of the chunked body never does
    return answer, outcome


async def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=Path, default=None)
    options = parser.parse_args()
    async with Upstream(port=options.port, log=options.log) as upstream:
        sys.stdout.write(upstream.url + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main())
