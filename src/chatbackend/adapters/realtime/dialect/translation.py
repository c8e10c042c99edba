"""Events from one dialect of the protocol to the other: renamed where names changed, reshaped where shapes did.

What has the same name and shape in both, and what neither is known to have, passes as it is.
Source: the `openai` package, types/beta/realtime and types/realtime; OpenAI's guide from beta to GA.
"""

from collections.abc import Mapping

from chatbackend.adapters.realtime.dialect import items, sessions
from chatbackend.adapters.realtime.frames import Event, as_list, as_object
from chatbackend.domain.realtime import Dialect

_TO_GA = {
    f"response.{old}.{step}": f"response.{new}.{step}"
    for old, new in (
        ("text", "output_text"),
        ("audio", "output_audio"),
        ("audio_transcript", "output_audio_transcript"),
    )
    for step in ("delta", "done")
}
RENAMES: Mapping[Dialect, Mapping[str, str]] = {"ga": _TO_GA, "beta": {new: old for old, new in _TO_GA.items()}}
FROM_CLIENT = frozenset(
    ("session.update", "response.create", "conversation.item.create", "transcription_session.update")
)
SESSIONS = frozenset(("session.created", "session.updated"))
_TRANSCRIPTION = "transcription_"  # before what beta says of sessions for transcription, which GA tells by their type
OF_TRANSCRIPTION = frozenset(f"{_TRANSCRIPTION}{kind}" for kind in SESSIONS)
_RESPONSES = frozenset(("response.created", "response.done"))
_OUTPUT = frozenset(("response.output_item.added", "response.output_item.done"))
_ITEMS = frozenset(("conversation.item.added", "conversation.item.done", "conversation.item.created"))
_CALLED = "response.function_call_arguments.done"
FROM_PROVIDER = SESSIONS | OF_TRANSCRIPTION | _RESPONSES | _OUTPUT | _ITEMS | {"conversation.item.retrieved", _CALLED}


def client_event(event: Event, *, to: Dialect) -> Event:
    """Return a client's event in another dialect."""
    match event.get("type"):
        case "session.update" if to == "beta" and _is_transcription(event):
            session = _transcription(event.get("session"), to)
            return {**event, "type": f"{_TRANSCRIPTION}session.update", "session": session}
        case "session.update":
            return _with(event, "session", _session(event.get("session"), to))
        case "response.create" if "response" in event:
            return _with(event, "response", _response(event["response"], to))
        case "conversation.item.create":
            return _with(event, "item", _item(event.get("item"), to))
        case "transcription_session.update" if to == "ga":
            return {**event, "type": "session.update", "session": _transcription(event.get("session"), to)}
        case _:
            return event


def session_in_ga(session: Event, dialect: Dialect) -> Event:
    """Return a configuration, as `dialect` has it, in GA's shape."""
    return session if dialect == "ga" else {"type": "realtime", **sessions.to_ga(session)}


class ProviderWords:
    """What a provider's events are in another dialect; knows the names of calls, which only GA repeats at their end."""

    def __init__(self, to: Dialect) -> None:
        self._to: Dialect = to
        self._called: dict[object, object] = {}

    def __call__(self, event: Event) -> list[Event]:
        """Return one event mostly, or none, or two."""
        kind = event.get("type")
        if self._to == "ga" and kind in _OUTPUT:
            item = as_object(event.get("item")) or {}
            self._called[item.get("id")] = item.get("name")
            if kind == "response.output_item.done":
                self._called.pop(item.get("id"), None)
        if self._to == "ga" and kind == _CALLED and "name" not in event:
            event = {**event, "name": self._called.get(event.get("item_id"))}
        return provider_event(event, to=self._to)


def provider_event(event: Event, *, to: Dialect) -> list[Event]:
    """Return what a provider's event is in another dialect by itself."""
    kind = event.get("type")
    if kind in OF_TRANSCRIPTION or (kind in SESSIONS and _is_transcription(event)):
        name = str(kind).removeprefix(_TRANSCRIPTION)
        session = _transcription(event.get("session"), to)
        return [{**event, "type": name if to == "ga" else f"{_TRANSCRIPTION}{name}", "session": session}]
    if kind in SESSIONS:
        return [_with(event, "session", _shown_session(event.get("session"), to))]
    if kind in _RESPONSES:
        return [_with(event, "response", _shown_response(event.get("response"), to))]
    if kind in _ITEMS or kind in _OUTPUT:
        return _items_told(_with(event, "item", _item(event.get("item"), to)), to)
    if kind == "conversation.item.retrieved":
        return [_with(event, "item", _item(event.get("item"), to))]
    renamed = RENAMES[to].get(kind) if isinstance(kind, str) else None
    return [event if renamed is None else {**event, "type": renamed}]


def _items_told(event: Event, to: Dialect) -> list[Event]:
    """Return how a dialect tells of an item: beta that it is there, GA that it was added, and that it is done."""
    kind = event["type"]
    if to == "beta":
        if kind == "conversation.item.done":
            return []
        return [{**event, "type": "conversation.item.created"} if kind == "conversation.item.added" else event]
    item = as_object(event.get("item")) or {}
    done = {
        "type": "conversation.item.done",
        "event_id": f"{event.get('event_id')}_done",
        "previous_item_id": event.get("previous_item_id"),
        "item": item,
    }
    if kind == "conversation.item.created":
        added = {**event, "type": "conversation.item.added"}
        return [added] if item.get("status") == "in_progress" else [added, done]
    return [done, event] if kind == "response.output_item.done" else [event]


def _session(value: object, to: Dialect) -> object:
    session = as_object(value)
    if session is None:
        return value
    return {"type": "realtime", **sessions.to_ga(session)} if to == "ga" else sessions.to_beta(session)


def _is_transcription(event: Event) -> bool:
    return (as_object(event.get("session")) or {}).get("type") == "transcription"


def _transcription(value: object, to: Dialect) -> object:
    """Return the configuration of a session for transcription; that it answers in no modality but text goes unsaid."""
    session = as_object(value)
    if session is None:
        return value
    if to == "beta":
        return sessions.to_beta(session)
    return {"type": "transcription", **sessions.to_ga({k: v for k, v in session.items() if k != "modalities"})}


def _shown_session(value: object, to: Dialect) -> object:
    session = as_object(value)
    if session is None:
        return value
    if to == "ga":
        return {"type": "realtime", **sessions.to_ga(session)}
    return {**sessions.to_beta(session), "temperature": sessions.TEMPERATURE}


def _response(value: object, to: Dialect) -> object:
    response = as_object(value)
    if response is None:
        return value
    shaped = sessions.to_ga(response) if to == "ga" else sessions.to_beta(response)
    return _each(shaped, "input", to)


def _shown_response(value: object, to: Dialect) -> object:
    """In a response that is shown, unlike in a configuration, beta and GA call the limit of tokens the same."""
    response = as_object(value)
    if response is None:
        return value
    limit = "max_output_tokens"
    shaped = sessions.to_ga(response, tokens=limit) if to == "ga" else sessions.to_beta(response, tokens=limit)
    return _each(shaped, "output", to)


def _each(shaped: Event, name: str, to: Dialect) -> Event:
    found = as_list(shaped.get(name))
    return shaped if found is None else {**shaped, name: [_item(item, to) for item in found]}


def _item(value: object, to: Dialect) -> object:
    return items.to_ga(value) if to == "ga" else items.to_beta(value)


def _with(event: Event, name: str, value: object) -> Event:
    return {**event, name: value}
