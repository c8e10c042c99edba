"""Pass a Chat Completions request on to its provider, bytes as they are, with one ledger row a call."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Protocol

import anyio

from chatbackend.domain.errors import InvalidRequest, UpstreamCut
from chatbackend.domain.identity import Principal
from chatbackend.domain.usage import Usage
from chatbackend.usecases.ports import Call, Models, NewId, RelayedAnswer, RelayLedger


class Account(Protocol):
    """Reads along with an answer."""

    @property
    def ended(self) -> bool:
        """Whether the answer is whole."""
        ...

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        ...

    def usage(self) -> Usage:
        """Return what the answer cost so far."""
        ...


class Relayed:
    """One relayed call under way: an answer that was accepted, and its row in the ledger."""

    def __init__(self, answer: RelayedAnswer, call: Call, account: Account, ledger: RelayLedger) -> None:
        self.content_type = answer.content_type
        self._answer = answer
        self._call = call
        self._account = account
        self._ledger = ledger

    @property
    def over(self) -> bool:
        """Whether the chunk yielded last was the last one of a whole answer; may be known only later."""
        return self._answer.over and self._account.ended

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the answer as it comes; what it cost is settled however it ends.

        Raises: UpstreamError (and below); UpstreamCut for a stream that just stops.
        """
        try:
            async with aclosing(self._answer.chunks()) as chunks:
                async for chunk in chunks:
                    self._account.feed(chunk)
                    yield chunk
            if not self._account.ended:
                raise UpstreamCut("The provider's answer ended before its end.")
        finally:
            self._ledger.settled(self._call, self._account.usage())

    async def whole(self) -> bytes:
        """Return the answer in one piece, at half the cost of `chunks`; what it cost is settled however it ends.

        Raises: UpstreamError (and below).
        """
        try:
            body = await self._answer.whole()
            self._account.feed(body)
            if not self._account.ended:
                raise UpstreamCut("The provider's answer ended before its end.")
            return body
        finally:
            self._ledger.settled(self._call, self._account.usage())


class RelayChat:
    """Relays to deployments whose provider speaks Chat Completions."""

    def __init__(self, models: Models, ledger: RelayLedger, new_id: NewId) -> None:
        self._models = models
        self._ledger = ledger
        self._new_id = new_id

    async def __call__(
        self, principal: Principal, model: str, body: Callable[[str], bytes], *, stream: bool, account: Account
    ) -> Relayed:
        """Dial; `body` makes the request for the upstream's name of the model.

        Raises: NotFound (model), InvalidRequest (a provider of another dialect), UpstreamError (and below).
        """
        deployment = self._models.find(model)
        if deployment.relay is None:
            message = f"The model '{deployment.name}' is not served by /v1/chat/completions yet; use /v1/responses."
            raise InvalidRequest(message, param="model", code="unsupported_by_model")
        call = Call(self._new_id("call"), 1, deployment.name)
        committed = self._ledger.started(principal, call)
        try:
            answer = await deployment.relay(body(deployment.upstream_name), stream=stream)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await committed
            self._ledger.settled(call, Usage(estimated=True))
            raise
        try:
            await committed
        except BaseException:
            answer.close()
            self._ledger.settled(call, Usage(estimated=True))
            raise
        return Relayed(answer, call, account, self._ledger)
