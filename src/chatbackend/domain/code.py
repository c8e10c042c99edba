"""Read the outline of source code: where its definitions are and what its first comment says."""

import re
from typing import Final

from chatbackend.domain.documents import Document, Heading

_SUFFIXES = """
c cc cpp cs cxx dart erl ex exs go h hpp hs java jl js jsx kt kts lua m mjs ml mm php pl pm ps1 py pyi r rb rs scala sh
sql swift ts tsx vb zig
"""
SUFFIXES: Final = frozenset(_SUFFIXES.split())

_LINE = re.compile(r"\S[^\n\r]*+")
_LONGEST_LINE: Final = 240  # a definition is shorter; a longer line is data, and not worth matching
_LEAD = re.compile(r"@|#(?!include|define|if|e|pragma)|//|/\*|\*|--|\[[\w(]")
_MODIFIERS = (
    r"(?:(?:export|default|async|pub(?:\([a-z]+\))?|public|private|protected|internal|static|final|abstract|override"
    r"|virtual|sealed|open|data|suspend|unsafe|inline|const|declare|partial|extern)\s+)*+"
)
_KEYWORDS = (
    r"(?:def|class|function\*?|func|fn|fun|interface|struct|enum|trait|impl|module|mod|namespace|object|record|protocol"
    r"|extension|create\s+(?:or\s+replace\s+)?(?:table|view|function|procedure|index))\b"
)
_DEFINITION = re.compile(
    r"(?:export\s+)?(?:const|let|var)\s+\w+\s*=\s*(?:async\s*)?(?:\(|function)"
    rf"|{_MODIFIERS}(?:{_KEYWORDS}[ \t(*]*[A-Za-z_$]"
    r"|type\s+\w+"
    # C and its heirs: a type or several, a name, parameters, and no statement.
    r"|(?!(?:if|for|while|switch|return|else|catch|do|new|throw|await|yield)\b)"
    r"(?:[\w:<>\[\],*&~.]+\s+){1,6}[*&]*[\w:~]+\s*\([^;={}]*\)?[^;={}()]*\{?\Z)",
    re.IGNORECASE,
)
_COMMENT = re.compile(
    r"\s*+(?:\"\"\"(?P<double>.*?)\"\"\"|'''(?P<single>.*?)'''|/\*(?P<block>.*?)\*/"
    r"|(?P<lines>(?:(?:#|//|--|;)[^\n]*+\n?[ \t]*+)++))",
    re.DOTALL,
)
_MARKERS: Final = "#/*-!; \t"
_LEGAL = re.compile(r"copyright|licen[sc]e|spdx", re.IGNORECASE)
_LONGEST_COMMENT: Final = 200
_HEAD: Final = 4000  # how much of the text is looked at for the comment


def is_code(document: Document) -> bool:
    """Return whether the title is the file name of source code."""
    name, _, suffix = (document.title or "").rpartition(".")
    return bool(name) and suffix.casefold() in SUFFIXES


def outline(text: str) -> tuple[Heading, ...]:
    """Return the definitions as headings: level by depth, with the comment and decorators directly above."""
    found: list[Heading] = []
    indents: list[int] = []
    lead: tuple[int, int] | None = None  # where the comment above began, and its indent
    last_end = 0
    for line in _LINE.finditer(text):
        gap = text[last_end : line.start()]
        indent = len(gap) - gap.rfind("\n") - 1
        begin = lead[0] if lead is not None and lead[1] == indent and gap.count("\n") == 1 else line.start()
        last_end = line.end()
        lead = (begin, indent) if _LEAD.match(line[0]) else None
        if lead is None and len(line[0]) <= _LONGEST_LINE and _DEFINITION.match(line[0].rstrip()):
            while indents and indents[-1] >= indent:
                indents.pop()
            indents.append(indent)
            found.append(Heading(len(indents), begin, line.end()))
    return tuple(found)


def leading_comment(text: str) -> str:
    """Return the first comment or docstring in one line, without its markers; legal notices are passed over."""
    position = text.find("\n") + 1 if text.startswith("#!") else 0
    while comment := _COMMENT.match(text, position, _HEAD):
        position = comment.end()
        lines = comment[comment.lastgroup or 0].splitlines()
        words = " ".join(line.strip(_MARKERS) for line in lines if "coding:" not in line)
        if words.strip() and not _LEGAL.search(words):
            return " ".join(words.split())[:_LONGEST_COMMENT]
    return ""
