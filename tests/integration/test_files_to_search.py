"""From an upload to a search hit and back to nothing, with the official SDK on the real parts."""

from collections.abc import AsyncGenerator
from pathlib import Path

import openai
import pytest
from openai.types import FileObject

from tests.support.documents import pdf
from tests.support.file_app import FileApp, file_app

pytestmark = pytest.mark.anyio

PAGES = [
    [(14.0, "Harbour rules"), (11.0, "Boats longer than nine metres moor at the northern quay only.")],
    [(14.0, "Fees"), (11.0, "The mooring fee is forty crowns a day. It is paid at the kiosk before sunset.")],
    [(14.0, "Lost property"), (11.0, "Umbrellas found on the pier are kept for one year by the harbour master.")],
]


@pytest.fixture
async def app(tmp_path: Path) -> AsyncGenerator[FileApp, None]:
    async with file_app(tmp_path) as app:
        yield app


@pytest.fixture
async def client(app: FileApp) -> AsyncGenerator[openai.AsyncOpenAI, None]:
    async with app.client() as client:
        yield client


async def ready(app: FileApp, client: openai.AsyncOpenAI, name: str, content: bytes) -> FileObject:
    """Upload a file and return it once it was indexed."""
    file = await client.files.create(file=(name, content), purpose="assistants")
    await app.settled()
    return await client.files.retrieve(file.id)


async def test_an_uploaded_pdf_is_found_with_its_page_and_exact_place(app: FileApp, client: openai.AsyncOpenAI) -> None:
    file = await ready(app, client, "harbour.pdf", pdf(PAGES))
    assert file.status == "processed", file
    store = await client.vector_stores.create(name="harbour", file_ids=[file.id])
    found = await client.vector_stores.search(store.id, query="what is the mooring fee?")
    best = found.data[0].content[0].model_dump()
    assert "forty crowns" in best["text"]
    [content] = (await client.vector_stores.files.content(file.id, vector_store_id=store.id)).data
    assert content.text is not None
    assert content.text[best["start"] : best["end"]] == best["text"]
    assert best["page"] == 1
