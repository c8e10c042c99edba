"""One look per key and period; a revoked key ends its sockets, a store that cannot answer ends none; secrets expire."""

import anyio
import pytest

from chatbackend.domain.errors import Unavailable
from chatbackend.domain.identity import ClientSecret, Principal
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


def ignored(reason: str) -> None:
    """Do nothing."""


async def test_only_sockets_of_a_revoked_key_are_ended() -> None:
    store, ended = Looks(6), list[str]()
    watch = KeyWatch(store, store.report, lambda: 0.0, period_s=0.001)
    async with anyio.create_task_group() as group:
        group.start_soon(watch.run)
        with (
            watch.watching(VALID, lambda reason: ended.append(f"valid: {reason}")),
            watch.watching(REVOKED, lambda reason: ended.append(f"first: {reason}")),
            watch.watching(REVOKED, lambda reason: ended.append(f"second: {reason}")),
            watch.watching(BROKEN, lambda reason: ended.append(f"broken: {reason}")),
        ):
            with anyio.fail_after(5):
                await store.seen.wait()
        group.cancel_scope.cancel()
    assert set(ended) == {"first: the API key was revoked", "second: the API key was revoked"}
    assert store.looks[:6] == ["key_valid", "key_revoked", "key_broken"] * 2
    assert store.reports[0] == "a key could not be checked: no"


async def test_a_key_without_sockets_is_not_looked_at() -> None:
    store = Looks(2)
    watch = KeyWatch(store, store.report, lambda: 0.0, period_s=0.001)
    with watch.watching(REVOKED, ignored):
        pass
    async with anyio.create_task_group() as group:
        group.start_soon(watch.run)
        with watch.watching(VALID, ignored), anyio.fail_after(5):
            await store.seen.wait()
        group.cancel_scope.cancel()
    assert set(store.looks) == {"key_valid"}


def of_secret(expires_at: int) -> Principal:
    return Principal("t", "a", "a", "key", ClientSecret("t", "a", "a", "key", expires_at))


async def test_a_socket_ends_when_its_secret_does_though_the_store_says_nothing() -> None:
    async def silent(principal: Principal) -> bool:
        await anyio.sleep_forever()
        return principal is VALID

    now, ended, expired = 99.0, list[str](), anyio.Event()
    watch = KeyWatch(silent, Looks(1).report, lambda: now, period_s=0.001)

    def on_ended(reason: str) -> None:
        ended.append(reason)
        expired.set()

    async with anyio.create_task_group() as group:
        group.start_soon(watch.run)
        with (
            watch.watching(of_secret(101), lambda reason: ended.append(f"later: {reason}")),
            watch.watching(of_secret(100), on_ended),
        ):
            await anyio.wait_all_tasks_blocked()
            assert ended == []
            now = 100.0
            with anyio.fail_after(5):
                await expired.wait()
        group.cancel_scope.cancel()
    assert set(ended) == {"the client secret expired"}
