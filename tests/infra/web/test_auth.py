"""Who calls: by a key or a client secret, in a header or among the subprotocols, and never by a URL."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from chatbackend.domain.errors import ChatError, Forbidden, InvalidRequest, Unauthenticated
from chatbackend.domain.identity import ApiKey, ClientSecret, Principal
from chatbackend.infra.db.client_secrets import ClientSecrets
from chatbackend.infra.db.keys import Keys
from chatbackend.infra.db.transaction import Database
from chatbackend.infra.web.auth import CACHE_S, Resolver, credential, hash_key, refuse_credential_in_url
from tests.support.truths import truth

pytestmark = pytest.mark.anyio
KEY, SECRET = "sk-cb-" + "k" * 43, "ek_" + "s" * 43
OFFERED = ("realtime", f"openai-insecure-api-key.{SECRET}")
MADE = ClientSecret("t", "app", "app/anna", "key_1", 100)
ANNA = Principal("t", "app", "app/anna", "key_1", MADE)


def bearer(token: str) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", f"Bearer {token}".encode())]


class World:
    """A resolver whose times are set by hand."""

    def __init__(self, database: Database) -> None:
        self.keys, self.secrets = Keys(database), ClientSecrets(database)
        self.monotonic, self.now = 0.0, 0.0
        self.resolver = Resolver(self.keys, self.secrets, lambda: self.monotonic, lambda: self.now)

    async def refused(self, token: str) -> str | None:
        """Return the code of a refusal, if it is one."""
        try:
            await self.resolver(bearer(token))
        except ChatError as error:
            return error.code or type(error).__name__
        return None


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World, None]:
    async with truth("sqlite", tmp_path) as database:
        world = World(database)
        await world.keys.add(ApiKey("key_1", "t", "app", "", 0), hash_key(KEY))
        await world.secrets.add(MADE, hash_key(SECRET))
        yield world


async def test_a_secret_acts_as_its_user_from_a_header_or_a_subprotocol(world: World) -> None:
    assert await world.resolver(bearer(SECRET)) == ANNA
    assert await world.resolver([], OFFERED) == ANNA
    assert await world.resolver(bearer(SECRET), OFFERED) == ANNA


async def test_a_secret_ends_in_its_second_though_it_is_remembered(world: World) -> None:
    world.now = 99.9
    assert await world.refused(SECRET) is None
    world.now = 100.0
    assert await world.refused(SECRET) == "client_secret_expired"


async def test_a_revoked_key_takes_its_secrets_with_it(world: World) -> None:
    assert await world.refused(SECRET) is None
    await world.keys.revoke("key_1", at=1)
    assert await world.refused(SECRET) is None  # remembered
    world.monotonic = CACHE_S
    assert await world.refused(SECRET) == "Unauthenticated"


async def test_a_socket_that_sees_its_key_revoked_makes_the_secret_forgotten(world: World) -> None:
    assert await world.refused(SECRET) is None
    await world.keys.revoke("key_1", at=1)
    assert not await world.resolver.still_valid(ANNA)
    assert await world.refused(SECRET) == "Unauthenticated"


async def test_a_token_counts_whole(world: World) -> None:
    for token in (SECRET[:-1], f"{SECRET}s", SECRET[:-1] + "t", SECRET.upper(), "ek_", "ek_'"):
        assert await world.refused(token) == "Unauthenticated"


async def test_a_key_may_begin_like_a_secret(world: World) -> None:
    await world.keys.add(ApiKey("key_2", "t", "app", "", 0), hash_key("ek_of_the_operator"))
    assert await world.resolver(bearer("ek_of_the_operator")) == Principal("t", "app", "app", "key_2")


async def test_a_secret_takes_no_other_user(world: World) -> None:
    for user in (b"bob", b"anna"):
        with pytest.raises(Forbidden):
            await world.resolver([*bearer(SECRET), (b"chatbackend-user", user)])


def test_two_credentials_that_differ_are_refused() -> None:
    assert credential(bearer(SECRET), OFFERED) == SECRET
    for headers, offered in ((bearer(KEY), OFFERED), ([], (*OFFERED, "openai-insecure-api-key.ek_2"))):
        with pytest.raises(Unauthenticated, match="differ"):
            credential(headers, offered)


@pytest.mark.parametrize("token", [KEY, "", "x"])
def test_no_key_is_taken_as_a_subprotocol(token: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        credential([], ("realtime", f"openai-insecure-api-key.{token}"))
    assert "k" * 43 not in refused.value.message


@pytest.mark.parametrize("token", [SECRET, KEY, SECRET.replace("e", "%65", 1), KEY.replace("-", "%2D")])
@pytest.mark.parametrize("query", ["api_key={}", "q=1&access_token={}", "{}", "authorization=Bearer+{}"])
def test_a_query_with_a_secret_is_refused_without_repeating_it(query: str, token: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        refuse_credential_in_url(query.format(token).encode())
    assert refused.value.code == "credential_in_url"
    assert token[-9:] not in refused.value.message


@pytest.mark.parametrize("query", ["", "q=ek_short", "q=what+is+sk-cb-", "resume=resp_1&starting_after=4"])
def test_other_queries_pass(query: str) -> None:
    refuse_credential_in_url(query.encode())
