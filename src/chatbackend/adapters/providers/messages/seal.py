"""How Claude's proofs of its reasoning are kept in `Reasoning.encrypted_content`, told from other providers' ones.

A thinking block carries a signature of its text, a redacted one only ciphertext. Either goes back unchanged, and
only to Claude: a prefix says which it is.
"""

from typing import Any

from chatbackend.domain.items import Reasoning

_SIGNED = "claude.signature."
_REDACTED = "claude.redacted."


def seal_signature(signature: str) -> str:
    """Return a thinking block's signature as `encrypted_content`."""
    return _SIGNED + signature


def seal_redacted(data: str) -> str:
    """Return a redacted thinking block's data as `encrypted_content`."""
    return _REDACTED + data


def thinking_block(item: Reasoning) -> dict[str, Any] | None:
    """Return the content block that an item came from, None for reasoning that is not Claude's or not sealed."""
    seal = item.encrypted_content or ""
    if seal.startswith(_REDACTED):
        return {"type": "redacted_thinking", "data": seal.removeprefix(_REDACTED)}
    if not seal.startswith(_SIGNED):
        return None
    text = "".join(part.text for part in item.content or item.summary)
    return {"type": "thinking", "thinking": text, "signature": seal.removeprefix(_SIGNED)}
