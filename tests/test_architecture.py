"""Every module of the package keeps the house rules, and every rule is seen to fail on a planted breach."""

from pathlib import Path

import pytest

import chatbackend
from tests.support.architecture import CHECKS, findings, parse

PACKAGE = Path(chatbackend.__path__[0])
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
LONG_BODY = "".join(f"    x{n} = {n}\n" for n in range(51))

BREACHES = [
    ("domain/a.py", "import anyio\n", "domain imports anyio"),
    ("domain/a.py", "import os.path\n", "domain imports os.path"),
    ("domain/a.py", "from time import time\n", "domain imports time.time"),
    ("domain/a.py", "from chatbackend.usecases import ports\n", "domain imports chatbackend.usecases.ports"),
    ("domain/a.py", "from ..infra import db\n", "domain imports chatbackend.infra.db"),
    ("domain/a.py", "def f() -> None:\n    import socket\n", "domain imports socket"),
    ("usecases/a.py", "import msgspec\n", "usecases imports msgspec"),
    ("usecases/a.py", "import asyncio\n", "usecases imports asyncio"),
    ("usecases/a.py", "import chatbackend.adapters.errors\n", "usecases imports chatbackend.adapters.errors"),
    ("adapters/a.py", "import sqlalchemy\n", "adapters imports sqlalchemy"),
    ("adapters/api/a.py", "from ...infra import db\n", "adapters imports chatbackend.infra.db"),
    ("domain/a.py", "async def f() -> None: ...\n", "async def f in domain"),
    ("adapters/api/a.py", "class A:\n    async def f(self) -> None: ...\n", "async def f in adapters"),
    ("infra/a.py", "def f(a) -> None: ...\n", "f is not annotated"),
    ("infra/a.py", "def f(*a: int, **b) -> None: ...\n", "f is not annotated"),
    ("cli.py", "def f(a: int): ...\n", "f is not annotated"),
    ("infra/a.py", f"def f() -> None:\n{LONG_BODY}", "f: 51 lines"),
    ("infra/a.py", "\n" * 500, "501 lines"),
]

ALLOWED = [
    ("domain/a.py", "import math\nfrom chatbackend.domain import errors\nfrom . import items\n"),
    ("usecases/a.py", "import anyio\nfrom ..domain.errors import ChatError\nasync def f() -> None: ...\n"),
    ("adapters/wire/a.py", "import msgspec\nfrom ..errors import table\nfrom chatbackend.usecases import ports\n"),
    ("infra/a.py", "import os\nimport asyncio\nfrom chatbackend.domain import items\n"),
    ("infra/a.py", "class A:\n    def f(self, a: int, *, b: int) -> None: ...\n    def _g(self, a): ...\n"),
    ("infra/a.py", f'def f() -> None:\n    """Say.\n\n    More.\n    """\n{LONG_BODY[:-12]}'),
    ("infra/a.py", "\n" * 499),
]


@pytest.mark.parametrize("path", MODULES)
def test_a_module_keeps_the_house_rules(path: str) -> None:
    assert findings(parse(path, (PACKAGE / path).read_text("utf-8"))) == []


@pytest.mark.parametrize(("path", "source", "finding"), BREACHES)
def test_a_planted_breach_is_found(path: str, source: str, finding: str) -> None:
    found = findings(parse(path, f'"""Planted."""\n{source}'))
    assert len(found) == 1
    assert finding in found[0]


@pytest.mark.parametrize(("path", "source"), ALLOWED)
def test_what_the_rules_allow_is_not_reported(path: str, source: str) -> None:
    assert findings(parse(path, f'"""Planted."""\n{source}')) == []


def test_a_module_without_a_docstring_is_found() -> None:
    assert findings(parse("cli.py", "x = 1\n")) == ["cli.py:1 has no docstring"]


def test_every_check_is_run() -> None:
    module = parse("domain/a.py", f"import os\nasync def f(a):\n{LONG_BODY}" + "\n" * 500)
    assert len(findings(module)) == len(CHECKS)
