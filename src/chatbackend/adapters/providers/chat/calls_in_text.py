"""Tool calls that a model writes into its text, because its server does not know them for calls.

Llama 3.1 has three spellings: `<|python_tag|>` and a JSON object, `<function=name>{...}</function>`, and, as a whole
answer, such an object alone: `{"name": ..., "parameters": {...}}`. Only a function that was offered can be called;
all else is text. Text is held for as long as it may still become a call, and no longer.

Source: Llama 3.1's prompt format, and what vLLM's parsers take for calls.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, Literal

import msgspec

from chatbackend.adapters.providers.chat.json_text import JsonText
from chatbackend.adapters.providers.codec import GARBAGE
from chatbackend.domain.events import Finished, ModelEvent, TextDelta, ToolCallDelta, ToolCallStarted

FIRST_INDEX = 1000  # above those of calls that a server knows for calls
_FUNCTION = "<function="
_TAGS = ("<|python_tag|>", _FUNCTION)
_CLOSERS = ("</function>", "<function>", "<|eom_id|>", "<|eot_id|>")
_BETWEEN = " \t\r\n;,"
_KEYS = ("name", "parameters", "arguments", "type", "id")
_KEY = re.compile(r'\{\s*(?:"(\w*)(?:(")|$)|$)')
_NAMELESS = re.compile(r'\{\s*"name"\s*(?::\s*)?$')
_NAME = re.compile(r'\{\s*"name"\s*:\s*"([^"\\]*)(?:(")|$)')

Verdict = Literal["wait", "no"]


class _Entry(msgspec.Struct):
    """A call as an object; Llama says `parameters`, others `arguments`."""

    name: str
    parameters: dict[str, Any] | None = None
    arguments: dict[str, Any] | None = None


class CallsInText:
    """`Step` that makes calls of such text. `answer_id` is asked for the provider's id of the answer."""

    def __init__(self, names: Iterable[str], answer_id: Callable[[], str | None]) -> None:
        self._names = frozenset(names)
        self._answer_id = answer_id
        self._held = ""  # may be the beginning of a call, up to its object
        self._tag: str | None = None  # how that call is spelled, "" for an object alone
        self._object: JsonText | None = None
        self._blank = ""  # before what is held; shown once text follows
        self._said = False  # text was said since the last call: an object alone is none any more
        self._whole = ""  # an answer of nothing but objects so far, which are `_waiting` for its end
        self._waiting: list[tuple[str, str]] = []
        self._made = 0
        self._index = 0

    def take(self, events: Iterable[ModelEvent]) -> list[ModelEvent]:
        """Return what these events become; see `Step`."""
        made: list[ModelEvent] = []
        for event in events:
            match event:
                case TextDelta():
                    self._index = event.index
                    self._feed(event.text, made)
                case Finished(reason=reason):
                    self._finish(made)
                    made.append(Finished("tool_calls" if self._made and reason == "stop" else reason))
                case _:
                    made.append(event)
        return made

    def _feed(self, text: str, made: list[ModelEvent]) -> None:
        if self._object is None:
            self._held += text
        elif self._object.feed(text):
            self._close(self._object, made)
        while self._held and self._object is None and self._advance(made):
            pass

    def _advance(self, made: list[ModelEvent]) -> bool:
        """Go on with what is held; return whether there is more to do before more text comes."""
        return self._look(made) if self._tag is None else self._read(made)

    def _look(self, made: list[ModelEvent]) -> bool:
        """Pass on what is text, up to where a call may begin."""
        if not self._said:
            rest = self._held.lstrip(_BETWEEN if self._called else None)
            if len(rest) < len(self._held):
                self._blank += self._held[: len(self._held) - len(rest)]
                self._held = rest
                return bool(rest)
            if self._held.startswith("{"):
                self._tag = ""
                return True
        place = self._place_of_tag()
        if place:
            self._say(self._held[:place], made)
            self._held = self._held[place:]
            return bool(self._held)
        return self._enter()

    @property
    def _called(self) -> bool:
        return bool(self._made or self._waiting)

    def _place_of_tag(self) -> int:
        """Return where a tag, or the beginning of one, stands; the length of what is held, if there is none."""
        place = self._held.find("<")
        while place >= 0:
            rest = self._held[place : place + 20]
            if any(tag.startswith(rest) or rest.startswith(tag) for tag in self._tags()):
                return place
            place = self._held.find("<", place + 1)
        return len(self._held)

    def _tags(self) -> tuple[str, ...]:
        return _TAGS + _CLOSERS if self._called and not self._said else _TAGS

    def _enter(self) -> bool:
        """Look at the tag that what is held begins with."""
        tag = next((tag for tag in self._tags() if self._held.startswith(tag)), None)
        if tag is None:
            return False
        if tag in _CLOSERS:
            self._blank += tag if self._waiting else ""
            self._held = self._held[len(tag) :]
            return bool(self._held)
        self._tag = tag
        return True

    def _read(self, made: list[ModelEvent]) -> bool:
        """Read the call that what is held may be, up to its object."""
        place = self._place_of_object()
        if place == "wait":
            return False
        if place == "no":
            self._refuse(made)
            return bool(self._held)
        self._object = JsonText()
        begun, self._held = self._held[place:], self._held[:place]
        if self._object.feed(begun):
            self._close(self._object, made)
        return bool(self._held)

    def _place_of_object(self) -> int | Verdict:
        place = len(self._tag or "")
        if self._tag == _FUNCTION:
            name, closed, _ = self._held[place:].partition(">")
            if not self._may_be(name, whole=bool(closed)):
                return "no"
            if not closed:
                return "wait"
            place += len(name) + 1
        begun = self._held[place:].lstrip()
        if not begun:
            return "wait"
        may_be = begun[0] == "{" if self._tag == _FUNCTION else self._may_begin(begun)
        if may_be is None:
            return "wait"
        return len(self._held) - len(begun) if may_be else "no"

    def _close(self, whole: JsonText, made: list[ModelEvent]) -> None:
        """Take the object that has ended for a call, or for text."""
        head, text, end = self._held, str(whole), whole.end or 0
        self._object = None
        call = self._decoded(text[:end], head)
        if call is None:
            self._held += text
            self._refuse(made)
            return
        if self._tag:
            self._call_waiting(made)
            self._make(call, made)
        else:
            self._waiting.append(call)
            self._whole += self._blank + text[:end]
        self._blank, self._held, self._tag, self._said = "", text[end:], None, False

    def _refuse(self, made: list[ModelEvent]) -> None:
        """Know the held text for text, at least where it begins."""
        self._tag = None
        self._say(self._held[0], made)
        self._held = self._held[1:]

    def _may_be(self, name: str, *, whole: bool) -> bool:
        return name in self._names if whole else any(known.startswith(name) for known in self._names)

    def _may_begin(self, head: str) -> bool | None:
        """Return whether an object that begins so may be a call, None while that cannot be known."""
        key, name = _KEY.match(head), _NAME.match(head)
        if key is None:
            return False
        if name is not None:
            return self._may_be(name[1], whole=bool(name[2])) and (True if name[2] else None)
        word, whole = key[1] or "", key[2]
        if not whole:
            return None if any(known.startswith(word) for known in _KEYS) else False
        return (None if _NAMELESS.match(head) else False) if word == "name" else word in _KEYS

    def _decoded(self, text: str, head: str) -> tuple[str, str] | None:
        """Return (name, arguments) of a call, None for what is none."""
        try:
            if self._tag == _FUNCTION:
                msgspec.json.decode(text, type=dict[str, Any])
                return head[len(_FUNCTION) :].partition(">")[0], text
            entry = msgspec.json.decode(text, type=_Entry)
        except GARBAGE:
            return None
        arguments = entry.arguments if entry.parameters is None else entry.parameters
        return (entry.name, msgspec.json.encode(arguments or {}).decode()) if entry.name in self._names else None

    def _say(self, text: str, made: list[ModelEvent]) -> None:
        """Pass text on; objects that were the whole answer before it were text, too."""
        made.append(TextDelta(self._whole + self._blank + text, self._index))
        self._whole = self._blank = ""
        self._waiting = []
        self._said = True

    def _make(self, call: tuple[str, str], made: list[ModelEvent]) -> None:
        name, arguments = call
        call_id = "_".join(filter(None, ("call", self._answer_id(), str(FIRST_INDEX + self._made))))
        made.append(ToolCallStarted(call_id, name, FIRST_INDEX + self._made))
        made.append(ToolCallDelta(arguments, FIRST_INDEX + self._made))
        self._made += 1

    def _call_waiting(self, made: list[ModelEvent]) -> None:
        for call in self._waiting:
            self._make(call, made)
        self._waiting, self._whole = [], ""

    def _finish(self, made: list[ModelEvent]) -> None:
        left = self._held + str(self._object or "")
        if left:
            self._say(left, made)
            self._held, self._object, self._tag = "", None, None
        self._call_waiting(made)
        if self._blank and not self._made:
            self._say("", made)
