"""`chatbackend doctor` says what is missing and how to mend it."""

import sys
from pathlib import Path

import pytest

from chatbackend.bootstrap import operate
from chatbackend.config import load

pytestmark = pytest.mark.anyio


async def told(**environment: str) -> tuple[int, str]:
    lines: list[str] = []
    problems = await operate.check(load(environment), lines.append)
    return problems, "\n".join(lines)


async def test_a_search_that_would_know_words_alone_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))  # an environment in which the graph was never built
    problems, lines = await told(CHATBACKEND_DATA_DIR=str(tmp_path))
    assert problems == 1
    assert "embedder        FAIL" in lines
    assert "data folder     ok" in lines


async def test_an_endpoint_where_nothing_answers_is_named_by_its_variable(tmp_path: Path) -> None:
    problems, lines = await told(CHATBACKEND_DATA_DIR=str(tmp_path), LLAMA31_ENDPOINT="http://127.0.0.1:1/v1")
    assert problems >= 1
    assert "check LLAMA31_ENDPOINT" in lines
