"""Clients that others wrote, unmodified, over every provider family: see `catalogue.py` for who does what."""

import json

import pytest

from tests.clients.catalogue import CLIENTS, FAMILIES, PENDING, Client, Family
from tests.clients.programs.driver import PIXEL
from tests.clients.running import Result, results
from tests.support.server import Server
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
async def test_a_client_finds_what_it_expects(
    running: Server, upstream: Upstream, subtests: pytest.Subtests, *, client: Client, family: Family
) -> None:
    done = await results(client, family, running, upstream)
    assert [result.name for result in done] == client.checks()
    for result in done:
        with subtests.test(result.name):
            problem = result.detail or unseen(result, upstream, family)
            pending = [entry for entry in PENDING if entry.names(client.name, family.name, result.name)]
            if pending and problem:
                pytest.xfail(pending[0].reason)
            if pending:
                pytest.fail(f"it passes: take it off PENDING ({pending[0].reason})", pytrace=False)
            if problem:
                pytest.fail(f"{client.name} over {family.name}, {result.name}: {problem}", pytrace=False)


def test_what_is_pending_is_a_check_that_is_made() -> None:
    made = [(client.name, family.name, check) for client in CLIENTS for family in FAMILIES for check in client.checks()]
    assert [entry for entry in PENDING if not any(entry.names(*names) for names in made)] == []


def unseen(result: Result, upstream: Upstream, family: Family) -> str:
    """Return what the provider should have been told and was not, "" where nothing is missing."""
    dialect, _, check = result.name.partition(".")
    wanted = {"image": [PIXEL], "tools": ["get_weather: eleven"]}.get(check, [])
    if check == "parallel-tools":
        wanted = ["get_weather: eleven", "get_time: eleven"]
    feature = check.removeprefix("parallel-")
    if {feature, f"{dialect}.{feature}"} & family.refuses:
        return ""
    told = json.dumps([call.asked.body for call in upstream.calls[result.calls]])
    missing = [words for words in wanted if words not in told]
    return f"the provider was not told {missing}" if missing else ""
