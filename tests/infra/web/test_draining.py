"""What a server that stops still takes: what ends something."""

import pytest

from chatbackend.domain.errors import Unavailable
from chatbackend.infra.web.draining import Draining


@pytest.mark.parametrize("pattern", ["/v1/responses/{response_id}/cancel", "/v1/realtime/calls/{call_id}/hangup"])
def test_what_runs_can_be_ended_while_the_server_stops(pattern: str) -> None:
    draining = Draining()
    draining.begin(1.0)
    draining.refuse("POST", pattern)
    with pytest.raises(Unavailable):
        draining.refuse("POST", "/v1/realtime/calls")
