"""The README's examples, run as they stand against the real server with the unmodified `openai` SDK."""

import re
from collections.abc import Iterator
from pathlib import Path

import pypdf
import pytest

from tests.support import readme
from tests.support.server import Server


@pytest.fixture(scope="module")
def manual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return readme.write_manual(tmp_path_factory.mktemp("manual"))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server")) as server:
        yield server


def test_the_first_chat_of_the_readme_answers(running: Server) -> None:
    source = readme.example("A first chat")
    printed = readme.run(source.replace("http://127.0.0.1:8000", running.url).replace("sk-cb-...", running.key))
    assert "built-in extractive model" in printed
    assert re.search(r"-- resp_[0-9a-f]{32} is kept", printed)


def test_a_pdf_question_over_the_websocket_is_answered_with_true_citations(running: Server, manual: Path) -> None:
    printed = readme.ask_the_file(running, manual)
    answer, _, _ = printed.partition("\n[")
    assert "The reactor coolant must be replaced every 14 months." in answer
    assert readme.check_sources(running, manual, printed) >= 1


def test_the_second_pdf_reader_reads_the_manual(manual: Path) -> None:
    pages = [readme.words(page.extract_text()) for page in pypdf.PdfReader(manual).pages]
    assert pages == [readme.words(page) for page in readme.PAGES]
