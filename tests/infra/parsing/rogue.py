"""Parsers that misbehave, given to the pool under formats of their own; each runs in the child alone."""

import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from chatbackend.domain.documents import Document, Page
from chatbackend.infra.parsing.limits import ParseLimits

FORMATS = {
    name: f"tests.infra.parsing.rogue:{name}"
    for name in (
        "hang",
        "spin",
        "eat",
        "abort",
        "leave",
        "flood",
        "chatter",
        "forge",
        "lie",
        "fail",
        "write",
        "spawn",
        "env",
    )
}


def hang(path: Path, limits: ParseLimits) -> NoReturn:
    """Tell our process id through the named pipe whose path is in the file, then never end."""
    with open(path.read_text(), "w", encoding="ascii") as pipe:
        pipe.write(str(os.getpid()))
    while True:
        signal.pause()


def spin(path: Path, limits: ParseLimits) -> NoReturn:
    while True:
        pass


def eat(path: Path, limits: ParseLimits) -> NoReturn:
    eaten: list[bytes] = []
    while True:
        eaten.append(bytes(1 << 20))


def abort(path: Path, limits: ParseLimits) -> NoReturn:
    os.abort()


def leave(path: Path, limits: ParseLimits) -> NoReturn:
    os._exit(0)


def flood(path: Path, limits: ParseLimits) -> Document:
    return Document("x" * (limits.max_text_chars * 4 + 1))


def chatter(path: Path, limits: ParseLimits) -> Document:
    sys.stdout.write("noise " * 100_000)
    os.write(1, b"noise")
    sys.stderr.write("noise " * 100_000)
    return Document("quiet")


def forge(path: Path, limits: ParseLimits) -> Document:
    """Write nonsense to every descriptor there is."""
    for descriptor in range(limits.open_files):
        try:
            os.write(descriptor, b"\0\0\0\x0f{'kind': 'what'}")
        except OSError:
            continue
    return Document("never seen")


def lie(path: Path, limits: ParseLimits) -> Document:
    return Document("short", (Page(1, 0, 1_000_000),))


def fail(path: Path, limits: ParseLimits) -> NoReturn:
    raise ZeroDivisionError("the words of a programmer")


def write(path: Path, limits: ParseLimits) -> Document:
    path.with_name("written").write_bytes(b"x" * 100)
    return Document("not reached")


def spawn(path: Path, limits: ParseLimits) -> Document:
    """Say what the kernel would let us have: processes, descriptors, core size."""
    import resource  # noqa: PLC0415 - only here

    kinds = (resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE, resource.RLIMIT_CORE, resource.RLIMIT_AS)
    return Document(" ".join(str(resource.getrlimit(kind)) for kind in kinds))


def env(path: Path, limits: ParseLimits) -> Document:
    return Document(" ".join(sorted(os.environ)))
