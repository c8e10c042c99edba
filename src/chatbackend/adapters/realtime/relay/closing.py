"""Close codes and reasons of one side, as the other side is told of them.

Source: RFC 6455 sections 7.4 and 5.5.1: 1005, 1006 and 1015 are never sent; a reason has at most 123 bytes.
"""

import re
from collections.abc import Iterable

from chatbackend.domain.realtime import LONGEST_REASON, Ended

_SENDABLE = frozenset((1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014))
_KEY = re.compile(r"\b(?:sk-|ek_|sess-|eyJ)[\w.*-]{6,}")
REDACTED = "[redacted]"
CUT_OFF = Ended(1011, "the provider hung up")


def for_client(ended: Ended, secrets: Iterable[str] = ()) -> Ended:
    """Return how a client is told that its provider closed."""
    if ended.code == 1005:
        return Ended(1000)
    if not _sendable(ended.code):
        return CUT_OFF
    return Ended(ended.code, cut(redacted(ended.reason, secrets)))


def for_provider(ended: Ended) -> Ended:
    """Return how a provider is told that its client closed; the client's words stay with us."""
    if ended.code == 1006:
        return Ended(1001)
    return Ended(ended.code if _sendable(ended.code) else 1000)


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """Return a text without these secrets, and without anything that looks like a key."""
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    return _KEY.sub(REDACTED, text)


def cut(reason: str) -> str:
    """Return as much of a reason as fits, in whole characters."""
    return reason.encode()[:LONGEST_REASON].decode(errors="ignore")


def _sendable(code: int) -> bool:
    return code in _SENDABLE or 3000 <= code <= 4999
