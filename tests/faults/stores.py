"""What a fault run reads at the end: every acknowledged response of a server, and of the truth what no route shows."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import msgspec

from tests.faults.history import Call, Chunked, Held, History, Row, Seen
from tests.support.server import Server

SETTLED_S = 45.0  # a lease, a server's wait before it judges, a response that is run again
LOOK_S = 0.2
Query = Callable[[str], Awaitable[Sequence[Mapping[str, Any]]]]

# PostgreSQL orders text by its collation: whatever follows is sorted here.
_CHUNKS = 'SELECT chunk_set_id, number, start, "end", page, header, text, vector FROM chunks'
_POSTINGS = "SELECT chunk_set_id, number, term, tf, length FROM postings"
_OPEN = (
    "SELECT count(*) AS n FROM responses WHERE status IN ('queued', 'in_progress')",
    "SELECT count(*) AS n FROM ledger WHERE status = 'started'",
    "SELECT count(*) AS n FROM steers WHERE state = 'queued'",
    "SELECT count(*) AS n FROM jobs WHERE state <> 'given_up'",
)
_ORPHANS = {
    "orphaned chunks": "SELECT count(*) AS n FROM chunks WHERE chunk_set_id NOT IN (SELECT id FROM chunk_sets)",
    "orphaned postings": "SELECT count(*) AS n FROM postings WHERE chunk_set_id NOT IN (SELECT id FROM chunk_sets)",
    "orphaned sets": "SELECT count(*) AS n FROM chunk_sets WHERE file_id NOT IN (SELECT id FROM files)",
    "texts without a file": "SELECT count(*) AS n FROM file_texts WHERE file_id NOT IN (SELECT id FROM files)",
}


async def settled(query: Query) -> None:
    """Wait until nothing runs or waits any more, as long as that may take; the checker finds what does all the same."""
    with anyio.move_on_after(SETTLED_S):
        while any([(await query(statement))[0]["n"] for statement in _OPEN]):  # noqa: ASYNC110 - elsewhere
            await anyio.sleep(LOOK_S)


async def collect(server: Server, history: History, query: Query) -> None:
    """Ask the server, when all is quiet, for everything that was acknowledged, and for successors."""
    headers = {"authorization": f"Bearer {server.key}"}
    ids = {response_id for found in history.acknowledged.values() for response_id in found}
    ids |= {row["id"] for row in await query("SELECT id FROM responses")}
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=30)) as session:
        limiter = anyio.CapacityLimiter(8)

        async def one(response_id: str) -> None:
            async with limiter:
                history.held[response_id] = await _held(session, f"{server.url}/v1/responses/{response_id}")

        async with anyio.create_task_group() as group:
            for response_id in ids:
                group.start_soon(one, response_id)


async def _held(session: aiohttp.ClientSession, url: str) -> Held | None:
    async with session.get(url) as answer:
        if answer.status == 404:
            return None
        response = msgspec.json.decode(await answer.read())
    if response["status"] in ("queued", "in_progress"):
        return Held(response, [])
    async with session.get(f"{url}?stream=true") as answer:
        if answer.status == 410:
            return Held(response, None)
        frames = (await answer.read()).decode().split("\n\n")
    bodies = [
        line.removeprefix("data: ").encode()
        for frame in frames
        for line in frame.split("\n")
        if line.startswith("data: ")
    ]
    events = [(msgspec.json.decode(body), body) for body in bodies]
    return Held(response, [Seen(event["sequence_number"], event["type"], body) for event, body in events])


def upstream_count(log: Path, history: History) -> None:
    """Read what the model server wrote down; the later line of a call counts."""
    lines = log.read_text().splitlines() if log.exists() else []
    calls = {row["salt"]: row for row in map(json.loads, lines)}
    for salt, row in calls.items():
        usage: dict[str, int] = row["usage"] or {}
        call = Call(row["asked"], usage.get("input_tokens", -1), usage.get("output_tokens", -1))
        history.upstream[salt] = call
        if row["model"] in history.relayed:
            history.relayed[row["model"]].counted.append((call.input_tokens, call.output_tokens))


async def read_truth(query: Query, history: History) -> None:
    """Read the ledger, the inputs, what became of steering, and the words of conversations."""
    for row in await query("SELECT response_id, status, estimated, input_tokens, output_tokens, model FROM ledger"):
        response_id, status, estimated, given, taken, model = row.values()
        history.ledger.append(Row(response_id, status, bool(estimated), given, taken))
        if (name := model.removeprefix("llama31/")) in history.relayed:
            history.relayed[name].rows.append(history.ledger[-1])
    for row in await query("SELECT body FROM items WHERE direction = 'input' AND response_id IS NOT NULL"):
        history.inputs[_text(row["body"])] += 1
    for row in await query("SELECT body FROM steers WHERE state = 'failed'"):
        history.given_back |= {_text(msgspec.json.encode(item)) for item in msgspec.json.decode(row["body"])}
    said = "SELECT conversation_id, body FROM items WHERE direction = 'input' AND conversation_id IS NOT NULL"
    for row in await query(f"{said} ORDER BY turn, pk"):
        history.said.setdefault(row["conversation_id"], []).append(_text(row["body"]))


async def read_files(query: Query) -> dict[str, Chunked]:
    """Return every file of the truth with its chunks, by id."""
    sets: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in await query("SELECT id, file_id, chunking, status, done FROM chunk_sets"):
        sets[row["file_id"]].append(row)
    parts: dict[int, list[str]] = defaultdict(list)
    for statement in (_CHUNKS, _POSTINGS):
        for row in await query(statement):
            set_id, *rest = row.values()
            parts[set_id].append(repr(rest))
    return {
        row["id"]: Chunked(
            row["sha256"],
            row["stage"],
            tuple(sorted(f"{each['chunking']} {each['status']} {each['done']}" for each in sets[row["id"]])),
            _digest([part for each in sets[row["id"]] for part in parts[each["id"]]]),
        )
        for row in await query("SELECT id, sha256, stage FROM files")
    }


async def count_orphans(query: Query, history: History) -> None:
    """Count what belongs to no file any more."""
    for what, statement in _ORPHANS.items():
        history.files.orphans[what] = (await query(statement))[0]["n"]


def _digest(parts: list[str]) -> str:
    return f"{len(parts)} {hashlib.sha256(chr(10).join(sorted(parts)).encode()).hexdigest()}"


def _text(body: bytes) -> str:
    return msgspec.json.decode(body)["content"][0]["text"]
