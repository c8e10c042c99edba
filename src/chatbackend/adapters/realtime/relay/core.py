"""The core of a relayed session: what one side says, in; what to tell the other, out. No sockets and no clock.

A frame passes verbatim, text as text and binary as binary, unless its type is acted upon or the two sides speak
different dialects. Which frames are acted upon is told by a look at their beginning. Whatever a client sends before the
provider is there waits, in order and bounded; the provider's end is told to the client, and the client's to it.
"""

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from chatbackend.adapters.realtime import notices
from chatbackend.adapters.realtime.budget import Budget
from chatbackend.adapters.realtime.dialect import translation
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
from chatbackend.adapters.realtime.relay.actions import Action, Billed, Close, RunTool, ToClient, ToProvider
from chatbackend.adapters.realtime.relay.billing import Bill, NoBill, TranslationBill
from chatbackend.adapters.realtime.relay.closing import for_client, for_provider, redacted
from chatbackend.adapters.realtime.relay.held import SETUP, Held
from chatbackend.adapters.realtime.relay.hidden import HiddenCalls
from chatbackend.adapters.realtime.relay.transcriber import BETA_UPDATE, UPDATES, Find, Transcriber
from chatbackend.domain.errors import ChatError, Forbidden, Gone, Internal, InvalidRequest, NotFound, RateLimited
from chatbackend.domain.passages import Passage
from chatbackend.domain.realtime import SESSION_S, Dialect, Ended, SessionKind, Terms

WARN_S = 120.0  # before a session ends
OVERDUE_S = 5.0  # that a provider may take to end it by itself
MAX_LATER = 16  # responses that wait for tools of ours
_OF_CLIENTS = frozenset(
    (
        *("response.create", "response.cancel", "conversation.item.create", "conversation.item.delete"),
        *("conversation.item.retrieve", "conversation.item.truncate"),
    )
)
_OF_TOOLS = ("response.", "conversation.item.")
_TRANSCRIBED = "conversation.item.input_audio_transcription.completed"
_CONFIGURED = translation.SESSIONS | translation.OF_TRANSCRIPTION
_HEARD = _CONFIGURED | {"response.created", "response.done", "session.closed", "error", _TRANSCRIBED}
_PLACES = {"session.update": "session", BETA_UPDATE: "session", "response.create": "response"}
_NOBODY: Find = dict[str, str]().get


@dataclass(frozen=True, slots=True)
class Provider:
    """Who answers: its dialect, the names that its model may be called by, what nobody may be shown.

    `transcriber` finds its name for a model that writes down what is said.
    """

    dialect: Dialect
    names: Collection[str]
    secrets: Sequence[str] = ()
    transcriber: Find = _NOBODY


class Relay:
    """One session. `now` is always seconds since the epoch; `new_id` makes ids of events.

    `model` is the name that the client asked by, `allowed` are those that it may use. `max_waiting_bytes` bounds what
    waits for the provider. `billed` is False where somebody else writes down what it costs.
    """

    def __init__(
        self,
        model: str,
        dialect: Dialect,
        *,
        new_id: Callable[[str], str],
        max_waiting_bytes: int,
        terms: Terms | None = None,
        opted_in: bool = False,
        kind: SessionKind = "realtime",
        allowed: Collection[str] | None = None,
        billed: bool = True,
    ) -> None:
        self._model = model
        self._dialect: Dialect = dialect
        self._new_id = new_id
        self._opted_in = opted_in
        self._provider: Provider | None = None
        self._translated = False
        self._words = translation.ProviderWords(dialect)
        self._client_acts = frozenset[str]()
        self._provider_acts = frozenset[str]()
        self._waiting: deque[Frame] = deque()
        self._room = max_waiting_bytes
        self._expires_at: float | None = None
        self._warned = False
        self._bill = TranslationBill() if kind == "translation" else Bill() if billed else NoBill()
        self._closed = False
        self._held = Held(terms or Terms())
        self._budget = Budget(None if terms is None else terms.max_tokens)
        self._hidden = HiddenCalls(self._held.names)
        self._later: list[Frame] = []
        self._setting_up = False
        self._kind: SessionKind = kind
        self._transcriber = None
        if kind != "realtime":
            self._transcriber = Transcriber(model if kind == "transcription" else None, allowed)

    def opened(self, provider: Provider, now: float) -> list[Action]:
        """Take note of the provider's session; what waited for it goes there."""
        self._provider = provider
        self._translated = provider.dialect != self._dialect
        shaped = translation.FROM_CLIENT if self._translated else frozenset[str]()
        self._client_acts = (
            shaped | {"session.update", BETA_UPDATE} | (_OF_CLIENTS if self._held.acts else frozenset[str]())
        )
        self._provider_acts = _HEARD | (translation.FROM_PROVIDER if self._translated else frozenset[str]())
        self._expires_at = now + SESSION_S
        actions = [*self._bill.opened(), *self._set_up(provider)]
        while self._waiting and not self._closed:
            actions += self._from_client(self._waiting.popleft(), provider)
        return actions

    def _set_up(self, provider: Provider) -> list[Action]:
        setup = self._held.setup(self._kind)
        if setup is None:
            return []
        self._setting_up = True
        if self._transcriber is not None:
            try:
                setup = {**setup, "session": self._transcriber.told(setup["session"], "ga", provider.transcriber)}
            except ChatError as error:
                return self.refused(error)
        return self._told([setup if provider.dialect == "ga" else translation.client_event(setup, to="beta")])

    def refused(self, error: ChatError) -> list[Action]:
        """End a session for which there is no provider, or no longer: the client is told why, then closed."""
        reason = Ended(notices.close_code(error), error.message)
        return [self._error(error), *self._close(for_client(reason), Ended(1000))]

    def client_said(self, frame: Frame) -> Sequence[Action]:
        """Take a client's frame; of one that comes behind the end comes nothing."""
        if self._closed:
            return ()
        if self._provider is not None:
            return self._from_client(frame, self._provider)
        self._room -= size(frame)
        if self._room < 0:
            return self.refused(RateLimited("Too much was sent before the session had begun.", code="too_early"))
        self._waiting.append(frame)
        return ()

    def provider_said(self, frame: Frame, now: float = 0.0) -> Sequence[Action]:
        """Take a provider's frame; of one that comes behind the end comes nothing."""
        if self._closed:
            return ()
        kind = peek(frame)
        if kind is None:
            event = said(frame)
            found = None if event is None else event.get("type")
            kind = found if isinstance(found, str) else ""
        if kind.endswith(".delta"):
            self._bill.came(kind)
        if not self._looked_at(kind):
            return (ToClient(self._renamed(frame, kind)),)
        event = said(frame)
        return (ToClient(frame),) if event is None else self._within_budget(self._heard(event, kind, frame))

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

    def tool_answered(self, call_id: str, output: str, found: Sequence[Passage] = ()) -> list[Action]:
        """Take the output of a tool of ours, and the passages in it: a client is told of them where it may see them."""
        if self._closed or self._provider is None:
            return []
        actions = self._told(self._hidden.answered(call_id, output))
        if actions and found and self._held.shows_sources:
            actions = [*self._noticed(notices.sources(found, self._new_id("event"))), *actions]
        if not self._hidden.outstanding:
            actions += [ToProvider(frame) for frame in self._later]
            self._later.clear()
        return actions

    def _within_budget(self, actions: Sequence[Action]) -> Sequence[Action]:
        """Return these, and the end of the session behind the answer that went over its budget."""
        for action in actions:
            if isinstance(action, Billed):
                self._budget.use(action.settlement.usage)
        exceeded = self._budget.exceeded
        if exceeded is None or self._closed:
            return actions
        self._client_acts |= {"response.create"}
        return actions if self._bill.running or self._hidden.waiting else [*actions, *self.refused(exceeded)]

    def _from_client(self, frame: Frame, provider: Provider) -> Sequence[Action]:
        kind = peek_strictly(frame)
        if kind is not None and kind not in self._client_acts:
            return (ToProvider(frame),)
        if isinstance(frame, bytes) and said(frame) is None:  # sound, say: nothing that could be acted upon
            return (ToProvider(frame),)
        event: Event = {}
        try:
            event = parsed(frame)
            return self._within_budget(self._acted(event, frame, provider))
        except ChatError as error:
            return (self._error(error, about=event.get("event_id")),)

    def _acted(self, event: Event, frame: Frame, provider: Provider) -> Sequence[Action]:
        """Return what a client's event comes to. Raises: ChatError, for one that is refused."""
        kind = event.get("type")
        if not isinstance(kind, str):
            raise InvalidRequest("An event has a 'type'.", param="type", code="invalid_event")
        if kind == "response.create" and (exceeded := self._budget.exceeded) is not None:
            raise exceeded
        judged = self._judged(event, kind, provider)
        shaped = translation.client_event(judged, to=provider.dialect) if self._translated else judged
        if not self._held.tools:
            return (ToProvider(frame if shaped is event else written(shaped, like=frame)),)
        return self._beside_tools(shaped, kind, frame if shaped is event else written(shaped, like=frame))

    def _judged(self, event: Event, kind: str, provider: Provider) -> Event:
        """Return a client's event as far as it may go: the same object where nothing had to be changed."""
        if kind == BETA_UPDATE and self._kind != "transcription":
            message = "This session is not for transcription alone; connect with intent=transcription for one."
            raise InvalidRequest(message, param="type", code="unsupported_event")
        if kind == "session.update":
            event = self._with_our_model(event, provider)
        place = _PLACES.get(kind, "")
        given = as_object(event.get(place))
        if given is None:
            return event
        if self._transcriber is not None and kind == UPDATES[self._dialect]:
            return {**event, place: self._transcriber.told(given, self._dialect, provider.transcriber)}
        if not self._held.acts:
            return event
        checked = self._held.checked(given)
        return event if checked is given else {**event, place: checked}

    def _beside_tools(self, event: Event, kind: str, frame: Frame) -> Sequence[Action]:
        """Return what an event comes to where tools of ours may be at work."""
        if self._hidden.concerns(event):
            raise NotFound("There is no such item.", param="item_id", code="item_not_found")
        if kind == "response.create":
            self._hidden.asked(as_object(event.get("response")) or {})
            if self._hidden.outstanding:
                return self._held_back(frame)
        if kind == "response.cancel":
            return self._cancel(event, frame)
        return (ToProvider(frame),)

    def _held_back(self, frame: Frame) -> Sequence[Action]:
        """Have a response wait until every call of ours has its output."""
        if len(self._later) >= MAX_LATER:
            raise RateLimited("Too many responses wait for tools.", code="too_many_responses")
        self._later.append(frame)
        return ()

    def _cancel(self, event: Event, frame: Frame) -> Sequence[Action]:
        waited = self._hidden.waiting
        response_id, shown = self._hidden.cancelled(event.get("response_id"))
        if waited and shown:
            return self._shown(shown, None, "")
        if response_id == event.get("response_id"):
            return (ToProvider(frame),)
        return (ToProvider(written({**event, "response_id": response_id}, like=frame)),)

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

    def _looked_at(self, kind: str) -> bool:
        """Whether a provider's frame of this type has to be parsed."""
        if kind in self._provider_acts:
            return True
        if not self._held.tools or not kind.startswith(_OF_TOOLS):
            return False
        return self._hidden.changes or not kind.endswith(".delta")

    def _heard(self, event: Event, kind: str, frame: Frame) -> Sequence[Action]:
        actions: list[Action] = []
        shown = event
        match kind:
            case _ if kind in _CONFIGURED:
                return self._configured(event, frame)
            case "response.created":
                actions += self._bill.response_created(event)
            case "response.done":
                actions += self._bill.response_done(event)
            case "error":
                if (as_object(event.get("error")) or {}).get("event_id") == SETUP:
                    return self.refused(Internal("The session could not be set up; the log has the cause."))
                shown = self._cleaned(event)
                if self._transcriber is not None:
                    self._transcriber.refused()
            case _ if kind == _TRANSCRIBED:
                actions += self._bill.transcribed(event)
            case "session.closed":
                actions += self._bill.cut("completed")
            case _:
                pass
        if not self._held.tools:
            return [*actions, *self._shown([shown], event, frame)]
        heard = self._hidden.heard(shown)
        actions += [RunTool(call.call_id, call.arguments) for call in heard.calls]
        return [*actions, *self._shown(heard.shown, event, frame), *self._told(heard.told)]

    def _shown(self, shown: Sequence[Event], event: Event | None, frame: Frame) -> list[Action]:
        """Return how the client is shown events, verbatim where one is what came."""
        if self._translated:
            told = [each for one in shown for each in self._words(one)]
            return [ToClient(written(each, like=frame)) for each in told]
        return [ToClient(frame if each is event else written(each, like=frame)) for each in shown]

    def _told(self, events: Sequence[Event]) -> list[Action]:
        """Return how the provider is told events of ours, which are in its dialect."""
        return [ToProvider(encode(event).decode()) for event in events]

    def _configured(self, event: Event, frame: Frame) -> Sequence[Action]:
        """Show a session: first when it is set up, as if it had begun so."""
        shown = self._session(event)
        if not self._setting_up:
            return self._shown([shown], event, frame)
        kind = str(event["type"])
        if kind.endswith(".created"):
            return ()
        self._setting_up = False
        return self._shown([{**shown, "type": kind.replace(".updated", ".created")}], None, frame)

    def _session(self, event: Event) -> Event:
        session = as_object(event.get("session"))
        if session is None:
            return event
        self._bill.configured(session)
        expires_at = session.get("expires_at")
        if isinstance(expires_at, int | float) and expires_at > 0:
            self._expires_at = float(expires_at)
        shown = self._held.shown(session)
        if self._transcriber is not None:
            shown = self._transcriber.shown(session, "ga" if self._provider is None else self._provider.dialect)
        if self._kind == "transcription":  # which has no model of its own
            return event if shown is session else {**event, "session": shown}
        if shown is session and session.get("model") == self._model:
            return event
        return {**event, "session": {**shown, "model": self._model}}

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
