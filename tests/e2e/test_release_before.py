"""The release before beside this one on one database, with load; and back to it in one folder."""

import re
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import pytest

from tests.support.cluster import Replica
from tests.support.postgres import own_server, rows
from tests.support.previous import PROGRAM, Previous, newest, previous
from tests.support.redis import own_redis
from tests.support.requires import ROOT
from tests.support.server import Server
from tests.support.upstream import Upstream

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]

TALKERS = 6
MODEL = "llama31/scripted-n20-d30"
SAME = ("id", "status", "output", "usage", "conversation", "incomplete_details")
PATIENCE_S = 30.0  # 20 s until what a dead server left is taken over, and a busy machine
_TOKEN = re.compile(r"(s\w{6}):(\d+) ")


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Generator[Previous]:
    with previous(tmp_path_factory.mktemp("release")) as found:
        yield found


def replica(folder: Path, env: Mapping[str, str]) -> Replica:
    return Replica(folder, env, key="sk-of-both", data=folder.parent / "data", program=PROGRAM)


class Talk:
    """A conversation whose turns are asked of one server after the other; a refused one of the next, by its key."""

    def __init__(self, servers: Sequence[Replica], place: int) -> None:
        self.servers = servers
        self.name = f"talk {place}"
        self.place = place  # not all ask the same server at the same time
        self.conversation = ""
        self.answers: list[dict[str, Any]] = []
        self._asking: tuple[Replica, float] | None = None  # since when
        self._progress = anyio.Event()

    def is_heard_by(self, server: Replica) -> bool:
        """Whether a server is in the middle of an answer."""
        return self._asking is not None and self._asking[0] is server and anyio.current_time() - self._asking[1] > 0.2

    async def run(self) -> None:
        """Talk until cancelled."""
        self.conversation = (await self._asked("conversations", {}, key=self.name))["id"]
        for number in count():
            body = {"model": MODEL, "input": f"turn {number}", "conversation": self.conversation}
            answer = await self._asked("responses", body, key=f"{self.name} {number}", first=number + self.place)
            self.answers.append(answer)
            self._progress.set()

    async def further(self, turns: int) -> None:
        """Wait until so many more turns have been answered."""
        wanted = len(self.answers) + turns
        while len(self.answers) < wanted:
            self._progress = anyio.Event()
            await self._progress.wait()

    async def _asked(self, path: str, body: dict[str, Any], *, key: str, first: int = 0) -> dict[str, Any]:
        for attempt in count(first):
            server = self.servers[attempt % len(self.servers)]
            try:
                if server.process is not None:
                    self._asking = server, anyio.current_time()
                    async with client(server) as http:
                        answer = await http.post(f"/v1/{path}", json=body, headers={"idempotency-key": key})
                    if answer.status_code == 200:
                        return answer.json()
                    assert answer.status_code == 503, answer.text
            except httpx2.HTTPError:
                pass  # it died, or stops: the next one is asked for the same
            finally:
                self._asking = None
            await anyio.sleep(0.05)
        raise AssertionError("counting ends")


def client(server: Server) -> httpx2.AsyncClient:
    headers = {"authorization": f"Bearer {server.key}"}
    return httpx2.AsyncClient(base_url=server.url, headers=headers, timeout=60)


@asynccontextmanager
async def talking(servers: Sequence[Replica]) -> AsyncGenerator[list[Talk]]:
    """Have conversations go on while this context is open."""
    talks = [Talk(servers, number) for number in range(TALKERS)]
    async with anyio.create_task_group() as group:
        for talk in talks:
            group.start_soon(talk.run)
        yield talks
        group.cancel_scope.cancel()


async def go_on(talks: Sequence[Talk], turns: int = 3) -> None:
    """Wait until every conversation has come further."""
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as group:
            for talk in talks:
                group.start_soon(talk.further, turns)


async def at_work(server: Replica, talks: Sequence[Talk]) -> None:
    """Wait until a server is in the middle of an answer."""
    with anyio.fail_after(PATIENCE_S):
        while not any(talk.is_heard_by(server) for talk in talks):  # noqa: ASYNC110 - time alone tells
            await anyio.sleep(0.01)


async def test_two_releases_are_one_service_while_servers_come_and_die(
    before: Previous, upstream: Upstream, tmp_path: Path
) -> None:
    with own_server() as postgres, own_redis(tmp_path / "redis") as redis:
        settings = {"LLAMA31_ENDPOINT": upstream.url, "DATABASE_URL": postgres.url, "REDIS_URL": redis.url}
        old = replica(tmp_path / "old", {**settings, **before.env})
        new = replica(tmp_path / "new", settings)
        try:
            await anyio.to_thread.run_sync(old.start)
            assert await head(postgres.url) == before.head
            async with talking((old, new)) as talks:
                await go_on(talks)
                await anyio.to_thread.run_sync(new.start)  # migrates under the load
                assert await head(postgres.url) == newest(ROOT)
                await go_on(talks)
                for times, dies in enumerate((old, new), 1):
                    await at_work(dies, talks)
                    await anyio.to_thread.run_sync(dies.kill)
                    await go_on(talks)
                    assert await taken_over(postgres.url) >= times  # what it ran, by the other
                    await anyio.to_thread.run_sync(dies.start)
                    await go_on(talks)
                assert await anyio.to_thread.run_sync(old.stop) == 0
                await go_on(talks)
            await check(talks, new)
        finally:
            for server in (old, new):
                await anyio.to_thread.run_sync(server.kill)


async def test_the_release_before_reads_and_continues_what_this_one_wrote(before: Previous, tmp_path: Path) -> None:
    old = Server(tmp_path, before.env, program=PROGRAM)
    new = Replica(tmp_path / "new", {}, key=old.key, data=old.data, program=PROGRAM)
    made: list[dict[str, Any]] = []
    for server in (old, new, old):
        await anyio.to_thread.run_sync(server.start)
        try:
            async with client(server) as http:
                for earlier in made:
                    kept = (await http.get(f"/v1/responses/{earlier['id']}")).json()
                    assert [kept[name] for name in SAME] == [earlier[name] for name in SAME]
                body = {"model": "local", "input": "Hello"}
                if made:
                    body["previous_response_id"] = made[-1]["id"]
                answer = await http.post("/v1/responses", json=body)
                assert answer.status_code == 200, answer.text
                made.append(answer.json())
        finally:
            await anyio.to_thread.run_sync(server.stop)


async def head(url: str) -> str:
    """Return the migration that a database is at."""
    [row] = await rows(url, "SELECT version_num FROM alembic_version")
    return row["version_num"]


async def taken_over(url: str) -> int:
    """Return how many responses have lost an owner."""
    [row] = await rows(url, "SELECT count(*) AS count FROM responses WHERE takeovers > 0")
    return row["count"]


async def check(talks: Sequence[Talk], server: Replica) -> None:
    """Look at every acknowledged turn: there once, in its order, ended, and one generation."""
    async with client(server) as http:
        for talk in talks:
            for answer in talk.answers:
                kept = (await http.get(f"/v1/responses/{answer['id']}")).json()
                assert [kept[name] for name in SAME] == [answer[name] for name in SAME]
                assert kept["status"] in ("completed", "incomplete")
                said = _TOKEN.findall("".join(part["text"] for item in kept["output"] for part in item["content"]))
                assert len({salt for salt, _ in said}) <= 1
                assert [int(number) for _, number in said] == list(range(len(said)))
            asked = await asked_in(http, talk.conversation)
            assert asked[: len(talk.answers)] == [f"turn {number}" for number in range(len(talk.answers))]
            assert len(asked) <= len(talk.answers) + 1  # one may have been under way


async def asked_in(http: httpx2.AsyncClient, conversation: str) -> list[str]:
    """Return what the user said in a conversation, in order."""
    found: list[str] = []
    after: dict[str, str] = {}
    while True:
        query = {"order": "asc", "limit": "100", **after}
        page = (await http.get(f"/v1/conversations/{conversation}/items", params=query)).json()
        found += [item["content"][0]["text"] for item in page["data"] if item.get("role") == "user"]
        if not page["has_more"]:
            return found
        after = {"after": page["last_id"]}
