"""Every POST of the API's description under an Idempotency-Key: a route without a case here fails."""

import json
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, Literal

import httpx2
import pytest

from tests.support.server import Server, serving
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio

Json = dict[str, Any]
Asking = dict[str, Any]  # as `httpx2` takes it: json, or files and data
TALK = {"model": "llama31/scripted-n3", "messages": [{"role": "user", "content": "say"}]}
ASKED = {"model": "llama31/scripted-n3", "input": "say"}
STORE, CONVERSATION = "/v1/vector_stores/{vector_store_id}", "/v1/conversations/{conversation_id}"
_ITEM = {"type": "message", "role": "user", "content": "hi"}


@dataclass(frozen=True)
class Case:
    """What a key does at a route: it gives the `same` object, changes `nothing` (so does a repeat), or is `refused`.

    `ask` makes the request; `change` goes over its JSON, to make another body.
    """

    kind: Literal["same", "nothing", "refused"]
    ask: Callable[["World"], Asking]
    change: Json


def of_json(body: Json) -> Callable[["World"], Asking]:
    return lambda world: {"json": world.filled(body)}


def same(body: Json, **change: object) -> Case:
    return Case("same", of_json(body), change)


def nothing(body: Json) -> Case:
    return Case("nothing", of_json(body), {})


def upload(world: "World") -> Asking:
    return {"files": {"file": ("b.txt", b"other words", "text/plain")}, "data": {"purpose": "assistants"}}


CASES: dict[str, Case] = {
    "/v1/responses": same(ASKED, input="other"),
    "/v1/responses/compact": same(ASKED, input="other"),
    "/v1/responses/input_tokens": nothing(ASKED),
    "/v1/responses/{response_id}/cancel": nothing({}),
    "/v1/chat/completions": same(TALK, temperature=0.5),
    "/v1/messages": same(TALK | {"max_tokens": 9}, max_tokens=8),
    "/v1/messages/count_tokens": nothing(TALK),
    "/v1/embeddings": same(ASKED, input="other"),
    "/v1/conversations": same({"metadata": {"a": "b"}}, metadata={}),
    CONVERSATION: nothing({"metadata": {"a": "c"}}),
    f"{CONVERSATION}/branch": same({}, after="{item_id}"),
    f"{CONVERSATION}/items": same({"items": [_ITEM]}, items=[_ITEM, _ITEM]),
    "/v1/files": Case("same", upload, {"purpose": "user_data"}),
    "/v1/vector_stores": same({"name": "a"}, name="b"),
    STORE: nothing({"name": "c"}),
    f"{STORE}/search": nothing({"query": "words"}),
    f"{STORE}/files": same({"file_id": "{file_id}"}, attributes={"a": 1}),
    f"{STORE}/files/{{file_id}}": nothing({"attributes": {"a": 2}}),
    f"{STORE}/file_batches": same({"file_ids": ["{file_id}"]}, attributes={"a": 3}),
    f"{STORE}/file_batches/{{batch_id}}/cancel": nothing({}),
    "/v1/realtime/client_secrets": Case("refused", of_json({}), {}),
    "/v1/realtime/translations/client_secrets": Case("refused", of_json({}), {}),
    "/v1/realtime/calls": Case("refused", of_json({}), {}),
    "/v1/realtime/calls/{call_id}/hangup": Case("refused", of_json({}), {}),
}


class World:
    """A server with one of everything, by the names of path parameters."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self.http = http
        self.ids: dict[str, str] = {}

    async def fill(self) -> None:
        """Make one of everything."""
        self.ids["file_id"] = await self.made("/v1/files", upload(self))
        await self.http.get(self.url("/v1/files/{file_id}/events"))  # until it is ready
        self.ids["response_id"] = await self.made("/v1/responses", {"json": ASKED})
        self.ids["conversation_id"] = await self.made("/v1/conversations", {"json": {"items": [_ITEM]}})
        items = await self.http.get(self.url(f"{CONVERSATION}/items"))
        self.ids["item_id"] = items.json()["data"][0]["id"]
        self.ids["vector_store_id"] = await self.made(
            "/v1/vector_stores", {"json": {"file_ids": [self.ids["file_id"]]}}
        )
        batch = {"file_ids": [self.ids["file_id"]]}
        self.ids["batch_id"] = await self.made(self.url(f"{STORE}/file_batches"), {"json": batch})

    async def made(self, path: str, asking: Asking) -> str:
        answer = await self.http.post(path, **asking)
        assert answer.status_code == 200, answer.text
        return answer.json()["id"]

    def filled(self, body: Json) -> Json:
        """Put ids in the place of their names."""
        return json.loads(self.url(json.dumps(body)))

    def url(self, path: str) -> str:
        """Put ids in the place of their names."""
        for name, known in self.ids.items():
            path = path.replace(f"{{{name}}}", known)
        return path


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[World, None]:
    async with (
        Upstream() as upstream,
        serving(tmp_path_factory.mktemp("server"), {"LLAMA31_ENDPOINT": upstream.url}) as server,
        _client(server) as http,
    ):
        world = World(http)
        await world.fill()
        yield world


def _client(server: Server) -> httpx2.AsyncClient:
    headers = {"authorization": f"Bearer {server.key}"}
    return httpx2.AsyncClient(base_url=server.url, headers=headers, timeout=30)


async def described(world: World) -> dict[str, bool]:
    """Return every POST of the API's description, and whether it says that a key counts."""
    document = (await world.http.get("/openapi.json")).json()
    posts = {path: routes["post"] for path, routes in document["paths"].items() if "post" in routes}
    key = "#/components/parameters/Idempotency-Key"
    return {path: any(each.get("$ref") == key for each in post["parameters"]) for path, post in posts.items()}


async def test_every_post_of_the_description_has_a_case_and_says_whether_a_key_counts(world: World) -> None:
    assert await described(world) == {path: case.kind == "same" for path, case in CASES.items()}


@pytest.mark.parametrize("path", [path for path, case in CASES.items() if case.kind == "same"])
async def test_the_same_request_gives_the_same_object_and_another_body_is_refused(world: World, path: str) -> None:
    case, headers = CASES[path], {"idempotency-key": f"once {path}"}
    asking, url = case.ask(world), world.url(path)
    first = await world.http.post(url, headers=headers, **asking)
    assert first.status_code == 200, first.text
    again = await world.http.post(url, headers=headers, **asking)
    assert (again.status_code, identity(again.json())) == (200, identity(first.json()))
    part = "json" if "json" in asking else "data"
    other = await world.http.post(url, headers=headers, **asking | {part: asking[part] | world.filled(case.change)})
    assert other.status_code == 422
    if path != "/v1/messages":
        assert other.json()["error"]["code"] == "idempotency_key_reused"


def identity(made: Json) -> object:
    """Return what tells an object from one that another request would have made."""
    if "data" in made and "id" not in made:
        return [each.get("id", each) for each in made["data"]]
    return made["id"], made.get("created_at")


@pytest.mark.parametrize("path", [path for path, case in CASES.items() if case.kind == "nothing"])
async def test_a_repeat_changes_nothing_where_the_key_does_not_count(world: World, path: str) -> None:
    asking, url = CASES[path].ask(world), world.url(path)
    first, again = [await world.http.post(url, headers={"idempotency-key": "k"}, **asking) for _ in range(2)]
    assert first.status_code == again.status_code == 200, first.text
    left_out = ("last_active_at", "updated_at")
    shown = [{key: value for key, value in each.json().items() if key not in left_out} for each in (first, again)]
    assert shown[0] == shown[1]


@pytest.mark.parametrize("path", [path for path, case in CASES.items() if case.kind == "refused"])
async def test_a_key_is_refused_where_it_could_not_be_kept(world: World, path: str) -> None:
    refused = await world.http.post(world.url(path), headers={"idempotency-key": "k"}, **CASES[path].ask(world))
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "idempotency_unsupported")


async def test_a_repeated_batch_is_the_first_one_and_takes_no_file_from_another(world: World) -> None:
    headers, url = {"idempotency-key": "batch"}, world.url(f"{STORE}/file_batches")
    asking = CASES[f"{STORE}/file_batches"].ask(world)
    first = (await world.http.post(url, headers=headers, **asking)).json()
    second = await world.made(url, {"json": asking["json"] | {"attributes": {"b": 1}}})
    again = (await world.http.post(url, headers=headers, **asking)).json()
    assert again["id"] == first["id"]
    assert (await world.http.get(f"{url}/{second}/files")).json()["data"]


async def test_a_file_that_was_detached_is_not_attached_by_a_repeat(world: World) -> None:
    headers, url = {"idempotency-key": "attach"}, world.url(f"{STORE}/files")
    file_id = await world.made("/v1/files", upload(world) | {"data": {"purpose": "user_data"}})
    assert (await world.http.post(url, headers=headers, json={"file_id": file_id})).status_code == 200
    assert (await world.http.delete(f"{url}/{file_id}")).status_code == 200
    again = await world.http.post(url, headers=headers, json={"file_id": file_id})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "idempotent_result_gone")
    assert (await world.http.get(f"{url}/{file_id}")).status_code == 404
