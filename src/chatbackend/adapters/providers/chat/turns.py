"""Conversations for providers that take less: in turns only, the user last; without calls of tools.

Source: what Perplexity answers to others: "After the (optional) system message(s), user and assistant roles should be
alternating", "Last message must have role `user`".
"""

from collections.abc import Iterable, Sequence
from itertools import groupby, takewhile
from typing import Any

from chatbackend.adapters.providers.codec import unsupported
from chatbackend.adapters.providers.fitting import OPENING
from chatbackend.domain.items import FunctionCall, FunctionCallOutput, InputText, Item, Message, OutputText

Json = dict[str, Any]
_SYSTEM = ("system", "developer")


def alternating(messages: Sequence[Json]) -> list[Json]:
    """Return the messages in turns: later ones of the system are told by the user, neighbours of one role are joined.

    Raises: InvalidRequest when the model's own message is the last.
    """
    first = list(takewhile(_is_system, messages))
    rest = [{**message, "role": "user"} if _is_system(message) else message for message in messages[len(first) :]]
    if not rest or rest[-1]["role"] == "assistant":
        raise unsupported("a conversation that does not end with the user", param="input")
    if rest[0]["role"] == "assistant":
        rest.insert(0, {"role": "user", "content": OPENING})
    return first + [_joined(list(turn)) for _, turn in groupby(rest, key=lambda message: message["role"])]


def calls_in_words(items: Iterable[Item]) -> list[Item]:
    """Return the items with calls and their outputs as messages, for a model that has no tools of its own."""
    told: list[Item] = []
    names: dict[str, str] = {}
    for item in items:
        match item:
            case FunctionCall():
                names[item.call_id] = item.name
                words = f"(Call of {item.name}: {item.arguments or '{}'})"
                told.append(Message(item.id, "assistant", [OutputText(words)]))
            case FunctionCallOutput(output=output):
                opening = InputText(f"(Output of {names.get(item.call_id, 'a call')}:)")
                parts = [InputText(output)] if isinstance(output, str) else output
                told.append(Message(item.id, "user", [opening, *parts]))
            case _:
                told.append(item)
    return told


def _is_system(message: Json) -> bool:
    return message["role"] in _SYSTEM


def _joined(turn: Sequence[Json]) -> Json:
    if len(turn) == 1:
        return turn[0]
    contents = [message["content"] for message in turn]
    if all(isinstance(content, str) for content in contents):
        return {"role": turn[0]["role"], "content": "\n\n".join(contents)}
    return {"role": turn[0]["role"], "content": [part for content in contents for part in _parts(content)]}


def _parts(content: str | list[Json]) -> Iterable[Json]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
