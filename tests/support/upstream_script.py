"""What the scripted upstream was asked, and what its script makes of it: see `upstream.py` for the scripts."""

import asyncio
import json
import re
import time
from dataclasses import dataclass, field
from typing import Any, Literal, cast

Json = dict[str, Any]
Outcome = Literal["open", "finished", "refused", "cut", "closed-by-client"]

_KIND = re.compile(
    r"(?<![a-z0-9])(echo|json|cite|tool-call|reason|length|refuse|filter|no-headers|silent|stall-at|cut-at|cut-in-character"
    r"|error-in-stream|error-at|false-done|garbage|wrong-type|endless|slow|status)(?:-(\d+))?(?![a-z0-9])"
)
_COUNT = re.compile(r"(?<![a-z0-9])n(\d+)(?![a-z0-9])")
_DELAY = re.compile(r"(?<![a-z0-9])d(\d+)(?![a-z0-9])")
_PASSAGE = re.compile(r"^【(\d+)】 .*\n(.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Script:
    """What one call does; `at` is the token after which it goes wrong (or the status)."""

    kind: str = "text"
    tokens: int = 20
    delay_s: float = 0.0
    at: int = 3


def script_of(model: str, user_text: str) -> Script:
    """Return the script that the model's name says, or else the first word of the last user message."""
    for text in (model, user_text.partition(" ")[0]):
        kind, count, delay = _KIND.search(text), _COUNT.search(text), _DELAY.search(text)
        if kind or count or delay:
            return Script(
                kind[1] if kind else "text",
                int(count[1]) if count else 20,
                int(delay[1]) / 1000 if delay else 1.25 if kind and kind[1] == "slow" else 0.0,
                int(kind[2]) if kind and kind[2] else 3,
            )
    return Script()


class Asked:
    """A request body of either dialect."""

    def __init__(self, body: Json) -> None:
        self.body = body
        self.model = str(body.get("model"))
        self.stream = bool(body.get("stream"))
        self.messages = [as_object(message) for message in as_list(body.get("messages"))]
        self.prompt = "\n".join(_texts([body.get("system"), body.get("messages")]))
        self.user_text = "\n".join(_texts([entry for entry in self.messages if entry.get("role") == "user"][-1:]))

    @property
    def wants_usage(self) -> bool:
        """Whether a Chat Completions stream was asked to report usage."""
        return bool(as_object(self.body.get("stream_options")).get("include_usage"))

    def tools(self) -> list[Json]:
        """Return the tools to call: all, or the first where parallel calls are off; none once an output is there."""
        last = self.messages[-1] if self.messages else {}
        blocks = [as_object(block).get("type") for block in as_list(last.get("content"))]
        if last.get("role") == "tool" or "tool_result" in blocks:
            return []
        tools = [
            as_object(as_object(tool).get("function")) or as_object(tool) for tool in as_list(self.body.get("tools"))
        ]
        serial = as_object(self.body.get("tool_choice")).get("disable_parallel_tool_use")
        return tools[:1] if serial or self.body.get("parallel_tool_calls") is False else tools

    def schema(self) -> Json:
        """Return the schema that the answer shall have."""
        chat = as_object(as_object(self.body.get("response_format")).get("json_schema"))
        messages = as_object(as_object(self.body.get("output_config")).get("format"))
        given = as_object(chat.get("schema")) or as_object(messages.get("schema"))
        return given or {"properties": {"answer": {"type": "string"}}}


@dataclass(slots=True)
class Call:
    """One call, as the log shows it. `usage` is what was reported to the client, None when nothing was."""

    salt: str
    dialect: str
    asked: Asked = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    script: Script = Script()
    started: float = field(default_factory=time.time)
    ended_at: float | None = None
    outcome: Outcome = "open"
    tokens: int = 0
    usage: Json | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    def row(self) -> Json:
        """Return the log line."""
        names = ("salt", "dialect", "started", "ended_at", "outcome", "tokens", "usage")
        shown = {name: getattr(self, name) for name in names}
        return shown | {"model": self.asked.model, "stream": self.asked.stream, "script": self.script.kind}

    @property
    def input_tokens(self) -> int:
        """What we say that the prompt cost: its words."""
        return len(self.asked.prompt.split())

    def pieces(self) -> list[str]:
        """Return the tokens of the answer's text."""
        match self.script.kind:
            case "echo":
                return [f"{self.salt}:0 ", *re.findall(r"\S+\s*|\s+", self.asked.user_text)]
            case "json":
                return cut(json.dumps(_filled(self.asked.schema(), self.salt)))
            case "cite":
                passages: list[tuple[str, str]] = _PASSAGE.findall(self.asked.prompt)
                quotes = [f'{self.salt} read "{text[:60]}"【{number}】. ' for number, text in passages]
                return cut("".join(quotes) or f"{self.salt} found no passage.")
            case "cut-in-character":
                return [f"{self.salt}:0 ", "naïve "]
            case _:
                return [f"{self.salt}:{number} " for number in range(self.script.tokens)]

    def calls(self) -> list[tuple[str, str, str]]:
        """Return the (id, name, arguments) of the tools to call."""
        tools = self.asked.tools() if self.script.kind == "tool-call" else []
        return [
            (
                f"call_{self.salt}_{number}",
                str(tool.get("name")),
                json.dumps(_filled(_parameters(tool), self.asked.user_text)),
            )
            for number, tool in enumerate(tools)
        ]


def as_object(value: object) -> Json:
    """Return a JSON object, {} for anything else."""
    return cast(Json, value) if isinstance(value, dict) else {}


def as_list(value: object) -> list[object]:
    """Return a JSON array, [] for anything else."""
    return cast(list[object], value) if isinstance(value, list) else []


def cut(text: str, size: int = 5) -> list[str]:
    """Return the text in pieces, which tear words and citation marks."""
    return [text[start : start + size] for start in range(0, len(text), size)]


def _texts(value: object) -> list[str]:
    """Return every text in messages of either dialect, outputs of tools included."""
    if isinstance(value, str):
        return [value]
    inside = as_list(value) or [as_object(value).get(name) for name in ("text", "content")]
    return [text for entry in inside if entry is not None for text in _texts(entry)]


def _parameters(tool: Json) -> Json:
    return as_object(tool.get("parameters")) or as_object(tool.get("input_schema"))


def _filled(schema: Json, text: str) -> object:
    """Return a value that fits a (simple) JSON schema, with `text` for every string."""
    match schema.get("type", "object"):
        case "object":
            return {name: _filled(as_object(part), text) for name, part in as_object(schema.get("properties")).items()}
        case "array":
            return [_filled(as_object(schema.get("items")) or {"type": "string"}, text)]
        case "integer" | "number":
            return 7
        case "boolean":
            return True
        case _:
            return (as_list(schema.get("enum")) or [text])[0]
