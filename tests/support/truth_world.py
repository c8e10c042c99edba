"""Truth and what stands beside it over a database, for the contracts of `Truth`."""

from itertools import count

from sqlalchemy import select

from chatbackend.adapters.api import responses as shapes
from chatbackend.domain.identity import Principal
from chatbackend.domain.items import Message, OutputText, text_of
from chatbackend.domain.pricing import Prices
from chatbackend.domain.responses import (
    COMPLETED,
    Ask,
    Failure,
    Outcome,
    Response,
    end,
)
from chatbackend.domain.usage import Settlement, Usage
from chatbackend.infra.db.conversations import Conversations
from chatbackend.infra.db.responses import Responses
from chatbackend.infra.db.tables.responses import LEDGER
from chatbackend.infra.db.transaction import Database, Row, Transaction
from chatbackend.infra.log.wakeups import Wakeups
from chatbackend.usecases.ports import Begun, Call, Once
from tests.support.model_events import numbered

ME = Principal("t", "app", "app", "key_1")
USER = Principal("t", "app", "app/anna", "key_1")
OTHER_ACCOUNT = Principal("t", "shop", "shop", "key_2")
OTHER_TENANT = Principal("t2", "app", "app", "key_3")
OTHERS = (USER, OTHER_ACCOUNT, OTHER_TENANT)
FAILED = Outcome("failed", failure=Failure("server_error", "It broke."))


PRICES = Prices.parse({"m": {"input": 1, "output": 2}})


class World:
    """The repositories under test, on one clock, with short ways to fill them."""

    def __init__(self, database: Database) -> None:
        self.time = 1_800_000_000.0
        self.fence = 0
        self.truth = Responses(database, self, PRICES)
        self.conversations = Conversations(database, self, Wakeups())
        self.database = database
        self._ids = count(1)

    def now(self) -> float:
        return self.time

    def response(self, principal: Principal = ME, **body: object) -> tuple[Response, Ask]:
        asked = shapes.ask(shapes.read({"model": "m", "input": "hi", **body}), numbered())
        for item in asked.items:
            item.id = f"{item.id}_{next(self._ids)}"
        made = Response(
            f"resp_{next(self._ids)}",
            principal,
            asked.model,
            int(self.time),
            store=asked.store,
            background=asked.background,
            previous_response_id=asked.previous_response_id,
            conversation_id=asked.conversation_id,
            instructions=asked.instructions,
            metadata=asked.metadata,
            shown=asked.shown,
            fence=self.fence,
        )
        return made, asked

    async def begun(self, principal: Principal = ME, **body: object) -> Response:
        """Begin a response."""
        made, asked = self.response(principal, **body)
        await self.truth.begin(made, asked, None)
        return made

    async def ended(
        self, text: str, outcome: Outcome = COMPLETED, principal: Principal = ME, *, called: str = "m", **body: object
    ) -> Response:
        """Begin, start and finish a response that answers `text`, by the deployment `called` so."""
        made = await self.begun(principal, **body)
        await self.finish(made, text, outcome, called=called)
        return made

    async def finish(self, made: Response, text: str, outcome: Outcome = COMPLETED, *, called: str = "m") -> bool:
        call = Call(f"call_{next(self._ids)}", 1, called)
        await self.truth.start(made, call)
        made.output = [Message(f"msg_{next(self._ids)}", "assistant", [OutputText(text)])]
        made.usage = Usage(3, 4)
        end(made, outcome, at=int(self.time))
        return await self.truth.finish(made, call, Settlement(made.usage, "completed"))

    async def once(self, once: Once, principal: Principal = ME, **body: object) -> Begun:
        made, asked = self.response(principal, **body)
        return await self.truth.begin(made, asked, once)

    async def context(self, made: Response) -> list[str]:
        return [text_of(item) for item in await self.truth.context(made)]

    async def ledger(self) -> list[Row]:
        async def work(tx: Transaction) -> list[Row]:
            return await tx.rows(select(LEDGER).order_by(LEDGER.c.started_at, LEDGER.c.id))

        return await self.database.read(work)
