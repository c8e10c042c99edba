"""Ids that are longer than OpenAI takes them, made short: the same id always the same way.

Source: what OpenAI answers to longer ones, `Invalid 'messages[1].tool_calls[0].id': string too long`, of `user` and of
`input[1].call_id` alike; `safety_identifier` in the `openai` package.
"""

from hashlib import sha256

CHAT_CALL_ID = 40
CALL_ID = 64
USER = 64


def shortened(given: str, most: int) -> str:
    """Return an id of at most so many (up to 64) characters, unchanged where it is short enough."""
    return given if len(given) <= most else sha256(given.encode()).hexdigest()[:most]
