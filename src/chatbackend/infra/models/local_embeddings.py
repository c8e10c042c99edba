"""The built-in embedder as a provider of embeddings: a relay that ends in this process."""

from collections.abc import Mapping

from chatbackend.adapters.api import embeddings
from chatbackend.domain.routing import Timeouts
from chatbackend.infra.embedding.minilm import MiniLM
from chatbackend.usecases.ports import Drained, Take


class LocalEmbeddings:
    """`Relay` of the Embeddings API; its usage is an estimate."""

    def __init__(self, embedder: MiniLM) -> None:
        self._embedder = embedder

    async def __call__(
        self, body: bytes, timeouts: Timeouts, *, stream: bool, headers: Mapping[str, str]
    ) -> "Embedded":
        """See `Relay`. Raises: InvalidRequest for tokens instead of texts, or another dimension."""
        request = embeddings.read(body, dimension=self._embedder.dimension)
        return Embedded(embeddings.answer(request, await self._embedder.embed(request.texts)))


class Embedded:
    """`RelayedAnswer` that is all there."""

    content_type = "application/json"

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def read(self) -> bytes:
        """See `RelayedAnswer.read`."""
        body, self._body = self._body, b""
        return body

    async def whole(self) -> bytes:
        """See `RelayedAnswer.whole`."""
        return self._body

    async def pass_on(self, take: Take, drained: Drained) -> bytes:
        """See `RelayedAnswer.pass_on`."""
        return await self.read()

    def close(self) -> None:
        """See `RelayedAnswer.close`."""
