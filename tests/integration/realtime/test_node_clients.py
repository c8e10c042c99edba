"""The SDK for Node and the agents' SDK, unmodified, in relayed sessions."""

import pytest

from tests.support.realtime_node import talks
from tests.support.realtime_upstream import RealtimeUpstream
from tests.support.server import Server

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("kind", ["sdk", "agents"])
async def test_sound_is_heard_and_a_tool_of_the_clients_is_waited_for(
    running: Server, provider: RealtimeUpstream, kind: str
) -> None:
    await talks(running, provider, kind)
