"""A session that goes on past its provider's end: when it moves to another one there, and what goes along.

It moves when nobody speaks and nothing is under way, or else at the last moment. What the client has asked for and was
not answered yet is asked for again; a response that is under way ends as failed. Everything here is in GA's words.

Source: the `openai` package, types/realtime/realtime_session_create_request.py and realtime_response_status.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from chatbackend.adapters.realtime.dialect import translation
from chatbackend.adapters.realtime.frames import Event, Frame, as_object
from chatbackend.adapters.realtime.relay.held import SETUP
from chatbackend.domain.realtime import Dialect

LEAD_S = 60.0  # before the end, that the next session is opened; half of the session, where that is less
LAST_S = 5.0  # before the end, that nothing is waited for any longer
AGAIN_S = 10.0  # from one attempt to the next
MAX_UNANSWERED = 64
CODE = "session_renewed"
EXPIRED = "session_expired"
_ANSWERS = {
    "session.update": "session.updated",
    "conversation.item.create": "conversation.item.added",
    "input_audio_buffer.commit": "input_audio_buffer.committed",
    "response.create": "response.created",
}
_COMMIT = "input_audio_buffer.commit"  # of sound that is gone: not to be asked for again
_SPEAKS = {
    "input_audio_buffer.speech_started": True,
    "input_audio_buffer.committed": False,
    "input_audio_buffer.cleared": False,
}
FROM_CLIENT = frozenset(_ANSWERS)
EVENTS = frozenset(("response.created", "response.done", "error", *_ANSWERS.values(), *_SPEAKS))
_SETTINGS = frozenset(
    (
        *("type", "audio", "include", "instructions", "max_output_tokens", "output_modalities", "parallel_tool_calls"),
        *("prompt", "reasoning", "tool_choice", "tools", "tracing", "truncation"),
    )
)


@dataclass(frozen=True, slots=True)
class _Asked:
    kind: str
    event: Event
    frame: Frame


class Renewal:
    """One session's. Times are seconds since the epoch."""

    def __init__(self) -> None:
        self.dialling = False
        self.settling = False  # the new session is being set up
        self.expired = False  # as the provider has said
        self._session: Event = {}
        self._active: dict[object, Event] = {}
        self._speaking = False
        self._unanswered: list[_Asked] = []
        self._try_at = 0.0

    @property
    def idle(self) -> bool:
        """Whether nothing would be lost now."""
        return not (self._active or self._speaking or self._unanswered)

    def asked(self, event: Event, frame: Frame) -> None:
        """Take note of a client's event that is passed on, `frame` as it came."""
        kind = event.get("type")
        if kind in _ANSWERS:
            self._unanswered = [*self._unanswered, _Asked(str(kind), event, frame)][-MAX_UNANSWERED:]

    def heard(self, event: Event) -> None:
        """Take an event that the client is shown."""
        kind = str(event.get("type"))
        response = as_object(event.get("response")) or {}
        if kind == "response.created":
            self._active[response.get("id")] = response
        elif kind == "response.done":
            self._active.pop(response.get("id"), None)
        self._speaking = _SPEAKS.get(kind, self._speaking)
        answered = next((asked for asked in self._unanswered if _answers(kind, event, asked)), None)
        if answered is not None:
            self._unanswered.remove(answered)

    def configured(self, kind: str, session: Event) -> None:
        """Take the session's configuration, as its provider has it; a new session's own is not the client's."""
        if kind == "session.updated" or not self.settling:
            self._session = session

    def due(self, now: float, began_at: float, expires_at: float) -> bool:
        """Whether the next session is to be opened now; it is not asked for again for a while."""
        if self.dialling or now < expires_at - min(LEAD_S, (expires_at - began_at) / 2):
            return False
        return self.may_dial(now)

    def may_dial(self, now: float) -> bool:
        """Whether the next session may be opened now; where it may, it is taken as being opened."""
        if now < self._try_at:
            return False
        self.dialling, self._try_at = True, now + AGAIN_S
        return True

    def moved(self) -> None:
        """Begin anew, at the next provider's session."""
        self.dialling = self.expired = self._speaking = False
        self.settling = True
        self._active = {}
        self._unanswered = []

    def setup(self) -> Event:
        """Return what the next session is told first: to be as this one was."""
        kept = {name: value for name, value in self._session.items() if name in _SETTINGS and value is not None}
        return {"type": "session.update", "event_id": SETUP, "session": {"type": "realtime", **kept}}

    def is_over(self, event: Event) -> bool:
        """Whether an error of the provider's says that its session has ended, which the client's outlasts."""
        self.expired = self.expired or (as_object(event.get("error")) or {}).get("code") == EXPIRED
        return self.expired

    def cut(self, dialect: Dialect) -> list[Event]:
        """Return what the client is told, in its dialect, of responses that end with the old session."""
        error = {"type": "server_error", "code": CODE}
        ended: list[Event] = [
            {
                "type": "response.done",
                "event_id": f"{response_id}_ended",
                "response": {
                    **response,
                    "status": "failed",
                    "status_details": {"type": "failed", "error": error},
                    "output": [],
                },
            }
            for response_id, response in self._active.items()
        ]
        return (
            ended if dialect == "ga" else [each for one in ended for each in translation.provider_event(one, to="beta")]
        )

    def unanswered(self) -> Sequence[Frame]:
        """Return what the client is to be answered yet, in its order."""
        return [asked.frame for asked in self._unanswered if asked.kind != _COMMIT]


def _answers(kind: str, event: Event, asked: _Asked) -> bool:
    """Whether an event answers what was asked for."""
    if kind == "error":
        return (as_object(event.get("error")) or {}).get("event_id") == asked.event.get("event_id")
    if kind != _ANSWERS[asked.kind]:
        return False
    if kind != "conversation.item.added":
        return True
    shown, given = as_object(event.get("item")) or {}, as_object(asked.event.get("item")) or {}
    return all(shown.get(name) == given[name] for name in ("id", "type", "role") if name in given)
