"""Live sessions (`client.live`) are not relayed: the unmodified SDK is told so at once, before anything is upgraded."""

import anyio
import openai
import pytest
from websockets.exceptions import InvalidStatus

from tests.support import sdk
from tests.support.realtime_upstream import RealtimeUpstream
from tests.support.server import Server

pytestmark = pytest.mark.anyio


async def test_the_sdk_is_told_before_the_upgrade_that_there_are_no_live_sessions(
    running: Server, provider: RealtimeUpstream
) -> None:
    before = len(provider.handshakes)
    async with sdk.async_client(running) as client:
        for connect in (client.live.connect(), client.live.sideband.connect(session_id="live_1")):
            with anyio.fail_after(2), pytest.raises(InvalidStatus) as refused:
                async with connect:
                    pass
            assert refused.value.response.status_code == 404
            assert b'"unknown_url"' in bytes(refused.value.response.body or b"")
        with pytest.raises(openai.NotFoundError):
            await client.live.create(session={"model": "gpt-live-1"}, transport={"type": "webrtc", "sdp": "v=0"})
    assert len(provider.handshakes) == before
