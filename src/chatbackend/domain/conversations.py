"""A conversation: a named sequence of items that responses read before, and write behind, their own."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from chatbackend.domain.items import Item, Message, text_of
from chatbackend.domain.realtime import UNHEARD

TITLE_MAX = 200  # characters of a title that is given
_DERIVED_MAX = 80  # of one that is made from what was said first


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation as its owner sees it; times are in whole seconds since the epoch.

    `title` is the one that was given, or else made from the first user message. `updated_at`: when anything of it
    changed last. `branched_from`: the conversation whose items it began with.
    """

    id: str
    created_at: int
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    title: str | None = None
    archived: bool = False
    updated_at: int = 0
    branched_from: str | None = None


@dataclass(frozen=True, slots=True)
class Edit:
    """What an update changes: `None` leaves a thing as it is, the empty title takes a given one away."""

    metadata: dict[str, str] | None = None
    title: str | None = None
    archived: bool | None = None


@dataclass(frozen=True, slots=True)
class ItemAdded:
    """An item came in, behind all items of its turn and of earlier ones."""

    item_id: str
    turn: int
    response_id: str | None


@dataclass(frozen=True, slots=True)
class ItemDeleted:
    """An item was taken out."""

    item_id: str


@dataclass(frozen=True, slots=True)
class ResponseCreated:
    """A response took a turn; its input items follow."""

    response_id: str
    turn: int


@dataclass(frozen=True, slots=True)
class ResponseEnded:
    """A response ended; its output items came before."""

    response_id: str
    status: str


@dataclass(frozen=True, slots=True)
class Updated:
    """The conversation itself changed: its title, its metadata, whether it is archived."""

    conversation: Conversation


Change = ItemAdded | ItemDeleted | ResponseCreated | ResponseEnded | Updated


@dataclass(frozen=True, slots=True)
class State:
    """A conversation and its newest items, oldest first, as of event `last_event` (-1: nothing was logged yet).

    `running`: the responses that have not ended, in the order of their turns. `more`: there are older items.
    """

    conversation: Conversation
    last_event: int
    items: Sequence[ItemAdded]
    running: Sequence[str]
    more: bool = False


def title_of(items: Iterable[Item]) -> str | None:
    """Return a title made from the first user message that has words: its beginning, in one line; None without one."""
    for item in items:
        if isinstance(item, Message) and item.role == "user" and text_of(item) != UNHEARD:
            title = one_line(text_of(item)[: 10 * _DERIVED_MAX])
            if title:
                return title if len(title) <= _DERIVED_MAX else _cut(title)
    return None


def one_line(text: str) -> str:
    """Return a text in one line, without control characters."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _cut(title: str) -> str:
    """Cut between words where that leaves at least half."""
    kept = title[: _DERIVED_MAX - 1]
    whole_words = kept.rpartition(" ")[0]
    return f"{whole_words if len(whole_words) >= _DERIVED_MAX // 2 else kept}\u2026"
