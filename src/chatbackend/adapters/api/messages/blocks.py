"""The content blocks of an answer as they grow: what each begins with, adds and is in the end."""

from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from chatbackend.adapters.api.messages.tool_input import as_object, is_object

Json = dict[str, Any]


class Block(Protocol):
    """One content block. `news` are deltas that wait to be sent."""

    news: list[Json]

    @property
    def over(self) -> bool:
        """Whether nothing may be added once another block has begun."""
        ...

    def opening(self) -> Json:
        """Return the block as `content_block_start` shows it."""
        ...

    def close(self) -> None:
        """Add the deltas that only the end tells."""
        ...

    def whole(self) -> Json:
        """Return the block as a whole answer shows it, once it is closed."""
        ...


@dataclass(slots=True)
class Text:
    """Text, with what it cites."""

    index: int
    news: list[Json] = field(default_factory=list[Json])
    over: bool = True
    _pieces: list[str] = field(default_factory=list[str])
    _citations: list[Json] = field(default_factory=list[Json])

    def add(self, text: str) -> None:
        """Take more text."""
        self._pieces.append(text)
        self.news.append({"type": "text_delta", "text": text})

    def cite(self, citation: Json) -> None:
        """Take a citation."""
        self._citations.append(citation)
        self.news.append({"type": "citations_delta", "citation": citation})

    def opening(self) -> Json:
        """See `Block.opening`."""
        return {"type": "text", "text": ""}

    def close(self) -> None:
        """See `Block.close`."""

    def whole(self) -> Json:
        """See `Block.whole`."""
        return {"type": "text", "text": "".join(self._pieces), "citations": self._citations or None}


@dataclass(slots=True)
class Thinking:
    """Reasoning and its signature, which is there once `sealed`."""

    index: int
    unsigned: str
    news: list[Json] = field(default_factory=list[Json])
    over: bool = True
    sealed: bool = False
    _pieces: list[str] = field(default_factory=list[str])
    _signature: str = ""

    def add(self, text: str) -> None:
        """Take more reasoning."""
        self._pieces.append(text)
        self.news.append({"type": "thinking_delta", "thinking": text})

    def sign(self, signature: str) -> None:
        """Take the signature, the last there is to say."""
        self.sealed, self._signature = True, signature
        self.news.append({"type": "signature_delta", "signature": signature})

    def opening(self) -> Json:
        """See `Block.opening`."""
        return {"type": "thinking", "thinking": "", "signature": ""}

    def close(self) -> None:
        """Sign what its provider does not: the API knows no thinking without a signature."""
        if not self.sealed:
            self.sign(self.unsigned)

    def whole(self) -> Json:
        """See `Block.whole`."""
        return {"type": "thinking", "thinking": "".join(self._pieces), "signature": self._signature}


@dataclass(slots=True)
class Redacted:
    """Reasoning that only its provider can read."""

    data: str
    news: list[Json] = field(default_factory=list[Json])
    over: bool = True

    def opening(self) -> Json:
        """See `Block.opening`."""
        return self.whole()

    def close(self) -> None:
        """See `Block.close`."""

    def whole(self) -> Json:
        """See `Block.whole`."""
        return {"type": "redacted_thinking", "data": self.data}


@dataclass(slots=True)
class ToolUse:
    """A call of a client's tool. Its input is sent piece by piece, as long as it begins like an object."""

    id: str
    name: str
    news: list[Json] = field(default_factory=list[Json])
    _input: str = ""
    _sent: bool = False

    @property
    def over(self) -> bool:
        """Whether the input is a whole object, to which nothing can be added."""
        return is_object(self._input)

    def add(self, text: str) -> None:
        """Take more of the input."""
        self._input += text
        if self._sent:
            self._send(text)
        elif self._input.lstrip().startswith("{"):
            self._send(self._input)

    def opening(self) -> Json:
        """See `Block.opening`."""
        return {"type": "tool_use", "id": self.id, "name": self.name, "input": {}}

    def close(self) -> None:
        """Send what does not even begin like an object as one that holds it."""
        if not self._sent:
            self._send(as_object(self._input))

    def whole(self) -> Json:
        """See `Block.whole`."""
        return self.opening() | {"input": msgspec.Raw(as_object(self._input).encode())}

    def _send(self, text: str) -> None:
        self._sent = True
        self.news.append({"type": "input_json_delta", "partial_json": text})
