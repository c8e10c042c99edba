"""One program for the synchronous and the asynchronous form of a client."""

# What a client returns is read as it comes.
# ruff: noqa: ANN401

import inspect
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any


async def value(given: Any) -> Any:
    """Await what the asynchronous client returns; the synchronous one's is there."""
    return await given if inspect.isawaitable(given) else given


@asynccontextmanager
async def opened(manager: Any) -> AsyncGenerator[Any]:
    """Enter what a client returns for a stream."""
    if hasattr(manager, "__aenter__"):
        async with manager as stream:
            yield stream
    else:
        with manager as stream:
            yield stream


async def each(stream: Any) -> AsyncIterator[Any]:
    """Yield the events of a stream."""
    if hasattr(stream, "__aiter__"):
        async for event in stream:
            yield event
    else:
        for event in stream:
            yield event
