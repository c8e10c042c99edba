"""Counts of tokens, asked of a provider."""

from collections.abc import Mapping

import msgspec

from chatbackend.adapters.providers.counting import Counting, counted
from chatbackend.domain.models import ModelProfile, ModelRequest
from chatbackend.domain.routing import Timeouts
from chatbackend.usecases.ports import Relay


class RelayedCounter:
    """`TokenCounter` over a relay to the provider's counting path."""

    def __init__(self, relay: Relay, counting: Counting, profile: ModelProfile) -> None:
        self._relay = relay
        self._counting = counting
        self._profile = profile

    async def __call__(self, request: ModelRequest, timeouts: Timeouts) -> int:
        """See `TokenCounter`."""
        body = msgspec.json.encode(self._counting.body(request, self._profile))
        return await self.of_body(body, timeouts, self._counting.headers)

    async def of_body(self, body: bytes, timeouts: Timeouts, headers: Mapping[str, str]) -> int:
        """See `TokenCounter`."""
        answer = await self._relay(body, timeouts, stream=False, headers=headers)
        return counted(await answer.whole())
