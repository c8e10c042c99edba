"""Find conversations by words: what is kept of a text, and what is looked for in it.

A word is found by its beginning, in any case and without its accents; in scripts without spaces by any part of a run.
"""

import re
import unicodedata

from chatbackend.domain.characters import UNSPACED

INDEXED_CHARACTERS = 32_768  # of one text; what is said later in it is not found
SOUGHT_MAX = 8  # words of a query that count
_WORD = re.compile(rf"[{UNSPACED}]+|[^\W_{UNSPACED}]+")
_UNSPACED = re.compile(f"[{UNSPACED}]")


def words(text: str) -> str:
    """Return the different words of a text, folded, each with a space before it; "" where there are none."""
    return "".join(f" {word}" for word in dict.fromkeys(_WORD.findall(_folded(text[:INDEXED_CHARACTERS]))))


def sought(query: str) -> tuple[str, ...]:
    """Return what must all be found in what `words` has returned; no `%` or `_` is in it."""
    found = dict.fromkeys(_WORD.findall(_folded(query)))
    return tuple(word if _UNSPACED.match(word) else f" {word}" for word in found)[:SOUGHT_MAX]


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return unicodedata.normalize("NFKC", "".join(letter for letter in decomposed if not "\u0300" <= letter <= "\u036f"))
