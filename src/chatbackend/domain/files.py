"""Which files we take: the known formats by extension, their declared types, and why a file is refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

RejectionCode = Literal[
    "unsupported_file",
    "invalid_file",
    "file_too_large",
    "empty_file",
    "encrypted_file",
    "type_mismatch",
    "parse_timeout",
    "parse_memory",
    "parse_crashed",
    "too_complex",
    "no_text",
]
Content = Literal["pdf", "zip", "markup", "text", "image", "unread"]
Purpose = Literal["text", "vision", "none"]


class FileRejected(Exception):
    """A file that we do not take, or cannot read; `message` is written for its owner."""

    def __init__(self, code: RejectionCode, message: str) -> None:
        super().__init__(message)
        self.code: RejectionCode = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Format:
    """What an extension promises: its parser (`name`), its declared types (the first is canonical), how its bytes look.

    `purpose` "text" is parsed and searched, "vision" is shown to models, "none" is known but not taken yet.
    """

    name: str
    media_types: tuple[str, ...]
    content: Content
    purpose: Purpose = "text"


def extension(filename: str) -> str:
    """Return the lower-case extension with its dot, "" without one; the name may carry a path of either style."""
    base = filename.replace("\\", "/").rsplit("/", 1)[-1]
    stem, dot, suffix = base.rpartition(".")
    return f".{suffix.lower()}" if dot and stem else ""


def parsed_extensions() -> tuple[str, ...]:
    """Return the extensions whose text we read, in alphabetical order."""
    return tuple(sorted(name for name, known in FORMATS.items() if known.purpose == "text"))


def _plain(*media_types: str) -> Format:
    """Text and code: read as it stands; editors and browsers declare most of it as text/plain."""
    return Format("text", (*media_types, "text/plain"), "text")


def _image(media_type: str, *others: str) -> Format:
    return Format(media_type.removeprefix("image/"), (media_type, *others), "image", "vision")


def _unread(*media_types: str) -> Format:
    return Format("unread", media_types, "unread", "none")


_PDF = Format("pdf", ("application/pdf", "application/x-pdf"), "pdf")
_HTML = Format("html", ("text/html", "application/xhtml+xml"), "markup")
_MARKDOWN = Format("markdown", ("text/markdown", "text/x-markdown", "text/plain"), "text")
_OFFICE: Final = "application/vnd.openxmlformats-officedocument."
_JPEG = _image("image/jpeg", "image/jpg", "image/pjpeg")

# The second and later types are what browsers, SDKs and system tables really declare for the extension
# (".ts" as MPEG video, ".csv" as Excel, ".rs" as an RLS list, ...); they bind nothing but the agreement check.
FORMATS: Final[Mapping[str, Format]] = MappingProxyType(
    {
        ".pdf": _PDF,
        ".docx": Format("docx", (f"{_OFFICE}wordprocessingml.document",), "zip"),
        ".html": _HTML,
        ".htm": _HTML,
        ".md": _MARKDOWN,
        ".markdown": _MARKDOWN,
        ".txt": Format("text", ("text/plain",), "text"),
        ".c": _plain("text/x-c", "text/x-csrc"),
        ".cpp": _plain("text/x-c++", "text/x-c++src", "text/x-c"),
        ".cs": _plain("text/x-csharp"),
        ".css": _plain("text/css"),
        ".csv": _plain("text/csv", "application/csv", "text/x-csv", "application/vnd.ms-excel"),
        ".go": _plain("text/x-golang", "text/x-go"),
        ".java": _plain("text/x-java", "text/x-java-source"),
        ".js": _plain("text/javascript", "application/javascript", "application/x-javascript"),
        ".json": _plain("application/json", "text/json"),
        ".php": _plain("text/x-php", "application/x-httpd-php", "application/x-php"),
        ".py": _plain("text/x-python", "text/x-script.python", "application/x-python-code"),
        ".rb": _plain("text/x-ruby", "application/x-ruby"),
        ".rs": _plain("text/rust", "text/x-rust", "application/rls-services+xml"),
        ".sh": _plain("application/x-sh", "text/x-sh", "text/x-shellscript", "application/x-shellscript"),
        ".tex": _plain("text/x-tex", "application/x-tex", "application/x-latex"),
        ".ts": _plain(
            "application/typescript",
            "text/typescript",
            "text/x-typescript",
            "video/mp2t",
            "video/vnd.dlna.mpeg-tts",
            "text/vnd.trolltech.linguist",
        ),
        ".xml": Format("text", ("application/xml", "text/xml", "text/plain"), "markup"),
        ".png": _image("image/png", "image/x-png"),
        ".jpg": _JPEG,
        ".jpeg": _JPEG,
        ".gif": _image("image/gif"),
        ".webp": _image("image/webp"),
        ".doc": _unread("application/msword"),
        ".eml": _unread("message/rfc822"),
        ".epub": _unread("application/epub+zip"),
        ".odt": _unread("application/vnd.oasis.opendocument.text"),
        ".pptx": _unread(f"{_OFFICE}presentationml.presentation"),
        ".ppt": _unread("application/vnd.ms-powerpoint"),
        ".rtf": _unread("application/rtf", "text/rtf"),
        ".xls": _unread("application/vnd.ms-excel"),
        ".xlsx": _unread(f"{_OFFICE}spreadsheetml.sheet"),
    }
)
