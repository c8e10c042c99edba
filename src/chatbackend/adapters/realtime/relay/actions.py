"""What the core of a realtime session wants done: the shell does it, in order."""

from collections.abc import Sequence
from dataclasses import dataclass

from chatbackend.adapters.realtime.frames import Frame
from chatbackend.domain.realtime import Ended
from chatbackend.domain.records import Entry
from chatbackend.domain.usage import Settlement


@dataclass(slots=True)
class ToClient:
    """Send this to the client."""

    frame: Frame


@dataclass(slots=True)
class ToProvider:
    """Send this to the provider."""

    frame: Frame


@dataclass(frozen=True, slots=True)
class Close:
    """End the session: close each side that is still open, in this way."""

    client: Ended
    provider: Ended


@dataclass(frozen=True, slots=True)
class Began:
    """Something that costs has begun: write it down. `model` is the provider's name, where it is another's."""

    key: str
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Billed:
    """What had begun has ended, and cost this."""

    key: str
    settlement: Settlement


@dataclass(frozen=True, slots=True)
class RunTool:
    """Run a tool of ours beside everything else, and say so with `Relay.tool_answered`."""

    call_id: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Keep:
    """Write this into the conversation that the session is bound to, some time soon, in its order."""

    entries: Sequence[Entry]


@dataclass(frozen=True, slots=True)
class Renew:
    """Open another session at the provider beside the one that there is, and say so with `Relay.successor`."""


@dataclass(frozen=True, slots=True)
class Move:
    """Go on in the session that was opened: it is told `first`, and what the client says from now on comes behind."""

    first: "Sequence[Action]"


Action = ToClient | ToProvider | Close | Began | Billed | RunTool | Keep | Renew | Move
