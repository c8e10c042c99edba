"""Groups of characters, each written as the inside of a regular expression's character class.

Source: the block ranges of Unicode (Blocks.txt).
"""

from typing import Final

# Scripts that put no space between words: Thai and Lao, Myanmar, Hangul Jamo, Khmer, kana, Hangul, Han with its
# extensions and compatibility forms. (Korean has spaces, but its words carry their particles with them.)
UNSPACED: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uffdc\U00020000-\U0003ffff"
)

# What ends a sentence before white space, and what ends one wherever it stands (CJK, Arabic, Devanagari).
STOPS: Final = ".!?\u2026"
WIDE_STOPS: Final = "\u3002\uff01\uff1f\uff61\u061f\u0964"

# Quotes, brackets and markup that close a sentence after its stop, and quotes that open one.
CLOSERS: Final = "\"'\u201d\u2019\u00bb)\\]}*_`"
WIDE_CLOSERS: Final = "\u201d\u2019\u300d\u300f\uff09)"
OPENERS: Final = "(\\[\"'\u201c\u2018"

BULLETS: Final = "-*+\u2022\u2023\u25aa\u25e6\u2013\u2014"
