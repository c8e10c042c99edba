"""One item of a session while it is said: its words as they come, and what of it a conversation keeps.

What the user said is its transcript, what the model said its transcript or text. An answer that was cut off is kept as
far as the user can have heard it: nobody tells where in the words that was, so they are cut in proportion to the sound.

Source: the `openai` package, types/realtime/conversation_item.py and conversation_item_truncate_event.py.
"""

from chatbackend.adapters.realtime.frames import Event, as_list, as_object
from chatbackend.domain.items import (
    FunctionCall,
    FunctionCallOutput,
    InputImage,
    InputPart,
    InputText,
    Item,
    ItemStatus,
    Message,
    OutputText,
    Part,
)
from chatbackend.domain.realtime import UNHEARD

PCM_PER_MS = 64.0  # characters of base64: 24 kHz, 16 bits
G711_PER_MS = 32 / 3
_AUDIO = "input_audio"


class Spoken:
    """An item as it is known so far; `shown` is how the session shows it."""

    def __init__(self, shown: Event) -> None:
        self.id = str(shown.get("id"))
        self.incomplete = False
        self._shown = shown
        self._texts: dict[object, str] = {}  # by the part's place
        self._sound = 0.0  # characters of base64
        self._heard: float | None = None  # of the sound, where it was cut off

    @property
    def mute(self) -> bool:
        """Whether there is sound of the user's that nobody has written down."""
        return any(part.get("type") == _AUDIO and not self._said(at, part) for at, part in self._parts())

    def show(self, shown: Event) -> None:
        """Take the item as it is shown now."""
        self._shown = shown
        self.incomplete = shown.get("status") == "incomplete"

    def grow(self, at: object, text: object) -> None:
        """Take some more words of a part."""
        if isinstance(text, str):
            self._texts[at] = self._texts.get(at, "") + text

    def say(self, at: object, text: object) -> None:
        """Take all words of a part."""
        if isinstance(text, str):
            self._texts[at] = text

    def sound(self, characters: float) -> None:
        """Take some more sound."""
        self._sound += characters

    def cut(self, characters: float) -> None:
        """Take note that nothing was heard behind so much sound."""
        self._heard = characters

    def item(self) -> Item | None:
        """Return what a conversation keeps: None for what has no words, and for what it has no items for."""
        match self._shown.get("type"):
            case "message":
                return self._answer() if self._shown.get("role") == "assistant" else self._question()
            case "function_call" if not self.incomplete:
                call_id, name = str(self._shown.get("call_id")), str(self._shown.get("name"))
                return FunctionCall(self.id, call_id, name, str(self._shown.get("arguments")))
            case "function_call_output":
                return FunctionCallOutput(self.id, str(self._shown.get("call_id")), str(self._shown.get("output")))
            case _:
                return None

    def _question(self) -> Message | None:
        parts: list[Part] = [given for at, part in self._parts() if (given := self._given(at, part)) is not None]
        role = "user" if self._shown.get("role") == "user" else "system"
        return Message(self.id, role, parts) if parts else None

    def _given(self, at: int, part: Event) -> InputPart | None:
        url = part.get("image_url")
        if isinstance(url, str):
            return InputImage(url)
        said = self._said(at, part) or (UNHEARD if part.get("type") == _AUDIO else "")
        return InputText(said) if said else None

    def _answer(self) -> Message | None:
        places = max([*(at + 1 for at in self._texts if isinstance(at, int)), len(self._parts())], default=0)
        shown = dict(self._parts())
        said = [self._said(at, shown.get(at, {})) for at in range(places)]
        status: ItemStatus = "incomplete" if self.incomplete or self._heard is not None else "completed"
        if self._heard is not None and self._sound:
            said = [_first(text, self._heard / self._sound) for text in said]
        words: list[Part] = [OutputText(text) for text in said if text]
        return Message(self.id, "assistant", words, status) if words else None

    def _said(self, at: int, part: Event) -> str:
        told = part.get("text") or part.get("transcript")
        return told if isinstance(told, str) else self._texts.get(at, "")

    def _parts(self) -> list[tuple[int, Event]]:
        return [(at, as_object(part) or {}) for at, part in enumerate(as_list(self._shown.get("content")) or ())]


def per_ms(session: Event) -> float:
    """Return how many characters of base64 a millisecond of a session's answers has, by its configuration in GA."""
    output = as_object((as_object(session.get("audio")) or {}).get("output")) or {}
    kind = (as_object(output.get("format")) or {}).get("type")
    return G711_PER_MS if kind in ("audio/pcmu", "audio/pcma") else PCM_PER_MS


def _first(text: str, share: float) -> str:
    """Return so much of a text from its beginning, in whole words."""
    if share >= 1:
        return text
    kept = text[: int(len(text) * share)]
    return kept.rpartition(" ")[0]
