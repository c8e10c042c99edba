"""Five tenants with canaries: however they ask, nobody is ever shown a word of another."""

import random
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from chatbackend import bootstrap
from chatbackend.adapters.api.operations import operations
from chatbackend.config import load
from chatbackend.domain.identity import ApiKey
from chatbackend.infra.db.keys import Keys
from chatbackend.infra.db.sqlite import SqliteDatabase
from chatbackend.infra.web.app import WebApp
from chatbackend.infra.web.auth import hash_key
from tests.integration.test_files_to_search import Letters
from tests.support.file_app import file_app
from tests.support.wireless import into

pytestmark = pytest.mark.anyio
TENANTS = [f"tenant{n}" for n in range(5)]
TOPICS = ["mooring", "ferry", "lighthouse", "sluice", "customs", "pilot", "anchor", "dredger"]
QUERIES = 300


def text_of(tenant: str, topic: str) -> bytes:
    """The same words for every tenant, and a word that only one has."""
    return (
        f"The {topic} rules of the harbour. The {topic} fee is paid at the kiosk. canary{tenant}secret " * 3
    ).encode()


async def test_nobody_finds_a_word_of_another_tenant(tmp_path: Path) -> None:
    keys = [ApiKey(f"key_{name}", name, name, "", 0) for name in TENANTS]
    chance = random.Random(20261122)  # noqa: S311 - test data, the same every time
    async with file_app(tmp_path, keys=keys, embedder=Letters()) as app:
        clients = {name: app.client(f"sk-{name}") for name in TENANTS}
        stores: dict[str, str] = {}
        files: dict[str, list[str]] = {}
        for name, client in clients.items():
            files[name] = [
                (await client.files.create(file=(f"{topic}.txt", text_of(name, topic)), purpose="assistants")).id
                for topic in TOPICS
            ]
            stores[name] = (await client.vector_stores.create(file_ids=files[name])).id
        await app.settled()
        hits = 0
        for _ in range(QUERIES):
            name, other = chance.sample(TENANTS, 2)
            words = [chance.choice(TOPICS), f"canary{other}secret", *chance.sample(TOPICS, 2)]
            found = await clients[name].vector_stores.search(stores[name], query=" ".join(words), max_num_results=50)
            shown = found.model_dump_json()
            assert f"canary{name}secret" in shown
            assert not any(f"canary{foreign}secret" in part.text for foreign in TENANTS if foreign != name
                           for hit in found.data for part in hit.content)  # fmt: skip
            assert {hit.file_id for hit in found.data} <= set(files[name])
            hits += len(found.data)
        assert hits > QUERIES
        for name, client in clients.items():
            for other in TENANTS:
                if other != name:
                    await _refused(client, stores[other], files[other][0], own_store=stores[name])
        for client in clients.values():
            await client.close()


async def _refused(client: openai.AsyncOpenAI, store: str, file: str, *, own_store: str) -> None:
    """Every way to name a foreign id is answered as if it did not exist."""
    ways = [
        client.vector_stores.search(store, query="mooring"),
        client.vector_stores.retrieve(store),
        client.vector_stores.update(store, name="mine"),
        client.vector_stores.files.create(store, file_id=file),
        client.vector_stores.files.create(own_store, file_id=file),
        client.vector_stores.file_batches.create(own_store, file_ids=[file]),
        client.vector_stores.create(file_ids=[file]),
        client.vector_stores.files.retrieve(file, vector_store_id=store),
        client.vector_stores.files.retrieve(file, vector_store_id=own_store),
        client.vector_stores.files.content(file, vector_store_id=store),
        client.vector_stores.files.content(file, vector_store_id=own_store),
        client.vector_stores.files.update(file, vector_store_id=store, attributes={}),
        client.vector_stores.files.delete(file, vector_store_id=store),
        client.vector_stores.delete(store),
        client.files.retrieve(file),
        client.files.content(file),
        client.files.delete(file),
    ]
    for way in ways:
        with pytest.raises(openai.NotFoundError):
            await way


OWNERS = {
    "tenant0": {},
    "tenant1": {},
    "tenant0, another user": {"chatbackend-user": "eve"},
}
BODIES: dict[str, Any] = {"items": [{"type": "message", "role": "user", "content": "x"}], "metadata": {"x": "y"}}


@pytest.fixture
async def web(tmp_path: Path) -> AsyncGenerator[WebApp, None]:
    """The whole server, with a key of each of two tenants."""
    async with bootstrap.build(load({"CHATBACKEND_DATA_DIR": str(tmp_path)})) as app:
        async with SqliteDatabase(tmp_path / "truth.db") as database:
            for name in TENANTS[:2]:
                await Keys(database).add(ApiKey(f"key_{name}", name, "app", "", 0), hash_key(f"sk-{name}"))
        yield app.web


def speaking(web: WebApp, owner: str) -> httpx2.AsyncClient:
    """Return a client of one of the owners."""
    headers = {"authorization": f"Bearer sk-{owner.partition(',')[0]}", **OWNERS[owner]}
    return httpx2.AsyncClient(transport=into(web), base_url="http://test", headers=headers)


@pytest.mark.parametrize("stranger", list(OWNERS)[1:])
async def test_no_route_of_conversations_shows_or_changes_a_strangers(web: WebApp, stranger: str) -> None:
    """Every route that names a conversation is tried: a new one is in the table of operations, and so in here."""
    async with speaking(web, "tenant0") as mine, speaking(web, stranger) as theirs:
        items = [{"type": "message", "role": "user", "content": "canarysecret", "id": "msg_secret"}]
        made = (await mine.post("/v1/conversations", json={"items": items})).json()
        before = (await mine.get(f"/v1/conversations/{made['id']}?include=chatbackend.state")).json()
        tried = 0
        for method, template in operations():
            if "{conversation_id}" not in template:
                continue
            path = template.format(conversation_id=made["id"], item_id="msg_secret")
            for query in ({}, {"include": "chatbackend.state"}, {"erase": "true"}):
                body = BODIES if method == "POST" else None
                refused = await theirs.request(method, path, json=body, params=query)
                assert refused.status_code == 404, (method, template, refused.text)
                assert refused.json()["error"]["code"] == "conversation_not_found"
                assert "canarysecret" not in refused.text
                tried += 1
        assert tried >= 3 * 10
        for query in ({}, {"q": "canarysecret"}, {"archived": "any", "q": "canary"}):
            assert (await theirs.get("/v1/conversations", params=query)).json()["data"] == []
        assert (await mine.get(f"/v1/conversations/{made['id']}?include=chatbackend.state")).json() == before
        assert len((await mine.get("/v1/conversations", params={"q": "canarysecret"})).json()["data"]) == 1
