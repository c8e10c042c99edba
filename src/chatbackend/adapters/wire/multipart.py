"""Reads multipart/form-data as it arrives: events out of bytes, every part bounded, however the bytes were cut.

Source: RFC 7578 (form-data), RFC 2046 5.1 (multipart), RFC 8187 (`filename*`), RFC 9110 5.6 (tokens, quoted strings).
"""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")  # RFC 2046 5.1.1
_PARAMETER: Final = re.compile(r';[ \t]*([!#$%&\'*+\-.^_`|~0-9A-Za-z]+)=(?:"((?:[^"\\]|\\.)*)"|([^;" \t]*))[ \t]*')
_ESCAPE: Final = re.compile(r'\\(["\\])')  # only these: a path of Windows is full of other backslashes
_EXTENDED: Final = re.compile(
    r"(utf-8|iso-8859-1)'[^']*'((?:[!#$&+\-.^_`|~0-9A-Za-z]|%[0-9A-Fa-f]{2})*)", re.IGNORECASE
)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_IDENTITY: Final = ("", "7bit", "8bit", "binary")


class MultipartError(Exception):
    """The body is not well-formed multipart/form-data; `message` says where."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class MultipartTooLarge(MultipartError):
    """The body is over one of the reader's limits; `message` says which."""


@dataclass(frozen=True, slots=True)
class MultipartLimits:
    """Bounds of one body. The content of a file part is bounded by `total_bytes` alone (and by who stores it)."""

    parts: int = 64
    header_bytes: int = 8 * 1024
    field_bytes: int = 64 * 1024
    total_bytes: int = 513 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Field:
    """A whole part without a file name."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class FileStart:
    """A file begins. `filename` is the client's word: data, never a path."""

    name: str
    filename: str
    content_type: str | None


@dataclass(slots=True)
class FileData:
    """The next bytes of the file that began last."""

    data: bytes


@dataclass(frozen=True, slots=True)
class FileEnd:
    """The file that began last is whole."""


Part = Field | FileStart | FileData | FileEnd


class MultipartReader:
    """Turns the bytes of one body into parts; memory is bounded by the limits and the piece being fed.

    Raises:
        MultipartError: the content type is not multipart/form-data with a boundary.
    """

    def __init__(self, content_type: str, limits: MultipartLimits) -> None:
        self._limits = limits
        self._parts: list[Part] = []
        self._count = 0
        self._total = 0
        self._started = False
        self._ended = False
        self._failed = False
        self._header_bytes = 0
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._headers: dict[str, str] = {}
        self._field: str | None = None
        self._value = bytearray()
        self._parser = MultipartParser(
            _boundary(content_type),
            {
                "on_part_begin": self._part_begin,
                "on_header_field": self._header_field_data,
                "on_header_value": self._header_value_data,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._part_data,
                "on_part_end": self._part_end,
                "on_end": self._end,
            },
            # Its own bounds depend on how the bytes were cut; ours, over a part's headers together, do not.
            max_header_count=limits.header_bytes,
            max_header_size=limits.total_bytes,
        )

    def feed(self, data: bytes) -> list[Part]:
        """Return what `data` completes.

        Raises:
            MultipartTooLarge: a limit is passed.
            MultipartError: the bytes are malformed; the reader is of no use afterwards.
        """
        if self._failed:
            raise MultipartError("The body was malformed before.")
        self._total += len(data)
        try:
            if self._total > self._limits.total_bytes:
                raise MultipartTooLarge(f"The body is larger than {self._limits.total_bytes} bytes.")
            self._write(data)
        except FormParserError as error:
            self._failed = True
            raise MultipartError("The body is not well-formed multipart/form-data.") from error
        except MultipartError:
            self._failed = True
            raise
        parts, self._parts = self._parts, []
        return parts

    def close(self) -> None:
        """Check that the body ended where multipart ends.

        Raises:
            MultipartError: it did not.
        """
        if self._failed or not self._ended:
            raise MultipartError("The body ends before its closing boundary.")

    def _write(self, data: bytes) -> None:
        # The parser takes line ends before the first boundary, but skips a preamble only when both come
        # in one piece; no client writes one, so only the line ends are taken, however they are cut.
        if not self._started:
            data = data.lstrip(b"\r\n")
            self._started = bool(data)
        self._parser.write(data)

    def _part_begin(self) -> None:
        self._count += 1
        if self._count > self._limits.parts:
            raise MultipartTooLarge(f"The body has more than {self._limits.parts} parts.")
        self._header_bytes = 0
        self._headers = {}

    def _header_field_data(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._header_name += data[start:end]

    def _header_value_data(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._header_value += data[start:end]

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > self._limits.header_bytes:
            raise MultipartTooLarge(f"The headers of a part are larger than {self._limits.header_bytes} bytes.")

    def _header_end(self) -> None:
        name, value = self._header_name.decode("ascii").lower(), _text(bytes(self._header_value)).strip(" \t")
        self._header_name, self._header_value = bytearray(), bytearray()
        if name in self._headers or _CONTROL.search(value):
            raise MultipartError(f"The header {name!r} of a part is repeated or holds a control character.")
        self._headers[name] = value

    def _headers_finished(self) -> None:
        name, filename = _disposition(self._headers.get("content-disposition", ""))
        if self._headers.get("content-transfer-encoding", "").lower() not in _IDENTITY:
            raise MultipartError("A part has a content-transfer-encoding, which form data does not use.")
        self._field = name if filename is None else None
        if filename is not None:
            self._parts.append(FileStart(name, filename, self._headers.get("content-type")))

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._field is None:
            self._parts.append(FileData(data[start:end]))
            return
        if len(self._value) + end - start > self._limits.field_bytes:
            raise MultipartTooLarge(f"The field {self._field[:64]!r} is larger than {self._limits.field_bytes} bytes.")
        self._value += data[start:end]

    def _part_end(self) -> None:
        if self._field is None:
            self._parts.append(FileEnd())
            return
        try:
            value = self._value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise MultipartError(f"The field {self._field[:64]!r} is not UTF-8.") from error
        self._parts.append(Field(self._field, value))
        self._value = bytearray()

    def _end(self) -> None:
        self._ended = True


def _boundary(content_type: str) -> str:
    media_type, _, rest = content_type.partition(";")
    if media_type.strip().lower() != "multipart/form-data":
        raise MultipartError("The content type is not multipart/form-data.")
    boundary = _parameters(";" + rest).get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise MultipartError("The content type has no valid boundary.")
    return boundary


def _disposition(header: str) -> tuple[str, str | None]:
    """Return the part's name and its file name, None for a plain field (RFC 7578 4.2)."""
    kind, _, rest = header.partition(";")
    if kind.strip().lower() != "form-data":
        raise MultipartError("A part has no content-disposition of form-data.")
    parameters = _parameters(";" + rest)
    if "name" not in parameters:
        raise MultipartError("A part has no name.")
    filename = parameters.get("filename")
    if "filename*" in parameters:
        # RFC 7578 4.2 forbids it in form data; clients send it all the same, beside a worse `filename`.
        filename = _extended(parameters["filename*"])
    # Browsers write a quote as %22 (WHATWG HTML 4.10.21.8); no other escape of theirs can be told from a real name.
    return parameters["name"].replace("%22", '"'), None if filename is None else filename.replace("%22", '"')


def _parameters(text: str) -> dict[str, str]:
    """Read `;name=value` pairs; anything else, or a name twice, is malformed."""
    found: dict[str, str] = {}
    position = 0
    text = text.rstrip("; \t")
    while position < len(text):
        match = _PARAMETER.match(text, position)
        if match is None or match[1].lower() in found:
            raise MultipartError("A header's parameters are malformed.")
        found[match[1].lower()] = match[3] if match[2] is None else _ESCAPE.sub(r"\1", match[2])
        position = match.end()
    return found


def _extended(value: str) -> str:
    """Decode RFC 8187: `UTF-8''na%C3%AFve.txt`."""
    match = _EXTENDED.fullmatch(value)
    if match is None:
        raise MultipartError("A file name is not in the form of RFC 8187.")
    try:
        decoded = unquote_to_bytes(match[2]).decode(match[1])
    except UnicodeDecodeError as error:
        raise MultipartError("A file name is not in the form of RFC 8187.") from error
    if _CONTROL.search(decoded):
        raise MultipartError("A file name holds a control character.")
    return decoded


def _text(data: bytes) -> str:
    """Header bytes are UTF-8 (RFC 7578 5.1); old clients send Latin-1, which is better than a refusal."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")
