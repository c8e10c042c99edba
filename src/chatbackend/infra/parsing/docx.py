"""Reads Word documents as a stream: paragraphs, headings by style, a line for every table row.

The XML is never held as a tree, so that neither depth nor size costs memory; this is why no document library is used.
Source: ECMA-376 part 1, 17 (WordprocessingML); the strict namespaces of ISO/IEC 29500 are read as well.
"""

import posixpath
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from chatbackend.domain.documents import Document
from chatbackend.domain.files import FileRejected
from chatbackend.infra.parsing.builder import TextBuilder
from chatbackend.infra.parsing.container import Attributes, open_container, stream_xml
from chatbackend.infra.parsing.limits import ParseLimits

_WORD: Final = (
    "http://schemas.openxmlformats.org/wordprocessingml/2006/main ",
    "http://purl.oclc.org/ooxml/wordprocessingml/main ",
)
_MATH_TEXT: Final = re.compile(r"http://\S+/officeDocument/(?:2006/)?math t")
_FALLBACK: Final = "http://schemas.openxmlformats.org/markup-compatibility/2006 Fallback"
_HEADING_NAME: Final = re.compile(r"heading (\d)")
_BREAKS: Final = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}
_SKIPPED: Final = frozenset({"del", "moveFrom"})  # changes that were tracked: text that is no longer there
_MAX_LEVEL: Final = 9


def parse(path: Path, limits: ParseLimits) -> Document:
    """Return the document's body; the title is the one in its properties."""
    with open_container(path, limits) as container:
        main = _main_part(container)
        styles = _Styles()
        style_part = posixpath.join(posixpath.dirname(main), "styles.xml")
        if style_part in container.namelist():
            stream_xml(container, style_part, start=styles.start, end=styles.end, text=_ignore)
        body = _Body(TextBuilder(limits), styles.levels())
        stream_xml(container, main, start=body.start, end=body.end, text=body.text)
        return body.builder.document(_title(container))


def _main_part(container: zipfile.ZipFile) -> str:
    """Find the main part by the package's relationships (part 2, 9.3)."""
    targets: list[str] = []

    def start(name: str, attributes: Attributes) -> None:
        if name.endswith(" Relationship") and attributes.get("Type", "").endswith("/officeDocument"):
            targets.append(attributes.get("Target", ""))

    stream_xml(container, "_rels/.rels", start=start, end=_ignore, text=_ignore)
    if not targets:
        raise FileRejected("invalid_file", "The file is no Word document: it names no main part.")
    return targets[0].lstrip("/")


def _title(container: zipfile.ZipFile) -> str | None:
    if "docProps/core.xml" not in container.namelist():
        return None
    title = _Title()
    stream_xml(container, "docProps/core.xml", start=title.start, end=title.end, text=title.text)
    return "".join(title.pieces)


def _ignore(*_: object) -> None:
    """Take no notice of a callback."""


class _Title:
    """Reads the Dublin Core title out of a package's properties."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self._inside = False

    def start(self, name: str, _: Attributes) -> None:
        self._inside = name.endswith("/elements/1.1/ title")

    def end(self, _: str) -> None:
        self._inside = False

    def text(self, text: str) -> None:
        if self._inside:
            self.pieces.append(text)


def _word(name: str) -> str:
    """Return the local name of a WordprocessingML element or attribute, "" for any other."""
    for namespace in _WORD:
        if name.startswith(namespace):
            return name[len(namespace) :]
    return ""


def _value(attributes: Attributes, local: str = "val") -> str:
    return next((value for name, value in attributes.items() if _word(name) == local), "")


def _outline_level(attributes: Attributes) -> int | None:
    """Return the heading level of `w:outlineLvl`, whose 0 is the first level and whose 9 is body text."""
    value = _value(attributes)
    return int(value) + 1 if value.isdecimal() and int(value) < _MAX_LEVEL else None


@dataclass(slots=True)
class _Style:
    level: int | None = None
    based_on: str = ""


class _Styles:
    """Reads which paragraph styles are headings, and of what level."""

    def __init__(self) -> None:
        self._styles: dict[str, _Style] = {}
        self._open = _Style()

    def start(self, name: str, attributes: Attributes) -> None:
        match _word(name):
            case "style":
                self._open = self._styles.setdefault(_value(attributes, "styleId"), _Style())
            case "name":
                self._open.level = self._open.level or _named_level(_value(attributes))
            case "basedOn":
                self._open.based_on = _value(attributes)
            case "outlineLvl":
                self._open.level = self._open.level or _outline_level(attributes)
            case _:
                pass

    def end(self, name: str) -> None:
        if _word(name) == "style":
            self._open = _Style()

    def levels(self) -> dict[str, int]:
        """Return the level of every style that is a heading, by itself or by what it is based on."""
        levels: dict[str, int] = {}
        for identifier, style in self._styles.items():
            above = style
            for _ in range(10):  # chains are short; a hostile one may be a ring
                if above.level is not None or above.based_on not in self._styles:
                    break
                above = self._styles[above.based_on]
            if above.level is not None:
                levels[identifier] = above.level
        return levels


def _named_level(name: str) -> int | None:
    """Style names are stored in English whatever Word's language (part 1, 17.7.4.9)."""
    if name.lower() == "title":
        return 1
    match = _HEADING_NAME.fullmatch(name.lower())
    return int(match[1]) or None if match else None


@dataclass(slots=True)
class _Paragraph:
    pieces: list[str] = field(default_factory=list[str])
    level: int | None = None
    listed: bool = False
    runs: int = 0  # runs that are open: only inside one does a tab stand for a character


@dataclass(slots=True)
class _Row:
    cells: list[list[str]] = field(default_factory=list[list[str]])

    def add(self, text: str) -> None:
        words = " ".join(text.split())
        if words and self.cells:
            self.cells[-1].append(words)

    def line(self) -> str:
        return " | ".join(map(" ".join, self.cells)) if any(self.cells) else ""


class _Body:
    """Turns the main part's elements into blocks of text as they pass."""

    def __init__(self, builder: TextBuilder, levels: dict[str, int]) -> None:
        self.builder = builder
        self._levels = levels
        self._paragraphs: list[_Paragraph] = []  # more than one: a text box inside a paragraph
        self._rows: list[_Row] = []  # more than one: a table inside a cell
        self._skipping = 0
        self._reading = False
        self._seen_root = False
        self._close_before = False  # the next block belongs close to the one before: rows, list items

    def start(self, name: str, attributes: Attributes) -> None:
        if self._skipping or name == _FALLBACK or (local := _word(name)) in _SKIPPED:
            self._skipping += 1
            return
        if not self._seen_root:
            self._check_root(local)
        match local:
            case "p":
                self._paragraphs.append(_Paragraph())
            case "tr":
                self._rows.append(_Row())
            case "tc" if self._rows:
                self._rows[-1].cells.append([])
            case _ if self._paragraphs:
                self._detail(self._paragraphs[-1], local or name, attributes)
            case _:
                pass

    def end(self, name: str) -> None:
        if self._skipping:
            self._skipping -= 1
            return
        self._reading = False
        match _word(name):
            case "p" if self._paragraphs:
                self._end_paragraph(self._paragraphs.pop())
            case "tr" if self._rows:
                self._end_row(self._rows.pop())
            case "tbl":
                self._close_before = False
            case "r" if self._paragraphs:
                self._paragraphs[-1].runs -= 1
            case _:
                pass

    def text(self, text: str) -> None:
        if self._reading and self._paragraphs and not self._skipping:
            self._paragraphs[-1].pieces.append(text)

    def _check_root(self, local: str) -> None:
        if local != "document":
            raise FileRejected("type_mismatch", "The file is an Office file, but no Word document.")
        self._seen_root = True

    def _detail(self, paragraph: _Paragraph, name: str, attributes: Attributes) -> None:
        match name:
            case "r":
                paragraph.runs += 1
            case "t":
                self._reading = True
            case "tab" | "br" | "cr" | "noBreakHyphen" if paragraph.runs:
                paragraph.pieces.append(_BREAKS[name])
            case "pStyle":
                paragraph.level = paragraph.level or self._levels.get(_value(attributes))
            case "outlineLvl":
                paragraph.level = _outline_level(attributes) or paragraph.level
            case "numPr":
                paragraph.listed = True
            case _:
                self._reading = _MATH_TEXT.fullmatch(name) is not None

    def _end_paragraph(self, paragraph: _Paragraph) -> None:
        text = "".join(paragraph.pieces)
        if self._rows:
            self._rows[-1].add(text)
            return
        if paragraph.level is not None:
            text = " ".join(text.split())
        self._emit(text, level=paragraph.level, close=paragraph.listed)

    def _end_row(self, row: _Row) -> None:
        if self._rows:
            self._rows[-1].add(row.line())
            return
        self._emit(row.line(), level=None, close=True)

    def _emit(self, text: str, *, level: int | None, close: bool) -> None:
        if text.strip():
            self.builder.block(text, gap=1 if close and self._close_before else 2, level=level)
            self._close_before = close
