"""A conversation: a named sequence of items that responses read before, and write behind, their own."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation as its owner sees it; `created_at` is in whole seconds since the epoch."""

    id: str
    created_at: int
    metadata: dict[str, str] = field(default_factory=dict[str, str])
