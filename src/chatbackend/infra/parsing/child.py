"""The child process: takes one file, confines itself, parses it, answers, and ends.

Started as `python -m chatbackend.infra.parsing.child PARENT_PID` by `process.py`. One file a process: whatever a
hostile file does to the parser's memory never meets another tenant's file.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import cast

from chatbackend.domain.documents import Document
from chatbackend.domain.files import FileRejected
from chatbackend.infra.parsing import confinement, frames
from chatbackend.infra.parsing.limits import ParseLimits

Parser = Callable[[Path, ParseLimits], Document]


def main() -> None:
    """Serve one piece of work; end quietly when the parent closes the pipe instead."""
    answers = confinement.stay_quiet()
    confinement.die_with(int(sys.argv[1]))
    size = sys.stdin.buffer.read(frames.LENGTH.size)
    if len(size) == frames.LENGTH.size:
        work: frames.Work = json.loads(sys.stdin.buffer.read(frames.LENGTH.unpack(size)[0]))
        limits = ParseLimits(**work["limits"])  # pyright: ignore[reportArgumentType] - the parent's own, as it packed them
        parser = _load(work["parser"])
        confinement.confine(limits)
        _write(answers, frames.frame(frames.STARTED))
        _write(answers, outcome(parser, Path(work["path"]), limits))
    os._exit(0)  # nothing to save, and freeing a large tree takes time


def outcome(parser: Parser, path: Path, limits: ParseLimits) -> bytes:
    """Parse and return the answer; whatever goes wrong inside a parser is a refusal of the file."""
    try:
        return frames.parsed(parser(path, limits))
    except FileRejected as error:
        return frames.refused(error)
    except MemoryError:
        return frames.refused(FileRejected("parse_memory", "The file needs more memory to be read than is allowed."))
    except Exception:
        damaged = FileRejected("invalid_file", "The file cannot be read: it may be damaged.")
        return frames.refused(damaged, traceback.format_exc())


def _load(parser: str) -> Parser:
    module, _, function = parser.partition(":")
    return cast(Parser, getattr(import_module(module), function))


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


if __name__ == "__main__":
    main()
