"""A call is made at the first provider of the route that takes it, and found again by its deployment."""

from collections.abc import Mapping
from itertools import count
from typing import Any

import pytest

from chatbackend.domain.errors import InvalidRequest, NotFound, UpstreamError
from chatbackend.domain.realtime import RealtimeCall
from chatbackend.domain.routing import Health
from chatbackend.usecases.ask_model import AskModel
from chatbackend.usecases.call_realtime import CallRealtime
from chatbackend.usecases.ports import Deployment
from chatbackend.usecases.realtime_ports import RealtimeApi
from tests.usecases.test_open_realtime import Link, Models, Unasked

pytestmark = pytest.mark.anyio


class Calls:
    """A provider's calls, which may be down."""

    def __init__(self, *, up: bool = True) -> None:
        self.up = up
        self.made: list[Mapping[str, Any]] = []
        self.ended: list[str] = []
        self.joined: list[str] = []

    async def create(self, offer: str, session: Mapping[str, Any]) -> tuple[str, str]:
        if not self.up:
            raise UpstreamError("Down.")
        self.made.append(session)
        return f"rtc_u{len(self.made)}", f"answer to {offer}"

    async def hang_up(self, call_id: str) -> None:
        self.ended.append(call_id)

    async def join(self, call_id: str, timeout_s: float) -> Link:
        assert timeout_s
        self.joined.append(call_id)
        return Link()


class Callable(Models):
    """Deployments by name, with their calls."""

    def __init__(self, **calls: Calls | None) -> None:
        super().__init__()
        for name, each in calls.items():
            self._all[f"p/{name}"] = Deployment(f"p/{name}", "p", name, Unasked(), realtime=RealtimeApi(calls=each))


def calling(models: Models) -> CallRealtime:
    numbers = count()
    return CallRealtime(
        AskModel(models, Health(), lambda prefix: f"{prefix}_{next(numbers)}", lambda: 0.0, lambda: 0.0)
    )


async def test_a_call_is_made_elsewhere_where_one_provider_is_down_and_found_again() -> None:
    down, up = Calls(up=False), Calls()
    made = calling(Callable(a=down, b=up))
    call, answer = await made.make("both", "offer", {"type": "realtime"})
    assert (call, answer) == (RealtimeCall("rtc_u1", "p/b", "both"), "answer to offer")
    assert up.made == [{"type": "realtime", "model": "b"}]
    await made.hang_up(call)
    opened = await made.join(call)
    assert (up.ended, up.joined, opened.dialect) == (["rtc_u1"], ["rtc_u1"], "ga")
    assert opened.names == {"both", "p/b", "b"}
    assert opened.transcriber("b") is None


async def test_a_model_that_takes_no_calls_is_refused() -> None:
    for models in (Callable(a=None), Callable(a=Calls(), b=None)):
        with pytest.raises(InvalidRequest) as refused:
            await calling(models).make("both", "offer", {})
        assert refused.value.code == "unsupported_by_model"
    with pytest.raises(NotFound):
        await calling(Callable(a=None)).hang_up(RealtimeCall("rtc_u1", "p/a", "a"))
