"""Recorded answers of real providers, and a server that gives them again, whole or torn."""

import asyncio
import json
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

TORN = "-torn"
_ROUTES = ("/v1/chat/completions", "/v1/messages", "/v1/responses", "/openai/v1/chat/completions", "/chat/completions")
_MORE_ROUTES = ("/openai/v1/responses", "/openai/deployments/{name}/chat/completions")
_ENDS = ("/chat/completions", "/messages", "/responses")


@dataclass(frozen=True, slots=True)
class Recorded:
    """One answer to one request. `name` is also the model's name that asks for it."""

    name: str
    provider: str
    api: str
    status: int
    body: str
    streamed: bool


def recordings(root: Path) -> list[Recorded]:
    """Return every recorded answer of a model to a request for a generation."""
    rows: list[dict[str, Any]] = json.loads((root / "index.json").read_text("utf-8"))
    found: list[Recorded] = []
    for row in rows:
        for exchange in json.loads((root / row["file"]).read_text("utf-8")).get("interactions", []):
            request, response = exchange["request"], exchange["response"]
            path = str(request["path"]).partition("?")[0]
            if request["method"] != "POST" or not path.endswith(_ENDS):
                continue
            api = {"completions": "chat"}.get(path.rpartition("/")[2], path.rpartition("/")[2])
            streamed = response.get("sse") is not None
            body = response["sse"] if streamed else json.dumps(response.get("json", {}))
            name = f"r{len(found)}-{Path(row['file']).stem.rpartition('.')[2][:60]}"
            found.append(Recorded(name, row["provider"], api, response["status"], body, streamed))
    return found


@asynccontextmanager
async def replaying(answers: list[Recorded]) -> AsyncGenerator[str, None]:
    """Serve the answers by their names and give the address."""
    by_name = {answer.name: answer for answer in answers}

    async def answer(request: web.Request) -> web.StreamResponse:
        asked: str = request.match_info.get("name") or (await request.json())["model"]
        recorded = by_name[asked.removesuffix(TORN)]
        return await _give(request, recorded, torn=asked.endswith(TORN))

    app = web.Application(client_max_size=64 << 20)
    for path in (*_ROUTES, *_MORE_ROUTES):
        app.router.add_post(path, answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _give(request: web.Request, recorded: Recorded, *, torn: bool) -> web.StreamResponse:
    kind = "text/event-stream" if recorded.streamed else "application/json"
    answer = web.StreamResponse(status=recorded.status, headers={"content-type": kind})
    await answer.prepare(request)
    for piece in _torn(recorded) if torn else [recorded.body.encode()]:
        await answer.write(piece)
        await asyncio.sleep(0)
    return answer


def _torn(recorded: Recorded) -> list[bytes]:
    """Return the body in pieces of random size, the same ones every time."""
    chance, body, pieces = random.Random(recorded.name), recorded.body.encode(), list[bytes]()  # noqa: S311 - no secret
    while body:
        size = chance.choice((1, 2, 7, 40, 300, 2000))
        pieces.append(body[:size])
        body = body[size:]
    return pieces
