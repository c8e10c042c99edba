"""How the encrypted reasoning of Responses providers is kept in `Reasoning.encrypted_content`, told from others' ones.

It goes back unchanged, and only to a provider of this kind. The item's id does not: nothing is stored there, so servers
look the id up in vain and refuse it. Plain reasoning text does not either: it is taken as output only.
"""

from typing import Any

from chatbackend.domain.items import Reasoning

_PREFIX = "responses.encrypted."


def seal(encrypted_content: str) -> str:
    """Return a provider's encrypted reasoning as our `encrypted_content`."""
    return _PREFIX + encrypted_content


def reasoning_item(item: Reasoning) -> dict[str, Any] | None:
    """Return the input item that an item came from, None for reasoning of other providers or without a seal."""
    sealed = item.encrypted_content or ""
    if not sealed.startswith(_PREFIX):
        return None
    return {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": part.text} for part in item.summary],  # demanded, may be empty
        "encrypted_content": sealed.removeprefix(_PREFIX),
    }
