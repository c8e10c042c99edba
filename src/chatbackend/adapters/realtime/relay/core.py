"""The core of a relayed session: what one side says, in; what to tell the other, out. No sockets and no clock.

A frame passes verbatim, text as text and binary as binary, unless its type is acted upon or the two sides speak
different dialects. Which frames are acted upon is told by a look at their beginning. Whatever a client sends before the
provider is there waits, in order and bounded; the provider's end is told to the client, and the client's to it.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence

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
    said,
    size,
    written,
)
from chatbackend.adapters.realtime.relay.actions import (
    Action,
    Billed,
    Close,
    Keep,
    Move,
    Renew,
    RunTool,
    ToClient,
    ToProvider,
)
from chatbackend.adapters.realtime.relay.billing import Bill, NoBill, TranslationBill
from chatbackend.adapters.realtime.relay.closing import for_client, for_provider, redacted
from chatbackend.adapters.realtime.relay.configuring import Configuring
from chatbackend.adapters.realtime.relay.held import SETUP, Held
from chatbackend.adapters.realtime.relay.hidden import HiddenCalls
from chatbackend.adapters.realtime.relay.kept import Kept, refused
from chatbackend.adapters.realtime.relay.provider import Provider
from chatbackend.adapters.realtime.relay.renewal import EXPIRED, FROM_CLIENT, LAST_S, Renewal
from chatbackend.adapters.realtime.relay.transcriber import BETA_UPDATE
from chatbackend.adapters.realtime.relay.wording import Wording, told
from chatbackend.domain.errors import (
    ChatError,
    Gone,
    Internal,
    InvalidRequest,
    NotFound,
    RateLimited,
    UpstreamError,
)
from chatbackend.domain.items import Item
from chatbackend.domain.passages import Passage
from chatbackend.domain.realtime import SESSION_S, Dialect, Ended, SessionKind, Terms
from chatbackend.domain.records import Entry

WARN_S = 120.0  # before a session ends
OVERDUE_S = 5.0  # that a provider may take to end it by itself
GOING_AWAY = 1001
NOT_TAKEN = "history_item_not_taken"
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
        self._new_id = new_id
        self._opted_in = opted_in
        self._provider: Provider | None = None
        self._wording = Wording(dialect)
        self._client_acts = frozenset[str]()
        self._provider_acts = frozenset[str]()
        self._waiting: deque[Frame] = deque()
        self._room = self._most = max_waiting_bytes
        self._expires_at: float | None = None
        self._began_at = self._now = 0.0
        self._next: tuple[Provider, float] | None = None  # and since when
        self._warned = False
        self._bill = TranslationBill() if kind == "translation" else Bill() if billed else NoBill()
        self._closed = False
        self._held = Held(terms or Terms())
        self._configuring = Configuring(model, dialect, self._held, kind=kind, allowed=allowed)
        self._budget = Budget(None if terms is None else terms.max_tokens)
        self._hidden = HiddenCalls(self._held.names)
        self._later: list[Frame] = []
        self._setting_up = False
        self._kept: Kept | None = None

    def remember(self, kept: Kept) -> None:
        """Bind the session to a conversation, before its provider is there."""
        self._kept = kept

    @property
    def _renewal(self) -> Renewal | None:
        return None if self._kept is None else self._kept.renewal

    def opened(self, provider: Provider, now: float) -> list[Action]:
        """Take note of the provider's session; what waited for it goes there."""
        try:
            setup = self._configuring.setup(provider)
        except ChatError as error:
            return self.refused(error)
        self._setting_up = setup is not None
        first = [*(() if setup is None else (setup,)), *(() if self._kept is None else self._kept.begin())]
        return [*self._bill.opened(), *self._begun(provider, now, first)]

    def successor(self, provider: Provider, now: float) -> list[Action]:
        """Take note of the provider's next session: this one goes on there as soon as nothing is under way."""
        self._next = provider, now
        return self._moved()

    def not_renewed(self) -> list[Action]:
        """Take note that the next session could not be opened: it is tried again while this one lasts."""
        if self._renewal is not None:
            self._renewal.dialling = False
        return [] if self._provider is not None else self._expired()

    def learned(self, item: Item) -> list[Action]:
        """Take an item that somebody else has added to the conversation."""
        news = () if self._kept is None else self._kept.learned(item)
        return [] if self._provider is None else self._wording.told(news)

    def forgotten(self, item_id: str) -> list[Action]:
        """Take note that somebody else has deleted an item of the conversation."""
        news = () if self._kept is None else self._kept.forgotten(item_id)
        return [] if self._provider is None else self._wording.told(news)

    def _begun(self, provider: Provider, now: float, first: Iterable[Event]) -> list[Action]:
        self._provider = provider
        self._wording.provider = provider.dialect
        translated = self._wording.translated
        shaped = translation.FROM_CLIENT if translated else frozenset[str]()
        looked_at = self._held.acts or self._kept is not None
        self._client_acts = shaped | {"session.update", BETA_UPDATE} | (_OF_CLIENTS if looked_at else frozenset[str]())
        self._provider_acts = _HEARD | (translation.FROM_PROVIDER if translated else frozenset[str]())
        self._began_at, self._expires_at, self._warned = now, now + SESSION_S, False
        if self._kept is not None:
            self._provider_acts |= self._kept.acts_on(provider.dialect)
            self._client_acts |= FROM_CLIENT if self._kept.renewal is not None else frozenset[str]()
        actions: list[Action] = self._wording.told(first)
        while self._waiting and not self._closed:
            actions += self._from_client(self._waiting.popleft(), provider)
        return actions

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
            return self.refused(RateLimited("Too much was sent before the provider was there.", code="too_early"))
        self._waiting.append(frame)
        return ()

    def provider_said(self, frame: Frame, now: float = 0.0) -> Sequence[Action]:
        """Take a provider's frame; of one that comes behind its end, or behind the session's, comes nothing."""
        if self._closed or self._provider is None:
            return ()
        kind = peek(frame)
        if kind is None:
            event = said(frame)
            found = None if event is None else event.get("type")
            kind = found if isinstance(found, str) else ""
        if kind.endswith(".delta"):
            self._bill.came(kind)
            if self._kept is not None:
                self._kept.delta(kind, frame)
        if not self._looked_at(kind):
            return (ToClient(self._wording.renamed(frame, kind)),)
        event = said(frame)
        if event is None:
            return (ToClient(frame),)
        heard = self._within_budget(self._heard(event, kind, frame))
        return heard if self._next is None else [*heard, *self._moved()]

    def client_left(self, ended: Ended) -> list[Action]:
        """Take note that the client has closed."""
        return self._close(ended, for_provider(ended))

    def provider_left(self, ended: Ended) -> list[Action]:
        """Take note that the provider has closed."""
        renewal, secrets = self._renewal, () if self._provider is None else self._provider.secrets
        over = renewal is not None and (renewal.expired or ended.code == GOING_AWAY)
        # One that has not taken up the session yet may have gone while it waited for that.
        if renewal is not None and not self._closed and (over or renewal.settling):
            self._provider = None
            if self._next is not None or renewal.dialling:
                return self._moved()
            if renewal.may_dial(self._now):
                return [Renew()]
        return self._expired() if over and not self._closed else self._close(for_client(ended, secrets), Ended(1000))

    def tick(self, now: float) -> list[Action]:
        """Look at the time: warn before the session ends, and end one that its provider forgot."""
        self._now = now
        if self._expires_at is None or self._closed or (self._provider is None and self._renewal is not None):
            return []
        return [*self._to_keep(now), *self._timed(now, self._expires_at)]

    def rest(self) -> Sequence[Entry]:
        """Return what is left to be written into the session's conversation at its end."""
        return () if self._kept is None else self._kept.end()

    def _timed(self, now: float, expires_at: float) -> list[Action]:
        if now >= expires_at + OVERDUE_S:
            return self._expired()
        if self._next is not None:
            return self._moved(at_once=now >= expires_at - LAST_S)
        if self._renewal is not None and self._renewal.due(now, self._began_at, expires_at):
            return [Renew()]
        if now < expires_at - WARN_S or self._warned:
            return []
        self._warned = True
        return self._noticed(notices.expiring(int(expires_at), self._new_id("event")))

    def _expired(self) -> list[Action]:
        error = Gone("The session has lasted as long as it may.", code=EXPIRED)
        return [self._error(error), *self._close(Ended(GOING_AWAY, EXPIRED), Ended(1000))]

    def _moved(self, *, at_once: bool = False) -> list[Action]:
        """Go on in the provider's next session, if it is there, once nothing is under way."""
        kept, renewal = self._kept, self._renewal
        if self._next is None or self._closed or kept is None or renewal is None:
            return []
        waits = self._hidden.outstanding or not (renewal.idle and kept.settled)
        if waits and self._provider is not None and not at_once:
            return []
        (provider, now), self._next = self._next, None
        entries = kept.end()
        self._waiting.extendleft(reversed(renewal.unanswered()))
        self._hidden, self._setting_up, self._room = HiddenCalls(self._held.names), True, self._most
        self._later.clear()
        actions = self._within_budget(
            [
                *self._bill.cut("cancelled"),
                *(ToClient(encode(each).decode()) for each in renewal.cut(self._wording.client)),
                *([Keep(entries)] if entries else []),
            ]
        )
        if self._closed:
            return list(actions)
        first = [renewal.setup(), *kept.again()]
        renewal.moved()
        return [*actions, Move(self._begun(provider, now, first))]

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
        actions = told(self._hidden.answered(call_id, output))
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
            actions = self._within_budget(self._acted(event, frame, provider))
        except ChatError as error:
            return (self._error(error, about=event.get("event_id")),)
        if self._kept is not None:
            self._kept.asked(event, frame)
        return actions

    def _acted(self, event: Event, frame: Frame, provider: Provider) -> Sequence[Action]:
        """Return what a client's event comes to. Raises: ChatError, for one that is refused."""
        kind = event.get("type")
        if not isinstance(kind, str):
            raise InvalidRequest("An event has a 'type'.", param="type", code="invalid_event")
        if kind == "response.create" and (exceeded := self._budget.exceeded) is not None:
            raise exceeded
        known = event if self._kept is None else self._kept.told(event)
        shaped = self._wording.asked(self._configuring.judged(known, kind, provider))
        if not self._held.tools:
            return (ToProvider(frame if shaped is event else written(shaped, like=frame)),)
        return self._beside_tools(shaped, kind, frame if shaped is event else written(shaped, like=frame))

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

    def _looked_at(self, kind: str) -> bool:
        """Whether a provider's frame of this type has to be parsed."""
        if kind in self._provider_acts:
            return True
        if not self._held.tools or not kind.startswith(_OF_TOOLS):
            return False
        return self._hidden.changes or not kind.endswith(".delta")

    def _heard(self, event: Event, kind: str, frame: Frame) -> Sequence[Action]:
        if kind in _CONFIGURED:
            return self._configured(event, frame)
        shown = event
        if kind == "error":
            ours = self._refused_to_us(event)
            if ours is not None:
                return ours
            shown = self._cleaned(event)
            self._configuring.refused()
        actions = self._billed(event, kind)
        if not self._held.tools:
            return [*actions, *self._shown([shown], event, frame)]
        heard = self._hidden.heard(shown)
        actions += [RunTool(call.call_id, call.arguments) for call in heard.calls]
        return [*actions, *self._shown(heard.shown, event, frame), *told(heard.told)]

    def _refused_to_us(self, event: Event) -> Sequence[Action] | None:
        """Return what comes of an error about what we said ourselves; None for one about the client's."""
        if (as_object(event.get("error")) or {}).get("event_id") == SETUP:
            return self.refused(Internal("The session could not be set up; the log has the cause."))
        if self._kept is not None and refused(event):
            return (self._error(UpstreamError("An item of the conversation was not taken.", code=NOT_TAKEN)),)
        if self._renewal is not None and self._renewal.is_over(event):
            return ()
        return None

    def _billed(self, event: Event, kind: str) -> list[Action]:
        match kind:
            case "response.created":
                return self._bill.response_created(event)
            case "response.done":
                return self._bill.response_done(event)
            case "session.closed":
                return self._bill.cut("completed")
            case _:
                return self._bill.transcribed(event) if kind == _TRANSCRIBED else []

    def _shown(self, shown: Sequence[Event], event: Event | None, frame: Frame) -> list[Action]:
        """Return how the client is shown events, verbatim where one is what came; a bound session keeps them."""
        if self._kept is None or self._provider is None:
            return self._wording.shown(shown, event, frame)
        kept = self._kept.shown(shown, self._provider.dialect)
        return [*self._wording.shown(kept, event, frame), *self._to_keep()]

    def _to_keep(self, now: float | None = None) -> list[Action]:
        entries = () if self._kept is None else self._kept.due(now)
        return [Keep(entries)] if entries else []

    def _configured(self, event: Event, frame: Frame) -> Sequence[Action]:
        """Show a session: first when it is set up, as if it had begun so."""
        shown = self._session(event)
        if not self._setting_up:
            return self._shown([shown], event, frame)
        kind = str(event["type"])
        if kind.endswith(".created"):
            return ()
        self._setting_up = False
        if self._kept is not None and (renewal := self._kept.renewal) is not None and renewal.settling:
            renewal.settling = False
            notice = self._kept.renewed(int(self._expires_at or 0), self._new_id("event"))
            return [*self._shown([shown], event, frame), *self._noticed(notice)]
        return self._shown([{**shown, "type": kind.replace(".updated", ".created")}], None, frame)

    def _session(self, event: Event) -> Event:
        session = as_object(event.get("session"))
        if session is None:
            return event
        self._bill.configured(session)
        if self._provider is not None and (renewal := self._renewal) is not None:
            renewal.configured(event["type"], translation.session_in_ga(session, self._provider.dialect))
        expires_at = session.get("expires_at")
        if isinstance(expires_at, int | float) and expires_at > 0:
            self._expires_at = float(expires_at)
        shown = self._configuring.shown(session, self._wording.provider)
        return event if shown is session else {**event, "session": shown}

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
