"""What a model wrote as a tool's input: a JSON object, the beginning of one, or neither."""

import re

import msgspec

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\Z)|[\[\]{},]', re.DOTALL)
_CLOSES = {"{": "}", "[": "]"}


def is_object(text: str) -> bool:
    """Return whether a text is one JSON object."""
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except (msgspec.MsgspecError, RecursionError):
        return False


def as_object(text: str) -> str:
    """Return a tool's input as a JSON object: what was cut off is closed behind its last whole value.

    What is no JSON is kept under `INVALID_JSON`, the name by which the API takes such an input back.
    """
    if not text.strip() or text.strip() == "null":
        return "{}"
    if is_object(text):
        return text
    closed = _closed(text)
    return closed if is_object(closed) else msgspec.json.encode({"INVALID_JSON": text}).decode()


def _closed(text: str) -> str:
    """Return the beginning of a JSON text with everything closed that is open."""
    open_: list[str] = []
    good = ""
    for token in _TOKEN.finditer(text):
        match token[0]:
            case "{" | "[" as bracket:
                open_.append(_CLOSES[bracket])
                good = text[: token.end()] + "".join(reversed(open_))
            case "}" | "]" if open_:
                open_.pop()
                good = text[: token.end()] + "".join(reversed(open_))
            case ",":
                good = text[: token.start()] + "".join(reversed(open_))
            case _:
                pass
    whole = text + "".join(reversed(open_))
    return whole if is_object(whole) else good
