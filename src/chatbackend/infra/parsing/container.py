"""Opens ZIP containers (OOXML) only after their directory proved harmless, and streams their XML without entities.

Source: APPNOTE.TXT 6.3 (ZIP) 4.3.16, end of central directory record; ECMA-376 part 2 (Open Packaging Conventions) 8.
"""

import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final
from xml.parsers import expat

from chatbackend.domain.files import FileRejected
from chatbackend.infra.parsing.limits import ParseLimits

_END: Final = struct.Struct("<10xHL6x")  # entries, bytes of the directory
_END_MARK: Final = b"PK\x05\x06"
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENTRY_BYTES: Final = 46  # of the fixed part of a directory entry
_PIECE_BYTES: Final = 64 * 1024
_RATIO_FLOOR_BYTES: Final = 1024 * 1024  # what is smaller unpacked is no bomb, whatever its ratio

Attributes = dict[str, str]
StartElement = Callable[[str, Attributes], None]
EndElement = Callable[[str], None]
Characters = Callable[[str], None]


def open_container(path: Path, limits: ParseLimits) -> zipfile.ZipFile:
    """Open the ZIP at `path`.

    Raises:
        FileRejected: `invalid_file` when it is none, `encrypted_file`, `too_complex` when it is a bomb.
    """
    _check_directory_size(path, limits)
    try:
        container = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise _broken() from error
    entries = container.infolist()
    unzipped = sum(entry.file_size for entry in entries)
    zipped = max(1, path.stat().st_size)
    if len(entries) > limits.max_zip_entries:
        raise _too_many(limits)
    if unzipped > limits.max_unzipped_bytes:
        raise FileRejected("too_complex", f"The document unpacks to more than {limits.max_unzipped_bytes:,} bytes.")
    if unzipped > _RATIO_FLOOR_BYTES and unzipped / zipped > limits.max_unzip_ratio:
        raise FileRejected("too_complex", f"The document unpacks to more than {limits.max_unzip_ratio} times its size.")
    if any(entry.compress_type not in _METHODS for entry in entries):  # part 2, annex C: no other is allowed
        raise _broken()
    if any(entry.flag_bits & 1 for entry in entries):
        raise FileRejected("encrypted_file", "The document is protected by a password: remove it and upload again.")
    return container


def stream_xml(
    container: zipfile.ZipFile, name: str, *, start: StartElement, end: EndElement, text: Characters
) -> None:
    """Call back for every element of the part `name`; names are `namespace local`, with a space, where there is one.

    The part is never held whole. The zip module stops at the size its directory declares, which was bounded on opening.

    Raises:
        FileRejected: `invalid_file` for a part that is missing, broken, or has a document type declaration.
    """
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        with container.open(name) as part:
            while piece := part.read(_PIECE_BYTES):
                parser.Parse(piece, False)
            parser.Parse(b"", True)
    except (
        KeyError,
        zipfile.BadZipFile,
        zlib.error,
        expat.ExpatError,
        NotImplementedError,
        OSError,
        EOFError,
    ) as error:
        raise _broken() from error


def _check_directory_size(path: Path, limits: ParseLimits) -> None:
    """Look at the end record alone, so that a directory of a million entries is never read."""
    size = path.stat().st_size
    if not size:
        raise FileRejected("empty_file", "The file is empty.")
    with path.open("rb") as file:
        file.seek(max(0, size - _END.size - 65_535))
        tail = file.read()
    at = tail.rfind(_END_MARK)
    if at < 0 or len(tail) - at < _END.size:
        raise _broken()
    entries, directory_bytes = _END.unpack_from(tail, at)
    # 0xFFFF means that the count is in a ZIP64 record: no document has so many parts.
    if entries > limits.max_zip_entries or directory_bytes > limits.max_zip_entries * (_ENTRY_BYTES + 200):
        raise _too_many(limits)


def _refuse_doctype(*_: object) -> None:
    """Office documents have none (ECMA-376 part 2, 8.1.4): it could only carry entities."""
    raise FileRejected("invalid_file", "The document has an XML document type declaration, which is not allowed.")


def _too_many(limits: ParseLimits) -> FileRejected:
    return FileRejected("too_complex", f"The document has more than {limits.max_zip_entries:,} parts.")


def _broken() -> FileRejected:
    return FileRejected("invalid_file", "The document is damaged: its ZIP container or a part of it cannot be read.")
