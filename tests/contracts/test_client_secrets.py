"""What the store of client secrets promises, on both databases: found by the whole hash, until its key is revoked."""

from dataclasses import replace
from pathlib import Path

import pytest

from chatbackend.domain.identity import ApiKey, ClientSecret
from chatbackend.infra.db.client_secrets import ClientSecrets, expire
from chatbackend.infra.db.keys import Keys
from chatbackend.infra.db.transaction import Transaction
from tests.support.truths import KINDS, Kind, truth

pytestmark = pytest.mark.anyio
SECRET = ClientSecret("t", "app", "app/anna", "key_1", 1_000, models=("local", "é/'"))
FREE = replace(SECRET, models=None, key_id="key_2", expires_at=2_000)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_secret_is_known_by_its_whole_hash_until_its_key_is_revoked(kind: Kind, tmp_path: Path) -> None:
    async with truth(kind, tmp_path) as database:
        keys, secrets = Keys(database), ClientSecrets(database)
        for name in ("key_1", "key_2"):
            await keys.add(ApiKey(name, "t", "app", "", 0), f"hash of {name}")
        await secrets.add(SECRET, "a" * 64)
        await secrets.add(FREE, "a" * 63 + "b")
        assert await secrets.find("a" * 64) == SECRET
        assert await secrets.find("a" * 63 + "b") == FREE
        assert await secrets.find("a" * 63 + "c") is None
        await keys.revoke("key_1", at=1)
        assert await secrets.find("a" * 64) is None
        assert await secrets.find("a" * 63 + "b") == FREE


@pytest.mark.parametrize("kind", KINDS)
async def test_only_what_has_expired_is_forgotten(kind: Kind, tmp_path: Path) -> None:
    async with truth(kind, tmp_path) as database:
        secrets = ClientSecrets(database)
        for name in ("key_1", "key_2"):
            await Keys(database).add(ApiKey(name, "t", "app", "", 0), f"hash of {name}")
        await secrets.add(SECRET, "first")
        await secrets.add(FREE, "second")

        async def sweep(tx: Transaction) -> int:
            return await expire(tx, now=1_000)

        assert [await database.write(sweep), await database.write(sweep)] == [1, 0]
        assert (await secrets.find("first"), await secrets.find("second")) == (None, FREE)
