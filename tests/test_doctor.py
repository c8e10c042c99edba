"""`chatbackend doctor` says what is missing and how to mend it."""

import sys
from pathlib import Path

import pytest

from chatbackend.bootstrap import operate
from chatbackend.config import load
from tests.support.redis import ask, own_redis
from tests.support.tls import DAY, certificate

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


async def test_a_redis_is_told_of_and_what_to_mend_about_it(tmp_path: Path) -> None:
    both = {"CHATBACKEND_DATA_DIR": str(tmp_path), "DATABASE_URL": "postgresql://me@127.0.0.1:1/chat"}
    with own_redis(tmp_path / "redis") as server:
        _, lines = await told(**both, REDIS_URL=server.url)
        assert "redis           ok" in lines
        await ask(server.url, "CONFIG", "SET", "maxmemory", 100_000_000)
        await ask(server.url, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        _, lines = await told(**both, REDIS_URL=server.url)
        assert "redis           FAIL  set maxmemory-policy to noeviction" in lines
        await ask(server.url, "CONFIG", "SET", "requirepass", "other")
        _, lines = await told(**both, REDIS_URL=server.url.replace("redis://", "redis://:s3cret@"))
        assert "redis           FAIL  REDIS_URL: Redis cannot be used" in lines
    _, lines = await told(**both, REDIS_URL=server.url)
    assert "redis           FAIL  REDIS_URL: Redis cannot be used (nothing answers there)" in lines
    assert "s3cret" not in lines


async def test_a_certificate_is_told_of_and_what_is_wrong_with_it(tmp_path: Path) -> None:
    key, cert = certificate(tmp_path / "tls", "localhost")
    settings = {
        "CHATBACKEND_DATA_DIR": str(tmp_path),
        "CHATBACKEND_TLS_CERT": str(cert),
        "CHATBACKEND_TLS_KEY": str(key),
    }
    _, lines = await told(**settings)
    assert "certificate     ok    valid until 20" in lines
    certificate(tmp_path / "tls", "localhost", left=-DAY)
    problems, lines = await told(**settings)
    assert problems >= 1
    assert f"certificate     FAIL  '{cert}': certificate has expired" in lines
    key.unlink()
    _, lines = await told(**settings)
    assert "certificate     FAIL  CHATBACKEND_TLS_CERT, CHATBACKEND_TLS_KEY: " in lines


async def test_an_endpoint_where_nothing_answers_is_named_by_its_variable(tmp_path: Path) -> None:
    problems, lines = await told(CHATBACKEND_DATA_DIR=str(tmp_path), LLAMA31_ENDPOINT="http://127.0.0.1:1/v1")
    assert problems >= 1
    assert "check LLAMA31_ENDPOINT" in lines
