"""Lanes: first in, first out within one, side by side across, never over a bound, whatever the interleaving."""

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chatbackend.adapters.wire import socket_lanes
from chatbackend.adapters.wire.socket_lanes import (
    MAX_ACTIVE,
    MAX_KEPT_BYTES,
    MAX_NAMED,
    MAX_WAITING,
    MAX_WAITING_CHARACTERS,
    Create,
    Follow,
    Job,
    Kept,
    Lane,
    Lanes,
    continue_from,
    left_behind,
)
from chatbackend.domain.errors import ChatError, InvalidRequest, RateLimited
from chatbackend.domain.items import InputText, Item, Message, OutputText
from chatbackend.domain.responses import Ask

NAMES: list[Lane] = [None, *(f"lane{number}" for number in range(MAX_NAMED + 2))]


class AnyInterleaving(RuleBasedStateMachine):
    """Adds and ends jobs in any order, and keeps its own simple books."""

    @initialize()
    def begin(self) -> None:
        self.lanes = Lanes()
        self.queued: dict[Lane, list[Job]] = defaultdict(list)
        self.started: dict[Lane, list[Job]] = defaultdict(list)
        self.running: list[Job] = []

    def _start(self, jobs: list[Job]) -> None:
        for job in jobs:
            self.started[job.lane].append(job)
            self.running.append(job)

    @rule(lane=st.sampled_from(NAMES), follow=st.booleans(), size=st.sampled_from([1, MAX_WAITING_CHARACTERS // 3]))
    def add(self, lane: Lane, follow: bool, size: int) -> None:  # noqa: FBT001  # hypothesis passes by name
        job = Follow(lane, "resp_1", 3) if follow else Create(lane, "x" * size)
        try:
            started = self.lanes.add(job)
        except ChatError:
            return
        self.queued[lane].append(job)
        self._start(started)

    @rule(lanes=st.lists(st.sampled_from(NAMES), min_size=20, max_size=40))
    def add_many(self, lanes: list[Lane]) -> None:
        for lane in lanes:
            self.add(lane, follow=False, size=1)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        job = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        self._start(self.lanes.ended(job))

    @invariant()
    def a_lane_starts_its_jobs_in_order_and_one_at_a_time(self) -> None:
        for lane, started in self.started.items():
            assert started == self.queued[lane][: len(started)]
        busy = [job.lane for job in self.running]
        assert len(busy) == len(set(busy))

    @invariant()
    def nothing_waits_that_could_run_and_no_bound_is_passed(self) -> None:
        assert len(self.running) == self.lanes.active <= MAX_ACTIVE
        waiting = {lane for lane, jobs in self.queued.items() if len(jobs) > len(self.started[lane])}
        free = waiting - {job.lane for job in self.running}
        assert not free or len(self.running) == MAX_ACTIVE
        assert len({lane for lane in self.queued if lane is not None}) <= MAX_NAMED

    def teardown(self) -> None:
        while self.running:
            self._start(self.lanes.ended(self.running.pop()))
        assert all(self.started[lane] == jobs for lane, jobs in self.queued.items())


TestAnyInterleaving = AnyInterleaving.TestCase
TestAnyInterleaving.settings = settings(max_examples=60, stateful_step_count=60)


def test_lanes_that_wait_for_room_get_it_in_turn() -> None:
    lanes = Lanes()
    running = [job for number in range(MAX_ACTIVE) for job in lanes.add(Create(f"a{number}", "{}"))]
    waiting: list[Job] = [Create(lane, "{}") for lane in ("x", "x", "y", None)]
    assert [lanes.add(job) for job in waiting] == [[]] * 4
    ended = [lanes.ended(job) for job in running[:3]]
    assert ended == [[waiting[0]], [waiting[2]], [waiting[3]]]
    assert lanes.ended(waiting[0]) == [waiting[1]]


def test_a_lone_large_command_is_taken_and_more_of_them_are_refused_until_it_starts() -> None:
    lanes = Lanes()
    first = Create("a", "x" * (MAX_WAITING_CHARACTERS + 1))
    second = Create("a", "x" * (MAX_WAITING_CHARACTERS + 1))
    assert lanes.add(first) == [first]
    assert lanes.add(second) == []
    with pytest.raises(RateLimited) as caught:
        lanes.add(Create("b", "x"))
    assert caught.value.code == "websocket_queue_full"
    assert lanes.ended(first) == [second]
    assert lanes.add(Create("b", "x"))


def test_a_command_over_the_count_is_refused() -> None:
    lanes = Lanes()
    for _ in range(MAX_WAITING + 1):
        lanes.add(Create(None, ""))
    with pytest.raises(RateLimited):
        lanes.add(Create(None, ""))


def test_a_response_to_follow_counts_among_the_names() -> None:
    lanes = Lanes()
    for number in range(MAX_NAMED):
        lanes.add(Follow(f"lane{number}", "resp_1", -1))
    with pytest.raises(InvalidRequest) as caught:
        lanes.add(Follow("more", "resp_1", -1))
    assert caught.value.code == "websocket_stream_limit_reached"


def kept(response_id: str, size: int = 10) -> Kept:
    return Kept(response_id, [], size)


def test_each_lane_keeps_its_newest_response_only() -> None:
    lanes = Lanes()
    lanes.keep("a", kept("resp_1"))
    lanes.keep("b", kept("resp_2"))
    lanes.keep("a", kept("resp_3"))
    assert [lanes.kept(name) is not None for name in ("resp_1", "resp_2", "resp_3")] == [False, True, True]
    assert lanes.kept(None) is None


def test_a_lane_forgets_what_it_is_told_to_and_no_other_lane_does() -> None:
    lanes = Lanes()
    lanes.keep("a", kept("resp_1"))
    lanes.forget("b", "resp_1")
    lanes.forget("a", "resp_2")
    assert lanes.kept("resp_1") is not None
    lanes.forget("a", "resp_1")
    assert lanes.kept("resp_1") is None
    lanes.forget("a")


def test_kept_contexts_are_bounded_and_the_least_recent_goes_first() -> None:
    lanes = Lanes()
    half = MAX_KEPT_BYTES // 2
    for lane in ("a", "b", "a", "c"):
        lanes.keep(lane, kept(f"resp_{lane}", half))
    assert [lanes.kept(f"resp_{lane}") is not None for lane in "abc"] == [True, False, True]
    lanes.keep("d", kept("resp_d", MAX_KEPT_BYTES + 1))
    assert lanes.kept("resp_d") is None


def message(text: str) -> Item:
    return Message(f"msg_{text}", "user", [InputText(text)])


def ask(text: str, *, store: bool) -> Ask:
    return Ask("m", [message(text)], b"", {}, previous_response_id="resp_1", store=store)


def test_an_unstored_response_goes_on_with_the_context_beside_its_input() -> None:
    request = ask("b", store=False)
    continue_from(request, Kept("resp_1", [message("a")], 1))
    assert (request.local_context, request.items) == ([message("a")], [message("b")])


def test_a_stored_response_takes_the_context_into_its_own_input() -> None:
    request = ask("b", store=True)
    continue_from(request, Kept("resp_1", [message("a")], 1))
    assert (request.local_context, request.items) == ([], [message("a"), message("b")])


@given(st.lists(st.text(), max_size=4))
def test_what_is_left_behind_grows_by_what_was_added(texts: list[str]) -> None:
    added: list[Item] = [message(text) for text in texts]
    answer = Message("msg_x", "assistant", [OutputText("fine")])
    whole = left_behind("resp_2", context=[message("a")], added=[*added, answer], parent=None)
    assert whole.items == [message("a"), *added, answer]
    first = left_behind("resp_1", context=[], added=[message("a")], parent=None)
    assert left_behind("resp_2", context=first.items, added=[*added, answer], parent=first) == whole


def test_the_limits_are_those_of_the_api() -> None:
    assert (socket_lanes.MAX_ACTIVE, socket_lanes.MAX_NAMED) == (16, 32)
