"""Items of a conversation in the beta protocol and in GA: what an assistant said is typed otherwise.

Source: the `openai` package, types/beta/realtime/conversation_item_content.py and
types/realtime/realtime_conversation_item_assistant_message.py.
"""

from collections.abc import Mapping

from chatbackend.adapters.realtime.frames import as_list, as_object

_GA = {"text": "output_text", "audio": "output_audio"}
_BETA = {new: old for old, new in _GA.items()}


def to_ga(item: object) -> object:
    """Return a beta item as GA has it."""
    return _renamed(item, _GA)


def to_beta(item: object) -> object:
    """Return a GA item as the beta protocol has it."""
    renamed = as_object(_renamed(item, _BETA))
    return item if renamed is None else {"object": "realtime.item", **renamed}


def _renamed(item: object, names: Mapping[str, str]) -> object:
    found = as_object(item)
    parts = None if found is None else as_list(found.get("content"))
    if found is None or parts is None or found.get("role") != "assistant":
        return item
    return {**found, "content": [_part(part, names) for part in parts]}


def _part(part: object, names: Mapping[str, str]) -> object:
    found = as_object(part)
    if found is None or not isinstance(kind := found.get("type"), str):
        return part
    return {**found, "type": names.get(kind, kind)}
