"""The built-in `local` model: answers with sentences of the retrieved passages, cited. It is no language model."""

from collections.abc import AsyncGenerator

import anyio.to_thread

from chatbackend.domain.citations import place
from chatbackend.domain.context import characters, question
from chatbackend.domain.events import Cited, Finished, ModelEvent, TextDelta, UsageReported
from chatbackend.domain.extractive import best_sentences
from chatbackend.domain.models import ModelProfile, ModelRequest
from chatbackend.domain.routing import Timeouts
from chatbackend.domain.usage import estimate

SENTENCES = 3
NO_FILES = (
    "This is the built-in extractive model, not a language model: it answers only by quoting your files. Upload a "
    "file, attach it to a vector store and ask with the file_search tool; or configure a language model by setting "
    "OPENAI_ENDPOINT, CLAUDE_ENDPOINT or LLAMA31_ENDPOINT (with _API_KEY and _MODELS) and restart."
)
NOTHING_FOUND = "Nothing in the searched files answers this. (Built-in extractive model: it only quotes your files.)"
INTRODUCTION = "From your files (quoted by the built-in extractive model):"


class LocalModel:
    """`Model` without a provider. Its usage is an estimate: it has no tokens."""

    profile = ModelProfile(
        context_window=1_000_000,
        accepts_tools=False,
        accepts_images=False,
        accepts_files=False,
        reads_passages=False,
        follows_instructions=False,
    )

    async def stream(self, request: ModelRequest, timeouts: Timeouts) -> AsyncGenerator[ModelEvent, None]:
        """See `Model.stream`."""
        written = 0
        async for event in self._answer(request):
            written += len(event.text) if isinstance(event, TextDelta) else 0
            yield event
        yield UsageReported(estimate(characters(request.items), written))
        yield Finished("stop")

    async def _answer(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        if not request.passages:
            yield TextDelta(NO_FILES)
            return
        query = question(request.items)
        quotes = await anyio.to_thread.run_sync(best_sentences, query, request.passages, SENTENCES)
        yield TextDelta(INTRODUCTION if quotes else NOTHING_FOUND)
        length = len(INTRODUCTION)
        for quote in quotes:
            text = f"\n\n{quote.text}"
            for piece in _words(text):
                yield TextDelta(piece)
            length += len(text)
            yield Cited(place(request.passages[quote.passage], quote, index=length))


def _words(text: str) -> list[str]:
    """Cut a text behind its spaces, so that it streams."""
    return text.replace(" ", " \0").split("\0")
