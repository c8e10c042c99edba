"""Who owns what: servers, the fences they were given, and how long each is held by the database's own clock.

A server may take others for dead only while its own heartbeats have come in time for as long as a lease lasts: after an
outage of the database everybody first gets the time to renew. That, too, the database decides, in the very statement
that takes something over: one that hung for as long as the outage lasted is judged when it is run. Who leaves says so,
and needs no judge.
"""

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, bindparam, case, delete, or_, select, update
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from chatbackend.infra.db.facts import next_epoch
from chatbackend.infra.db.tables.files import JOBS
from chatbackend.infra.db.tables.responses import IS_ALIVE, IS_OPEN, IS_OWNED, LEDGER, REQUESTS, RESPONSES
from chatbackend.infra.db.tables.schema import MICROS
from chatbackend.infra.db.tables.servers import SERVERS
from chatbackend.infra.db.transaction import Database, Row, Transaction, adding, one

LEASE_S = 15.0
BEAT_S = 5.0  # between renewals; one that comes after more than two of them was late
LEFT = 0  # what a server that goes puts in the place of its lease
KEPT_S = 600  # rows of the dead: who takes over what they left still looks at them


class Now(FunctionElement[int]):
    """Microseconds since the epoch, by the database's clock at the moment of asking."""

    name = "now_micros"
    type = BigInteger()
    inherit_cache = True


@compiles(Now, "sqlite")
def _sqlite_now(element: Now, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401  # as SQLAlchemy calls it
    return "CAST((julianday('now') - 2440587.5) * 86400000000.0 AS INTEGER)"


@compiles(Now, "postgresql")
def _postgresql_now(element: Now, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401  # as SQLAlchemy calls it
    return "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"


def living() -> Select[tuple[int]]:
    """Return a query of the fences that are held now."""
    return select(SERVERS.c.fence).where(SERVERS.c.lease_until > Now())


def ownerless(fence: ColumnElement[int]) -> ColumnElement[bool]:
    """Return the condition that nobody who lives holds a fence."""
    return fence.not_in(living())


def may_judge() -> ColumnElement[bool]:
    """Return the condition that the server of fence `judge` may take others for dead; 0: it is alone, and may."""
    judge: ColumnElement[int] = bindparam("judge", type_=BigInteger)
    steady = SERVERS.c.steady_since <= Now() - int(LEASE_S * MICROS)
    own = select(SERVERS.c.fence).where(SERVERS.c.fence == judge, SERVERS.c.lease_until > Now(), steady)
    return (judge == 0) | own.exists()


def forsaken(fence: ColumnElement[int]) -> ColumnElement[bool]:
    """Return the condition that the owner of a fence has left, or may be taken for dead by server `judge`."""
    left = select(SERVERS.c.fence).where(SERVERS.c.lease_until == LEFT)
    return fence.in_(left) | (ownerless(fence) & may_judge())


_LEASED: ColumnElement[int] = Now() + bindparam("lease_", type_=BigInteger)
_IN_TIME = SERVERS.c.lease_until > Now() + int((LEASE_S - 2 * BEAT_S) * MICROS)
_ADD = adding(SERVERS, omit=("lease_until", "steady_since")).values(lease_until=_LEASED, steady_since=Now())
_RENEW = (
    update(SERVERS)
    .where(SERVERS.c.fence == bindparam("fence_"))
    .values(
        lease_until=_LEASED, log=bindparam("log_"), steady_since=case((_IN_TIME, SERVERS.c.steady_since), else_=Now())
    )
)
_MAY_JUDGE = select(may_judge().label("may"))
_LEAVE = update(SERVERS).where(SERVERS.c.name == bindparam("name_")).values(lease_until=LEFT)
_SOME_LEFT = select(SERVERS.c.fence).where(SERVERS.c.lease_until == LEFT).limit(1)
_KNOWN = select(SERVERS.c.fence).where(SERVERS.c.name == bindparam("name"))
_LIVING_OTHERS = living().where(SERVERS.c.name != bindparam("name")).limit(1)
_OF = [
    select(RESPONSES.c.fence).where(IS_ALIVE),
    select(LEDGER.c.fence).where(IS_OPEN),
    select(REQUESTS.c.fence).where(IS_OWNED),
]
_TIDY = delete(SERVERS).where(
    or_(
        SERVERS.c.lease_until < Now() - KEPT_S * MICROS,
        (SERVERS.c.name == bindparam("name_")) & (SERVERS.c.fence < bindparam("newest_")),
    ),
    SERVERS.c.fence != bindparam("main_"),
    *(SERVERS.c.fence.not_in(each) for each in _OF),
    SERVERS.c.fence.not_in(select(JOBS.c.fence).where(JOBS.c.state == "running")),
)


class Servers:
    """The fences of one server, called `name`. The first that is drawn is its own, later ones are for takeovers."""

    def __init__(self, database: Database, name: str, *, lease_s: float) -> None:
        self._database = database
        self._name = name
        self._lease = int(lease_s * MICROS)
        self._held: list[int] = []

    @property
    def held(self) -> frozenset[int]:
        """See `Fences.held`."""
        return frozenset(self._held)

    async def draw(self, log: str) -> int:
        """See `Fences.draw`."""

        async def work(tx: Transaction) -> int:
            fence = await next_epoch(tx)
            await tx.execute(_ADD, self._row(fence, log))
            return fence

        fence = await self._database.write(work)
        self._held.append(fence)
        return fence

    def drop(self, fence: int) -> None:
        """See `Fences.drop`."""
        self._held.remove(fence)

    async def renew(self, log: str) -> None:
        """Hold every fence for another lease; one that was taken for dead and forgotten, too."""
        held = list(self._held)

        async def work(tx: Transaction) -> None:
            for fence in held:
                if not await tx.execute(_RENEW, {"fence_": fence, "lease_": self._lease, "log_": log}):
                    await tx.execute(_ADD, self._row(fence, log))

        await self._database.write(work)

    async def leave(self) -> None:
        """Let go of every fence: what is left under them may be taken over at once."""

        async def work(tx: Transaction) -> None:
            await tx.execute(_LEAVE, {"name_": self._name})

        await self._database.write(work)

    async def may_judge(self) -> bool:
        """Return whether this server may take others for dead now."""
        judge = self._held[0]

        async def work(tx: Transaction) -> Row | None:
            return await one(tx, _MAY_JUDGE, {"judge": judge})

        row = await self._database.read(work)
        return row is not None and bool(row["may"])

    async def some_left(self) -> bool:
        """Return whether a server has let go of its fences not long ago."""

        async def work(tx: Transaction) -> Row | None:
            return await one(tx, _SOME_LEFT)

        return await self._database.read(work) is not None

    async def others_live(self) -> bool:
        """Return whether another server holds a fence."""

        async def work(tx: Transaction) -> Row | None:
            return await one(tx, _LIVING_OTHERS, {"name": self._name})

        return await self._database.read(work) is not None

    async def tidy(self) -> None:
        """Forget what nothing points to: servers that died a while ago, and own fences of takeovers that are done."""
        held = list(self._held)
        known = {"name_": self._name, "main_": held[0], "newest_": held[-1]}

        async def work(tx: Transaction) -> set[int]:
            await tx.execute(_TIDY, known)
            return {row["fence"] for row in await tx.rows(_KNOWN, {"name": self._name})}

        left = await self._database.write(work)
        self._held = [fence for fence in self._held if fence == held[0] or fence not in held or fence in left]

    def _row(self, fence: int, log: str) -> dict[str, int | str]:
        return {"fence": fence, "name": self._name, "lease_": self._lease, "log": log}
