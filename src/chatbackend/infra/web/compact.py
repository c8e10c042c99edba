"""`POST /v1/responses/compact`."""

from chatbackend.adapters.api import compaction
from chatbackend.infra.web.http import ATTEMPTS, DEPLOYMENT, Request, decode_object
from chatbackend.infra.web.routes import Route
from chatbackend.infra.web.streams import Watch
from chatbackend.usecases.compact_conversation import CompactConversation
from chatbackend.usecases.ports import NewId


class CompactRoutes:
    """Makes conversations short."""

    def __init__(self, compact: CompactConversation, *, new_id: NewId, max_body_bytes: int) -> None:
        self._compact = compact
        self._new_id = new_id
        self._max_body_bytes = max_body_bytes

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [("POST", "/v1/responses/compact", self.create)]

    async def create(self, request: Request) -> None:
        """Make a conversation short: one item that stands for all of it in later requests."""
        ask = compaction.read(decode_object(await request.body(self._max_body_bytes)), self._new_id)
        with Watch(request):
            compacted = await self._compact(request.principal, ask)
        generation = compacted.generation
        request.answered |= {DEPLOYMENT: generation.deployment.name, ATTEMPTS: str(generation.attempts)}
        await request.answer_json(compaction.answer(compacted))
