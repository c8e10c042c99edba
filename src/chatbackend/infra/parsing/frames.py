"""What parent and child say to each other: frames of a length and that many bytes, over the child's standard streams.

The child answers with three frames at most: `STARTED`, an outcome in JSON, and for a parsed file its text in UTF-8.
This module is read by the child first of all, so it imports little.
"""

import json
import struct
from dataclasses import asdict
from pathlib import Path
from typing import Final, TypedDict

from chatbackend.domain.documents import Document
from chatbackend.domain.files import FileRejected
from chatbackend.infra.parsing.limits import ParseLimits

LENGTH: Final = struct.Struct(">I")
STARTED: Final = b"started"
DETAIL_CHARS: Final = 4_000


class Work(TypedDict):
    """What the child is told: the file, its parser as `module:function`, the limits as `ParseLimits` has them."""

    path: str
    parser: str
    limits: dict[str, float]


def frame(payload: bytes) -> bytes:
    """Put a payload behind its length."""
    return LENGTH.pack(len(payload)) + payload


def work(path: Path, parser: str, limits: ParseLimits) -> bytes:
    """Return the one frame that a child is given."""
    message: Work = {"path": str(path), "parser": parser, "limits": asdict(limits)}
    return frame(json.dumps(message).encode())


def parsed(document: Document) -> bytes:
    """Return the frames of a success."""
    outcome = {
        "kind": "parsed",
        "pages": [(page.number, page.start, page.end) for page in document.pages],
        "headings": [(heading.level, heading.start, heading.end) for heading in document.headings],
        "title": document.title,
    }
    return frame(json.dumps(outcome).encode()) + frame(document.text.encode("utf-8"))


def refused(error: FileRejected, detail: str = "") -> bytes:
    """Return the frame of a refusal; `detail` is for the log, never for the file's owner."""
    outcome = {"kind": "refused", "code": error.code, "message": error.message, "detail": detail[-DETAIL_CHARS:]}
    return frame(json.dumps(outcome).encode())
