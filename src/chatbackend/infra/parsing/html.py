"""Reads HTML: the words a reader would see, a line for every block, headings in place.

The tree is built only after a look at how deep it would be: Lexbor takes quadratic time over nested elements.
"""

import codecs
import re
from pathlib import Path
from typing import Final

from selectolax.lexbor import LexborHTMLParser, LexborNode

from chatbackend.domain.documents import Document
from chatbackend.domain.files import FileRejected
from chatbackend.infra.parsing.builder import TextBuilder
from chatbackend.infra.parsing.limits import ParseLimits
from chatbackend.infra.parsing.text import read

_MARKUP_RATIO: Final = 4  # so much longer than its text may a page be
_CHARSET: Final = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9._:\-]{1,40})", re.IGNORECASE)
# Python's names of the web's encodings: its other codecs (punycode, unicode_escape, ...) are not for hostile bytes, and
# a page that could be read as ASCII up to its declaration is in no UTF-16.
_ENCODING: Final = re.compile(
    r"utf-8|iso8859-\d+|cp(?:125\d|866|874|932|949)|koi8-[ru]|mac-(?:roman|cyrillic)|"
    r"shift_jis|euc_(?:jp|kr)|iso2022_jp|gbk|gb2312|gb18030|big5(?:hkscs)?"
)
_COMMENT_END: Final = re.compile(r"(?<=<!--)-?>|--!?>")  # HTML 13.2.5.43 to 51
_TOKEN: Final = re.compile(r"<!--|<(/?)([a-zA-Z][^\s/>]{0,40})")
_RAW: Final = frozenset({"script", "style", "textarea", "title", "xmp", "noembed", "noframes", "iframe"})
# Neither void elements nor those whose end tag authors leave out make a page deep.
_FLAT: Final = re.compile(
    r"area|base|br|col|embed|hr|img|input|link|meta|param|source|track|wbr|"
    r"p|li|dt|dd|option|optgroup|tr|td|th|thead|tbody|tfoot|colgroup|caption|rp|rt|body|html|head"
)
_SKIPPED: Final = re.compile(
    r"script|style|noscript|template|head|iframe|object|svg|canvas|audio|video|noembed|noframes"
)
_SPACED: Final = re.compile(
    r"p|h[1-6]|ul|ol|dl|table|blockquote|pre|section|article|header|footer|nav|main|aside|figure|form|"
    r"fieldset|hr|address|details|hgroup|body"
)
_LINES: Final = re.compile(r"div|li|tr|dt|dd|br|figcaption|caption|option|legend|summary|thead|tbody|tfoot|select")
_CELLS: Final = frozenset({"td", "th"})
_LEVELS: Final = {f"h{level}": level for level in range(1, 7)}


def parse(path: Path, limits: ParseLimits) -> Document:
    """Return the visible text; the title is the page's `<title>`."""
    source = read(path, _MARKUP_RATIO * limits.max_text_chars, _declared_encoding(path))
    check_depth(source, limits.max_html_depth)
    tree = LexborHTMLParser(source)
    title = tree.css_first("title")
    body = tree.body
    reader = _Reader(limits)
    if body is not None:
        reader.read(body)
    return reader.builder.document(title.text() if title is not None else None)


def check_depth(source: str, most: int) -> None:
    """Refuse a page whose elements nest deeper than `most`, in one pass over its tags.

    An upper bound: elements that close themselves are not counted, elements that are never closed are.
    """
    depth = position = 0
    while match := _TOKEN.search(source, position):
        position = match.end()
        name = (match[2] or "").lower()
        if not name:
            position = _after(source, _COMMENT_END, position)
        elif match[1]:
            depth -= depth > 0 and not _FLAT.fullmatch(name)
        elif name in _RAW:
            position = _after(source, re.compile(f"</{name}", re.IGNORECASE), position)
        else:
            depth += not _FLAT.fullmatch(name)
        if depth > most:
            raise FileRejected("too_complex", f"The page's elements are nested more than {most} deep.")


def _after(source: str, mark: re.Pattern[str], position: int) -> int:
    """Where `mark` ends after `position`, the end of the source without one."""
    match = mark.search(source, position)
    return match.end() if match else len(source)


def _declared_encoding(path: Path) -> str | None:
    with path.open("rb") as file:
        match = _CHARSET.search(file.read(1024))
    try:
        name = codecs.lookup(match[1].decode()).name if match else ""
    except LookupError:
        return None
    if name in {"ascii", "iso8859-1"}:
        return "cp1252"  # as the web reads these two labels
    return name if _ENCODING.fullmatch(name) else None


class _Reader:
    """Walks the tree without recursion and breaks its words into blocks."""

    def __init__(self, limits: ParseLimits) -> None:
        self.builder = TextBuilder(limits)
        self._words: list[str] = []
        self._gap = 2
        self._level: int | None = None
        self._preformatted = 0

    def read(self, root: LexborNode) -> None:
        node: LexborNode = root
        while True:
            child = node.first_child if self._enter(node) else None
            if child is not None:
                node = child
                continue
            self._leave(node)
            while node.next is None:
                parent = node.parent
                if parent is None or node.mem_id == root.mem_id:
                    self._flush()
                    return
                node = parent
                self._leave(node)
            node = node.next

    def _enter(self, node: LexborNode) -> bool:
        """Take what begins at `node`; False when its children are not to be read."""
        tag = node.tag or ""
        if tag == "-text":
            self._words.append(node.text_content or "")
        elif _SKIPPED.fullmatch(tag):
            return False
        elif tag in _CELLS:
            if any(not word.isspace() for word in self._words):
                self._words.append(" | ")
        else:
            self._break(tag)
            self._level = self._level or _LEVELS.get(tag)
            self._preformatted += tag == "pre"
        return True

    def _leave(self, node: LexborNode) -> None:
        tag = node.tag or ""
        if tag == "br" or tag in _CELLS:
            return
        if tag in _LEVELS:
            self._flush()
            self._level = None
        self._break(tag)
        self._preformatted -= tag == "pre"

    def _break(self, tag: str) -> None:
        gap = 2 if _SPACED.fullmatch(tag) else 1 if _LINES.fullmatch(tag) else 0
        if not gap:
            return
        if self._level is not None:
            self._words.append(" ")  # a heading is one line, whatever is inside
            return
        self._flush()
        self._gap = max(self._gap, gap)

    def _flush(self) -> None:
        text = "".join(self._words)
        self._words.clear()
        if not self._preformatted:
            text = " ".join(text.split())
        if text and not text.isspace():
            self.builder.block(text, gap=self._gap, level=self._level)
            self._gap = 1
