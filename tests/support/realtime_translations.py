"""What the scripted Realtime provider says in a live translation, as the `openai` package types it."""

import secrets
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

Event = dict[str, Any]


class TranslationSpelling:
    """One session's state and words: each sound is translated at once, and what was said told where that is set."""

    pause_s = 0.0
    active: str | None = None

    def __init__(self, model: str) -> None:
        self.script = model
        self._numbers = count()
        self.session: Event = {
            "id": f"sess_{secrets.token_hex(4)}",
            "type": "translation",
            "model": "gpt-translate-vendor",
            "expires_at": int(time.time()) + 3600,
            "audio": {"input": {"transcription": None, "noise_reduction": None}, "output": {"language": "en"}},
        }

    def session_event(self, kind: str) -> Event:
        """Return the session, told anew."""
        return self._event(kind, session=dict(self.session))

    def error(self, kind: str, message: str, code: str | None, about: object = None) -> Event:
        """Return an error event."""
        error = {"type": kind, "message": message, "code": code, "param": None, "event_id": about}
        return self._event("error", error=error)

    def answer(self, event: Event) -> list[Event]:
        """Return what one event of the client's is answered with."""
        match event.get("type"):
            case "session.update":
                return self._updated(event)
            case "session.input_audio_buffer.append":
                return self._translated(event["audio"])
            case "session.close":
                return [self._event("session.closed")]
            case kind:
                return [
                    self.error("invalid_request_error", f"Unknown type {kind}", "invalid_value", event.get("event_id"))
                ]

    def generation(self) -> Iterator[Event]:
        """Yield nothing: nobody answers."""
        yield from ()

    def _updated(self, event: Event) -> list[Event]:
        given: Event = event["session"]
        unknown = next((name for name in given if name != "audio"), None)
        if unknown is not None:
            message = f"Unknown parameter: 'session.{unknown}'."
            return [self.error("invalid_request_error", message, "unknown_parameter", event.get("event_id"))]
        audio: Event = self.session["audio"]
        for side, changed in given.get("audio", {}).items():
            audio = {**audio, side: {**audio[side], **changed}}
        self.session["audio"] = audio
        return [self.session_event("session.updated")]

    def _translated(self, sound: str) -> list[Event]:
        said: list[Event] = []
        if self.session["audio"]["input"]["transcription"]:
            said.append(self._event("session.input_transcript.delta", delta="Guten Tag", elapsed_ms=200))
        spoken = self._event("session.output_audio.delta", delta=sound, format="pcm16", sample_rate=24000, channels=1)
        return [*said, self._event("session.output_transcript.delta", delta="Good day", elapsed_ms=200), spoken]

    def _event(self, kind: str, **fields: object) -> Event:
        return {"type": kind, "event_id": f"event_{next(self._numbers)}", **fields}
