"""The examples of `docs/clients.md`, run as they stand but for the address, the key and the model."""

import re

import anyio
import pytest

from tests.clients.catalogue import FAMILIES, Runtime
from tests.clients.running import NODE, NPM, python_of
from tests.support.requires import ROOT, require_node_module
from tests.support.server import Server
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio

PAGE = (ROOT / "docs" / "clients.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```(python|js)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
_NAMED = {"python": re.compile(r"^(?:from|import) (\w+)", re.MULTILINE), "js": re.compile(r' from "([^"]+)"')}
_ELSEWHERE: dict[str, Runtime] = {
    "langchain_openai": "clients",
    "pydantic_ai": "clients",
    "llama_index": "clients-openai2",
    "litellm": "clients-openai2",
}


def client_of(language: str, source: str) -> str:
    """Return the package that an example is about: the first that it imports."""
    [package, *_] = _NAMED[language].findall(source)
    return package


@pytest.mark.parametrize(
    ("language", "source"), EXAMPLES, ids=[f"{language}-{client_of(language, source)}" for language, source in EXAMPLES]
)
async def test_an_example_prints_the_answer(running: Server, upstream: Upstream, *, language: str, source: str) -> None:
    [claude] = [family for family in FAMILIES if family.name == "claude"]
    for shown, real in (
        ("http://127.0.0.1:8000", running.url),
        ("sk-cb-...", running.key),
        ("claude-sonnet-4-5", claude.bare_model),
    ):
        assert shown in source
        source = source.replace(shown, real)
    package = client_of(language, source)
    env = {"PATH": "/usr/bin:/bin", "HOME": str(running.folder)}
    if language == "js":
        require_node_module(package)
        command, where = [str(NODE), "--input-type=module", "--eval", source], NPM
    else:
        command, where = [str(python_of(_ELSEWHERE.get(package, "own"), package)), "-c", source], ROOT
    with anyio.fail_after(50):
        done = await anyio.run_process(command, env=env, cwd=where, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    salt = upstream.calls[-1].salt
    assert done.stdout.decode().split() == [f"{salt}:{number}" for number in range(20)]
