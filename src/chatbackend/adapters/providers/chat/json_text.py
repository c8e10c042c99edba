"""Where a JSON object ends in a text that comes in pieces, found without looking at anything twice."""

import re

_MARK = re.compile(r'[{}"\\]')


class JsonText:
    """A text that begins with an object. Whether that is JSON is for a parser to say: only its braces are counted."""

    def __init__(self) -> None:
        self.end: int | None = None  # behind the object's last brace, once that is there
        self._pieces: list[str] = []
        self._length = 0
        self._depth = 0
        self._quoted = False
        self._escaped = False

    def __str__(self) -> str:
        return "".join(self._pieces)

    def feed(self, piece: str) -> bool:
        """Take the next piece; return whether the object has ended."""
        if self.end is None and (end := self._find(piece)) is not None:
            self.end = self._length + end
        self._pieces.append(piece)
        self._length += len(piece)
        return self.end is not None

    def _find(self, piece: str) -> int | None:
        at = 1 if self._escaped and piece else 0
        self._escaped = self._escaped and not piece
        while mark := _MARK.search(piece, at):
            at = mark.end()
            match mark[0]:
                case '"':
                    self._quoted = not self._quoted
                case "\\":
                    self._escaped = at == len(piece)
                    at += 1
                case "{" if not self._quoted:
                    self._depth += 1
                case "}" if not self._quoted:
                    self._depth -= 1
                    if self._depth == 0:
                        return at
                case _:
                    pass
        return None
