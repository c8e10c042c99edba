"""Asking a `Model` of the scripted upstream, and what its answer amounts to."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, NamedTuple

import pytest

from chatbackend.domain.errors import ChatError
from chatbackend.domain.events import ModelEvent, TextDelta
from chatbackend.domain.items import InputText, Item, Message
from chatbackend.domain.models import ModelRequest
from chatbackend.domain.routing import Timeouts
from chatbackend.usecases.ports import Model
from tests.adapters.providers.heard import Heard, hear
from tests.support.upstream import Call

PATIENT = Timeouts(connect_s=10, first_byte_s=20, between_s=20)
HASTY = Timeouts(connect_s=1, first_byte_s=0.5, between_s=0.5)


class Asked(NamedTuple):
    """A model, and how long it is waited for."""

    model: Model
    timeouts: Timeouts = PATIENT

    def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        return self.model.stream(request, self.timeouts)


def asking(script: str, text: str = "hi there", **fields: Any) -> ModelRequest:  # noqa: ANN401  # any field
    """Return a request with one message of the user."""
    items: list[Item] = [Message("msg_1", "user", [InputText(text)])]
    return ModelRequest(script, items, **fields)


async def answer(asked: Asked, request: ModelRequest) -> Heard:
    """Ask, and hear the answer to its end."""
    async with aclosing(asked.stream(request)) as events:
        return hear([event async for event in events])


async def answer_until_error(asked: Asked, request: ModelRequest) -> tuple[str, ChatError]:
    """Return the text that came before the error, and the error."""
    text: list[str] = []
    with pytest.raises(ChatError) as caught:
        async with aclosing(asked.stream(request)) as events:
            async for event in events:
                text += [event.text] if isinstance(event, TextDelta) else []
    return "".join(text), caught.value


async def first_text(events: AsyncGenerator[ModelEvent, None]) -> str:
    """Return the first text, and hear no further."""
    return next(event.text for event in [event async for event in _until_text(events)] if isinstance(event, TextDelta))


async def _until_text(events: AsyncGenerator[ModelEvent, None]) -> AsyncIterator[ModelEvent]:
    async for event in events:
        yield event
        if isinstance(event, TextDelta):
            return


def salted(call: Call, count: int) -> str:
    """Return the first tokens of a call's answer."""
    return "".join(f"{call.salt}:{number} " for number in range(count))
