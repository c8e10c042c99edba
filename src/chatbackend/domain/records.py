"""What a live session has to say of a conversation's items: what is to be written there, in its order."""

from dataclasses import dataclass

from chatbackend.domain.items import Item


@dataclass(frozen=True, slots=True)
class Append:
    """An item comes behind all others; under the id `spare`, where the conversation has another one of its id."""

    item: Item
    spare: str


@dataclass(frozen=True, slots=True)
class Amend:
    """An item that was appended has become this; one that is gone stays so."""

    item: Item


@dataclass(frozen=True, slots=True)
class Remove:
    """An item goes; one that is gone stays so."""

    item_id: str


Entry = Append | Amend | Remove


def item_id_of(entry: Entry) -> str:
    """Return the id of the item that an entry is about."""
    return entry.item_id if isinstance(entry, Remove) else entry.item.id
