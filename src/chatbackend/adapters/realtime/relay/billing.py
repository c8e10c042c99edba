"""What a session costs: one entry a response, one a transcription, each once.

A provider counts both apart, at the end of each. A response that never ends is billed by what came of it.
Source: the `openai` package, types/realtime/realtime_response_usage.py and
conversation_item_input_audio_transcription_completed_event.py.
"""

from collections import deque
from collections.abc import Mapping
from typing import get_args

from chatbackend.adapters.realtime.frames import Event, as_object
from chatbackend.adapters.realtime.relay.actions import Action, Began, Billed
from chatbackend.domain.usage import CallOutcome, Settlement, Usage

TRANSLATION = "translation"  # the key of its entry
MAX_OPEN = 64  # responses under way at once: beside the conversation's own, those of `conversation: none`
_OUTCOMES: Mapping[object, CallOutcome] = {outcome: outcome for outcome in get_args(CallOutcome)}


class Bill:
    """One session's."""

    def __init__(self) -> None:
        self._open: dict[str, int] = {}  # of each response under way, how many deltas came
        self._transcriber: str | None = None
        self._transcribed: deque[str] = deque(maxlen=MAX_OPEN)

    @property
    def running(self) -> bool:
        """Whether an entry is open."""
        return bool(self._open)

    def configured(self, session: Event) -> None:
        """Note what transcribes the input, by a session's configuration in either dialect."""
        audio = as_object(session.get("audio")) or {}
        nested = as_object((as_object(audio.get("input")) or {}).get("transcription"))
        found = nested or as_object(session.get("input_audio_transcription")) or {}
        model = found.get("model")
        self._transcriber = model if isinstance(model, str) else None

    def opened(self) -> list[Action]:
        """Begin the entry of the session itself, where it costs."""
        return []

    def came(self, kind: str) -> None:
        """Count a delta of a response; of which one does not matter but for a session that is cut."""
        if kind.startswith("response."):
            for key in self._open:
                self._open[key] += 1

    def response_created(self, event: Event) -> list[Action]:
        """Begin the entry of a response."""
        key = _id_of(event)
        if key is None or key in self._open or len(self._open) >= MAX_OPEN:
            return []
        self._open[key] = 0
        return [Began(key)]

    def response_done(self, event: Event) -> list[Action]:
        """Settle the entry of a response; one that is not open has been."""
        key = _id_of(event)
        came = None if key is None else self._open.pop(key, None)
        if key is None or came is None:
            return []
        response = as_object(event.get("response")) or {}
        outcome = _OUTCOMES.get(response.get("status"), "completed")
        usage = usage_of(response.get("usage"))
        return [Billed(key, Settlement(usage or _guess(came, outcome), outcome))]

    def transcribed(self, event: Event) -> list[Action]:
        """Enter a transcription; one that was entered lately is not entered again."""
        key = f"{event.get('item_id')}/{event.get('content_index')}"
        if key in self._transcribed:
            return []
        self._transcribed.append(key)
        usage = usage_of(event.get("usage")) or Usage(estimated=True)  # billed by the second: no tokens are told
        return [Began(key, self._transcriber), Billed(key, Settlement(usage, "completed"))]

    def cut(self, outcome: CallOutcome) -> list[Action]:
        """Settle what is still open when the session ends."""
        left, self._open = self._open, {}
        return [
            Billed(key, Settlement(Usage(output_tokens=came, estimated=True), outcome)) for key, came in left.items()
        ]


class NoBill(Bill):
    """That of a session which another one bills."""

    def response_created(self, event: Event) -> list[Action]:
        """Begin nothing."""
        return []

    def transcribed(self, event: Event) -> list[Action]:
        """Enter nothing."""
        return []


class TranslationBill(Bill):
    """A live translation's: one entry, of a token for each delta of a transcript. Nobody says what it used."""

    def __init__(self) -> None:
        super().__init__()
        self._heard = self._said = 0

    def opened(self) -> list[Action]:
        """Begin the entry."""
        self._open[TRANSLATION] = 0
        return [Began(TRANSLATION)]

    def came(self, kind: str) -> None:
        """Count a delta of what was said, or of what it means."""
        self._heard += kind == "session.input_transcript.delta"
        self._said += kind == "session.output_transcript.delta"

    def cut(self, outcome: CallOutcome) -> list[Action]:
        """Settle the entry, once."""
        settlement = Settlement(Usage(self._heard, self._said, estimated=True), outcome)
        left, self._open = self._open, {}
        return [Billed(key, settlement) for key in left]


def usage_of(value: object) -> Usage | None:
    """Return what a provider counted in tokens, None where it counted none."""
    said = as_object(value)
    if said is None or "input_tokens" not in said:
        return None
    details = as_object(said.get("input_token_details")) or {}
    return Usage(_count(said, "input_tokens"), _count(said, "output_tokens"), _count(details, "cached_tokens"))


def _guess(came: int, outcome: CallOutcome) -> Usage:
    return Usage() if outcome == "failed" and not came else Usage(output_tokens=came, estimated=True)


def _count(said: Event, name: str) -> int:
    value = said.get(name)
    return value if isinstance(value, int) else 0


def _id_of(event: Event) -> str | None:
    found = (as_object(event.get("response")) or {}).get("id")
    return found if isinstance(found, str) else None
