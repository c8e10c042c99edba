"""A tool of ours works beside the session's reader, and has its time; only the search is in the test's hands."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from chatbackend.adapters.realtime.handshake import Handshake
from chatbackend.adapters.realtime.relay.renewal import LEAD_S
from chatbackend.adapters.realtime.upstreams import RealtimeAddress
from chatbackend.domain.identity import ClientSecret, Principal
from chatbackend.domain.passages import Passage
from chatbackend.domain.realtime import SESSION_S, Terms
from chatbackend.domain.responses import FileSearch
from chatbackend.domain.routing import Health, Route, Target
from chatbackend.domain.usage import Settlement
from chatbackend.infra.models.credentials import fixed
from chatbackend.infra.models.realtime_upstream import RealtimeUpstream
from chatbackend.infra.system import report
from chatbackend.infra.web.draining import Draining
from chatbackend.infra.web.http import Message, Request, Scope
from chatbackend.infra.web.key_watch import KeyWatch
from chatbackend.infra.web.relayed_session import RelayedSessions, RelayPorts
from chatbackend.usecases.ask_model import AskModel
from chatbackend.usecases.call_realtime import CallRealtime
from chatbackend.usecases.open_realtime import OpenRealtime
from chatbackend.usecases.ports import Call, Deployment
from chatbackend.usecases.realtime_ports import RealtimeApi
from tests.support.realtime_upstream import RealtimeUpstream as Provider
from tests.usecases.test_open_realtime import Unasked

pytestmark = pytest.mark.anyio
PASSAGE = Passage("file_1", "canary.txt", 0, 5, "Box seven.", 1.0)
UNBOUND: Any = None  # no session here is bound to a conversation
SECRET = ClientSecret("t", "a", "a", "key", 2**40, terms=Terms(vector_stores=("vs_1",)))


class Ledger:
    """Counts."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.paid: list[str] = []
        self.gate: anyio.Event | None = None  # until which nothing is written

    def started(self, principal: Principal, call: Call) -> Awaitable[None]:
        self.begun.append(call.id)
        return anyio.lowlevel.checkpoint() if self.gate is None else self.gate.wait()

    def settled(self, call: Call, settlement: Settlement) -> None:
        self.paid.append(call.id)


class Models:
    """One model, and one way to it."""

    def __init__(self, talker: RealtimeUpstream) -> None:
        api = RealtimeApi({"realtime": talker})
        self._only = Deployment("openai/realtime-call", "openai", "realtime-call", Unasked(), realtime=api)

    def route(self, name: str) -> Route:
        return Route(name, ((Target(self._only.name),),))

    def find(self, name: str) -> Deployment:
        assert name in (self._only.name, self._only.upstream_name)
        return self._only

    def all(self) -> list[Deployment]:
        return [self._only]

    def names(self) -> list[str]:
        return [self._only.name]


class Later:
    """The time, as much later as the test says."""

    def __init__(self) -> None:
        self.by_s = 0.0

    def now(self) -> float:
        return time.time() + self.by_s


@dataclass
class Stage:
    """A session, its client, and a search that waits for the test."""

    provider: Provider
    clock: Later = field(default_factory=Later)
    heard: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    ledger: Ledger = field(default_factory=Ledger)
    asked: anyio.Event = field(default_factory=anyio.Event)
    found: anyio.Event = field(default_factory=anyio.Event)
    said: asyncio.Queue[Message] = field(default_factory=asyncio.Queue[Message])

    async def search(self, principal: Principal, query: str, search: FileSearch) -> list[Passage]:
        self.asked.set()
        await self.found.wait()
        return [PASSAGE]

    async def take(self, message: Message) -> None:
        if message["type"] == "websocket.send":
            self.heard.append(json.loads(message["text"]))

    async def receive(self) -> Message:
        return await self.said.get()

    async def say(self, **event: object) -> None:
        await self.said.put({"type": "websocket.receive", "text": json.dumps(event)})

    async def leave(self) -> None:
        await self.said.put({"type": "websocket.disconnect", "code": 1000})

    async def hears(self, kind: str) -> dict[str, Any]:
        with anyio.fail_after(10):
            while not (found := [event for event in self.heard if event["type"] == kind]):  # noqa: ASYNC110 - polled
                await anyio.sleep(0.01)
        return found[0]

    async def serve(self, tool_s: float, *, renew: bool = False) -> None:
        url = f"ws{self.provider.url.removeprefix('http')}/v1/realtime?model=realtime-call"
        talker = RealtimeUpstream(RealtimeAddress(url), fixed({}), _no_tls)
        numbers = count()

        def new_id(prefix: str) -> str:
            return f"{prefix}_{next(numbers)}"

        async def still_valid(_: Principal) -> bool:
            return True

        ask = AskModel(Models(talker), Health(), new_id, lambda: 0.0, time.monotonic)
        ports = RelayPorts(
            OpenRealtime(ask),
            CallRealtime(ask),
            self.ledger,
            self.search,
            records=UNBOUND,
            learn=UNBOUND,
            report=report,
            watch=KeyWatch(still_valid, report, time.time),
            draining=Draining(),
            clock=self.clock,
            new_id=new_id,
            max_frame_bytes=2**20,
            ping_s=20,
            tool_s=tool_s,
        )
        scope: Scope = {"headers": [], "query_string": b"", "path": "/v1/realtime"}
        me = Principal("t", "a", "a", "key", secret=SECRET)
        request = Request(scope, self.receive, self.take, {}, me, "req_1")
        await RelayedSessions(ports)(request, Handshake("openai/realtime-call", "ga", None, renew=renew))


def _no_tls() -> Any:  # noqa: ANN401 - never called
    raise AssertionError


@asynccontextmanager
async def stage(*, tool_s: float) -> AsyncGenerator[Stage]:
    """Open a session in which the model has called our search."""
    async with Provider() as provider:
        played = Stage(provider)
        async with anyio.create_task_group() as group:
            group.start_soon(played.serve, tool_s)
            await played.hears("session.created")
            item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Where?"}]}
            await played.say(type="conversation.item.create", item=item)
            await played.say(type="response.create")
            with anyio.fail_after(10):
                await played.asked.wait()
            yield played
            await played.leave()
        assert sorted(played.ledger.begun) == sorted(played.ledger.paid)


def outputs(session: Any) -> list[str]:  # noqa: ANN401 - the provider's side
    items = [event.get("item", {}) for event in session.events]
    return [item["output"] for item in items if item.get("type") == "function_call_output"]


async def test_frames_pass_both_ways_while_a_tool_works() -> None:
    async with stage(tool_s=15) as played:
        session = played.provider.sessions[0]
        await played.say(type="input_audio_buffer.append", audio="AAAA")
        await session.got_type("input_audio_buffer.append")
        await session.say('{"type":"input_audio_buffer.speech_started"}')
        await played.hears("input_audio_buffer.speech_started")
        assert outputs(session) == []
        played.found.set()
        assert (await played.hears("response.done"))["response"]["status"] == "completed"
        assert "Box seven." in outputs(session)[0]


async def test_a_tool_that_takes_too_long_is_told_to_the_model_as_failed_and_the_session_goes_on() -> None:
    async with stage(tool_s=0.2) as played:
        assert (await played.hears("response.done"))["response"]["status"] == "completed"
        [told] = outputs(played.provider.sessions[0])
        assert "Box seven." not in told
        assert "canary" not in json.dumps(played.heard)


async def test_a_session_that_ends_while_a_tool_works_ends_the_tool() -> None:
    with anyio.fail_after(10):
        async with stage(tool_s=15):
            pass


async def test_what_is_said_while_a_move_waits_for_the_ledger_goes_to_the_next_session() -> None:
    async with Provider() as provider, anyio.create_task_group() as group:
        played = Stage(provider)
        group.start_soon(partial(played.serve, 15, renew=True))
        await played.hears("session.created")
        old, heard = provider.sessions[0], "conversation.item.input_audio_transcription.completed"
        transcribed = {"type": "realtime", "audio": {"input": {"transcription": {"model": "scribe"}}}}
        speech = {"id": "item_u", "type": "message", "role": "user", "content": [{"type": "input_audio"}]}
        played.clock.by_s = SESSION_S - LEAD_S / 2
        await old.say(json.dumps({"type": "session.updated", "session": transcribed}))
        await old.say(json.dumps({"type": "conversation.item.added", "item": {**speech, "status": "completed"}}))
        new = await provider.session(1)
        await anyio.sleep(0.2)
        assert new.received == []
        written = played.ledger.gate = anyio.Event()
        words = {"item_id": "item_u", "content_index": 0, "transcript": "Tea", "usage": None}
        await old.say(json.dumps({"type": heard, **words}))
        with anyio.fail_after(10):
            while not played.ledger.begun:  # noqa: ASYNC110 - polled
                await anyio.sleep(0.01)
        await played.say(type="conversation.item.create", item={"id": "mine", "type": "message"})
        await anyio.sleep(0.2)
        written.set()
        await new.got(2)
        assert [event.get("item", {}).get("id") for event in new.events] == [None, "item_u", "mine"]
        assert "mine" not in str(old.events)
        await played.leave()
