"""The words by which conversations are found, kept in the truth: one row a message, read by LIKE.

A posting for each term would be found faster and written far slower, on the way of every answer; an owner's rows lie
side by side, and ten thousand conversations are looked through in a fraction of a second.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Select, and_, bindparam, case, delete, func, or_, select

from chatbackend.domain.finding import words
from chatbackend.domain.identity import Principal
from chatbackend.domain.items import Item, text_of
from chatbackend.infra.db.tables.responses import CONVERSATION_WORDS
from chatbackend.infra.db.transaction import Transaction, adding

_TITLE = ""  # the item under which a title's words are kept

_ADD_WORDS = adding(CONVERSATION_WORDS)
_MINE = (CONVERSATION_WORDS.c.tenant == bindparam("tenant"), CONVERSATION_WORDS.c.owner == bindparam("owner"))
_WORDS_OF = (*_MINE, CONVERSATION_WORDS.c.conversation_id == bindparam("conversation_id"))
_FORGET_WORDS = delete(CONVERSATION_WORDS).where(*_WORDS_OF)
_FORGET_WORDS_OF_ITEM = _FORGET_WORDS.where(CONVERSATION_WORDS.c.item_id == bindparam("item_id"))


@lru_cache
def matching(count: int) -> Select[*tuple[Any, ...]]:
    """Return the ids of an owner's conversations that hold each of `count` words, wherever. Parameters: `patterns`."""
    hits = [CONVERSATION_WORDS.c.words.like(bindparam(f"word{number}")) for number in range(count)]
    everyone = [func.max(case((hit, 1), else_=0)) == 1 for hit in hits]
    ids = select(CONVERSATION_WORDS.c.conversation_id).where(*_MINE, or_(*hits))
    return ids.group_by(CONVERSATION_WORDS.c.conversation_id).having(and_(*everyone))


def patterns(sought: Sequence[str]) -> dict[str, str]:
    """Return the parameters of `matching`; what is sought holds no wildcard."""
    return {f"word{number}": f"%{word}%" for number, word in enumerate(sought)}


async def index(tx: Transaction, principal: Principal, conversation_id: str, items: Sequence[Item]) -> None:
    """Let items be found by their words."""
    spoken = {item.id: words(text_of(item)) for item in items}
    rows = [_words_row(principal, conversation_id, item_id, said) for item_id, said in spoken.items() if said]
    await tx.execute_many(_ADD_WORDS, rows)


async def index_title(tx: Transaction, principal: Principal, conversation_id: str, title: str | None) -> None:
    """Let a conversation be found by the words of the title that was given to it."""
    await forget_words(tx, principal, conversation_id, item_id=_TITLE)
    if said := words(title or ""):
        await tx.execute(_ADD_WORDS, _words_row(principal, conversation_id, _TITLE, said))


async def forget_words(
    tx: Transaction, principal: Principal, conversation_id: str, *, item_id: str | None = None
) -> None:
    """Find a conversation no more by an item; by anything without one."""
    known = {"tenant": principal.tenant, "owner": principal.owner, "conversation_id": conversation_id}
    if item_id is None:
        await tx.execute(_FORGET_WORDS, known)
    else:
        await tx.execute(_FORGET_WORDS_OF_ITEM, {**known, "item_id": item_id})


def _words_row(principal: Principal, conversation_id: str, item_id: str, said: str) -> dict[str, str]:
    place = {"tenant": principal.tenant, "owner": principal.owner, "conversation_id": conversation_id}
    return {**place, "item_id": item_id, "words": said}
