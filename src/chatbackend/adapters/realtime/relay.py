"""The core of a relayed session: what one side says, in; what to tell the other, out. No sockets and no clock.

A frame passes verbatim, text as text and binary as binary, unless its type is acted upon or the two sides speak
different dialects. Which frames are acted upon is told by a look at their beginning. Whatever a client sends before the
provider is there waits, in order and bounded; the provider's end is told to the client, and the client's to it.
"""

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from chatbackend.adapters.realtime import notices, translation
from chatbackend.adapters.realtime.actions import Action, Close, ToClient, ToProvider
from chatbackend.adapters.realtime.billing import Bill
from chatbackend.adapters.realtime.closing import for_client, for_provider, redacted
from chatbackend.adapters.realtime.frames import (
    Event,
    Frame,
    as_object,
    encode,
    parsed,
    peek,
    peek_strictly,
    retyped,
    said,
    size,
    written,
)
from chatbackend.domain.errors import ChatError, Forbidden, Gone, InvalidRequest, RateLimited
from chatbackend.domain.realtime import SESSION_S, Dialect, Ended

WARN_S = 120.0  # before a session ends
OVERDUE_S = 5.0  # that a provider may take to end it by itself
_TRANSCRIBED = "conversation.item.input_audio_transcription.completed"
_HEARD = frozenset(("session.created", "session.updated", "response.created", "response.done", "error", _TRANSCRIBED))


@dataclass(frozen=True, slots=True)
class Provider:
    """Who answers: its dialect, the names that its model may be called by, what nobody may be shown."""

    dialect: Dialect
    names: Collection[str]
    secrets: Sequence[str] = ()


class Relay:
    """One session. `now` is always seconds since the epoch; `new_id` makes ids of events.

    `model` is the name that the client asked by. `max_waiting_bytes` bounds what waits for the provider.
    """

    def __init__(
        self,
        model: str,
        dialect: Dialect,
        *,
        new_id: Callable[[str], str],
        max_waiting_bytes: int,
        opted_in: bool = False,
    ) -> None:
        self._model = model
        self._dialect: Dialect = dialect
        self._new_id = new_id
        self._opted_in = opted_in
        self._provider: Provider | None = None
        self._translated = False
        self._client_acts = frozenset[str]()
        self._provider_acts = frozenset[str]()
        self._waiting: deque[Frame] = deque()
        self._room = max_waiting_bytes
        self._expires_at: float | None = None
        self._warned = False
        self._bill = Bill()
        self._closed = False

    def opened(self, provider: Provider, now: float) -> list[Action]:
        """Take note of the provider's session; what waited for it goes there."""
        self._provider = provider
        self._translated = provider.dialect != self._dialect
        shaped = translation.FROM_CLIENT if self._translated else frozenset[str]()
        self._client_acts = shaped | {"session.update"}
        self._provider_acts = _HEARD | (translation.FROM_PROVIDER if self._translated else frozenset[str]())
        self._expires_at = now + SESSION_S
        actions: list[Action] = []
        while self._waiting:
            actions += self._from_client(self._waiting.popleft(), provider)
        return actions

    def refused(self, error: ChatError) -> list[Action]:
        """Take note that no provider could be reached: the client is told why, then closed."""
        reason = Ended(notices.close_code(error), error.message)
        return [self._error(error), *self._close(for_client(reason), Ended(1000))]

    def client_said(self, frame: Frame) -> Sequence[Action]:
        """Take a client's frame."""
        if self._provider is not None:
            return self._from_client(frame, self._provider)
        self._room -= size(frame)
        if self._room < 0:
            return self.refused(RateLimited("Too much was sent before the session had begun.", code="too_early"))
        self._waiting.append(frame)
        return ()

    def provider_said(self, frame: Frame, now: float = 0.0) -> Sequence[Action]:
        """Take a provider's frame."""
        kind = peek(frame)
        if kind is None:
            event = said(frame)
            found = None if event is None else event.get("type")
            kind = found if isinstance(found, str) else ""
        if kind.endswith(".delta"):
            self._bill.came()
        if kind not in self._provider_acts:
            return (ToClient(self._renamed(frame, kind)),)
        event = said(frame)
        return (ToClient(frame),) if event is None else self._heard(event, kind, frame)

    def client_left(self, ended: Ended) -> list[Action]:
        """Take note that the client has closed."""
        return self._close(ended, for_provider(ended))

    def provider_left(self, ended: Ended) -> list[Action]:
        """Take note that the provider has closed."""
        secrets = () if self._provider is None else self._provider.secrets
        return self._close(for_client(ended, secrets), Ended(1000))

    def tick(self, now: float) -> list[Action]:
        """Look at the time: warn before the session ends, and end one that its provider forgot."""
        if self._expires_at is None or self._closed:
            return []
        if now >= self._expires_at + OVERDUE_S:
            error = Gone("The session has lasted as long as it may.", code="session_expired")
            return [self._error(error), *self._close(Ended(1001, "session_expired"), Ended(1000))]
        if now < self._expires_at - WARN_S or self._warned:
            return []
        self._warned = True
        return self._noticed(notices.expiring(int(self._expires_at), self._new_id("event")))

    def draining(self, seconds: float) -> list[Action]:
        """Take note that the server stops in so many seconds."""
        return self._noticed(notices.draining(seconds, self._new_id("event")))

    def ended(self, ended: Ended) -> list[Action]:
        """End the session from our side."""
        return self._close(ended, Ended(1001))

    def _from_client(self, frame: Frame, provider: Provider) -> Sequence[Action]:
        kind = peek_strictly(frame)
        if kind is not None and kind not in self._client_acts:
            return (ToProvider(frame),)
        if isinstance(frame, bytes) and said(frame) is None:  # sound, say: nothing that could be acted upon
            return (ToProvider(frame),)
        event: Event = {}
        try:
            event = parsed(frame)
            judged = self._judged(event, provider)
        except ChatError as error:
            return (self._error(error, about=event.get("event_id")),)
        return (ToProvider(frame if judged is event else written(judged, like=frame)),)

    def _judged(self, event: Event, provider: Provider) -> Event:
        """Return what of a client's event goes to the provider: the same object where nothing had to be changed."""
        if not isinstance(event.get("type"), str):
            raise InvalidRequest("An event has a 'type'.", param="type", code="invalid_event")
        if event["type"] == "session.update":
            event = self._with_our_model(event, provider)
        return translation.client_event(event, to=provider.dialect) if self._translated else event

    def _with_our_model(self, event: Event, provider: Provider) -> Event:
        """Leave out the model of an update, which cannot be changed, where it is the session's. Raises: Forbidden."""
        session = as_object(event.get("session"))
        if session is None or "model" not in session:
            return event
        if session["model"] not in provider.names and session["model"] != self._model:
            message = f"This session is with '{self._model}'; for another model, connect again."
            raise Forbidden(message, param="session.model", code="model_not_allowed")
        return {**event, "session": {name: value for name, value in session.items() if name != "model"}}

    def _renamed(self, frame: Frame, kind: str) -> Frame:
        """Return a frame that is not acted upon, with the name that its type has in the client's dialect."""
        if not self._translated:
            return frame
        name = translation.RENAMES[self._dialect].get(kind)
        if name is None or isinstance(frame, bytes):
            return frame
        if peek(frame) == kind:
            return retyped(frame, name)
        return encode({**(said(frame) or {}), "type": name}).decode()

    def _heard(self, event: Event, kind: str, frame: Frame) -> Sequence[Action]:
        actions: list[Action] = []
        shown = event
        match kind:
            case "session.created" | "session.updated":
                shown = self._session(event)
            case "response.created":
                actions += self._bill.response_created(event)
            case "response.done":
                actions += self._bill.response_done(event)
            case "error":
                shown = self._cleaned(event)
            case _ if kind == _TRANSCRIBED:
                actions += self._bill.transcribed(event)
            case _:
                pass
        if self._translated:
            told = translation.provider_event(shown, to=self._dialect)
            return [*actions, *(ToClient(written(each, like=frame)) for each in told)]
        return [*actions, ToClient(frame if shown is event else written(shown, like=frame))]

    def _session(self, event: Event) -> Event:
        session = as_object(event.get("session"))
        if session is None:
            return event
        self._bill.configured(session)
        expires_at = session.get("expires_at")
        if isinstance(expires_at, int | float) and expires_at > 0:
            self._expires_at = float(expires_at)
        if session.get("model") == self._model:
            return event
        return {**event, "session": {**session, "model": self._model}}

    def _cleaned(self, event: Event) -> Event:
        """Return an error of the provider's without what nobody may be shown; most have nothing of it."""
        error = as_object(event.get("error")) or {}
        message = error.get("message")
        secrets = () if self._provider is None else self._provider.secrets
        if not isinstance(message, str) or (clean := redacted(message, secrets)) == message:
            return event
        return {**event, "error": {**error, "message": clean}}

    def _error(self, error: ChatError, *, about: object = None) -> ToClient:
        return ToClient(encode(notices.error_event(error, self._new_id("event"), about=about)).decode())

    def _noticed(self, event: Event) -> list[Action]:
        return [ToClient(encode(event).decode())] if self._opted_in else []

    def _close(self, client: Ended, provider: Ended) -> list[Action]:
        if self._closed:
            return []
        self._closed = True
        return [*self._bill.cut("cancelled"), Close(client, provider)]
