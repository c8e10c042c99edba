"""The README's examples, cut out and run as they stand; and what the file question must have printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pypdf
from fpdf import FPDF

from tests.support import sdk
from tests.support.server import Server

README = Path(__file__).parents[2] / "README.md"
QUESTION = "How often must the reactor coolant be replaced?"
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


def ask_the_file(server: Server, path: Path, question: str = QUESTION, *, model: str = "local") -> str:
    """Run the file question of the README and return what it printed."""
    return run(
        example("Ask a file, over a WebSocket"),
        CHAT_URL=server.url,
        CHAT_KEY=server.key,
        CHAT_FILE=str(path),
        CHAT_QUESTION=question,
        CHAT_MODEL=model,
    )


def write_manual(folder: Path) -> Path:
    """Write the manual that the question is about: a PDF of three pages."""
    path = folder / "manual.pdf"
    document = FPDF()
    document.set_font("helvetica", size=12)
    for text in PAGES:
        document.add_page()
        document.multi_cell(0, 8, text)
    document.output(str(path))
    return path


def words(text: str) -> list[str]:
    """Return the words alone: two readers of a PDF need not agree on white space."""
    return re.findall(r"\w+", text)


def check_sources(server: Server, path: Path, printed: str) -> int:
    """Hold every printed source against the file's text and a second PDF reader; return how many there were."""
    with sdk.client(server) as client:
        file, store = client.files.list().data[0], client.vector_stores.list().data[0]
        parts = client.vector_stores.files.content(file.id, vector_store_id=store.id)
        text = "".join(part.text or "" for part in parts)
    second_reader = [words(page.extract_text()) for page in pypdf.PdfReader(path).pages]
    sources = list(_SOURCE.finditer(printed))
    for source in sources:
        quote = source["quote"]
        assert text[int(source["start"]) : int(source["end"])] == quote
        on_page = second_reader[int(source["page"]) - 1]
        assert any(on_page[at : at + len(words(quote))] == words(quote) for at in range(len(on_page)))
    return len(sources)
