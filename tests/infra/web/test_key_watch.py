"""One look per key and period; a revoked key ends its sockets, a store that cannot answer ends none."""

import anyio
import pytest

from chatbackend.domain.errors import Unavailable
from chatbackend.domain.identity import Principal
from chatbackend.infra.web.key_watch import KeyWatch

pytestmark = pytest.mark.anyio
REVOKED = Principal("t", "a", "a", "key_revoked")
VALID = Principal("t", "a", "a", "key_valid")
BROKEN = Principal("t", "a", "a", "key_broken")


class Looks:
    """A store of keys that counts, and opens its event after `enough` looks."""

    def __init__(self, enough: int) -> None:
        self.looks: list[str] = []
        self.reports: list[str] = []
        self.seen = anyio.Event()
        self._enough = enough

    async def __call__(self, principal: Principal) -> bool:
        self.looks.append(principal.key_id)
        if len(self.looks) >= self._enough:
            self.seen.set()
        if principal is BROKEN:
            raise Unavailable("no")
        return principal is VALID

    def report(self, message: str, error: BaseException) -> None:
        self.reports.append(f"{message}: {error}")


async def test_only_sockets_of_a_revoked_key_are_ended() -> None:
    store, ended = Looks(6), list[str]()
    watch = KeyWatch(store, store.report, period_s=0.001)
    async with anyio.create_task_group() as group:
        group.start_soon(watch.run)
        with (
            watch.watching(VALID, lambda: ended.append("valid")),
            watch.watching(REVOKED, lambda: ended.append("first")),
            watch.watching(REVOKED, lambda: ended.append("second")),
            watch.watching(BROKEN, lambda: ended.append("broken")),
        ):
            with anyio.fail_after(5):
                await store.seen.wait()
        group.cancel_scope.cancel()
    assert set(ended) == {"first", "second"}
    assert store.looks[:6] == ["key_valid", "key_revoked", "key_broken"] * 2
    assert store.reports[0] == "a key could not be checked: no"


async def test_a_key_without_sockets_is_not_looked_at() -> None:
    store = Looks(2)
    watch = KeyWatch(store, store.report, period_s=0.001)
    with watch.watching(REVOKED, lambda: None):
        pass
    async with anyio.create_task_group() as group:
        group.start_soon(watch.run)
        with watch.watching(VALID, lambda: None), anyio.fail_after(5):
            await store.seen.wait()
        group.cancel_scope.cancel()
    assert set(store.looks) == {"key_valid"}
