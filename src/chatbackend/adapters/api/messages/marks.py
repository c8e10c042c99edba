"""What other providers' models leave in a message, in the letters that the Messages API allows, and back.

Ids of tool calls have an alphabet; thinking has a signature, which other providers' models do not make. A client sends
both back as they were, to whatever model: what is not Claude's own must be known again.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode

from chatbackend.adapters.providers.messages.seal import seal_signature

_PLAIN_ID = re.compile(r"[a-zA-Z0-9_-]+")
_CODED = "toolu_coded_"
_FOREIGN = "chatbackend."
# Messages of other models as they come back: Claude takes neither their thinking nor their citations.
_TRACE = re.compile(rb'"signature"\s*:\s*"chatbackend\.|"encrypted_index"\s*:\s*""')


def shown_id(call_id: str) -> str:
    """Return a tool call's id in the API's alphabet; `given_id` takes it back."""
    if _PLAIN_ID.fullmatch(call_id) and not call_id.startswith(_CODED):
        return call_id
    return _CODED + urlsafe_b64encode(call_id.encode()).decode().rstrip("=")


def given_id(shown: str) -> str:
    """Return the id that a provider gave; an id that we did not change is its own."""
    coded = shown.removeprefix(_CODED)
    if coded == shown:
        return shown
    try:
        return urlsafe_b64decode(coded + "=" * (-len(coded) % 4)).decode()
    except ValueError:
        return shown


def foreign_signature(encrypted_content: str | None) -> str:
    """Return the signature of thinking that is not Claude's: its provider's seal, or none."""
    return _FOREIGN + (encrypted_content or "")


def seal_of(signature: str) -> str | None:
    """Return a signature as `Reasoning.encrypted_content`, None for thinking that nobody sealed."""
    if signature.startswith(_FOREIGN):
        return signature.removeprefix(_FOREIGN) or None
    return seal_signature(signature) if signature else None


def holds_foreign(body: bytes) -> bool:
    """Return whether a request holds what another provider's model left, so that Claude would refuse it as it is."""
    return _TRACE.search(body) is not None
