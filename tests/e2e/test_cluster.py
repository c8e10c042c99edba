"""Two real servers on one PostgreSQL and one Redis: killed, frozen, and with both stores restarted under them."""

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import anyio
import anyio.to_thread
import openai
import pytest

from tests.support import sdk
from tests.support.cluster import Cluster, Replica, cluster
from tests.support.postgres import rows
from tests.support.raw_socket import raw_socket
from tests.support.server import PROGRAM

UPSTREAM = Path(__file__).parents[1] / "support" / "upstream.py"
TAKEN_OVER_S = 20.0  # what is promised
TALKS = "llama31/scripted-n400-d20"  # eight seconds of tokens
LATE = "llama31/scripted-n3-d3000"
LONG = "llama31/scripted-n3000-d4"  # more events than are reserved at the beginning
_TOKEN = re.compile(r"(\w+):(\d+)")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with (
        upstream(folder) as url,
        cluster(folder, {"LLAMA31_ENDPOINT": url, "CHATBACKEND_LOG_LEVEL": "warning"}) as all_,
    ):
        yield all_


@contextmanager
def upstream(folder: Path) -> Generator[str]:
    """Run the scripted upstream in a process of its own; yield its address."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    with (folder / "upstream.out").open("wb") as out:
        command = [sys.executable, str(UPSTREAM), "--port", str(port), "--log", str(folder / "upstream.log")]
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def both(running: Cluster) -> Iterator[tuple[Replica, Replica]]:
    """Give the two servers; one that a test has killed is started again for the next."""
    first, second = running.servers
    yield first, second
    for watch in Watch.opened:
        watch.client.close()
    Watch.opened.clear()
    for each in (first, second):
        if each.process is None:
            each.start()


class Watch:
    """A stream as a client sees it."""

    opened: ClassVar[list["Watch"]] = []

    def __init__(self, server: Replica, model: str, **more: object) -> None:
        self.server, self.client = server, sdk.client(server)
        create: Any = self.client.responses.create  # of any arguments
        self.stream: Iterator[Any] = create(model=model, input="Hello", stream=True, **more)
        self.opened.append(self)
        self.events: list[Any] = []
        self.until(lambda: bool(self.events))
        self.id: str = self.events[0].response.id

    def until(self, enough: Callable[[], bool]) -> None:
        """Read on until it is enough."""
        for event in self.stream:
            self.events.append(event)
            if enough():
                return

    def spoken(self, tokens: int = 5) -> None:
        """Read on until the model has said something."""
        self.until(lambda: sum(event.type == "response.output_text.delta" for event in self.events) >= tokens)

    def rest(self) -> None:
        """Read to the end; where the connection breaks, resume as clients do."""
        try:
            self.until(lambda: False)
        except openai.APIConnectionError:
            self.events += followed(self.server, self.id, after=self.events[-1].sequence_number)


def followed(server: Replica, response_id: str, *, after: int | None = None) -> list[Any]:
    """Return the events of a response as a server tells them, to their end."""
    with sdk.client(server) as client:
        if after is None:
            return list(client.responses.retrieve(response_id, stream=True))
        return list(client.responses.retrieve(response_id, stream=True, starting_after=after))


def one_generation(events: list[Any], *, gap: bool = False) -> None:
    """Check that numbers are gapless (but for one gap before the end), and that one generation is told in its order."""
    numbers = [event.sequence_number for event in events]
    assert numbers[:-1] == list(range(len(numbers) - 1))
    assert (numbers[-1] == len(numbers) - 1) is not gap
    said = _TOKEN.findall("".join(event.delta for event in events if event.type == "response.output_text.delta"))
    assert len({salt for salt, _ in said}) <= 1
    assert [int(number) for _, number in said] == list(range(len(said)))
    ends = [event.type for event in events if event.type in sdk.TERMINAL]
    assert len(ends) == 1
    assert events[-1].type == ends[0]


def ledger(running: Cluster, response_id: str) -> list[str]:
    """Return the states of a response's calls."""
    found = anyio.run(rows, running.postgres.url, f"SELECT status FROM ledger WHERE response_id = '{response_id}'")  # noqa: S608
    return [row["status"] for row in found]


def test_what_one_server_makes_every_other_reads_follows_and_resumes(both: tuple[Replica, Replica]) -> None:
    first, second = both
    watch = Watch(first, "llama31/scripted-n60-d10")
    watch.spoken()
    seen = watch.events[-1].sequence_number
    resumed = followed(second, watch.id, after=seen)
    watch.rest()
    assert [event.model_dump() for event in resumed] == [event.model_dump() for event in watch.events[seen + 1 :]]
    one_generation(watch.events)
    with sdk.client(second) as client:
        assert client.responses.retrieve(watch.id) == watch.events[-1].response
        client.responses.delete(watch.id)
    with sdk.client(first) as client, pytest.raises(openai.NotFoundError):
        client.responses.retrieve(watch.id)


def test_a_create_that_is_made_again_elsewhere_waits_for_the_first(both: tuple[Replica, Replica]) -> None:
    first, second = both
    key = {"idempotency-key": uuid4().hex}
    watch = Watch(first, "llama31/scripted-n60-d10", extra_headers=key)
    with sdk.client(second) as client:
        again = client.responses.create(model="llama31/scripted-n60-d10", input="Hello", extra_headers=key)
    assert (again.id, again.status) == (watch.id, "completed")
    watch.rest()


def test_turns_of_a_conversation_wait_for_each_other_wherever_they_run(both: tuple[Replica, Replica]) -> None:
    first, second = both
    with sdk.client(first) as client:
        name = client.conversations.create().id
    one = Watch(first, "llama31/scripted-n60-d10", conversation=name)
    two = Watch(second, "llama31/scripted-n5", conversation=name)
    three = Watch(first, "llama31/scripted-n5", conversation=name)
    for watch in (three, two, one):
        watch.rest()
        assert watch.events[-1].type == "response.completed"
    with sdk.client(second) as client:
        items = list(client.conversations.items.list(name, order="asc"))
    assert [item.role for item in items if item.type == "message"] == ["user", "assistant"] * 3


def test_any_server_stops_what_another_runs(running: Cluster, both: tuple[Replica, Replica]) -> None:
    first, second = both
    watch = Watch(first, TALKS)
    watch.spoken()
    with sdk.client(second) as client:
        stopped = client.responses.cancel(watch.id)
    assert stopped.status == "cancelled"
    watch.rest()
    assert watch.events[-1].type == "response.incomplete"
    one_generation(watch.events)
    assert ledger(running, watch.id) == ["settled"]


@pytest.mark.timeout(120)
def test_what_was_to_be_cancelled_when_its_server_died_ends_cancelled(both: tuple[Replica, Replica]) -> None:
    first, second = both
    watch = Watch(first, TALKS)
    watch.spoken()
    first.freeze()
    try:
        with sdk.client(second) as client:
            with pytest.raises(openai.InternalServerError):
                client.responses.cancel(watch.id)
            assert followed(second, watch.id)[-1].type == "response.incomplete"
            assert client.responses.retrieve(watch.id).status == "cancelled"
    finally:
        first.thaw()
    watch.rest()
    one_generation(watch.events)


@pytest.mark.timeout(120)
def test_a_killed_servers_answer_is_ended_by_another_with_what_was_heard(
    running: Cluster, both: tuple[Replica, Replica]
) -> None:
    first, second = both
    watch = Watch(first, TALKS)
    watch.spoken()
    first.kill()
    began = time.monotonic()
    events = followed(second, watch.id)
    assert time.monotonic() - began < TAKEN_OVER_S
    assert [event.model_dump() for event in events[: len(watch.events)]] == [each.model_dump() for each in watch.events]
    assert events[-1].type == "response.incomplete"
    assert events[-1].response.incomplete_details.model_dump()["chatbackend_reason"] == "interrupted"
    one_generation(events)
    assert ledger(running, watch.id) == ["settled"]


@pytest.mark.timeout(120)
def test_what_a_killed_servers_answer_was_steered_with_is_taken_once_by_a_successor_elsewhere(
    running: Cluster, both: tuple[Replica, Replica]
) -> None:
    first, second = both
    parent = anyio.run(steered, first, "n2-d0 rather this")
    first.kill()
    assert followed(second, parent)[-1].type == "response.incomplete"

    def successors() -> Sequence[Mapping[str, Any]]:
        wanted = f"SELECT id, status FROM responses WHERE previous_response_id = '{parent}'"  # noqa: S608
        return anyio.run(rows, running.postgres.url, wanted)

    _wait(lambda: [row["status"] for row in successors()] == ["completed"])
    first.start()
    time.sleep(5)  # whoever comes later makes no other
    (successor,) = successors()
    with sdk.client(second) as client:
        (given,) = client.responses.input_items.list(successor["id"])
    assert given.to_dict()["content"] == [{"text": "n2-d0 rather this", "type": "input_text"}]


async def steered(server: Replica, words: str) -> str:
    """Ask over a socket, steer, and return the response's id once that is accepted."""
    async with raw_socket(server) as socket:
        await socket.create("llama31/m", "n400-d20 essay")
        parent: str = (await socket.until("response.output_text.delta"))[0]["response"]["id"]
        await socket.send("response.steer", previous_response_id=parent, input=words)
        await socket.first("response.steer.accepted")
    return parent


@pytest.mark.timeout(120)
def test_an_answer_that_had_not_begun_is_made_by_another_server(
    running: Cluster, both: tuple[Replica, Replica]
) -> None:
    first, second = both
    watch = Watch(first, LATE)
    _wait(lambda: ledger(running, watch.id) == ["started"])
    first.kill()
    events = followed(second, watch.id)
    assert events[-1].type == "response.completed"
    one_generation(events)
    assert ledger(running, watch.id) == ["settled", "settled"]


@pytest.mark.timeout(120)
def test_a_frozen_server_is_shut_out_and_writes_nothing_more(running: Cluster, both: tuple[Replica, Replica]) -> None:
    first, second = both
    watch = Watch(first, LONG)
    watch.spoken()
    waiting = Watch(first, LATE)
    _wait(lambda: ledger(running, waiting.id) == ["started"])
    first.freeze()
    try:
        events = followed(second, watch.id)
        late = followed(second, waiting.id)
    finally:
        first.thaw()
    one_generation(events)
    one_generation(late)
    assert (events[-1].type, late[-1].type) == ("response.incomplete", "response.completed")
    fresh = Watch(first, "llama31/scripted-n5")  # it has found its feet
    fresh.rest()
    one_generation(fresh.events)
    watch.rest()  # its own client is told what the other server has ended
    told = [each.model_dump() for each in events]
    assert [each.model_dump() for each in watch.events] == told
    for server in both:
        assert [each.model_dump() for each in followed(server, watch.id)] == told
    assert ledger(running, watch.id) == ["settled"]
    assert ledger(running, waiting.id) == ["settled", "settled"]


@pytest.mark.timeout(120)
def test_a_redis_that_is_killed_and_comes_back_costs_no_stream(running: Cluster, both: tuple[Replica, Replica]) -> None:
    watch = Watch(both[0], TALKS)
    watch.spoken()
    running.redis.kill()
    time.sleep(2)  # what the model says meanwhile waits
    running.redis.start()
    events = followed(both[1], watch.id)
    assert events[-1].type == "response.completed"
    one_generation(events)


@pytest.mark.timeout(120)
def test_a_redis_that_is_emptied_is_filled_again_by_the_owner(running: Cluster, both: tuple[Replica, Replica]) -> None:
    watch = Watch(both[0], TALKS)
    watch.spoken()
    running.redis.empty()
    time.sleep(0.2)
    events = followed(both[1], watch.id)
    assert events[-1].type == "response.completed"
    one_generation(events)


@pytest.mark.timeout(120)
def test_where_no_owner_lives_to_fill_an_emptied_redis_the_end_takes_a_number_nobody_has_seen(
    running: Cluster, both: tuple[Replica, Replica]
) -> None:
    first, second = both
    watch, late = Watch(first, TALKS), Watch(first, LATE)
    watch.spoken()
    first.kill()
    running.redis.empty()
    [end] = followed(second, watch.id)
    assert (end.type, end.sequence_number) == ("response.incomplete", 1_000)
    _wait(lambda: ledger(running, late.id) == ["settled"])
    [end] = followed(second, late.id)  # whoever had not seen anything yet is served, too
    assert (end.type, end.sequence_number) == ("response.incomplete", 1_000)
    assert ledger(running, late.id) == ["settled"]  # it was not asked again


def test_a_socket_whose_response_has_ended_and_lost_its_events_is_told(
    running: Cluster, both: tuple[Replica, Replica]
) -> None:
    first, second = both
    watch = Watch(first, "llama31/scripted-n100-d10")
    watch.spoken()
    error = anyio.run(told_of_lost_events, running, second, watch)
    assert (error["status"], error["error"]["code"]) == (410, "cursor_expired")
    with sdk.client(second) as client:
        assert client.responses.retrieve(watch.id).status == "completed"


async def told_of_lost_events(running: Cluster, server: Replica, watch: Watch) -> dict[str, Any]:
    """Follow at a server, which sleeps until the response has ended and its events are gone; return the error."""
    async with raw_socket(server, [("resume", watch.id), ("starting_after", 3)]) as socket:
        await socket.event()
        server.freeze()
        await anyio.to_thread.run_sync(watch.rest)
        running.redis.empty()
        server.thaw()
        return await socket.first("error")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
def test_a_postgresql_that_restarts_costs_no_stream(
    running: Cluster, both: tuple[Replica, Replica], how: signal.Signals
) -> None:
    watch = Watch(both[0], LONG)
    watch.spoken()
    running.postgres.stop(how)
    time.sleep(1)
    running.postgres.start()
    watch.rest()
    assert watch.events[-1].type == "response.completed"
    one_generation(watch.events)
    assert [each.sequence_number for each in followed(both[1], watch.id)][-1] == watch.events[-1].sequence_number


@pytest.mark.timeout(120)
def test_a_postgresql_that_freezes_for_longer_than_a_lease_costs_no_stream(
    running: Cluster, both: tuple[Replica, Replica]
) -> None:
    watches = [Watch(server, "llama31/scripted-n2000-d15") for server in both]  # thirty seconds of tokens
    running.postgres.freeze()
    try:
        time.sleep(20)
    finally:
        running.postgres.thaw()
    for watch in watches:
        watch.rest()
        assert watch.events[-1].type == "response.completed"
        one_generation(watch.events)
        assert ledger(running, watch.id) == ["settled"]


def test_a_server_that_does_not_share_stays_off_a_shared_database(running: Cluster, tmp_path: Path) -> None:
    alone = Replica(
        tmp_path / "alone",
        {"DATABASE_URL": running.postgres.url},
        key="sk-other",
        data=tmp_path,
        program=[str(PROGRAM)],
    )
    assert "servers share one only if REDIS_URL is set" in refusal(alone)


def test_a_data_folder_is_shared_by_those_only_who_share_the_rest(running: Cluster, tmp_path: Path) -> None:
    alone = Replica(tmp_path / "alone", {}, key="sk-other", data=running.servers[0].data, program=[str(PROGRAM)])
    assert "Another server is running on the data folder" in refusal(alone)


def refusal(server: Replica) -> str:
    """Return the one line with which a server refuses to start."""
    environment = server.environment
    done = subprocess.run([PROGRAM, "serve"], env=environment, capture_output=True, text=True, timeout=40, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    return done.stderr


def _wait(until: Callable[[], bool], seconds: float = 30) -> None:
    limit = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < limit
        time.sleep(0.02)
