"""How a script plays out on the wire: the bytes of an answer, streamed or whole, and every way they go wrong."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

from aiohttp import web

from tests.support.upstream_dialects import Chat, Dialect
from tests.support.upstream_script import Call, Json, Outcome, Script

HUGE_HEADERS = 100 << 20
ENDLESS_TOKENS = 4096  # a piece of a whole answer that never ends: it comes as fast as anybody takes it
_ERRORS = ("error-in-stream", "error-at", "failed-at")
_CUTS = ("cut-at", "cut-before-first", "cut-in-character", "truncated-at")
_BROKEN_WHOLE = frozenset(("silent", "stall-at", "garbage", "endless", *_ERRORS, *_CUTS))
_HALF_JSON = b'{"id": "half a js'


class Ending(Exception):
    """The answer ends here, after these bytes; `reset`: without the end of its body."""

    def __init__(self, outcome: Outcome, last: bytes = b"", *, reset: bool = False) -> None:
        super().__init__()
        self.outcome: Outcome = outcome
        self.last = last
        self.reset = reset


async def serve(request: web.Request, dialect: Dialect) -> tuple[web.StreamResponse, Outcome]:
    """Answer as the call's script says; return the answer and how it ended."""
    call, script = dialect.call, dialect.call.script
    refusal = dialect.refusal() or refused(dialect, script)
    if refusal is not None:
        status, body = refusal
        return web.json_response(body, status=status, headers=dialect.headers() | waits(dialect, status)), "refused"
    match script.kind:
        case "no-headers":
            await asyncio.Event().wait()
        case "huge-headers":
            return await _flood(request)
        case "wrong-type":
            return web.Response(text="<html>down for maintenance</html>", content_type="text/html"), "refused"
        case _:
            pass
    if call.asked.stream:
        return await _play(request, dialect, frames(dialect), "text/event-stream; charset=utf-8")
    body = await _whole(dialect)
    if script.kind in _BROKEN_WHOLE:
        return await _play(request, dialect, _broken(dialect, body), "application/json")
    return web.Response(body=body, content_type="application/json", headers=dialect.headers()), "finished"


def refused(dialect: Dialect, script: Script) -> tuple[int, Json] | None:
    """Return the status and body of a script that refuses the request."""
    match script.kind:
        case "status":
            return script.at, dialect.error(script.at)
        case "context-length":
            return 400, dialect.too_long()
        case "blocked":
            return 400, dialect.blocked()
        case _:
            return None


def waits(dialect: Dialect, status: int) -> dict[str, str]:
    """Return the headers that ask to wait, where the status does."""
    if status not in {429, 503, 529}:
        return {}
    wait_ms = dialect.call.script.wait_ms
    return dialect.waits(2000) if wait_ms is None else dialect.waits(wait_ms) | {"retry-after-ms": str(wait_ms)}


def _reason(call: Call, calls: list[tuple[str, str, str]]) -> str:
    if calls:
        return "tools"
    kind = call.script.kind
    return "none" if kind == "false-done" else kind if kind in Chat.reasons else "stop"


async def _play(
    request: web.Request, dialect: Dialect, frames: AsyncGenerator[bytes, None], content_type: str
) -> tuple[web.StreamResponse, Outcome]:
    answer = web.StreamResponse(headers={"content-type": content_type} | dialect.headers())
    await answer.prepare(request)
    try:
        async with aclosing(frames):
            async for frame in frames:
                await answer.write(frame)
    except Ending as ending:
        await answer.write(ending.last)
        if ending.reset and request.transport is not None:
            request.transport.close()  # what was written still goes out, the end of the chunked body never does
        return answer, ending.outcome
    return answer, "finished"


async def _flood(request: web.Request) -> tuple[web.StreamResponse, Outcome]:
    """Write headers until there are `HUGE_HEADERS` bytes of them, past everything that keeps an answer orderly."""
    await request.writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n")
    line = b"x-flood: " + b"f" * 4000 + b"\r\n"
    for _ in range(HUGE_HEADERS // len(line)):
        if request.transport is None or request.transport.is_closing():
            return web.Response(), "closed-by-client"
        await request.writer.write(line)
    if request.transport is not None:
        request.transport.close()
    return web.Response(), "cut"


async def frames(dialect: Dialect) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of a streamed answer."""
    call, script = dialect.call, dialect.call.script
    if script.kind == "silent":
        await asyncio.Event().wait()
    for event in dialect.opening():
        yield dialect.frame(event)
    if script.kind == "cut-before-first":
        raise Ending("cut", reset=True)
    if script.kind == "reason":
        for event in dialect.reasoning(f"{call.salt} thinks. "):
            yield dialect.frame(event)
    calls = call.calls()
    if calls:
        for event in _tool_events(dialect, calls):
            yield dialect.frame(event)
            await asyncio.sleep(script.delay_s)
    else:
        async with aclosing(_text_frames(dialect)) as told:
            async for frame in told:
                yield frame
    for frame in dialect.closing(_reason(call, calls)):
        yield frame


def _tool_events(dialect: Dialect, calls: list[tuple[str, str, str]]) -> list[Json]:
    dialect.call.tokens = len(calls)
    return [event for number, tool in enumerate(calls) for event in dialect.tool(number, tool)]


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
            raise Ending("cut", frame[: frame.index("ï".encode()) + 1], reset=True)
        call.tokens += 1
        yield frame


async def _trouble(dialect: Dialect) -> None:
    match dialect.call.script.kind:
        case "cut-at":
            raise Ending("cut", reset=True)
        case "stall-at":
            await asyncio.Event().wait()
        case "truncated-at":
            frame = b"".join(dialect.frame(event) for event in dialect.text("never heard"))
            raise Ending("cut", frame[: len(frame) // 2])
        case "error-in-stream" | "error-at":
            raise Ending("refused", dialect.frame(dialect.error_event()))
        case "failed-at":
            raise Ending("refused", dialect.frame(dialect.failed_event()))
        case "garbage":
            raise Ending("refused", b"data: " + _HALF_JSON + b"\n\n")
        case _:
            pass


async def _whole(dialect: Dialect) -> bytes:
    call = dialect.call
    calls = call.calls()
    pieces = [] if calls else call.pieces()
    call.tokens = len(calls) or len(pieces)
    await asyncio.sleep(call.script.delay_s * call.tokens)
    answer = dialect.whole("".join(pieces), calls, _reason(call, calls))
    return json.dumps(answer, ensure_ascii=False).encode()


async def _broken(dialect: Dialect, body: bytes) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of a whole answer that goes wrong after its headers."""
    kind, salt = dialect.call.script.kind, dialect.call.salt.encode()
    middle = body.find(b":1 ") if kind == "endless" else len(body) // 2
    match kind:
        case "silent":
            await asyncio.Event().wait()
        case "cut-before-first":
            raise Ending("cut", reset=True)
        case "cut-in-character":
            raise Ending("cut", body[: body.index("ï".encode()) + 1], reset=True)
        case "cut-at":
            raise Ending("cut", body[:middle], reset=True)
        case "truncated-at":
            raise Ending("cut", body[:middle])
        case "garbage":
            raise Ending("refused", _HALF_JSON)
        case kind if kind in _ERRORS:
            raise Ending("refused", json.dumps(dialect.error(500)).encode())
        case _:
            pass
    yield body[:middle]
    while kind == "endless":
        await asyncio.sleep(dialect.call.script.delay_s)
        yield (b":1 " + salt) * ENDLESS_TOKENS
    await asyncio.Event().wait()  # stalled
