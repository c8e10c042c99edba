"""`POST /v1/realtime/client_secrets`, and that of translations: short-lived secrets for pages in browsers."""

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from chatbackend.adapters.api import client_secrets as shapes
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.identity import ClientSecret, Principal
from chatbackend.domain.realtime import Terms
from chatbackend.infra.db.client_secrets import ClientSecrets
from chatbackend.infra.web.auth import FOR_A_BROWSER, hash_key, owner_of
from chatbackend.infra.web.http import Request, decode_object, encode, header
from chatbackend.infra.web.routes import Route
from chatbackend.usecases.ports import NewId
from chatbackend.usecases.record_ports import ConversationRecords

PATH = "/v1/realtime/client_secrets"
TRANSLATIONS = "/v1/realtime/translations/client_secrets"
MAX_BODY_BYTES = 65_536
FOR_BROWSERS = frozenset(
    (
        ("WEBSOCKET", "/v1/responses"),
        ("WEBSOCKET", "/v1/realtime"),
        ("WEBSOCKET", "/v1/realtime/translations"),
        ("POST", "/v1/realtime/calls"),
        ("GET", "/v1/responses/{response_id}"),
        ("GET", "/v1/responses/{response_id}/input_items"),
        ("GET", "/v1/conversations"),
        ("GET", "/v1/conversations/{conversation_id}"),
        ("GET", "/v1/conversations/{conversation_id}/items"),
        ("GET", "/v1/conversations/{conversation_id}/items/{item_id}"),
        ("GET", "/v1/conversations/{conversation_id}/events"),
    )
)


class ClientSecretRoutes:
    """Makes secrets for callers with a key. `now` gives seconds since the epoch."""

    def __init__(
        self, stored: ClientSecrets, records: ConversationRecords, *, now: Callable[[], float], new_id: NewId
    ) -> None:
        self._stored = stored
        self._records = records
        self._now = now
        self._new_id = new_id

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [("POST", PATH, self.create), ("POST", TRANSLATIONS, self.create_for_translation)]

    async def create(self, request: Request) -> None:
        """Make a short-lived secret for a page in a browser; it is shown this once."""
        await self._make(request, shapes.read)

    async def create_for_translation(self, request: Request) -> None:
        """Make a short-lived secret for live translations in a browser; it is shown this once."""
        await self._make(request, shapes.read_for_translation)

    async def _make(
        self, request: Request, read: Callable[[Mapping[str, Any]], tuple[shapes.ClientSecretRequest, Terms]]
    ) -> None:
        if header(request.scope["headers"], b"idempotency-key") is not None:  # who sends one relies on it
            message = "Idempotency-Key is not known here: a secret is shown once, and kept as its hash alone."
            raise InvalidRequest(message, code="idempotency_unsupported")
        wanted, terms = read(decode_object(await request.body(MAX_BODY_BYTES) or b"{}"))
        caller = request.principal
        made = ClientSecret(
            caller.tenant,
            caller.account,
            _owner(caller, wanted.user),
            caller.key_id,
            expires_at=int(self._now()) + wanted.seconds,
            models=wanted.models,
            terms=terms,
        )
        if terms.conversation is not None:
            await self._records.check(Principal(made.tenant, made.account, made.owner, made.key_id), terms.conversation)
        value = FOR_A_BROWSER + secrets.token_urlsafe(32)
        await self._stored.add(made, hash_key(value))
        shown = shapes.client_secret_object(value, made, session_id=self._new_id("sess"))
        await request.answer(200, encode(shown), headers={"cache-control": "no-store"})


def _owner(caller: Principal, user: str | None) -> str:
    """Return whom the secret acts as: the named user, else the caller. Raises: InvalidRequest."""
    if user is None:
        return caller.owner
    owner = owner_of(caller.account, user, param="chatbackend.user")
    if caller.owner not in (caller.account, owner):
        raise InvalidRequest("chatbackend.user and the header chatbackend-user differ.", param="chatbackend.user")
    return owner
