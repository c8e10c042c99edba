"""HTTP routes of the Conversations API: parse, run or read, render."""

from collections.abc import Mapping
from typing import Any

from chatbackend.adapters.api import conversations as shapes
from chatbackend.adapters.api.listing import envelope, window
from chatbackend.domain.conversations import Conversation
from chatbackend.infra.db.conversation_log import ConversationLog
from chatbackend.infra.db.conversations import Conversations
from chatbackend.infra.db.transaction import Row
from chatbackend.infra.web.http import Request, decode_object
from chatbackend.infra.web.responses import keyed, once_of
from chatbackend.infra.web.routes import Route
from chatbackend.usecases.delete_conversation import DeleteConversation
from chatbackend.usecases.ports import NewId, Once

PATH = "/v1/conversations"


class ConversationRoutes:
    """`/v1/conversations` and below."""

    def __init__(
        self,
        conversations: Conversations,
        delete: DeleteConversation,
        *,
        log: ConversationLog,
        new_id: NewId,
        max_body_bytes: int,
    ) -> None:
        self._conversations = conversations
        self._log = log
        self._delete = delete
        self._new_id = new_id
        self._max_body_bytes = max_body_bytes

    def routes(self) -> list[Route]:
        """Return the routes."""
        one = f"{PATH}/{{conversation_id}}"
        item = f"{one}/items/{{item_id}}"
        return [
            ("POST", PATH, self.create),
            ("GET", PATH, self.page),
            ("GET", one, self.get),
            ("POST", one, self.update),
            ("DELETE", one, self.delete),
            ("POST", f"{one}/branch", self.branch),
            ("POST", f"{one}/items", self.add_items),
            ("GET", f"{one}/items", self.page_of_items),
            ("GET", item, self.item),
            ("DELETE", item, self.delete_item),
        ]

    async def create(self, request: Request) -> None:
        """Create a conversation, with items if given."""
        body = await self._body(request)
        metadata, items = shapes.read_create(body, self._new_id)
        made = Conversation(self._new_id("conv"), 0, metadata)
        once = _once(body, request, PATH)
        await _answer(request, await self._conversations.create(request.principal, made, items, once=once))

    async def page(self, request: Request) -> None:
        """List the caller's conversations, the last active first; or search them (`q`)."""
        archived, sought = shapes.read_filter(request.query)
        wanted = window(request.query)
        found, more = await self._conversations.page(request.principal, wanted, archived=archived, query=sought)
        shown = [shapes.conversation_object(each) for each in found]
        await request.answer_json(envelope(shown, more=more, ids=[each.id for each in found]))

    async def get(self, request: Request) -> None:
        """Return a conversation; with `include=chatbackend.state` also what its events change, as of the last one."""
        if shapes.with_state(request.query):
            state = await self._log.state(request.principal, _id(request))
            return await request.answer_json(shapes.state_object(state))
        return await _answer(request, await self._conversations.get(request.principal, _id(request)))

    async def update(self, request: Request) -> None:
        """Replace a conversation's metadata, give it a title, archive it or take it back."""
        edit = shapes.read_update(await self._body(request))
        await _answer(request, await self._conversations.update(request.principal, _id(request), edit))

    async def branch(self, request: Request) -> None:
        """Make a conversation that begins with the items of this one, up to `after` or all of them."""
        body = await self._body(request)
        after, once = shapes.read_branch(body), _once(body, request, f"{PATH}/{_id(request)}/branch")
        made = await self._conversations.branch(
            request.principal, _id(request), self._new_id("conv"), after=after, once=once
        )
        await _answer(request, made)

    async def delete(self, request: Request) -> None:
        """Delete a conversation and its items for good, with `erase=true` its responses too; what runs is stopped."""
        erase = shapes.read_erase(request.query)
        await (self._delete.erase if erase else self._delete)(request.principal, _id(request))
        await request.answer_json(shapes.deleted_object(_id(request)))

    async def add_items(self, request: Request) -> None:
        """Add items behind what is there."""
        body = await self._body(request)
        items = shapes.read_items(body, self._new_id)
        once = _once(body, request, f"{PATH}/{_id(request)}/items")
        rows = await self._conversations.add_items(request.principal, _id(request), items, once=once)
        await _answer_items(request, rows, more=False)

    async def page_of_items(self, request: Request) -> None:
        """List a conversation's items, the newest first."""
        rows, more = await self._conversations.page_of_items(request.principal, _id(request), window(request.query))
        await _answer_items(request, rows, more=more)

    async def item(self, request: Request) -> None:
        """Return one item."""
        body = await self._conversations.item(request.principal, _id(request), request.path_params["item_id"])
        await request.answer_json(shapes.item_object(body, shapes.included(request.query)))

    async def delete_item(self, request: Request) -> None:
        """Take an item out of a conversation; return the conversation."""
        item_id = request.path_params["item_id"]
        await _answer(request, await self._conversations.delete_item(request.principal, _id(request), item_id))

    async def _body(self, request: Request) -> dict[str, Any]:
        return decode_object(await request.body(self._max_body_bytes))


def _id(request: Request) -> str:
    return request.path_params["conversation_id"]


def _once(body: Mapping[str, Any], request: Request, path: str) -> Once | None:
    """Return how this request is recognised when it comes again: by its Idempotency-Key alone."""
    return keyed(once_of(body, request.headers, path=path))


async def _answer(request: Request, conversation: Conversation) -> None:
    await request.answer_json(shapes.conversation_object(conversation))


async def _answer_items(request: Request, rows: list[Row], *, more: bool) -> None:
    include = shapes.included(request.query)
    shown = [shapes.item_object(row["body"], include) for row in rows]
    await request.answer_json(envelope(shown, more=more, ids=[row["id"] for row in rows]))
