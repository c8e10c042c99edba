"""What has served its time is forgotten; what has not is kept."""

from pathlib import Path

import pytest

from chatbackend.domain.identity import ApiKey, ClientSecret, Principal
from chatbackend.infra.db import migrate, requests
from chatbackend.infra.db.client_secrets import ClientSecrets
from chatbackend.infra.db.keys import Keys
from chatbackend.infra.db.sqlite import SqliteDatabase
from chatbackend.infra.db.tables.schema import MICROS
from chatbackend.infra.db.transaction import Transaction
from chatbackend.infra.housekeeping import KEEP_EVENTS_S, Housekeeping
from chatbackend.usecases.ports import LogEvent, Once
from tests.support.event_logs import event_log

pytestmark = pytest.mark.anyio

ME = Principal("t", "a", "a", "key")
ONCE = Once("/v1/responses", "body", key="key")


def unexpected(message: str, error: BaseException) -> None:
    raise AssertionError(message) from error


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    migrate.migrate(tmp_path / "truth.db")
    return tmp_path


async def test_streams_older_than_the_promise_and_day_old_keys_are_forgotten(folder: Path) -> None:
    time = 1_800_000_000.0
    async with SqliteDatabase(folder / "truth.db") as truth, event_log(folder, lambda: time) as log:
        end = [LogEvent(0, "response.completed", b"{}")]
        for name, age_s in (("old", KEEP_EVENTS_S + 1), ("new", KEEP_EVENTS_S - 1)):
            time = 1_800_000_000.0 - age_s
            await log.open(name, fence=1)
            await log.append(name, fence=1, expected=0, events=end, ended=True)
        time = 1_800_000_000.0
        await log.open("running", fence=1)

        async def made(tx: Transaction) -> None:
            old = int((time - requests.KEEP_S - 1) * MICROS)
            await requests.add(tx, ME, ONCE, object_id="resp_old", now=old)

        async def known(tx: Transaction) -> str | None:
            return await requests.find(tx, ME, ONCE, now=int((time - requests.KEEP_S) * MICROS))

        await truth.write(made)
        assert await truth.write(known) == "resp_old"
        await log.settle()
        await Housekeeping(truth, log, lambda: time, unexpected).sweep()
        assert await truth.write(known) is None
        assert await log.extent("old") is None
        assert await log.extent("new") is not None
        assert await log.extent("running") is not None


async def test_client_secrets_are_forgotten_once_they_have_expired(folder: Path) -> None:
    async with SqliteDatabase(folder / "truth.db") as truth, event_log(folder, lambda: 0.0) as log:
        await Keys(truth).add(ApiKey("key", "t", "a", "", 0), "hash")
        secrets = ClientSecrets(truth)
        for name, expires_at in (("old", 1_000), ("new", 1_001)):
            await secrets.add(ClientSecret("t", "a", "a", "key", expires_at), name)
        await Housekeeping(truth, log, lambda: 1_000.9, unexpected).sweep()
        assert (await secrets.find("old"), await secrets.find("new")) == (
            None,
            ClientSecret("t", "a", "a", "key", 1_001),
        )
