"""The truth of stored responses, counting the upstream calls that it settles."""

from chatbackend.domain.pricing import Prices
from chatbackend.domain.responses import Response
from chatbackend.domain.usage import Settlement
from chatbackend.infra.db.responses import Responses
from chatbackend.infra.db.transaction import Database
from chatbackend.infra.metrics import Metrics
from chatbackend.usecases.file_ports import Changes
from chatbackend.usecases.ports import Call, Clock


class CountedResponses(Responses):
    """`Truth` that counts. What a dead process left open is not counted: it was another process's."""

    def __init__(
        self, database: Database, clock: Clock, prices: Prices, *, metrics: Metrics, changes: Changes, judge: int
    ) -> None:
        super().__init__(database, clock, prices, changes=changes, judge=judge)
        self._metrics = metrics
        self._open: dict[str, Call] = {}

    async def start(self, response: Response, call: Call, *, before: Settlement | None = None) -> None:
        """See `Truth.start`."""
        await super().start(response, call, before=before)
        self._count(response.id, before)
        self._open[response.id] = call

    async def finish(self, response: Response, call: Call | None, settlement: Settlement | None) -> bool:
        """See `Truth.finish`."""
        self._count(response.id, settlement)
        return await super().finish(response, call, settlement)

    def _count(self, response_id: str, settlement: Settlement | None) -> None:
        call = self._open.pop(response_id, None)
        if call is not None and settlement is not None:
            self._metrics.called(call.model, settlement)
