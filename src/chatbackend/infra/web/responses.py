"""HTTP routes of the Responses API: parse, run a use case, render."""

import hashlib
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import msgspec

from chatbackend.adapters import errors as wire_errors
from chatbackend.adapters.api import responses as shapes
from chatbackend.adapters.api.listing import page
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.identity import Principal
from chatbackend.domain.responses import Response
from chatbackend.infra.db.responses import Responses
from chatbackend.infra.web.http import ATTEMPTS, DEPLOYMENT, Request, decode_object, encode, whole_number
from chatbackend.infra.web.routes import Route
from chatbackend.infra.web.streams import send_events
from chatbackend.usecases.cancel_response import CancelResponse, ended_response, response_not_found
from chatbackend.usecases.create_response import Created, CreateResponse
from chatbackend.usecases.delete_response import DeleteResponse
from chatbackend.usecases.follow_response import FROM_THE_START, Batches, FollowResponse
from chatbackend.usecases.live import Live
from chatbackend.usecases.ports import NewId, Once

PATH = "/v1/responses"
_NOT_HASHED = frozenset(("stream", "type", "stream_id", "chatbackend"))


class ResponseRoutes:
    """`/v1/responses` and below."""

    def __init__(
        self,
        create: CreateResponse,
        cancel: CancelResponse,
        delete: DeleteResponse,
        *,
        follow: FollowResponse,
        stored: Responses,
        live: Live,
        new_id: NewId,
        max_body_bytes: int,
    ) -> None:
        self._create = create
        self._cancel = cancel
        self._delete = delete
        self._follow = follow
        self._stored = stored
        self._live = live
        self._new_id = new_id
        self._max_body_bytes = max_body_bytes

    def routes(self) -> list[Route]:
        """Return the routes."""
        one = f"{PATH}/{{response_id}}"
        return [
            ("POST", PATH, self.create),
            ("GET", one, self.get),
            ("DELETE", one, self.delete),
            ("POST", f"{one}/cancel", self.cancel),
            ("GET", f"{one}/input_items", self.input_items),
        ]

    async def create(self, request: Request) -> None:
        """Create a response; answer with it once it ended, with its events, or at once (`background`)."""
        body = decode_object(await request.body(self._max_body_bytes))
        wanted = shapes.read(body)
        ask = shapes.ask(wanted, self._new_id)
        if ask.generate is False:
            raise InvalidRequest("generate is for WebSocket connections only.", param="generate")
        created = await self._create(ask, request.principal, once_of(body, request.headers))
        request.answered["x-chatbackend-response-id"] = created.response_id
        if wanted.stream:
            return await send_events(request, await self._events(request.principal, created))
        response = await self._response(request.principal, created, wait=not ask.background)
        if response.served is not None:
            request.answered |= {DEPLOYMENT: response.served.deployment, ATTEMPTS: str(response.served.attempts)}
        if response.failure is not None:
            return await _answer_failed(request, response)
        return await request.answer_json(shapes.response_object(response))

    async def get(self, request: Request) -> None:
        """Return a response, or replay and follow its events (`stream=true`, `starting_after` exclusive)."""
        response_id = request.path_params["response_id"]
        if request.one("stream") in ("true", "1", "True"):
            after = whole_number(
                request.one("starting_after"), "starting_after", default=FROM_THE_START, low=-1, high=2**53
            )
            return await send_events(request, await self._follow(request.principal, response_id, after=after))
        return await request.answer_json(shapes.response_object(await self._get(request.principal, response_id)))

    async def delete(self, request: Request) -> None:
        """Delete a response for good."""
        response_id = request.path_params["response_id"]
        await self._delete(request.principal, response_id)
        await request.answer_json({"id": response_id, "object": "response", "deleted": True})

    async def cancel(self, request: Request) -> None:
        """Stop a response and return it."""
        response = await self._cancel(request.principal, request.path_params["response_id"])
        await request.answer_json(shapes.response_object(response))

    async def input_items(self, request: Request) -> None:
        """List a response's input items."""
        response_id = request.path_params["response_id"]
        await self._get(request.principal, response_id)
        items = [msgspec.json.decode(body) for body in await self._stored.input_items(response_id)]
        await request.answer_json(page(items, request.query, default_order="desc"))

    async def _events(self, principal: Principal, created: Created) -> Batches:
        if created.fresh:
            return self._follow.begun(principal, created.response_id, store=created.store)
        return await self._follow(principal, created.response_id)

    async def _response(self, principal: Principal, created: Created, *, wait: bool) -> Response:
        """Return the response, once it has ended if `wait`."""
        entry = self._live.running(created.response_id) or self._live.unstored(principal, created.response_id)
        if entry is not None:
            if not wait:
                return entry.response
            await entry.done.wait()
            if not entry.fenced:
                return await ended_response(self._stored, principal, entry)
        found = await self._get(principal, created.response_id)
        if wait and not found.ended:  # another server has it
            async with aclosing(await self._follow(principal, created.response_id)) as events:
                async for _ in events:
                    continue
            found = await self._get(principal, created.response_id)
        return found

    async def _get(self, principal: Principal, response_id: str) -> Response:
        found = await self._stored.get(principal, response_id)
        if found is None:
            raise response_not_found(response_id)
        return found


def once_of(body: Mapping[str, Any], headers: Mapping[str, str], *, key: str | None = None, path: str = PATH) -> Once:
    """Return how this create is recognised when it comes again, over HTTP and sockets alike."""
    canonical = msgspec.json.encode(
        {name: value for name, value in body.items() if name not in _NOT_HASHED}, order="sorted"
    )
    key = key or headers.get("idempotency-key")
    if key is not None and not 1 <= len(key) <= 255:
        raise InvalidRequest("An idempotency key has 1 to 255 characters.", param="idempotency_key")
    return Once(
        path,
        hashlib.sha256(canonical).hexdigest(),
        key=None if key is None else hashlib.sha256(key.encode()).hexdigest(),
        retry=headers.get("x-stainless-retry-count", "0") not in ("0", ""),
    )


def keyed(once: Once) -> Once | None:
    """Return how a request is recognised by its Idempotency-Key alone, None where it has none."""
    return None if once.key is None else replace(once, retry=False)


async def _answer_failed(request: Request, response: Response) -> None:
    """Answer a failed generation as an error; it stays readable under the id that the body names."""
    failure = response.failure
    code = failure.code if failure else "server_error"
    status, kind = wire_errors.failure(code, response.detail)
    error = {
        "message": failure.message if failure else "",
        "type": kind,
        "param": None,
        "code": response.detail or code,
        "response_id": response.id,
    }
    waiting = wire_errors.waiting(failure.retry_after_s if failure else None)
    # the same request would only be given this result again
    await request.answer(status, encode({"error": error}), headers={"x-should-retry": "false", **waiting})
