"""Children that hang, crash, lie or are killed: the parent answers in kind and stays whole."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from chatbackend.domain.documents import Document
from chatbackend.domain.files import FileRejected
from chatbackend.infra.parsing.limits import ParseLimits
from chatbackend.infra.parsing.pool import PARSERS, ParserPool, ParserUnavailable
from chatbackend.infra.parsing.process import ChildEnded
from tests.infra.parsing import rogue
from tests.support import documents
from tests.support.processes import children, wait_for_end

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc"),
]

LIMITS = ParseLimits(memory_bytes=256 << 20, cpu_s=1, wall_s=20, max_text_chars=100_000)


@asynccontextmanager
async def pool_of(limits: ParseLimits = LIMITS, *, size: int = 2) -> AsyncGenerator[ParserPool]:
    """A pool that knows the misbehaving parsers too, and leaves no process and no descriptor behind."""
    before, descriptors = set(children(os.getpid())), len(os.listdir("/proc/self/fd"))
    async with ParserPool(limits, children=size, parsers={**PARSERS, **rogue.FORMATS}) as pool:
        yield pool
    assert set(children(os.getpid())) == before
    assert len(os.listdir("/proc/self/fd")) == descriptors


def text_file(tmp_path: Path, text: str = "plain words") -> Path:
    path = tmp_path / "file"
    path.write_text(text)
    return path


def named_pipe(tmp_path: Path) -> tuple[Path, Path]:
    """A file for the hanging parser, and the pipe by which that tells its process id."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    return text_file(tmp_path, str(pipe)), pipe


async def refusal(pool: ParserPool, path: Path, format_name: str) -> FileRejected:
    """Parse, and make sure that the next file is read all the same."""
    with pytest.raises(FileRejected) as refused:
        await pool.parse(path, format_name)
    other = path.with_name("other")
    other.write_text("other words")
    assert (await pool.parse(other, "text")).text == "other words"
    return refused.value


async def test_a_file_of_every_format_is_parsed(tmp_path: Path) -> None:
    files = {
        "pdf": documents.pdf([[(12, "one")], [(12, "two")]]),
        "docx": documents.word([("Heading 1", "one"), ("Normal", "two")]),
        "html": b"<h1>one</h1>two",
        "markdown": b"# one\n\ntwo",
        "text": b"one\n\ntwo",
    }
    async with pool_of() as pool:
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
            document = await pool.parse(tmp_path / name, name)
            assert document.text.removeprefix("# ") == "one\n\ntwo"
            assert len(document.pages) == (2 if name == "pdf" else 0)
            assert len(document.headings) == (1 if name in {"docx", "html", "markdown"} else 0)


async def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    async with pool_of() as pool:
        with pytest.raises(FileRejected) as refused:
            await pool.parse(text_file(tmp_path), "xlsx")
    assert refused.value.code == "unsupported_file"


@pytest.mark.parametrize(
    ("format_name", "code"),
    [
        ("eat", "parse_memory"),
        ("abort", "parse_crashed"),
        ("leave", "parse_crashed"),
        ("flood", "parse_crashed"),
        ("forge", "parse_crashed"),
        ("lie", "parse_crashed"),
        ("fail", "invalid_file"),
        ("write", "invalid_file"),
    ],
)
async def test_a_misbehaving_parser_is_a_refusal_and_the_pool_goes_on(
    tmp_path: Path, format_name: str, code: str
) -> None:
    async with pool_of() as pool:
        assert (await refusal(pool, text_file(tmp_path), format_name)).code == code


async def test_the_kernel_ends_a_parser_that_takes_too_much_processor_time(tmp_path: Path) -> None:
    async with pool_of() as pool:
        refused = await refusal(pool, text_file(tmp_path), "spin")
    assert isinstance(refused.__cause__, ChildEnded)
    assert refused.__cause__.status == -signal.SIGXCPU


async def test_what_a_parser_prints_is_lost(tmp_path: Path) -> None:
    async with pool_of() as pool:
        assert await pool.parse(text_file(tmp_path), "chatter") == Document("quiet")


async def test_the_owner_never_sees_a_parsers_error_but_its_cause_has_it(tmp_path: Path) -> None:
    async with pool_of() as pool:
        refused = await refusal(pool, text_file(tmp_path), "fail")
    assert "programmer" not in refused.message
    assert "ZeroDivisionError: the words of a programmer" in str(refused.__cause__)


async def test_the_child_has_no_word_of_the_environment_and_no_more_than_its_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    async with pool_of() as pool:
        names = (await pool.parse(text_file(tmp_path), "env")).text.split()
        allowed = (await pool.parse(text_file(tmp_path), "spawn")).text
    assert set(names) <= {"PYTHONPATH", "LC_CTYPE"}
    assert allowed == f"(0, 0) (32, 32) (0, 0) ({256 << 20}, {256 << 20})"


async def test_a_parser_that_hangs_is_killed_at_the_end_of_its_time(tmp_path: Path) -> None:
    path, pipe = named_pipe(tmp_path)
    async with pool_of(ParseLimits(wall_s=2)) as pool, anyio.create_task_group() as tasks:
        tasks.start_soon(to_thread.run_sync, pipe.read_text)
        assert (await refusal(pool, path, "hang")).code == "parse_timeout"


async def test_a_child_killed_in_the_midst_is_a_refusal(tmp_path: Path) -> None:
    path, pipe = named_pipe(tmp_path)

    async def kill() -> None:
        os.kill(int(await to_thread.run_sync(pipe.read_text)), signal.SIGKILL)

    async with pool_of() as pool, anyio.create_task_group() as tasks:
        tasks.start_soon(kill)
        assert (await refusal(pool, path, "hang")).code == "parse_crashed"


async def test_a_cancelled_parse_has_killed_its_child_when_it_returns(tmp_path: Path) -> None:
    path, pipe = named_pipe(tmp_path)
    async with pool_of() as pool:
        pids: list[int] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.parse, path, "hang")
            pids.append(int(await to_thread.run_sync(pipe.read_text)))
            tasks.cancel_scope.cancel()
        assert not set(pids) & set(children(os.getpid()))
        assert (await pool.parse(text_file(tmp_path), "text")).text == "plain words"


async def test_a_parse_cancelled_at_any_moment_leaves_nothing(tmp_path: Path) -> None:
    path = text_file(tmp_path)
    async with pool_of() as pool:
        for step in range(20):
            with anyio.move_on_after(step / 400):
                await pool.parse(path, "text")
        assert (await pool.parse(path, "text")).text == "plain words"


async def test_a_warm_child_that_was_killed_while_it_waited_is_replaced(tmp_path: Path) -> None:
    path, strangers = text_file(tmp_path), set(children(os.getpid()))  # servers of other tests
    async with pool_of() as pool:
        await pool.parse(path, "text")
        (warm,) = set(children(os.getpid())) - strangers
        os.kill(warm, signal.SIGKILL)
        assert (await pool.parse(path, "text")).text == "plain words"


async def test_a_warm_child_that_is_frozen_says_nothing_about_the_file(tmp_path: Path) -> None:
    path, strangers = text_file(tmp_path), set(children(os.getpid()))
    async with pool_of(ParseLimits(start_s=2)) as pool:
        await pool.parse(path, "text")
        (warm,) = set(children(os.getpid())) - strangers
        os.kill(warm, signal.SIGSTOP)
        with pytest.raises(ParserUnavailable):
            await pool.parse(path, "text")


async def test_a_parser_that_is_not_installed_says_nothing_about_the_file(tmp_path: Path) -> None:
    async with ParserPool(LIMITS, parsers={"text": "chatbackend_missing:parse"}) as pool:
        with pytest.raises(ParserUnavailable):
            await pool.parse(text_file(tmp_path), "text")


async def test_no_more_children_work_at_once_than_there_are_places(tmp_path: Path) -> None:
    (path, pipe), strangers = named_pipe(tmp_path), set(children(os.getpid()))
    async with pool_of(size=1) as pool, anyio.create_task_group() as tasks:
        tasks.start_soon(pool.parse, path, "hang")
        await to_thread.run_sync(pipe.read_text)
        with anyio.move_on_after(0.3) as waiting:
            await pool.parse(text_file(tmp_path), "text")
        assert waiting.cancelled_caught
        assert len(set(children(os.getpid())) - strangers) == 1
        tasks.cancel_scope.cancel()


async def test_many_files_at_once_are_all_parsed(tmp_path: Path) -> None:
    texts: dict[int, str] = {}

    async def parse(pool: ParserPool, number: int) -> None:
        path = tmp_path / str(number)
        path.write_text(f"words {number} " * 1000)
        texts[number] = (await pool.parse(path, "text")).text

    async with pool_of(size=3) as pool, anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(parse, pool, number)
    assert all(text == f"words {number} " * 1000 for number, text in texts.items())
    assert len(texts) == 20


PARENT = """
import anyio, sys
from pathlib import Path
from chatbackend.infra.parsing.limits import ParseLimits
from chatbackend.infra.parsing.pool import ParserPool
from chatbackend.infra.parsing.process import ChildEnded
from tests.infra.parsing import rogue

async def main():
    async with ParserPool(ParseLimits(), parsers=rogue.FORMATS) as pool:
        await pool.parse(Path(sys.argv[1]), "hang")

anyio.run(main)
"""


async def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    path, pipe = named_pipe(tmp_path)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", PARENT, str(path)], env=environment) as parent:
        pid = int(await to_thread.run_sync(pipe.read_text))
        assert os.getpgid(pid) == os.getpgid(parent.pid)
        parent.kill()
        assert await to_thread.run_sync(wait_for_end, pid)
