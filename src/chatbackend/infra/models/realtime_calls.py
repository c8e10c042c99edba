"""Calls over WebRTC at a provider: made and ended over HTTP, joined by a WebSocket.

Source: the `openai` package, resources/realtime/calls.py (the `location` of a call has its id).
"""

import ssl
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from chatbackend.adapters.providers.codec import Codec
from chatbackend.adapters.realtime import calls
from chatbackend.adapters.realtime.upstreams import realtime_address
from chatbackend.domain.errors import UpstreamError
from chatbackend.domain.routing import Timeouts
from chatbackend.infra.models.credentials import Credential
from chatbackend.infra.models.http_relay import HttpRelay
from chatbackend.infra.models.lean_client import LeanClient
from chatbackend.infra.models.realtime_upstream import RealtimeSocket, RealtimeUpstream

PATIENCE = Timeouts(first_byte_s=15.0, between_s=15.0)


class ProviderCalls:
    """`RealtimeCalls` below one address. `codec` knows what refusals mean."""

    def __init__(
        self, client: LeanClient, codec: Codec, *, url: str, credential: Credential, tls: Callable[[], ssl.SSLContext]
    ) -> None:
        self._client = client
        self._codec = codec
        self._url = url
        self._credential = credential
        self._tls = tls

    async def create(self, offer: str, session: Mapping[str, Any]) -> tuple[str, str]:
        """See `RealtimeCalls.create`."""
        content_type, body = calls.form(offer, dict(session))
        headers = {"content-type": content_type, "accept": calls.SDP}
        answer = await self._to("/calls")(body, PATIENCE, stream=False, headers=headers)
        told = await answer.whole()
        call_id = urlsplit(answer.location).path.rpartition("/")[2]
        if not call_id:
            raise UpstreamError("The provider answered without the id of the call.")
        return call_id, told.decode(errors="replace")

    async def hang_up(self, call_id: str) -> None:
        """See `RealtimeCalls.hang_up`."""
        answer = await self._to(f"/calls/{quote(call_id, safe='')}/hangup")(b"", PATIENCE, stream=False, headers={})
        await answer.whole()

    async def join(self, call_id: str, timeout_s: float) -> RealtimeSocket:
        """See `RealtimeCalls.join`."""
        address = realtime_address(self._url, {"call_id": call_id})
        return await RealtimeUpstream(address, self._credential, self._tls).connect(timeout_s)

    def _to(self, path: str) -> HttpRelay:
        return HttpRelay(self._client, self._codec, url=f"{self._url}{path}", credential=self._credential)
