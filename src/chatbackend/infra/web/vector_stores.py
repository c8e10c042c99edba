"""HTTP routes of vector stores themselves: create, list, change, delete, search."""

from chatbackend.adapters.api import vector_stores as shapes
from chatbackend.adapters.api.listing import envelope, window
from chatbackend.domain.vector_stores import VectorStore
from chatbackend.infra.db.vector_stores import VectorStores
from chatbackend.infra.web.http import Request, decode_object
from chatbackend.infra.web.responses import once_of
from chatbackend.infra.web.routes import Route
from chatbackend.usecases.manage_vector_stores import ManageVectorStores
from chatbackend.usecases.ports import Clock, NewId
from chatbackend.usecases.search_passages import SearchPassages

PATH = "/v1/vector_stores"
MAX_BODY_BYTES = 2 * 2**20


class VectorStoreRoutes:
    """`/v1/vector_stores`, without the files in them."""

    def __init__(
        self,
        manage: ManageVectorStores,
        search: SearchPassages,
        *,
        stored: VectorStores,
        clock: Clock,
        new_id: NewId,
    ) -> None:
        self._manage = manage
        self._search = search
        self._stored = stored
        self._clock = clock
        self._new_id = new_id

    def routes(self) -> list[Route]:
        """Return the routes."""
        one = f"{PATH}/{{vector_store_id}}"
        return [
            ("POST", PATH, self.create),
            ("GET", PATH, self.list),
            ("GET", one, self.get),
            ("POST", one, self.update),
            ("DELETE", one, self.delete),
            ("POST", f"{one}/search", self.search),
        ]

    async def create(self, request: Request) -> None:
        """Create a vector store, with files where some are named."""
        body = decode_object(await request.body(MAX_BODY_BYTES))
        wanted = shapes.read(body, shapes.CreateStore)
        now = int(self._clock.now())
        store = VectorStore(
            id=self._new_id("vs"),
            tenant=request.principal.tenant,
            owner=request.principal.owner,
            name=wanted.name or "",
            created_at=now,
            last_active_at=now,
            description=wanted.description,
            metadata=dict(wanted.metadata or {}),
            expires_days=wanted.expires_after.days if wanted.expires_after else None,
        )
        once = once_of(body, request.headers, path=PATH)
        made = await self._manage.create(request.principal, store, shapes.attachments(wanted), once)
        await self._answer(request, made)

    async def list(self, request: Request) -> None:
        """List the caller's vector stores."""
        found, more = await self._stored.page(request.principal, window(request.query))
        shown = [shapes.store_object(store, now=self._clock.now()) for store in found]
        await request.answer_json(envelope(shown, more=more, ids=[store.id for store in found]))

    async def get(self, request: Request) -> None:
        """Return a vector store."""
        await self._answer(request, await self._stored.get(request.principal, request.path_params["vector_store_id"]))

    async def update(self, request: Request) -> None:
        """Change a vector store's name, metadata or expiry."""
        wanted = shapes.read(decode_object(await request.body(MAX_BODY_BYTES)), shapes.UpdateStore)
        store_id = request.path_params["vector_store_id"]
        await self._answer(request, await self._stored.update(request.principal, store_id, shapes.change(wanted)))

    async def delete(self, request: Request) -> None:
        """Delete a vector store; its files stay."""
        store_id = request.path_params["vector_store_id"]
        await self._manage.delete(request.principal, store_id)
        await request.answer_json(shapes.store_deleted(store_id))

    async def search(self, request: Request) -> None:
        """Search a vector store."""
        wanted = shapes.read(decode_object(await request.body(MAX_BODY_BYTES)), shapes.Search)
        search = shapes.file_search(wanted, request.path_params["vector_store_id"])
        found = await self._search.any_of(request.principal, wanted.queries, search)
        await request.answer_json(shapes.search_page(wanted.queries, found))

    async def _answer(self, request: Request, store: VectorStore) -> None:
        await request.answer_json(shapes.store_object(store, now=self._clock.now()))
