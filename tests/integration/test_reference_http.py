"""The API's description as the whole server gives it: every route of the composition root is in it, and described."""

from collections.abc import AsyncGenerator
from importlib.metadata import version
from pathlib import Path

import httpx2
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from chatbackend import __version__, bootstrap
from chatbackend.adapters.api.operations import operations
from chatbackend.config import load
from chatbackend.infra.web.app import WebApp
from tests.support.wireless import into

pytestmark = pytest.mark.anyio


@pytest.fixture
async def web(tmp_path: Path) -> AsyncGenerator[WebApp, None]:
    settings = {"CHATBACKEND_DATA_DIR": str(tmp_path), "CHATBACKEND_BOOTSTRAP_KEY": "sk-reference"}
    async with bootstrap.build(load(settings)) as app:
        yield app.web


async def got(web: WebApp, path: str) -> httpx2.Response:
    transport = into(web)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        found = await client.get(path)
    assert found.status_code == 200
    assert found.headers["x-content-type-options"] == "nosniff"
    return found


async def test_every_route_is_in_the_openapi_document(web: WebApp) -> None:
    document = (await got(web, "/openapi.json")).json()
    OpenAPIV31SpecValidator(document).validate()
    served = {(method, path) for method, path, _ in web.routes if method != "WEBSOCKET"}
    described = {(method.upper(), path) for path, found in document["paths"].items() for method in found}
    assert served == described
    assert document["info"]["version"] == __version__ == version("chatbackend")


async def test_every_route_is_described_whole_and_nothing_else_is(web: WebApp) -> None:
    served = {(method, path) for method, path, _ in web.routes if method != "WEBSOCKET"}
    assert served == set(operations()), "adapters/api/operations.py and the routes differ"
    silent = [path for _, path, handler in web.routes if not handler.__doc__]
    assert silent == []


async def test_every_socket_is_a_channel_of_the_asyncapi_document(web: WebApp) -> None:
    document = (await got(web, "/asyncapi.json")).json()
    served = {path for method, path, _ in web.routes if method == "WEBSOCKET"}
    assert {channel["address"] for channel in document["channels"].values()} == served


async def test_the_reference_is_for_everybody_and_comes_with_a_strict_policy(web: WebApp) -> None:
    page = await got(web, "/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert "<code>/v1/responses</code>" in page.text
    assert "WS /v1/responses" in (await got(web, "/llms.txt")).text


async def test_a_wrong_method_is_refused_with_those_that_are_allowed(web: WebApp) -> None:
    transport = into(web)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        refused = await client.put("/docs")
    assert refused.status_code == 401  # nobody is told what there is before it is known who asks
    headers = {"authorization": "Bearer sk-reference"}
    async with httpx2.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
        refused = await client.put("/v1/responses")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    assert refused.json()["error"]["code"] == "method_not_allowed"
