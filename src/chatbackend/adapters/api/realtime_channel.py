"""The part of the AsyncAPI document about `WS /v1/realtime`, whose events are OpenAI's own.

Source: the `openai` package, types/realtime; https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

from typing import Any

from chatbackend.adapters.api.schemas import (
    FLAG,
    SECONDS,
    TEXT,
    WHOLE,
    WHOLE_OR_NULL,
    Schema,
    kind,
    list_of,
    said,
    whole,
)

ADDRESS = "/v1/realtime"
TRANSLATIONS = f"{ADDRESS}/translations"
_ABOUT = (
    "Talk to a model in realtime: OpenAI's Realtime protocol, GA or beta. Azure's clients find it at "
    "`/openai/v1/realtime` and `/openai/realtime`, too."
)


def messages() -> dict[str, Schema]:
    """Return what both sides say, by name."""
    return {**_commands(), **_events()}


def channel() -> dict[str, Any]:
    """Return the channel."""
    query = {
        "type": "object",
        "properties": {
            "model": said(TEXT, "Any name of a model; Azure's older path has `deployment` instead."),
            "call_id": said(TEXT, "Join this call of yours, instead of opening a session with a `model`."),
            "intent": said(
                kind("transcription"),
                "What is said is written down, and nobody answers; needs no `model` where one is set.",
            ),
            "conversation": said(TEXT, "The conversation that the session goes on, and is kept in."),
            "renew": said(FLAG, "`1`: go on in another session of the provider's when that ends."),
            "chatbackend": said(FLAG, "`1`: send me `chatbackend.*` events."),
        },
    }
    return {
        "address": ADDRESS,
        "description": _ABOUT,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages()},
        "bindings": {"ws": {"method": "GET", "query": query, "bindingVersion": "0.1.0"}},
    }


def translations() -> dict[str, Any]:
    """Return the channel of live translations."""
    about = "Have what is said translated live: OpenAI's Realtime Translation protocol."
    return {**channel(), "address": TRANSLATIONS, "description": about}


def operations() -> dict[str, Any]:
    """Return what clients may send, and what they are sent."""
    return {
        f"{channel}_{name}": _operation(channel, action, shapes)
        for channel in ("realtime", "translations")
        for name, action, shapes in (("command", "receive", _commands()), ("event", "send", _events()))
    }


def _commands() -> dict[str, Schema]:
    about = "Any client event of the protocol: `session.update`, `conversation.item.create`, `response.create`..."
    return {"realtime.client_event": whole(about, ("event_id",), type=TEXT, event_id=TEXT)}


def _events() -> dict[str, Schema]:
    about = "Any server event of the protocol; `session.created` is the first, `error` ends nothing."
    expiring, sources = "chatbackend.session.expiring", "chatbackend.sources"
    renewed = "chatbackend.session.renewed"
    source = whole(file_id=TEXT, filename=TEXT, page=WHOLE_OR_NULL, start=WHOLE, end=WHOLE, quote=TEXT)
    return {
        "realtime.server_event": whole(about, type=TEXT, event_id=TEXT),
        expiring: whole("The session ends soon.", type=kind(expiring), event_id=TEXT, expires_at=SECONDS),
        renewed: whole(
            "The session goes on in another one of the provider's, which was given so many items of it.",
            type=kind(renewed),
            event_id=TEXT,
            expires_at=SECONDS,
            items=WHOLE,
            left_out=WHOLE,
        ),
        sources: whole(
            "What the model was given of the user's files.", type=kind(sources), event_id=TEXT, sources=list_of(source)
        ),
    }


def _operation(channel: str, action: str, shapes: dict[str, Schema]) -> dict[str, Any]:
    here = f"#/channels/{channel}"
    told = [{"$ref": f"{here}/messages/{name}"} for name in shapes]
    return {"action": action, "channel": {"$ref": here}, "messages": told}
