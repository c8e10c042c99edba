"""Reduce an English word to its stem.

Source: M. F. Porter, "An algorithm for suffix stripping", Program 14(3), 1980.
"""

from functools import lru_cache

_PLURALS = (("sses", "ss"), ("ies", "i"), ("ss", "ss"), ("s", ""))
_DERIVED = (
    ("ational", "ate"), ("tional", "tion"), ("enci", "ence"), ("anci", "ance"), ("izer", "ize"), ("bli", "ble"),
    ("alli", "al"), ("entli", "ent"), ("eli", "e"), ("ousli", "ous"), ("ization", "ize"), ("ation", "ate"),
    ("ator", "ate"), ("alism", "al"), ("iveness", "ive"), ("fulness", "ful"), ("ousness", "ous"), ("aliti", "al"),
    ("iviti", "ive"), ("biliti", "ble"), ("logi", "log"),
)  # fmt: skip
_ADJECTIVES = (
    ("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""), ("ness", ""),
)  # fmt: skip
_ENDINGS = (
    "ement", "ance", "ence", "able", "ible", "ment", "ant", "ent", "ism", "ate", "iti", "ous", "ive", "ize", "ion",
    "al", "er", "ic", "ou",
)  # fmt: skip


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """Return the stem of a word in lower-case ASCII letters."""
    if len(word) < 3:
        return word
    word = _with_i(_without_participle(_replaced(word, _PLURALS, longer_than=-1)))
    word = _replaced(word, _DERIVED, longer_than=0)
    word = _replaced(word, _ADJECTIVES, longer_than=0)
    return _without_e(_without_ending(word))


def _replaced(word: str, rules: tuple[tuple[str, str], ...], *, longer_than: int) -> str:
    """Apply the first rule whose suffix the word has, if the measure of what remains allows."""
    for suffix, replacement in rules:
        if word.endswith(suffix):
            root = word.removesuffix(suffix)
            return root + replacement if longer_than < 0 or _measure(root) > longer_than else word
    return word


def _without_participle(word: str) -> str:
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    for suffix in ("ed", "ing"):
        root = word.removesuffix(suffix)
        if root != word and "v" in _shape(root):
            return _repaired(root)
        if root != word:
            return word
    return word


def _repaired(root: str) -> str:
    if root.endswith(("at", "bl", "iz")):
        return root + "e"
    if root[-2:-1] == root[-1:] and _shape(root)[-1:] == "c" and root[-1] not in "lsz":
        return root[:-1]
    return root + "e" if _measure(root) == 1 and _ends_short(root) else root


def _with_i(word: str) -> str:
    return word[:-1] + "i" if word.endswith("y") and "v" in _shape(word[:-1]) else word


def _without_ending(word: str) -> str:
    for suffix in _ENDINGS:
        if word.endswith(suffix):
            root = word.removesuffix(suffix)
            allowed = _measure(root) > 1 and (suffix != "ion" or root.endswith(("s", "t")))
            return root if allowed else word
    return word


def _without_e(word: str) -> str:
    if word.endswith("e"):
        root = word[:-1]
        if _measure(root) > 1 or (_measure(root) == 1 and not _ends_short(root)):
            word = root
    return word[:-1] if word.endswith("ll") and _measure(word) > 1 else word


def _measure(root: str) -> int:
    """Return how often a vowel is followed by a consonant."""
    return _shape(root).count("vc")


def _ends_short(root: str) -> bool:
    """Consonant, vowel, consonant at the end, the last not w, x or y."""
    return _shape(root)[-3:] == "cvc" and root[-1] not in "wxy"


def _shape(word: str) -> str:
    """Return the word as v(owels) and c(onsonants); y is a vowel after a consonant."""
    shape = ""
    for letter in word:
        vowel = letter in "aeiou" or (letter == "y" and shape.endswith("c"))
        shape += "v" if vowel else "c"
    return shape
