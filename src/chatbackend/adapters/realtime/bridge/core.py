"""A Realtime session in text, without socket and model: text frames in, steps out; the model's events in, frames out.

It speaks the GA dialect; a translation of another one goes in front of it. Nothing here waits, and nothing raises for
what a client sends: it is answered with an `error` event, and the session stays.

Source: the `openai` package, types/realtime/realtime_client_event.py and realtime_server_event.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from chatbackend.adapters.api.checking import converted, refuse_deep
from chatbackend.adapters.api.items import NewId
from chatbackend.adapters.api.responses import Metadata
from chatbackend.adapters.realtime.bridge import items
from chatbackend.adapters.realtime.bridge.conversation import Conversation, Entry
from chatbackend.adapters.realtime.bridge.frames import Frames
from chatbackend.adapters.realtime.bridge.response import Head, RunningResponse
from chatbackend.adapters.realtime.bridge.settings import OF_A_RESPONSE, OF_A_SESSION, Settings
from chatbackend.adapters.realtime.budget import Budget
from chatbackend.adapters.realtime.history import Arrivals
from chatbackend.adapters.wire.frames import decoded
from chatbackend.domain.errors import ChatError, Conflict, Forbidden, InvalidRequest, NotFound, RateLimited, Unavailable
from chatbackend.domain.events import Cited, ModelEvent
from chatbackend.domain.items import FileCitation, Item, Message
from chatbackend.domain.models import ModelRequest
from chatbackend.domain.realtime import Terms
from chatbackend.domain.usage import Usage

MAX_RUNNING = 8  # responses at once: one in the conversation, the others beside it
MAX_EVENT_ID = 512
FREE = Terms()
_FRAMES = msgspec.json.Decoder(dict[str, Any])
_REFERENCE = "item_reference"
_KNOWN = (
    "session.update, conversation.item.create, conversation.item.delete, conversation.item.retrieve, "
    "response.create, response.cancel"
)


@dataclass(frozen=True, slots=True)
class Say:
    """Send this frame."""

    frame: bytes


@dataclass(frozen=True, slots=True)
class Start:
    """Ask the model; tell of its events by `heard`, and of the end, whatever it is, by `ended`, once."""

    response_id: str
    request: ModelRequest


@dataclass(frozen=True, slots=True)
class Stop:
    """Hang up on the model; `ended` is still to be told."""

    response_id: str


Step = Say | Start | Stop


class _SessionUpdate(Struct):
    session: dict[str, Any]


class _ItemCreate(Struct):
    item: dict[str, Any]
    previous_item_id: str | None = None


class _AboutItem(Struct):
    item_id: str


class _ResponseCreate(Struct):
    response: dict[str, Any] | None = None


class _ResponseCancel(Struct):
    response_id: str | None = None


class _Asked(Struct):
    """What a `response.create` has beside settings."""

    conversation: Literal["auto", "none"] | None = None
    input: list[dict[str, Any]] | None = None
    metadata: Annotated[Metadata, Meta(max_length=16)] | None = None


class TextBridge:
    """One session. Feed it from one task at a time, and send its frames in the order that it gives them.

    `terms`: what its credential holds it to, never shown. Whoever asks the model searches their `vector_stores`.
    """

    def __init__(
        self, model: str, new_id: NewId, terms: Terms = FREE, *, conversation: Conversation | None = None
    ) -> None:
        self._model = model
        self._terms = terms
        self._new_id = new_id
        self._id = new_id("sess")
        self._conversation_id = new_id("conv")
        self._conversation = conversation or Conversation()
        self._frames = Frames(new_id)
        self._settings = Settings()
        self._running: dict[str, RunningResponse] = {}
        self._draining = False
        self._budget = Budget(terms.max_tokens)
        self._arrivals = Arrivals()

    @property
    def busy(self) -> bool:
        """Whether a response is running."""
        return bool(self._running)

    def open(self) -> list[bytes]:
        """Return the first frames; what the session was to begin with and cannot is an error, as in an update."""
        refused: list[bytes] = []
        try:
            self._settings = self._settings.changed(self._terms.session, scope="session", known=OF_A_SESSION)
        except ChatError as error:
            refused.append(self._frames.error(error))
        return [self._frames.event("session.created", session=self._shown()), *refused]

    def load(self, history: Sequence[Item]) -> list[bytes]:
        """Take what was said before the session; return how the client is shown it."""
        shown = [(items.shown(item), before) for item, before in self._conversation.load(history)]
        return [
            self._frames.event(f"conversation.item.{stage}", previous_item_id=before, item=item)
            for item, before in shown
            for stage in ("added", "done")
        ]

    def learned(self, item: Item) -> list[bytes]:
        """Take an item that somebody else has added to the conversation; return how the client is shown it."""
        return self.load(self._arrivals.take(item))

    def forgotten(self, item_id: str) -> list[bytes]:
        """Take out an item that somebody else has deleted; return how the client is told."""
        entry = self._conversation.find(item_id)
        if entry is None:
            return []
        self._conversation.remove(entry)
        return [self._frames.event("conversation.item.deleted", item_id=item_id)]

    def cut(self) -> None:
        """End what runs as the session ends: nobody is told any more, but what was said stays in the conversation."""
        for response_id in list(self._running):
            self.ended(response_id, error=Unavailable("The session has ended.", code="interrupted"))

    def drain(self, seconds: float) -> bytes:
        """Begin no response from now on: the server stops in so long. Return the word for clients that know ours."""
        self._draining = True
        return self._frames.draining(seconds)

    def receive(self, text: str) -> list[Step]:
        """Take one text frame. Never raises."""
        about: str | None = None
        try:
            frame = decoded(_FRAMES, text)
            about = _event_id(frame)
            refuse_deep(frame)
            return self._steps(frame)
        except ChatError as error:
            return [Say(self._frames.error(error, about))]

    def refused(self, error: ChatError) -> bytes:
        """Return what answers a frame that could not even be taken."""
        return self._frames.error(error)

    def heard(self, response_id: str, event: ModelEvent) -> list[bytes]:
        """Take an event of the model; one that comes behind a cancel says nothing, nor does one that cites files.

        Raises: UpstreamError for one that makes no sense.
        """
        running = self._running[response_id]
        if running.cancelled or (isinstance(event, Cited) and isinstance(event.annotation, FileCitation)):
            return []  # which files a credential has searched is nothing that its client may see
        return running.feed(event)

    def ended(self, response_id: str, usage: Usage | None = None, error: ChatError | None = None) -> list[bytes]:
        """End a response: as its client wished, by `error`, or as the model has ended it; see `spent`, too."""
        frames = self._running.pop(response_id).end(usage, error)
        self._budget.use(usage or Usage())
        return frames if self.spent is None else [*frames, self._frames.error(self.spent)]

    @property
    def spent(self) -> ChatError | None:
        """Why the session has to be closed now; None while it goes on."""
        return None if self._running else self._budget.exceeded

    def _steps(self, frame: dict[str, Any]) -> list[Step]:
        match frame.get("type"):
            case "session.update":
                return self._update(frame)
            case "conversation.item.create":
                return self._create_item(frame)
            case "conversation.item.delete":
                return self._delete_item(frame)
            case "conversation.item.retrieve":
                return self._retrieve_item(frame)
            case "response.create":
                return self._create_response(frame)
            case "response.cancel":
                return self._cancel_response(frame)
            case other:
                shown = f"'{other[:64]}'" if isinstance(other, str) else "none"
                message = f"A session in text does not take the event type {shown}; it takes {_KNOWN}."
                raise InvalidRequest(message, param="type", code="unsupported_event")

    def _update(self, frame: dict[str, Any]) -> list[Step]:
        given = converted(frame, _SessionUpdate).session
        if given.get("type") != "realtime":
            message = "A session's type is 'realtime': it is neither transcription nor translation."
            raise InvalidRequest(message, param="session.type", code="unsupported_value")
        if given.get("model", self._model) not in (self._model, None):
            message = f"A session keeps its model, which is '{self._model}'."
            raise InvalidRequest(message, param="session.model", code="model_not_allowed")
        self._settings = self._changed(given, scope="session", known=OF_A_SESSION)
        return [Say(self._frames.event("session.updated", session=self._shown()))]

    def _create_item(self, frame: dict[str, Any]) -> list[Step]:
        asked = converted(frame, _ItemCreate)
        item = items.read(asked.item, self._new_id, param="item")
        before = self._conversation.add(item, after=asked.previous_item_id)
        place: dict[str, Any] = {"previous_item_id": before, "item": items.shown(item)}
        return [Say(self._frames.event(f"conversation.item.{stage}", **place)) for stage in ("added", "done")]

    def _delete_item(self, frame: dict[str, Any]) -> list[Step]:
        entry = self._entry(frame, "item_delete_invalid_item_id")
        if entry.item.status == "in_progress":
            message = "The model is making this item; cancel its response first."
            raise Conflict(message, param="item_id", code="item_in_progress")
        self._conversation.remove(entry)
        return [Say(self._frames.event("conversation.item.deleted", item_id=entry.item.id))]

    def _retrieve_item(self, frame: dict[str, Any]) -> list[Step]:
        entry = self._entry(frame, "item_retrieve_invalid_item_id")
        return [Say(self._frames.event("conversation.item.retrieved", item=items.shown(entry.item)))]

    def _entry(self, frame: dict[str, Any], code: str) -> Entry:
        item_id = converted(frame, _AboutItem).item_id
        entry = self._conversation.find(item_id)
        if entry is None:
            raise NotFound(f"The conversation has no item '{item_id[:64]}'.", param="item_id", code=code)
        return entry

    def _create_response(self, frame: dict[str, Any]) -> list[Step]:
        given = converted(frame, _ResponseCreate).response or {}
        settings = self._changed(given, scope="response", known=OF_A_RESPONSE)
        asked = _asked(given)
        aside = asked.conversation == "none"
        self._check_may_begin(aside=aside)
        context = self._context(asked)
        request = settings.request(self._model, context, keeps=_since_the_user(context))
        request.instructions = "\n\n".join(filter(None, (self._terms.instructions, request.instructions))) or None
        head = Head(None if aside else self._conversation_id, settings.shown_limit, asked.metadata)
        running = RunningResponse(self._frames, head, None if aside else self._conversation, self._new_id)
        self._running[running.id] = running
        return [Say(running.begin()), Start(running.id, request)]

    def _changed(self, given: dict[str, Any], *, scope: str, known: frozenset[str]) -> Settings:
        """Return the settings with what a client gives. Raises: InvalidRequest, Forbidden for tools it may not have."""
        settings = self._settings.changed(given, scope=scope, known=known)
        allowed = self._terms.client_tools
        if "tools" in given and allowed is not None:
            for tool in settings.tools:
                if tool.name not in allowed:
                    message = f"The tool '{tool.name}' is not allowed here."
                    raise Forbidden(message, param=f"{scope}.tools", code="tool_not_allowed")
        return settings

    def _check_may_begin(self, *, aside: bool) -> None:
        if self._draining:
            raise Unavailable("The server is stopping; open another session.", code="stopping")
        if (exceeded := self._budget.exceeded) is not None:
            raise exceeded
        if not aside and (active := self._active()) is not None:
            message = f"The conversation has a response in progress: '{active.id}'."
            raise Conflict(message, code="conversation_already_has_active_response")
        if len(self._running) >= MAX_RUNNING:
            message = f"A session has at most {MAX_RUNNING} responses at once."
            raise RateLimited(message, code="too_many_responses")
        if not aside:
            self._conversation.check_room()

    def _context(self, asked: _Asked) -> list[Item]:
        """Return what the model is given. Raises: Conflict while it waits for the outputs of calls."""
        conversation = self._conversation if asked.input is None else self._of_input(asked.input)
        unanswered = conversation.unanswered()
        if unanswered:
            message = f"The model waits for the output of {', '.join(unanswered)}; create these items first."
            raise Conflict(message, code="function_call_unanswered")
        return conversation.context()

    def _of_input(self, given: list[dict[str, Any]]) -> Conversation:
        """Return the items that a response is to have instead of the conversation's. Raises: naming the place."""
        found = Conversation()
        for number, each in enumerate(given):
            place = f"response.input[{number}]"
            entry = self._given(each, place)
            try:
                found.adopt(entry)
            except ChatError as error:
                error.param = place
                raise
        return found

    def _given(self, given: dict[str, Any], place: str) -> Entry:
        if given.get("type") != _REFERENCE:
            return Entry(items.read(given, self._new_id, param=place))
        entry = self._conversation.find(str(given.get("id")))
        if entry is None:
            raise NotFound("The conversation has no such item.", param=place, code="item_reference_invalid_item_id")
        return entry

    def _cancel_response(self, frame: dict[str, Any]) -> list[Step]:
        response_id = converted(frame, _ResponseCancel).response_id
        running = self._active() if response_id is None else self._running.get(response_id)
        if running is None or running.cancelled:
            raise Conflict("There is no such response in progress.", code="response_cancel_not_active")
        running.cancelled = True
        return [Stop(running.id)]

    def _active(self) -> RunningResponse | None:
        """Return the response that writes to the conversation."""
        return next((running for running in self._running.values() if running.in_conversation), None)

    def _shown(self) -> dict[str, Any]:
        head = {"type": "realtime", "object": "realtime.session", "id": self._id, "model": self._model}
        return {**head, **self._settings.shown()}


def _event_id(frame: dict[str, Any]) -> str | None:
    """Return the id that a client gave its event. Raises: InvalidRequest."""
    match frame.get("event_id"):
        case None:
            return None
        case str(event_id) if len(event_id) <= MAX_EVENT_ID:
            return event_id
        case _:
            raise InvalidRequest(f"'event_id' is a text of at most {MAX_EVENT_ID} characters.", param="event_id")


def _asked(given: dict[str, Any]) -> _Asked:
    """Raises: InvalidRequest naming the field."""
    try:
        return converted(given, _Asked)
    except InvalidRequest as error:
        error.param = f"response.{error.param}"
        raise


def _since_the_user(context: list[Item]) -> int:
    """Return how many of the last items there are from the user's last message on."""
    places = [at for at, item in enumerate(context) if isinstance(item, Message) and item.role == "user"]
    return len(context) - places[-1] if places else 1
