"""A realtime session is opened at the first provider of the route that takes one."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from itertools import count
from typing import Any, Final

import pytest

from chatbackend.domain.errors import NotFound, UpstreamError
from chatbackend.domain.models import ModelProfile, ModelRequest
from chatbackend.domain.realtime import Dialect, Ended, SessionKind
from chatbackend.domain.routing import Health, Route, Target, Timeouts
from chatbackend.usecases.ask_model import AskModel
from chatbackend.usecases.open_realtime import OpenRealtime
from chatbackend.usecases.ports import Deployment
from chatbackend.usecases.realtime_ports import RealtimeApi, RealtimeModel

pytestmark = pytest.mark.anyio


class Unasked:
    """A model that is not asked for text here."""

    profile = ModelProfile()

    def stream(self, request: ModelRequest, timeouts: Timeouts) -> AsyncGenerator[Any, None]:
        raise AssertionError(request, timeouts)


class Link:
    """A session that is only opened."""

    def __init__(self) -> None:
        self.secrets: Final[Sequence[str]] = ()
        self.ended: Final = Ended(1000)

    async def frames(self) -> AsyncIterator[str | bytes]:
        raise AssertionError
        yield ""

    async def send(self, frame: str | bytes) -> None:
        raise AssertionError(frame)

    async def alive(self) -> None:
        raise AssertionError

    async def close(self, ended: Ended) -> None:
        raise AssertionError(ended)


class Talker:
    """A provider's Realtime API, which may be down."""

    def __init__(self, *, up: bool = True) -> None:
        self.dialect: Final[Dialect] = "ga"
        self.up = up
        self.dialled = 0

    async def connect(self, timeout_s: float) -> Link:
        self.dialled += 1
        if not self.up:
            raise UpstreamError(f"Not within {timeout_s} s.")
        return Link()


def sessions(name: str, talker: Talker | None) -> dict[SessionKind, RealtimeModel]:
    """Return what a deployment has: those that are called a scribe write down what is said."""
    if talker is None:
        return {}
    return {"transcription": talker} if "scribe" in name else {"realtime": talker}


class Models:
    """Deployments by name, `theirs` at another provider; `both` is a route to all of them, in order."""

    def __init__(self, **talkers: Talker | None) -> None:
        self._all = {
            f"p/{name}": Deployment(
                f"p/{name}",
                "q" if "theirs" in name else "p",
                name,
                Unasked(),
                realtime=RealtimeApi(sessions(name, talker)),
            )
            for name, talker in talkers.items()
        }

    def route(self, name: str) -> Route:
        if name == "both":
            return Route(name, tuple((Target(each),) for each in self._all))
        return Route(name, ((Target(self.find(name).name),),))

    def find(self, name: str) -> Deployment:
        found = self._all.get("p/other" if name == "hidden" else name) or self._all.get(f"p/{name}")
        if found is None or name == "gone":
            raise NotFound("None.")
        return found

    def all(self) -> list[Deployment]:
        return list(self._all.values())

    def names(self) -> list[str]:
        return ["both"]


def opening(**talkers: Talker | None) -> OpenRealtime:
    numbers = count()
    ask = AskModel(Models(**talkers), Health(), lambda prefix: f"{prefix}_{next(numbers)}", lambda: 0.0, lambda: 0.0)
    return OpenRealtime(ask)


async def test_a_session_is_opened_elsewhere_where_one_provider_is_down() -> None:
    down, up = Talker(up=False), Talker()
    opened = await opening(a=down, b=up)("both")
    assert (opened.deployment.name, down.dialled, up.dialled) == ("p/b", 1, 1)
    assert opened.names == {"both", "p/b", "b"}


async def test_a_bare_name_counts_only_where_it_means_this_deployment() -> None:
    """`hidden` is somebody else's bare name, or nobody's."""
    assert (await opening(hidden=Talker(), other=Talker())("p/hidden")).names == {"p/hidden"}
    assert (await opening(gone=Talker())("p/gone")).names == {"p/gone"}


async def test_a_model_is_talked_to_where_all_of_its_deployments_are() -> None:
    made = opening(a=Talker(), b=None)
    assert [made.takes(name) for name in ("a", "b", "both")] == [True, False, False]
    with pytest.raises(NotFound):
        made.takes("nothing")
    with pytest.raises(UpstreamError):
        await made("b")


async def test_who_writes_down_what_is_said_is_found_by_any_name_at_the_sessions_provider() -> None:
    """`q/scribe3` is another provider's, `a` answers, `both` is a route to all."""
    made = opening(scribe=Talker(), scribe2=Talker(), a=Talker())
    opened = await made("scribe", "transcription")
    names = ("scribe", "p/scribe", "scribe2", "p/scribe2", "both", "a", "p/a", "q/scribe3", "nothing")
    assert [opened.transcriber(name) for name in names] == [
        *("scribe", "scribe", "scribe2", "scribe2", "scribe"),
        *(None, None, None, None),
    ]
    assert [made.takes("scribe", kind) for kind in ("transcription", "realtime")] == [True, False]
    assert (await made("a")).transcriber("a") is None


async def test_a_transcriber_of_another_provider_is_not_this_sessions() -> None:
    made = opening(scribe=Talker(), theirs_scribe=Talker())
    opened = await made("scribe", "transcription")
    assert opened.transcriber("theirs_scribe") is None
