"""Parses files in children that can be killed: one file a child, one more kept warm, a bounded number at once."""

import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Final, Self

import anyio

from chatbackend.domain.documents import Document
from chatbackend.domain.files import FileRejected
from chatbackend.infra.parsing import answers, frames
from chatbackend.infra.parsing.limits import ParseLimits
from chatbackend.infra.parsing.process import ChildEnded, ChildProcess

PARSERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "pdf": "chatbackend.infra.parsing.pdf:parse",
        "docx": "chatbackend.infra.parsing.docx:parse",
        "html": "chatbackend.infra.parsing.html:parse",
        "markdown": "chatbackend.infra.parsing.markdown:parse",
        "text": "chatbackend.infra.parsing.text:parse",
    }
)


class ParserUnavailable(Exception):
    """No child could be started: nothing is said about the file, try again later."""


class ParserPool:
    """Parses files one a child process; use as an async context manager, which ends the warm child.

    Enter it and call it on the main thread's event loop: a child dies with the thread that started it.
    """

    def __init__(self, limits: ParseLimits, *, children: int = 2, parsers: Mapping[str, str] = PARSERS) -> None:
        self._limits = limits
        self._parsers = parsers
        self._slots = anyio.Semaphore(children)
        self._closed = False
        self._warm: ChildProcess | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        if self._warm is not None:
            warm, self._warm = self._warm, None
            await warm.end()

    async def parse(self, path: Path, format_name: str) -> Document:
        """Return the document in the file at `path`. Cancelling kills the child before it returns.

        Waits for a free child without a bound of its own; the limits of time begin after that.

        Raises:
            FileRejected: the file cannot be read within the limits, or at all.
            ParserUnavailable: no child would start.
        """
        parser = self._parsers.get(format_name)
        if parser is None:
            raise FileRejected("unsupported_file", f"Files of the format {format_name} are not read.")
        async with self._slots:
            try:
                return await self._parse(frames.work(path, parser, self._limits))
            finally:
                await self._warm_up()

    async def _parse(self, work: bytes) -> Document:
        child = await self._begun(work)
        try:
            with anyio.fail_after(self._limits.wall_s):
                outcome = answers.read_outcome(await child.frame(answers.most_outcome_bytes(self._limits)))
                text = await child.frame(self._limits.max_text_chars * 4)
                return answers.read_document(outcome, text, self._limits)
        except TimeoutError as error:
            raise _too_slow() from error
        except ChildEnded as error:
            raise (_too_slow() if error.status == -signal.SIGXCPU else _crashed()) from error
        except answers.Nonsense as error:
            raise _crashed() from error
        finally:
            await child.end()

    async def _begun(self, work: bytes) -> ChildProcess:
        """Give the work to the warm child, or to a new one when there is none or it died while it waited."""
        warm, self._warm = self._warm, None
        try:
            with anyio.fail_after(self._limits.start_s):
                if warm is not None:
                    with suppress(ChildEnded):
                        return await _given(warm, work)
                return await _given(await ChildProcess.start(), work)
        except (ChildEnded, TimeoutError, OSError) as error:
            raise ParserUnavailable("no parser child could be started") from error

    async def _warm_up(self) -> None:
        """Start the next child now: it is ready by the time that the next file is."""
        if self._closed or self._warm is not None:
            return
        with anyio.CancelScope(shield=True), suppress(OSError):  # the next parse will say so, if it lasts
            child = await ChildProcess.start()
            if self._closed or self._warm is not None:  # meanwhile
                await child.end()
            else:
                self._warm = child


async def _given(child: ChildProcess, work: bytes) -> ChildProcess:
    try:
        await child.give(work)
    except BaseException:
        await child.end()
        raise
    return child


def _too_slow() -> FileRejected:
    return FileRejected("parse_timeout", "The file takes longer to be read than is allowed.")


def _crashed() -> FileRejected:
    return FileRejected(
        "parse_crashed", "Reading the file ended unexpectedly: it may be damaged or need more memory than there is."
    )
