"""The memory of a relayed session: what its provider is given of the conversation, and what is written into it.

It stands between the two legs where both are spoken to in the provider's dialect: it gives items of the conversation
other ids at the provider where they have to have some, and takes down what the client is shown.
"""

from collections.abc import Iterable, Sequence

from chatbackend.adapters.api.items import NewId
from chatbackend.adapters.realtime import history, notices
from chatbackend.adapters.realtime.dialect import translation
from chatbackend.adapters.realtime.frames import Event, Frame, as_object
from chatbackend.adapters.realtime.record import EVENTS, SOUND, Record
from chatbackend.adapters.realtime.relay.renewal import EVENTS as RENEWING
from chatbackend.adapters.realtime.relay.renewal import Renewal
from chatbackend.domain.items import FunctionCall, FunctionCallOutput, Item
from chatbackend.domain.realtime import Dialect
from chatbackend.domain.records import Append, Entry, Remove, item_id_of

_NAMING = frozenset(
    (
        *("response.create", "conversation.item.create", "conversation.item.delete"),
        *("conversation.item.retrieve", "conversation.item.truncate"),
    )
)
_BETA = frozenset((*(translation.RENAMES["beta"].get(kind, kind) for kind in EVENTS), "conversation.item.created"))
_SOUNDS = frozenset((SOUND, translation.RENAMES["beta"][SOUND]))


_ECHOES = frozenset(("conversation.item.added", "conversation.item.done", "conversation.item.created"))


class Kept:
    """One session's. `items`: those of the conversation that the session begins with, as many as fit.

    `renewal`: where it may go on in another session of the provider's.
    """

    def __init__(self, new_id: NewId, items: Sequence[Item] = (), *, renewal: Renewal | None = None) -> None:
        self.renewal = renewal
        self._arrivals = history.Arrivals()
        self._number = 0  # of what the provider was told by us
        self._counts = 0, 0  # items that the provider was given last, and those that had no room
        self._items = list(items)
        self._names = history.Names()
        self._record = Record(new_id, {item.id for item in items})
        self._owed: set[object] = set()  # items that a provider was given, and the client has not seen
        self._unseen: set[object] = set()  # items that a provider is given again, which the client has seen

    def begin(self) -> list[Event]:
        """Return what the provider is told first, in GA's words."""
        told = self._given(history.fitting(self._items))
        self._owed.update(item.id for item in self._items)
        return told

    def again(self) -> list[Event]:
        """Return what the provider is told in its next session, as `begin` does; the client is not shown it."""
        there = {item.id for item in self._items}
        self._items += [call for call in self._record.unanswered if call.id not in there]
        told = self._given(history.fitting(self._items, awaits=True))
        self._unseen = {item.id for item in self._items if item.id not in self._owed}
        return told

    def _given(self, fitting: list[Item]) -> list[Event]:
        self._counts = len(fitting), len(self._items) - len(fitting)
        self._items = fitting
        return [self._created(item) for item in fitting]

    def _created(self, item: Item) -> Event:
        self._names.add(item.id)
        if isinstance(item, FunctionCall | FunctionCallOutput):
            self._names.add(item.call_id)
        self._number += 1
        event: Event = {"type": "conversation.item.create", "event_id": f"{history.GIVEN}_{self._number}"}
        return self._names.told({**event, "item": history.created(item)})

    def knows(self, item_id: str) -> bool:
        """Whether an item is one of the session's."""
        return self._record.knows(item_id)

    def learned(self, item: Item) -> list[Event]:
        """Return what the provider is told of an item that somebody else has added."""
        self._record.give(item.id)
        items = self._arrivals.take(item)
        self._items += items
        self._owed.update(each.id for each in items)
        return [self._created(each) for each in items]

    def forgotten(self, item_id: str) -> list[Event]:
        """Return what the provider is told of an item that somebody else has deleted."""
        there = item_id in self._record.own or any(item.id == item_id for item in self._items)
        self._items = [item for item in self._items if item.id != item_id]
        if not there:
            self._record.deleted(item_id)
            return []
        self._number += 1
        event: Event = {"type": "conversation.item.delete", "event_id": f"{history.GIVEN}_{self._number}"}
        return [self._names.told({**event, "item_id": item_id})]

    def renewed(self, expires_at: int, event_id: str) -> Event:
        """Return the word that the session goes on in another one of the provider's."""
        items, left_out = self._counts
        return notices.renewed(expires_at, event_id, items=items, left_out=left_out)

    def told(self, event: Event) -> Event:
        """Return a client's event with the ids that the provider knows."""
        return self._names.told(event) if event.get("type") in _NAMING else event

    def shown(self, events: Iterable[Event], dialect: Dialect) -> list[Event]:
        """Take down what the client is shown; return it with the ids of the conversation. `dialect`: the events'."""
        told = [event for each in events if not self._is_echo(event := self._names.shown(each))]
        for event in told:
            for each in [event] if dialect == "ga" else translation.provider_event(event, to="ga"):
                self._record.heard(each)
                if self.renewal is not None:
                    self.renewal.heard(each)
        return told

    def _is_echo(self, event: Event) -> bool:
        if event.get("type") not in _ECHOES:
            return False
        item_id = (as_object(event.get("item")) or {}).get("id")
        self._owed.discard(item_id)
        return item_id in self._unseen

    def asked(self, event: Event, frame: Frame) -> None:
        """Take note of a client's event that was passed on, `frame` as it came."""
        if self.renewal is not None:
            self.renewal.asked(event, frame)

    def acts_on(self, dialect: Dialect) -> frozenset[str]:
        """Return the types of a provider's events that have to be looked at."""
        known = (EVENTS if dialect == "ga" else _BETA) | {"conversation.item.retrieved"}
        return known if self.renewal is None else known | RENEWING

    def delta(self, kind: str, frame: Frame) -> None:
        """Take note of a frame that is passed on unread."""
        if kind in _SOUNDS and isinstance(frame, str):
            self._record.sound(frame)

    def due(self, now: float | None = None) -> list[Entry]:
        """Return what is to be written now; see `Record.due`."""
        return self._remembered(self._record.due(now))

    def end(self) -> list[Entry]:
        """Return what is left to be written at the end of the session, or before it goes on in another."""
        return self._remembered(self._record.end())

    @property
    def settled(self) -> bool:
        """Whether everything that was said is known."""
        return self._record.settled

    def _remembered(self, entries: list[Entry]) -> list[Entry]:
        """Keep at hand what the next session would be given."""
        for entry in entries if self.renewal is not None else ():
            place = next((at for at, item in enumerate(self._items) if item.id == item_id_of(entry)), None)
            if place is not None:
                self._items[place : place + 1] = [] if isinstance(entry, Remove) else [entry.item]
            elif isinstance(entry, Append):
                self._items.append(entry.item)
        if len(self._items) > 2 * history.MAX_ITEMS:
            self._items = history.fitting(self._items, awaits=True)
        return entries


def refused(event: Event) -> str | None:
    """Return the event that gave the provider an item, where its error is about one."""
    about = (as_object(event.get("error")) or {}).get("event_id")
    return about if isinstance(about, str) and about.startswith(history.GIVEN) else None
