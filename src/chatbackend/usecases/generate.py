"""Generate an answer that nobody keeps: Chat Completions and Messages over any provider."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import anyio

from chatbackend.domain.events import ModelEvent
from chatbackend.domain.identity import Principal
from chatbackend.domain.models import ModelRequest
from chatbackend.domain.usage import Settlement, Usage
from chatbackend.usecases.ask_model import Asking, AskModel
from chatbackend.usecases.ports import Call, Deployment, RelayLedger
from chatbackend.usecases.prepare_request import PrepareRequest


class _Book:
    """The ledger's rows of one answer. Each is committed before its provider is dialled."""

    def __init__(self, ledger: RelayLedger, principal: Principal) -> None:
        self._ledger = ledger
        self._principal = principal
        self._last: Call | None = None

    async def begin(self, call: Call, before: Settlement | None) -> None:
        """See `Book.begin`."""
        if before is not None:
            self.end(before)
        try:
            await self._ledger.started(self._principal, call)
        except BaseException:  # the row may be there all the same; nothing was dialled
            self._ledger.settled(call, Settlement(Usage(), "cancelled"))
            raise
        self._last = call

    def end(self, settlement: Settlement) -> None:
        """Settle the row that is open."""
        if self._last is not None:
            self._ledger.settled(self._last, settlement)
            self._last = None


class Generation:
    """An answer that has begun."""

    def __init__(self, asking: Asking, deployment: Deployment, book: _Book) -> None:
        self.deployment = deployment
        self.usage: Usage | None = None
        self._asking = asking
        self._book = book

    @property
    def attempts(self) -> int:
        """How many calls were made."""
        return self._asking.attempts

    @property
    def continued(self) -> bool:
        """Whether another deployment went on with it; may be known only later."""
        return self._asking.continued

    async def events(self) -> AsyncGenerator[ModelEvent, None]:
        """Yield the answer; however it ends, what it cost is settled. Use with `aclosing`: closing it hangs up.

        Raises: UpstreamError (and below).
        """
        try:
            async with aclosing(self._asking.events()) as events:
                async for event in events:
                    yield event
        finally:
            self.usage = self._asking.usage()
            self._book.end(self._asking.settlement())

    async def close(self) -> None:
        """Hang up on an answer of which nothing was taken."""
        with anyio.CancelScope(shield=True):
            await self._asking.close()
            self._book.end(self._asking.settlement())


class Generate:
    """Asks a model for one answer, with one ledger row an upstream call."""

    def __init__(self, ask: AskModel, prepare: PrepareRequest, ledger: RelayLedger) -> None:
        self._ask = ask
        self._prepare = prepare
        self._ledger = ledger

    async def __call__(self, principal: Principal, request: ModelRequest) -> Generation:
        """Dial, and return once the answer has begun; `request.model` is a public name.

        Raises: NotFound (model, file), InvalidRequest for what the model cannot take, UpstreamError (and below).
        """
        route = self._ask.models.route(request.model)
        book = _Book(self._ledger, principal)

        async def shape(deployment: Deployment) -> ModelRequest:
            return await self._prepare.shaped(request, principal, deployment)

        asking = self._ask(route, shape, book)
        try:
            await asking.open()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await asking.close()
                book.end(asking.settlement())
            raise
        if asking.deployment is None:  # pragma: no cover - an open answer has one
            raise AssertionError
        return Generation(asking, asking.deployment, book)
