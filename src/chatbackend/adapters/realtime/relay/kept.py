"""The memory of a relayed session: what its provider is given of the conversation, and what is written into it.

It stands between the two legs where both are spoken to in the provider's dialect: it gives items of the conversation
other ids at the provider where they have to have some, and takes down what the client is shown.
"""

from collections.abc import Iterable, Sequence

from chatbackend.adapters.api.items import NewId
from chatbackend.adapters.realtime import history
from chatbackend.adapters.realtime.dialect import translation
from chatbackend.adapters.realtime.frames import Event, Frame, as_object
from chatbackend.adapters.realtime.record import EVENTS, SOUND, Record
from chatbackend.domain.items import FunctionCall, FunctionCallOutput, Item
from chatbackend.domain.realtime import Dialect
from chatbackend.domain.records import Entry

FROM_CLIENT = frozenset(
    (
        *("response.create", "conversation.item.create", "conversation.item.delete"),
        *("conversation.item.retrieve", "conversation.item.truncate"),
    )
)
_BETA = frozenset((*(translation.RENAMES["beta"].get(kind, kind) for kind in EVENTS), "conversation.item.created"))
_SOUNDS = frozenset((SOUND, translation.RENAMES["beta"][SOUND]))


class Kept:
    """One session's. `items`: those of the conversation that the session begins with, as many as fit."""

    def __init__(self, new_id: NewId, items: Sequence[Item] = ()) -> None:
        self._items = history.fitting(items)
        self._names = history.Names()
        for item in self._items:
            self._names.add(item.id)
            if isinstance(item, FunctionCall | FunctionCallOutput):
                self._names.add(item.call_id)
        self._record = Record(new_id, {item.id for item in self._items})

    def begin(self) -> list[Event]:
        """Return what the provider is told first, in GA's words."""
        told: list[Event] = []
        for number, item in enumerate(self._items):
            event: Event = {"type": "conversation.item.create", "event_id": f"{history.GIVEN}_{number}"}
            told.append(self._names.told({**event, "item": history.created(item)}))
        return told

    def told(self, event: Event) -> Event:
        """Return a client's event with the ids that the provider knows."""
        return self._names.told(event) if event.get("type") in FROM_CLIENT else event

    def shown(self, events: Iterable[Event], dialect: Dialect) -> list[Event]:
        """Take down what the client is shown; return it with the ids of the conversation. `dialect`: the events'."""
        told = [self._names.shown(event) for event in events]
        for event in told:
            for each in [event] if dialect == "ga" else translation.provider_event(event, to="ga"):
                self._record.heard(each)
        return told

    def delta(self, kind: str, frame: Frame) -> None:
        """Take note of a frame that is passed on unread."""
        if kind in _SOUNDS and isinstance(frame, str):
            self._record.sound(frame)

    def due(self, now: float | None = None) -> list[Entry]:
        """Return what is to be written now; see `Record.due`."""
        return self._record.due(now)

    def end(self) -> list[Entry]:
        """Return what is left to be written at the end of the session."""
        return self._record.end()


def acts_on(dialect: Dialect) -> frozenset[str]:
    """Return the types of a provider's events that have to be looked at."""
    return (EVENTS if dialect == "ga" else _BETA) | {"conversation.item.retrieved"}


def refused(event: Event) -> str | None:
    """Return the event that gave the provider an item, where its error is about one."""
    about = (as_object(event.get("error")) or {}).get("event_id")
    return about if isinstance(about, str) and about.startswith(history.GIVEN) else None
