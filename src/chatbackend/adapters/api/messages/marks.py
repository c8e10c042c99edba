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
# What only we understand: thinking and citations of other models that come back, and files that were uploaded here.
_OURS = re.compile(
    rb'"signature"\s*:\s*"chatbackend\.|"encrypted_index"\s*:\s*""|"file_id"\s*:\s*"file_[0-9a-f]{24,32}"'
)


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
        found = urlsafe_b64decode(coded + "=" * (-len(coded) % 4)).decode()
    except ValueError:
        return shown
    return found if shown_id(found) == shown else shown


def foreign_signature(encrypted_content: str | None) -> str:
    """Return the signature of thinking that is not Claude's: its provider's seal, or none."""
    return _FOREIGN + (encrypted_content or "")


def seal_of(signature: str) -> str | None:
    """Return a signature as `Reasoning.encrypted_content`, None for thinking that nobody sealed."""
    if signature.startswith(_FOREIGN):
        return signature.removeprefix(_FOREIGN) or None
    return seal_signature(signature) if signature else None


def is_claudes(body: bytes) -> bool:
    """Return whether Claude understands all of a request as it is."""
    return _OURS.search(body) is None
