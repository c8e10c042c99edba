"""What a script makes of a call: see `upstream.py` for the scripts."""

import asyncio
import json
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from tests.support.upstream_asked import Asked, Json, as_list, as_object, filled, parameters

__all__ = ["Asked", "Call", "Json", "Outcome", "Script", "as_list", "as_object", "cut", "script_of"]

Outcome = Literal["open", "finished", "refused", "cut", "closed-by-client"]

# Faults that strike after the Nth token, so that there have to be more tokens than that.
_AT = ("cut-at", "stall-at", "error-at", "failed-at", "truncated-at")
_KINDS = (
    "echo|json|cite|sources|image|tool-call|tool-loop|tool-text-function|tool-text-python|tool-text-json|reason|length|refuse|filter"
    "|no-headers|silent|cut-in-character|cut-before-first|error-in-stream|false-done|garbage|wrong-type|endless|slow"
    "|status|context-length|blocked|huge-headers"
)
_KIND = re.compile(rf"(?<![a-z0-9])({_KINDS}|{'|'.join(_AT)})(?:-(\d+))?(?![a-z0-9])")
_QUIRK = re.compile(r"(?<![a-z0-9])(no-usage|no-id|vllm|llama-cpp)(?![a-z0-9])")
_COUNT, _DELAY, _WAIT = (re.compile(rf"(?<![a-z0-9]){letter}(\d+)(?![a-z0-9])") for letter in "ndr")
_FAILS = re.compile(r"(?<![a-z0-9])fail-(\d+)-times(?![a-z0-9])")
_PASSAGE = re.compile(r"^【(\d+)】 .*\n(.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Script:
    """What one call does; `at` is the token after which it goes wrong (or the status).

    `fails` is how many calls go wrong before the same question is answered (0: all), `wait_ms` what an overloaded
    answer asks to wait.
    """

    kind: str = "text"
    tokens: int = 20
    delay_s: float = 0.0
    at: int = 3
    fails: int = 0
    wait_ms: int | None = None
    quirks: frozenset[str] = frozenset()

    @property
    def recovered(self) -> "Script":
        """What the call does once it has failed often enough."""
        return Script("text", self.tokens, self.delay_s, quirks=self.quirks)


def script_of(model: str, user_text: str) -> Script:
    """Return the script that the model's name says, or else the first word of the last user message."""
    for text in (model, user_text.partition(" ")[0]):
        kind, quirks = _KIND.search(text), frozenset[str](_QUIRK.findall(text))
        count, delay, wait, fails = (_number(pattern, text) for pattern in (_COUNT, _DELAY, _WAIT, _FAILS))
        if not (kind or quirks or fails) and count is None and delay is None:
            continue
        name, at = kind[1] if kind else "text", int(kind[2]) if kind and kind[2] else 3
        if fails and not kind:
            name, at = "status", 500
        fewest = at + 20 if name in _AT and at >= 20 else 20
        pause_s = 1.25 if name == "slow" else 0.0
        return Script(
            name,
            fewest if count is None else count,
            pause_s if delay is None else delay / 1000,
            at,
            fails=fails or 0,
            wait_ms=wait,
            quirks=quirks,
        )
    return Script()


@dataclass(slots=True)
class Call:
    """One call, as the log shows it. `usage` is what was reported to the client, None when nothing was."""

    salt: str
    dialect: str
    asked: Asked = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    script: Script = Script()
    path: str = ""
    started: float = field(default_factory=time.time)
    ended_at: float | None = None
    outcome: Outcome = "open"
    tokens: int = 0
    usage: Json | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    connection: int | None = None  # the number of its WebSocket
    said: Json = field(default_factory=Json, repr=False)  # its frame there, without what that connection remembered

    def row(self) -> Json:
        """Return the log line."""
        names = ("salt", "dialect", "path", "started", "ended_at", "outcome", "tokens", "usage")
        shown = {name: getattr(self, name) for name in names}
        asked = {"model": self.asked.model, "stream": self.asked.stream, "asked": self.asked.user_text[:200]}
        shown |= {"connection": self.connection, "bytes": len(json.dumps(self.said or self.asked.body))}
        return shown | asked | {"script": self.script.kind}

    @property
    def input_tokens(self) -> int:
        """What we say that the prompt cost: its words."""
        return self.asked.words

    def header(self, name: str) -> str:
        """Return a header of the request in whatever case it came, "" where it is absent."""
        return next((value for key, value in self.headers.items() if key.lower() == name), "")

    def has(self, quirk: str) -> bool:
        """Return whether the script has that quirk."""
        return quirk in self.script.quirks

    def pieces(self) -> list[str]:
        """Return the tokens of the answer's text."""
        match self.script.kind:
            case "echo":
                return [f"{self.salt}:0 ", *re.findall(r"\S+\s*|\s+", self.asked.user_text)]
            case "json":
                return cut(json.dumps(filled(self.asked.schema(), self.salt)))
            case "cite":
                passages: list[tuple[str, str]] = _PASSAGE.findall(self.asked.prompt)
                quotes = [f'{self.salt} read "{text[:60]}"【{number}】. ' for number, text in passages]
                return cut("".join(quotes) or f"{self.salt} found no passage.")
            case "sources":
                return cut(f"{self.salt} says one[1] and two[2][1]. ")
            case "image":
                return cut("".join(f"{self.salt} saw {seen}. " for seen in self.asked.attachments() or ["nothing"]))
            case "cut-in-character":
                return [f"{self.salt}:0 ", "naïve "]
            case kind if kind.startswith("tool-text-") and self.asked.tools():
                return cut(self._tool_text(kind.removeprefix("tool-text-")))
            case _:
                return [f"{self.salt}:{number} " for number in range(self.script.tokens)]

    def calls(self) -> list[tuple[str, str, str]]:
        """Return the (id, name, arguments) of the tools to call."""
        tools = self._called()
        return [
            (
                "" if self.has("no-id") else f"call_{self.salt}_{number}",
                str(tool.get("name")),
                json.dumps(self._arguments(tool)),
            )
            for number, tool in enumerate(tools)
        ]

    def _called(self) -> list[Json]:
        match self.script.kind:
            case "tool-call":
                return self.asked.tools()
            case "tool-loop" if self.asked.outputs < self.script.at:
                return self.asked.offered()[:1]
            case _:
                return []

    def _arguments(self, tool: Json) -> object:
        return filled(parameters(tool), self.asked.user_text)

    def _tool_text(self, spelling: str) -> str:
        """Return a call of the first tool as a Llama writes it where its server does not read it."""
        tool = self.asked.tools()[0]
        if spelling == "function":
            return f"<function={tool['name']}>{json.dumps(self._arguments(tool))}</function>"
        text = json.dumps({"name": tool["name"], "parameters": self._arguments(tool)})
        return f"<|python_tag|>{text}" if spelling == "python" else text


def salts() -> Iterator[str]:
    """Yield the marks of generations, at random and none twice: by them checkers tell generations apart."""
    dealt = set[str]()
    while True:
        salt = f"s{secrets.token_hex(3)}"
        if salt not in dealt:
            dealt.add(salt)
            yield salt


def cut(text: str, size: int = 5) -> list[str]:
    """Return the text in pieces, which tear words and citation marks."""
    return [text[start : start + size] for start in range(0, len(text), size)]


def _number(pattern: re.Pattern[str], text: str) -> int | None:
    found = pattern.search(text)
    return int(found[1]) if found else None
