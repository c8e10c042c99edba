"""How either side of a relayed session is spoken to: in its own dialect, and verbatim where both speak the same."""

from collections.abc import Iterable, Sequence

from chatbackend.adapters.realtime.dialect import translation
from chatbackend.adapters.realtime.frames import Event, Frame, encode, peek, retyped, said, written
from chatbackend.adapters.realtime.relay.actions import Action, ToClient, ToProvider
from chatbackend.domain.realtime import Dialect


class Wording:
    """One session's. `client` and `provider` are the dialects of the two."""

    def __init__(self, client: Dialect) -> None:
        self.client: Dialect = client
        self.provider: Dialect = client
        self._words = translation.ProviderWords(client)

    @property
    def translated(self) -> bool:
        """Whether the two speak different dialects."""
        return self.provider != self.client

    def renamed(self, frame: Frame, kind: str) -> Frame:
        """Return a provider's frame that is not acted upon, with the name that its type has for the client."""
        if self.provider == self.client:
            return frame
        name = translation.RENAMES[self.client].get(kind)
        if name is None or isinstance(frame, bytes):
            return frame
        if peek(frame) == kind:
            return retyped(frame, name)
        return encode({**(said(frame) or {}), "type": name}).decode()

    def asked(self, event: Event) -> Event:
        """Return a client's event in the provider's words; the same object where those are the client's."""
        return translation.client_event(event, to=self.provider) if self.translated else event

    def shown(self, events: Iterable[Event], event: Event | None, frame: Frame) -> list[Action]:
        """Return how the client is shown the provider's events: `frame` as it is for `event`, which came in it."""
        if self.translated:
            return [ToClient(written(each, like=frame)) for one in events for each in self._words(one)]
        return [ToClient(frame if each is event else written(each, like=frame)) for each in events]

    def told(self, events: Iterable[Event]) -> list[Action]:
        """Return how the provider is told events of ours that are in GA."""
        ga = self.provider == "ga"
        return told([event if ga else translation.client_event(event, to="beta") for event in events])


def told(events: Sequence[Event]) -> list[Action]:
    """Return how a provider is told events that are in its dialect."""
    return [ToProvider(encode(event).decode()) for event in events]
