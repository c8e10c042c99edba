"""English words that need a treatment of their own: stopwords, abbreviations, words that begin sentences."""

from typing import Final

_STOPWORDS = """
a about above after again against all also am an and any are as at be because been before being below between both but
by can could d did do does doing down during each few for from further had has have having he her here hers herself him
himself his how i if in into is it its itself just ll m may me might more most must my myself no nor not now of off on
once only or other our ours ourselves out over own re same s shall she should so some such t than that the their theirs
them themselves then there these they this those through to too under until up upon us ve very was we were what when
where which while who whom whose why will with would you your yours yourself yourselves
"""

_ABBREVIATIONS = """
adm al approx apr assn aug bros ca capt cf ch cmdr co col corp dec dept dr ed eds eq eqs esp est ex feb fig figs gen gov
hon inc jan jr jul jun lt ltd maj mar messrs mme mr mrs ms mt nos nov oct op pp pres prof pt pts rep repr resp rev sec
sen sep sept sgt sr st str tab univ v viz vol vols vs
"""

_STARTERS = """
A After All An And As At But For From He Her His However I If In It Its My No On Our She So That The Their There These
They This To We What When While With You Your
"""

STOPWORDS: Final = frozenset(_STOPWORDS.split())
"""Words that say nothing about what a text is about."""

ABBREVIATIONS: Final = frozenset(_ABBREVIATIONS.split())
"""Written with a full stop that ends no sentence."""

BEFORE_NUMBERS: Final = frozenset({"art", "no", "nr", "p", "\u00a7"})
"""Abbreviations only where a number follows."""

STARTERS: Final = frozenset(_STARTERS.split())
"""Words that, capitalised, begin a sentence rather than go on with a name."""
