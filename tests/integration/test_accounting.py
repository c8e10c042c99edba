"""The bill: one ledger row a call of a provider, equal to the provider's own count, however the call ended."""

import json
import re
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from subprocess import run as start
from typing import Any, Literal

import anyio
import anyio.to_thread
import httpx2
import pytest

from chatbackend.domain.pricing import Prices
from chatbackend.domain.usage import Usage
from tests.support.server import PROGRAM, Server, serving
from tests.support.spools import all_written
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio

Json = dict[str, Any]
PRICES = {"llama31/*": {"input": 0.1, "output": 0.3}, "claude/*": {"input": 3, "output": 15.5}}
CONFIG = """
[prices]
"llama31/*" = { input = 0.1, output = 0.3 }
"claude/*" = { input = 3, output = 15.5 }

[routes.steady-responses]
targets = ["llama31/plain-responses"]
retries = 2
backoff_s = 0.01

[routes.steady-completions]
targets = ["llama31/plain-completions"]
retries = 2
backoff_s = 0.01

[routes.elsewhere]
targets = ["llama31/scripted-status-500-first"]
fallbacks = ["claude/scripted-n6-second"]

[routes.onward]
targets = ["llama31/scripted-cut-at-4-begun"]
fallbacks = ["claude/scripted-n5-continued"]
on_cut = "continue"

[profiles."claude/scripted-n5-continued"]
accepts_prefill = true
"""
ENDS = {  # what the upstream does, and how the ledger may call it
    "finished": {"completed", "incomplete"},
    "refused": {"failed"},
    "cut": {"failed"},
    "closed-by-client": {"cancelled"},
}


@dataclass
class Case:
    """A request, and what its client does after the first token: hear it out, leave, or cancel the response."""

    path: str
    body: Json
    then: Literal["hear", "leave", "cancel"] = "hear"


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as running:
        yield running


@pytest.fixture
async def server(tmp_path: Path, upstream: Upstream) -> AsyncIterator[Server]:
    config = tmp_path / "chatbackend.toml"
    config.write_text(CONFIG)
    settings = {
        "LLAMA31_ENDPOINT": f"{upstream.url}/v1",
        "CLAUDE_ENDPOINT": upstream.url,
        "OPENAI_ENDPOINT": f"{upstream.url}/v1",
        "CHATBACKEND_CONFIG": str(config),
    }
    async with serving(tmp_path, settings) as running:
        yield running


def question(path: str, model: str, text: str, *, stream: bool) -> Json:
    """Return a question in the words of a front."""
    if path == "/v1/responses":
        return {"model": model, "input": text, "stream": stream}
    chat = {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream}
    if path == "/v1/messages":
        return chat | {"max_tokens": 1000}
    return chat | {"stream_options": {"include_usage": True}} if stream else chat


def mixed_load() -> list[Case]:
    """Return questions of every front to every family: answered, cut short, refused, broken off, left by their client.

    Every question has a model of its own, so that calls can be told apart.
    """
    cases: list[Case] = []
    scripts = ("n7", "n30-d1", "length-n9", "no-usage-n8", "status-429", "status-400", "cut-at-3", "error-at-5")
    for path in ("/v1/responses", "/v1/chat/completions", "/v1/messages"):
        front = path.rpartition("/")[2]
        for family in ("llama31", "claude", "openai"):
            for stream in (True, False):
                said = f"{front}-{family}-{'stream' if stream else 'whole'}"
                for script in scripts:
                    asked = question(path, f"{family}/scripted-{script}-{said}", "a b c d e", stream=stream)
                    cases.append(Case(path, asked))
                asked = question(path, f"{family}/scripted-n150-d20-{said}-left", "a b c", stream=stream)
                cases.append(Case(path, asked, "leave"))
            asked = question("/v1/responses", f"{family}/scripted-n150-d20-{front}-stopped", "a b c", stream=True)
            cases.append(Case("/v1/responses", asked | {"background": True}, "cancel"))
    for path in ("/v1/responses", "/v1/chat/completions"):
        steady = f"steady-{path.rpartition('/')[2]}"
        cases.append(Case(path, question(path, steady, f"fail-2-times-n4 {path}", stream=True)))
        cases += [Case(path, question(path, route, "go on", stream=True)) for route in ("elsewhere", "onward")]
    return cases


async def ask(client: httpx2.AsyncClient, case: Case, upstream: Upstream) -> None:
    """Ask, and do as the case says: a whole answer is left once the upstream works at it."""
    if case.then == "leave" and not case.body["stream"]:
        async with anyio.create_task_group() as group:
            group.start_soon(answered, client, case)
            await dialled(upstream, case.body["model"].partition("/")[2])
            group.cancel_scope.cancel()
        return
    heard = await answered(client, case)
    if case.then == "cancel" and (found := re.search(rb'"id":"(resp_\w+)"', heard)) is not None:
        assert (await client.post(f"/v1/responses/{found[1].decode()}/cancel")).status_code == 200


async def answered(client: httpx2.AsyncClient, case: Case) -> bytes:
    """Return what is heard of an answer."""
    heard = b""
    with suppress(httpx2.HTTPError):
        async with client.stream("POST", case.path, json=case.body, timeout=60) as answer:
            async for chunk in answer.aiter_bytes():
                heard += chunk
                if case.then != "hear" and b"delta" in heard:
                    break
    return heard


async def dialled(upstream: Upstream, model: str) -> None:
    """Wait until the upstream is asked for that model."""
    seen = 0
    while (await upstream.call(seen)).asked.model != model:
        seen += 1


def ledger(server: Server) -> list[Json]:
    with closing(sqlite3.connect(server.data / "truth.db")) as truth:
        truth.row_factory = sqlite3.Row
        return [dict(row) for row in truth.execute("SELECT * FROM ledger ORDER BY attempt, started_at")]


async def settled(server: Server) -> list[Json]:
    """Return the ledger once none of its calls is open."""
    rows: list[Json] = []
    with anyio.move_on_after(20):
        while True:
            await all_written(server.data)
            rows = await anyio.to_thread.run_sync(ledger, server)
            if rows and all(row["status"] == "settled" for row in rows):
                return rows
            await anyio.sleep(0.02)
    raise AssertionError([row for row in rows if row["status"] != "settled"])


async def spoken(upstream: Upstream, *, tokens: int) -> None:
    """Wait until every call has said so much."""
    with anyio.fail_after(10):
        while True:
            if all(call.tokens >= tokens for call in upstream.calls):
                return
            await anyio.sleep(0.01)


async def upstream_log(upstream: Upstream) -> list[Json]:
    """Return the upstream's own account of its calls, all of them ended."""
    with anyio.fail_after(20):
        for call in upstream.calls:
            await call.ended.wait()
    async with httpx2.AsyncClient() as client:
        return [json.loads(line) for line in (await client.get(f"{upstream.url}/_log")).text.splitlines()]


def by_model(rows: list[Json], *, public: bool) -> dict[str, list[Json]]:
    found: dict[str, list[Json]] = defaultdict(list)
    for row in rows:
        found[row["model"].partition("/")[2] if public else row["model"]].append(row)
    return found


def judge(row: Json, call: Json) -> str | None:
    """Return what is wrong with a row, given the upstream's account of the call."""
    if row["outcome"] not in ENDS[call["outcome"]]:
        return f"outcome {row['outcome']}"
    counted = (row["input_tokens"], row["output_tokens"])
    if call["outcome"] == "finished" and call["usage"] is not None:
        told = (call["usage"]["input_tokens"], call["usage"]["output_tokens"])
        return None if (*counted, row["estimated"]) == (*told, 0) else f"{counted} for {told}"
    if row["estimated"] != 1:
        return "no estimate"
    unheard = call["outcome"] == "refused" and not (call["stream"] and call["tokens"])
    if unheard:
        return None if counted == (0, 0) else f"{counted} for a refusal"
    least = 1 if call["stream"] and call["tokens"] else 0
    return None if counted[0] > 0 and counted[1] >= least else f"only {counted} for {call['tokens']} tokens"


def prices(row: Json) -> int | None:
    usage = Usage(row["input_tokens"], row["output_tokens"], row["cached_tokens"], row["cache_write_tokens"])
    return Prices.parse(PRICES).cost(row["model"], usage)


async def test_the_ledger_equals_the_upstreams_own_count_under_a_mixed_load(server: Server, upstream: Upstream) -> None:
    """I7: one row an upstream call; what a provider counted is the bill, all else an estimate."""
    cases, headers = mixed_load(), {"authorization": f"Bearer {server.key}"}
    limits = httpx2.Limits(max_connections=None)
    async with (
        httpx2.AsyncClient(base_url=server.url, headers=headers, limits=limits) as client,
        anyio.create_task_group() as group,
    ):
        for case in cases:
            group.start_soon(ask, client, case, upstream)
    rows, calls = await settled(server), await upstream_log(upstream)
    assert len({row["id"] for row in rows}) == len(rows) == len(calls) > len(cases)
    wrong: list[str] = []
    ours, theirs = by_model(rows, public=True), by_model(calls, public=False)
    assert {name: len(found) for name, found in ours.items()} == {name: len(found) for name, found in theirs.items()}
    for name, found in ours.items():
        for row, call in zip(found, theirs[name], strict=True):
            if (fault := judge(row, call)) is not None:
                wrong.append(f"{row['model']} {row['attempt']}: {fault}; upstream {call['outcome']}")
            if row["cost_nano_usd"] != prices(row):
                wrong.append(f"{row['model']}: costs {row['cost_nano_usd']}, not {prices(row)}")
    assert not wrong, "\n".join(wrong)
    told = [call["usage"] for call in calls if call["outcome"] == "finished" and call["usage"] is not None]
    exact = [row for row in rows if row["outcome"] in ENDS["finished"] and not row["estimated"]]
    for kind in ("input_tokens", "output_tokens"):
        assert sum(row[kind] for row in exact) == sum(usage[kind] for usage in told) > 0
    assert {"completed", "incomplete", "failed", "cancelled"} == {row["outcome"] for row in rows}


async def test_calls_that_a_kill_ends_have_one_estimated_row_each(server: Server, upstream: Upstream) -> None:
    headers = {"authorization": f"Bearer {server.key}"}
    cases = [
        Case(path, question(path, f"{family}/scripted-n300-d20-{number}", "a b c", stream=True))
        for number, path in enumerate(("/v1/responses", "/v1/chat/completions", "/v1/messages"))
        for family in ("llama31", "claude")
    ]
    async with httpx2.AsyncClient(base_url=server.url, headers=headers) as client, anyio.create_task_group() as group:
        for case in cases:
            group.start_soon(ask, client, case, upstream)
        await upstream.call(len(cases) - 1)
        await spoken(upstream, tokens=10)  # the first of them are in the event log by then, where there is one
        await anyio.to_thread.run_sync(server.kill)
        group.cancel_scope.cancel()
    await anyio.to_thread.run_sync(server.start)
    rows = await settled(server)
    dead = [row for row in rows if row["outcome"] == "interrupted"]
    assert len(dead) == len(cases)
    for row in dead:
        assert row["estimated"] == 1
        assert row["input_tokens"] > 0
        assert row["cost_nano_usd"] == prices(row)


def totals(server: Server, *arguments: str) -> list[Json]:
    return json.loads(server.run("usage", "--json", *arguments))["data"]


async def test_the_command_line_shows_what_was_used_beside_the_server(server: Server) -> None:
    async with httpx2.AsyncClient(base_url=server.url, headers={"authorization": f"Bearer {server.key}"}) as client:
        for model in ("llama31/scripted-n5", "llama31/scripted-n5", "llama31/scripted-status-400", "openai/n3"):
            path = "/v1/chat/completions"
            await answered(client, Case(path, question(path, model, "a b", stream=False)))
    rows = await settled(server)
    assert len(rows) == 4
    run = anyio.to_thread.run_sync
    models = await run(lambda: totals(server))
    assert {row["name"]: (row["calls"], row["failed"], row["output_tokens"]) for row in models} == {
        "llama31/scripted-n5": (2, 0, 10),
        "llama31/scripted-status-400": (1, 1, 0),
        "openai/n3": (1, 0, 3),
    }
    costs = {row["name"]: row["cost_nano_usd"] for row in models}
    assert costs == {"llama31/scripted-n5": 2 * 1_700, "llama31/scripted-status-400": 0, "openai/n3": None}
    [account] = await run(lambda: totals(server, "--by", "account", "--since", "1h"))
    assert (account["name"], account["calls"], account["estimated"], account["unpriced"]) == ("default", 4, 1, 1)
    [day] = await run(lambda: totals(server, "--by", "day"))
    assert day["name"] == datetime.fromtimestamp(rows[0]["started_at"] / 1e6, UTC).date().isoformat()
    table = await run(lambda: server.run("usage", "--by", "key"))
    assert "$0.000003" in table
    assert "25 %" in table
    assert await run(lambda: totals(server, "--since", "2099-01-01")) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("--since", "yesterday"), "--since is 'yesterday': use 12h, 7d or 4w"), ((), "There is no ledger")],
)
def test_the_command_line_refuses_in_one_line(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    environment = Server(tmp_path).environment
    done = start(
        [str(PROGRAM), "usage", *arguments], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(said)
    assert len(done.stderr.splitlines()) == 1
