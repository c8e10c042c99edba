"""The README's examples, run as they stand against the real server with the unmodified `openai` SDK."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pypdf
import pytest
from fpdf import FPDF
from openai import OpenAI

from tests.support.server import Server

README = Path(__file__).parents[2] / "README.md"
PAGES = (
    "Operating manual of the Aurora research station.\n"
    "The station was founded in 1987 by Marta Lindqvist. It stands on the northern ridge, at 2140 metres.",
    "Maintenance.\nThe reactor coolant must be replaced every 14 months. A certified technician does this work. "
    "The old coolant is collected in blue drums.",
    "Visitors.\nVisitors need a blue badge, which the porter hands out. The canteen opens at half past seven.",
)
_SOURCE = re.compile(r"^\[(?P<name>[^,]+), page (?P<page>\d+), (?P<start>\d+)-(?P<end>\d+)\] '(?P<quote>.*)'$", re.M)


def example(heading: str) -> str:
    """Return the first Python block below a heading of the README."""
    section = README.read_text().partition(f"## {heading}\n")[2]
    return section.partition("```python\n")[2].partition("```")[0]


def run(source: str, **environment: str) -> str:
    """Run Python source in a fresh interpreter and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", source],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def manual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("manual") / "manual.pdf"
    pdf = FPDF()
    pdf.set_font("helvetica", size=12)
    for text in PAGES:
        pdf.add_page()
        pdf.multi_cell(0, 8, text)
    pdf.output(str(path))
    return path


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server")) as server:
        yield server


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def test_the_first_chat_of_the_readme_answers(running: Server) -> None:
    source = example("A first chat").replace("http://127.0.0.1:8000", running.url).replace("sk-cb-...", running.key)
    printed = run(source)
    assert "built-in extractive model" in printed
    assert re.search(r"-- resp_[0-9a-f]{24} is kept", printed)


def test_a_pdf_question_over_the_websocket_is_answered_with_true_citations(running: Server, manual: Path) -> None:
    printed = run(
        example("Ask a file, over a WebSocket"),
        CHAT_URL=running.url,
        CHAT_KEY=running.key,
        CHAT_FILE=str(manual),
        CHAT_QUESTION="How often must the reactor coolant be replaced?",
    )
    answer, _, _ = printed.partition("\n[")
    assert "The reactor coolant must be replaced every 14 months." in answer
    sources = list(_SOURCE.finditer(printed))
    assert sources
    client = OpenAI(base_url=running.base_url, api_key=running.key)
    file = client.files.list().data[0]
    store = client.vector_stores.list().data[0]
    parts = client.vector_stores.files.content(file.id, vector_store_id=store.id)
    text = "".join(part.text or "" for part in parts)
    second_reader = [words(page.extract_text()) for page in pypdf.PdfReader(manual).pages]
    for source in sources:
        quote = source["quote"]
        assert text[int(source["start"]) : int(source["end"])] == quote
        on_page = second_reader[int(source["page"]) - 1]
        assert any(on_page[at : at + len(words(quote))] == words(quote) for at in range(len(on_page)))
    assert [page for page in second_reader if page] == [words(page) for page in PAGES]
